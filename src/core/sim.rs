//! A world of misbehaving processes, from a seed: every decision of the core is tried where things overlap.
//!
//! `world.rs` is the operating system and time, `process.rs` how processes behave, `properties.rs` what must hold at
//! every moment; `scenarios.rs` are single lives, told in a few lines each. A failing seed prints its story.
//! `crate::sim` has what runs them, and how to run more of them or one.

mod process;
mod properties;
mod scenarios;
mod stage;
mod world;

use std::time::Duration;

use crate::core::{Mended, OnCrash, Policy, Ready, Request, Scale, StopSignal};
use crate::sim::{Random, Seed, for_each_seed};
use crate::wire::control::message::{Deploy, Outcome};

use process::Temper;
use world::{Faults, World};

const SEEDS: u64 = 3000;
/// Runs in which everybody behaves go through fewer states and take longer, so that one in this many is enough.
const GOOD_ONE_IN: u64 = 8;

#[test]
fn chaos_never_breaks_a_promise() {
    for_each_seed(SEEDS, 1, chaos);
}

#[test]
fn workers_that_behave_are_never_fewer_than_promised() {
    for_each_seed(SEEDS, GOOD_ONE_IN, |seed| {
        let mut world = good_world(seed);
        world.properties.all_behave = true;
        while world.now.0 < Duration::from_secs(1300) && world.ended.is_none() {
            let pause = world.random.milliseconds(0, 8000);
            world.run_for(pause);
            behaving_step(&mut world);
        }
        finish(world)
    });
}

/// Everything that can be asked, at any moment, of programs of every temper.
fn chaos(seed: Seed) -> World {
    let random = &mut Random::new(seed.number.wrapping_mul(31).wrapping_add(5));
    let temper = if random.one_in(2) { Temper::Good } else { pick(random) };
    let faults = Faults {
        fork_fails_one_in: random.one_in(3).then(|| 2 + random.next() % 10),
        fork_is_slow: random.one_in(3),
        fork_is_instant: random.one_in(3),
    };
    let count = 1 + u32::try_from(random.next() % 5).expect("small");
    let mut world = World::new(seed, policy(random), count, temper, faults);
    let until = world.now + random.milliseconds(1000, 240_000);
    let tempo = 1 + random.next() % 20_000;
    while world.now < until && world.ended.is_none() {
        // Now and then several things at one moment.
        let pause = if world.random.one_in(4) { 0 } else { tempo };
        let pause = world.random.milliseconds(0, pause);
        world.run_for(pause);
        step(&mut world);
    }
    finish(world)
}

fn good_world(seed: Seed) -> World {
    let random = &mut Random::new(seed.number.wrapping_mul(77));
    let policy = Policy { on_crash: OnCrash::Respawn, ready: Ready::Notify, ..policy(random) };
    let count = 1 + u32::try_from(random.next() % 4).expect("small");
    let faults = Faults { fork_is_instant: random.one_in(2), ..Faults::default() };
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
        protocol: crate::core::Protocol::Srvwrap,
        on_crash: if random.one_in(12) { OnCrash::Exit } else { OnCrash::Respawn },
        stop_signal: StopSignal::Auto,
        online_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(if random.one_in(10) { 0 } else { 8 }),
        bake: Duration::from_secs(if random.one_in(3) { 4 } else { 0 }),
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
            let deploy = any_deploy(&mut world.random, true);
            world.ask(Request::Deploy(deploy));
        }
        7..=9 if world.random.one_in(3) => {
            let terms = any_deploy(&mut world.random, true);
            world.ask(Request::Rollback(Deploy { program: None, ..terms }));
        }
        7..=9 => world.signal("HUP", Request::Deploy(Deploy::default())),
        10..=12 => {
            world.ask(Request::Abort);
        }
        13..=15 => {
            let to = world.random.next() as u32 % 7;
            world.ask(Request::Scale(Scale::To(to)));
        }
        16 => world.signal("TTIN", Request::Scale(Scale::By(1))),
        17 => world.signal("TTOU", Request::Scale(Scale::By(-1))),
        18 if world.random.one_in(2) => {
            let slot = world.random.one_in(2).then(|| world.random.next() as u32 % 5);
            world.ask(Request::Signal { signal: 10, slot });
        }
        18 => world.shut_listener(Mended::Healed),
        19 if world.random.one_in(3) => {
            let taken = world.random.one_in(2);
            world.shut_listener(if taken { Mended::Renewed } else { Mended::Rebound });
        }
        20 if world.random.one_in(12) => {
            let timeout = world.random.one_in(2).then(|| world.random.milliseconds(0, 9000));
            world.ask(Request::Stop { timeout });
        }
        21 if world.random.one_in(12) => world.signal("INT", Request::Interrupt),
        22 if world.random.one_in(20) => world.signal("QUIT", Request::Kill),
        23 if world.random.one_in(20) => world.shut_listener(Mended::Lost),
        _ => {}
    }
}

/// A deploy of any temper, on any terms; `crowded`: also with so little time that it has to fail.
fn any_deploy(random: &mut Random, crowded: bool) -> Deploy {
    let least = if crowded { 0 } else { 20_000 };
    Deploy {
        program: random.one_in(2).then(|| vec![pick(random).word().into()]),
        workers: random.one_in(3).then(|| 1 + random.next() as u32 % 5),
        timeout: random.one_in(4).then(|| random.milliseconds(least, 30_000)),
        online_timeout: random.one_in(4).then(|| random.milliseconds(least, 20_000)),
        bake: random.one_in(4).then(|| random.milliseconds(0, 5000)),
        surge: random.one_in(2).then(|| 1 + random.next() as u32 % 3),
        wait: !random.one_in(4),
        if_generation: random.one_in(6).then(|| 1 + random.next() as u32 % 6),
        ..Deploy::default()
    }
}

/// The same, but nothing that takes workers away.
fn behaving_step(world: &mut World) {
    match world.random.next() % 8 {
        0..=2 => {
            let temper = if world.random.one_in(2) { Temper::Good } else { Temper::Unexecutable };
            let terms = any_deploy(&mut world.random, false);
            let program = Some(vec![temper.word().into()]);
            world.ask(Request::Deploy(Deploy { program, ..terms }));
        }
        3 => world.signal("HUP", Request::Deploy(Deploy::default())),
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
        let surge = world.random.one_in(3).then_some(2);
        let program = Some(vec![Temper::Good.word().into()]);
        let fix =
            world.ask(Request::Deploy(Deploy { program, workers: Some(3), surge, ..Deploy::default() }));
        world.run_for(Duration::from_secs(120));
        let outcome = world.answers.get(&fix).map(|answer| answer.outcome);
        assert_eq!(outcome, Some(Outcome::Done), "the fix was not deployed: {:?}", world.answers.get(&fix));
        let status = world.supervisor.status(world.now);
        let online = status.workers.iter().filter(|row| row.state == "online").count();
        assert_eq!((online, status.count), (3, 3), "the pool is not back: {status:?}");
        all_are_answered(&world);
    }
    if world.ended.is_none() {
        world.ask(Request::Stop { timeout: None });
        // The stop limit, or what a worker asks for at its end; KILL, and strangers.
        let limit = world.policy.stop_timeout.max(Duration::from_secs(29)) + Duration::from_secs(8);
        world.run_for(limit);
    }
    assert!(world.ended.is_some(), "it does not end");
    all_are_answered(&world);
    world
}

fn all_are_answered(world: &World) {
    for client in world.asked.keys() {
        assert!(world.answers.contains_key(client), "{client:?} was not answered");
    }
}
