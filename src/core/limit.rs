//! How long a worker that is to end has, and how much more it may ask for.
//!
//! ```text
//!   told ──────── kill_at ─────────────────────────── at_most
//!                    └── "I need longer" ──> later ──┘           Limit::Usual
//!   told ── kill_at = at_most                                    Limit::Firm: it may ask, and nothing follows
//! ```
//!
//! Who asks for more time is believed, since it lives and says so; but each time only for [`EXTENSION`], so that it has
//! to say so again, and all in all for [`LONGEST`], so that nothing waits for ever.

use std::time::Duration;

use super::{Policy, Time};

/// The most that one message asks for: as much as it says, but not more than this.
pub(super) const EXTENSION: Duration = Duration::from_secs(3600);
/// From when it was made, or told to end: later than this nothing that it says puts its deadline.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How long a worker has to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// The policy's stop timeout, and longer where the worker asks for that.
    Usual,
    /// So long, whatever it asks for: it never served, or somebody wants it gone by then.
    Firm(Duration),
}

impl Limit {
    pub(super) fn time(self, policy: &Policy) -> Duration {
        match self {
            Limit::Usual => policy.stop_timeout,
            Limit::Firm(time) => time,
        }
    }

    /// The shorter one; a firm one stays firm.
    pub(super) fn and(self, other: Limit, policy: &Policy) -> Limit {
        match (self, other) {
            (Limit::Usual, Limit::Usual) => Limit::Usual,
            (Limit::Firm(_), _) | (_, Limit::Firm(_)) => {
                Limit::Firm(self.time(policy).min(other.time(policy)))
            }
        }
    }
}

/// When a worker that is to end is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    pub(super) kill_at: Time,
    /// It has asked to be left alone until then; long ago where it has not.
    asked: Time,
    /// Later than this is never granted.
    at_most: Time,
}

impl Deadline {
    pub(super) fn new(now: Time, limit: Limit, policy: &Policy) -> Deadline {
        match limit {
            Limit::Usual => Deadline::movable(now, policy.stop_timeout),
            Limit::Firm(time) => Deadline::firm(now + time),
        }
    }

    /// One that the worker may put off.
    pub(super) fn movable(now: Time, time: Duration) -> Deadline {
        let kill_at = now + time;
        Deadline { kill_at, asked: Time::default(), at_most: kill_at.max(now + LONGEST) }
    }

    pub(super) fn firm(kill_at: Time) -> Deadline {
        Deadline { kill_at, asked: Time::default(), at_most: kill_at }
    }

    /// It is told to end, or once more. What it has asked for is kept to, unless the limit is firm.
    pub(super) fn limited(self, now: Time, limit: Limit, policy: &Policy) -> Deadline {
        let kill_at = self.kill_at.min(now + limit.time(policy));
        match limit {
            Limit::Usual => Deadline { kill_at: kill_at.max(self.asked), ..self },
            Limit::Firm(_) => Deadline::firm(kill_at),
        }
    }

    /// It asks to be left alone for so long from now on.
    pub(super) fn extended(self, now: Time, time: Duration) -> Deadline {
        if self.kill_at == self.at_most {
            return self;
        }
        let until = until(now, time).min(self.at_most);
        // What is within the limit is noted too: the limit may become a shorter one.
        Deadline { kill_at: self.kill_at.max(until), asked: self.asked.max(until), ..self }
    }
}

/// What a wish for so much more time comes to.
pub(super) fn until(now: Time, time: Duration) -> Time {
    now + time.min(EXTENSION)
}
