//! One log, the disk below it, the one who carries out its effects, and all that must hold at every step.

mod outside;
mod perform;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::{Effect, Event, Rotation, Wall};
use super::disk::{Disk, LOG, Node};
use crate::core::Time;
use crate::logs::Limits;
use crate::sim::{Random, Seed};

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
    now: Time,
    wall: u64,
    pub(super) limits: Limits,
    pub(super) random: Random,
    disk: Disk,
    pub(super) capacity: u64,
    rotation: Rotation,
    /// The file that is open.
    open: Option<usize>,
    /// What is to be written, and by which lines it was made; a line is cut where it is offered, one time in so many.
    ring: Vec<u8>,
    pub(super) cuts_one_in: u64,
    /// The lines of which something is in the ring.
    queued: VecDeque<u64>,
    next_line: u64,
    lengths: BTreeMap<u64, usize>,
    /// The line that is being written, where a part of it is.
    in_line: Option<(u64, usize)>,
    /// Lines that need not be there, or not whole.
    gone: BTreeSet<u64>,
    /// So many pieces of them may be anywhere.
    scraps: u64,
    /// Each fails one time in so many; and always until then.
    pub(super) fails_one_in: BTreeMap<Kind, u64>,
    pub(super) fails_until: BTreeMap<Kind, Time>,
    compressing: Option<Compressing>,
    uncompressed: BTreeMap<String, Time>,
    /// Each kind: when it last failed, unless there is a reason to try at once.
    failed_at: BTreeMap<Kind, Time>,
    told_at: BTreeMap<Kind, Time>,
    /// How often it was told that something goes wrong, less how often that it is over; and what was told last.
    troubles: u32,
    in_trouble: bool,
    asked: VecDeque<Time>,
    last_open_failed: bool,
    listed: bool,
    list_failing_since: Option<Time>,
    disordered: bool,
    /// Stamps of archives that could not be removed at some time, and of the one that was removed last.
    not_removed: BTreeSet<String>,
    half_gone: Option<String>,
    /// The last boundary at which it was rotated.
    boundary: u64,
    /// The latest that the clock has shown.
    latest: u64,
    looked_at: Time,
    /// When it was seen that the file is astray.
    noticed_at: Option<Time>,
    users: BTreeMap<String, Node>,
    pub(super) undisturbed: bool,
    /// By others, at some time.
    truncated: bool,
    stepped_back: bool,
    telling: bool,
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
            queued: VecDeque::new(),
            next_line: 1,
            lengths: BTreeMap::new(),
            in_line: None,
            gone: BTreeSet::new(),
            scraps: 0,
            fails_one_in: BTreeMap::new(),
            fails_until: BTreeMap::new(),
            compressing: None,
            uncompressed: BTreeMap::new(),
            failed_at: BTreeMap::new(),
            told_at: BTreeMap::new(),
            troubles: 0,
            in_trouble: false,
            asked: VecDeque::new(),
            last_open_failed: false,
            listed: false,
            list_failing_since: None,
            disordered: false,
            not_removed: BTreeSet::new(),
            half_gone: None,
            boundary: 0,
            latest: 0,
            looked_at: Time::default(),
            noticed_at: None,
            users: BTreeMap::new(),
            undisturbed: true,
            truncated: false,
            stepped_back: false,
            telling: seed.telling,
        }
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.telling {
            eprintln!("{:>12?} {} {}", self.now.0, self.wall, what());
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
        self.queued.push_back(self.next_line);
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
    fn turn(&mut self) {
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
            assert!(!over || open.text.is_empty() || self.in_line.is_some(), "the boundary is missed");
        }
        assert!(!self.undisturbed || !waits, "lines wait though nothing is wrong");
        if self.undisturbed {
            self.limits_hold();
        }
    }

    fn every(&self) -> Option<u64> {
        self.limits.every.map(|every| every.as_millis() as u64)
    }

    fn limits_hold(&self) {
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

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are no failures")]
    fn happened(&mut self, event: Event) {
        self.tell(|| format!("{event:?}"));
        let failed = match &event {
            // One that was removed meanwhile is missed by nobody.
            Event::CompressFailed { archive, .. } if self.disk.at(&archive.to_string_lossy()).is_none() => {
                None
            }
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
                let told = self.rotation.effects.iter().any(
                    |effect| matches!(effect, Effect::Trouble { why, .. } if Kind::named(why) == Some(kind)),
                );
                // That it is gone is not known yet where it has not been looked at.
                let unnoticed = kind == Kind::Open && self.open.is_some();
                assert!(told || unnoticed, "{kind:?} fails in silence");
            }
        }
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

    /// Whether it is where it was is looked at in time.
    fn astray(&self, open: usize) {
        let renamed = self.disk.at(LOG) != Some(open) && self.disk.files[open].astray_since.is_none();
        if let Some(noticed_at) = self.noticed_at {
            let ends = self.in_line.is_some() && self.now - noticed_at < SECOND;
            assert!(ends || self.last_open_failed, "it is written to what is not the log any more");
        } else if !renamed {
            assert!(self.now - self.looked_at < SECOND, "it does not look where it writes");
        }
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
                self.in_line = Some((self.queued[0], open));
            }
            file.may_be_large |= !self.listed;
            let (line, begun_in) = self.in_line.unwrap();
            assert_eq!(begun_in, open, "line {line} lies in two files");
            file.text.extend_from_slice(piece);
            at += piece.len();
            if piece.ends_with(b"\n") {
                self.in_line = None;
                self.queued.pop_front();
            }
            if file.astray_since.is_some() {
                self.gone.insert(line);
            }
        }
        self.has_size(open);
    }

    fn has_size(&self, open: usize) {
        let file = &self.disk.files[open];
        let Some(max_size) = self.limits.max_size.filter(|_| !file.may_be_large) else { return };
        if file.size() <= max_size || file.lines().count() == 1 || file.astray_since.is_some() {
            return;
        }
        let last = file.lines().last().map_or(0, <[u8]>::len) as u64 + u64::from(!file.mid_line());
        let rest = file.size() - last;
        assert!(file.blindly && rest <= max_size, "{} bytes in a file of {max_size}", file.size());
    }
}

/// That of a line, whole or not.
fn number(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix('#')?;
    text.split_once(':')?.0.parse().ok()
}
