//! What somebody wants: accepted, remembered for later, or refused; and the answers.
//!
//! A signal that comes at a bad moment is remembered, since its sender cannot see a refusal; a client is refused and
//! told why. Each question of a client gets exactly one answer.

use crate::core::generation::Generation;
use crate::core::notice::{Fault, Notice, Refusal, ScaleNews, Who};
use crate::core::worker::Input;
use crate::core::{Answer, Asker, Effect, Request, Scale, Spec, Time, WorkerId};

use super::{Activity, Farewell, Supervisor};

/// More would be a mistake in typing.
const MOST_WORKERS: u32 = 65_535;

impl Supervisor {
    pub(super) fn requested(&mut self, now: Time, asker: Asker, request: Request) {
        match request {
            Request::Deploy { spec, count } => self.deploy(now, asker, spec, count),
            Request::Abort => self.abort(now, asker),
            Request::Scale(scale) => self.scale(now, asker, scale),
            Request::Stop => self.stop(now, asker),
            Request::Interrupt => self.interrupt(now, asker),
            Request::Kill => self.kill_all(now, asker),
        }
    }

    fn deploy(&mut self, now: Time, asker: Asker, spec: Option<Spec>, count: Option<u32>) {
        let Some(serving) = self.undisturbed() else { return self.postpone_deploy(asker) };
        let spec = spec.unwrap_or_else(|| serving.spec.clone());
        let count = count.unwrap_or_else(|| serving.count());
        self.begin_deploy(now, asker, spec, count);
    }

    /// The committed generation, while nothing goes on beside keeping its slots filled.
    fn undisturbed(&self) -> Option<&Generation> {
        self.serving.as_ref().filter(|_| self.activity == Activity::Serving)
    }

    fn postpone_deploy(&mut self, asker: Asker) {
        if self.activity.is_ending() {
            return self.refuse(asker, Refusal::Stopping);
        }
        match asker {
            Asker::Client(_) => self.refuse(asker, Refusal::Busy),
            Asker::Boot | Asker::Signal(_) => {
                if self.waiting.deploy.replace(asker).is_none() {
                    self.refuse(asker, Refusal::Remembered);
                }
            }
        }
    }

    /// The target count changes; generation and spec do not.
    fn scale(&mut self, now: Time, asker: Asker, scale: Scale) {
        let Some(serving) = self.undisturbed() else { return self.postpone_scale(asker, scale) };
        let count = serving.count();
        let target = match scale {
            Scale::To(target) => target,
            Scale::By(more) => count.saturating_add_signed(more),
        };
        if target == 0 || target > MOST_WORKERS {
            self.refuse(asker, Refusal::Count { least: 1, most: MOST_WORKERS });
        } else if target > count {
            self.grow(now, asker, count, target);
        } else {
            self.shrink(now, asker, count, target);
        }
    }

    fn postpone_scale(&mut self, asker: Asker, scale: Scale) {
        if self.activity.is_ending() {
            return self.refuse(asker, Refusal::Stopping);
        }
        match asker {
            Asker::Client(_) => self.refuse(asker, Refusal::Busy),
            Asker::Boot | Asker::Signal(_) => match scale {
                Scale::To(_) => self.refuse(asker, Refusal::Busy),
                Scale::By(more) => self.waiting.scale = self.waiting.scale.saturating_add(more),
            },
        }
    }

    fn grow(&mut self, now: Time, asker: Asker, from: u32, to: u32) {
        if let Some(serving) = &mut self.serving {
            serving.resize(to, now);
            self.notice(Notice::Scale(ScaleNews::Began { from, to }));
            self.activity = Activity::Growing { from, asker, since: now };
        }
    }

    pub(super) fn finish_growth(&mut self, now: Time, asker: Asker, since: Time) {
        let count = self.serving.as_ref().map_or(0, |serving| serving.count());
        self.notice(Notice::Scale(ScaleNews::Grown { count, after: now - since }));
        self.answer(asker, Answer::Done);
    }

    /// A worker of a new slot died or was late: the count is as it was.
    pub(super) fn fail_growth(&mut self, now: Time, who: Who, fault: Fault) {
        let Some(serving) = &mut self.serving else { return };
        let Activity::Growing { from, asker, .. } = self.activity else { return };
        let unseated = serving.resize(from, now);
        let (number, aborters) = (serving.number, Vec::new());
        let failure = Notice::Scale(ScaleNews::Failed { who, fault, count: from });
        self.notice(failure.clone());
        let of_new_slots = |id: &WorkerId| self.workers.get(id).is_some_and(|worker| worker.slot >= from);
        let leaving = self.awaited_of(number).into_iter().filter(of_new_slots).collect();
        self.activity = Activity::Failing { leaving, asker, aborters, failure, code: 1 };
        self.step_all(now, unseated, Input::Retire { limit: self.policy.short_limit() });
    }

    /// The highest slots go.
    fn shrink(&mut self, now: Time, asker: Asker, from: u32, to: u32) {
        let Some(serving) = &mut self.serving else { return };
        let unseated = serving.resize(to, now);
        if from != to {
            self.notice(Notice::Scale(ScaleNews::Began { from, to }));
        }
        self.farewells.push(Farewell { asker, leaving: unseated.iter().copied().collect() });
        self.step_all(now, unseated, Input::Retire { limit: self.policy.stop_timeout });
    }

    /// Runs one thing that signals asked for at a bad moment. A deploy goes before a new count.
    pub(super) fn run_waiting(&mut self, now: Time) {
        if let Some(asker) = self.waiting.deploy.take() {
            self.deploy(now, asker, None, None);
        } else {
            let more = std::mem::take(&mut self.waiting.scale);
            self.scale(now, Asker::Signal("TTIN/TTOU"), Scale::By(more));
        }
    }

    pub(super) fn answer(&mut self, asker: Asker, answer: Answer) {
        match asker {
            Asker::Client(client) => self.effects.push_back(Effect::Reply { client, answer }),
            Asker::Boot | Asker::Signal(_) => {}
        }
    }

    pub(super) fn answer_all(&mut self, askers: Vec<Asker>, answer: &Answer) {
        for asker in askers {
            self.answer(asker, answer.clone());
        }
    }

    pub(super) fn refuse(&mut self, asker: Asker, why: Refusal) {
        let why = Notice::Refused { asker, why };
        match asker {
            Asker::Client(client) => {
                self.effects.push_back(Effect::Reply { client, answer: Answer::Refused(why) });
            }
            Asker::Boot | Asker::Signal(_) => self.notice(why),
        }
    }
}
