//! One log, the disk below it, the one who carries out its effects, and all that must hold at every step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::{Effect, Event, Found, Rotation, Wall};
use super::disk::{Disk, File, LOG, Node, stamp};
use super::{Random, Seed};
use crate::core::Time;
use crate::logs::Limits;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Open,
    Write,
    Rename,
    List,
    Compress,
    Remove,
}

impl Kind {
    pub(super) const ALL: [Kind; 6] =
        [Kind::Open, Kind::Write, Kind::Rename, Kind::List, Kind::Compress, Kind::Remove];

    fn named(why: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| why.starts_with(&format!("{kind:?}")))
    }
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) wall: u64,
    pub(super) limits: Limits,
    pub(super) random: Random,
    pub(super) disk: Disk,
    pub(super) capacity: u64,
    rotation: Rotation,
    /// The file that is open.
    open: Option<usize>,
    /// What is to be written, and by which lines it was made; a line is cut where it is offered, one time in so many.
    ring: Vec<u8>,
    pub(super) cuts_one_in: u64,
    next_line: u64,
    lengths: BTreeMap<u64, usize>,
    /// The line that is being written, where a part of it is.
    in_line: Option<(u64, usize)>,
    /// Lines that need not be there, and lines that need not be whole.
    pub(super) gone: BTreeSet<u64>,
    pub(super) torn: BTreeSet<u64>,
    /// Each fails one time in so many; and always until then.
    pub(super) fails_one_in: BTreeMap<Kind, u64>,
    pub(super) fails_until: BTreeMap<Kind, Time>,
    compressing: Option<Compressing>,
    uncompressed: BTreeMap<String, Time>,
    /// Each kind: when it last failed, unless there is a reason to try at once.
    failed_at: BTreeMap<Kind, Time>,
    told_at: BTreeMap<Kind, Time>,
    in_trouble: bool,
    asked: VecDeque<Time>,
    last_open_failed: bool,
    opened: bool,
    listed: bool,
    list_failing_since: Option<Time>,
    pub(super) disordered: bool,
    not_removed: BTreeSet<String>,
    /// The last boundary at which it was rotated.
    boundary: u64,
    pub(super) users: BTreeMap<String, Node>,
    looked_to_rotate: bool,
    pub(super) undisturbed: bool,
    story: Option<Vec<String>>,
}

struct Compressing {
    name: String,
    text: Vec<u8>,
    ends: Time,
    succeeds: bool,
}

impl World {
    pub(super) fn new(seed: Seed, limits: Limits, mut random: Random) -> World {
        let wall = 1_795_168_800_000 + random.below(1_000_000_000);
        World {
            now: Time(Duration::from_secs(1000)),
            wall,
            rotation: Rotation::new(LOG.into(), limits.clone()),
            limits,
            random,
            disk: Disk::default(),
            capacity: u64::MAX,
            open: None,
            ring: Vec::new(),
            cuts_one_in: 0,
            next_line: 1,
            lengths: BTreeMap::new(),
            in_line: None,
            gone: BTreeSet::new(),
            torn: BTreeSet::new(),
            fails_one_in: BTreeMap::new(),
            fails_until: BTreeMap::new(),
            compressing: None,
            uncompressed: BTreeMap::new(),
            failed_at: BTreeMap::new(),
            told_at: BTreeMap::new(),
            in_trouble: false,
            asked: VecDeque::new(),
            last_open_failed: false,
            opened: false,
            listed: false,
            list_failing_since: None,
            disordered: false,
            not_removed: BTreeSet::new(),
            boundary: 0,
            users: BTreeMap::new(),
            looked_to_rotate: false,
            undisturbed: true,
            story: seed.telling.then(Vec::new),
        }
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.story.is_some() {
            let line = format!("{:>12?} {} {}", self.now.0, self.wall, what());
            eprintln!("{line}");
        }
    }

    // What goes on by itself.

    /// A worker writes a line of so many bytes.
    pub(super) fn line(&mut self, length: usize) {
        let mut line = format!("#{}:", self.next_line).into_bytes();
        let length = length.max(line.len() + 1);
        line.resize(length - 1, b'x');
        line.push(b'\n');
        self.lengths.insert(self.next_line, length);
        self.next_line += 1;
        self.ring.extend(line);
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.turn();
        loop {
            let timeout = self.rotation.poll_timeout(self.now, Wall(self.wall));
            let compressor = self.compressing.as_ref().map(|compressing| compressing.ends);
            let next = [timeout, compressor, Some(end)].into_iter().flatten().min().unwrap().max(self.now);
            let passed = next - self.now;
            // Timers are late, never early.
            let passed = Duration::from_millis(passed.as_nanos().div_ceil(1_000_000) as u64);
            self.now = self.now + passed;
            self.wall += passed.as_millis() as u64;
            if timeout.is_some_and(|at| at <= self.now) {
                self.tell(|| "a timeout".to_string());
                self.rotation.handle_timeout(self.now, Wall(self.wall));
            }
            self.end_compression();
            self.turn();
            let timeout = self.rotation.poll_timeout(self.now, Wall(self.wall));
            assert!(timeout.is_none_or(|at| at > self.now), "it is busy: {timeout:?}");
            if self.now >= end {
                return;
            }
        }
    }

