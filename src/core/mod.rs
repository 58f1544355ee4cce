//! Decides. What happened goes in as an [`Event`], what to do about it comes out as an [`Effect`].
//!
//! ```text
//!    Event ──> Supervisor::handle_event(now, event) ─┐
//!                                                    ├─> Worker::step ──> settle ──> poll_effect() ──> Effect
//!    time  ──> Supervisor::handle_timeout(now) ──────┘
//! ```
//!
//! The rules of the house:
//! - No operating system, no clock, no I/O: `now` is an argument, and the next deadline is
//!   [`Supervisor::poll_timeout`].
//! - Events are named in the past tense, effects in the imperative. What carrying out an effect teaches is an
//!   event again.
//! - State lives in the variant of an enum, never beside it as a flag. Deadlines are fields of states.
//! - State is plain data: no closures, no handles, because one day it crosses an exec.
//! - Ids are never used again: a late event finds nobody, not a stranger.
//! - What an operator reads about running workers is a [`Notice`], and its words are in `notice.rs`.
//!
//! What this module does not do: know a file descriptor, a signal mask or a byte of the worker protocol.
#![forbid(unsafe_code)]

mod policy;

use std::ops::{Add, Sub};
use std::time::Duration;

pub(crate) use policy::{OnCrash, Policy, Ready, StopSignal};

/// A moment on the monotonic clock, as the time since some fixed moment before the program's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Duration);

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, rhs: Duration) -> Time {
        Time(self.0.saturating_add(rhs))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;
    /// The time from `rhs` to `self`; zero where `rhs` is the later one.
    fn sub(self, rhs: Time) -> Duration {
        self.0.saturating_sub(rhs.0)
    }
}
