//! What a worker's turn means: to its slot, to the deploy that it belongs to, and to the operator.
//!
//! A worker has a seat in the committed generation, or in the one that is being deployed, or in none since it is on
//! its way out. It does not decide what several turns make true together (`settle.rs`).

use std::time::Duration;

use crate::core::backoff::Telling;
use crate::core::generation::{Generation, Slot};
use crate::core::limit::Limit;
use crate::core::notice::{Failure, Fault, Next, Notice, Who, WorkerNews};
use crate::core::worker::{Input, Turn};
use crate::core::{OnCrash, Time, WorkerId};

use super::{Activity, Supervisor};

/// A worker that says offline is replaced at once, but not before it was online for so long: a program that says it
/// at every start must not become a busy loop.
const OFFLINE_EVERY: Duration = Duration::from_secs(1);

/// Where a worker has a seat.
enum Side {
    Serving,
    Next,
    Nowhere,
}

impl Supervisor {
    pub(super) fn turned(&mut self, now: Time, id: WorkerId, who: Who, turn: Turn, fault: Fault) {
        match self.side(id) {
            Side::Serving => self.serving_turned(now, id, who, turn, fault),
            Side::Next if matches!(self.activity, Activity::PuttingBack { .. }) => {
                self.kept_turned(now, who, turn, fault);
            }
            Side::Next => self.next_turned(now, id, who, turn, fault),
            Side::Nowhere => self.departing_turned(who, turn),
        }
    }

    fn side(&self, id: WorkerId) -> Side {
        let Some(worker) = self.workers.get(&id) else { return Side::Nowhere };
        let slot = usize::try_from(worker.slot).expect("a u32 is a usize here");
        let seats = |generation: &&Generation| {
            generation.number == worker.generation
                && generation.slots.get(slot).is_some_and(|slot| slot.seat.has(id))
        };
        if self.serving.as_ref().filter(seats).is_some() {
            Side::Serving
        } else if self.activity.next_generation().filter(seats).is_some() {
            Side::Next
        } else {
            Side::Nowhere
        }
    }

    fn serving_turned(&mut self, now: Time, id: WorkerId, who: Who, turn: Turn, fault: Fault) {
        match turn {
            Turn::CameOnline => self.serving_came_online(now, id, who),
            Turn::SaidOffline { since } if self.grows(who.slot) => {
                self.fail_growth(now, id, Failure { who, fault, served: Some(now - since) });
            }
            Turn::SaidOffline { since } => {
                let retry_at = now.max(since + OFFLINE_EVERY);
                if let Some(slot) = self.serving_slot(who.slot) {
                    slot.replace(id, retry_at);
                    let (fault, served) = (fault.clone(), Some(now - since));
                    slot.leaves = Some(Failure { who, fault, served });
                }
                self.tell_offline(who, fault);
            }
            Turn::Hushed => self.tell_hushed(id, who),
            Turn::GaveUp | Turn::WasLate | Turn::NeverSpawned | Turn::DiedStarting => {
                self.serving_failed(now, id, Failure { who, fault, served: None });
            }
            Turn::Crashed { served } => {
                self.serving_failed(now, id, Failure { who, fault, served: Some(served) });
            }
            Turn::Left => {
                self.vacate(who.slot);
                self.tell(who, WorkerNews::Left);
            }
            Turn::Stopped => self.vacate(who.slot),
            Turn::Survived => {
                self.vacate(who.slot);
                self.departing_turned(who, turn);
            }
            Turn::Overran { .. } | Turn::RemnantOverran | Turn::Impossible => {
                self.departing_turned(who, turn);
            }
        }
    }

    fn next_turned(&mut self, now: Time, id: WorkerId, who: Who, turn: Turn, fault: Fault) {
        match turn {
            Turn::CameOnline => {
                let slot = self.activity.next_generation_mut().and_then(|next| next.slot(who.slot));
                if let Some(slot) = slot {
                    slot.came_online(id);
                }
                self.tell_online(now, id, who);
                self.take_slot_over(now, who.slot);
            }
            Turn::Hushed => self.tell_hushed(id, who),
            Turn::SaidOffline { since } => {
                self.fail_deploy(now, id, Failure { who, fault, served: Some(now - since) });
            }
            Turn::Crashed { served } => {
                self.fail_deploy(now, id, Failure { who, fault, served: Some(served) });
            }
            Turn::GaveUp
            | Turn::WasLate
            | Turn::NeverSpawned
            | Turn::DiedStarting
            | Turn::Left
            | Turn::Stopped
            | Turn::Survived => self.fail_deploy(now, id, Failure { who, fault, served: None }),
            Turn::Overran { .. } | Turn::RemnantOverran | Turn::Impossible => {
                self.departing_turned(who, turn);
            }
        }
    }

