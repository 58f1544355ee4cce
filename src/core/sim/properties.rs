//! What must hold in every world, at every moment. Each property is a function, and its name says it.

mod told;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::core::policy::{INT, TERM};
use crate::core::supervisor::Status;
use crate::core::{Answer, ClientId, Effect, Ready, Request, Scale, Spec, Time, WorkerId};
use crate::wire::control::message::Outcome;
use crate::wire::worker::Readiness;

use super::world::{Life, Process, World};
use told::{check_notice, something_new_began};

/// More workers than this in ten seconds for one slot of one generation are a busy loop: one a second because of
/// offline, the few first steps of backoff, and replacements of workers that served.
const SPAWNS_IN_TEN_SECONDS: usize = 22;
/// The longest delay of backoff and its jitter.
const LONGEST_DELAY: Duration = Duration::from_secs(36);
const SHORT: Duration = Duration::from_secs(5);

/// What has to be remembered in order to check.
#[derive(Default)]
pub(super) struct Properties {
    /// Whether every spec and the operating system behave, so that the number online is a promise.
    pub(super) all_behave: bool,
    spawns: BTreeMap<(u32, u32), VecDeque<Time>>,
    specs: BTreeMap<u32, Spec>,
    /// How many are promised to be online.
    promised: u32,
    /// How many the last deploy has.
    deploying: u32,
    baking_since: Option<Time>,
    /// How long the last deploy is to bake.
    bake: Duration,
    /// How many slots at a time the last deploy replaces.
    surge: Option<u32>,
    deploy_began: Option<Time>,
    /// How long each worker has to come online.
    online_limits: BTreeMap<WorkerId, Duration>,
    /// What the last deploy gives its workers.
    online_timeout: Duration,
    /// When a stop with a limit of its own was asked for, and the limit.
    hastened: Vec<(Time, Duration)>,
    /// What the committed generation runs, and what the one before it ran.
    live: Option<Spec>,
    previous: Option<Spec>,
    /// The committed generation, its count and its spec, when the last deploy began.
    before_deploy: Option<(Option<u32>, u32, Option<Spec>)>,
    /// Somebody asked to kill all.
    kill_asked: bool,
    /// Somebody aborted a deploy after its flip: workers of older generations are killed.
    aborted_late: Option<u32>,
    boot_failed: bool,
    stop_began: bool,
    /// When a scale up last failed, and the count to which it went back.
    scale_failed: Option<(Time, u32)>,
    killed_in_stop: u32,
    listeners_closed: bool,
}

impl Properties {
    /// Checks an effect before it is carried out.
    pub(super) fn check_effect(world: &mut World, effect: &Effect) {
        match effect {
            Effect::Spawn { worker, slot, generation } => {
                nothing_starts_in_a_stop(world);
                nobody_unwanted_is_made(world, *worker);
                let committed = world.supervisor.committed();
                let usual = committed.is_none_or(|committed| committed == *generation);
                let limit = if usual { world.policy.online_timeout } else { world.properties.online_timeout };
                world.properties.online_limits.insert(*worker, limit);
                world.properties.no_busy_loop(world.now, *generation, *slot);
            }
            Effect::Retire { worker, signal } => {
                nobody_dead_is_told(world, *worker);
                nobody_is_told_twice(world, *worker);
                nobody_is_told_without_reason(world, *worker);
                everybody_is_told_as_it_wants(world, *worker, *signal);
            }
            Effect::Terminate { worker } => nobody_gone_is_signalled(world, *worker),
            Effect::Kill { worker } => {
                nobody_gone_is_signalled(world, *worker);
                nobody_is_killed_early(world, *worker);
                if world.processes[worker].life == Life::Alive && world.properties.stop_began {
                    world.properties.killed_in_stop += 1;
                }
            }
            Effect::Forget { worker } => {
                // One whose making was taken back never was there.
                let life = world.processes.get(worker).map(|process| process.life);
                assert!(
                    life.is_none_or(|life| life == Life::Empty),
                    "{worker:?} was forgotten, but is there"
                );
            }
            Effect::RestoreFlags { nonblocking, clear_others: true } if nonblocking.is_empty() => {
                flags_are_not_cleared_under_a_worker(world);
            }
            Effect::CloseListeners => listeners_close_once_all_are_told(world),
            Effect::Reply { client, answer } => {
                an_answer_comes_once(world, *client);
                an_answer_is_true(world, *client, answer);
            }
            Effect::End { .. } => nothing_is_left_at_the_end(world),
            Effect::Notice(notice) => check_notice(world, notice),
            Effect::Signal { worker, .. } => nobody_dead_is_told(world, *worker),
            Effect::RestoreFlags { .. } | Effect::Listen { .. } | Effect::Sweep { .. } => {}
        }
    }

