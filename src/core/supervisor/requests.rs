//! What somebody wants: accepted, remembered for later, or refused; and the answers.
//!
//! A signal that comes at a bad moment is remembered, since its sender cannot see a refusal; a client is refused and
//! told why. Each question of a client gets exactly one answer.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::core::generation::Generation;
use crate::core::limit::Limit;
use crate::core::notice::{Busy, Failure, Notice, Refusal, ScaleNews};
use crate::core::worker::{Input, State, Worker};
use crate::core::{Answer, Asker, Effect, Request, Scale, Spec, Time, WorkerId};
use crate::wire::control::message::{Deploy, Outcome};

use super::{Activity, Farewell, Supervisor, Terms};

/// More would be a mistake in typing.
const WORKERS: RangeInclusive<u32> = 1..=65_535;

impl Supervisor {
    pub(super) fn requested(&mut self, now: Time, asker: Asker, request: Request) {
        match request {
            Request::Deploy(deploy) => self.deploy(now, asker, &deploy),
            Request::Rollback(deploy) => self.roll_back(now, asker, &deploy),
            Request::Abort => self.abort(now, asker),
            Request::Scale(scale) => self.scale(now, asker, scale),
            Request::Stop { timeout } => self.stop(now, asker, timeout),
            Request::Interrupt => self.interrupt(now, asker),
            Request::Kill => self.kill_all(now, asker),
            Request::Signal { signal, slot } => self.signal(asker, signal, slot),
        }
    }

    fn deploy(&mut self, now: Time, asker: Asker, deploy: &Deploy) {
        let Some(serving) = self.undisturbed() else { return self.postpone_deploy(asker) };
        let spec = serving.spec.changed_by(deploy);
        self.deploy_spec(now, asker, deploy, spec);
    }

    /// What the generation before ran. Where that is the same, the difference is in files, which are not ours.
    fn roll_back(&mut self, now: Time, asker: Asker, deploy: &Deploy) {
        let Some(serving) = self.undisturbed() else { return self.postpone_deploy(asker) };
        match &self.previous {
            None => self.refuse(asker, Refusal::NothingBefore),
            Some(previous) if *previous == serving.spec => self.refuse(asker, Refusal::OnlyFilesChanged),
            Some(previous) => {
                let spec = previous.clone();
                self.deploy_spec(now, asker, deploy, spec);
            }
        }
    }

    fn deploy_spec(&mut self, now: Time, asker: Asker, deploy: &Deploy, spec: Spec) {
        let Some(serving) = &self.serving else { return };
        let count = deploy.workers.unwrap_or_else(|| serving.count());
        let is = serving.number;
        if let Some(wanted) = deploy.if_generation.filter(|wanted| *wanted != is) {
            self.refuse(asker, Refusal::OtherGeneration { is, wanted });
        } else if !WORKERS.contains(&count) {
            self.refuse_count(asker);
        } else {
            let terms = Terms::new(now, asker, deploy, &self.policy);
            self.begin_deploy(now, spec, count, terms);
        }
    }

    /// To the first process of each worker that serves: others may not handle it yet, or no more.
    fn signal(&mut self, asker: Asker, signal: i32, slot: Option<u32>) {
        let serves = |worker: &&Worker| {
            matches!(worker.state, State::Online { .. }) && slot.is_none_or(|slot| slot == worker.slot)
        };
        let to: Vec<WorkerId> = self.workers.values().filter(serves).map(|worker| worker.id).collect();
        let notice = Notice::Signalled { asker, signal, slot, workers: to.len() };
        let outcome = if to.is_empty() { Outcome::Failed } else { Outcome::Done };
        self.effects.extend(to.into_iter().map(|worker| Effect::Signal { worker, signal }));
        self.notice(notice.clone());
        self.answer(asker, Answer { outcome, notice });
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
            Asker::Client { .. } => self.refuse(asker, Refusal::Busy(self.busy())),
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
        self.resize(now, asker, count, target);
    }

    fn postpone_scale(&mut self, asker: Asker, scale: Scale) {
        if self.activity.is_ending() {
            return self.refuse(asker, Refusal::Stopping);
        }
        match asker {
            Asker::Client { .. } => self.refuse(asker, Refusal::Busy(self.busy())),
            Asker::Boot | Asker::Signal(_) => match scale {
                Scale::To(_) => self.refuse(asker, Refusal::Busy(self.busy())),
                Scale::By(more) => {
                    self.waiting.scale = self.waiting.scale.saturating_add(more);
                    self.refuse(asker, Refusal::Summed { more: self.waiting.scale });
                }
            },
        }
    }

