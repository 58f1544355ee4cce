//! Conditions that join several machines: run after every event, until nothing more follows.
//!
//! All slots online: flip. The last old worker gone: the deploy is done. The last worker gone in a stop: the end.

use crate::core::generation::Generation;
use crate::core::notice::{DeployNews, Notice};
use crate::core::worker::Worker;
use crate::core::{Effect, Time, WorkerId};

use super::{Activity, Farewell, Supervisor};

impl Supervisor {
    pub(super) fn settle(&mut self, now: Time) {
        self.fill(now);
        while self.advance(now) {
            self.fill(now);
        }
        self.say_farewell();
    }

    /// Makes a worker for every slot whose next attempt is due.
    fn fill(&mut self, now: Time) {
        if self.activity.is_ending() {
            return;
        }
        let Supervisor { serving, activity, workers, effects, next_worker, .. } = self;
        for generation in [serving.as_mut(), activity.next_generation_mut()].into_iter().flatten() {
            for slot in generation.due(now) {
                let worker = WorkerId(*next_worker);
                *next_worker += 1;
                workers.insert(worker, Worker::new(worker, slot, generation.number, now));
                effects.push_back(Effect::Spawn { worker, slot, generation: generation.number });
                generation.slot(slot).expect("it was due").take(worker);
            }
        }
    }

    /// One step of what goes on, where it is due. Returns whether there was one.
    fn advance(&mut self, now: Time) -> bool {
        if !self.is_due(now) {
            return false;
        }
        match std::mem::replace(&mut self.activity, Activity::Serving) {
            Activity::Serving => self.run_waiting(now),
            Activity::Deploying { next, asker, since }
                if self.policy.bake.is_zero() || self.serving.is_none() =>
            {
                self.flip(now, next, asker, since);
            }
            Activity::Deploying { next, asker, since } => {
                let news = DeployNews::Baking { time: self.policy.bake };
                self.notice(Notice::Deploy { generation: next.number, news });
                let until = now + self.policy.bake;
                self.activity = Activity::Baking { next, asker, since, until };
            }
            Activity::Baking { next, asker, since, until: _ } => self.flip(now, next, asker, since),
            Activity::Draining { leaving: _, asker, aborters, since } => {
                self.finish_draining(now, asker, aborters, since);
            }
            Activity::Failing { leaving: _, asker, aborters, answer, code } => {
                self.finish_failing(now, asker, aborters, answer, code);
            }
            Activity::Growing { from: _, asker, since } => self.finish_growth(now, asker, since),
            Activity::Stopping { stop, kill_at } => self.begin_sweep(now, stop, kill_at),
            Activity::Sweeping { stop, kill_at: _ } => self.sweep_hard(now, stop),
            Activity::SweepingHard { stop, give_up_at: _ } => self.end(stop),
            Activity::Ended => self.activity = Activity::Ended,
        }
        true
    }

    fn is_due(&self, now: Time) -> bool {
        match &self.activity {
            Activity::Serving => self.waiting.deploy.is_some() || self.waiting.scale != 0,
            Activity::Deploying { next, .. } => next.is_complete(),
            Activity::Baking { next, until, .. } => *until <= now && next.is_complete(),
            Activity::Draining { leaving, .. } | Activity::Failing { leaving, .. } => leaving.is_empty(),
            Activity::Growing { from, .. } => {
                self.serving.as_ref().is_some_and(|serving| grown(serving, *from))
            }
            Activity::Stopping { .. } => !self.workers.values().any(Worker::is_awaited),
            Activity::Sweeping { kill_at, .. } => *kill_at <= now,
            Activity::SweepingHard { give_up_at, .. } => *give_up_at <= now,
            Activity::Ended => false,
        }
    }

    fn say_farewell(&mut self) {
        if self.farewells.iter().all(|farewell| !farewell.leaving.is_empty()) {
            return;
        }
        let (gone, left): (Vec<Farewell>, _) =
            std::mem::take(&mut self.farewells).into_iter().partition(|farewell| farewell.leaving.is_empty());
        self.farewells = left;
        for farewell in gone {
            self.answer(farewell.asker, farewell.answer);
        }
    }
}

fn grown(serving: &Generation, from: u32) -> bool {
    let from = usize::try_from(from).expect("a u32 is a usize here");
    serving.slots.iter().skip(from).all(|slot| slot.seat.is_filled())
}
