//! One log file and its archives: a finite state machine that returns what to do and does nothing itself.
//!
//! ```text
//!   share() == 0, or a boundary of --log-every, at the end of a line
//!      │
//!      v
//!     Look ──> Rename ──> Open ──> List ──> Remove …  (trim)
//!      ^         │ fails    │ fails  └────> Compress, the oldest first, one at a time ──> Remove …
//!      └─────────┘          └──> what comes goes on into the file that is open, and the step is tried again
//! ```
//!
//! Whatever fails is tried again, after a delay that doubles. Meanwhile lines go on into the file that is open: only a
//! write that fails, and a log that was never opened, make them wait.
//!
//! - A file is left at the end of a line alone: no line lies in two files. There is one exception: where it has to be
//!   opened again, because somebody asked or moved it, a line has a second to end.
//! - A file has at most `max_size` bytes. One line that is longer has a file of its own. A line that comes in pieces is
//!   begun where its first piece has room, and ends there.
//! - `every` counts from the moment when the first line of a file was written; for a file that was there before, from
//!   now. A boundary rotates once, also where the clock steps back over it, by up to a day or one `every`: after a
//!   larger step it was wrong before, and counts anew. An empty file is never rotated.
//! - No archive gets a name before the directory was read, or has been unreadable for 10 s: it might sort before
//!   another one.
//! - `keep` and `total` hold for archives, compressed or not: with a `total` below `max_size` not one may stay.
//!
//! What this file does not do: sync. A compressed archive is on the disk before its source goes, and that is the
//! compressor's affair.

mod archives;
mod retry;
#[cfg(test)]
mod sim;
mod state;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::time::Duration;

use crate::core::Time;

use super::Limits;
use archives::Archives;
use retry::Retry;
use state::{Listing, Place, Step};
use trouble::{Kind, Troubles};

/// The wall clock: milliseconds since 1970, UTC. For names and `--log-every` alone; it may jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wall(pub(crate) u64);

/// What happened. `why` is a sentence that says what failed, too: it is passed on as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// [`Effect::Open`]: the path is open for appending and has these bytes; `mid_line`: its last byte is no newline;
    /// `goes_on`: and what is written next goes on with that line.
    Opened {
        size: u64,
        mid_line: bool,
        goes_on: bool,
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
    /// The path does not lead to the open file any more; nothing was changed.
    Astray,
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

/// What to do. Names are without a directory: that of the log. To be carried out, and answered, one after the other in
/// this order; the answer to `Compress` alone may come at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Open the path for appending, made with its directories where it is not there; the file that was open before is
    /// closed once that has succeeded, and not else. Answered by `Opened` or `OpenFailed`.
    Open,
    /// Write a newline: what was there ended in the middle of a line. Answered by `Wrote` or `WriteFailed`.
    EndLine,
    /// Answered by `Looked`.
    Look,
    /// Rename the path to this name, if nothing has it. Answered by `Renamed`, `NameTaken`, `Astray` or
    /// `RenameFailed`.
    Rename { to: OsString },
    /// Answered by `Listed` or `ListFailed`.
    List,
    /// In a child process, when no other is compressed: answered by `Compressed` or `CompressFailed`, later, and even
    /// if the archive is removed in the meantime. The source is removed once the `.gz` is complete, verified, on the
    /// disk and has its name. Where there is a `.gz` already (somebody was killed between the two), it is compared with
    /// the source: the source is removed if they are the same, and it has failed if not.
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

/// A log that is moved or removed is noticed so late.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A line has so long to end, where the log has to be opened again.
const LINE_ENDS: Duration = Duration::from_secs(1);
/// After so long without the names of the archives, new ones are made from the clock alone.
const BLIND_AFTER: Duration = Duration::from_secs(10);
/// So many names in a row may be taken.
const NAMES: u32 = 100;
/// A clock that steps back by no more is put right.
const DAY: u64 = 24 * 60 * 60 * 1000;
/// Delays, doubling from the first to the second: of what cannot be written …
const WRITE_AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// … of what cannot be removed …
const TIDY_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// … and of everything else.
const STEP_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// One log file.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    limits: Limits,
    archives: Archives,
    troubles: Troubles,
    effects: VecDeque<Effect>,
    step: Step,
    place: Place,
    /// Of the open file, in bytes.
    size: u64,
    /// Its last byte is no newline.
    mid_line: bool,
    /// And it was so when it was opened: a newline is due.
    torn: bool,
    looked_at: Time,
    /// So many wait for an `Open`.
    asked: u32,
    open: Retry,
    rotate: Retry,
    write: Retry,
    /// Nothing can be written until then.
    blocked: Option<Time>,
    list: Retry,
    listing: Listing,
    /// What has to go is looked for.
    tidy: Retry,
    /// The directory could not be read since then.
    unread_since: Option<Time>,
    /// Archives may be given names.
    named: bool,
    /// The `every` that has begun, counted from 1970, of the lines in the file and of all that were there before.
    period: u64,
}

