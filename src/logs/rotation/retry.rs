//! When to try again what failed.

use std::time::Duration;

use crate::core::Time;

/// One thing that may fail, and so has to be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Retry {
    /// In a row.
    pub(super) failures: u32,
    /// Not before.
    pub(super) at: Time,
}

impl Retry {
    /// It is tried again after the first delay, doubling to the last.
    pub(super) fn failed(&mut self, now: Time, (first, last): (Duration, Duration)) {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        self.at = now + (first * 2u32.pow(doublings)).min(last);
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        now >= self.at
    }
}