    fn busy(&self) -> Busy {
        if matches!(self.activity, Activity::Growing { .. }) {
            return Busy::Scale;
        }
        match self.history.last().filter(|_| self.serving.is_some()) {
            Some(deploy) => Busy::Deploy { generation: deploy.generation, asker: deploy.asker },
            None => Busy::Boot,
        }
    }

    fn resize(&mut self, now: Time, asker: Asker, from: u32, to: u32) {
        if !WORKERS.contains(&to) {
            self.refuse_count(asker);
        } else if to > from {
            self.grow(now, asker, from, to);
        } else {
            self.shrink(now, asker, from, to);
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
        let notice = Notice::Scale(ScaleNews::Grown { count, after: now - since });
        self.notice(notice.clone());
        self.answer(asker, Answer { outcome: Outcome::Done, notice });
    }

    /// A worker of a new slot died, was late or gave up: the count is as it was.
    pub(super) fn fail_growth(&mut self, now: Time, id: WorkerId, failure: Failure) {
        let Some(serving) = &mut self.serving else { return };
        let Activity::Growing { from, asker, .. } = self.activity else { return };
        let unseated = serving.resize(from, now);
        let notice = Notice::Scale(ScaleNews::Failed { failure, count: from });
        self.notice(notice.clone());
        self.activity = Activity::Serving;
        let superfluous = unseated.into_iter().chain([id]);
        self.part(now, asker, superfluous, self.policy.short(), Answer { outcome: Outcome::Failed, notice });
    }

    /// The highest slots go, with all that is left of those who had them.
    fn shrink(&mut self, now: Time, asker: Asker, from: u32, to: u32) {
        let Some(serving) = &mut self.serving else { return };
        serving.resize(to, now);
        let number = serving.number;
        let of_serving = self.awaited_of(number);
        if from != to {
            self.notice(Notice::Scale(ScaleNews::Began { from, to }));
        }
        let slot = |id: &WorkerId| self.workers.get(id).map_or(0, |worker| worker.slot);
        let superfluous: Vec<WorkerId> = of_serving.into_iter().filter(|id| slot(id) >= to).collect();
        let notice = Notice::Scale(ScaleNews::Shrunk { count: to });
        let answer = Answer { outcome: Outcome::Done, notice };
        self.part(now, asker, superfluous, Limit::Usual, answer);
    }

    /// Retires workers, and gives the answer when they are gone.
    fn part(
        &mut self,
        now: Time,
        asker: Asker,
        workers: impl IntoIterator<Item = WorkerId>,
        limit: Limit,
        answer: Answer,
    ) {
        let awaited = |id: &WorkerId| self.workers.get(id).is_some_and(Worker::is_awaited);
        let leaving: BTreeSet<WorkerId> = workers.into_iter().filter(awaited).collect();
        self.farewells.push(Farewell { asker, leaving: leaving.clone(), answer });
        self.step_all(now, leaving, Input::Retire { limit });
    }

    /// Runs one thing that signals asked for at a bad moment. A deploy goes before a new count.
    pub(super) fn run_waiting(&mut self, now: Time) {
        if let Some(asker) = self.waiting.deploy.take() {
            self.deploy(now, asker, &Deploy::default());
        } else {
            let more = std::mem::take(&mut self.waiting.scale);
            let count = self.serving.as_ref().map_or(0, Generation::count);
            // As far as it goes: so much of the sum is what each signal alone would have led to.
            let target = count.saturating_add_signed(more).clamp(*WORKERS.start(), *WORKERS.end());
            if target == count {
                self.refuse_count(Asker::Signal("TTIN/TTOU"));
            } else {
                self.scale(now, Asker::Signal("TTIN/TTOU"), Scale::To(target));
            }
        }
    }

    pub(super) fn answer(&mut self, asker: Asker, answer: Answer) {
        match asker {
            Asker::Client { client, .. } => self.effects.push_back(Effect::Reply { client, answer }),
            Asker::Boot | Asker::Signal(_) => {}
        }
    }

    pub(super) fn answer_all(&mut self, askers: Vec<Asker>, answer: &Answer) {
        for asker in askers {
            self.answer(asker, answer.clone());
        }
    }

    fn refuse_count(&mut self, asker: Asker) {
        self.refuse(asker, Refusal::Count { least: *WORKERS.start(), most: *WORKERS.end() });
    }

    pub(super) fn refuse(&mut self, asker: Asker, why: Refusal) {
        let why = Notice::Refused { asker, why };
        match asker {
            Asker::Client { .. } => self.answer(asker, Answer { outcome: Outcome::Refused, notice: why }),
            Asker::Boot | Asker::Signal(_) => self.notice(why),
        }
    }
}