    /// Everything that can be done now.
    pub(super) fn turn(&mut self) {
        for _ in 0..20_000 {
            self.perform_all();
            let offered = self.offered();
            let share = self.rotation.share(self.now, Wall(self.wall), &self.ring[..offered]);
            assert!(share <= offered, "more than there is");
            if share > 0 {
                self.write(share, offered);
                continue;
            }
            if !self.perform_all() {
                self.at_rest();
                return;
            }
        }
        panic!("it never rests");
    }

    fn offered(&mut self) -> usize {
        if self.cuts_one_in > 0 && !self.ring.is_empty() && self.random.one_in(self.cuts_one_in) {
            return 1 + self.random.below(self.ring.len() as u64) as usize;
        }
        self.ring.len()
    }

    fn at_rest(&self) {
        let waits = !self.ring.is_empty();
        let timeout = self.rotation.poll_timeout(self.now, Wall(self.wall));
        assert!(!waits || timeout.is_some(), "lines wait for nothing");
        for asked in &self.asked {
            assert!(self.now - *asked <= SECOND + SECOND, "nobody hears of the reopening");
        }
        let Some(open) = self.open.map(|open| &self.disk.files[open]) else { return };
        if let (true, Some(every)) = (self.undisturbed, self.every()) {
            let over = self.wall / every > open.began / every;
            assert!(!over || open.text.is_empty() || open.mid_line(), "the boundary is missed");
        }
        assert!(!self.undisturbed || !waits, "lines wait though nothing is wrong");
        if self.undisturbed {
            self.limits_hold();
        }
    }

    pub(super) fn every(&self) -> Option<u64> {
        self.limits.every.map(|every| every.as_millis() as u64)
    }

    pub(super) fn limits_hold(&self) {
        let archives = self.disk.archives();
        assert!(archives.len() <= self.limits.keep as usize, "{} archives", archives.len());
        let bytes: u64 = archives.values().sum();
        assert!(self.limits.total.is_none_or(|total| bytes <= total), "{bytes} bytes of archives");
    }

    fn perform_all(&mut self) -> bool {
        let mut any = false;
        while let Some(effect) = self.rotation.poll_effect() {
            any = true;
            self.tell(|| format!("  -> {effect:?}"));
            if let Some(event) = self.perform(effect) {
                self.happened(event);
            }
        }
        any
    }

    fn happened(&mut self, event: Event) {
        self.tell(|| format!("{event:?}"));
        let failed = match &event {
            Event::OpenFailed { why }
            | Event::WriteFailed { why }
            | Event::RenameFailed { why }
            | Event::ListFailed { why }
            | Event::CompressFailed { why, .. }
            | Event::RemoveFailed { why, .. } => Kind::named(why),
            _ => None,
        };
        self.rotation.handle_event(self.now, Wall(self.wall), event);
        if let Some(kind) = failed {
            self.failed_at.insert(kind, self.now);
            // Where only somebody's asking for it has failed, that one alone is told.
            let is_told = kind != Kind::Open || self.open.is_none_or(|_| self.disk.at(LOG) != self.open);
            let silent = self.told_at.get(&kind).is_none_or(|told| self.now - *told >= MINUTE);
            if is_told && silent {
                let told = self.rotation.effects.iter().any(|effect| {
                    matches!(effect, Effect::Trouble { why, .. } if Kind::named(why) == Some(kind))
                });
                // That it is gone is not known yet where it has not been looked at.
                let unnoticed = kind == Kind::Open && self.open.is_some();
                assert!(told || unnoticed, "{kind:?} fails in silence");
            }
        }
    }

