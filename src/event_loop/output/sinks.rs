//! Where lines go, in the end: one sink for each file, and for each of srvwrap's own streams.
//!
//! ```text
//!   lines ──> Backlog (policy, gaps) ──pump──┬─> Ring ──> the log writer     full: asked for room, `Room` comes
//!      └── straight, where nothing waits ────┘
//!                                            └─> own stdout, stderr          full: watched for room
//! ```
//!
//! Nothing here waits. What this file does not do: know who wrote a line, or what the log writer says.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use crate::core::{Severity, Time};
use crate::log::{Said, stamp};
use crate::logs::backlog::{Backlog, Gap, Next};
use crate::logs::form::Form;
use crate::logs::link::FileId;
use crate::logs::{Format, Full, Logs, Own};
use crate::sys::own_output::{OwnOutput, WriteError};
use crate::sys::ring::Ring;
use crate::wire::control::status::LogFile;
use crate::wire::control::text::Text;

/// Bytes that may wait in srvwrap's memory where whoever writes them waits too: as much as a pipe holds.
const WAITING_LIMIT: usize = 64 * 1024;
/// The same, of the dead: they cannot wait.
const LAST_LIMIT: usize = 4 * 1024 * 1024;
/// The same where lines are dropped instead.
const DROPPING_LIMIT: usize = 1024 * 1024;
/// A full disk under srvwrap's own stdout or stderr is tried again after this.
const RETRY_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Sink {
    pub(super) target: Target,
    form: Form,
    /// Each line of srvwrap's own has the time of day before it, or what syslog calls its priority.
    opening: Opening,
    backlog: Backlog,
    /// Whether anything but notices goes there.
    serves_workers: bool,
    /// Nothing is dropped.
    waits_for_room: bool,
    /// Why nothing can be written for now.
    pub(super) trouble: Option<String>,
    /// Lines that were dropped before that.
    dropped_before: u64,
    /// Why lines are missing, where that is known.
    cause: Option<String>,
    /// The last write found nobody.
    broken: bool,
    retry_at: Option<Time>,
}

pub(super) enum Target {
    Own { own: Own, output: Option<OwnOutput> },
    File { file: FileId, path: PathBuf, ring: Ring },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    None,
    Stamp,
    Priority,
}

/// For whom there is to be room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Usual,
    /// For what a dead worker has left.
    Last,
}

/// What came of writing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pumped {
    /// The log writer is to look at its rings.
    pub(super) wake: bool,
    /// It is broken, which was not so before: a sentence.
    pub(super) broke: Option<String>,
}

impl Pumped {
    pub(super) fn join(&mut self, other: Pumped) {
        self.wake |= other.wake;
        self.broke = self.broke.take().or(other.broke);
    }
}

impl Sink {
    /// `journal`: what JOURNAL_STREAM says.
    pub(super) fn own(
        own: Own,
        output: Option<OwnOutput>,
        logs: &Logs,
        serves_workers: bool,
        journal: &str,
    ) -> Sink {
        let is_journal = output.as_ref().is_some_and(|output| output.is_journal(journal));
        let opening =
            if is_journal && logs.format == Format::Plain { Opening::Priority } else { Opening::None };
        Sink::to(Target::Own { own, output }, opening, logs, serves_workers)
    }

    pub(super) fn file(file: FileId, path: PathBuf, logs: &Logs, serves_workers: bool) -> nix::Result<Sink> {
        let opening = if logs.format == Format::Plain { Opening::Stamp } else { Opening::None };
        let target = Target::File { file, path, ring: Ring::new()? };
        Ok(Sink::to(target, opening, logs, serves_workers))
    }

