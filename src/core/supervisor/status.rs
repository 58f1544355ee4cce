//! How things are at one moment: what `status` tells, and what the simulation checks.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::core::generation::Generation;
use crate::core::notice::Failure;
use crate::core::worker::{State, Worker};
use crate::core::{Asker, Spec, Time, WorkerId};
use crate::wire::control::message::Counts;

use super::{Activity, Supervisor};

/// How things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// One word for what goes on beside keeping the slots filled.
    pub(crate) activity: &'static str,
    /// The committed generation, after boot.
    pub(crate) generation: Option<u32>,
    /// The target count; in the boot, what is booted; none in a stop.
    pub(crate) count: u32,
    /// So many slots have a worker that serves.
    pub(crate) online: u32,
    /// What the committed generation runs; in the boot, what is booted.
    pub(crate) spec: Spec,
    pub(crate) deploy: Option<DeployStatus>,
    /// By slot, then by age, the oldest first.
    pub(crate) workers: Vec<WorkerStatus>,
    pub(crate) waiting: Vec<WaitingStatus>,
}

/// How the deploy under way is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeployStatus {
    pub(crate) generation: u32,
    pub(crate) phase: &'static str,
    pub(crate) asker: Asker,
    pub(crate) online: u32,
    pub(crate) count: u32,
    /// So many workers are still to end.
    pub(crate) leaving: u32,
    pub(crate) since: Time,
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
    /// How often its slot was filled anew.
    pub(crate) restarts: u32,
    /// How many workers of its slot failed in a row, unless it has shown itself that it does not.
    pub(crate) failures: u32,
    /// The last failure of its slot, and its moment.
    pub(crate) last_failure: Option<(Time, Failure)>,
    /// What it said last of itself.
    pub(crate) said: String,
}

/// A slot of the committed generation whose next worker is started later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitingStatus {
    pub(crate) slot: u32,
    pub(crate) retry_in: Duration,
    pub(crate) failures: u32,
    pub(crate) failure: Option<Failure>,
}

impl Supervisor {
    /// How things are.
    pub(crate) fn status(&self, now: Time) -> Status {
        let known = || [self.serving.as_ref(), self.activity.next_generation()].into_iter().flatten();
        let seated: BTreeSet<WorkerId> = known().flat_map(Generation::seated).collect();
        let mut workers: Vec<WorkerStatus> =
            self.workers.values().map(|worker| self.worker_status(now, worker, &seated)).collect();
        workers.sort_by_key(|row| (row.slot, row.worker));
        Status {
            activity: self.activity_word(),
            generation: self.serving.as_ref().map(|serving| serving.number),
            count: self.wanted(),
            online: self.slots_online(),
            spec: known().next().map(|generation| generation.spec.clone()).unwrap_or_default(),
            deploy: self.deploy_status(),
            workers,
            waiting: self.waiting_status(now),
        }
    }

