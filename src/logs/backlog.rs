//! Text that waits for room, with a bound, and what becomes of text beyond it.
//!
//! ```text
//!   offer ──> [ piece, piece, gap: 12 lines, piece ] ──> next
//!              front: written in part perhaps             a gap is made into a line when its turn comes
//! ```
//!
//! A gap stands where the lines were that are missing: behind what waits where new ones are dropped, before it where
//! old ones are. Pieces are whole lines, except that the log may be interrupted within the first one. What is kept and
//! what is counted as dropped is all that was offered.
//!
//! What this file does not do: write, or find words for a gap (`form.rs`).

use std::collections::VecDeque;

use memchr::{memchr, memchr_iter, memrchr};

use super::Full;

/// So much is kept or dropped together, or one line where that is longer.
const PIECE: usize = 4096;

/// Lines that are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

impl Gap {
    fn add(&mut self, text: &[u8]) {
        self.lines += memchr_iter(b'\n', text).count() as u64;
        self.bytes += text.len() as u64;
    }
}

/// What is to be written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// These bytes; [`Backlog::written`] is told how many were.
    Text(&'a [u8]),
    /// The line that says so; [`Backlog::tell`] is given it.
    Gap(Gap),
    Nothing,
}

#[derive(Clone, Debug)]
enum Entry {
    Text {
        bytes: Vec<u8>,
        written: usize,
    },
    Gap(Gap),
    /// The line that tells of a gap: what it counts is lost with it.
    Told {
        bytes: Vec<u8>,
        written: usize,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Backlog {
    full: Full,
    limit: usize,
    entries: VecDeque<Entry>,
    /// That wait.
    bytes: usize,
    dropped: Gap,
}

impl Backlog {
    /// `limit`: bytes that may wait. Where lines are not dropped it is for the caller to offer nothing while
    /// [`Backlog::is_full`].
    pub(crate) fn new(full: Full, limit: usize) -> Backlog {
        Backlog { full, limit, entries: VecDeque::new(), bytes: 0, dropped: Gap::default() }
    }

    /// Whole lines.
    pub(crate) fn offer(&mut self, text: &[u8]) {
        for piece in pieces(text) {
            match self.full {
                Full::DropNew if self.has_no_room_for(piece) => self.drop_new(piece),
                Full::Block | Full::DropNew => self.keep(piece),
                Full::DropOld => {
                    self.keep(piece);
                    self.drop_old();
                }
            }
        }
    }

    /// Whole lines of somebody who never waits: without room they are dropped, whatever becomes of others'.
    pub(crate) fn offer_or_drop(&mut self, text: &[u8]) {
        if self.full == Full::Block && self.has_no_room_for(text) {
            self.drop_new(text);
        } else {
            self.offer(text);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= self.limit
    }

    /// That wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn next(&self) -> Next<'_> {
        match self.entries.front() {
            None => Next::Nothing,
            Some(Entry::Gap(gap)) => Next::Gap(*gap),
            Some(Entry::Text { bytes, written } | Entry::Told { bytes, written }) => {
                Next::Text(&bytes[*written..])
            }
        }
    }

    /// So many bytes of [`Next::Text`] were.
    pub(crate) fn written(&mut self, count: usize) {
        let Some(Entry::Text { bytes, written } | Entry::Told { bytes, written }) = self.entries.front_mut()
        else {
            return;
        };
        *written += count;
        self.bytes -= count;
        if *written == bytes.len() {
            self.entries.pop_front();
        }
    }

    /// In the place of [`Next::Gap`] this line is to be written, next of all.
    pub(crate) fn tell(&mut self, line: Vec<u8>) {
        if let Some(Entry::Gap(_)) = self.entries.front() {
            self.bytes += line.len();
            self.entries[0] = Entry::Told { bytes: line, written: 0 };
        }
    }

    /// Nobody reads what waits: it is dropped, and a gap in its place is for whoever may read again.
    pub(crate) fn lose(&mut self) {
        let mut lost = Gap::default();
        for entry in std::mem::take(&mut self.entries) {
            match entry {
                Entry::Text { bytes, written } => {
                    self.dropped.add(&bytes[written..]);
                    lost.add(&bytes[written..]);
                }
                Entry::Gap(gap) => {
                    lost.lines += gap.lines;
                    lost.bytes += gap.bytes;
                }
                Entry::Told { .. } => {}
            }
        }
        self.bytes = 0;
        if lost != Gap::default() {
            self.entries.push_back(Entry::Gap(lost));
        }
    }

    /// All that was dropped so far.
    pub(crate) fn dropped(&self) -> Gap {
        self.dropped
    }

    fn has_no_room_for(&self, piece: &[u8]) -> bool {
        // Room for one piece that is longer than all of it there always is.
        self.bytes + piece.len() > self.limit && self.bytes > 0
    }

    fn keep(&mut self, piece: &[u8]) {
        self.bytes += piece.len();
        self.entries.push_back(Entry::Text { bytes: piece.to_vec(), written: 0 });
    }

    fn drop_new(&mut self, piece: &[u8]) {
        self.dropped.add(piece);
        if let Some(Entry::Gap(gap)) = self.entries.back_mut() {
            return gap.add(piece);
        }
        let mut gap = Gap::default();
        gap.add(piece);
        self.entries.push_back(Entry::Gap(gap));
    }

    /// The newest piece stays, and the first one where a part of it is written.
    fn drop_old(&mut self) {
        let has_begun =
            matches!(self.entries.front(), Some(Entry::Text { written: 1.., .. } | Entry::Told { .. }));
        let first = usize::from(has_begun);
        let mut gap = Gap::default();
        while self.bytes > self.limit && self.entries.len() > first + 1 {
            match self.entries.remove(first) {
                Some(Entry::Text { bytes, .. } | Entry::Told { bytes, .. }) => {
                    self.bytes -= bytes.len();
                    self.dropped.add(&bytes);
                    gap.add(&bytes);
                }
                Some(Entry::Gap(before)) => {
                    gap.lines += before.lines;
                    gap.bytes += before.bytes;
                }
                None => break,
            }
        }
        if gap != Gap::default() {
            self.entries.insert(first, Entry::Gap(gap));
        }
    }
}

/// Whole lines in pieces of whole lines.
fn pieces(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let within = memrchr(b'\n', &text[..text.len().min(PIECE)]);
        let end = within.or_else(|| memchr(b'\n', text)).map_or(text.len(), |at| at + 1);
        let (piece, rest) = text.split_at(end);
        text = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// All that is to be written, gaps as `<lines>`.
    fn all(backlog: &mut Backlog) -> String {
        let mut written = String::new();
        loop {
            match backlog.next() {
                Next::Nothing => return written,
                Next::Text(text) => {
                    written.push_str(std::str::from_utf8(text).unwrap());
                    let count = text.len();
                    backlog.written(count);
                }
                Next::Gap(gap) => backlog.tell(format!("<{}>", gap.lines).into_bytes()),
            }
        }
    }

    #[test]
    fn what_has_room_is_written_in_its_order() {
        for full in [Full::Block, Full::DropNew, Full::DropOld] {
            let mut backlog = Backlog::new(full, 100);
            backlog.offer(b"one\n");
            backlog.offer(b"two\nthree\n");
            assert_eq!(all(&mut backlog), "one\ntwo\nthree\n");
            assert!(backlog.is_empty() && backlog.bytes == 0 && backlog.dropped() == Gap::default());
        }
    }

    #[test]
    fn new_lines_that_are_dropped_leave_a_gap_behind_what_waits() {
        let mut backlog = Backlog::new(Full::DropNew, 8);
        for line in [b"1111\n", b"2222\n", b"3333\n"] {
            backlog.offer(line);
        }
        assert_eq!(backlog.dropped(), Gap { lines: 2, bytes: 10 });
        backlog.written(5);
        backlog.offer(b"44\n");
        assert_eq!(all(&mut backlog), "<2>44\n");
    }

    #[test]
    fn old_lines_that_are_dropped_leave_a_gap_before_what_waits() {
        let mut backlog = Backlog::new(Full::DropOld, 8);
        for line in [b"1111\n", b"2222\n", b"3333\n"] {
            backlog.offer(line);
        }
        assert_eq!(backlog.dropped(), Gap { lines: 2, bytes: 10 });
        assert_eq!(all(&mut backlog), "<2>3333\n");
    }

    #[test]
    fn a_line_that_was_written_in_part_is_finished() {
        let mut backlog = Backlog::new(Full::DropOld, 8);
        backlog.offer(b"1111\n");
        backlog.written(2);
        for line in [b"2222\n", b"3333\n", b"4444\n"] {
            backlog.offer(line);
        }
        assert_eq!(all(&mut backlog), "11\n<2>4444\n");
    }

    #[test]
    fn where_lines_wait_only_who_never_waits_loses_any() {
        let mut backlog = Backlog::new(Full::Block, 8);
        backlog.offer(b"1111\n2222\n");
        assert!(backlog.is_full());
        backlog.offer_or_drop(b"notice\n");
        backlog.offer_or_drop(b"notice\n");
        backlog.offer(b"3333\n");
        assert_eq!(all(&mut backlog), "1111\n2222\n<2>3333\n");
        backlog.offer_or_drop(b"notice that is long\n");
        assert_eq!(all(&mut backlog), "notice that is long\n");
    }

    #[test]
    fn what_nobody_reads_is_a_gap_for_who_reads_again() {
        let mut backlog = Backlog::new(Full::Block, 100);
        backlog.offer(b"1111\n2222\n");
        backlog.written(2);
        backlog.lose();
        backlog.offer(b"3333\n");
        backlog.lose();
        assert!(!backlog.is_full() && backlog.bytes == 0);
        assert_eq!(backlog.dropped(), Gap { lines: 3, bytes: 13 });
        backlog.offer(b"4444\n");
        assert_eq!(all(&mut backlog), "<3>4444\n");
    }

    #[test]
    fn much_at_once_is_dropped_in_pieces() {
        let line = [&[b'x'; 99], b"\n".as_slice()].concat();
        let mut backlog = Backlog::new(Full::DropNew, 10_000);
        backlog.offer(&line.repeat(1000));
        let kept = 1000 - backlog.dropped().lines;
        assert!((80..=100).contains(&kept), "{kept} lines were kept");
        let mut backlog = Backlog::new(Full::DropOld, 10_000);
        backlog.offer(&line.repeat(1000));
        let kept = 1000 - backlog.dropped().lines;
        assert!((60..=100).contains(&kept), "{kept} lines were kept");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_written_and_what_gaps_count_is_all_that_was_offered(
            full in prop::sample::select(vec![Full::DropNew, Full::DropOld]),
            steps in prop::collection::vec((0_usize..12, 0_usize..9000), 1..60),
        ) {
            let mut backlog = Backlog::new(full, 20_000);
            let (mut offered, mut written, mut told) = (0, Vec::new(), 0);
            for (lines, count) in steps {
                let text: String = (offered..offered + lines).map(|number| format!("{number:0999}\n")).collect();
                offered += lines;
                backlog.offer(text.as_bytes());
                prop_assert!(backlog.bytes <= 20_000 + PIECE + 8);
                let gap = match backlog.next() { Next::Gap(gap) => Some(gap), Next::Text(_) | Next::Nothing => None };
                if let Some(gap) = gap {
                    told += gap.lines;
                    backlog.tell(b"gap\n".to_vec());
                }
                if let Next::Text(text) = backlog.next() {
                    let count = count.min(text.len());
                    written.extend_from_slice(&text[..count]);
                    backlog.written(count);
                }
            }
            loop {
                match backlog.next() {
                    Next::Nothing => break,
                    Next::Gap(gap) => { told += gap.lines; backlog.tell(b"gap\n".to_vec()); }
                    Next::Text(text) => { written.extend_from_slice(text); let count = text.len(); backlog.written(count); }
                }
            }
            let numbers: Vec<usize> = String::from_utf8(written).unwrap().lines()
                .filter(|line| *line != "gap")
                .map(|line| { assert_eq!(line.len(), 999, "a line is torn"); line.parse().unwrap() })
                .collect();
            prop_assert!(numbers.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(numbers.len() as u64 + told, offered as u64);
            prop_assert_eq!(told, backlog.dropped().lines);
        }
    }
}
