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
use crate::core::limit::Limit;
use crate::core::notice::{DeployNews, Failure, Fault, Notice, Refusal};
use crate::core::worker::{Heard, Input};
use crate::core::{Answer, Asker, Effect, OnCrash, Spec, Time, WorkerId};
use crate::wire::control::message::Outcome;

use super::history::Deployed;
use super::{Activity, Failed, Stop, Supervisor, Terms};

/// srvwrap's exit code where the first boot fails.
pub(super) const BOOT_FAILED: u8 = 1;
/// The same where it was aborted.
const BOOT_ABORTED: u8 = 5;

impl Supervisor {
    pub(super) fn begin_deploy(&mut self, now: Time, spec: Spec, count: u32, terms: Terms) {
        let number = self.next_generation;
        self.next_generation += 1;
        self.history.begin(Deployed {
            generation: number,
            asker: terms.asker,
            count,
            at: now,
            changed: self.changes(&spec, count),
            live: false,
            end: None,
        });
        if let Some(serving) = &self.serving {
            // Before another program touches the listeners: how does the serving generation have them?
            self.effects.push_back(Effect::Listen { generation: serving.number });
            let surge = terms.surge.map(|surge| surge.min(count));
            self.tell_deploy(number, DeployNews::Began { count, asker: terms.asker, surge });
        }
        let mut next = Generation::new(number, spec, count, now);
        self.activity = if terms.surge.is_some() && self.serving.is_some() {
            next.close_all();
            Activity::Rolling { next, terms, baked_at: None }
        } else {
            Activity::Deploying { next, terms }
        };
    }

    /// What differs from the committed generation.
    fn changes(&self, spec: &Spec, count: u32) -> Vec<String> {
        let Some(serving) = &self.serving else { return Vec::new() };
        let mut changes = spec.differences(&serving.spec);
        if count != serving.count() {
            changes.push(format!("workers {} -> {count}", serving.count()));
        }
        changes
    }

