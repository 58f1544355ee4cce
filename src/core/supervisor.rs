//! All generations: keeps every slot filled, and answers what is asked of it.
//!
//! ```text
//!   handle_event ──> requests.rs  what somebody wants: deploy, abort, scale, stop
//!               └──> Worker::step ──> turns.rs  what a worker's turn means to its slot
//!   then always  ──> settle.rs    vacant slots are filled, and what several machines make true together is acted on
//! ```
//!
//! At any moment it does one [`Activity`]; keeping slots filled goes on during all but the last three. It does not
//! know how a worker lives (`worker.rs`) nor how a slot is filled (`generation.rs`).

mod deploy;
mod listeners;
mod requests;
mod settle;
mod stop;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::wire::worker::Said;

use super::backoff::Random;
use super::generation::Generation;
use super::notice::{Fault, Notice, Who};
use super::worker::{Heard, Input, State, Worker};
use super::{Answer, Asker, Effect, Event, Policy, Spec, Time, WorkerId};
use listeners::Told;

/// The finite state machine that decides everything. Its whole interface is [`Supervisor::handle_event`],
/// [`Supervisor::handle_timeout`], [`Supervisor::poll_timeout`] and [`Supervisor::poll_effect`].
#[derive(Clone, Debug)]
pub(crate) struct Supervisor {
    policy: Policy,
    /// The addresses of the listeners, for notices.
    listeners: Vec<String>,
    workers: BTreeMap<WorkerId, Worker>,
    /// The committed generation. None until the end of boot.
    serving: Option<Generation>,
    activity: Activity,
    waiting: Waiting,
    /// Scales that are over but for workers that are not gone yet.
    farewells: Vec<Farewell>,
    /// When a listener was last shut down and nobody could be named, and its address.
    unnamed_shut: Option<(Time, String)>,
    /// What was told of each listener that was shut down.
    told_shut: BTreeMap<usize, Told>,
    /// When a listener last had to be bound anew.
    rebound_at: Option<Time>,
    effects: VecDeque<Effect>,
    random: Random,
    next_worker: u64,
    next_generation: u32,
}

/// What goes on beside keeping the slots filled.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Activity {
    /// Nothing.
    Serving,
    /// The new generation comes online beside the old one. At boot there is no old one.
    Deploying {
        next: Generation,
        asker: Asker,
        since: Time,
    },
    /// Both serve, to see whether the new one lives.
    Baking {
        next: Generation,
        asker: Asker,
        since: Time,
        until: Time,
    },
    /// The new generation is committed, and the old one retires.
    Draining {
        leaving: BTreeSet<WorkerId>,
        asker: Asker,
        aborters: Vec<Asker>,
        since: Time,
    },
    /// What a deploy had started retires. At boot srvwrap then ends with `code`.
    Failing {
        leaving: BTreeSet<WorkerId>,
        asker: Asker,
        aborters: Vec<Asker>,
        answer: Answer,
        code: u8,
    },
    /// The slots from `from` on come online.
    Growing {
        from: u32,
        asker: Asker,
        since: Time,
    },
    /// Every worker was told to stop.
    Stopping {
        stop: Stop,
        kill_at: Time,
    },
    /// No worker is left; other children are told to end, and at `kill_at` killed.
    Sweeping {
        stop: Stop,
        kill_at: Time,
    },
    /// They were killed.
    SweepingHard {
        stop: Stop,
        give_up_at: Time,
    },
    Ended,
}

/// What every part of a stop knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stop {
    askers: Vec<Asker>,
    /// The exit code at its end.
    code: u8,
    /// When INT first asked for it.
    interrupted_at: Option<Time>,
    /// How many workers were sent KILL while they lived.
    killed: u32,
}

/// What signals asked for at a bad moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Waiting {
    deploy: Option<Asker>,
    scale: i32,
}

/// A scale down, or a scale up that failed: answered when the workers that it makes superfluous are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Farewell {
    asker: Asker,
    leaving: BTreeSet<WorkerId>,
    answer: Answer,
}

/// How things are at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// The committed one, after boot.
    pub(crate) generation: Option<u32>,
    /// The target count.
    pub(crate) count: u32,
    /// The generation that comes online now.
    pub(crate) deploying: Option<u32>,
    pub(crate) workers: Vec<WorkerStatus>,
}

