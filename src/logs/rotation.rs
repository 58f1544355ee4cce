//! One log file and its archives: a finite state machine that returns what to do and does nothing itself.

use std::ffi::OsString;

use crate::core::Time;

use super::Limits;

/// The wall clock: milliseconds since 1970, UTC. For names and `--log-every` alone; it may jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wall(pub(crate) u64);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// [`Effect::Open`]: the path is open for appending and has these bytes; `mid_line`: its last byte is no newline.
    Opened {
        size: u64,
        mid_line: bool,
    },
    OpenFailed {
        why: String,
    },
    /// So many bytes were written, of which the last was a newline or not.
    Wrote {
        bytes: u64,
        mid_line: bool,
    },
    WriteFailed {
        why: String,
    },
    /// [`Effect::Look`]: whether the path still leads to the open file, and how many bytes that has.
    Looked {
        in_place: bool,
        size: u64,
    },
    /// [`Effect::Rename`] was carried out.
    Renamed,
    /// There is something of that name already; nothing was changed.
    NameTaken,
    RenameFailed {
        why: String,
    },
    /// [`Effect::List`]: every name in the directory that may be an archive of this file, in no order.
    Listed {
        found: Vec<Found>,
    },
    ListFailed {
        why: String,
    },
    /// [`Effect::Compress`]: the source is gone, and so many bytes are in its place.
    Compressed {
        archive: OsString,
        bytes: u64,
    },
    /// The source is as it was.
    CompressFailed {
        archive: OsString,
        why: String,
    },
    /// [`Effect::Remove`]; also where it was gone already.
    Removed {
        name: OsString,
    },
    RemoveFailed {
        name: OsString,
        why: String,
    },
    /// Somebody wants the path to be opened again.
    ReopenAsked,
}

/// One name in the directory of the log, and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: OsString,
    pub(crate) bytes: u64,
    /// False for a directory, a link, a socket …: none of ours.
    pub(crate) is_file: bool,
}

/// What to do. Names are without a directory: that of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Open the path for appending, made with its directories where it is not there; the file that was open before is
    /// closed once that has succeeded, and not else. Answered by `Opened` or `OpenFailed`.
    Open,
    /// Write a newline: what was there ended in the middle of a line. Answered by `Wrote` or `WriteFailed`.
    EndLine,
    /// Answered by `Looked`.
    Look,
    /// Rename the path to this name, if nothing has it. Answered by `Renamed`, `NameTaken` or `RenameFailed`.
    Rename { to: OsString },
    /// Answered by `Listed` or `ListFailed`.
    List,
    /// In a child process, when no other is compressed: answered by `Compressed` or `CompressFailed`, later.
    Compress { archive: OsString },
    /// Answered by `Removed` or `RemoveFailed`.
    Remove { name: OsString },
    /// Tell the operator: a sentence. `writing`: nothing can be written for now.
    Trouble { why: String, writing: bool },
    /// Tell that what went wrong is over.
    Recovered,
    /// What [`Event::ReopenAsked`] came to: why it failed, if it did.
    Reopened { why: Option<String> },
}

/// One log file.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    limits: Limits,
}

impl Rotation {
    /// `name` is the file's, without its directory. The first effects are `Open` and `List`.
    pub(crate) fn new(name: OsString, limits: Limits) -> Rotation {
        let _ = name;
        Rotation { limits }
    }

    pub(crate) fn handle_event(&mut self, now: Time, wall: Wall, event: Event) {
        let _ = (now, wall, event);
    }

    pub(crate) fn handle_timeout(&mut self, now: Time, wall: Wall) {
        let _ = (now, wall);
    }

    /// When `handle_timeout` has something to do. None while nothing is due, whatever the clocks say.
    pub(crate) fn poll_timeout(&self, now: Time, wall: Wall) -> Option<Time> {
        let _ = (now, wall);
        self.limits.every.map(|every| now + every)
    }

    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        None
    }

    /// How many of these bytes, which are to be written next, may be written to the open file now. None where it has to
    /// be done without for a while: there is an effect or a timeout to wait for.
    pub(crate) fn share(&mut self, now: Time, wall: Wall, bytes: &[u8]) -> usize {
        let _ = (now, wall, bytes);
        0
    }
}
