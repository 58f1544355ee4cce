//! Conditions that join several machines: run after every event, until nothing more follows.
//!
//! All slots online: flip. The last old worker gone: the deploy is done. The last worker gone in a stop: the end.

use crate::core::generation::Generation;
use crate::core::notice::{DeployNews, Notice, ScaleNews};
use crate::core::worker::Worker;
use crate::core::{Effect, Time, WorkerId};

use super::{Activity, Farewell, Supervisor};

impl Supervisor {
    pub(super) fn settle(&mut self, now: Time) {
        self.fill(now);
        while self.advance(now) || self.time_out(now) {
            self.fill(now);
        }
        self.say_farewell();
    }

    /// Makes a worker for every slot whose next attempt is due.
    fn fill(&mut self, now: Time) {
        if self.activity.is_ending() {
            return;
        }
        self.open_slots(now);
        let of_deploy = self.activity.terms().map(|terms| terms.online_timeout);
        let Supervisor { serving, activity, workers, effects, next_worker, policy, .. } = self;
        let usual = policy.online_timeout;
        let of_next = activity.next_generation_mut().map(|next| (next, of_deploy.unwrap_or(usual)));
        let of_serving = serving.as_mut().map(|serving| (serving, usual));
        for (generation, online_timeout) in [of_serving, of_next].into_iter().flatten() {
            for slot in generation.due(now) {
                let id = WorkerId(*next_worker);
                *next_worker += 1;
                workers.insert(id, Worker::new(id, slot, generation.number, now, online_timeout));
                effects.push_back(Effect::Spawn { worker: id, slot, generation: generation.number });
                generation.slot(slot).expect("it was due").take(id);
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
            Activity::Deploying { next, terms } if terms.bake.is_zero() || self.serving.is_none() => {
                self.flip(now, next, terms);
            }
            Activity::Deploying { next, terms } => {
                self.tell_deploy(next.number, DeployNews::Baking { time: terms.bake });
                self.activity = Activity::Baking { next, terms, until: now + terms.bake };
            }
            Activity::Rolling { next, terms, baked_at: None } if !terms.bake.is_zero() => {
                self.tell_deploy(next.number, DeployNews::BakingAlone { time: terms.bake });
                self.activity = Activity::Rolling { next, terms, baked_at: Some(now + terms.bake) };
            }
            Activity::Baking { next, terms, .. } | Activity::Rolling { next, terms, .. } => {
                self.flip(now, next, terms);
            }
            Activity::PuttingBack { next, failed, .. } => self.stop_putting_back(now, next, failed),
            Activity::Draining { leaving: _, terms, aborters, outcome } => {
                self.finish_draining(now, terms, aborters, outcome);
            }
            Activity::Failing { leaving: _, failed } => self.finish_failing(now, failed),
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
            Activity::Rolling { next, baked_at, .. } => {
                baked_at.is_none_or(|at| at <= now) && next.is_complete()
            }
            Activity::PuttingBack { next, give_up_at, .. } => {
                *give_up_at <= now || next.seated().next().is_none()
            }
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
            if matches!(farewell.answer.notice, Notice::Scale(ScaleNews::Shrunk { .. })) {
                self.notice(farewell.answer.notice.clone());
            }
            self.answer(farewell.asker, farewell.answer);
        }
    }
}

fn grown(serving: &Generation, from: u32) -> bool {
    let from = usize::try_from(from).expect("a u32 is a usize here");
    serving.slots.iter().skip(from).all(|slot| slot.seat.is_filled())
}
