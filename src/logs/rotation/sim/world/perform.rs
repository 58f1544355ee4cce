//! Who carries the effects out, and what each of them must not do.

use std::time::Duration;

use super::super::super::{Effect, Event, Found};
use super::super::disk::{File, LOG, Node, stamp};
use crate::core::Time;

use super::{Compressing, Kind, MINUTE, SECOND, World, number};

impl World {
    pub(super) fn perform(&mut self, effect: Effect) -> Option<Event> {
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
                self.troubles = self.troubles.checked_sub(1).expect("it recovers from nothing");
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

    pub(super) fn trouble(&mut self, why: &str, writing: bool) {
        let kind = Kind::named(why).expect("the sentence of an event");
        let last = self.told_at.insert(kind, self.now);
        assert!(last.is_none_or(|last| self.now - last >= MINUTE), "{why} is told too often");
        let expected = kind == Kind::Write || (kind == Kind::Open && self.open.is_none());
        assert_eq!(writing, expected, "{why}");
        (self.troubles, self.in_trouble) = (self.troubles + 1, true);
    }

    pub(super) fn fails(&mut self, kind: Kind) -> bool {
        let always = self.fails_until.get(&kind).is_some_and(|until| self.now < *until);
        always || self.fails_one_in.get(&kind).is_some_and(|n| self.random.one_in(*n))
    }

    /// It was tried again no sooner than it should be.
    pub(super) fn tried(&mut self, kind: Kind, least: Duration) {
        let failed = self.failed_at.remove(&kind);
        assert!(failed.is_none_or(|at| self.now - at >= least), "{kind:?} is tried again too soon");
    }

    pub(super) fn why(kind: Kind) -> String {
        format!("{kind:?}: No space left on device")
    }

    pub(super) fn open_log(&mut self) -> Event {
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
            None => self.disk.add(LOG, File::default()),
        };
        if self.open.is_some() {
            self.leave(file);
        }
        self.disk.files[file].began = self.disk.files[file].began.max(self.wall);
        // That it is another one is not seen where it is no smaller: a rename that has failed is not yet tried again.
        let is_as_large = |open: usize| self.disk.files[open].size() <= self.disk.files[file].size();
        let is_like_it = self.open.is_some_and(|open| open != file && is_as_large(open));
        self.disk.files[file].may_be_large |= is_like_it && self.failed_at.contains_key(&Kind::Rename);
        (self.open, self.looked_at, self.noticed_at) = (Some(file), self.now, None);
        for kind in [Kind::Write, Kind::Open, Kind::Rename, Kind::List] {
            self.failed_at.remove(&kind);
        }
        let opened = &self.disk.files[file];
        Event::Opened { size: opened.size(), mid_line: opened.mid_line(), goes_on: false }
    }

    /// The open file is left for this one.
    pub(super) fn leave(&mut self, file: usize) {
        let Some((line, _)) = self.in_line.filter(|_| self.open != Some(file)) else { return };
        let open = &self.disk.files[self.open.unwrap()];
        let waited = |since: &Time| self.now - *since >= SECOND;
        let may = open.astray_since.iter().chain(self.asked.front()).any(waited);
        assert!(may, "a line is split");
        self.gone.insert(line);
        self.scraps += 2;
        self.in_line = Some((line, file));
    }

    /// It cannot be rotated now.
    pub(super) fn excuse(&mut self) {
        if let Some(open) = self.open {
            self.disk.files[open].may_be_large = true;
        }
    }

    pub(super) fn end_line(&mut self) -> Event {
        self.tried(Kind::Write, SECOND / 5);
        let open = self.open.expect("a line ends in a file");
        // Somebody may have truncated it since.
        assert!(self.disk.files[open].mid_line() || self.truncated, "no line is to be ended");
        self.scraps += u64::from(self.truncated);
        if self.fails(Kind::Write) || self.disk.used() >= self.capacity {
            return Event::WriteFailed { why: World::why(Kind::Write) };
        }
        self.disk.files[open].text.push(b'\n');
        Event::Wrote { bytes: 1, mid_line: false }
    }

