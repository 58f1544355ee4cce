//! srvwrap as a service of another manager: what it says to the one that has set NOTIFY_SOCKET for it, or to the
//! srvwrap above that has given it a notice descriptor.
//!
//! ```text
//!   Supervisor::outlook ──> truth.rs: what is to be said now ──> way.rs: a datagram, or lines
//!   the loop goes round ──> WATCHDOG=1, at half of WATCHDOG_USEC
//!   "shutdown", or its end ──> a stop                            from the srvwrap above
//! ```
//!
//! Nothing is said where nobody has asked for it, and nobody is waited for. A manager whose queue is full is told
//! later, what is true by then; the longer it does not read, the less often it is tried, but never so seldom that it
//! would miss a ping.
//!
//! What this file does not do: find the words (`upward/truth.rs`).

mod truth;
mod way;

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::time::Duration;

use mio::{Interest, Poll};

use crate::core::{Asker, Event, Outlook, Request, Time};
use crate::sys::above::Above;
use crate::sys::notice_fd::Received;
use crate::sys::sd_notify::{ManagerSocket, monotonic_usec};
use crate::wire::Lines;
use crate::wire::worker::SHUTDOWN;

use super::workers::ignore;
use super::{ABOVE, EventLoop, watch};
use truth::Truth;
use way::Way;

/// A queue that was full is tried again after this time, then after twice as long, and so on.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// A manager that has not read for so long is named.
const DEAF_AFTER: Duration = Duration::from_secs(5);
/// A manager that wants to hear from us more often than twice in this time hears from us no more often.
const LEAST_WATCHDOG: Duration = Duration::from_millis(20);

const PING: &str = "WATCHDOG=1";
/// A srvwrap says one short line. What is longer is none of its words.
const LINE_LIMIT: usize = 4096;

/// The manager above, if there is one.
pub(super) struct Upward {
    way: Option<Way>,
    /// What the srvwrap above has begun to say.
    heard: Lines,
    truth: Truth,
    /// Of what was begun to be said, that for which there was no room.
    waiting: VecDeque<String>,
    full: Option<Full>,
    watchdog: Option<Watchdog>,
    /// What is wrong with the way, until it is told; and whether it was.
    trouble: Option<String>,
    told: bool,
    told_deaf: bool,
}

/// The manager's queue is.
#[derive(Clone, Copy)]
struct Full {
    since: Time,
    /// From the last try to the next one.
    delay: Duration,
    retry_at: Time,
}

struct Watchdog {
    every: Duration,
    next: Time,
}

impl Watchdog {
    /// After this delay, but in time for the next ping; and for one that is overdue twice before the manager, which
    /// has heard what its queue is full of, loses its patience.
    fn retry_at(&self, now: Time, delay: Duration) -> Time {
        let soon = now + delay.min(self.every / 2);
        if self.next > now { soon.min(self.next) } else { soon }
    }
}

