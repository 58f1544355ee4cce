//! The bytes of one stream, cut into whole lines.
//!
//! ```text
//!   "one\ntwo\nth" ──> Block "one\ntwo\n"      kept: "th"
//!   "ree\nfour"    ──> Block "three\n"         kept: "four"
//!   the stream ends ─> Block "four"
//! ```
//!
//! So what several workers write to one file never mixes within a line. Whole lines that come together stay together
//! and are not copied. No more is kept than [`LINE_LIMIT`]: of a longer line that much is a block of its own.
//!
//! What this file does not do: look into a line.

use std::borrow::Cow;
use std::mem;

use memchr::{memchr, memrchr};

/// Bytes of a line that are kept until its newline comes.
pub(crate) const LINE_LIMIT: usize = 64 * 1024;

/// Lines to be written together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block<'b> {
    /// Never empty.
    pub(crate) bytes: Cow<'b, [u8]>,
    pub(crate) ends: Ends,
}

/// What a block ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// The newline of its last line, which is its last byte.
    Line,
    /// Nothing: the line goes on in the next block.
    Cut,
    /// Nothing: the stream has ended within a line.
    Stream,
}

/// What of a stream has come and not gone: a line that has begun.
#[derive(Clone, Debug, Default)]
pub(crate) struct Splitter {
    begun: Vec<u8>,
}

impl Splitter {
    pub(crate) fn new() -> Splitter {
        Splitter::default()
    }

    /// Takes bytes off the front of `bytes` and returns what can be written. None where all of them were taken, and the
    /// line that they end with goes on.
    pub(crate) fn next_block<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<Block<'b>> {
        if self.begun.is_empty() {
            return self.next_whole(bytes);
        }
        if let Some(end) = memchr(b'\n', bytes) {
            let mut line = mem::take(&mut self.begun);
            line.extend_from_slice(take(bytes, end + 1));
            return Some(Block { bytes: Cow::Owned(line), ends: Ends::Line });
        }
        let room = LINE_LIMIT - self.begun.len();
        self.begun.extend_from_slice(take(bytes, room.min(bytes.len())));
        if self.begun.len() < LINE_LIMIT {
            return None;
        }
        let rest = self.begun.split_off(character_end(&self.begun));
        let piece = mem::replace(&mut self.begun, rest);
        Some(Block { bytes: Cow::Owned(piece), ends: Ends::Cut })
    }

    /// The stream has ended: what of its last line has come.
    pub(crate) fn end(&mut self) -> Option<Block<'static>> {
        let bytes = mem::take(&mut self.begun);
        (!bytes.is_empty()).then_some(Block { bytes: Cow::Owned(bytes), ends: Ends::Stream })
    }

    /// With nothing kept.
    fn next_whole<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<Block<'b>> {
        if let Some(end) = memrchr(b'\n', bytes) {
            return Some(Block { bytes: Cow::Borrowed(take(bytes, end + 1)), ends: Ends::Line });
        }
        if bytes.len() < LINE_LIMIT {
            self.begun = take(bytes, bytes.len()).to_vec();
            return None;
        }
        let end = character_end(&bytes[..LINE_LIMIT]);
        Some(Block { bytes: Cow::Borrowed(take(bytes, end)), ends: Ends::Cut })
    }
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

