//! One file of the log writer: its ring, what decides about it, and what is open.
//!
//! ```text
//!   ring ──> Rotation::share: how much of it ──> append ──> consume ──> Event::Wrote
//!   Effect ──> open, rename, list, remove … ──> Event
//!          └─> Wish: what only the process can do
//! ```
//!
//! What this file does not do: decide, wait, or compress.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};

use crate::core::Time;
use crate::logs::Limits;
use crate::logs::link::{FileId, FromWriter};
use crate::logs::rotation::{Effect, Event, Found, Rotation};
use crate::sys::archive::{self, LogFile};
use crate::sys::own_file::FileError;
use crate::sys::ring::{Begun, RingReader};

use super::monotonic;
use super::process::Clock;

/// Between two tries to open a file that another has locked.
const BETWEEN_TRIES_MS: u8 = 10;
/// What is written of one file before the next one has its turn.
const ROUND_BYTES: usize = 1024 * 1024;
/// What is carried out for one file before the next one has its turn.
const ROUND_EFFECTS: usize = 256;

pub(super) struct File {
    pub(super) id: FileId,
    path: PathBuf,
    ring: RingReader,
    rotation: Rotation,
    open: Option<LogFile>,
    /// Its last byte is no newline.
    mid_line: bool,
    /// Bytes, when it was last asked for.
    size: u64,
    /// The first open has failed, and that was said.
    refused: bool,
    /// Some trouble was told.
    troubled: bool,
    /// There is text that cannot be written before a timeout.
    stuck: bool,
    /// Something has happened since its turn.
    has_news: bool,
    has_written: bool,
    /// For the process, in this order.
    pub(super) wishes: Vec<Wish>,
}

/// What only the process can do.
pub(super) enum Wish {
    Say(FromWriter),
    Compress(OsString),
    /// The answer to [`Event::ReopenAsked`].
    Reopened(Option<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to be done at once.
    More,
    /// There is nothing to be done before a timeout, an event, or more text.
    Enough,
}

impl File {
    pub(super) fn new(id: FileId, path: PathBuf, ring: RingReader, limits: Limits) -> File {
        let name = path.file_name().unwrap_or_default().to_owned();
        File {
            id,
            path,
            ring,
            rotation: Rotation::new(name, limits),
            open: None,
            mid_line: false,
            size: 0,
            refused: false,
            troubled: false,
            stuck: false,
            has_news: false,
            has_written: false,
            wishes: Vec::new(),
        }
    }

    /// What happened elsewhere. The file is to have its turn, without a wait before it.
    pub(super) fn tell(&mut self, clock: Clock, event: Event) {
        self.has_news = true;
        self.handle_event(clock, event);
    }

    fn handle_event(&mut self, clock: Clock, event: Event) {
        self.rotation.handle_event(clock.now, clock.wall, event);
    }

    pub(super) fn poll_timeout(&self, clock: Clock) -> Option<Time> {
        self.rotation.poll_timeout(clock.now, clock.wall)
    }

    /// What is due, and one round of writing. `patience`: how long another's lock may be waited for.
    pub(super) fn turn(&mut self, clock: Clock, patience: Duration) -> Progress {
        if self.poll_timeout(clock).is_some_and(|due| due <= clock.now) {
            self.rotation.handle_timeout(clock.now, clock.wall);
        }
        (self.stuck, self.has_news) = (false, false);
        let (mut effects, mut written) = (0, 0);
        while effects < ROUND_EFFECTS && written < ROUND_BYTES {
            if let Some(effect) = self.rotation.poll_effect() {
                effects += 1;
                self.perform(clock, effect, patience);
                continue;
            }
            let bytes = self.ring.readable();
            if bytes.is_empty() {
                return Progress::Enough;
            }
            let share = self.rotation.share(clock.now, clock.wall, bytes).min(bytes.len());
            if share > 0 {
                written += self.write(clock, share);
            } else if let Some(effect) = self.rotation.poll_effect() {
                effects += 1;
                self.perform(clock, effect, patience);
            } else {
                self.stuck = true;
                return Progress::Enough;
            }
        }
        Progress::More
    }