impl Upward {
    /// By the environment that srvwrap was started with. Where that names both, the socket is told more, and of the
    /// descriptor nobody makes use.
    pub(super) fn from_environment(above: Option<Above>, poll: &Poll) -> Upward {
        let address = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty());
        let every = watchdog(env::var_os("WATCHDOG_USEC"), env::var_os("WATCHDOG_PID"), std::process::id());
        let watchdog = every.map(|every| Watchdog { every, next: Time::default() });
        match address {
            Some(address) => Upward::to(ManagerSocket::to(&address).map(Way::Datagrams).map(Some), watchdog),
            None => {
                let heard = |above: &Above| watch(poll, above, ABOVE, Interest::READABLE).is_ok();
                Upward::to(Ok(above.filter(heard).map(Way::Lines)), None)
            }
        }
    }

    fn to(way: nix::Result<Option<Way>>, watchdog: Option<Watchdog>) -> Upward {
        let (way, trouble) = match way {
            Ok(way) => (way, None),
            Err(errno) => (None, Some(errno.desc().to_string())),
        };
        let watchdog = watchdog.filter(|_| way.is_some());
        let mut upward = Upward {
            way,
            heard: Lines::new(LINE_LIMIT),
            truth: Truth::new(),
            waiting: VecDeque::new(),
            full: None,
            watchdog,
            trouble: None,
            told: false,
            told_deaf: false,
        };
        if let Some(why) = trouble {
            upward.cannot_tell(&why);
        }
        upward
    }

    /// When there is something to say, though nothing may have happened. While something waits all else is said behind
    /// it, and so is no reason to wake up.
    pub(super) fn next_turn(&self) -> Option<Time> {
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        let next = || [watchdog, self.truth.next_turn()].into_iter().flatten().min();
        self.full.map(|full| full.retry_at).or_else(next)
    }

    /// Says what is to be said, as far as there is room for it. The last time it is tried in any case.
    fn turn(&mut self, now: Time, usec: u64, outlook: &Outlook<'_>, is_last: bool) {
        let is_early = self.full.is_some_and(|full| full.retry_at > now);
        if (is_early && !is_last) || !self.send(now) {
            return;
        }
        let before = self.truth.clone();
        self.waiting.extend(self.truth.told(now, usec, outlook));
        let all = self.waiting.len();
        let pings = self.watchdog.as_ref().is_some_and(|watchdog| watchdog.next <= now);
        // The manager's patience starts anew: nothing else that it is told does that.
        self.waiting.extend(pings.then(|| PING.to_string()));
        if self.send(now) {
            self.full = None;
            if let Some(watchdog) = self.watchdog.as_mut().filter(|_| pings) {
                watchdog.next = now + watchdog.every;
            }
            return;
        }
        // A ping is of its moment; and where nothing was said yet, what is true by then will be.
        self.waiting.retain(|words| words != PING);
        if self.waiting.len() == all {
            self.waiting.clear();
            self.truth = before;
        }
    }

    /// Whether there was room for all that waits.
    fn send(&mut self, now: Time) -> bool {
        let Some(way) = &self.way else { return true };
        let mut why = None;
        while let Some(words) = self.waiting.front() {
            match way.send(words) {
                Ok(true) => {}
                Ok(false) => {
                    self.be_full(now);
                    return false;
                }
                Err(error) => why = Some(error),
            }
            self.waiting.pop_front();
        }
        if let Some(why) = why {
            self.cannot_tell(&why);
        }
        true
    }

    fn be_full(&mut self, now: Time) {
        let twice = |full: Full| (full.since, (full.delay * 2).min(LONGEST_RETRY));
        let (since, delay) = self.full.map_or((now, FIRST_RETRY), twice);
        let retry_at = self.watchdog.as_ref().map_or(now + delay, |watchdog| watchdog.retry_at(now, delay));
        self.full = Some(Full { since, delay, retry_at });
        if now - since >= DEAF_AFTER && !self.told_deaf {
            self.told_deaf = true;
            let manager = self.manager();
            self.trouble =
                Some(format!("{manager} does not read what it is told: it learns of nothing until it does"));
        }
    }

    fn cannot_tell(&mut self, why: &str) {
        if !self.told {
            self.told = true;
            self.trouble = Some(format!("cannot tell {}: {why}", self.manager()));
        }
    }

    fn hears_shutdown(&mut self, mut bytes: &[u8]) -> bool {
        let mut heard = false;
        while let Some(line) = self.heard.next_line(&mut bytes) {
            heard |= SHUTDOWN.strip_suffix(b"\n") == Some(&line);
        }
        heard
    }

    fn manager(&self) -> String {
        format!("the manager in {}", self.way.as_ref().map_or("NOTIFY_SOCKET", Way::name))
    }
}