/// Where to cut these bytes so that no character of UTF-8 is cut: at most three of them are left over.
pub(super) fn character_end(bytes: &[u8]) -> usize {
    const LONGEST: usize = 4;
    for left_over in 1..LONGEST.min(bytes.len() + 1) {
        let at = bytes.len() - left_over;
        let length = match bytes[at] {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            0x00..=0x7f => 1,
        };
        return if length > left_over { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn block(bytes: &[u8], ends: Ends) -> Block<'static> {
        Block { bytes: Cow::Owned(bytes.to_vec()), ends }
    }

    fn feed(splitter: &mut Splitter, mut bytes: &[u8]) -> Vec<Block<'static>> {
        std::iter::from_fn(|| splitter.next_block(&mut bytes))
            .map(|found| block(&found.bytes, found.ends))
            .collect()
    }

    #[test]
    fn lines_that_come_together_stay_together_and_a_begun_one_waits() {
        let mut splitter = Splitter::new();
        assert_eq!(feed(&mut splitter, b"one\ntwo\nth"), [block(b"one\ntwo\n", Ends::Line)]);
        assert_eq!(feed(&mut splitter, b"r"), []);
        assert_eq!(
            feed(&mut splitter, b"ee\n\nfour"),
            [block(b"three\n", Ends::Line), block(b"\n", Ends::Line)]
        );
        assert_eq!(splitter.end(), Some(block(b"four", Ends::Stream)));
        assert_eq!(splitter.end(), None);
    }

    #[test]
    fn whole_lines_are_not_copied() {
        let mut bytes = b"one\ntwo\n".as_slice();
        let found = Splitter::new().next_block(&mut bytes).unwrap();
        assert!(matches!(found.bytes, Cow::Borrowed(_)) && bytes.is_empty());
    }

    #[test]
    fn a_line_as_long_as_the_limit_is_not_cut_where_its_newline_is_there() {
        let mut splitter = Splitter::new();
        let mut line = vec![b'x'; LINE_LIMIT - 1];
        assert_eq!(feed(&mut splitter, &line), []);
        line.extend(b"y\n");
        assert_eq!(feed(&mut splitter, b"y\n"), [block(&line, Ends::Line)]);
        let long = [&[b'x'; 2 * LINE_LIMIT], b"\n".as_slice()].concat();
        assert_eq!(feed(&mut splitter, &long), [block(&long, Ends::Line)]);
    }

    #[test]
    fn of_a_line_without_an_end_the_limit_is_a_block() {
        let mut splitter = Splitter::new();
        let mut cuts = 0;
        for _ in 0..100 {
            for found in feed(&mut splitter, &[b'x'; 10_000]) {
                assert_eq!((found.bytes.len(), found.ends), (LINE_LIMIT, Ends::Cut));
                cuts += 1;
            }
            assert!(splitter.begun.capacity() <= 2 * LINE_LIMIT);
        }
        assert_eq!(cuts, 1_000_000 / LINE_LIMIT);
    }

    #[test]
    fn no_character_is_cut() {
        for (text, left_over) in [("aé", 1), ("a€", 2), ("a😀", 3), ("a€", 1), ("a😀", 1)] {
            let bytes = text.as_bytes();
            assert_eq!(character_end(&bytes[..bytes.len() - left_over]), 1, "{text} less {left_over}");
            assert_eq!(character_end(bytes), bytes.len());
        }
        // What is no UTF-8 is cut anywhere.
        assert_eq!(character_end(&[0x80; 8]), 8);
        let mut splitter = Splitter::new();
        let text = format!("{}€", "x".repeat(LINE_LIMIT - 2));
        let found = feed(&mut splitter, text.as_bytes());
        assert_eq!(found, [block(&text.as_bytes()[..LINE_LIMIT - 2], Ends::Cut)]);
        assert_eq!(splitter.end(), Some(block("€".as_bytes(), Ends::Stream)));
    }

    proptest! {
        #[test]
        fn whatever_the_reads_nothing_is_lost_and_only_lines_end_blocks(
            pieces in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab\r\n\0\xff\xe2".to_vec()), 0..12), 0..24),
        ) {
            let mut splitter = Splitter::new();
            let mut seen = Vec::new();
            for piece in &pieces {
                for found in feed(&mut splitter, piece) {
                    prop_assert_eq!(found.ends, Ends::Line);
                    prop_assert!(found.bytes.ends_with(b"\n"));
                    seen.extend_from_slice(&found.bytes);
                }
                prop_assert!(!splitter.begun.contains(&b'\n'));
            }
            seen.extend(splitter.end().map(|last| last.bytes.into_owned()).unwrap_or_default());
            prop_assert_eq!(seen, pieces.concat());
        }
    }
}