    /// Takes down what somebody asks for.
    pub(super) fn asked(&mut self, now: Time, request: &Request) {
        if let Request::Stop { timeout: Some(limit) } = request {
            self.hastened.push((now, *limit));
        }
    }

    /// A generation runs one spec from its first worker to its last.
    pub(super) fn runs_its_spec(&mut self, generation: u32, spec: &Spec) {
        let first = self.specs.entry(generation).or_insert_with(|| spec.clone());
        assert_eq!(first, spec, "generation {generation} runs another spec than at first");
    }

    fn no_busy_loop(&mut self, now: Time, generation: u32, slot: u32) {
        let spawns = self.spawns.entry((generation, slot)).or_default();
        spawns.push_back(now);
        while spawns.front().is_some_and(|at| now - *at > Duration::from_secs(10)) {
            spawns.pop_front();
        }
        assert!(spawns.len() <= SPAWNS_IN_TEN_SECONDS, "slot {slot} is a busy loop: {spawns:?}");
    }

    /// How long a worker that is told now has until KILL, at least and at most: who serves gets the whole stop limit,
    /// and what never served, or serves in a deploy or a scale that has failed, the short one.
    pub(super) fn limits_of(world: &World, worker: WorkerId) -> (Duration, Duration) {
        let process = &world.processes[&worker];
        let status = world.supervisor.status(world.now);
        let committed = status.generation.unwrap_or(0);
        let rolls = world.properties.surge.is_some();
        let newer = process.generation > committed;
        let of_failed = (newer && !rolls) || is_of_failed_scale(world, process);
        let served = process.online_at.is_some() && !of_failed;
        let stops = world.properties.stop_began && !world.properties.boot_failed;
        let failed = of_failed
            || (!rolls && process.generation == committed && process.slot < status.count && !served);
        let (whole, short) = (world.policy.stop_timeout, short(world));
        // Who is told in the moment in which it exists was wanted no longer before, perhaps for another reason.
        let late = process.forked_at == Some(world.now);
        let least = if (stops && !late) || served { whole } else { short };
        let most = if failed && !stops && world.policy.ready == Ready::Notify { short } else { whole };
        if let Some(longest) = world.properties.hastened.iter().map(|(_, limit)| *limit).max() {
            return (Duration::ZERO, most.max(longest));
        }
        (least, most)
    }

    /// Checks the world between two happenings.
    pub(super) fn check(world: &World) {
        if world.ended.is_some() {
            return;
        }
        let status = world.supervisor.status(world.now);
        one_worker_fills_a_slot(&status);
        nobody_is_unwanted(world, &status);
        no_slot_is_lost(world, &status);
        limits_are_kept(world);
        remnants_end(world);
        the_old_are_killed_by_a_late_abort(world);
        enough_are_online(world);
        few_slots_are_under_way(world, &status);
    }
}

fn survives(process: &Process) -> bool {
    process.behaviour.as_ref().is_some_and(|behaviour| behaviour.survives_kill)
}

/// Whether a process of it runs that KILL would end.
fn runs(process: &Process) -> bool {
    matches!(process.life, Life::Alive | Life::Remnant) && !survives(process)
}