    pub(super) fn tell_deploy(&mut self, generation: u32, news: DeployNews) {
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
                let protocol = self.policy.protocol;
                self.fail_with(now, Notice::BootFailed { failure, heard, protocol, listeners }, code);
            }
        }
    }

    fn boot_code(&self, fault: &Fault) -> u8 {
        let by_worker = fault.exit_code().filter(|_| self.policy.on_crash == OnCrash::Exit);
        fault.exec_code().or(by_worker).unwrap_or(BOOT_FAILED)
    }

    pub(super) fn fail_with(&mut self, now: Time, failure: Notice, code: u8) {
        self.end_deploy(now, Outcome::Failed, failure, Vec::new(), code);
    }

    /// Whatever ends a deploy before its flip: its workers get the short stop ladder, and nothing else changes.
    fn end_deploy(&mut self, now: Time, outcome: Outcome, why: Notice, aborters: Vec<Asker>, code: u8) {
        let Some((next, terms)) = self.take_next() else { return };
        self.notice(why.clone());
        self.history.end(now, outcome, &why);
        let failed = Failed { asker: terms.asker, aborters, answer: Answer { outcome, notice: why }, code };
        if let Some(at_once) = terms.surge.filter(|_| self.serving.is_some()) {
            return self.put_back(now, next, at_once, failed);
        }
        let leaving = self.awaited_of(next.number);
        self.activity = Activity::Failing { leaving: leaving.clone(), failed };
        self.step_all(now, leaving, Input::Retire { limit: self.policy.short() });
    }

    /// The generation that is not to be, and the terms of its deploy.
    fn take_next(&mut self) -> Option<(Generation, Terms)> {
        match std::mem::replace(&mut self.activity, Activity::Serving) {
            Activity::Deploying { next, terms } | Activity::Baking { next, terms, .. } => Some((next, terms)),
            Activity::Rolling { next, terms, .. } => Some((next, terms)),
            other @ (Activity::Serving
            | Activity::Growing { .. }
            | Activity::Draining { .. }
            | Activity::PuttingBack { .. }
            | Activity::Failing { .. }
            | Activity::Stopping { .. }
            | Activity::Sweeping { .. }
            | Activity::SweepingHard { .. }
            | Activity::Ended) => {
                self.activity = other;
                None
            }
        }
    }

    /// The spec is committed, and the old generation retires.
    pub(super) fn flip(&mut self, now: Time, next: Generation, terms: Terms) {
        let (number, count) = (next.number, next.count());
        let old = self.serving.replace(next);
        self.history.commit();
        let leaving = old.as_ref().map(|old| self.awaited_of(old.number)).unwrap_or_default();
        let notice = match old {
            None => Notice::Booted { count, after: now - terms.since },
            Some(old) => {
                let (number_of_old, leaving) = (old.number, leaving.len());
                let news = match terms.surge {
                    None => DeployNews::Flipped { old: number_of_old, leaving },
                    Some(_) => DeployNews::FlippedLast { old: number_of_old, leaving },
                };
                self.previous = Some(old.spec);
                Notice::Deploy { generation: number, news }
            }
        };
        if !terms.wait {
            self.answer(terms.asker, Answer { outcome: Outcome::Done, notice: notice.clone() });
        }
        self.notice(notice);
        let (aborters, outcome) = (Vec::new(), Outcome::Done);
        self.activity = Activity::Draining { leaving: leaving.clone(), terms, aborters, outcome };
        self.step_all(now, leaving, Input::Retire { limit: Limit::Usual });
    }

    /// The old generation is gone: the deploy is done.
    pub(super) fn finish_draining(
        &mut self,
        now: Time,
        terms: Terms,
        aborters: Vec<Asker>,
        outcome: Outcome,
    ) {
        let Some((generation, count)) =
            self.serving.as_ref().map(|serving| (serving.number, serving.count()))
        else {
            return;
        };
        let after = now - terms.since;
        let news = match outcome {
            Outcome::Done => DeployNews::Done { count, after },
            Outcome::TimedOut | Outcome::Aborted | Outcome::Failed | Outcome::Refused => {
                DeployNews::DoneLate { outcome, count, after }
            }
        };
        let boots = terms.asker == Asker::Boot;
        let notice =
            if boots { Notice::Booted { count, after } } else { Notice::Deploy { generation, news } };
        if !boots {
            self.notice(notice.clone());
        }
        self.history.end(now, outcome, &notice);
        if terms.wait {
            self.answer(terms.asker, Answer { outcome, notice: notice.clone() });
        }
        self.answer_all(aborters, &Answer { outcome: Outcome::Done, notice });
    }

    /// What a failed deploy had started is gone: now it is answered.
    pub(super) fn finish_failing(&mut self, now: Time, failed: Failed) {
        let Failed { asker, aborters, answer, code } = failed;
        self.answer_all(aborters, &Answer { outcome: Outcome::Done, notice: answer.notice.clone() });
        self.answer(asker, answer);
        if asker == Asker::Boot {
            self.begin_sweep(now, Stop { code, ..Stop::default() }, now);
        }
    }

    /// Before the flip an abort ends the new workers; after it, it kills the old ones at once. A deploy that had failed
    /// before stays a failed one.
    pub(super) fn abort(&mut self, now: Time, by: Asker) {
        match &mut self.activity {
            Activity::Deploying { .. } | Activity::Baking { .. } | Activity::Rolling { .. } => {
                let why = self.why_ended(|keeps| DeployNews::Aborted { by, keeps });
                self.end_deploy(now, Outcome::Aborted, why, vec![by], BOOT_ABORTED);
            }
            Activity::Draining { aborters, outcome, .. } => {
                aborters.push(by);
                if *outcome == Outcome::Done {
                    *outcome = Outcome::Aborted;
                }
                self.kill_leaving(now, |killed| DeployNews::AbortedLate { by, killed });
            }
            Activity::PuttingBack { failed, .. } | Activity::Failing { failed, .. } => {
                failed.aborters.push(by);
            }
            Activity::Serving | Activity::Growing { .. } | Activity::Ended => {
                self.refuse(by, Refusal::NothingToAbort);
            }
            Activity::Stopping { .. } | Activity::Sweeping { .. } | Activity::SweepingHard { .. } => {
                self.refuse(by, Refusal::NothingToAbort);
            }
        }
    }

    /// The whole time of a deploy is over: as an abort, but told and answered as what it is. Returns whether it is so.
    pub(super) fn time_out(&mut self, now: Time) -> bool {
        let Some(terms) = self.activity.terms().copied() else { return false };
        let Some(until) = terms.until.filter(|until| *until <= now) else { return false };
        let limit = until - terms.since;
        if let Activity::Draining { terms, outcome, .. } = &mut self.activity {
            terms.until = None;
            if *outcome == Outcome::Done {
                *outcome = Outcome::TimedOut;
                self.kill_leaving(now, |killed| DeployNews::TimedOutLate { limit, killed });
            }
        } else {
            let why = self.why_ended(|keeps| DeployNews::TimedOut { limit, keeps });
            self.end_deploy(now, Outcome::TimedOut, why, Vec::new(), BOOT_ABORTED);
        }
        true
    }

    fn why_ended(&self, news: impl Fn(Option<u32>) -> DeployNews) -> Notice {
        let generation = self.activity.next_generation().map_or(0, |next| next.number);
        Notice::Deploy { generation, news: news(self.serving.as_ref().map(|serving| serving.number)) }
    }

    /// The deploy is live: the old workers go at once.
    fn kill_leaving(&mut self, now: Time, news: impl Fn(usize) -> DeployNews) {
        let Activity::Draining { leaving, .. } = &self.activity else { return };
        let leaving: BTreeSet<WorkerId> = leaving.clone();
        let generation = self.serving.as_ref().map_or(0, |serving| serving.number);
        self.tell_deploy(generation, news(leaving.len()));
        self.step_all(now, leaving, Input::Kill);
    }
}