impl Rotation {
    /// `name` is the file's, without its directory. The first effects are `Open` and `List`.
    pub(crate) fn new(name: OsString, limits: Limits) -> Rotation {
        Rotation {
            limits,
            archives: Archives::new(name),
            troubles: Troubles::default(),
            effects: VecDeque::from([Effect::Open, Effect::List]),
            step: Step::Opening,
            place: Place::Nowhere,
            size: 0,
            mid_line: false,
            torn: false,
            looked_at: Time::default(),
            asked: 0,
            open: Retry::default(),
            rotate: Retry::default(),
            write: Retry::default(),
            blocked: None,
            list: Retry::default(),
            listing: Listing::Asked,
            tidy: Retry::default(),
            unread_since: None,
            named: false,
            period: 0,
        }
    }

    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(crate) fn handle_event(&mut self, now: Time, wall: Wall, event: Event) {
        self.follow_clock(wall);
        match event {
            Event::Opened { size, mid_line, goes_on } => self.opened(now, wall, size, (mid_line, goes_on)),
            Event::OpenFailed { why } => self.open_failed(now, why),
            Event::Wrote { bytes, mid_line } => self.wrote(wall, bytes, mid_line),
            Event::WriteFailed { why } => self.write_failed(now, why),
            Event::Looked { in_place, size } => self.looked(now, wall, in_place, size),
            Event::Renamed => self.renamed(wall),
            Event::NameTaken => self.name_taken(now, wall),
            Event::Astray => self.go_astray(now),
            Event::RenameFailed { why } => self.rename_failed(now, why),
            Event::Listed { found } => self.listed(&found),
            Event::ListFailed { why } => self.list_failed(now, why),
            Event::Compressed { archive, bytes } => {
                self.archives.compressed(&archive, bytes);
                self.archives.trim(&self.limits, &mut self.effects);
            }
            Event::CompressFailed { archive, why } => {
                // One that was removed meanwhile could not be compressed, and that is as it should be. But half of it
                // may be there.
                match self.archives.compress_failed(now, &archive) {
                    true => self.trouble(now, Kind::Compress, why),
                    false => self.tidy_again(now),
                }
            }
            Event::Removed { name } => self.archives.removed(&name),
            Event::RemoveFailed { name, why } => {
                self.archives.remove_failed(&name);
                self.tidy_again(now);
                self.trouble(now, Kind::Remove, why);
            }
            Event::ReopenAsked => {
                if self.asked == 0 {
                    // A line that may end until then has that long already.
                    let is_due = self.place == Place::Astray;
                    self.open.at = if is_due { self.open.at.min(now) } else { now };
                }
                self.asked += 1;
            }
        }
        self.settle(now, wall);
    }

    pub(crate) fn handle_timeout(&mut self, now: Time, wall: Wall) {
        self.follow_clock(wall);
        self.settle(now, wall);
    }

