//! What workers write, and what srvwrap says, to where the user wants it: never lost, torn or mixed.
//!
//! ```text
//!   a worker's pipe ── Splitter ──> whole lines ── Form ──> text ── Backlog ──┬─> srvwrap's own stdout or stderr
//!                        block.rs                  form.rs        backlog.rs  └─> Ring ──> the log writer
//!                          └─> Tail: the last lines, for whoever asks why a worker failed
//!
//!   the log writer (log_writer.rs), a process of its own:   Ring ──> Rotation ──> file, archives
//!                                                                     rotation.rs
//! ```
//!
//! Everything here is pure: no descriptor, no clock. `event_loop/output.rs` has the pipes and the sinks, and
//! `log_writer.rs` the files.
//!
//! A file may be slow, full or gone, and an archive takes seconds to compress; so none of that is done in srvwrap's own
//! loop. What was read from a worker lies in memory that both processes share: a log writer that dies loses none of it.
#![forbid(unsafe_code)]

mod archive_name;
pub(crate) mod backlog;
pub(crate) mod block;
pub(crate) mod form;
pub(crate) mod link;
pub(crate) mod rotation;
pub(crate) mod tail;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// Where a stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// srvwrap's own stdout or stderr.
    Own(Own),
    /// Nowhere: nothing is read at all.
    Null,
    /// A file, or one for each slot.
    File(LogPath),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Own {
    Stdout,
    Stderr,
}

/// The path of a log: absolute, and with `{slot}` in it one of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogPath(PathBuf);

impl LogPath {
    pub(crate) fn new(path: PathBuf) -> LogPath {
        LogPath(path)
    }

    /// As it was given, `{slot}` included.
    pub(crate) fn as_given(&self) -> &std::path::Path {
        &self.0
    }

    pub(crate) fn is_per_slot(&self) -> bool {
        find_slot(self.0.as_os_str()).is_some()
    }

    /// The file of this slot: the same for all where the path does not name the slot.
    pub(crate) fn of_slot(&self, slot: u32) -> PathBuf {
        let number = slot.to_string();
        let mut rest = self.0.as_os_str();
        let mut path = Vec::new();
        while let Some(at) = find_slot(rest) {
            path.extend_from_slice(&rest.as_bytes()[..at]);
            path.extend_from_slice(number.as_bytes());
            rest = OsStr::from_bytes(&rest.as_bytes()[at + SLOT.len()..]);
        }
        path.extend_from_slice(rest.as_bytes());
        PathBuf::from(OsString::from_vec(path))
    }
}

/// What stands for the slot's number in a path.
const SLOT: &[u8] = b"{slot}";

fn find_slot(path: &OsStr) -> Option<usize> {
    memchr::memmem::find(path.as_bytes(), SLOT)
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the worker wrote it.
    Plain,
    /// `2026-11-20T10:00:00.123Z node.2 | text`.
    Prefix,
    /// One JSON object.
    Json,
}

/// What happens to lines for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// They wait, and with them the worker that writes them.
    Block,
    DropNew,
    DropOld,
}

/// When a file becomes an archive, and which archives stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes; none: never because of its size.
    pub(crate) max_size: Option<u64>,
    /// At the multiples of this since 1970, so that `1d` is at midnight, UTC.
    pub(crate) every: Option<Duration>,
    /// So many archives of each file.
    pub(crate) keep: u32,
    /// Bytes of all archives of each file; none: no limit.
    pub(crate) total: Option<u64>,
}

/// All that was said about logs on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logs {
    /// Of workers.
    pub(crate) stdout: Destination,
    /// Of workers.
    pub(crate) stderr: Destination,
    /// srvwrap's own; never one for each slot.
    pub(crate) notices: Destination,
    pub(crate) format: Format,
    pub(crate) full: Full,
    pub(crate) limits: Limits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_slot_as_often_as_it_likes() {
        let path = LogPath::new(PathBuf::from("/var/log/{slot}/app-{slot}.log"));
        assert!(path.is_per_slot());
        assert_eq!(path.of_slot(12), PathBuf::from("/var/log/12/app-12.log"));
        let path = LogPath::new(PathBuf::from("/var/log/app.log"));
        assert!(!path.is_per_slot());
        assert_eq!(path.of_slot(12), PathBuf::from("/var/log/app.log"));
    }
}
