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
use crate::core::notice::{DeployNews, Fault, Notice, Refusal, Who};
use crate::core::worker::Input;
use crate::core::{Answer, Asker, Effect, OnCrash, Spec, Time, WorkerId};

use super::{Activity, Supervisor};

/// srvwrap's exit code where the first boot fails.
const BOOT_FAILED: u8 = 1;
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
    pub(super) fn fail_deploy(&mut self, now: Time, id: WorkerId, who: Who, fault: Fault) {
        let generation = self.activity.next_generation().map_or(0, |next| next.number);
        match &self.serving {
            Some(serving) => {
                let keeps = serving.number;
                let news = DeployNews::Failed { who, fault, keeps };
                self.end_deploy(now, Notice::Deploy { generation, news }, BOOT_FAILED);
            }
            None => {
                let code = self.boot_code(&fault);
                let spoke = self.workers.get(&id).is_some_and(|worker| worker.spoke);
                let listeners = self.listeners.clone();
                self.end_deploy(now, Notice::BootFailed { who, fault, spoke, listeners }, code);
            }
        }
    }

    fn boot_code(&self, fault: &Fault) -> u8 {
        let by_worker = fault.exit_code().filter(|_| self.policy.on_crash == OnCrash::Exit);
        fault.exec_code().or(by_worker).unwrap_or(BOOT_FAILED)
    }

    /// Whatever ends a deploy before its flip: its workers get the short stop ladder, and nothing else changes.
    pub(super) fn end_deploy(&mut self, now: Time, failure: Notice, code: u8) {
        let (next, asker) = match std::mem::replace(&mut self.activity, Activity::Serving) {
            Activity::Deploying { next, asker, .. } | Activity::Baking { next, asker, .. } => (next, asker),
            other => {
                self.activity = other;
                return;
            }
        };
        self.notice(failure.clone());
        let leaving = self.awaited_of(next.number);
        let aborters = Vec::new();
        self.activity = Activity::Failing { leaving: leaving.clone(), asker, aborters, failure, code };
        self.step_all(now, leaving, Input::Retire { limit: self.policy.short_limit() });
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
        failure: Notice,
        code: u8,
    ) {
        let answer = if aborters.is_empty() { Answer::Failed(failure) } else { Answer::Aborted };
        self.answer(asker, answer);
        self.answer_all(aborters, &Answer::Done);
        if asker == Asker::Boot {
            self.begin_sweep(now, Vec::new(), code, now, None, 0);
        }
    }

    /// Before the flip an abort ends the new workers; after it, it kills the old ones at once.
    pub(super) fn abort(&mut self, now: Time, by: Asker) {
        match &mut self.activity {
            Activity::Deploying { next, .. } | Activity::Baking { next, .. } => {
                let (generation, keeps) = (next.number, self.serving.as_ref().map(|serving| serving.number));
                let news = DeployNews::Aborted { keeps };
                self.end_deploy(now, Notice::Deploy { generation, news }, BOOT_ABORTED);
                self.abort(now, by);
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
                self.refuse(by, Refusal::NothingToAbort)
            }
            Activity::Stopping { .. } | Activity::Sweeping { .. } | Activity::SweepingHard { .. } => {
                self.refuse(by, Refusal::NothingToAbort);
            }
        }
    }
}
