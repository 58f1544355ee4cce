//! The end of srvwrap: every worker told, then every other child, then the exit code.
//!
//! ```text
//!   Stopping (workers) ──> Sweeping (TERM to strangers) ──> SweepingHard (KILL) ──> Ended
//! ```
//!
//! Whoever asked something that a stop cuts short gets its answer here. The listeners close once all are told.

use std::time::Duration;

use crate::core::notice::Notice;
use crate::core::worker::Input;
use crate::core::{Answer, Asker, Effect, Time, WorkerId};

use super::{Activity, Supervisor, Waiting};

/// Strangers get so long from TERM to KILL, where the workers have left less of the stop limit.
const STRANGERS: Duration = Duration::from_millis(500);
/// After KILL to strangers nobody is waited for longer than this.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// A second INT counts only so long after the first, because terminals and managers send it twice.
const SECOND_INTERRUPT: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn stop(&mut self, now: Time, asker: Asker) {
        if let Some(askers) = self.activity.stop_askers() {
            askers.push(asker);
        } else if self.activity == Activity::Ended {
            self.answer(asker, Answer::Done);
        } else {
            self.begin_stop(now, Some(asker), self.policy.stop_timeout, 0);
        }
    }

    /// The first one stops, as [`Self::stop`]; the second one kills.
    pub(super) fn interrupt(&mut self, now: Time, asker: Asker) {
        let first = match &self.activity {
            Activity::Stopping { interrupted_at, .. } | Activity::Sweeping { interrupted_at, .. } => {
                *interrupted_at
            }
            Activity::Serving | Activity::Deploying { .. } | Activity::Baking { .. } => None,
            Activity::Draining { .. } | Activity::Failing { .. } | Activity::Growing { .. } => None,
            Activity::SweepingHard { .. } | Activity::Ended => None,
        };
        if first.is_some_and(|first| now - first >= SECOND_INTERRUPT) {
            self.kill_all(now, asker);
            return;
        }
        self.stop(now, asker);
        if let Activity::Stopping { interrupted_at, .. } | Activity::Sweeping { interrupted_at, .. } =
            &mut self.activity
        {
            interrupted_at.get_or_insert(now);
        }
    }

    /// Ends everything now.
    pub(super) fn kill_all(&mut self, now: Time, asker: Asker) {
        if !self.activity.is_ending() {
            self.begin_stop(now, Some(asker), Duration::ZERO, 0);
            return;
        }
        self.stop(now, asker);
        let all: Vec<WorkerId> = self.workers.keys().copied().collect();
        self.notice(Notice::Killing { asker, workers: all.len() });
        self.kill(now, all);
        if let Activity::Stopping { kill_at, .. } | Activity::Sweeping { kill_at, .. } = &mut self.activity {
            *kill_at = now;
        }
    }

    /// Tells every worker to stop. `asker` is none where a worker's end or a lost listener is the reason.
    pub(super) fn begin_stop(&mut self, now: Time, asker: Option<Asker>, limit: Duration, code: u8) {
        let code = self.cut_short(code);
        if let Some(serving) = &mut self.serving {
            serving.slots.clear();
        }
        let all: Vec<WorkerId> = self.workers.keys().copied().collect();
        let workers = all.len();
        if let Some(asker) = asker {
            let killing = Notice::Killing { asker, workers };
            self.notice(if limit.is_zero() { killing } else { Notice::Stopping { asker, workers } });
        }
        let (askers, kill_at) = (asker.into_iter().collect(), now + limit);
        self.activity = Activity::Stopping { askers, code, kill_at, interrupted_at: None, killed: 0 };
        if limit.is_zero() {
            self.kill(now, all);
        } else {
            self.step_all(now, all, Input::Retire { limit });
        }
        self.effects.push_back(Effect::CloseListeners);
    }

    fn kill(&mut self, now: Time, workers: Vec<WorkerId>) {
        for _ in &workers {
            self.activity.count_killed();
        }
        self.step_all(now, workers, Input::Kill);
    }

    /// Answers what will not be finished. A boot that has failed keeps its exit code.
    fn cut_short(&mut self, code: u8) -> u8 {
        self.waiting = Waiting::default();
        for farewell in std::mem::take(&mut self.farewells) {
            self.answer(farewell.asker, Answer::Aborted);
        }
        match std::mem::replace(&mut self.activity, Activity::Serving) {
            Activity::Deploying { asker, .. } | Activity::Baking { asker, .. } => {
                self.answer(asker, Answer::Aborted);
            }
            Activity::Growing { asker, .. } => self.answer(asker, Answer::Aborted),
            Activity::Draining { asker, aborters, .. } => {
                self.answer(asker, Answer::Aborted);
                self.answer_all(aborters, &Answer::Done);
            }
            Activity::Failing { asker, aborters, code: failed, .. } => {
                self.answer(asker, Answer::Aborted);
                self.answer_all(aborters, &Answer::Done);
                return if asker == Asker::Boot { failed } else { code };
            }
            Activity::Serving | Activity::Ended | Activity::Stopping { .. } => {}
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } => {}
        }
        code
    }

    /// No worker is left. What they have started and left behind ends now too.
    pub(super) fn begin_sweep(
        &mut self,
        now: Time,
        askers: Vec<Asker>,
        code: u8,
        kill_at: Time,
        interrupted_at: Option<Time>,
        killed: u32,
    ) {
        let kill_at = kill_at.max(now + STRANGERS);
        self.activity = Activity::Sweeping { askers, code, kill_at, interrupted_at, killed };
        self.effects.push_back(Effect::Sweep { kill: false });
    }

    pub(super) fn sweep_hard(&mut self, now: Time, askers: Vec<Asker>, code: u8, killed: u32) {
        self.activity = Activity::SweepingHard { askers, code, give_up_at: now + LAST_WAIT, killed };
        self.effects.push_back(Effect::Sweep { kill: true });
    }

    /// Its own children are ours now, and nobody has told them yet.
    pub(super) fn stranger_died(&mut self) {
        match self.activity {
            Activity::Sweeping { .. } => self.effects.push_back(Effect::Sweep { kill: false }),
            Activity::SweepingHard { .. } => self.effects.push_back(Effect::Sweep { kill: true }),
            Activity::Serving | Activity::Deploying { .. } | Activity::Baking { .. } => {}
            Activity::Draining { .. } | Activity::Failing { .. } | Activity::Growing { .. } => {}
            Activity::Stopping { .. } | Activity::Ended => {}
        }
    }

    pub(super) fn childless(&mut self) {
        match std::mem::replace(&mut self.activity, Activity::Serving) {
            Activity::Sweeping { askers, code, killed, .. } => self.end(askers, code, killed),
            Activity::SweepingHard { askers, code, killed, .. } => self.end(askers, code, killed),
            other => self.activity = other,
        }
    }

    pub(super) fn end(&mut self, askers: Vec<Asker>, code: u8, killed: u32) {
        if code == 0 {
            self.notice(Notice::Stopped { killed });
        }
        self.answer_all(askers, &Answer::Done);
        self.activity = Activity::Ended;
        self.effects.push_back(Effect::End { code });
    }
}

impl Activity {
    fn stop_askers(&mut self) -> Option<&mut Vec<Asker>> {
        match self {
            Activity::Stopping { askers, .. } | Activity::Sweeping { askers, .. } => Some(askers),
            Activity::SweepingHard { askers, .. } => Some(askers),
            Activity::Serving | Activity::Deploying { .. } | Activity::Baking { .. } => None,
            Activity::Draining { .. } | Activity::Failing { .. } | Activity::Growing { .. } => None,
            Activity::Ended => None,
        }
    }

    pub(super) fn count_killed(&mut self) {
        match self {
            Activity::Stopping { killed, .. } => *killed += 1,
            Activity::Serving | Activity::Deploying { .. } | Activity::Baking { .. } => {}
            Activity::Draining { .. } | Activity::Failing { .. } | Activity::Growing { .. } => {}
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } | Activity::Ended => {}
        }
    }
}
