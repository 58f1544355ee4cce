//! A rolling deploy: some slots at a time, each make before break.
//!
//! ```text
//!   a slot:     old online ──> new starts ──> new online ──> old retires ──> gone: the next slot
//!   it fails:   new online ──> old starts ──> old online ──> new retires ──> gone: the next slot
//! ```
//!
//! A slot that the other generation has is closed. Until the last slot is taken over the old spec stays committed, so
//! that an old worker that crashes meanwhile is followed by one like it. Never are there more than so many workers
//! too many, the retiring ones counted, since who deploys so has no memory for more.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::generation::{Generation, Seat};
use crate::core::limit::Limit;
use crate::core::notice::{DeployNews, Failure, Fault, Next, Notice, Who};
use crate::core::worker::{Input, State, Turn, Worker};
use crate::core::{Time, WorkerId};

use super::{Activity, Failed, Supervisor};

impl Supervisor {
    /// Opens the next slots, as many as may be under way at a time.
    pub(super) fn open_slots(&mut self, now: Time) {
        let Supervisor { serving: Some(serving), activity, workers, .. } = self else { return };
        match activity {
            Activity::Rolling { next, terms, .. } => {
                open(now, next, serving, workers, terms.surge.unwrap_or(u32::MAX));
            }
            Activity::PuttingBack { next, at_once, .. } => open(now, serving, next, workers, *at_once),
            Activity::Serving | Activity::Deploying { .. } | Activity::Baking { .. } => {}
            Activity::Draining { .. } | Activity::Failing { .. } | Activity::Growing { .. } => {}
            Activity::Stopping { .. } | Activity::Sweeping { .. } | Activity::SweepingHard { .. } => {}
            Activity::Ended => {}
        }
    }

    /// The new worker of a slot is online: in a rolling deploy the old one goes now.
    pub(super) fn take_slot_over(&mut self, now: Time, number: u32) {
        if !matches!(self.activity, Activity::Rolling { .. }) {
            return;
        }
        let Some(slot) = self.serving_slot(number) else { return };
        let replaced: Vec<WorkerId> = slot.close().collect();
        self.step_all(now, replaced, Input::Retire { limit: Limit::Usual });
    }

    /// The old spec has a worker online again in this slot: the new one goes.
    pub(super) fn take_slot_back(&mut self, now: Time, number: u32) {
        let Activity::PuttingBack { next, give_up_at, .. } = &mut self.activity else { return };
        *give_up_at = now + self.policy.online_timeout;
        let Some(slot) = next.slot(number) else { return };
        let replaced: Vec<WorkerId> = slot.close().collect();
        self.step_all(now, replaced, Input::Retire { limit: Limit::Usual });
    }

    /// A rolling deploy failed. What it has not brought online goes at once; what serves, when the old spec serves
    /// in its place.
    pub(super) fn put_back(&mut self, now: Time, mut next: Generation, at_once: u32, failed: Failed) {
        let Some(serving) = &mut self.serving else { return };
        let (of_next, kept_below) = (next.number, serving.count());
        let mut kept = Vec::new();
        for (number, slot) in (0..).zip(&mut next.slots) {
            let online = |id: &WorkerId| {
                self.workers.get(id).is_some_and(|worker| matches!(worker.state, State::Online { .. }))
            };
            if let Some(worker) = slot.seat.filled_by().filter(|worker| number < kept_below && online(worker))
            {
                kept.push(worker);
                continue;
            }
            let _ = slot.close();
            if let Some(old) = serving.slot(number) {
                old.open(now);
            }
        }
        let old = serving.number;
        if !kept.is_empty() {
            let news = DeployNews::PuttingBack { slots: kept.len(), old };
            self.tell_deploy(of_next, news);
        }
        let give_up_at = now + self.policy.online_timeout;
        self.activity = Activity::PuttingBack { next, at_once, failed, give_up_at };
        let superfluous = self.awaited_of(of_next).into_iter().filter(|id| !kept.contains(id));
        // Who has taken a slot over has requests of its own to finish.
        let serves = |id: &WorkerId| {
            let state = self.workers.get(id).map(|worker| worker.state);
            matches!(state, Some(State::Online { .. } | State::Leaving { .. }))
        };
        let (served, idle): (Vec<WorkerId>, Vec<WorkerId>) = superfluous.partition(serves);
        self.step_all(now, served, Input::Retire { limit: Limit::Usual });
        self.step_all(now, idle, Input::Retire { limit: self.policy.short() });
    }