/// Alive, and neither told to stop, killed, nor on its own way out.
fn counts(process: &Process) -> bool {
    matches!(process.life, Life::Alive | Life::Asked)
        && process.told_at.is_none()
        && process.killed_at.is_none()
        && process.offline_at.is_none()
}

/// A stop has no slots.
fn is_stopping(world: &World) -> bool {
    world.supervisor.status(world.now).count == 0
}

/// Whether a scale up has failed right now that this is a worker of.
fn is_of_failed_scale(world: &World, process: &Process) -> bool {
    world.properties.scale_failed.is_some_and(|(at, count)| at == world.now && process.slot >= count)
}

fn short(world: &World) -> Duration {
    world.policy.stop_timeout.min(SHORT)
}

fn nothing_starts_in_a_stop(world: &World) {
    assert!(!world.stopping, "a worker is spawned in a stop");
}

/// The order to make it is taken back when it becomes unwanted.
fn nobody_unwanted_is_made(world: &World, worker: WorkerId) {
    let status = world.supervisor.status(world.now);
    let state = status.workers.iter().find(|row| row.worker == worker).map(|row| row.state);
    assert_eq!(state, Some("spawning"), "{worker:?} is to be made");
}

fn nobody_dead_is_told(world: &World, worker: WorkerId) {
    let life = world.processes[&worker].life;
    assert_eq!(life, Life::Alive, "{worker:?} was told, but has no process");
}

fn nobody_gone_is_signalled(world: &World, worker: WorkerId) {
    let life = world.processes[&worker].life;
    assert!(matches!(life, Life::Alive | Life::Remnant), "{worker:?} was signalled but is {life:?}");
}

fn nobody_is_told_twice(world: &World, worker: WorkerId) {
    assert!(world.processes[&worker].told_at.is_none(), "{worker:?} was told twice");
}

/// Make before break: who serves is told only where another one is online in its slot, the slot is given up, or its
/// generation is replaced or has failed.
fn nobody_is_told_without_reason(world: &World, worker: WorkerId) {
    let status = world.supervisor.status(world.now);
    let process = &world.processes[&worker];
    let deploy = status.deploy.as_ref();
    let comes = deploy.is_some_and(|deploy| matches!(deploy.phase, "starting" | "baking" | "rolling"));
    let deployed_now = comes && deploy.map(|deploy| deploy.generation) == Some(process.generation);
    assert!(!deployed_now, "{worker:?} is told although its deploy has not failed");
    // The slots of a scale that failed may be wanted again at once, by one that waited.
    let scale_failed = is_of_failed_scale(world, process);
    if status.generation != Some(process.generation) || process.slot >= status.count || scale_failed {
        return;
    }
    let row = status.workers.iter().find(|row| row.worker == worker).expect("it is known");
    assert!(!row.seated, "{worker:?} is told although its slot counts on it");
    let rolls = world.properties.surge.is_some();
    let online = |other: &&crate::core::supervisor::WorkerStatus| {
        let stands_in = other.generation == process.generation || rolls;
        stands_in && other.slot == process.slot && other.state == "online"
    };
    let said_so = process.online_at.zip(process.offline_at).is_some_and(|(on, off)| on < off);
    // A deploy tells it as any other, and a rolling one tells it before it is committed.
    assert!(!said_so || rolls, "{worker:?} has said offline, and is told");
    let replaced = status.workers.iter().any(|other| online(&other));
    let was_late = process.online_at.is_none() || process.online_at == Some(world.now);
    assert!(replaced || was_late || !serves(world, process), "{worker:?} is told before it is replaced");
}

fn serves(world: &World, process: &Process) -> bool {
    match world.policy.ready {
        Ready::Notify => process.offline_at.is_none_or(|at| process.online_at.is_some_and(|on| on < at)),
        Ready::Exec | Ready::After(_) => process.offline_at.is_none(),
    }
}