impl EventLoop {
    /// Says what is to be said. The last thing of each round, so that the end is said too.
    pub(super) fn tell_upward(&mut self) {
        if self.upward.way.is_some() {
            let now = self.now();
            let outlook = self.supervisor.outlook(now);
            self.upward.turn(now, monotonic_usec(), &outlook, self.ended.is_some());
        }
        if let Some(trouble) = self.upward.trouble.take() {
            self.remark(&trouble);
        }
    }

    /// The srvwrap above has said something, or is gone, and nobody is left who would tell us to stop.
    pub(super) fn hear_above(&mut self) {
        let mut buffer = [0; 512];
        while let Some(Way::Lines(above)) = &self.upward.way {
            let why = match above.receive(&mut buffer) {
                Received::Nothing => return,
                Received::Closed => {
                    ignore(&self.poll, above);
                    self.upward.way = None;
                    "the end of the srvwrap above"
                }
                Received::Bytes(count) => {
                    if !self.upward.hears_shutdown(&buffer[..count]) {
                        continue;
                    }
                    "shutdown by the srvwrap above"
                }
            };
            self.handle(Event::Requested {
                asker: Asker::Signal(why),
                request: Request::Stop { timeout: None },
            });
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
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::core::Phase;

    /// A manager that is told by what is returned beside it.
    struct Manager {
        socket: UnixDatagram,
        directory: tempfile::TempDir,
    }

    impl Manager {
        fn new(watchdog: Option<Duration>) -> (Manager, Upward) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("manager");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            let watchdog = watchdog.map(|every| Watchdog { every, next: Time::default() });
            (
                Manager { socket, directory },
                Upward::to(ManagerSocket::to(path.as_os_str()).map(Way::Datagrams).map(Some), watchdog),
            )
        }

        fn fill(&self) {
            let filler = UnixDatagram::unbound().unwrap();
            filler.set_nonblocking(true).unwrap();
            while filler.send_to(b"full", self.directory.path().join("manager")).is_ok() {}
        }

        /// All that it has not read, but for what it is full of; lines with a blank between them.
        fn read(&self) -> Vec<String> {
            let mut buffer = [0; 4096];
            let mut read = Vec::new();
            while let Ok(length) = self.socket.recv(&mut buffer) {
                read.push(String::from_utf8_lossy(&buffer[..length]).replace('\n', " "));
            }
            read.retain(|datagram| datagram != "full");
            read
        }
    }

    fn at(milliseconds: u64) -> Time {
        Time(Duration::from_millis(milliseconds))
    }

    fn serving(generation: u32) -> Outlook<'static> {
        let (count, online, begun) = (2, 2, generation);
        Outlook {
            phase: Phase::Serving,
            generation: Some(generation),
            count,
            online,
            begun,
            of_deploy: (0, 0),
            leaving: 0,
            until: None,
            failed: None,
        }
    }

    /// Else an overdue one would be a reason to wake up, and none to do anything.
    #[test]
    fn while_something_waits_the_watchdog_wakes_nobody() {
        let (manager, mut upward) = Manager::new(Some(Duration::from_millis(20)));
        manager.fill();
        for now in (0..10_000).step_by(7) {
            upward.turn(at(now), 0, &serving(1), false);
            assert!(upward.next_turn() > Some(at(now)), "{now}");
        }
        manager.read();
        let now = upward.next_turn().unwrap();
        upward.turn(now, 0, &serving(1), false);
        let read = manager.read();
        assert_eq!(read.iter().filter(|datagram| *datagram == "WATCHDOG=1").count(), 1, "{read:?}");
        assert_eq!(upward.next_turn(), Some(now + Duration::from_millis(20)));
    }

    #[test]
    fn a_ping_is_sent_though_something_else_is_said_as_well() {
        let (manager, mut upward) = Manager::new(Some(Duration::from_millis(1000)));
        upward.turn(at(0), 0, &serving(1), false);
        assert_eq!(manager.read(), ["READY=1 STATUS=2 of 2 workers online, generation 1", "WATCHDOG=1"]);
    }

