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
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use archive_name::without_stamp;

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

    /// None for what is no file: `-`, `/dev/null` and the names of srvwrap's own streams, as `GET /status` has them.
    pub(crate) fn of_file(place: &OsStr) -> Option<LogPath> {
        let is_none = ["/dev/null", "/dev/stdout", "/dev/stderr"].iter().any(|name| place == *name);
        let is_file = place.as_bytes().starts_with(b"/") && !is_none;
        is_file.then(|| LogPath(PathBuf::from(place)))
    }

    /// As it was given, `{slot}` included.
    pub(crate) fn as_given(&self) -> &Path {
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

    /// The slot whose file this is, where there is one for each.
    pub(crate) fn slot_of(&self, path: &Path) -> Option<u32> {
        let at = find_slot(self.0.as_os_str())?;
        let (head, path_bytes) = (&self.0.as_os_str().as_bytes()[..at], path.as_os_str().as_bytes());
        let rest = path_bytes.strip_prefix(head)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let slots = (1..=digits.min(LONGEST_SLOT)).filter_map(|length| {
            // Only digits: it is UTF-8, and a number.
            std::str::from_utf8(&rest[..length]).ok()?.parse().ok()
        });
        slots.into_iter().find(|slot| self.of_slot(*slot).as_os_str() == path.as_os_str())
    }

    /// Whether this is a file of it, for whatever slot.
    pub(crate) fn leads_to(&self, path: &Path) -> bool {
        self.0 == path || self.slot_of(path).is_some()
    }

    /// A slot for which this path leads to a file that is one of the other's too.
    pub(crate) fn common_slot(&self, other: &LogPath) -> Option<u32> {
        if !self.is_per_slot() {
            return None;
        }
        if !other.is_per_slot() {
            return self.slot_of(&other.0);
        }
        // Where the first or the last bytes differ no slot makes them the same.
        let (one, two) = (self.0.as_os_str().as_bytes(), other.0.as_os_str().as_bytes());
        let ends = |path: &[u8]| memchr::memmem::rfind(path, SLOT).unwrap_or(0) + SLOT.len();
        let (one_head, two_head) = (find_slot(self.0.as_os_str())?, find_slot(other.0.as_os_str())?);
        let head = one_head.min(two_head);
        let tail = (one.len() - ends(one)).min(two.len() - ends(two));
        if one[..head] != two[..head] || one[one.len() - tail..] != two[two.len() - tail..] {
            return None;
        }
        (0..MOST_SLOTS).find(|slot| other.slot_of(&self.of_slot(*slot)).is_some())
    }
}

/// Slots are numbered from 0 to one less.
const MOST_SLOTS: u32 = 65535;
/// Digits of the last of them.
const LONGEST_SLOT: usize = 5;

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

    fn path(text: &str) -> LogPath {
        LogPath::new(PathBuf::from(text))
    }

    #[test]
    fn a_file_of_a_slot_is_known_by_its_path() {
        for (pattern, file, slot) in [
            ("/a-{slot}.log", "/a-0.log", Some(0)),
            ("/a-{slot}.log", "/a-65534.log", Some(65534)),
            ("/a-{slot}.log", "/a-00.log", None),
            ("/a-{slot}.log", "/a-.log", None),
            ("/a-{slot}.log", "/a-1.log.gz", None),
            ("/{slot}/a-{slot}", "/7/a-7", Some(7)),
            ("/{slot}/a-{slot}", "/7/a-8", None),
            ("/a{slot}2", "/a12", Some(1)),
            ("/a{slot}{slot}", "/a1212", Some(12)),
            ("/a.log", "/a.log", None),
        ] {
            assert_eq!(path(pattern).slot_of(Path::new(file)), slot, "{pattern} {file}");
        }
    }

    #[test]
    fn two_patterns_that_meet_in_some_slot_are_found() {
        for (one, two, slot) in [
            ("/a{slot}", "/a1{slot}", Some(10)),
            ("/a{slot}", "/a{slot}0", Some(10)),
            ("/{slot}/a", "/3/a", Some(3)),
            ("/out-{slot}.log", "/err-{slot}.log", None),
            ("/a-{slot}.out", "/a-{slot}.err", None),
            ("/a{slot}b", "/a{slot}{slot}b", Some(11)),
            ("/a", "/a", None),
        ] {
            assert_eq!(path(one).common_slot(&path(two)), slot, "{one} {two}");
        }
    }
}