/// pm2's by INT, naught's by the line alone unless it has closed the channel, all others by TERM.
fn everybody_is_told_as_it_wants(world: &World, worker: WorkerId, signal: Option<i32>) {
    let process = &world.processes[&worker];
    let readiness = process.behaviour.as_ref().filter(|_| process.online_at.is_some());
    let wanted = match readiness.map(|behaviour| behaviour.readiness) {
        Some(Readiness::JsonReady) => Some(INT),
        Some(Readiness::JsonOnline) if process.hushed_at.is_none() => None,
        Some(Readiness::JsonOnline | Readiness::Plain) | None => Some(TERM),
    };
    assert_eq!(signal, wanted, "{worker:?} was told in another way than it wants");
}

/// KILL comes when a limit is over, or when somebody has asked for it.
fn nobody_is_killed_early(world: &World, worker: WorkerId) {
    let process = &world.processes[&worker];
    let aborted = world.properties.aborted_late.is_some_and(|live| process.generation < live);
    if world.properties.kill_asked || world.policy.stop_timeout.is_zero() || aborted {
        return;
    }
    let since = |at: Option<Time>| at.map(|at| world.now - at);
    let told = since(process.told_at).is_some_and(|time| time >= process.limits.0);
    let left = since(process.offline_at).is_some_and(|time| time >= world.policy.stop_timeout);
    let remnant = since(process.died_at).is_some_and(|time| time >= short(world));
    if world.properties.hastened.iter().any(|(at, limit)| world.now - *at >= *limit) {
        return;
    }
    assert!(told || left || remnant, "{worker:?} is killed before its time: {process:?}");
    let asked = !remnant && must_be_extended(world, process);
    assert!(!asked, "{worker:?} is killed before the time it has asked for: {process:?}");
}

fn flags_are_not_cleared_under_a_worker(world: &World) {
    let under = |process: &Process| process.online_under_nonblocking && process.life == Life::Alive;
    let any = world.nonblocking && world.processes.values().any(under);
    assert!(!any, "O_NONBLOCK was cleared under a worker");
}

fn listeners_close_once_all_are_told(world: &mut World) {
    assert!(!world.properties.listeners_closed, "the listeners are closed twice");
    world.properties.listeners_closed = true;
    let untold = |process: &&Process| {
        process.life == Life::Alive && process.told_at.is_none() && process.killed_at.is_none()
    };
    assert_eq!(world.processes.values().filter(untold).count(), 0, "closed before all were told");
}

fn nothing_is_left_at_the_end(world: &World) {
    let left = |process: &&Process| process.life != Life::Empty && !survives(process);
    assert_eq!(world.processes.values().filter(left).count(), 0, "a process is left after the end");
}

fn an_answer_comes_once(world: &World, client: ClientId) {
    assert!(world.asked.contains_key(&client), "{client:?} had asked nothing");
    assert!(!world.answers.contains_key(&client), "{client:?} is answered twice");
}