/// How one worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerStatus {
    pub(crate) worker: WorkerId,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) pid: u32,
    pub(crate) age: Duration,
    /// One word, as the README explains it.
    pub(crate) state: &'static str,
    /// Whether a slot counts on it.
    pub(crate) seated: bool,
}

impl Supervisor {
    /// Starts to boot `count` workers of `spec`. `listeners` are the addresses that it says srvwrap holds; `seed`
    /// spreads retries.
    pub(crate) fn new(
        policy: Policy,
        listeners: Vec<String>,
        spec: Spec,
        count: u32,
        seed: u64,
        now: Time,
    ) -> Supervisor {
        let mut supervisor = Supervisor {
            policy,
            listeners,
            workers: BTreeMap::new(),
            serving: None,
            activity: Activity::Serving,
            waiting: Waiting::default(),
            farewells: Vec::new(),
            unnamed_shut: None,
            told_shut: BTreeMap::new(),
            rebound_at: None,
            effects: VecDeque::new(),
            random: Random::new(seed),
            next_worker: 1,
            next_generation: 1,
        };
        supervisor.begin_deploy(now, Asker::Boot, spec, count);
        supervisor.settle(now);
        supervisor
    }

    /// Takes in what happened. After [`Effect::End`] nothing that happens matters.
    pub(crate) fn handle_event(&mut self, now: Time, event: Event) {
        if self.activity == Activity::Ended {
            return;
        }
        match event {
            Event::Spawned { worker, pid } => self.step(now, worker, Input::Spawned { pid }, Fault::None),
            Event::SpawnFailed { worker, why } => {
                self.step(now, worker, Input::SpawnFailed, Fault::NotSpawned(why));
            }
            Event::Executed { worker } => self.step(now, worker, Input::Executed, Fault::None),
            Event::Said { worker, said } => self.said(now, worker, said),
            Event::Hushed { worker } => self.hushed(now, worker),
            Event::Died { worker, ending } => {
                self.suspect_dead(now, worker);
                self.step(now, worker, Input::Died, Fault::Ended(ending));
            }
            Event::Emptied { worker } => self.step(now, worker, Input::Emptied, Fault::None),
            Event::Requested { asker, request } => self.requested(now, asker, request),
            Event::Listened { generation, nonblocking } => self.listened(generation, &nonblocking),
            Event::ListenerShut { listener, outcome } => self.listener_shut(now, listener, outcome),
            Event::StrangerDied => self.stranger_died(),
            Event::Childless => self.childless(),
        }
        self.settle(now);
    }