    /// A worker of a deploy that is being put back: while it serves it is kept, and its end leaves the slot to the
    /// old spec at once.
    pub(super) fn kept_turned(&mut self, now: Time, who: Who, turn: Turn, fault: Fault) {
        match turn {
            Turn::SaidOffline { since } => {
                self.lose_kept(now, Failure { who, fault, served: Some(now - since) });
            }
            Turn::Crashed { served } => self.lose_kept(now, Failure { who, fault, served: Some(served) }),
            Turn::CameOnline | Turn::Hushed => {}
            Turn::GaveUp | Turn::WasLate | Turn::NeverSpawned | Turn::DiedStarting => {}
            Turn::Left | Turn::Stopped => {}
            Turn::Overran { .. } | Turn::RemnantOverran | Turn::Survived | Turn::Impossible => {
                self.departing_turned(who, turn);
            }
        }
    }

    fn lose_kept(&mut self, now: Time, failure: Failure) {
        let number = failure.who.slot;
        if let Some(slot) = self.activity.next_generation_mut().and_then(|next| next.slot(number)) {
            let _ = slot.close();
        }
        if let Some(slot) = self.serving_slot(number) {
            slot.open(now);
        }
        self.notice(Notice::WorkerFailed { failure, next: Next::RetryIn(Default::default()), untold: 0 });
    }

    /// The old spec does not come online any more: the new workers go all the same, since the deploy has failed.
    pub(super) fn stop_putting_back(&mut self, now: Time, mut next: Generation, failed: Failed) {
        if let Some(serving) = &mut self.serving {
            serving.slots.iter_mut().for_each(|slot| slot.open(now));
        }
        next.close_all();
        let leaving = self.awaited_of(next.number);
        self.activity = Activity::Failing { leaving: leaving.clone(), failed };
        self.step_all(now, leaving, Input::Retire { limit: Limit::Usual });
    }
}

/// Opens closed slots of `to`, which takes them over from `from`, the lowest first.
fn open(
    now: Time,
    to: &mut Generation,
    from: &Generation,
    workers: &BTreeMap<WorkerId, Worker>,
    at_once: u32,
) {
    if to.slots.iter().all(|slot| slot.seat != Seat::Closed) {
        return;
    }
    let seated: BTreeSet<WorkerId> = from.seated().collect();
    let retires = |worker: &&Worker| {
        worker.generation == from.number && worker.is_awaited() && !seated.contains(&worker.id)
    };
    let mut under_way: Vec<u32> = workers.values().filter(retires).map(|worker| worker.slot).collect();
    let starts = |(number, seat): &(u32, Seat)| {
        let other = from.slots.get(usize::try_from(*number).expect("a u32 is a usize here"));
        let shared = other.is_none_or(|other| other.seat != Seat::Closed);
        shared && *seat != Seat::Closed && !seat.is_filled()
    };
    let seats = (0..).zip(to.slots.iter().map(|slot| slot.seat));
    under_way.extend(seats.filter(starts).map(|(number, _)| number));
    under_way.sort_unstable();
    under_way.dedup();
    let free = usize::try_from(at_once).unwrap_or(usize::MAX).saturating_sub(under_way.len());
    for slot in to.slots.iter_mut().filter(|slot| slot.seat == Seat::Closed).take(free) {
        slot.open(now);
    }
}