    /// A worker that nobody counts on any more.
    pub(super) fn departing_turned(&mut self, who: Who, turn: Turn) {
        match turn {
            Turn::Overran { asked } => self.tell(who, WorkerNews::Overran { asked }),
            Turn::RemnantOverran => self.tell(who, WorkerNews::RemnantOverran),
            Turn::Survived => self.tell(who, WorkerNews::Survived),
            Turn::Left => self.tell(who, WorkerNews::Left),
            Turn::Impossible => self.tell(who, WorkerNews::Impossible),
            // The end of one that was told to end is no news.
            Turn::CameOnline | Turn::SaidOffline { .. } | Turn::GaveUp | Turn::WasLate => {}
            Turn::NeverSpawned | Turn::DiedStarting | Turn::Crashed { .. } | Turn::Stopped => {}
            Turn::Hushed => {}
        }
    }

    fn serving_came_online(&mut self, now: Time, id: WorkerId, who: Who) {
        let Some(slot) = self.serving_slot(who.slot) else { return };
        let replaced = slot.came_online(id);
        if slot.backoff.tells_online() {
            self.tell_online(now, id, who);
        }
        if let Some(old) = replaced {
            self.step(now, old, Input::Replaced, Fault::None);
        }
        self.take_slot_back(now, who.slot);
    }

    fn serving_failed(&mut self, now: Time, id: WorkerId, failure: Failure) {
        let number = failure.who.slot;
        let Some(slot) = self.serving.as_mut().and_then(|serving| serving.slot(number)) else { return };
        let retry_at = slot.lost(now, id, failure.served, &mut self.random);
        slot.failure = Some((now, failure.clone()));
        slot.leaves = None;
        let telling = slot.backoff.telling(now);
        let exit_code = failure.fault.exit_code().filter(|_| self.policy.on_crash == OnCrash::Exit);
        if self.grows(number) {
            // A slot that was never filled is no reason to end what serves.
            self.fail_growth(now, id, failure);
        } else if let Some(code) = exit_code {
            self.notice(Notice::WorkerFailed { failure, next: Next::Exit(code), untold: 0 });
            self.begin_stop(now, None, Limit::Usual, code);
        } else if let Telling::Failure { untold } = telling {
            let next = retry_at.map_or(Next::UnderWay, |at| Next::RetryIn(at - now));
            self.notice(Notice::WorkerFailed { failure, next, untold });
        }
    }

    /// Whether the slot is one of those that a scale up is about.
    fn grows(&self, slot: u32) -> bool {
        matches!(self.activity, Activity::Growing { from, .. } if slot >= from)
    }

    fn tell_hushed(&mut self, id: WorkerId, who: Who) {
        if let Some(limit) = self.workers.get(&id).map(|worker| worker.online_timeout) {
            self.tell(who, WorkerNews::HushedEarly { limit });
        }
    }

    fn tell_online(&mut self, now: Time, id: WorkerId, who: Who) {
        if let Some(worker) = self.workers.get(&id) {
            let after = now - worker.born;
            self.tell(who, WorkerNews::Online { after });
        }
    }

    fn tell_offline(&mut self, who: Who, fault: Fault) {
        if let Fault::GaveUp(why) = fault {
            self.tell(who, WorkerNews::Offline { why });
        }
    }

    fn tell(&mut self, who: Who, news: WorkerNews) {
        self.notice(Notice::Worker { who, news });
    }

    pub(super) fn serving_slot(&mut self, number: u32) -> Option<&mut Slot> {
        self.serving.as_mut().and_then(|serving| serving.slot(number))
    }

    fn vacate(&mut self, number: u32) {
        if let Some(slot) = self.serving_slot(number) {
            slot.left();
        }
    }

    /// The worker is gone, or so stuck that nobody waits for it.
    pub(super) fn no_longer_awaited(&mut self, id: WorkerId) {
        match &mut self.activity {
            Activity::Draining { leaving, .. } | Activity::Failing { leaving, .. } => {
                leaving.remove(&id);
            }
            Activity::Serving | Activity::Deploying { .. } | Activity::Baking { .. } => {}
            Activity::Rolling { .. } | Activity::PuttingBack { .. } => {}
            Activity::Growing { .. } | Activity::Stopping { .. } | Activity::Ended => {}
            Activity::Sweeping { .. } | Activity::SweepingHard { .. } => {}
        }
        for farewell in &mut self.farewells {
            farewell.leaving.remove(&id);
        }
    }

    pub(super) fn forget(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.remove(&id) {
            self.restore_flags(worker.generation);
        }
    }
}
