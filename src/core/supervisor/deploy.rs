//! A deploy from its start to its answer: all new workers online first, then the old ones retire.
//!
//! ```text
//!   begin ──> Deploying ──> Baking ──> flip ──> Draining ──> done
//!                 └────────────┴─────> fail ──> Failing  ──> answered; nothing else has changed
//! ```
//!
//! Boot is deploy 1 with nothing to fall back on. When the next step is due is decided in `settle.rs`.

use std::collections::BTreeSet;

use crate::core::generation::Generation;
use crate::core::notice::{DeployNews, Failure, Fault, Notice, Refusal};
use crate::core::worker::{Heard, Input};
use crate::core::{Answer, Asker, Effect, OnCrash, Spec, Time, WorkerId};

use super::{Activity, Stop, Supervisor};

/// srvwrap's exit code where the first boot fails.
pub(super) const BOOT_FAILED: u8 = 1;
/// The same where it was aborted.
const BOOT_ABORTED: u8 = 5;

impl Supervisor {
    pub(super) fn begin_deploy(&mut self, now: Time, asker: Asker, spec: Spec, count: u32) {
        let number = self.next_generation;
        self.next_generation += 1;
        if let Some(serving) = &self.serving {
            // Before another program touches the listeners: how does the serving generation have them?
            self.effects.push_back(Effect::Listen { generation: serving.number });
            self.tell_deploy(number, DeployNews::Began { count, asker });
        }
        let next = Generation::new(number, spec, count, now);
        self.activity = Activity::Deploying { next, asker, since: now };
    }

    fn tell_deploy(&mut self, generation: u32, news: DeployNews) {
        self.notice(Notice::Deploy { generation, news });
    }

    /// A worker of the new generation died, was late or gave up. The first one fails the deploy, boot too.
    pub(super) fn fail_deploy(&mut self, now: Time, id: WorkerId, failure: Failure) {
        let generation = self.activity.next_generation().map_or(0, |next| next.number);
        match &self.serving {
            Some(serving) => {
                let keeps = serving.number;
                let news = DeployNews::Failed { failure, keeps };
                self.fail_with(now, Notice::Deploy { generation, news }, BOOT_FAILED);
            }
            None => {
                let code = self.boot_code(&failure.fault);
                let heard = self.workers.get(&id).map_or(Heard::Nothing, |worker| worker.heard);
                let listeners = self.listeners.clone();
                self.fail_with(now, Notice::BootFailed { failure, heard, listeners }, code);
            }
        }
    }

    fn boot_code(&self, fault: &Fault) -> u8 {
        let by_worker = fault.exit_code().filter(|_| self.policy.on_crash == OnCrash::Exit);
        fault.exec_code().or(by_worker).unwrap_or(BOOT_FAILED)
    }

    pub(super) fn fail_with(&mut self, now: Time, failure: Notice, code: u8) {
        self.end_deploy(now, failure.clone(), Answer::Failed(failure), Vec::new(), code);
    }

    /// Whatever ends a deploy before its flip: its workers get the short stop ladder, and nothing else changes.
    fn end_deploy(&mut self, now: Time, why: Notice, answer: Answer, aborters: Vec<Asker>, code: u8) {
        let Some((next, asker)) = self.take_next() else { return };
        self.notice(why);
        let leaving = self.awaited_of(next.number);
        self.activity = Activity::Failing { leaving: leaving.clone(), asker, aborters, answer, code };
        self.step_all(now, leaving, Input::Retire { limit: self.policy.short_limit() });
    }

    /// The generation that is not to be, and who asked for it.
    fn take_next(&mut self) -> Option<(Generation, Asker)> {
        self.activity.next_generation()?;
        match std::mem::replace(&mut self.activity, Activity::Serving) {
            Activity::Deploying { next, asker, .. } | Activity::Baking { next, asker, .. } => {
                Some((next, asker))
            }
            Activity::Serving | Activity::Growing { .. } | Activity::Draining { .. } => None,
            Activity::Failing { .. } | Activity::Stopping { .. } | Activity::Ended => None,
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } => None,
        }
    }

    /// The spec is committed, and the old generation retires.
    pub(super) fn flip(&mut self, now: Time, next: Generation, asker: Asker, since: Time) {
        let (number, count) = (next.number, next.count());
        let old = self.serving.replace(next).map(|old| old.number);
        let leaving = old.map(|old| self.awaited_of(old)).unwrap_or_default();
        match old {
            None => self.notice(Notice::Booted { count, after: now - since }),
            Some(old) => self.tell_deploy(number, DeployNews::Flipped { old, leaving: leaving.len() }),
        }
        let aborters = Vec::new();
        self.activity = Activity::Draining { leaving: leaving.clone(), asker, aborters, since };
        self.step_all(now, leaving, Input::Retire { limit: self.policy.stop_timeout });
    }

    /// The old generation is gone: the deploy is done.
    pub(super) fn finish_draining(&mut self, now: Time, asker: Asker, aborters: Vec<Asker>, since: Time) {
        if let Some(serving) = self.serving.as_ref().filter(|_| asker != Asker::Boot) {
            let (generation, count) = (serving.number, serving.count());
            self.tell_deploy(generation, DeployNews::Done { count, after: now - since });
        }
        let aborted = if aborters.is_empty() { Answer::Done } else { Answer::Aborted };
        self.answer(asker, aborted);
        self.answer_all(aborters, &Answer::Done);
    }

    /// What a failed deploy had started is gone: now it is answered.
    pub(super) fn finish_failing(
        &mut self,
        now: Time,
        asker: Asker,
        aborters: Vec<Asker>,
        answer: Answer,
        code: u8,
    ) {
        self.answer(asker, answer);
        self.answer_all(aborters, &Answer::Done);
        if asker == Asker::Boot {
            self.begin_sweep(now, Stop { code, ..Stop::default() }, now);
        }
    }

    /// Before the flip an abort ends the new workers; after it, it kills the old ones at once. A deploy that had failed
    /// before stays a failed one.
    pub(super) fn abort(&mut self, now: Time, by: Asker) {
        match &mut self.activity {
            Activity::Deploying { next, .. } | Activity::Baking { next, .. } => {
                let (generation, keeps) = (next.number, self.serving.as_ref().map(|serving| serving.number));
                let news = DeployNews::Aborted { keeps };
                let why = Notice::Deploy { generation, news };
                self.end_deploy(now, why, Answer::Aborted, vec![by], BOOT_ABORTED);
            }
            Activity::Draining { leaving, aborters, .. } => {
                aborters.push(by);
                let leaving: BTreeSet<WorkerId> = leaving.clone();
                let generation = self.serving.as_ref().map_or(0, |serving| serving.number);
                self.tell_deploy(generation, DeployNews::AbortedLate { killed: leaving.len() });
                self.step_all(now, leaving, Input::Kill);
            }
            Activity::Failing { aborters, .. } => aborters.push(by),
            Activity::Serving | Activity::Growing { .. } | Activity::Ended => {
                self.refuse(by, Refusal::NothingToAbort);
            }
            Activity::Stopping { .. } | Activity::Sweeping { .. } | Activity::SweepingHard { .. } => {
                self.refuse(by, Refusal::NothingToAbort);
            }
        }
    }
}
