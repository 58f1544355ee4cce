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
mod history;
mod listeners;
mod outlook;
mod requests;
mod rolling;
mod settle;
mod status;
mod stop;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::wire::control::message::{Deploy, Outcome};
use crate::wire::worker::Said;

use super::backoff::Random;
use super::generation::Generation;
use super::notice::{Fault, Notice, Who};
use super::worker::{Heard, Input, State, Worker};
use super::{Answer, Asker, Effect, Event, Policy, Protocol, Spec, Time, WorkerId};
pub(crate) use history::Deployed;
use history::History;
use listeners::Told;
pub(crate) use outlook::{Outlook, Phase};
pub(crate) use status::Status;
#[cfg(test)]
pub(crate) use status::WorkerStatus;

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
    /// What the generation before it ran.
    previous: Option<Spec>,
    activity: Activity,
    history: History,
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
        terms: Terms,
    },
    /// Both serve, to see whether the new one lives.
    Baking {
        next: Generation,
        terms: Terms,
        until: Time,
    },
    /// The new generation takes some slots at a time over from the old one. `baked_at`: it has all of them, and is
    /// committed then.
    Rolling {
        next: Generation,
        terms: Terms,
        baked_at: Option<Time>,
    },
    /// A rolling deploy has failed: the old generation takes its slots back, some at a time, until `give_up_at`.
    PuttingBack {
        next: Generation,
        at_once: u32,
        failed: Failed,
        give_up_at: Time,
    },
    /// The new generation is committed, and the old one retires.
    Draining {
        leaving: BTreeSet<WorkerId>,
        terms: Terms,
        aborters: Vec<Asker>,
        outcome: Outcome,
    },
    /// What a deploy had started retires. At boot srvwrap then ends.
    Failing {
        leaving: BTreeSet<WorkerId>,
        failed: Failed,
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

/// Who asked for a deploy, and on which terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    asker: Asker,
    since: Time,
    /// When its whole time is over.
    until: Option<Time>,
    online_timeout: Duration,
    bake: Duration,
    /// So many slots at a time; none is all at once.
    surge: Option<u32>,
    /// Whether it is answered when the old generation is gone, and not already at the flip.
    wait: bool,
}

/// A deploy that will not come off: how it is answered, and the exit code where it was the boot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed {
    asker: Asker,
    aborters: Vec<Asker>,
    answer: Answer,
    code: u8,
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
            previous: None,
            activity: Activity::Serving,
            history: History::default(),
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
        let terms = Terms::new(now, Asker::Boot, &Deploy::default(), &supervisor.policy);
        supervisor.begin_deploy(now, spec, count, terms);
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
                    let limit = self.workers[worker].online_timeout;
                    let is_mute = self.policy.protocol == Protocol::Systemd;
                    let fault = if is_mute { Fault::Mute(limit) } else { Fault::Late(limit) };
                    self.step(now, *worker, Input::Expired, fault);
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
        let slots = match &self.activity {
            Activity::Stopping { .. } | Activity::Sweeping { .. } | Activity::SweepingHard { .. } => None,
            Activity::Ended => None,
            Activity::Serving | Activity::Growing { .. } | Activity::Draining { .. } => self.vacancies(),
            Activity::Deploying { .. } | Activity::Baking { .. } | Activity::Rolling { .. } => {
                self.vacancies()
            }
            Activity::PuttingBack { .. } | Activity::Failing { .. } => self.vacancies(),
        };
        let activity = self.activity.deadline();
        [workers, slots, activity].into_iter().flatten().min()
    }

    /// The next thing to do, in the order in which they are to be done.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What a generation runs. None where it is wanted no longer.
    pub(crate) fn spec(&self, generation: u32) -> Option<&Spec> {
        let known = [self.serving.as_ref(), self.activity.next_generation()];
        known.into_iter().flatten().find(|known| known.number == generation).map(|known| &known.spec)
    }

    fn vacancies(&self) -> Option<Time> {
        let known = [self.serving.as_ref(), self.activity.next_generation()];
        known.into_iter().flatten().filter_map(Generation::deadline).min()
    }

    /// One step of a worker's life, and what its turn means. A late event finds nobody.
    fn step(&mut self, now: Time, id: WorkerId, input: Input, fault: Fault) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let who = Who::of(worker);
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
            Said::Status(text) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.said = text;
                }
            }
            Said::Extend(time) => self.step(now, id, Input::Extended { time }, Fault::None),
            // A ping is for the ping timeout, which does not exist yet.
            Said::Ping | Said::Unknown => {}
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
        let mut unmade = BTreeSet::new();
        for worker in workers {
            self.step(now, worker, input, Fault::None);
            if self.workers.get(&worker).is_some_and(|worker| matches!(worker.state, State::Unwanted { .. }))
            {
                unmade.insert(worker);
            }
        }
        self.leave_unmade(now, &unmade);
    }

    /// Takes back the orders to make them. There may be thousands, and as an event each of them would be looked at
    /// by everything.
    fn leave_unmade(&mut self, now: Time, unwanted: &BTreeSet<WorkerId>) {
        let mut unmade = Vec::new();
        if !unwanted.is_empty() {
            self.effects.retain(|effect| {
                let Effect::Spawn { worker, .. } = effect else { return true };
                let wanted = !unwanted.contains(worker);
                unmade.extend(Some(*worker).filter(|_| !wanted));
                wanted
            });
        }
        for worker in unmade {
            self.step(now, worker, Input::SpawnFailed, Fault::None);
        }
    }
}

