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
use crate::logs::form::{Form, missing};
use crate::logs::link::FileId;
use crate::logs::{Format, Full, Logs, Own};
use crate::sys::own_output::{OwnOutput, WriteError};
use crate::sys::ring::{RING_BYTES, Ring};
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
        self.open_line(WARNING, &stamp, &mut line);
        self.form.gap(gap, &self.why_missing(), &stamp, &mut line);
        line
    }

    fn why_missing(&self) -> String {
        self.cause.clone().unwrap_or_else(|| match &self.target {
            Target::Own { .. } => format!("{} was not read", self.name()),
            Target::File { .. } => "the disk was too slow".to_string(),
        })
    }

    /// The end: what waits is dropped. How much that is, and why, where nobody was told that it would be.
    pub(super) fn give_up(&mut self) -> Option<String> {
        self.backlog.lose();
        match self.backlog.next() {
            Next::Gap(gap) if self.serves_workers && !self.broken => {
                let why = missing(gap, &self.why_missing());
                self.broken = true;
                Some(why)
            }
            Next::Gap(_) | Next::Text(_) | Next::Nothing => None,
        }
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

    /// What to watch for room, edge-triggered, and only for as long as this is not `None`, that is while something
    /// waits to be written: else each read of a pipe's reader would wake us. Nothing where it is broken: what nobody
    /// reads is ready all the time, and would keep us busy.
    pub(super) fn fd(&self) -> Option<RawFd> {
        match &self.target {
            Target::Own { output, .. } => output.as_ref().filter(|_| self.waits())?.fd(),
            Target::File { .. } => None,
        }
    }

    pub(super) fn has_left_for_ring(&self) -> bool {
        self.path().is_some() && !self.backlog.is_empty()
    }

    /// How much the log writer has not written yet, and why, where it is known.
    pub(super) fn unwritten(&self) -> Option<String> {
        let Target::File { ring, path, .. } = &self.target else { return None };
        let bytes = RING_BYTES - ring.room();
        let path = path.display();
        let why = self.trouble.as_deref().unwrap_or("the disk is slow");
        (bytes > 0).then(|| format!("{bytes} bytes of {path} are not written yet: {why}"))
    }

    /// When a full disk is tried again.
    pub(super) fn retry_at(&self) -> Option<Time> {
        self.retry_at
    }

    /// For the end: waits for a slow reader of our own stream, so long at most. False where nothing waits any more, or
    /// in vain, as for a full disk.
    pub(super) fn wait_for_room(&mut self, limit_ms: u8) -> bool {
        let waits = self.waits() && self.retry_at.is_none();
        if let Target::Own { output: Some(output), .. } = &self.target {
            let _ = waits && output.has_room_within(limit_ms);
        }
        waits
    }
}

/// What syslog calls a gap.
const WARNING: u8 = Severity::Warning as u8;

