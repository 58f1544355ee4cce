//! The slots of one deploy: who fills each, who is to fill it next, and when.
//!
//! ```text
//!   Vacant ──> Filling ──> Filled ──> Awaiting ──> Replacing ──> Filled
//!      ^          │           │      (it said offline, or is recycled: it serves on until the other is online)
//!      └──────────┴───────────┘  its worker failed
//!
//!   Closed: nobody, and nobody is wanted, because the other generation of a rolling deploy has this slot
//! ```
//!
//! A slot has at most one worker that is online and wanted, and one that starts to take its place. Workers that
//! retire are in no slot. It does not step workers, and does not know whether its generation is committed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::backoff::{Backoff, Random};
use super::notice::Failure;
use super::{Spec, Time, WorkerId};

/// All slots of one deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    /// From 1. A failed deploy uses up its number.
    pub(super) number: u32,
    pub(super) spec: Spec,
    pub(super) slots: Vec<Slot>,
    /// The listeners under whose O_NONBLOCK workers of this generation came online.
    pub(super) nonblocking: BTreeSet<usize>,
}

/// A place to be filled. Survives crashes and deploys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) seat: Seat,
    pub(super) backoff: Backoff,
    /// How often it was filled anew.
    pub(super) restarts: u32,
    /// How and when its last worker failed.
    pub(super) failure: Option<(Time, Failure)>,
    /// Why its worker is to be replaced that has said so itself, until another one is made.
    pub(super) leaves: Option<Failure>,
    /// Whether a worker was made for it in this generation.
    taken: bool,
}

/// Who has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// Nobody, until the next attempt.
    Vacant { retry_at: Time },
    /// A worker that is not online yet.
    Filling { worker: WorkerId },
    /// A worker that serves.
    Filled { worker: WorkerId },
    /// A worker that serves but is to be replaced, until the next attempt at that.
    Awaiting { old: WorkerId, retry_at: Time },
    /// A worker that serves but is to be replaced, and the one that starts to take its place.
    Replacing { old: WorkerId, new: WorkerId },
    /// Nobody, and nobody is wanted.
    Closed,
}

impl Generation {
    pub(super) fn new(number: u32, spec: Spec, count: u32, now: Time) -> Generation {
        let slots = (0..count).map(|_| Slot::new(now)).collect();
        Generation { number, spec, slots, nonblocking: BTreeSet::new() }
    }

    /// Nobody is wanted until a slot is opened.
    pub(super) fn close_all(&mut self) {
        for slot in &mut self.slots {
            slot.seat = Seat::Closed;
        }
    }

    pub(super) fn slot(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(number).ok()?)
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("made from a u32")
    }

    /// Whether every slot has a worker that serves and is to go on serving.
    pub(super) fn is_complete(&self) -> bool {
        self.slots.iter().all(|slot| slot.seat.is_filled())
    }

    /// The slot numbers whose next attempt is due.
    pub(super) fn due(&self, now: Time) -> Vec<u32> {
        let due = |slot: &Slot| slot.retry_at().is_some_and(|at| at <= now);
        (0..).zip(&self.slots).filter(|(_, slot)| due(slot)).map(|(number, _)| number).collect()
    }

    /// When the next attempt is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.slots.iter().filter_map(Slot::retry_at).min()
    }

    /// The workers that have a seat, those that are being replaced too.
    pub(super) fn seated(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.slots.iter().flat_map(|slot| slot.seat.workers())
    }

    /// Gives up the slots from `count` on, or opens vacant ones. Returns the workers that lost their seat.
    pub(super) fn resize(&mut self, count: u32, now: Time) -> Vec<WorkerId> {
        let kept = usize::try_from(count).expect("a u32 is a usize here");
        let unseated = self.slots.iter().skip(kept).flat_map(|slot| slot.seat.workers()).collect();
        self.slots.resize_with(kept, || Slot::new(now));
        unseated
    }
}

impl Slot {
    fn new(now: Time) -> Slot {
        let seat = Seat::Vacant { retry_at: now };
        Slot { seat, backoff: Backoff::default(), restarts: 0, failure: None, leaves: None, taken: false }
    }

    /// From now on a worker is wanted.
    pub(super) fn open(&mut self, now: Time) {
        if self.seat == Seat::Closed {
            self.seat = Seat::Vacant { retry_at: now };
        }
    }

    /// From now on nobody is wanted. Returns the workers that lose their seat.
    pub(super) fn close(&mut self) -> impl Iterator<Item = WorkerId> + use<> {
        std::mem::replace(&mut self.seat, Seat::Closed).workers()
    }

    pub(super) fn retry_at(&self) -> Option<Time> {
        match self.seat {
            Seat::Vacant { retry_at } | Seat::Awaiting { retry_at, .. } => Some(retry_at),
            Seat::Filling { .. } | Seat::Filled { .. } | Seat::Replacing { .. } | Seat::Closed => None,
        }
    }

