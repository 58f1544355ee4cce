//! What the operator wants of every generation alike: limits, readiness, and how a worker is told to stop.
//!
//! Built once, by `config.rs`, which lets nothing invalid through. It does not hold the spec (what a generation
//! runs) nor the target count, which change over a supervisor's life.

use std::time::Duration;

use crate::wire::worker::Readiness;

use super::limit::Limit;

/// When a worker counts as online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// When it says so on its notice descriptor.
    Notify,
    /// When the program has been executed.
    Exec,
    /// When it has lived for this long after it was executed, or says so earlier.
    After(Duration),
}

/// What the unasked end of a worker leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnCrash {
    /// A new worker in its slot.
    Respawn,
    /// The end of srvwrap, with the worker's exit code.
    Exit,
}

/// Which signal goes with the `"shutdown"` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// TERM; INT for a worker that said `"ready"` as JSON; none for one that said `"online"` as JSON.
    Auto,
    /// The line alone.
    None,
    /// This signal, by its number.
    Signal(i32),
}

/// How workers are handed the listeners, and where they are expected to say that they are online. They are heard
/// wherever they say so: here this is for what operators are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Srvwrap,
    /// It is said at the socket in NOTIFY_SOCKET, and by all others on the notice fd.
    Systemd,
    ServerStarter,
    Einhorn,
    /// The one listener as their standard input.
    Stdin,
}

impl StopSignal {
    /// The signal for a worker that has said that it is online in this form, if in any: pm2's programs take INT,
    /// naught's the line alone; others rarely do without TERM.
    pub(crate) fn number(self, readiness: Option<Readiness>) -> Option<i32> {
        match self {
            StopSignal::Signal(number) => Some(number),
            StopSignal::None => None,
            StopSignal::Auto => match readiness {
                None | Some(Readiness::Plain) => Some(TERM),
                Some(Readiness::JsonReady) => Some(INT),
                Some(Readiness::JsonOnline) => None,
            },
        }
    }
}

/// What holds for every worker, whatever it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) ready: Ready,
    pub(crate) protocol: Protocol,
    pub(crate) on_crash: OnCrash,
    pub(crate) stop_signal: StopSignal,
    /// From spawn to online, at most.
    pub(crate) online_timeout: Duration,
    /// From being told to stop to KILL.
    pub(crate) stop_timeout: Duration,
    /// How long both generations of a deploy serve before the old one retires.
    pub(crate) bake: Duration,
}

/// The stop ladder of a worker that never served, and of what a worker leaves behind that died by itself.
pub(super) const SHORT_LIMIT: Duration = Duration::from_secs(5);

/// TERM and INT have these numbers on every Linux.
pub(super) const TERM: i32 = 15;
pub(super) const INT: i32 = 2;

impl Policy {
    /// For what never served: as the stop timeout, but at most five seconds.
    pub(super) fn short(&self) -> Limit {
        Limit::Firm(self.stop_timeout.min(SHORT_LIMIT))
    }
}
