//! A world of misbehaving processes, from a seed: every decision of the core is tried where things overlap.
//!
//! `world.rs` is the operating system and time, `process.rs` how processes behave, `properties.rs` what must hold at
//! every moment; `scenarios.rs` are single lives, told in a few lines each. A failing seed prints its story.
//!
//! `SRVWRAP_SIM_SEEDS=100000 cargo test sim` runs more; `SRVWRAP_SIM_SEED=17` runs one.

mod process;
mod properties;
mod scenarios;
mod stage;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::core::backoff::Random;
use crate::core::{Answer, Mended, OnCrash, Policy, Ready, Request, Scale, StopSignal};

use process::{Temper, milliseconds, one_in};
use world::{Faults, Seed, World, spec_of};

const SEEDS: u64 = 3000;
/// Runs in which everybody behaves go through fewer states, and take longer.
const GOOD_SEEDS: u64 = 400;

#[test]
fn chaos_never_breaks_a_promise() {
    for_each_seed(SEEDS, chaos);
}

#[test]
fn workers_that_behave_are_never_fewer_than_promised() {
    for_each_seed(GOOD_SEEDS, |seed| {
        let mut world = good_world(seed);
        world.properties.all_behave = true;
        while world.now.0 < Duration::from_secs(1300) && world.ended.is_none() {
            let pause = milliseconds(&mut world.random, 0, 8000);
            world.run_for(pause);
            behaving_step(&mut world);
        }
        finish(world)
    });
}

/// Everything that can be asked, at any moment, of programs of every temper.
fn chaos(seed: Seed) -> World {
    let random = &mut Random::new(seed.number.wrapping_mul(31).wrapping_add(5));
    let temper = if one_in(random, 2) { Temper::Good } else { pick(random) };
    let faults = Faults {
        fork_fails_one_in: one_in(random, 3).then(|| 2 + random.next() % 10),
        fork_is_slow: one_in(random, 3),
        fork_is_instant: one_in(random, 3),
    };
    let count = 1 + u32::try_from(random.next() % 5).expect("small");
    let mut world = World::new(seed, policy(random), count, temper, faults);
    let until = world.now + milliseconds(random, 1000, 240_000);
    let tempo = 1 + random.next() % 20_000;
    while world.now < until && world.ended.is_none() {
        // Now and then several things at one moment.
        let pause = if one_in(&mut world.random, 4) { 0 } else { tempo };
        let pause = milliseconds(&mut world.random, 0, pause);
        world.run_for(pause);
        step(&mut world);
    }
    finish(world)
}

fn good_world(seed: Seed) -> World {
    let random = &mut Random::new(seed.number.wrapping_mul(77));
    let policy = Policy { on_crash: OnCrash::Respawn, ready: Ready::Notify, ..policy(random) };
    let count = 1 + u32::try_from(random.next() % 4).expect("small");
    let faults = Faults { fork_is_instant: one_in(random, 2), ..Faults::default() };
    World::new(seed, policy, count, Temper::Good, faults)
}

fn policy(random: &mut Random) -> Policy {
    let ready = match random.next() % 6 {
        0 => Ready::Exec,
        1 => Ready::After(Duration::from_secs(1)),
        _ => Ready::Notify,
    };
    Policy {
        ready,
        on_crash: if one_in(random, 12) { OnCrash::Exit } else { OnCrash::Respawn },
        stop_signal: StopSignal::Auto,
        online_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(if one_in(random, 10) { 0 } else { 8 }),
        bake: Duration::from_secs(if one_in(random, 3) { 4 } else { 0 }),
    }
}

fn pick(random: &mut Random) -> Temper {
    let at = usize::try_from(random.next()).expect("64 bits") % Temper::ALL.len();
    Temper::ALL[at]
}

/// One thing that somebody does to it.
fn step(world: &mut World) {
    match world.random.next() % 24 {
        0..=6 => {
            let spec = one_in(&mut world.random, 2).then(|| spec_of(pick(&mut world.random)));
            let count = one_in(&mut world.random, 3).then(|| 1 + world.random.next() as u32 % 5);
            world.ask(Request::Deploy { spec, count });
        }
        7..=9 => world.signal("HUP", Request::Deploy { spec: None, count: None }),
        10..=12 => {
            world.ask(Request::Abort);
        }
        13..=15 => {
            let to = world.random.next() as u32 % 7;
            world.ask(Request::Scale(Scale::To(to)));
        }
        16 => world.signal("TTIN", Request::Scale(Scale::By(1))),
        17 => world.signal("TTOU", Request::Scale(Scale::By(-1))),
        18 => world.shut_listener(Mended::Healed),
        19 if one_in(&mut world.random, 3) => world.shut_listener(Mended::Rebound),
        20 if one_in(&mut world.random, 12) => {
            world.ask(Request::Stop);
        }
        21 if one_in(&mut world.random, 12) => world.signal("INT", Request::Interrupt),
        22 if one_in(&mut world.random, 20) => world.signal("QUIT", Request::Kill),
        23 if one_in(&mut world.random, 20) => world.shut_listener(Mended::Lost),
        _ => {}
    }
}

/// The same, but nothing that takes workers away.
fn behaving_step(world: &mut World) {
    match world.random.next() % 8 {
        0..=2 => {
            let temper = if one_in(&mut world.random, 2) { Temper::Good } else { Temper::Unexecutable };
            let count = one_in(&mut world.random, 3).then(|| 1 + world.random.next() as u32 % 5);
            world.ask(Request::Deploy { spec: Some(spec_of(temper)), count });
        }
        3 => world.signal("HUP", Request::Deploy { spec: None, count: None }),
        4 => {
            world.ask(Request::Abort);
        }
        5 => {
            let to = 1 + world.random.next() as u32 % 6;
            world.ask(Request::Scale(Scale::To(to)));
        }
        6 => world.signal("TTIN", Request::Scale(Scale::By(1))),
        _ => world.shut_listener(Mended::Healed),
    }
}

/// Calm: the fix can be deployed, then all slots are filled; and a stop ends everything, in time, with one answer
/// for each question.
fn finish(mut world: World) -> World {
    world.faults = Faults::default();
    world.run_for(Duration::from_secs(120));
    if !world.stopping && world.ended.is_none() {
        let fix = world.ask(Request::Deploy { spec: Some(spec_of(Temper::Good)), count: Some(3) });
        world.run_for(Duration::from_secs(60));
        assert_eq!(world.answers.get(&fix), Some(&Answer::Done), "the fix was not deployed");
        let status = world.supervisor.status(world.now);
        let online = status.workers.iter().filter(|row| row.state == "online").count();
        assert_eq!((online, status.count), (3, 3), "the pool is not back: {status:?}");
    }
    if world.ended.is_none() {
        world.ask(Request::Stop);
        let limit = world.policy.stop_timeout + Duration::from_secs(8);
        world.run_for(limit);
    }
    assert!(world.ended.is_some(), "it does not end");
    for client in world.asked.keys() {
        assert!(world.answers.contains_key(client), "{client:?} was not answered");
    }
    world
}

fn for_each_seed(seeds: u64, run: impl Fn(Seed) -> World) {
    let from_environment = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let numbers = match from_environment("SRVWRAP_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + from_environment("SRVWRAP_SIM_SEEDS").unwrap_or(seeds),
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
