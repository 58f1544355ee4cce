//! srvwrap as a service of another manager: what it says to the one that has set NOTIFY_SOCKET for it.
//!
//! ```text
//!   Supervisor::outlook ──> truth.rs: what is to be said now ──> a datagram
//!   the loop goes round ──> WATCHDOG=1, at half of WATCHDOG_USEC
//! ```
//!
//! Nothing is said where nobody has asked for it, and nobody is waited for. A manager whose queue is full is told a
//! little later; what is true by then.
//!
//! What this file does not do: find the words (`upward/truth.rs`).

mod truth;

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::time::Duration;

use crate::core::Time;
use crate::sys::sd_notify::{ManagerSocket, monotonic_usec};

use super::EventLoop;
use truth::Truth;

/// A queue that was full is tried again after this time.
const RETRY: Duration = Duration::from_millis(100);
/// A manager that wants to hear from us more often than twice in this time hears from us no more often.
const LEAST_WATCHDOG: Duration = Duration::from_millis(20);

/// The manager above, if there is one.
pub(super) struct Upward {
    way: Option<ManagerSocket>,
    truth: Truth,
    /// What the manager had no room for.
    waiting: VecDeque<String>,
    retry_at: Option<Time>,
    watchdog: Option<Watchdog>,
    /// What is wrong with the way, until it is told; and whether it was.
    trouble: Option<String>,
    told: bool,
}

struct Watchdog {
    every: Duration,
    next: Time,
}

impl Upward {
    /// By the environment that srvwrap was started with.
    pub(super) fn from_environment() -> Upward {
        let address = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty());
        let (way, trouble) = match address.as_deref().map(ManagerSocket::to) {
            None => (None, None),
            Some(Ok(way)) => (Some(way), None),
            Some(Err(errno)) => (None, Some(errno.desc().to_string())),
        };
        let every = watchdog(env::var_os("WATCHDOG_USEC"), env::var_os("WATCHDOG_PID"), std::process::id());
        let watchdog = every.filter(|_| way.is_some()).map(|every| Watchdog { every, next: Time::default() });
        Upward {
            way,
            truth: Truth::new(),
            waiting: VecDeque::new(),
            retry_at: None,
            watchdog,
            trouble,
            told: false,
        }
    }

    /// When there is something to say, though nothing may have happened.
    pub(super) fn next_turn(&self) -> Option<Time> {
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        [watchdog, self.retry_at, self.truth.next_turn()].into_iter().flatten().min()
    }

    /// The manager's patience starts anew. Not where it does not read: what it has not read says the same.
    fn ping(&mut self, now: Time) {
        let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.next <= now) else { return };
        watchdog.next = now + watchdog.every;
        if self.waiting.is_empty() {
            self.waiting.push_back("WATCHDOG=1".to_string());
        }
    }

    fn send(&mut self, now: Time) {
        self.retry_at = None;
        let Some(way) = &self.way else { return };
        while let Some(words) = self.waiting.front() {
            match way.send(words.as_bytes()) {
                Ok(true) => {}
                Ok(false) => {
                    self.retry_at = Some(now + RETRY);
                    return;
                }
                Err(errno) => self.trouble = Some(errno.desc().to_string()),
            }
            self.waiting.pop_front();
        }
    }
}

impl EventLoop {
    /// Says what is to be said. The last thing of each round, so that the end is said too.
    pub(super) fn tell_upward(&mut self) {
        if self.upward.way.is_some() {
            let now = self.now();
            if self.upward.retry_at.is_none_or(|at| at <= now) {
                self.upward.send(now);
            }
            // While something waits nothing is added: what is true later is said then.
            if self.upward.waiting.is_empty() {
                let outlook = self.supervisor.outlook(now);
                self.upward.waiting.extend(self.upward.truth.told(now, monotonic_usec(), &outlook));
                self.upward.ping(now);
                self.upward.send(now);
            }
        }
        if let Some(trouble) = self.upward.trouble.take().filter(|_| !self.upward.told) {
            self.upward.told = true;
            self.remark(&format_args!("cannot tell the manager in NOTIFY_SOCKET: {trouble}"));
        }
    }
}

/// How often to say that we live: half the time after which silence counts as death, unless that is another process's
/// silence.
fn watchdog(microseconds: Option<OsString>, pid: Option<OsString>, us: u32) -> Option<Duration> {
    let number = |text: OsString| text.to_str()?.parse::<u64>().ok();
    if pid.is_some_and(|pid| number(pid) != Some(u64::from(us))) {
        return None;
    }
    let patience = number(microseconds?).filter(|patience| *patience > 0)?;
    Some(Duration::from_micros(patience / 2).max(LEAST_WATCHDOG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_broken_at_half_the_time_and_only_where_it_is_ours() {
        let every = |microseconds: &str, pid: Option<&str>| {
            watchdog(Some(microseconds.into()), pid.map(OsString::from), 42).map(|every| every.as_millis())
        };
        assert_eq!(every("3000000", None), Some(1500));
        assert_eq!(every("3000000", Some("42")), Some(1500));
        for other in ["43", "", "x", "042x"] {
            assert_eq!(every("3000000", Some(other)), None, "{other}");
        }
        for bad in ["", "0", "-1", "1.5", "many"] {
            assert_eq!(every(bad, None), None, "{bad}");
        }
        assert_eq!(every("1", None), Some(20));
        assert_eq!(watchdog(None, None, 42), None);
    }
}