    /// So many bytes of the ring, or fewer, as the disk likes.
    fn write(&mut self, clock: Clock, share: usize) -> usize {
        let bytes = &self.ring.readable()[..share];
        let written = self.open.as_ref().ok_or(Errno::EBADF).and_then(|open| {
            let size = open.bytes()?;
            self.ring.begin(Begun { file: open.identity(), size, bytes: share });
            Ok((size, open.append(bytes)?))
        });
        match written {
            Ok((size, count)) => {
                (self.mid_line, self.size) = (bytes[count - 1] != b'\n', size + count as u64);
                self.has_written = true;
                // From here on nobody knows that text but the file.
                if self.ring.consume(count) {
                    self.wishes.push(Wish::Say(FromWriter::Room));
                }
                self.handle_event(clock, Event::Wrote { bytes: count as u64, mid_line: self.mid_line });
                count
            }
            Err(errno) => {
                self.ring.end();
                self.handle_event(clock, Event::WriteFailed { why: self.why("write", errno) });
                0
            }
        }
    }

    fn perform(&mut self, clock: Clock, effect: Effect, patience: Duration) {
        let event = match effect {
            Effect::Open => self.open(patience),
            Effect::EndLine => self.end_line(),
            Effect::Look => self.look(),
            Effect::Rename { to } => self.rename(&to),
            Effect::List => self.list(),
            Effect::Remove { name } => self.remove(name),
            Effect::Compress { archive } => return self.wishes.push(Wish::Compress(archive)),
            Effect::Reopened { why } => return self.wishes.push(Wish::Reopened(why)),
            Effect::Trouble { why, writing } => {
                return self.tell_trouble(FromWriter::Trouble { file: self.id, why, writing });
            }
            Effect::Recovered => return self.tell_recovered(),
        };
        self.handle_event(clock, event);
    }

    /// That it cannot be opened at all is said once, and in other words.
    fn tell_trouble(&mut self, trouble: FromWriter) {
        if self.open.is_some() {
            self.troubled = true;
            self.wishes.push(Wish::Say(trouble));
        }
    }

    fn tell_recovered(&mut self) {
        if self.troubled {
            self.wishes.push(Wish::Say(FromWriter::Recovered { file: self.id }));
        }
    }

    fn open(&mut self, patience: Duration) -> Event {
        let opened = match &mut self.open {
            Some(open) => open.open_again(),
            None => open_held(&self.path, patience).map(|opened| {
                self.open = Some(opened);
                self.wishes.push(Wish::Say(FromWriter::Opened { file: self.id }));
            }),
        };
        if let Err(error) = opened {
            return self.refuse(&error);
        }
        self.settle_begun();
        match self.open.as_ref().ok_or(Errno::EBADF).and_then(LogFile::content) {
            Ok(content) => {
                // A log writer that died may have left half of a line, the other half of which is in the ring.
                let goes_on = content.mid_line && self.ring.is_mid_line();
                (self.mid_line, self.size) = (goes_on, content.bytes);
                Event::Opened { size: content.bytes, mid_line: content.mid_line, goes_on }
            }
            Err(errno) => Event::OpenFailed { why: self.why("open", errno) },
        }
    }

    /// What has arrived of the write that the log writer before this one died in is not written again.
    fn settle_begun(&mut self) {
        let Some((begun, open)) = self.ring.begun().zip(self.open.as_ref()) else { return };
        let bytes = open.bytes_of(begun.file).unwrap_or(begun.size);
        let arrived = usize::try_from(bytes.saturating_sub(begun.size)).unwrap_or(usize::MAX);
        if self.ring.consume(arrived.min(begun.bytes)) {
            self.wishes.push(Wish::Say(FromWriter::Room));
        }
        self.ring.end();
    }