    /// Takes in that it is `now`: everything that was due by then happens. Afterwards [`Self::poll_timeout`] is later.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        // What expires, or follows from it, may set a limit of zero for another: go on until nothing is due.
        loop {
            let due = |worker: &Worker| worker.deadline().is_some_and(|at| at <= now);
            let expired: Vec<WorkerId> =
                self.workers.values().filter(|worker| due(worker)).map(|worker| worker.id).collect();
            for worker in &expired {
                // The step of one before it may have given it another deadline: two that are late fail one deploy.
                if self.workers.get(worker).is_some_and(due) {
                    self.step(now, *worker, Input::Expired, Fault::Late(self.policy.online_timeout));
                }
            }
            self.settle(now);
            if expired.is_empty() {
                break;
            }
        }
    }

    /// When [`Self::handle_timeout`] is to be called next, if nothing happens before.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let workers = self.workers.values().filter_map(Worker::deadline).min();
        let (slots, activity) = match &self.activity {
            Activity::Deploying { next, .. } => (self.vacancies(Some(next)), None),
            Activity::Baking { next, until, .. } => (self.vacancies(Some(next)), Some(*until)),
            Activity::Sweeping { kill_at, .. } => (None, Some(*kill_at)),
            Activity::SweepingHard { give_up_at, .. } => (None, Some(*give_up_at)),
            Activity::Stopping { .. } | Activity::Ended => (None, None),
            Activity::Serving | Activity::Growing { .. } => (self.vacancies(None), None),
            Activity::Draining { .. } | Activity::Failing { .. } => (self.vacancies(None), None),
        };
        [workers, slots, activity].into_iter().flatten().min()
    }

    /// The next thing to do, in the order in which they are to be done.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What a generation runs. None where it is wanted no longer, as when an earlier [`Effect::Spawn`] has failed its
    /// deploy: then a spawn that is still to be done fails too, which is [`Event::SpawnFailed`] as ever.
    pub(crate) fn spec(&self, generation: u32) -> Option<&Spec> {
        let known = [self.serving.as_ref(), self.activity.next_generation()];
        known.into_iter().flatten().find(|known| known.number == generation).map(|known| &known.spec)
    }

    /// How things are: what `status` prints, and what the simulation checks.
    #[cfg_attr(not(test), expect(dead_code, reason = "there is no control socket yet"))]
    pub(crate) fn status(&self, now: Time) -> Status {
        let seated: BTreeSet<WorkerId> = [self.serving.as_ref(), self.activity.next_generation()]
            .into_iter()
            .flatten()
            .flat_map(Generation::seated)
            .collect();
        let row = |worker: &Worker| WorkerStatus {
            worker: worker.id,
            slot: worker.slot,
            generation: worker.generation,
            pid: worker.pid,
            age: now - worker.born,
            state: worker.state.name(),
            seated: seated.contains(&worker.id),
        };
        Status {
            generation: self.serving.as_ref().map(|serving| serving.number),
            count: self.serving.as_ref().map_or(0, Generation::count),
            deploying: self.activity.next_generation().map(|next| next.number),
            workers: self.workers.values().map(row).collect(),
        }
    }

    fn vacancies(&self, next: Option<&Generation>) -> Option<Time> {
        [self.serving.as_ref(), next].into_iter().flatten().filter_map(Generation::deadline).min()
    }

    /// One step of a worker's life, and what its turn means. A late event finds nobody.
    fn step(&mut self, now: Time, id: WorkerId, input: Input, fault: Fault) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let who = Who { slot: worker.slot, pid: worker.pid };
        let was_alive = worker.is_alive();
        let turn = worker.step(now, input, &self.policy, &mut self.effects);
        let (awaited, gone) = (worker.is_awaited(), worker.state == State::Gone);
        if was_alive && matches!(worker.state, State::Killed { .. }) {
            self.activity.count_killed();
        }
        if let Some(turn) = turn {
            self.turned(now, id, who, turn, fault);
        }
        if !awaited {
            self.no_longer_awaited(id);
        }
        if gone {
            self.forget(id);
        }
    }

    fn said(&mut self, now: Time, id: WorkerId, said: Said) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.heard = Heard::Words;
        }
        match said {
            Said::Online(readiness) => self.step(now, id, Input::SaidOnline(readiness), Fault::None),
            Said::Offline { why } => self.step(now, id, Input::SaidOffline, Fault::GaveUp(why)),
            // A status is for the control socket and a ping for the ping timeout, neither of which exists yet.
            Said::Status(_) | Said::Ping | Said::Unknown => {}
        }
    }

    /// End of file decides nothing: who says nothing more may still serve.
    fn hushed(&mut self, now: Time, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.heard == Heard::Nothing) {
            worker.heard = Heard::End;
        }
        self.step(now, id, Input::Hushed, Fault::None);
    }

    fn notice(&mut self, notice: Notice) {
        self.effects.push_back(Effect::Notice(notice));
    }

    /// The workers of one generation whose end is still waited for.
    fn awaited_of(&self, generation: u32) -> BTreeSet<WorkerId> {
        let of = |worker: &&Worker| worker.generation == generation && worker.is_awaited();
        self.workers.values().filter(of).map(|worker| worker.id).collect()
    }

    fn step_all(&mut self, now: Time, workers: impl IntoIterator<Item = WorkerId>, input: Input) {
        for worker in workers {
            self.step(now, worker, input, Fault::None);
        }
    }
}

impl Activity {
    fn next_generation(&self) -> Option<&Generation> {
        match self {
            Activity::Deploying { next, .. } | Activity::Baking { next, .. } => Some(next),
            Activity::Serving | Activity::Growing { .. } | Activity::Draining { .. } => None,
            Activity::Failing { .. } | Activity::Stopping { .. } | Activity::Ended => None,
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } => None,
        }
    }

    fn next_generation_mut(&mut self) -> Option<&mut Generation> {
        match self {
            Activity::Deploying { next, .. } | Activity::Baking { next, .. } => Some(next),
            Activity::Serving | Activity::Growing { .. } | Activity::Draining { .. } => None,
            Activity::Failing { .. } | Activity::Stopping { .. } | Activity::Ended => None,
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } => None,
        }
    }

    fn is_ending(&self) -> bool {
        matches!(
            self,
            Activity::Stopping { .. }
                | Activity::Sweeping { .. }
                | Activity::SweepingHard { .. }
                | Activity::Ended
        )
    }
}
