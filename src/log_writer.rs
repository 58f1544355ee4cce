//! The log writer, seen from srvwrap: a process of its own that does all that may wait for a disk.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::logs::Limits;
use crate::logs::link::{FileId, FromWriter};
use crate::sys::ring::Ring;

/// srvwrap's end of the link.
#[derive(Debug)]
pub(crate) struct LogWriter {
    socket: OwnedFd,
}

/// What came from the log writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Said(FromWriter),
    /// It is dead and reaped, or about to be: nothing more will come, and this is dropped. Whoever waits for room is to
    /// look again once the next one has the rings.
    Died {
        how: String,
    },
}

/// What became of the log writer at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// It has written all that it could, and has ended.
    Ended,
    /// It still writes, and goes on by itself until it is done.
    Left { pid: i32 },
}

impl LogWriter {
    /// Makes the process.
    pub(crate) fn start(limits: &Limits) -> nix::Result<LogWriter> {
        let _ = limits;
        Err(nix::errno::Errno::ENOSYS)
    }

    /// To watch: readable where it has said something, or died.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Gives it a file and the ring that has what is to be written there. Never waits. Answered by `Opened` or `Refused`.
    pub(crate) fn open(&mut self, file: FileId, path: &Path, ring: &Ring) {
        let _ = (file, path, ring);
    }

    /// Wakes it: a ring's reader slept. Never waits.
    pub(crate) fn look(&mut self) {}

    /// Answered by `Reopened`. Never waits.
    pub(crate) fn reopen(&mut self) {}

    /// What it has said, without waiting. None: nothing for now. To be called until then.
    pub(crate) fn receive(&mut self) -> Option<Heard> {
        None
    }

    /// Waits until there is something to receive, at most so long. False where there is nothing.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        let _ = limit;
        false
    }

    /// Has it write what the rings hold, and waits for its end, at most so long.
    pub(crate) fn finish(self, limit: Duration) -> Finished {
        let _ = limit;
        Finished::Ended
    }
}