    fn to(target: Target, opening: Opening, logs: &Logs, serves_workers: bool) -> Sink {
        let backlog = match logs.full {
            _ if !serves_workers => Backlog::new(Full::DropNew, WAITING_LIMIT),
            Full::Block => Backlog::new(Full::Block, WAITING_LIMIT),
            full @ (Full::DropNew | Full::DropOld) => Backlog::new(full, DROPPING_LIMIT),
        };
        Sink {
            target,
            form: Form::new(logs.format, "", false),
            opening,
            backlog,
            serves_workers,
            waits_for_room: serves_workers && logs.full == Full::Block,
            trouble: None,
            dropped_before: 0,
            cause: None,
            broken: false,
            retry_at: None,
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match &self.target {
            Target::File { path, .. } => Some(path),
            Target::Own { .. } => None,
        }
    }

    pub(super) fn is_file(&self, wanted: FileId) -> bool {
        matches!(&self.target, Target::File { file, .. } if *file == wanted)
    }

    pub(super) fn is_own(&self, wanted: Own) -> bool {
        matches!(&self.target, Target::Own { own, .. } if *own == wanted)
    }

    pub(super) fn is_terminal(&self) -> bool {
        match &self.target {
            Target::Own { output, .. } => output.as_ref().is_some_and(OwnOutput::is_terminal),
            Target::File { .. } => false,
        }
    }

    /// Whether who writes there is to wait.
    pub(super) fn is_full(&self, room: Room) -> bool {
        self.waits_for_room
            && match room {
                Room::Usual => self.backlog.is_full(),
                Room::Last => self.backlog.bytes() >= LAST_LIMIT,
            }
    }

    fn dropped(&self) -> Gap {
        self.backlog.dropped()
    }

    /// For `GET /status`.
    pub(super) fn as_told(&self) -> Option<LogFile> {
        let Gap { lines, bytes } = self.dropped();
        let (path, trouble) = (Text::from(self.path()?.as_os_str()), self.trouble.clone());
        Some(LogFile { path, dropped_lines: lines, dropped_bytes: bytes, trouble })
    }

    /// Whole lines of a worker.
    pub(super) fn take(&mut self, lines: &[u8], now: Time) -> Pumped {
        if self.backlog.is_empty() {
            if let Target::File { ring, .. } = &mut self.target {
                if ring.room() >= lines.len() {
                    return Pumped { wake: ring.push(lines).reader_sleeps, broke: None };
                }
            }
        }
        self.backlog.offer(lines);
        self.pump(now)
    }

    /// What srvwrap says: it never waits.
    pub(super) fn say(&mut self, said: &Said, now: Time) -> Pumped {
        let mut line = Vec::new();
        let stamp = stamp();
        self.open_line(said.severity as u8, &stamp, &mut line);
        self.form.notice(&said.sentence, &stamp, &mut line);
        self.backlog.offer_or_drop(&line);
        self.pump(now)
    }

    fn open_line(&self, severity: u8, stamp: &str, line: &mut Vec<u8>) {
        match self.opening {
            Opening::None => {}
            Opening::Stamp => line.extend_from_slice(format!("{stamp} ").as_bytes()),
            Opening::Priority => line.extend_from_slice(format!("<{severity}>").as_bytes()),
        }
    }

    /// Writes what waits, as far as it goes without waiting.
    pub(super) fn pump(&mut self, now: Time) -> Pumped {
        let mut pumped = Pumped::default();
        if self.retry_at.is_some_and(|at| at > now) {
            return pumped;
        }
        self.retry_at = None;
        loop {
            let gap_line = match self.backlog.next() {
                Next::Nothing => break,
                Next::Text(_) => None,
                Next::Gap(gap) => Some(self.gap_line(gap)),
            };
            let text = match (&gap_line, self.backlog.next()) {
                (Some(line), _) => line,
                (None, Next::Text(text)) => text,
                (None, Next::Gap(_) | Next::Nothing) => break,
            };
            match write(&mut self.target, text, &mut pumped.wake) {
                Ok(written) => {
                    self.broken = false;
                    if let Some(line) = gap_line {
                        self.backlog.tell(line);
                    }
                    self.backlog.written(written);
                }
                Err(WriteError::Full) => {
                    self.broken = false;
                    return pumped;
                }
                Err(WriteError::Lost(Errno::ENOSPC | Errno::EDQUOT)) if self.serves_workers => {
                    self.cause = Some("the disk was full".to_string());
                    self.retry_at = Some(now + RETRY_EVERY);
                    return pumped;
                }
                Err(WriteError::Lost(errno)) => {
                    pumped.broke = self.lose(errno);
                    return pumped;
                }
            }
        }
        self.cause = self.trouble.clone();
        pumped
    }

    /// Nobody reads it, and perhaps never will: it is tried again with the next line.
    fn lose(&mut self, errno: Errno) -> Option<String> {
        self.backlog.lose();
        let was_broken = std::mem::replace(&mut self.broken, true);
        let is_told = !was_broken && self.serves_workers;
        is_told.then(|| {
            format!("cannot write to {}: {}; what workers write there is dropped", self.name(), errno.desc())
        })
    }

    fn gap_line(&self, gap: Gap) -> Vec<u8> {
        let mut line = Vec::new();
        let stamp = stamp();
        let usual = match &self.target {
            Target::Own { .. } => format!("{} was not read", self.name()),
            Target::File { .. } => "the disk was too slow".to_string(),
        };
        self.open_line(WARNING, &stamp, &mut line);
        self.form.gap(gap, self.cause.as_ref().unwrap_or(&usual), &stamp, &mut line);
        line
    }

    fn name(&self) -> String {
        match &self.target {
            Target::Own { own: Own::Stdout, .. } => "stdout".to_string(),
            Target::Own { own: Own::Stderr, .. } => "stderr".to_string(),
            Target::File { path, .. } => path.display().to_string(),
        }
    }

    /// Nothing can be written to the file for now, because of this.
    pub(super) fn begin_trouble(&mut self, why: String) {
        if self.trouble.is_none() {
            self.dropped_before = self.dropped().lines;
        }
        self.cause = Some(why.clone());
        self.trouble = Some(why);
    }

    /// How many lines were dropped meanwhile. None where nothing was wrong.
    pub(super) fn end_trouble(&mut self) -> Option<u64> {
        self.trouble.take()?;
        Some(self.dropped().lines - self.dropped_before)
    }

    fn waits(&self) -> bool {
        !self.broken && !self.backlog.is_empty()
    }

    /// What to watch for room, edge-triggered, and only for as long as this is not `None`, that is while something waits
    /// to be written: else each read of a pipe's reader would wake us. Nothing where it is broken: what nobody reads is
    /// ready all the time, and would keep us busy.
    pub(super) fn fd(&self) -> Option<RawFd> {
        match &self.target {
            Target::Own { output, .. } => output.as_ref().filter(|_| self.waits())?.fd(),
            Target::File { .. } => None,
        }
    }

    pub(super) fn has_left_for_ring(&self) -> bool {
        self.path().is_some() && !self.backlog.is_empty()
    }

    /// When a full disk is tried again.
    pub(super) fn retry_at(&self) -> Option<Time> {
        self.retry_at
    }

    /// For the end: waits for a slow reader of our own stream, and for a full disk, so long at most. False where nothing
    /// waits any more, or in vain.
    pub(super) fn wait_for_room(&mut self, limit_ms: u8) -> bool {
        self.retry_at = None;
        let waits = self.waits();
        if let Target::Own { output: Some(output), .. } = &self.target {
            let _ = waits && output.has_room_within(limit_ms);
        }
        waits
    }
}

/// What syslog calls a gap.
const WARNING: u8 = Severity::Warning as u8;

/// How much of it was written, and never nothing. Where a ring is full the log writer is asked to say when it is not.
fn write(target: &mut Target, text: &[u8], wake: &mut bool) -> Result<usize, WriteError> {
    match target {
        Target::Own { output, .. } => {
            output.as_ref().map_or(Err(WriteError::Lost(Errno::EBADF)), |output| output.write(text))
        }
        Target::File { ring, .. } => loop {
            let pushed = ring.push(text);
            *wake |= pushed.reader_sleeps;
            if pushed.taken > 0 {
                return Ok(pushed.taken);
            }
            if ring.ask_for_room() {
                return Err(WriteError::Full);
            }
        },
    }
}
