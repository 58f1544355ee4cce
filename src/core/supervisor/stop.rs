//! The end of srvwrap: every worker told, then every other child, then the exit code.
//!
//! ```text
//!   Stopping (workers) ──> Sweeping (TERM to strangers) ──> SweepingHard (KILL) ──> Ended
//! ```
//!
//! Whoever asked something that a stop cuts short gets its answer here. The listeners close once all are told.

use std::time::Duration;

use crate::core::limit::Limit;
use crate::core::notice::Notice;
use crate::core::worker::Input;
use crate::core::{Answer, Asker, Effect, Time, WorkerId};
use crate::wire::control::message::Outcome;

use super::{Activity, Failed, Stop, Supervisor};

/// Strangers get so long from TERM to KILL, where the workers have left less of the stop limit.
const STRANGERS: Duration = Duration::from_millis(500);
/// After KILL to strangers nobody is waited for longer than this.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// A second INT counts only so long after the first, because terminals and managers send it twice.
const SECOND_INTERRUPT: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn stop(&mut self, now: Time, asker: Asker, timeout: Option<Duration>) {
        match self.activity.stop_mut() {
            Some(stop) => {
                stop.askers.push(asker);
                if let Some(limit) = timeout {
                    self.hasten_stop(now, limit);
                }
            }
            None => self.begin_stop(now, Some(asker), timeout.map_or(Limit::Usual, Limit::Firm), 0),
        }
    }

    /// A stop that is under way gets no more than this from now on.
    fn hasten_stop(&mut self, now: Time, limit: Duration) {
        if let Activity::Stopping { kill_at, .. } | Activity::Sweeping { kill_at, .. } = &mut self.activity {
            *kill_at = (*kill_at).min(now + limit);
        }
        let all: Vec<WorkerId> = self.workers.keys().copied().collect();
        self.step_all(now, all, Input::Retire { limit: Limit::Firm(limit) });
    }

    /// The first one stops, as [`Self::stop`]; the second one kills.
    pub(super) fn interrupt(&mut self, now: Time, asker: Asker) {
        let first = self.activity.stop_mut().and_then(|stop| stop.interrupted_at);
        if first.is_some_and(|first| now - first >= SECOND_INTERRUPT) {
            self.kill_all(now, asker);
            return;
        }
        self.stop(now, asker, None);
        if let Some(stop) = self.activity.stop_mut() {
            stop.interrupted_at.get_or_insert(now);
        }
    }

    /// Ends everything now.
    pub(super) fn kill_all(&mut self, now: Time, asker: Asker) {
        if !self.activity.is_ending() {
            self.begin_stop(now, Some(asker), Limit::Firm(Duration::ZERO), 0);
            return;
        }
        self.stop(now, asker, None);
        self.notice(Notice::Killing { asker, workers: self.alive() });
        self.kill_workers(now);
        if let Activity::Stopping { kill_at, .. } | Activity::Sweeping { kill_at, .. } = &mut self.activity {
            *kill_at = now;
        }
    }

    /// Tells every worker to stop. `asker` is none where a worker's end or a lost listener is the reason.
    pub(super) fn begin_stop(&mut self, now: Time, asker: Option<Asker>, limit: Limit, code: u8) {
        let code = self.cut_short(now, code);
        let time = limit.time(&self.policy);
        if let Some(serving) = &mut self.serving {
            serving.slots.clear();
        }
        if let Some(asker) = asker {
            let workers = self.alive();
            let killing = Notice::Killing { asker, workers };
            self.notice(if time.is_zero() {
                killing
            } else {
                Notice::Stopping { asker, workers, limit: time }
            });
        }
        let stop = Stop { askers: asker.into_iter().collect(), code, ..Stop::default() };
        self.activity = Activity::Stopping { stop, kill_at: now + time };
        if time.is_zero() {
            self.kill_workers(now);
        } else {
            let all: Vec<WorkerId> = self.workers.keys().copied().collect();
            self.step_all(now, all, Input::Retire { limit });
        }
        self.effects.push_back(Effect::CloseListeners);
    }

    fn alive(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_alive()).count()
    }

    fn kill_workers(&mut self, now: Time) {
        let all: Vec<WorkerId> = self.workers.keys().copied().collect();
        self.step_all(now, all, Input::Kill);
    }

    /// Answers what will not be finished. A boot that has failed keeps its exit code.
    fn cut_short(&mut self, now: Time, code: u8) -> u8 {
        let cut = Answer { outcome: Outcome::Aborted, notice: Notice::CutShort };
        for farewell in std::mem::take(&mut self.farewells) {
            let done = farewell.answer.outcome == Outcome::Done;
            self.answer(farewell.asker, if done { cut.clone() } else { farewell.answer });
        }
        match std::mem::replace(&mut self.activity, Activity::Serving) {
            Activity::Deploying { terms, .. }
            | Activity::Baking { terms, .. }
            | Activity::Rolling { terms, .. } => {
                self.history.end(now, Outcome::Aborted, &cut.notice);
                self.answer(terms.asker, cut);
            }
            Activity::Growing { asker, .. } => self.answer(asker, cut),
            Activity::Draining { terms, aborters, .. } => {
                self.history.end(now, Outcome::Aborted, &cut.notice);
                if terms.wait {
                    self.answer(terms.asker, cut.clone());
                }
                self.answer_all(aborters, &Answer { outcome: Outcome::Done, ..cut });
            }
            Activity::PuttingBack { failed, .. } | Activity::Failing { failed, .. } => {
                let Failed { asker, aborters, answer, code: failed } = failed;
                self.answer_all(aborters, &Answer { outcome: Outcome::Done, ..answer.clone() });
                self.answer(asker, answer);
                return if asker == Asker::Boot { failed } else { code };
            }
            Activity::Serving | Activity::Ended | Activity::Stopping { .. } => {}
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } => {}
        }
        code
    }

    /// No worker is left. What they have started and left behind ends now too.
    pub(super) fn begin_sweep(&mut self, now: Time, stop: Stop, kill_at: Time) {
        let kill_at = kill_at.max(now + STRANGERS);
        self.activity = Activity::Sweeping { stop, kill_at };
        self.effects.push_back(Effect::Sweep { kill: false });
    }

    pub(super) fn sweep_hard(&mut self, now: Time, stop: Stop) {
        self.activity = Activity::SweepingHard { stop, give_up_at: now + LAST_WAIT };
        self.effects.push_back(Effect::Sweep { kill: true });
    }

    /// Its own children are ours now, and nobody has told them yet.
    pub(super) fn stranger_died(&mut self) {
        match self.activity {
            Activity::Sweeping { .. } => self.effects.push_back(Effect::Sweep { kill: false }),
            Activity::SweepingHard { .. } => self.effects.push_back(Effect::Sweep { kill: true }),
            Activity::Serving | Activity::Deploying { .. } | Activity::Baking { .. } => {}
            Activity::Rolling { .. } | Activity::PuttingBack { .. } => {}
            Activity::Draining { .. } | Activity::Failing { .. } | Activity::Growing { .. } => {}
            Activity::Stopping { .. } | Activity::Ended => {}
        }
    }

    pub(super) fn childless(&mut self) {
        let stop = match &mut self.activity {
            Activity::Sweeping { stop, .. } | Activity::SweepingHard { stop, .. } => std::mem::take(stop),
            Activity::Serving | Activity::Deploying { .. } | Activity::Baking { .. } => return,
            Activity::Rolling { .. } | Activity::PuttingBack { .. } => return,
            Activity::Draining { .. } | Activity::Failing { .. } | Activity::Growing { .. } => return,
            Activity::Stopping { .. } | Activity::Ended => return,
        };
        self.end(stop);
    }

    pub(super) fn end(&mut self, stop: Stop) {
        let Stop { askers, code, killed, interrupted_at: _ } = stop;
        // Any other code has its reason said already; that somebody had to be killed is told all the same.
        let notice = Notice::Stopped { killed };
        if code == 0 || killed > 0 {
            self.notice(notice.clone());
        }
        self.answer_all(askers, &Answer { outcome: Outcome::Done, notice });
        self.activity = Activity::Ended;
        self.effects.push_back(Effect::End { code });
    }
}

impl Activity {
    pub(super) fn stop_mut(&mut self) -> Option<&mut Stop> {
        match self {
            Activity::Stopping { stop, .. } | Activity::Sweeping { stop, .. } => Some(stop),
            Activity::SweepingHard { stop, .. } => Some(stop),
            Activity::Serving | Activity::Deploying { .. } | Activity::Baking { .. } => None,
            Activity::Rolling { .. } | Activity::PuttingBack { .. } => None,
            Activity::Draining { .. } | Activity::Failing { .. } | Activity::Growing { .. } => None,
            Activity::Ended => None,
        }
    }

    pub(super) fn count_killed(&mut self) {
        if let Some(stop) = self.stop_mut() {
            stop.killed += 1;
        }
    }
}
