//! What must hold in every world, at every moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::core::notice::{DeployNews, Notice, ScaleNews, WorkerNews};
use crate::core::{Effect, Ready, Spec, Time};

use super::world::{Life, Process, World};

/// More workers than this in ten seconds for one slot of one generation are a busy loop: one a second because of
/// offline, the few first steps of backoff, and replacements of workers that served.
const SPAWNS_IN_TEN_SECONDS: usize = 22;

/// What has to be remembered in order to check.
#[derive(Default)]
pub(super) struct Properties {
    /// Whether every spec and the operating system behave, so that the number online is a promise.
    pub(super) all_behave: bool,
    spawns: BTreeMap<(u32, u32), VecDeque<Time>>,
    /// How many are promised to be online.
    promised: u32,
    /// How many the last deploy has.
    deploying: u32,
    /// The committed generation, its count and its spec, when the last deploy began.
    before_deploy: Option<(Option<u32>, u32, Option<Spec>)>,
}

impl Properties {
    /// Checks an effect before it is carried out.
    pub(super) fn check_effect(world: &mut World, effect: &Effect) {
        let processes = &world.processes;
        match effect {
            Effect::Spawn { slot, generation, .. } => {
                world.properties.no_busy_loop(world.now, *generation, *slot);
            }
            Effect::Retire { worker, .. } => {
                assert_eq!(processes[worker].life, Life::Alive, "{worker:?} was told, but has no process");
            }
            Effect::Terminate { worker } | Effect::Kill { worker } => {
                let life = processes[worker].life;
                assert!(
                    matches!(life, Life::Alive | Life::Remnant),
                    "{worker:?} was signalled but is {life:?}"
                );
            }
            Effect::Forget { worker } => {
                assert_eq!(processes[worker].life, Life::Empty, "{worker:?} was forgotten, but is there");
            }
            Effect::RestoreFlags { nonblocking, clear_others: true }
                if world.nonblocking && nonblocking.is_empty() =>
            {
                let under =
                    |process: &Process| process.online_under_nonblocking && process.life == Life::Alive;
                assert!(!processes.values().any(under), "O_NONBLOCK was cleared under a worker");
            }
            Effect::End { .. } => {
                let left =
                    processes.values().filter(|process| process.life != Life::Empty && !survives(process));
                assert_eq!(left.count(), 0, "a process is left after the end");
            }
            Effect::Notice(notice) => check_notice(world, notice),
            Effect::RestoreFlags { .. } | Effect::Listen { .. } | Effect::Sweep { .. } => {}
            Effect::CloseListeners | Effect::Reply { .. } => {}
        }
    }

    fn no_busy_loop(&mut self, now: Time, generation: u32, slot: u32) {
        let spawns = self.spawns.entry((generation, slot)).or_default();
        spawns.push_back(now);
        while spawns.front().is_some_and(|at| now - *at > Duration::from_secs(10)) {
            spawns.pop_front();
        }
        assert!(spawns.len() <= SPAWNS_IN_TEN_SECONDS, "slot {slot} is a busy loop: {spawns:?}");
    }

    /// Checks the world between two happenings.
    pub(super) fn check(world: &mut World) {
        if world.ended.is_some() {
            return;
        }
        one_worker_fills_a_slot(world);
        nobody_is_unwanted(world);
        limits_are_kept(world);
        enough_are_online(world);
        answers_come_once(world);
    }
}

fn survives(process: &Process) -> bool {
    process.behaviour.as_ref().is_some_and(|behaviour| behaviour.survives_kill)
}

/// Alive, and neither told to stop, killed, nor on its own way out.
fn counts(process: &Process) -> bool {
    matches!(process.life, Life::Alive | Life::Asked)
        && process.told_at.is_none()
        && process.killed_at.is_none()
        && process.offline_at.is_none()
}

fn one_worker_fills_a_slot(world: &World) {
    let status = world.supervisor.status(world.now);
    let mut online: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let mut starting: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for row in status.workers.iter().filter(|row| row.seated) {
        let seat = (row.generation, row.slot);
        match row.state {
            "online" => *online.entry(seat).or_default() += 1,
            "spawning" | "starting" => *starting.entry(seat).or_default() += 1,
            "leaving" | "killed" | "retiring" => {}
            other => panic!("a worker that is {other} has a seat"),
        }
    }
    assert!(online.values().all(|count| *count == 1), "two workers fill a slot: {online:?}");
    assert!(starting.values().all(|count| *count == 1), "two workers are to fill a slot: {starting:?}");
}

fn nobody_is_unwanted(world: &World) {
    for row in world.supervisor.status(world.now).workers {
        let serves = matches!(row.state, "spawning" | "starting" | "online");
        assert!(row.seated || !serves, "nobody wants {row:?}");
        let process = &world.processes[&row.worker];
        if serves && process.life != Life::Asked {
            assert!(process.told_at.is_none() && process.killed_at.is_none(), "{row:?} was told and counts");
        }
    }
}