impl Terms {
    fn new(now: Time, asker: Asker, deploy: &Deploy, policy: &Policy) -> Terms {
        Terms {
            asker,
            since: now,
            until: deploy.timeout.map(|timeout| now + timeout),
            online_timeout: deploy.online_timeout.unwrap_or(policy.online_timeout),
            bake: deploy.bake.unwrap_or(policy.bake),
            surge: deploy.surge,
            wait: deploy.wait,
        }
    }
}

impl Activity {
    fn next_generation(&self) -> Option<&Generation> {
        match self {
            Activity::Deploying { next, .. } | Activity::Baking { next, .. } => Some(next),
            Activity::Rolling { next, .. } | Activity::PuttingBack { next, .. } => Some(next),
            Activity::Serving | Activity::Growing { .. } | Activity::Draining { .. } => None,
            Activity::Failing { .. } | Activity::Stopping { .. } | Activity::Ended => None,
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } => None,
        }
    }

    fn next_generation_mut(&mut self) -> Option<&mut Generation> {
        match self {
            Activity::Deploying { next, .. } | Activity::Baking { next, .. } => Some(next),
            Activity::Rolling { next, .. } | Activity::PuttingBack { next, .. } => Some(next),
            Activity::Serving | Activity::Growing { .. } | Activity::Draining { .. } => None,
            Activity::Failing { .. } | Activity::Stopping { .. } | Activity::Ended => None,
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } => None,
        }
    }

    /// The terms of a deploy that may still come off, or is live and not over.
    fn terms(&self) -> Option<&Terms> {
        match self {
            Activity::Deploying { terms, .. } | Activity::Baking { terms, .. } => Some(terms),
            Activity::Rolling { terms, .. } | Activity::Draining { terms, .. } => Some(terms),
            Activity::PuttingBack { .. } | Activity::Failing { .. } => None,
            Activity::Serving | Activity::Growing { .. } | Activity::Stopping { .. } => None,
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } | Activity::Ended => None,
        }
    }

    /// When what goes on is over at the latest, or goes on to its next part.
    fn deadline(&self) -> Option<Time> {
        let own = match self {
            Activity::Baking { until, .. } => Some(*until),
            Activity::Rolling { baked_at, .. } => *baked_at,
            Activity::PuttingBack { give_up_at, .. } => Some(*give_up_at),
            Activity::Sweeping { kill_at, .. } => Some(*kill_at),
            Activity::SweepingHard { give_up_at, .. } => Some(*give_up_at),
            Activity::Deploying { .. } | Activity::Draining { .. } | Activity::Failing { .. } => None,
            Activity::Serving | Activity::Growing { .. } | Activity::Stopping { .. } => None,
            Activity::Ended => None,
        };
        let whole = self.terms().and_then(|terms| terms.until);
        [own, whole].into_iter().flatten().min()
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