/// Done is done, and what failed or was aborted has left nothing behind.
fn an_answer_is_true(world: &World, client: ClientId, answer: &Answer) {
    let Answer { outcome, notice: _ } = answer;
    if is_stopping(world) {
        return;
    }
    let status = world.supervisor.status(world.now);
    let committed = status.generation.unwrap_or(0);
    let older = || world.processes.values().any(|process| process.generation < committed && runs(process));
    let newer = || world.processes.values().any(|process| process.generation > committed && runs(process));
    let question = &world.asked[&client];
    match (&question.request, outcome) {
        (_, Outcome::Refused) => {}
        (Request::Deploy(deploy) | Request::Rollback(deploy), Outcome::Done) => {
            assert!(!older() || !deploy.wait, "a deploy is done, but old workers are left");
            let aborted = world.properties.aborted_late == Some(committed);
            assert!(!aborted, "a deploy that was aborted is done");
            let changed = world.properties.deploying != status.count || something_new_began(world);
            let count = deploy.workers;
            assert!(changed || count.is_none_or(|count| count == status.count), "done with another count");
            assert!(deploy.if_generation.is_none_or(|wanted| wanted < committed), "it was to be refused");
        }
        (Request::Deploy(deploy) | Request::Rollback(deploy), Outcome::TimedOut) => {
            assert!(!newer() && !older(), "the answer came before the workers were gone");
            let limit = deploy.timeout.expect("one without a limit cannot time out");
            assert!(world.now - question.at >= limit, "it timed out too early");
        }
        (Request::Deploy(_) | Request::Rollback(_) | Request::Abort, _) => {
            assert!(!newer() && !older(), "the answer came before the workers were gone");
        }
        (Request::Signal { .. }, _) => {}
        (Request::Scale(scale), Outcome::Done) => {
            let below = |count: u32| {
                let is_left = |process: &&Process| {
                    let was_there = process.born < question.at;
                    was_there && process.generation == committed && process.slot >= count
                };
                world.processes.values().filter(is_left).all(|process| !runs(process) || counts(process))
            };
            if let Scale::To(count) = scale {
                assert!(*count > question.count || below(*count), "a scale is done, but not all have left");
            }
        }
        (Request::Scale(_), Outcome::Failed | Outcome::Aborted | Outcome::TimedOut) => {
            let is_left = |process: &Process| process.generation == committed && process.slot >= status.count;
            let left = |process: &Process| is_left(process) && runs(process) && counts(process);
            assert!(!world.processes.values().any(left), "a scale has failed, but its workers are left");
        }
        (Request::Stop { .. } | Request::Interrupt | Request::Kill, _) => panic!("answered before the stop"),
    }
}

fn one_worker_fills_a_slot(status: &Status) {
    let (mut online, mut starting) = (BTreeSet::new(), BTreeSet::new());
    for row in status.workers.iter().filter(|row| row.seated) {
        let seat = (row.generation, row.slot);
        match row.state {
            "online" => assert!(online.insert(seat), "two workers fill slot {seat:?}"),
            "spawning" | "starting" => assert!(starting.insert(seat), "two workers are to fill {seat:?}"),
            "leaving" | "killed" => {}
            other => panic!("a worker that is {other} has a seat"),
        }
    }
}

fn nobody_is_unwanted(world: &World, status: &Status) {
    for row in &status.workers {
        let serves = matches!(row.state, "spawning" | "starting" | "online");
        assert!(row.seated || !serves, "nobody wants {row:?}");
        let process = &world.processes[&row.worker];
        if serves && process.life != Life::Asked {
            assert!(process.told_at.is_none() && process.killed_at.is_none(), "{row:?} was told and counts");
        }
    }
}

/// Every slot has a worker, or gets one within the longest delay.
fn no_slot_is_lost(world: &World, status: &Status) {
    let Some(generation) = status.generation else { return };
    // In a rolling deploy the new generation has some of the slots.
    let rolls = world.properties.surge.is_some();
    let seats = |row: &&crate::core::supervisor::WorkerStatus| {
        row.seated && (row.generation == generation || rolls) && row.slot < status.count
    };
    let taken: BTreeSet<u32> = status.workers.iter().filter(seats).map(|row| row.slot).collect();
    if taken.len() < status.count as usize {
        let next = world.supervisor.poll_timeout();
        assert!(next.is_some_and(|at| at - world.now <= LONGEST_DELAY), "a slot is lost: {status:?}");
    }
}