    /// A size that cannot be had is the one before.
    fn look(&mut self) -> Event {
        let Some(open) = &self.open else { return Event::Looked { in_place: false, size: 0 } };
        self.size = open.bytes().unwrap_or(self.size);
        Event::Looked { in_place: open.is_in_place(), size: self.size }
    }

    fn refuse(&mut self, error: &FileError) -> Event {
        let why = error.to_string();
        if self.open.is_none() && !self.refused {
            self.refused = true;
            let said =
                FromWriter::Refused { file: self.id, why: why.clone(), forbidden: error.is_forbidden() };
            self.wishes.push(Wish::Say(said));
        }
        Event::OpenFailed { why }
    }

    fn end_line(&mut self) -> Event {
        match self.open.as_ref().ok_or(Errno::EBADF).and_then(|open| open.append(b"\n")) {
            Ok(count) => {
                self.mid_line = false;
                Event::Wrote { bytes: count as u64, mid_line: false }
            }
            Err(errno) => Event::WriteFailed { why: self.why("write", errno) },
        }
    }

    /// srvwrap has no more to say: what came last is a whole line as well.
    pub(super) fn end_last_line(&mut self, clock: Clock) {
        if self.mid_line && self.ring.readable().is_empty() {
            let event = self.end_line();
            self.handle_event(clock, event);
        }
    }

    fn rename(&mut self, to: &OsStr) -> Event {
        match self.open.as_ref().ok_or(Errno::EBADF).and_then(|open| open.rename(to)) {
            Ok(()) => Event::Renamed,
            Err(Errno::EEXIST) => Event::NameTaken,
            Err(Errno::ESTALE) => Event::Astray,
            Err(errno) => Event::RenameFailed { why: self.why("rename", errno) },
        }
    }

    fn list(&self) -> Event {
        match archive::list(&self.path) {
            Ok(entries) => {
                let found = entries.into_iter().map(|entry| Found {
                    name: entry.name,
                    bytes: entry.bytes,
                    is_file: entry.is_file,
                });
                Event::Listed { found: found.collect() }
            }
            Err(error) => {
                let directory = self.path.parent().unwrap_or(&self.path);
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
                Event::ListFailed { why: format!("cannot list {}: {}", directory.display(), errno.desc()) }
            }
        }
    }

    fn remove(&self, name: OsString) -> Event {
        let path = self.beside(&name);
        match archive::remove(&path) {
            Ok(()) => Event::Removed { name },
            Err(errno) => {
                let why = format!("cannot remove {}: {}", path.display(), errno.desc());
                Event::RemoveFailed { name, why }
            }
        }
    }

    fn why(&self, verb: &str, errno: Errno) -> String {
        format!("cannot {verb} {}: {}", self.path.display(), errno.desc())
    }

    /// Another name in the directory of the file.
    pub(super) fn beside(&self, name: &OsStr) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join(name)
    }

    /// False where there is something to be done now.
    pub(super) fn go_to_sleep(&self) -> bool {
        !self.has_news && (self.stuck || self.ring.go_to_sleep())
    }

    pub(super) fn wake(&self) {
        self.ring.wake();
    }

    /// Whether something was written since this was asked.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_written)
    }

    /// Whether all is in the file, and its last line has an end.
    pub(super) fn is_written(&self) -> bool {
        self.ring.readable().is_empty() && !self.mid_line
    }
}

/// One that was killed may have left a log writer that is about to end.
fn open_held(path: &Path, patience: Duration) -> Result<LogFile, FileError> {
    let until = monotonic() + patience;
    loop {
        match LogFile::open(path) {
            Err(error) if error.is_held() && monotonic() < until => {
                let _ = poll(&mut [], PollTimeout::from(BETWEEN_TRIES_MS));
            }
            opened => return opened,
        }
    }
}