    /// How many workers there are of each kind.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts { workers: self.wanted(), ..Counts::default() };
        for worker in self.workers.values() {
            match worker.state {
                State::Spawning | State::Starting { .. } => counts.starting += 1,
                State::Online { .. } => counts.online += 1,
                State::Unwanted { .. } | State::Leaving { .. } | State::Retiring { .. } => {
                    counts.retiring += 1;
                }
                State::Killed { .. } | State::Remnant { .. } => counts.retiring += 1,
                State::Stuck | State::Gone => {}
            }
        }
        counts
    }

    /// The committed generation, after boot.
    pub(crate) fn committed(&self) -> Option<u32> {
        self.serving.as_ref().map(|serving| serving.number)
    }

    /// Whether the boot is over, no stop has begun, and at least one worker serves.
    pub(crate) fn is_ready(&self) -> bool {
        let serves = |worker: &Worker| matches!(worker.state, State::Online { .. });
        self.serving.is_some() && !self.activity.is_ending() && self.workers.values().any(serves)
    }

    /// The target count, and how many slots have a worker that serves.
    pub(super) fn status_counts(&self) -> (u32, u32) {
        (self.wanted(), self.slots_online())
    }

    /// The target count; in the boot, what is booted.
    fn wanted(&self) -> u32 {
        let booting = || self.activity.next_generation();
        self.serving.as_ref().or_else(booting).map_or(0, Generation::count)
    }

    /// Slots with a worker that serves: of either generation, since a rolling deploy takes them over one by one.
    fn slots_online(&self) -> u32 {
        let count = self.wanted();
        let online = |worker: &&Worker| matches!(worker.state, State::Online { .. }) && worker.slot < count;
        let slots: BTreeSet<u32> = self.workers.values().filter(online).map(|worker| worker.slot).collect();
        u32::try_from(slots.len()).unwrap_or(u32::MAX)
    }

    fn worker_status(&self, now: Time, worker: &Worker, seated: &BTreeSet<WorkerId>) -> WorkerStatus {
        let known = [self.serving.as_ref(), self.activity.next_generation()];
        let its = known.into_iter().flatten().find(|known| known.number == worker.generation);
        let slot = usize::try_from(worker.slot).expect("a u32 is a usize here");
        let slot = its.and_then(|its| its.slots.get(slot));
        let served = match worker.state {
            State::Online { since, .. } => now - since,
            State::Spawning | State::Unwanted { .. } | State::Starting { .. } => Duration::ZERO,
            State::Leaving { .. } | State::Retiring { .. } | State::Killed { .. } => Duration::ZERO,
            State::Remnant { .. } | State::Stuck | State::Gone => Duration::ZERO,
        };
        WorkerStatus {
            worker: worker.id,
            slot: worker.slot,
            generation: worker.generation,
            pid: worker.pid,
            age: now - worker.born,
            state: worker.state.name(),
            seated: seated.contains(&worker.id),
            restarts: slot.map_or(0, |slot| slot.restarts),
            failures: slot.map_or(0, |slot| slot.backoff.in_a_row(served)),
            last_failure: slot.and_then(|slot| slot.failure.clone()),
            said: worker.said.clone(),
        }
    }

    fn waiting_status(&self, now: Time) -> Vec<WaitingStatus> {
        let slots = self.serving.iter().flat_map(|serving| (0..).zip(&serving.slots));
        slots
            .filter_map(|(number, slot)| {
                let retry_at = slot.retry_at()?;
                let failures = slot.backoff.in_a_row(Duration::ZERO);
                let failure = slot.failure.as_ref().map(|(_, failure)| failure);
                let failure = slot.leaves.as_ref().or(failure).cloned();
                Some(WaitingStatus { slot: number, retry_in: retry_at - now, failures, failure })
            })
            .collect()
    }

    fn activity_word(&self) -> &'static str {
        let boots = self.serving.is_none();
        match self.activity {
            Activity::Serving => "serving",
            Activity::Deploying { .. } | Activity::Failing { .. } if boots => "booting",
            Activity::Deploying { .. } | Activity::Baking { .. } | Activity::Rolling { .. } => "deploying",
            Activity::PuttingBack { .. } | Activity::Draining { .. } | Activity::Failing { .. } => {
                "deploying"
            }
            Activity::Growing { .. } => "scaling",
            Activity::Stopping { .. } | Activity::Sweeping { .. } => "stopping",
            Activity::SweepingHard { .. } | Activity::Ended => "stopping",
        }
    }

    pub(super) fn deploy_status(&self) -> Option<DeployStatus> {
        let (phase, leaving) = match &self.activity {
            Activity::Deploying { .. } => ("starting", 0),
            Activity::Baking { .. } | Activity::Rolling { baked_at: Some(_), .. } => ("baking", 0),
            Activity::Rolling { baked_at: None, .. } => ("rolling", 0),
            Activity::PuttingBack { .. } => ("putting-back", 0),
            Activity::Draining { leaving, .. } => ("draining", leaving.len()),
            Activity::Failing { leaving, .. } => ("failing", leaving.len()),
            Activity::Serving | Activity::Growing { .. } | Activity::Stopping { .. } => return None,
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } | Activity::Ended => return None,
        };
        let record = self.history.last()?;
        let online = |worker: &&Worker| {
            worker.generation == record.generation && matches!(worker.state, State::Online { .. })
        };
        Some(DeployStatus {
            generation: record.generation,
            phase,
            asker: record.asker,
            online: u32::try_from(self.workers.values().filter(online).count()).unwrap_or(u32::MAX),
            count: record.count,
            leaving: u32::try_from(leaving).unwrap_or(u32::MAX),
            since: record.at,
        })
    }
}