    pub(super) fn look(&mut self) -> Event {
        let open = self.open.expect("nothing is open");
        assert!(!self.ring.is_empty() || self.is_over(open) || self.truncated, "it looks without need");
        let in_place = self.disk.at(LOG) == self.open;
        self.looked_at = self.now;
        if !in_place {
            self.noticed_at.get_or_insert(self.now);
        }
        Event::Looked { in_place, size: self.disk.files[open].size() }
    }

    pub(super) fn is_over(&self, file: usize) -> bool {
        self.every().is_some_and(|every| self.wall / every > self.disk.files[file].began / every)
    }

    pub(super) fn rename(&mut self, to: &str) -> Event {
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
        let latest = self.disk.archives().into_keys().next_back().map(str::to_string);
        if latest.is_some_and(|latest| stamp(to).is_some_and(|stamp| stamp <= latest.as_str())) {
            assert!(!self.listed, "{to} sorts before others");
            self.disordered = true;
        }
        self.may_rotate(open);
        self.failed_at.remove(&Kind::Open);
        let node = self.disk.names.remove(LOG).unwrap();
        self.disk.names.insert(to.to_string(), node);
        Event::Renamed
    }

    pub(super) fn may_rotate(&mut self, open: usize) {
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

    pub(super) fn list(&mut self) -> Event {
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

    pub(super) fn remove(&mut self, name: &str) -> Event {
        assert!(!self.users.contains_key(name), "{name} is a user's");
        if let Some(archive) = name.strip_suffix(".tmp") {
            let source = self.compressing.as_ref().map(|compressing| format!("{}.gz", compressing.name));
            assert!(source.as_deref() != Some(archive), "the compressor writes to {name}");
            assert!(stamp(archive).is_some(), "{name} is not ours");
        } else {
            self.may_remove(name);
        }
        if self.fails(Kind::Remove) {
            self.not_removed.extend(stamp(name).map(str::to_string));
            return Event::RemoveFailed { name: name.into(), why: World::why(Kind::Remove) };
        }
        if let Some(file) = self.disk.at(name) {
            assert_ne!(self.open, Some(file), "the file that is written to is removed");
            self.forget(file);
        }
        self.disk.names.remove(name);
        self.half_gone = stamp(name).map(str::to_string);
        Event::Removed { name: name.into() }
    }

    pub(super) fn may_remove(&self, name: &str) {
        let stamp = stamp(name).expect("the name of an archive");
        let archives = self.disk.archives();
        // What is still written to is no archive yet.
        let is_open =
            |older: &str| self.open.is_some_and(|open| self.disk.at(&format!("{LOG}.{older}")) == Some(open));
        let older = archives
            .range(..stamp)
            .filter(|(older, _)| !self.not_removed.contains(**older) && !is_open(older));
        assert_eq!(older.count(), 0, "an older one than {name} stays");
        let bytes: u64 = archives.values().sum();
        let much = self.limits.total.is_some_and(|total| bytes > total);
        let many = archives.len() > self.limits.keep as usize;
        // The other of two may just have made enough room.
        let half_gone = self.half_gone.as_deref() == Some(stamp);
        assert!(much || many || half_gone, "{name} may stay");
    }

    /// What is in it may be missing.
    pub(super) fn forget(&mut self, file: usize) {
        let numbers: Vec<u64> = self.disk.files[file].lines().filter_map(number).collect();
        self.gone.extend(numbers);
    }

    // The compressor.

    pub(super) fn begin_compression(&mut self, name: &str) {
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
        let partial = format!("{name}.gz.tmp");
        if self.random.one_in(2) && !self.users.contains_key(&partial) {
            self.disk.add(&partial, File { compressed: true, ..File::default() });
        }
    }

    pub(super) fn end_compression(&mut self) {
        let Some(compressing) = self.compressing.take_if(|compressing| compressing.ends <= self.now) else {
            return;
        };
        let name = compressing.name.clone();
        let kept_half = !compressing.succeeds && self.random.one_in(3);
        let partial = format!("{name}.gz.tmp");
        if !kept_half && !self.users.contains_key(&partial) {
            self.disk.names.remove(&partial);
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

    pub(super) fn publish(&mut self, Compressing { name, text, succeeds, .. }: Compressing) -> Option<u64> {
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
}