    // Who carries it out.

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Open => Some(self.open_log()),
            Effect::EndLine => Some(self.end_line()),
            Effect::Look => Some(self.look()),
            Effect::Rename { to } => Some(self.rename(to.to_str().unwrap())),
            Effect::List => Some(self.list()),
            Effect::Compress { archive } => {
                self.begin_compression(archive.to_str().unwrap());
                None
            }
            Effect::Remove { name } => Some(self.remove(name.to_str().unwrap())),
            Effect::Trouble { why, writing } => {
                self.trouble(&why, writing);
                None
            }
            Effect::Recovered => {
                assert!(self.in_trouble, "it recovers from nothing");
                self.in_trouble = false;
                None
            }
            Effect::Reopened { why } => {
                assert!(self.asked.pop_front().is_some(), "an answer without a question");
                assert_eq!(why.is_some(), self.last_open_failed, "the wrong answer");
                None
            }
        }
    }

    fn trouble(&mut self, why: &str, writing: bool) {
        let kind = Kind::named(why).expect("the sentence of an event");
        let last = self.told_at.insert(kind, self.now);
        assert!(last.is_none_or(|last| self.now - last >= MINUTE), "{why} is told too often");
        let expected = kind == Kind::Write || (kind == Kind::Open && self.open.is_none());
        assert_eq!(writing, expected, "{why}");
        self.in_trouble = true;
    }

    fn fails(&mut self, kind: Kind) -> bool {
        let always = self.fails_until.get(&kind).is_some_and(|until| self.now < *until);
        let fails = always || self.fails_one_in.get(&kind).is_some_and(|n| self.random.one_in(*n));
        fails
    }

    /// It was tried again no sooner than it should be.
    fn tried(&mut self, kind: Kind, least: Duration) {
        let failed = self.failed_at.remove(&kind);
        assert!(failed.is_none_or(|at| self.now - at >= least), "{kind:?} is tried again too soon");
    }

    fn why(kind: Kind) -> String {
        format!("{kind:?}: No space left on device")
    }

    fn open_log(&mut self) -> Event {
        if self.asked.is_empty() {
            self.tried(Kind::Open, if self.open.is_some() { SECOND } else { SECOND / 5 });
        }
        self.last_open_failed = self.fails(Kind::Open);
        if self.last_open_failed {
            self.excuse();
            return Event::OpenFailed { why: World::why(Kind::Open) };
        }
        let file = match self.disk.at(LOG) {
            Some(file) => file,
            None => self.disk.add(LOG, File { may_be_large: !self.listed, ..File::default() }),
        };
        if self.open.is_some() {
            self.leave(file);
        }
        self.disk.files[file].began = self.disk.files[file].began.max(self.wall);
        (self.open, self.opened) = (Some(file), true);
        for kind in [Kind::Write, Kind::Open, Kind::Rename, Kind::List] {
            self.failed_at.remove(&kind);
        }
        let opened = &self.disk.files[file];
        Event::Opened { size: opened.size(), mid_line: opened.mid_line() }
    }

    /// The open file is left for another one, or for itself.
    fn leave(&mut self, file: usize) {
        let Some((line, _)) = self.in_line else { return };
        let open = &self.disk.files[self.open.unwrap()];
        let waited = |since: &Time| self.now - *since >= SECOND;
        let may = open.astray_since.iter().chain(self.asked.front()).any(waited);
        assert!(may, "a line is split");
        self.torn.insert(line);
        self.in_line = Some((line, file));
    }

    /// It cannot be rotated now.
    fn excuse(&mut self) {
        if let Some(open) = self.open {
            self.disk.files[open].may_be_large = true;
        }
    }

    fn end_line(&mut self) -> Event {
        self.tried(Kind::Write, SECOND / 5);
        let open = self.open.expect("a line ends in a file");
        assert!(self.disk.files[open].mid_line(), "no line is to be ended");
        if self.fails(Kind::Write) || self.disk.used() >= self.capacity {
            return Event::WriteFailed { why: World::why(Kind::Write) };
        }
        self.disk.files[open].text.push(b'\n');
        Event::Wrote { bytes: 1, mid_line: false }
    }

    fn look(&mut self) -> Event {
        let open = self.open.expect("nothing is open");
        self.looked_to_rotate = self.ring.is_empty();
        assert!(!self.ring.is_empty() || self.is_over(open), "it looks without need");
        let in_place = self.disk.at(LOG) == self.open;
        Event::Looked { in_place, size: self.disk.files[open].size() }
    }

    fn is_over(&self, file: usize) -> bool {
        self.every().is_some_and(|every| self.wall / every > self.disk.files[file].began / every)
    }

    fn rename(&mut self, to: &str) -> Event {
        assert!(stamp(to).is_some(), "{to} is no archive's name");
        self.tried(Kind::Rename, SECOND);
        let open = self.open.expect("nothing is open");
        let blind = self.list_failing_since.is_some_and(|since| self.now - since >= SECOND * 10);
        assert!(self.listed || blind, "a name is made before the others are known");
        if self.fails(Kind::Rename) {
            self.excuse();
            return Event::RenameFailed { why: World::why(Kind::Rename) };
        }
        if self.disk.names.contains_key(to) {
            return Event::NameTaken;
        }
        assert_eq!(self.disk.at(LOG), self.open, "another one's file is renamed");
        let latest = self.disk.archives().into_keys().next_back();
        if latest.is_some_and(|latest| stamp(to).is_some_and(|stamp| stamp <= latest)) {
            assert!(!self.listed, "{to} sorts before others");
            self.disordered = true;
        }
        self.may_rotate(open);
        let node = self.disk.names.remove(LOG).unwrap();
        self.disk.names.insert(to.to_string(), node);
        Event::Renamed
    }

    fn may_rotate(&mut self, open: usize) {
        let file = &self.disk.files[open];
        assert!(!file.text.is_empty(), "an empty file is rotated");
        assert!(!file.mid_line() && self.in_line.is_none(), "rotated in the middle of a line");
        let next = self.ring.split_inclusive(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) as u64;
        if next > 0 && self.limits.max_size.is_some_and(|max_size| file.size() + next > max_size) {
            return;
        }
        assert!(self.is_over(open), "it is rotated without need");
        let boundary = self.wall / self.every().unwrap();
        assert!(boundary > self.boundary, "rotated twice at one boundary");
        self.boundary = boundary;
    }

    fn list(&mut self) -> Event {
        self.tried(Kind::List, SECOND);
        if self.fails(Kind::List) {
            self.list_failing_since.get_or_insert(self.now);
            return Event::ListFailed { why: World::why(Kind::List) };
        }
        (self.listed, self.list_failing_since) = (true, None);
        let found = self.disk.names.iter().map(|(name, node)| Found {
            name: name.into(),
            bytes: self.disk.of(*node).map_or(4096, File::size),
            is_file: *node != Node::Other,
        });
        let mut found: Vec<Found> = found.collect();
        if self.random.one_in(2) {
            found.reverse();
        }
        Event::Listed { found }
    }

    fn remove(&mut self, name: &str) -> Event {
        assert!(!self.users.contains_key(name), "{name} is a user's");
        if let Some(archive) = name.strip_suffix(".tmp") {
            let source = self.compressing.as_ref().map(|compressing| format!("{}.gz", compressing.name));
            assert!(source.as_deref() != Some(archive), "the compressor writes to {name}");
            assert!(stamp(archive).is_some(), "{name} is not ours");
        } else {
            self.may_remove(name);
        }
        if self.fails(Kind::Remove) {
            self.not_removed.insert(name.to_string());
            return Event::RemoveFailed { name: name.into(), why: World::why(Kind::Remove) };
        }
        if let Some(file) = self.disk.at(name) {
            assert_ne!(self.open, Some(file), "the file that is written to is removed");
            self.forget(file);
        }
        self.disk.names.remove(name);
        self.not_removed.remove(name);
        Event::Removed { name: name.into() }
    }

    fn may_remove(&self, name: &str) {
        let stamp = stamp(name).expect("the name of an archive");
        let archives = self.disk.archives();
        let older = archives.range(..stamp.clone()).filter(|(older, _)| {
            !self.not_removed.iter().any(|name| name.contains(older.as_str()))
        });
        assert_eq!(older.count(), 0, "an older one than {name} stays");
        let twins = self.disk.names.keys().filter(|name| name.contains(&stamp)).count();
        let bytes: u64 = archives.values().sum();
        let much = self.limits.total.is_some_and(|total| bytes > total);
        let many = archives.len() > self.limits.keep as usize;
        let half_gone = name.ends_with(".gz") && twins == 1;
        assert!(much || many || half_gone, "{name} may stay");
    }

    /// What is in it may be missing.
    pub(super) fn forget(&mut self, file: usize) {
        let numbers: Vec<u64> = self.disk.files[file].lines().filter_map(number).collect();
        self.gone.extend(numbers);
    }

    // The compressor.

    fn begin_compression(&mut self, name: &str) {
        assert!(self.compressing.is_none(), "two are compressed at once");
        assert!(stamp(name).is_some() && !name.ends_with(".gz"), "{name} is not to be compressed");
        let failed = self.uncompressed.remove(name);
        assert!(failed.is_none_or(|at| self.now - at >= SECOND * 10), "{name} is tried again too soon");
        let file = self.disk.at(name).expect("what is compressed is there");
        assert_ne!(self.open, Some(file), "the file that is written to is compressed");
        let text = self.disk.files[file].text.clone();
        let succeeds = !self.fails(Kind::Compress);
        let ends = self.now + Duration::from_millis(self.random.below(3000));
        self.compressing = Some(Compressing { name: name.to_string(), text, ends, succeeds });
        if self.random.one_in(2) {
            self.disk.add(&format!("{name}.gz.tmp"), File { compressed: true, ..File::default() });
        }
    }

    fn end_compression(&mut self) {
        let Some(compressing) = self.compressing.take_if(|compressing| compressing.ends <= self.now) else {
            return;
        };
        let name = compressing.name.clone();
        let kept_half = !compressing.succeeds && self.random.one_in(3);
        if !kept_half {
            self.disk.names.remove(&format!("{name}.gz.tmp"));
        }
        let event = match self.publish(compressing) {
            Some(bytes) => Event::Compressed { archive: name.into(), bytes },
            None => {
                self.uncompressed.insert(name.clone(), self.now);
                Event::CompressFailed { archive: name.into(), why: World::why(Kind::Compress) }
            }
        };
        self.happened(event);
        self.perform_all();
    }

    fn publish(&mut self, Compressing { name, text, succeeds, .. }: Compressing) -> Option<u64> {
        let target = format!("{name}.gz");
        let file = File { text, compressed: true, ..File::default() };
        let bytes = file.size();
        if !succeeds || (self.disk.at(&name).is_none() && self.random.one_in(2)) {
            return None;
        }
        match self.disk.names.get(&target) {
            None => {
                self.disk.add(&target, file);
            }
            Some(Node::File(there)) if self.disk.files[*there].text == file.text => {}
            Some(_) => return None,
        }
        self.disk.names.remove(&name);
        Some(bytes)
    }

    // The one who writes.

    fn write(&mut self, share: usize, offered: usize) {
        self.tried(Kind::Write, SECOND / 5);
        let open = self.open.expect("what is shared is written");
        self.astray(open);
        if self.fails(Kind::Write) {
            self.happened(Event::WriteFailed { why: World::why(Kind::Write) });
            return;
        }
        let free = self.capacity.saturating_sub(self.disk.used());
        let short = if self.random.one_in(8) { 1 + self.random.below(share as u64) } else { share as u64 };
        let bytes = short.min(free) as usize;
        if bytes > 0 {
            self.put(open, bytes, offered);
            let mid_line = self.disk.files[open].mid_line();
            self.happened(Event::Wrote { bytes: bytes as u64, mid_line });
        } else {
            self.happened(Event::WriteFailed { why: World::why(Kind::Write) });
        }
    }

    /// That it is not where it was is noticed in time.
    fn astray(&self, open: usize) {
        let limit = if self.in_line.is_some() { SECOND + SECOND } else { SECOND };
        let late = self.disk.files[open].astray_since.is_some_and(|since| self.now - since > limit);
        assert!(!late || self.last_open_failed, "it is written to what is not the log any more");
    }

    fn put(&mut self, open: usize, bytes: usize, offered: usize) {
        let whole = self.ring[..offered].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text: Vec<u8> = self.ring.drain(..bytes).collect();
        let mut at = 0;
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            let file = &mut self.disk.files[open];
            if self.in_line.is_none() {
                assert!(!file.mid_line(), "a line begins in the middle of another one");
                // What is not whole where it is offered cannot be known to fit.
                file.blindly = at >= whole;
                if file.text.is_empty() {
                    file.began = self.wall;
                }
                self.in_line = Some((number(piece).unwrap_or(self.next_line - 1), open));
            }
            let (line, begun_in) = self.in_line.unwrap();
            assert_eq!(begun_in, open, "line {line} lies in two files");
            file.text.extend_from_slice(piece);
            at += piece.len();
            if piece.ends_with(b"\n") {
                self.in_line = None;
            }
        }
        self.has_size(open);
    }

    fn has_size(&self, open: usize) {
        let file = &self.disk.files[open];
        let Some(max_size) = self.limits.max_size.filter(|_| !file.may_be_large) else { return };
        if file.size() <= max_size || file.lines().count() == 1 || !self.listed || file.astray_since.is_some() {
            return;
        }
        let last = file.lines().last().map_or(0, <[u8]>::len) as u64 + u64::from(!file.mid_line());
        let rest = file.size() - last;
        assert!(file.blindly && rest <= max_size, "{} bytes in a file of {max_size}", file.size());
    }
}

/// That of a line, whole or not.
pub(super) fn number(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix('#')?;
    text.split_once(':')?.0.parse().ok()
}

#[path = "outside.rs"]
mod outside;
