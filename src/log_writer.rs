//! The log writer, seen from srvwrap: a process of its own that does all that may wait for a disk.
//!
//! ```text
//!   srvwrap                                          the log writer (`process.rs`)
//!   start ── clone, not executed ──────────────────> settles; nothing of srvwrap's but the link
//!   open ─── number, path, descriptor of the ring ─> maps the ring, opens the file      ──> Opened or Refused
//!   Ring::push ── bytes in memory of both ─────────> writes them, then consumes them    ──> Room, if it was asked for
//!   look ─── it slept ─────────────────────────────> looks at every ring
//!   finish ─ end-of-file ──────────────────────────> writes all that is there, ends the last line, ends
//! ```
//!
//! Text leaves a ring only when it has been written. So a log writer that dies loses nothing: the next one is given the
//! same rings, and what is written twice is at most the one write that it died in.
//!
//! If srvwrap dies, the end-of-file comes by itself, and what it has put into the rings is still written.
//!
//! What this file does not do: choose what is written, or decide what happens where there is no room.

mod file;
mod process;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::logs::Limits;
use crate::logs::link::{FileId, FromWriter, ToWriter};
use crate::signal_names::signal_name;
use crate::sys::children::{Pid, WaitStatus};
use crate::sys::packet::{PacketSocket, Received};
use crate::sys::ring::Ring;
use crate::sys::unseen;

/// srvwrap's end of the link. Dropped without [`LogWriter::finish`], the log writer ends by itself all the same.
#[derive(Debug)]
pub(crate) struct LogWriter {
    link: PacketSocket,
    pid: Pid,
    /// Heard while somebody waited.
    heard: VecDeque<Heard>,
}

/// What came from the log writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Said(FromWriter),
    /// It is dead, or about to be: nothing more will come, and this is to be dropped. Whoever waits for room is to look
    /// again once the next one has the rings. `how`: as in `it was killed by SIGKILL`.
    Died {
        how: String,
    },
}

/// What became of the log writer at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// It has written all, and has ended.
    Ended,
    /// It has ended, and not all is written. `how`: as in [`Heard::Died`].
    Failed { how: String },
    /// It still writes, and goes on by itself until it is done.
    Left { pid: u32 },
}

/// A process that has closed its end is dead within that time, as far as we care.
const MOST_DYING: Duration = Duration::from_millis(50);
const BETWEEN_LOOKS_MS: u8 = 1;

impl LogWriter {
    /// Makes the process. To be called where there is one thread.
    pub(crate) fn start(limits: &Limits) -> nix::Result<LogWriter> {
        let (link, its_end) = PacketSocket::pair()?;
        match unseen::divide()? {
            Some(pid) => Ok(LogWriter { link, pid, heard: VecDeque::new() }),
            None => {
                unseen::settle(&its_end);
                process::run(its_end, limits.clone())
            }
        }
    }

    /// To watch for reading: it has said something, or died.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// For an operator's eyes.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.number().unsigned_abs()
    }

    /// Gives it a file and the ring that has what is to be written there. `path` is absolute. Never waits. Answered by
    /// `Opened` or `Refused`.
    pub(crate) fn open(&mut self, file: FileId, path: &Path, ring: &Ring) {
        let packet = ToWriter::Open { file, path: path.to_owned() }.encode();
        if let Err(error) = self.link.send(packet, Some(ring.descriptor())) {
            let why = format!("cannot open {}: {error}", path.display());
            self.heard.push_back(Heard::Said(FromWriter::Refused { file, why, forbidden: false }));
        }
    }

    /// Wakes it: a ring's reader slept. Never waits.
    pub(crate) fn look(&mut self) {
        // Where something waits to be sent, it has packets to read, and looks at every ring after that.
        if !self.link.is_waiting() {
            self.send(&ToWriter::Look);
        }
    }

    /// Answered by `Reopened`. Never waits.
    pub(crate) fn reopen(&mut self) {
        self.send(&ToWriter::Reopen);
    }

    fn send(&mut self, said: &ToWriter) {
        self.link.send(said.encode(), None).expect("nothing is copied for a packet without a descriptor");
    }

    /// What it has said, without waiting. None: nothing for now. To be called until then.
    pub(crate) fn receive(&mut self) -> Option<Heard> {
        if let Some(heard) = self.heard.pop_front() {
            return Some(heard);
        }
        // It has read something where it has said something: there is room for what waits to be sent.
        self.link.flush();
        loop {
            match self.link.receive() {
                Ok(Received::Packet(packet, _)) => match FromWriter::decode(&packet) {
                    Some(said) => return Some(Heard::Said(said)),
                    None => continue,
                },
                Ok(Received::Nothing) => return None,
                Ok(Received::Closed) | Err(_) => return Some(Heard::Died { how: self.how_it_ended() }),
            }
        }
    }

    /// Waits until there is something to receive, at most so long. False where there is nothing.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        let until = monotonic() + limit;
        loop {
            if let Some(heard) = self.receive() {
                self.heard.push_front(heard);
                return true;
            }
            let left = until.saturating_duration_since(monotonic());
            if left.is_zero() {
                return false;
            }
            let out = if self.link.is_waiting() { PollFlags::POLLOUT } else { PollFlags::empty() };
            let _ = poll(&mut [PollFd::new(self.link.as_fd(), PollFlags::POLLIN | out)], rounded_up(left));
        }
    }

    /// Has it write what the rings hold, and waits for its end, at most so long.
    pub(crate) fn finish(mut self, limit: Duration) -> Finished {
        let until = monotonic() + limit;
        // What waits is requests to open; without them the text of those files would stay where it is.
        while self.link.is_waiting() && self.wait(until.saturating_duration_since(monotonic())) {
            if let Some(Heard::Died { how }) = self.receive() {
                return Finished::Failed { how };
            }
        }
        self.link.say_no_more();
        while self.wait(until.saturating_duration_since(monotonic())) {
            match self.receive() {
                Some(Heard::Died { how }) if how == GOOD_END => return Finished::Ended,
                Some(Heard::Died { how }) => return Finished::Failed { how },
                Some(Heard::Said(_)) | None => {}
            }
        }
        Finished::Left { pid: self.pid() }
    }

    /// Its end of the link is closed. It takes a moment until it can be reaped; if not, it never can be counted either.
    fn how_it_ended(&self) -> String {
        let until = monotonic() + MOST_DYING;
        loop {
            match unseen::reap(self.pid) {
                Some(WaitStatus::Exited(0)) => return GOOD_END.to_string(),
                Some(WaitStatus::Exited(status)) => return format!("it exited with status {status}"),
                Some(WaitStatus::Signaled { signal, .. }) => {
                    return match signal_name(signal) {
                        Some(name) => format!("it was killed by SIG{name}"),
                        None => format!("it was killed by signal {signal}"),
                    };
                }
                None if monotonic() >= until => return "it has not said why".to_string(),
                None => {
                    let _ = poll(&mut [], PollTimeout::from(BETWEEN_LOOKS_MS));
                }
            }
        }
    }
}

const GOOD_END: &str = "it ended";

/// For poll(2): zero only where it is zero, so that nobody looks again and again within one millisecond.
fn rounded_up(time: Duration) -> PollTimeout {
    PollTimeout::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the log writer is a loop of its own, and its end is waited for"
)]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