/// How much of it was written, and never nothing. Where a ring is full the log writer is asked to say when it is not.
/// A ring gets whole lines alone: after a KILL of srvwrap what it holds is all that will ever be written.
fn write(target: &mut Target, text: &[u8], wake: &mut bool) -> Result<usize, WriteError> {
    match target {
        Target::Own { output, .. } => {
            output.as_ref().map_or(Err(WriteError::Lost(Errno::EBADF)), |output| output.write(text))
        }
        Target::File { ring, .. } => loop {
            let room = ring.room().min(text.len());
            let line = memchr::memchr(b'\n', text).map_or(text.len(), |end| end + 1);
            let fitting = match () {
                // None is so long; if it were, it would wait for ever.
                () if line > RING_BYTES => room,
                () if line > room => 0,
                () => memchr::memrchr(b'\n', &text[..room]).map_or(line, |end| end + 1),
            };
            let pushed = ring.push(&text[..fitting]);
            *wake |= pushed.reader_sleeps;
            if pushed.taken > 0 {
                return Ok(pushed.taken);
            }
            if ring.ask_for_room(if line > RING_BYTES { 1 } else { line }) {
                return Err(WriteError::Full);
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read, pipe};
    use std::os::fd::AsFd;
    use std::path::PathBuf;

    use crate::logs::{Destination, Limits};
    use crate::sys::ring::RingReader;

    fn logs(format: Format, full: Full) -> Logs {
        let stderr = || Destination::Own(Own::Stderr);
        let limits = Limits { max_size: None, every: None, keep: 1, total: None };
        Logs { stdout: stderr(), stderr: stderr(), notices: stderr(), format, full, limits }
    }

    fn own(full: Full, serves_workers: bool) -> (Sink, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        let output = OwnOutput::of(writer.as_fd()).unwrap();
        (Sink::own(Own::Stderr, Some(output), &logs(Format::Plain, full), serves_workers, ""), reader)
    }

    fn file(full: Full) -> Sink {
        Sink::file(FileId(0), PathBuf::from("/srv/log"), &logs(Format::Plain, full), true).unwrap()
    }

    fn said(sentence: &str) -> Said {
        Said { sentence: sentence.to_string(), severity: Severity::Information }
    }

    fn rest(sink: Sink, mut reader: PipeReader) -> String {
        drop(sink);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    const NOW: Time = Time(Duration::ZERO);
    /// 64 bytes.
    const LINE: &[u8] = b"a line of sixty-four bytes, with its newline at the end of it..\n";

    #[test]
    fn a_notice_is_one_line_with_our_name() {
        let (mut sink, reader) = own(Full::Block, false);
        sink.say(&said("worker 3 (pid 4711) online after 1.2s"), NOW);
        assert_eq!(sink.fd(), None);
        assert_eq!(rest(sink, reader), "srvwrap: worker 3 (pid 4711) online after 1.2s\n");
    }

    #[test]
    fn notices_that_nobody_reads_are_counted_and_the_count_is_said_in_their_place() {
        let (mut sink, mut reader) = own(Full::Block, false);
        let mut count = 0;
        while sink.dropped().lines < 5 {
            sink.say(&said("x"), NOW);
            count += 1;
        }
        assert!(sink.fd().is_some());
        let mut text = String::new();
        while sink.fd().is_some() {
            let mut some = [0; 4096];
            let length = reader.read(&mut some).unwrap();
            text.push_str(std::str::from_utf8(&some[..length]).unwrap());
            sink.pump(NOW);
        }
        sink.say(&said("after the gap"), NOW);
        text.push_str(&rest(sink, reader));
        assert_eq!(text.matches("srvwrap: x\n").count(), count - 5);
        let end = "srvwrap: 5 lines (55 B) were dropped: stderr was not read\nsrvwrap: after the gap\n";
        assert!(text.ends_with(end), "{}", &text[text.len() - 200..]);
    }

    #[test]
    fn a_reader_that_is_gone_keeps_nothing_waiting_and_is_told_once() {
        let (mut sink, reader) = own(Full::Block, true);
        drop(reader);
        let first = sink.take(LINE, NOW).broke.expect("it is told");
        assert_eq!(first, "cannot write to stderr: Broken pipe; what workers write there is dropped");
        assert_eq!(sink.take(LINE, NOW).broke, None);
        assert_eq!((sink.dropped().lines, sink.is_full(Room::Usual)), (2, false));
        assert_eq!(sink.fd(), None, "what nobody reads is always ready: it would be woken for ever");
    }

    #[test]
    fn a_full_disk_is_tried_again_later_and_nothing_is_lost_of_what_workers_write() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = OwnOutput::of(full.as_fd()).unwrap();
        let mut sink = Sink::own(Own::Stdout, Some(output), &logs(Format::Json, Full::Block), true, "");
        sink.take(LINE, NOW);
        let later = sink.retry_at().expect("it is tried again");
        assert_eq!((later, sink.dropped()), (NOW + RETRY_EVERY, Gap::default()));
        let (reader, writer) = pipe().unwrap();
        sink.target = Target::Own { own: Own::Stdout, output: OwnOutput::of(writer.as_fd()).ok() };
        drop(writer);
        sink.pump(NOW);
        sink.pump(later);
        assert_eq!(rest(sink, reader).as_bytes(), LINE);
    }

    #[test]
    fn lines_go_straight_into_a_ring_and_wait_in_memory_where_that_is_full() {
        let mut sink = file(Full::Block);
        let lines = LINE.repeat(RING_BYTES / 64);
        sink.take(&lines, NOW);
        assert!(sink.backlog.is_empty());
        sink.take(&LINE.repeat(WAITING_LIMIT / 64), NOW);
        assert!(sink.is_full(Room::Usual) && !sink.is_full(Room::Last));
        sink.say(&said("a notice never waits"), NOW);
        assert_eq!(sink.dropped().lines, 1);
        let Target::File { ring, .. } = &sink.target else { panic!("it is a file") };
        let mut reader = RingReader::open(ring.descriptor()).unwrap();
        assert!(reader.consume(RING_BYTES), "room was asked for");
        sink.pump(NOW);
        assert!(!sink.is_full(Room::Usual) && sink.backlog.is_empty());
        let text = String::from_utf8(reader.readable().to_vec()).unwrap();
        let gap = " srvwrap: 1 line (55 B) was dropped: the disk was too slow\n";
        assert!(text.ends_with(gap), "{}", &text[text.len() - 100..]);
    }

    #[test]
    fn a_ring_never_has_half_a_line() {
        let mut sink = file(Full::DropOld);
        sink.take(&LINE.repeat(RING_BYTES / 64 - 1), NOW);
        let long = [&[b'x'; 99], b"\n".as_slice()].concat();
        sink.take(&[LINE.repeat(20), long].concat(), NOW);
        let Target::File { ring, .. } = &sink.target else { panic!("it is a file") };
        assert_eq!(ring.room(), 0);
        let mut reader = RingReader::open(ring.descriptor()).unwrap();
        for (taken, left) in [(10, 10), (64 * 19 + 89, 99), (1, 0)] {
            reader.consume(taken);
            sink.pump(NOW);
            let Target::File { ring, .. } = &sink.target else { panic!("it is a file") };
            assert_eq!(ring.room(), left);
            assert!(reader.readable().ends_with(b"\n"));
        }
        assert!(sink.backlog.is_empty());
    }

    #[test]
    fn where_lines_are_dropped_nobody_waits_and_the_trouble_is_named() {
        let mut sink = file(Full::DropNew);
        sink.begin_trouble("cannot write /srv/log: No space left on device".to_string());
        sink.take(&LINE.repeat(RING_BYTES / 64), NOW);
        sink.take(&LINE.repeat(2 * DROPPING_LIMIT / 64), NOW);
        assert!(!sink.is_full(Room::Usual));
        let Gap { lines, bytes } = sink.dropped();
        assert_eq!((lines * 64, bytes), (DROPPING_LIMIT as u64, DROPPING_LIMIT as u64));
        assert_eq!(sink.end_trouble(), Some(lines));
        assert_eq!(sink.end_trouble(), None);
        assert!(
            String::from_utf8(sink.gap_line(Gap { lines, bytes }))
                .unwrap()
                .ends_with("(1.0 MiB) were dropped: cannot write /srv/log: No space left on device\n")
        );
    }
}