/// Nothing waits for ever.
fn limits_are_kept(world: &World) {
    let (online, stop) = (world.policy.online_timeout, world.policy.stop_timeout);
    let longest_stop = world.properties.hastened.iter().map(|(_, limit)| *limit).max().unwrap_or_default();
    for (worker, process) in world.processes.iter().filter(|(_, process)| process.life == Life::Alive) {
        let since = |at: Option<Time>| at.map_or(Duration::ZERO, |at| world.now - at);
        if process.killed_at.is_none() {
            let limit = process.limits.1.min(stop.max(longest_stop));
            let in_time = since(process.told_at) <= limit || may_be_extended(world, process);
            assert!(in_time, "{worker:?} outlives its limit");
            let leaving = process.online_at.is_some() && process.told_at.is_none();
            let offline = if leaving { since(process.offline_at) } else { Duration::ZERO };
            let in_time = offline <= online + stop || may_be_extended(world, process);
            assert!(in_time, "{worker:?} said offline and stays for ever");
        }
        let starts = process.told_at.is_none() && process.online_at.is_none() && process.killed_at.is_none();
        if starts && world.policy.ready == Ready::Notify {
            // Who has a process only after that is late at once, which takes a moment.
            let due = world.supervisor.poll_timeout().is_some_and(|at| at <= world.now);
            let limit = if due { Duration::MAX } else { world.properties.online_limits[worker] };
            let in_time = world.now - process.born <= limit || has_asked(world, process);
            assert!(in_time, "{worker:?} starts for ever");
        }
    }
}

/// Whether it has asked for time that is not over yet.
fn has_asked(world: &World, process: &Process) -> bool {
    process.extended.is_some_and(|(_, until)| world.now <= until)
}

/// Whether it may live longer than its limit because it has asked: not in a ladder that somebody wanted to be short.
fn may_be_extended(world: &World, process: &Process) -> bool {
    let usual = process.told_at.is_none() || process.limits.1 == world.policy.stop_timeout;
    let on_time = |(at, limit): &(Time, Duration)| world.now <= *at + *limit;
    has_asked(world, process) && usual && world.properties.hastened.iter().all(on_time)
}

/// Whether it asked, while it was ending, for time that is not over yet, and the ladder is surely the usual one.
fn must_be_extended(world: &World, process: &Process) -> bool {
    let Some((asked_at, until)) = process.extended else { return false };
    let ends_since = process.told_at.into_iter().chain(process.offline_at).min();
    let usual = process.told_at.is_none() || process.limits.0 == world.policy.stop_timeout;
    usual && ends_since.is_some_and(|since| since < asked_at) && world.now < until
}

/// What a first process leaves behind has the rest of its limit, or five seconds.
fn remnants_end(world: &World) {
    let remnants = world.processes.iter().filter(|(_, process)| process.life == Life::Remnant);
    for (worker, process) in remnants.filter(|(_, process)| process.killed_at.is_none()) {
        let (since, limit) = match process.told_at {
            Some(told_at) => (told_at, process.limits.1),
            None => (process.died_at.expect("it is a remnant"), SHORT),
        };
        let told = process.told_at.is_some();
        let in_time = world.now - since <= limit || told && may_be_extended(world, process);
        assert!(in_time, "the group of {worker:?} outlives its limit");
    }
}

fn the_old_are_killed_by_a_late_abort(world: &World) {
    let Some(live) = world.properties.aborted_late else { return };
    for (worker, process) in world.processes.iter().filter(|(_, process)| process.generation < live) {
        let lives = process.life == Life::Alive && process.killed_at.is_none();
        assert!(!lives, "{worker:?} outlives an abort after the flip");
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

/// In a rolling deploy no more slots than asked for have processes of both generations, those apart that have survived
/// KILL.
fn few_slots_are_under_way(world: &World, status: &Status) {
    let rolling = status.deploy.as_ref().filter(|deploy| deploy.phase == "rolling");
    let (Some(deploy), Some(surge)) = (rolling, world.properties.surge) else { return };
    let slots_of = |generation| -> BTreeSet<u32> {
        let there = |process: &&Process| process.generation == generation && process.life != Life::Empty;
        world
            .processes
            .values()
            .filter(|process| there(process) && !survives(process))
            .map(|process| process.slot)
            .collect()
    };
    let (old, new) = (slots_of(status.generation.unwrap_or(0)), slots_of(deploy.generation));
    let both = old.intersection(&new).count();
    assert!(both <= surge as usize, "{both} slots are under way at a time: {status:?}");
}