/// Nothing waits for ever.
fn limits_are_kept(world: &World) {
    let (online, stop) = (world.policy.online_timeout, world.policy.stop_timeout);
    let grace = Duration::from_millis(1);
    for (worker, process) in world.processes.iter().filter(|(_, process)| process.life == Life::Alive) {
        let since = |at: Option<Time>| at.map_or(Duration::ZERO, |at| world.now - at);
        if process.killed_at.is_none() {
            assert!(since(process.told_at) <= stop + grace, "{worker:?} outlives the stop limit");
            let leaving = process.online_at.is_some() && process.told_at.is_none();
            let offline = if leaving { since(process.offline_at) } else { Duration::ZERO };
            assert!(offline <= online + stop + grace, "{worker:?} said offline and stays for ever");
        }
        let starts = process.told_at.is_none() && process.online_at.is_none() && process.killed_at.is_none();
        if starts && world.policy.ready == Ready::Notify {
            assert!(world.now - process.born <= online + grace, "{worker:?} starts for ever");
        }
    }
}

/// Never fewer than promised online between boot and stop, when workers behave.
fn enough_are_online(world: &World) {
    if !world.properties.all_behave || world.stopping {
        return;
    }
    let online = world.processes.values().filter(|process| counts(process) && process.online_at.is_some());
    let (online, promised) = (online.count(), world.properties.promised as usize);
    assert!(online >= promised, "{online} online, {promised} promised");
}

fn answers_come_once(world: &World) {
    for (client, answers) in &world.answers {
        assert!(world.asked.contains(client), "{client:?} had asked nothing");
        assert_eq!(answers.len(), 1, "{client:?} got {answers:?}");
    }
}

/// What the operator is told is what the world is like.
fn check_notice(world: &mut World, notice: &Notice) {
    let committed = |world: &World| {
        let status = world.supervisor.status(world.now);
        let spec = status.generation.and_then(|generation| world.supervisor.spec(generation).cloned());
        (status.generation, status.count, spec)
    };
    match notice {
        Notice::Booted { count, .. } | Notice::Scale(ScaleNews::Grown { count, .. }) => {
            world.properties.promised = *count;
        }
        Notice::Scale(ScaleNews::Began { from, to }) if to < from => world.properties.promised = *to,
        Notice::Scale(ScaleNews::Failed { count, .. }) => {
            assert_eq!(world.supervisor.status(world.now).count, *count, "a failed scale changed the count");
        }
        Notice::Deploy { news: DeployNews::Began { count, .. }, .. } => {
            world.properties.deploying = *count;
            world.properties.before_deploy = Some(committed(world));
        }
        Notice::Deploy {
            news: DeployNews::Failed { .. } | DeployNews::Cut { .. } | DeployNews::Aborted { .. },
            ..
        } => {
            if let Some(before) =
                world.properties.before_deploy.as_ref().filter(|_| !something_new_began(world))
            {
                assert_eq!(*before, committed(world), "a deploy that did not come off changed something");
            }
        }
        Notice::Deploy { generation, news: DeployNews::Flipped { .. } } => {
            all_were_online(world, *generation);
            world.properties.promised = world.properties.deploying;
        }
        Notice::Deploy { news: DeployNews::Baking { .. } | DeployNews::Done { .. }, .. } => {}
        Notice::Deploy { news: DeployNews::AbortedLate { .. }, .. } | Notice::Scale(_) => {}
        Notice::Worker { news: WorkerNews::Impossible, .. } => panic!("the world broke its promise"),
        Notice::Worker { .. } | Notice::BootFailed { .. } | Notice::Refused { .. } => {}
        Notice::ListenerShut { .. }
        | Notice::ListenerShutBy { .. }
        | Notice::Stopping { .. }
        | Notice::Killing { .. } => {}
        Notice::Stopped { .. } | Notice::Listening { .. } => {}
        Notice::BacklogClamped { .. } | Notice::PassesNothingOn { .. } => {}
    }
}

/// Effects are checked when they are carried out; what waited may have begun in the same step.
fn something_new_began(world: &World) -> bool {
    let mut later = world.supervisor.clone();
    let began = |effect| matches!(effect, Effect::Notice(Notice::Scale(ScaleNews::Began { .. })));
    std::iter::from_fn(|| later.poll_effect()).any(began)
}

/// Make before break: no flip unless every new worker is there.
fn all_were_online(world: &World, generation: u32) {
    if world.policy.ready != Ready::Notify {
        return;
    }
    let count = world.properties.deploying;
    let online: BTreeSet<u32> = world
        .processes
        .values()
        .filter(|process| process.generation == generation && process.online_at.is_some())
        .map(|process| process.slot)
        .collect();
    assert_eq!(
        online.into_iter().collect::<Vec<u32>>(),
        (0..count).collect::<Vec<u32>>(),
        "flipped too early"
    );
}
