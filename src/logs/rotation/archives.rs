//! The archives of one log: which are there, which is compressed next, and which have to go.
//!
//! What was there when the directory was last read, and what has been done since. Both `X` and `X.gz` are one archive:
//! the compressor had published the one and not yet removed the other. The other is not simply removed, because that
//! they are the same is not known here: it is compressed once more, which begins by comparing them.
//!
//! An archive goes because of its age alone, also while it is compressed: what then comes of it goes as well.
//!
//! What this file does not do: anything to the file that is being written.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use crate::core::Time;
use crate::logs::Limits;
use crate::logs::archive_name::{Kind, Names, Stamp};

use super::retry::Retry;
use super::{Effect, Found, Wall};

/// What cannot be compressed is tried again after so long, doubling to the second.
const COMPRESS_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

#[derive(Clone, Debug)]
pub(super) struct Archives {
    names: Names,
    known: BTreeMap<Stamp, Archive>,
    /// The directory was read at least once: nothing older is there.
    complete: bool,
    /// Of all that were ever seen or made.
    newest: Option<Stamp>,
    compressing: Option<Stamp>,
}

/// What is there of one stamp.
#[derive(Clone, Debug, Default)]
struct Archive {
    /// Bytes.
    plain: Option<u64>,
    /// Bytes.
    compressed: Option<u64>,
    partial: bool,
    /// Somebody was asked to remove it, and has not answered.
    removing: bool,
    /// It could not be removed.
    stuck: bool,
    retry: Retry,
}

impl Archive {
    fn is_there(&self) -> bool {
        self.plain.is_some() || self.compressed.is_some()
    }

    fn bytes(&self) -> u64 {
        self.plain.unwrap_or(0).saturating_add(self.compressed.unwrap_or(0))
    }

    fn of_kind(&self, kind: Kind) -> bool {
        match kind {
            Kind::Plain => self.plain.is_some(),
            Kind::Compressed => self.compressed.is_some(),
            Kind::Partial => self.partial,
        }
    }
}

impl Archives {
    pub(super) fn new(log: OsString) -> Archives {
        Archives {
            names: Names::new(log),
            known: BTreeMap::new(),
            complete: false,
            newest: None,
            compressing: None,
        }
    }

    /// The stamp of the next archive: later than all others, whatever the clock says.
    pub(super) fn next_stamp(&mut self, wall: Wall) -> Stamp {
        let stamp = self.newest.map_or(Stamp::of(wall), |newest| newest.next().max(Stamp::of(wall)));
        self.newest = Some(stamp);
        stamp
    }

    pub(super) fn name(&self, stamp: Stamp) -> OsString {
        self.names.name(stamp, Kind::Plain)
    }

    /// An archive is made, of so many bytes.
    pub(super) fn add(&mut self, stamp: Stamp, bytes: u64) {
        self.known.entry(stamp).or_default().plain = Some(bytes);
    }

    /// This is what is there. Of `open` nothing is known here as yet: it is still written to.
    pub(super) fn listed(&mut self, found: &[Found], open: Option<Stamp>, effects: &mut VecDeque<Effect>) {
        self.complete = true;
        let before = std::mem::take(&mut self.known);
        for Found { name, bytes, .. } in found.iter().filter(|found| found.is_file) {
            let Some((stamp, kind)) = self.names.read(name) else { continue };
            self.newest = self.newest.max(Some(stamp));
            if open == Some(stamp) {
                continue;
            }
            let archive = self.known.entry(stamp).or_insert_with(|| Archive {
                retry: before.get(&stamp).map(|archive| archive.retry).unwrap_or_default(),
                stuck: before.get(&stamp).is_some_and(|archive| archive.stuck),
                ..Archive::default()
            });
            match kind {
                Kind::Plain => archive.plain = Some(*bytes),
                Kind::Compressed => archive.compressed = Some(*bytes),
                Kind::Partial => archive.partial = true,
            }
        }
        let leftovers =
            self.known.iter().filter(|(stamp, archive)| archive.partial && self.compressing != Some(**stamp));
        effects.extend(
            leftovers.map(|(stamp, _)| Effect::Remove { name: self.names.name(*stamp, Kind::Partial) }),
        );
    }

