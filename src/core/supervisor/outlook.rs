//! What srvwrap's own manager wants to know: what goes on, how far it is, and until when it may last.
//!
//! Short, because it is asked for after everything that happens. What people want to know is in `status.rs`.

use crate::core::worker::{State, Worker};
use crate::core::{Asker, Notice, Time};

use super::{Activity, Supervisor};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outlook<'a> {
    pub(crate) phase: Phase,
    /// The committed generation, after boot.
    pub(crate) generation: Option<u32>,
    /// The target count, and how many slots have a worker that serves; in the boot, of what is booted.
    pub(crate) count: u32,
    pub(crate) online: u32,
    /// The last generation that a deploy was begun of; the boot is that of 1.
    pub(crate) begun: u32,
    /// In a deploy: how many its generation is to have, and how many of those are online.
    pub(crate) of_deploy: (u32, u32),
    /// How many workers are still to end.
    pub(crate) leaving: u32,
    /// When what is waited for is over at the latest; nothing while it serves.
    pub(crate) until: Option<Time>,
    /// Why the last deploy, or the boot, has not come off.
    pub(crate) failed: Option<&'a Notice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Booting,
    Serving,
    Deploying,
    /// The new generation is committed, and the old one ends.
    Draining,
    /// A deploy has failed, and what it has started ends.
    Undoing,
    /// Of a boot that has failed, too.
    Stopping,
}

impl Supervisor {
    pub(crate) fn outlook(&self, now: Time) -> Outlook<'_> {
        let phase = self.phase();
        let deploy = self.deploy_status();
        let own = self.activity.deadline();
        let workers = self.workers.values().filter_map(|worker| self.waited_for(now, worker));
        let until = own.into_iter().chain(workers).max().filter(|_| phase != Phase::Serving);
        let ends = |worker: &&Worker| worker.is_awaited() && !matches!(worker.state, State::Online { .. });
        let leaving = if phase == Phase::Stopping {
            self.workers.values().filter(ends).count().try_into().unwrap_or(u32::MAX)
        } else {
            deploy.as_ref().map_or(0, |deploy| deploy.leaving)
        };
        let counts = self.status_counts();
        Outlook {
            phase,
            generation: self.committed(),
            count: counts.0,
            online: counts.1,
            begun: self.next_generation - 1,
            of_deploy: deploy.map_or((0, 0), |deploy| (deploy.count, deploy.online)),
            leaving,
            until,
            failed: self.last_failed(),
        }
    }

    /// Nothing where a stop has cut it short, which is no fault of it.
    fn last_failed(&self) -> Option<&Notice> {
        let last = self.history.last().filter(|last| !last.live)?;
        last.end.as_ref().map(|end| &end.notice).filter(|why| **why != Notice::CutShort)
    }

    fn phase(&self) -> Phase {
        match &self.activity {
            Activity::Serving | Activity::Growing { .. } => Phase::Serving,
            Activity::Failing { failed, .. } if failed.asker == Asker::Boot => Phase::Stopping,
            Activity::Deploying { .. } if self.serving.is_none() => Phase::Booting,
            Activity::Deploying { .. } | Activity::Baking { .. } | Activity::Rolling { .. } => {
                Phase::Deploying
            }
            Activity::Draining { .. } => Phase::Draining,
            Activity::PuttingBack { .. } | Activity::Failing { .. } => Phase::Undoing,
            Activity::Stopping { .. } | Activity::Sweeping { .. } => Phase::Stopping,
            Activity::SweepingHard { .. } | Activity::Ended => Phase::Stopping,
        }
    }

    /// Until when a worker is waited for: one that starts, where it is what goes on, and each that ends.
    fn waited_for(&self, now: Time, worker: &Worker) -> Option<Time> {
        let committed = self.committed();
        let comes = match &self.activity {
            Activity::PuttingBack { .. } => committed == Some(worker.generation),
            Activity::Deploying { .. } | Activity::Rolling { .. } => committed != Some(worker.generation),
            Activity::Serving | Activity::Growing { .. } | Activity::Baking { .. } => false,
            Activity::Draining { .. } | Activity::Failing { .. } | Activity::Stopping { .. } => false,
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } | Activity::Ended => false,
        };
        match worker.state {
            State::Spawning => Some(worker.born + worker.online_timeout).filter(|_| comes),
            State::Starting { late_at, .. } => Some(late_at).filter(|_| comes),
            State::Unwanted { limit } => Some(now + limit.time(&self.policy)),
            State::Leaving { deadline } | State::Retiring { deadline } | State::Remnant { deadline } => {
                Some(deadline.kill_at)
            }
            State::Killed { give_up_at } => Some(give_up_at),
            State::Online { .. } | State::Stuck | State::Gone => None,
        }
    }
}