    #[test]
    fn a_manager_that_never_reads_is_tried_ever_less_often_and_named_once() {
        let (manager, mut upward) = Manager::new(None);
        manager.fill();
        let (mut now, mut tries, mut named) = (at(0), Vec::new(), Vec::new());
        while now < at(60_000) {
            // Whatever happens in between.
            upward.turn(now, 0, &serving(1), false);
            upward.turn(now, 0, &serving(2), false);
            tries.push(now.0.as_millis());
            named.extend(upward.trouble.take().map(|_| now.0.as_millis()));
            now = upward.next_turn().unwrap();
        }
        assert_eq!(tries[..8], [0, 100, 300, 700, 1500, 3100, 6300, 12700]);
        assert_eq!(tries[8..], [22_700, 32_700, 42_700, 52_700]);
        assert_eq!(named, [6300]);
    }

    /// A manager that reads again after minutes has heard a ping before it may take us for dead.
    #[test]
    fn pings_are_on_time_however_long_nobody_has_read() {
        let every = Duration::from_millis(3000);
        for reads_at in (1..120_000).step_by(701) {
            let (manager, mut upward) = Manager::new(Some(every));
            manager.fill();
            let mut now = at(0);
            while now < at(reads_at) {
                upward.turn(now, 0, &serving(1), false);
                now = upward.next_turn().unwrap();
            }
            manager.read();
            assert!(now - at(reads_at) <= every / 2, "{reads_at}: {now:?}");
            upward.turn(now, 0, &serving(1), false);
            assert!(manager.read().contains(&PING.to_string()), "{reads_at}");
            // One that is due while a status waits is not held up either.
            manager.fill();
            upward.turn(now + Duration::from_millis(2700), 0, &serving(2), false);
            assert_eq!(upward.next_turn(), Some(now + Duration::from_millis(2800)));
            upward.turn(now + Duration::from_millis(2800), 0, &serving(2), false);
            assert_eq!(upward.next_turn(), Some(now + every));
        }
    }

    #[test]
    fn who_reads_again_is_told_what_is_true_then_and_nothing_older() {
        let (manager, mut upward) = Manager::new(None);
        upward.turn(at(0), 0, &serving(1), false);
        manager.read();
        manager.fill();
        for generation in 1..20 {
            upward.turn(at(u64::from(generation) * 1000), 0, &serving(generation), false);
        }
        assert_eq!(manager.read(), [""; 0]);
        let now = upward.next_turn().unwrap();
        upward.turn(now, 7, &serving(20), false);
        let told = ["RELOADING=1 MONOTONIC_USEC=7", "READY=1 STATUS=2 of 2 workers online, generation 20"];
        assert_eq!(manager.read(), told);
        assert_eq!(upward.next_turn(), None);
    }

    /// And who has room again just before the end is told of it.
    #[test]
    fn the_last_words_wait_for_no_retry() {
        let (manager, mut upward) = Manager::new(None);
        manager.fill();
        upward.turn(at(0), 0, &serving(1), false);
        manager.read();
        let stopping = Outlook { phase: Phase::Stopping, ..serving(1) };
        upward.turn(at(1), 0, &stopping, false);
        assert_eq!(manager.read(), [""; 0]);
        upward.turn(at(1), 0, &stopping, true);
        assert!(manager.read()[0].starts_with("STOPPING=1 "));
    }

    #[test]
    fn only_the_line_itself_is_a_shutdown_however_it_is_cut() {
        let (_manager, mut upward) = Manager::new(None);
        for line in ["shutdown\n", "\"shutdown\"", "x\n", "\"ping\"\n", "\"shut"] {
            assert!(!upward.hears_shutdown(line.as_bytes()), "{line:?}");
        }
        assert!(upward.hears_shutdown(b"down\"\n"));
        assert!(upward.hears_shutdown(b"\"news\"\n\"shutdown\"\r\n\"more\"\n"));
    }

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