    /// Removes the oldest, until no more are there than may be.
    pub(super) fn trim(&mut self, limits: &Limits, effects: &mut VecDeque<Effect>) {
        if !self.complete {
            return;
        }
        let staying = || self.known.values().filter(|archive| archive.is_there() && !archive.removing);
        let mut count = staying().count();
        let mut bytes = staying().fold(0u64, |sum, archive| sum.saturating_add(archive.bytes()));
        let keep = usize::try_from(limits.keep).unwrap_or(usize::MAX);
        for (stamp, archive) in &mut self.known {
            if !archive.is_there() || archive.removing {
                continue;
            }
            if count <= keep && limits.total.is_none_or(|total| bytes <= total) {
                archive.stuck = archive.partial && archive.stuck;
                continue;
            }
            count -= 1;
            bytes -= archive.bytes();
            archive.removing = true;
            let kinds = [Kind::Plain, Kind::Compressed].into_iter().filter(|kind| archive.of_kind(*kind));
            effects.extend(kinds.map(|kind| Effect::Remove { name: self.names.name(*stamp, kind) }));
        }
    }

    /// Begins with the oldest that has to be compressed, if none is and one may be.
    pub(super) fn compress(&mut self, now: Time, effects: &mut VecDeque<Effect>) {
        if self.compressing.is_some() {
            return;
        }
        let next = self.waiting().find(|(_, retry)| retry.is_due(now)).map(|(stamp, _)| stamp);
        effects.extend(next.map(|stamp| Effect::Compress { archive: self.name(stamp) }));
        self.compressing = next;
    }

    /// When `compress` has something to do.
    pub(super) fn compress_at(&self) -> Option<Time> {
        let at = self.waiting().map(|(_, retry)| retry.at).min();
        at.filter(|_| self.compressing.is_none())
    }

    /// Oldest first.
    fn waiting(&self) -> impl Iterator<Item = (Stamp, Retry)> + '_ {
        let waiting = self.known.iter().filter(|(_, archive)| archive.plain.is_some() && !archive.removing);
        waiting.map(|(stamp, archive)| (*stamp, archive.retry))
    }

    pub(super) fn compressed(&mut self, name: &OsStr, bytes: u64) {
        self.compressing = None;
        if let Some((stamp, Kind::Plain)) = self.names.read(name) {
            // Where it has been removed in the meantime, it is there again.
            let archive = self.known.entry(stamp).or_default();
            *archive = Archive { compressed: Some(bytes), ..Archive::default() };
        }
    }

    /// False where nobody misses it: it has gone, or is about to.
    #[must_use]
    pub(super) fn compress_failed(&mut self, now: Time, name: &OsStr) -> bool {
        self.compressing = None;
        let Some(archive) = self.at(name).filter(|archive| !archive.removing) else { return false };
        archive.retry.failed(now, COMPRESS_AGAIN);
        true
    }

    pub(super) fn removed(&mut self, name: &OsStr) {
        let Some((stamp, kind)) = self.names.read(name) else { return };
        let Some(archive) = self.known.get_mut(&stamp) else { return };
        match kind {
            Kind::Plain => archive.plain = None,
            Kind::Compressed => archive.compressed = None,
            Kind::Partial => archive.partial = false,
        }
        archive.stuck = false;
        if !archive.is_there() && !archive.partial {
            self.known.remove(&stamp);
        }
    }

    /// It is tried again when the directory is next read.
    pub(super) fn remove_failed(&mut self, name: &OsStr) {
        let Some((stamp, kind)) = self.names.read(name) else { return };
        if let Some(archive) = self.known.get_mut(&stamp) {
            // Of half an archive nothing else is known: the source may be about to go.
            archive.removing &= kind == Kind::Partial;
            archive.stuck = true;
        }
    }

    fn at(&mut self, name: &OsStr) -> Option<&mut Archive> {
        let (stamp, _) = self.names.read(name)?;
        self.known.get_mut(&stamp)
    }

    /// Whether one is there that could not be compressed when it was last tried.
    pub(super) fn has_uncompressed(&self) -> bool {
        self.known.values().any(|archive| archive.plain.is_some() && archive.retry.failures > 0)
    }

    /// Whether one is there that could not be removed when it was last tried.
    pub(super) fn has_stuck(&self) -> bool {
        self.known.values().any(|archive| archive.stuck)
    }
}