    /// A worker is being made for it.
    pub(super) fn take(&mut self, worker: WorkerId) {
        self.leaves = None;
        self.restarts += u32::from(std::mem::replace(&mut self.taken, true));
        self.seat = match self.seat {
            Seat::Vacant { .. } => Seat::Filling { worker },
            Seat::Awaiting { old, .. } => Seat::Replacing { old, new: worker },
            other @ (Seat::Filling { .. } | Seat::Filled { .. } | Seat::Replacing { .. } | Seat::Closed) => {
                other
            }
        };
    }

    /// Its new worker is online. Returns the one that this replaces.
    pub(super) fn came_online(&mut self, worker: WorkerId) -> Option<WorkerId> {
        match self.seat {
            Seat::Replacing { old, new } if new == worker => {
                self.seat = Seat::Filled { worker };
                Some(old)
            }
            Seat::Filling { worker: new } if new == worker => {
                self.seat = Seat::Filled { worker };
                None
            }
            Seat::Filling { .. } | Seat::Replacing { .. } => None,
            Seat::Vacant { .. } | Seat::Filled { .. } | Seat::Awaiting { .. } | Seat::Closed => None,
        }
    }

    /// Its worker goes on serving until a replacement is online, which is not tried before `retry_at`.
    pub(super) fn replace(&mut self, worker: WorkerId, retry_at: Time) {
        if self.seat == (Seat::Filled { worker }) {
            self.seat = Seat::Awaiting { old: worker, retry_at };
        }
    }

    /// Its worker failed after it had been online for `served` (`None`: never). Returns when the next attempt is,
    /// where there is none under way.
    pub(super) fn lost(
        &mut self,
        now: Time,
        worker: WorkerId,
        served: Option<Duration>,
        random: &mut Random,
    ) -> Option<Time> {
        match self.seat {
            Seat::Filling { .. } | Seat::Filled { .. } => {
                let retry_at = self.backoff.failed(now, served, random);
                self.seat = Seat::Vacant { retry_at };
                Some(retry_at)
            }
            Seat::Replacing { old, new } if new == worker => {
                let retry_at = self.backoff.failed(now, served, random);
                self.seat = Seat::Awaiting { old, retry_at };
                Some(retry_at)
            }
            Seat::Awaiting { old: _, retry_at } | Seat::Vacant { retry_at } => {
                self.left();
                Some(retry_at)
            }
            Seat::Replacing { .. } => {
                self.left();
                None
            }
            Seat::Closed => None,
        }
    }

    /// The worker that was to be replaced is gone.
    pub(super) fn left(&mut self) {
        self.seat = match self.seat {
            Seat::Replacing { old: _, new } => Seat::Filling { worker: new },
            Seat::Awaiting { old: _, retry_at } => Seat::Vacant { retry_at },
            other @ (Seat::Vacant { .. } | Seat::Filling { .. } | Seat::Filled { .. } | Seat::Closed) => {
                other
            }
        };
    }

    /// Every worker of it is useless from now on. Returns the one that does not serve and so can go at once; the
    /// one that serves is replaced first.
    pub(super) fn renew(&mut self, retry_at: Time) -> Option<WorkerId> {
        let (seat, useless) = match self.seat {
            Seat::Vacant { .. } => (Seat::Vacant { retry_at }, None),
            Seat::Filling { worker } => (Seat::Vacant { retry_at }, Some(worker)),
            Seat::Filled { worker } => (Seat::Awaiting { old: worker, retry_at }, None),
            Seat::Awaiting { old, .. } => (Seat::Awaiting { old, retry_at }, None),
            Seat::Replacing { old, new } => (Seat::Awaiting { old, retry_at }, Some(new)),
            Seat::Closed => (Seat::Closed, None),
        };
        self.seat = seat;
        useless
    }
}

impl Seat {
    pub(super) fn workers(self) -> impl Iterator<Item = WorkerId> {
        let (first, second) = match self {
            Seat::Vacant { .. } | Seat::Closed => (None, None),
            Seat::Filling { worker } | Seat::Filled { worker } => (Some(worker), None),
            Seat::Awaiting { old, .. } => (Some(old), None),
            Seat::Replacing { old, new } => (Some(old), Some(new)),
        };
        first.into_iter().chain(second)
    }

    /// The worker that serves and is to go on serving.
    pub(super) fn filled_by(self) -> Option<WorkerId> {
        match self {
            Seat::Filled { worker } => Some(worker),
            Seat::Vacant { .. } | Seat::Filling { .. } | Seat::Closed => None,
            Seat::Awaiting { .. } | Seat::Replacing { .. } => None,
        }
    }

    pub(super) fn is_filled(self) -> bool {
        self.filled_by().is_some()
    }

    pub(super) fn has(self, worker: WorkerId) -> bool {
        self.workers().any(|seated| seated == worker)
    }
}
