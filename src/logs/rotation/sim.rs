//! A directory where everything goes wrong, from a seed: every step of a rotation fails, others move and truncate the
//! log, the clock steps, srvwrap is killed.
//!
//! `disk.rs` is the directory; `world.rs` is time and the one who writes, `world/perform.rs` carries the effects out, and
//! both hold what must be so at every step; `world/outside.rs` is what others do, and how it must be in the end. A failing seed prints its story.
//!
//! `SRVWRAP_SIM_SEEDS=100000 cargo test sim` runs more; `SRVWRAP_SIM_SEED=17` runs one.

mod disk;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::logs::Limits;

use world::{Kind, World};

const SEEDS: u64 = 2000;

/// What a run follows from, and whether it tells its story.
#[derive(Clone, Copy, Debug)]
struct Seed {
    number: u64,
    telling: bool,
}

/// A small generator (xorshift64*, Vigna 2016).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next() % count == 0
    }

    fn millis(&mut self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit))
    }
}

#[test]
fn nothing_that_fails_loses_tears_or_mixes_a_line() {
    for_each_seed(1, |seed| {
        let mut world = new_world(seed);
        for kind in Kind::ALL {
            if world.random.one_in(3) {
                let count = 2 + world.random.below(8);
                world.fails_one_in.insert(kind, count);
                world.undisturbed = false;
            }
        }
        live(&mut world, trouble);
        world
    });
}

/// One at a time, so that a fault is not excused by another one.
#[test]
fn no_single_trouble_does_either() {
    for_each_seed(2, |seed| {
        let mut world = new_world(seed);
        let which = world.random.below(TROUBLES);
        live(&mut world, |world, _| trouble(world, which));
        world
    });
}

#[test]
fn while_all_is_well_every_limit_holds_at_every_moment() {
    for_each_seed(2, |seed| {
        let mut world = new_world(seed);
        live(&mut world, |_, _| {});
        assert!(world.undisturbed);
        world
    });
}

fn new_world(seed: Seed) -> World {
    let mut random = Random(seed.number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let every = [1, 10, 60, 3600, 86_400][random.below(5) as usize];
    let limits = Limits {
        max_size: (!random.one_in(4)).then(|| 20 + random.below(200)),
        every: random.one_in(2).then(|| Duration::from_secs(every)),
        keep: [0, 1, 2, 5, 50][random.below(5) as usize],
        total: random.one_in(3).then(|| 100 + random.below(900)),
    };
    let mut world = World::new(seed, limits, random);
    world.cuts_one_in = [0, 0, 2, 5][world.random.below(4) as usize];
    world
}

fn live(world: &mut World, mut trouble: impl FnMut(&mut World, u64)) {
    let tempo = 1 + world.random.below(20_000);
    for _ in 0..20 + world.random.below(60) {
        for _ in 0..world.random.below(5) {
            let length = if world.random.one_in(12) { 400 } else { 60 };
            let length = world.random.below(length) as usize;
            world.line(length);
        }
        if world.random.one_in(3) {
            let which = world.random.below(TROUBLES);
            trouble(world, which);
        }
        let pause = if world.random.one_in(3) { 1 } else { tempo };
        let pause = world.random.millis(pause);
        world.run_for(pause);
    }
    world.finish();
}

const TROUBLES: u64 = 14;

fn trouble(world: &mut World, which: u64) {
    let random = &mut world.random;
    match which {
        0 => world.ask_to_reopen(),
        1 => {
            let to = ["app.log.1", "app.log.bak", "app.log.20261120"][random.below(3) as usize];
            world.move_log(Some(to));
            if world.random.one_in(2) {
                world.ask_to_reopen();
            }
        }
        2 => world.move_log(None),
        3 => world.truncate_log(),
        4 => {
            let (forward, by) = (random.one_in(2), random.millis(7_200_000));
            world.step_clock(forward, by);
        }
        5 if random.one_in(4) => {
            let (forward, by) = (random.one_in(2), random.millis(200_000_000));
            world.step_clock(forward, by);
        }
        6 => world.plant(),
        7 if random.one_in(2) => world.crash(),
        8 => {
            let free = random.below(300);
            world.fill_disk(free);
        }
        9 => world.capacity = u64::MAX,
        10.. => {
            let kind = Kind::ALL[random.below(6) as usize];
            let limit = if random.one_in(4) { 300_000 } else { 5000 };
            let time = random.millis(limit);
            world.outage(kind, time);
        }
        _ => {}
    }
}

fn for_each_seed(one_in: u64, run: impl Fn(Seed) -> World) {
    let from_environment = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let numbers = match from_environment("SRVWRAP_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + from_environment("SRVWRAP_SIM_SEEDS").unwrap_or(SEEDS) / one_in,
    };
    for number in numbers {
        let once = |telling| catch_unwind(AssertUnwindSafe(|| run(Seed { number, telling })));
        if once(false).is_err() {
            eprintln!("seed {number} failed; SRVWRAP_SIM_SEED={number} repeats it; this was its story:");
            let panic = once(true).err().expect("a run repeats itself");
            resume_unwind(panic);
        }
    }
}
