//! A directory where everything goes wrong, from a seed: every step of a rotation fails, others move and truncate the
//! log, the clock steps, srvwrap is killed.
//!
//! `disk.rs` is the directory; `world.rs` is time and the one who writes, `world/perform.rs` carries the effects out,
//! and both hold what must be so at every step; `world/outside.rs` is what others do, and how it must be in the end. A
//! failing seed prints its story. `crate::sim` has what runs them, and how to run more of them or one.

mod disk;
mod world;

use std::time::Duration;

use crate::logs::Limits;
use crate::sim::{Random, Seed, for_each_seed};

use world::{Kind, World};

const SEEDS: u64 = 2000;

#[test]
fn nothing_that_fails_loses_tears_or_mixes_a_line() {
    for_each_seed(SEEDS, 1, |seed| {
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
    for_each_seed(SEEDS, 2, |seed| {
        let mut world = new_world(seed);
        let which = world.random.below(TROUBLES);
        live(&mut world, |world, _| trouble(world, which));
        world
    });
}

#[test]
fn while_all_is_well_every_limit_holds_at_every_moment() {
    for_each_seed(SEEDS, 2, |seed| {
        let mut world = new_world(seed);
        live(&mut world, |_, _| {});
        assert!(world.undisturbed);
        world
    });
}

fn new_world(seed: Seed) -> World {
    let mut random = Random::new(seed.number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
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
        let pause = world.random.milliseconds(0, pause);
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
            let (forward, by) = (random.one_in(2), random.milliseconds(0, 7_200_000));
            world.step_clock(forward, by);
        }
        5 if random.one_in(4) => {
            let (forward, by) = (random.one_in(2), random.milliseconds(0, 200_000_000));
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
            let time = random.milliseconds(0, limit);
            world.outage(kind, time);
        }
        _ => {}
    }
}