    /// When `handle_timeout` has something to do. None while nothing is due, whatever the clocks say.
    pub(crate) fn poll_timeout(&self, now: Time, wall: Wall) -> Option<Time> {
        let list_at = (self.listing == Listing::Due).then_some(self.list.at);
        let deadlines =
            [self.open_at(), self.blocked, self.boundary(now, wall), list_at, self.archives.compress_at()];
        deadlines.into_iter().flatten().min()
    }

    /// How many of these bytes, which are to be written next, may be written to the open file now. None where it has to
    /// be done without for a while: there is an effect or a timeout to wait for.
    pub(crate) fn share(&mut self, now: Time, wall: Wall, bytes: &[u8]) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        self.follow_clock(wall);
        self.proceed(now, wall);
        if self.step != Step::None || self.place == Place::Nowhere {
            return 0;
        }
        if self.place == Place::There && now - self.looked_at >= LOOK_EVERY {
            self.look(None);
            return 0;
        }
        if self.blocked.is_some() {
            return 0;
        }
        let share = self.fitting(now, wall, bytes);
        if share == 0 {
            self.look(Some(self.size));
        }
        share
    }

    /// How many of these bytes the file has room for: none where it has to be rotated before.
    fn fitting(&self, now: Time, wall: Wall, bytes: &[u8]) -> usize {
        let leaving = self.has_to_open() && self.open.is_due(now);
        let rotates = self.rotates(now);
        if self.mid_line && (leaving || (rotates && self.is_over(wall))) {
            return first_line(bytes, 0);
        }
        let Some(max_size) = self.limits.max_size.filter(|_| rotates) else { return bytes.len() };
        let room = usize::try_from(max_size.saturating_sub(self.size)).unwrap_or(usize::MAX);
        if bytes.len() <= room {
            return bytes.len();
        }
        match memchr::memrchr(b'\n', &bytes[..room]) {
            Some(end) => end + 1,
            None if self.mid_line || self.size == 0 => first_line(bytes, room),
            None => 0,
        }
    }

    /// Takes the next steps, as far as they are due.
    fn settle(&mut self, now: Time, wall: Wall) {
        self.proceed(now, wall);
        if self.listing == Listing::Due && self.list.is_due(now) {
            self.listing = Listing::Asked;
            self.effects.push_back(Effect::List);
        }
        self.archives.compress(now, &mut self.effects);
        if !self.archives.has_uncompressed() {
            self.recovered(Kind::Compress);
        }
        if !self.archives.has_stuck() {
            self.tidy = Retry::default();
            self.recovered(Kind::Remove);
        }
    }

    /// The next step of the file itself, if it is due.
    fn proceed(&mut self, now: Time, wall: Wall) {
        self.blocked = self.blocked.filter(|until| now < *until);
        if self.step != Step::None {
            return;
        }
        if self.open_at().is_some_and(|at| now >= at) {
            self.step = Step::Opening;
            self.effects.push_back(Effect::Open);
        } else if self.torn && self.blocked.is_none() {
            self.step = Step::EndingLine;
            self.effects.push_back(Effect::EndLine);
        } else if self.boundary(now, wall).is_some_and(|at| now >= at) {
            self.look(Some(self.size));
        }
    }

    fn has_to_open(&self) -> bool {
        self.place != Place::There || self.asked > 0
    }

    /// When the path is to be opened.
    fn open_at(&self) -> Option<Time> {
        if !self.has_to_open() || self.step != Step::None {
            return None;
        }
        let in_line = self.mid_line && self.place != Place::Nowhere;
        match self.place {
            Place::Renamed { .. } if in_line && self.asked == 0 => None,
            Place::Nowhere | Place::There | Place::Renamed { .. } | Place::Astray => {
                Some(if in_line { self.open.at + LINE_ENDS } else { self.open.at })
            }
        }
    }

    /// Whether the file may be rotated at the next end of a line.
    fn rotates(&self, now: Time) -> bool {
        self.place == Place::There && self.asked == 0 && self.named && self.rotate.is_due(now)
    }

    /// When the file is to be rotated because of its age, if nothing more is written to it.
    fn boundary(&self, now: Time, wall: Wall) -> Option<Time> {
        let waits = self.step == Step::None && self.place == Place::There && self.asked == 0 && self.named;
        let ready = self.size > 0 && !self.mid_line && self.blocked.is_none();
        let boundary = (self.period + 1).saturating_mul(self.every()?);
        let at = now + Duration::from_millis(boundary.saturating_sub(wall.0));
        let at = if self.is_over(wall) { self.rotate.at } else { at.max(self.rotate.at) };
        (waits && ready).then_some(at)
    }

    /// Whether the `every` in which the file was begun is over.
    fn is_over(&self, wall: Wall) -> bool {
        self.size > 0 && self.every().is_some_and(|every| wall.0 / every > self.period)
    }

    /// In milliseconds.
    fn every(&self) -> Option<u64> {
        self.limits.every.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1))
    }

    /// A clock that has stepped back so far was wrong before.
    fn follow_clock(&mut self, wall: Wall) {
        if let Some(every) = self.every() {
            let current = wall.0 / every;
            if self.period > current + (DAY / every).max(1) {
                self.period = current;
            }
        }
    }

    /// What is written from now on belongs to this time.
    fn begin_period(&mut self, wall: Wall) {
        self.period = self.every().map_or(0, |every| self.period.max(wall.0 / every));
    }

    fn look(&mut self, size: Option<u64>) {
        self.step = Step::Looking { size };
        self.effects.push_back(Effect::Look);
    }

    fn opened(&mut self, now: Time, wall: Wall, size: u64, (mid_line, goes_on): (bool, bool)) {
        let another = self.place == Place::Astray || size < self.size;
        if let Place::Renamed { stamp, size } = std::mem::replace(&mut self.place, Place::There) {
            self.archives.add(stamp, size);
            self.list = Retry::default();
            // One that is asked for already comes after this.
            if self.listing == Listing::Done {
                self.listing = Listing::Due;
            }
        }
        (self.step, self.looked_at, self.open) = (Step::None, now, Retry::default());
        // A line that is being written goes on, wherever it is.
        let in_line = (self.mid_line && !self.torn) || goes_on;
        (self.size, self.mid_line, self.torn) = (size, mid_line || in_line, mid_line && !in_line);
        self.blocked = None;
        self.begin_period(wall);
        if another {
            // What could not be rotated is not ours any more.
            self.rotate = Retry::default();
            self.recovered(Kind::Rename);
        }
        self.recovered(Kind::Open);
        self.answer(None);
    }

    fn open_failed(&mut self, now: Time, why: String) {
        self.step = Step::None;
        self.answer(Some(&why));
        let nowhere = self.place == Place::Nowhere;
        self.open.failed(now, if nowhere { WRITE_AGAIN } else { STEP_AGAIN });
        // An open file that is where it should be does not need it: who asked has been told.
        if self.place != Place::There {
            self.effects.extend(self.troubles.begin(now, Kind::Open, why, nowhere));
        }
    }

    fn answer(&mut self, why: Option<&str>) {
        for _ in 0..std::mem::take(&mut self.asked) {
            self.effects.push_back(Effect::Reopened { why: why.map(str::to_string) });
        }
    }

    fn wrote(&mut self, wall: Wall, bytes: u64, mid_line: bool) {
        if self.step == Step::EndingLine {
            (self.step, self.torn) = (Step::None, false);
        }
        if self.size == 0 {
            self.begin_period(wall);
        }
        (self.size, self.mid_line) = (self.size.saturating_add(bytes), mid_line);
        (self.write, self.blocked) = (Retry::default(), None);
        self.recovered(Kind::Write);
    }

    fn write_failed(&mut self, now: Time, why: String) {
        if self.step == Step::EndingLine {
            self.step = Step::None;
        }
        self.write.failed(now, WRITE_AGAIN);
        self.blocked = Some(self.write.at);
        self.effects.extend(self.troubles.begin(now, Kind::Write, why, true));
    }

    fn looked(&mut self, now: Time, wall: Wall, in_place: bool, size: u64) {
        let Step::Looking { size: expected } = std::mem::replace(&mut self.step, Step::None) else { return };
        self.looked_at = now;
        if !in_place {
            return self.go_astray(now);
        }
        if size < self.size {
            // Somebody has truncated it.
            self.begin_period(wall);
        }
        self.size = size;
        match expected.filter(|expected| size >= *expected) {
            // What is there is about to be known, and the name is to come after all of it.
            Some(_) if self.listing == Listing::Asked => self.look(expected),
            Some(_) => self.rename(wall, 0),
            None => {}
        }
    }

    fn go_astray(&mut self, now: Time) {
        (self.step, self.place) = (Step::None, Place::Astray);
        self.open.at = self.open.at.max(now);
    }

    fn rename(&mut self, wall: Wall, taken: u32) {
        let stamp = self.archives.next_stamp(wall);
        self.step = Step::Renaming { stamp, taken };
        self.effects.push_back(Effect::Rename { to: self.archives.name(stamp) });
    }

    fn renamed(&mut self, wall: Wall) {
        let Step::Renaming { stamp, .. } = std::mem::replace(&mut self.step, Step::None) else { return };
        self.place = Place::Renamed { stamp, size: self.size };
        (self.rotate, self.open) = (Retry::default(), Retry::default());
        self.begin_period(wall);
        self.recovered(Kind::Rename);
    }

    fn name_taken(&mut self, now: Time, wall: Wall) {
        let Step::Renaming { taken, .. } = self.step else { return };
        if taken + 1 < NAMES {
            self.rename(wall, taken + 1);
        } else {
            self.rename_failed(now, "too many names for an archive are taken".to_string());
        }
    }

    fn rename_failed(&mut self, now: Time, why: String) {
        self.step = Step::None;
        self.rotate.failed(now, STEP_AGAIN);
        self.trouble(now, Kind::Rename, why);
    }

    fn listed(&mut self, found: &[Found]) {
        (self.listing, self.list) = (Listing::Done, Retry::default());
        (self.unread_since, self.named) = (None, true);
        let open = match self.place {
            Place::Renamed { stamp, .. } => Some(stamp),
            Place::Nowhere | Place::There | Place::Astray => None,
        };
        self.archives.listed(found, open, &mut self.effects);
        self.archives.trim(&self.limits, &mut self.effects);
        self.recovered(Kind::List);
    }

    fn list_failed(&mut self, now: Time, why: String) {
        self.listing = Listing::Due;
        self.list.failed(now, STEP_AGAIN);
        let since = *self.unread_since.get_or_insert(now);
        self.named |= now - since >= BLIND_AFTER;
        self.archives.trim(&self.limits, &mut self.effects);
        self.trouble(now, Kind::List, why);
    }

    /// What has to go is found when the directory is read, which the next rotation does too.
    fn tidy_again(&mut self, now: Time) {
        if self.listing == Listing::Done {
            self.tidy.failed(now, TIDY_AGAIN);
            (self.listing, self.list.at) = (Listing::Due, self.tidy.at);
        }
    }

    fn trouble(&mut self, now: Time, kind: Kind, why: String) {
        self.effects.extend(self.troubles.begin(now, kind, why, false));
    }

    fn recovered(&mut self, kind: Kind) {
        self.effects.extend(self.troubles.end(kind));
    }
}

/// How many bytes it is to the end of the first line that ends at or after `from`: all where none does.
fn first_line(bytes: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |end| from + end + 1)
}
