//! Bytes to messages and back: [`Lines`] splits a byte stream, and each submodule knows one protocol.
//!
//! ```text
//!   read(2) ──> bytes ──> Lines ──> one line ──> worker::Reader ──> Said
//! ```
//!
//! What a peer sends is never trusted: memory has a bound, nothing panics, and what is not understood is counted.
//!
//! What this module does not do: hold a descriptor, read a clock, or decide what a message leads to.
#![forbid(unsafe_code)]

pub(crate) mod control;
pub(crate) mod sd_notify;
#[cfg(test)]
mod vectors;
pub(crate) mod worker;

use std::borrow::Cow;
use std::mem;

use memchr::memchr;

/// Splits a byte stream at `\n`, with a limit on the length of a line.
///
/// A final `\r` is dropped. A line over the limit is skipped up to its newline and counted. What the stream ends
/// with after its last newline is never a line.
///
/// It holds at most the line that has begun and not ended: nothing on the heap between lines, and never more than
/// twice the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    limit: usize,
    begun: Begun,
    overlong: u64,
}

/// The line whose newline has not come yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Begun {
    /// Its bytes so far, at most the limit; none between two lines.
    Kept(Vec<u8>),
    /// It went over the limit: what is left of it is dropped.
    Skipped,
}

impl Lines {
    /// `limit` counts the bytes before the newline, a `\r` among them.
    pub(crate) fn new(limit: usize) -> Lines {
        Lines { limit, begun: Begun::Kept(Vec::new()), overlong: 0 }
    }

    /// Takes bytes off the front of `bytes` up to the end of the next line, and returns that line without its end.
    ///
    /// `None` says that all of `bytes` was taken and no line ended: come back with what the stream brings next.
    pub(crate) fn next_line<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<Cow<'b, [u8]>> {
        while let Some(end) = memchr(b'\n', bytes) {
            let piece = &bytes[..end];
            *bytes = &bytes[end + 1..];
            if let Some(line) = self.finish(piece) {
                return Some(line);
            }
        }
        self.keep(mem::take(bytes));
        None
    }

    /// How many lines went over the limit. One that has not ended yet is counted already.
    pub(crate) fn overlong(&self) -> u64 {
        self.overlong
    }

    fn finish<'b>(&mut self, piece: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        match mem::replace(&mut self.begun, Begun::Kept(Vec::new())) {
            Begun::Skipped => None,
            Begun::Kept(start) if start.len() + piece.len() > self.limit => {
                self.overlong += 1;
                None
            }
            // The usual case, a line within one read: nothing is copied.
            Begun::Kept(start) if start.is_empty() => {
                Some(Cow::Borrowed(piece.strip_suffix(b"\r").unwrap_or(piece)))
            }
            Begun::Kept(mut line) => {
                line.extend_from_slice(piece);
                if line.ends_with(b"\r") {
                    line.pop();
                }
                Some(Cow::Owned(line))
            }
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        match &mut self.begun {
            Begun::Skipped => {}
            Begun::Kept(start) if start.len() + piece.len() > self.limit => {
                self.overlong += 1;
                self.begun = Begun::Skipped;
            }
            Begun::Kept(start) => start.extend_from_slice(piece),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn a_line_ends_at_its_newline_wherever_the_reads_end() {
        assert_split(8, &[b"one\ntwo\nth", b"re", b"e", b"\n"], &["one", "two", "three"], 0);
    }

    #[test]
    fn one_final_carriage_return_is_dropped() {
        assert_split(8, &[b"a\r\n", b"b\r", b"\n", b"c\r\r\n", b"d\re\n"], &["a", "b", "c\r", "d\re"], 0);
    }

    #[test]
    fn an_unfinished_line_at_the_end_is_not_a_line() {
        assert_split(8, &[b"one\ntwo"], &["one"], 0);
    }

    #[test]
    fn a_line_as_long_as_the_limit_passes() {
        assert_split(4, &[b"four\n", b"fo", b"ur\n"], &["four", "four"], 0);
    }

    #[test]
    fn a_line_longer_than_the_limit_is_skipped_to_its_newline() {
        assert_split(4, &[b"fives\na\n"], &["a"], 1);
        assert_split(4, &[b"five", b"s and", b" more", b"\na\n"], &["a"], 1);
        assert_split(4, &[b"five", b"s\nfives\n", b"a\n"], &["a"], 2);
    }

    #[test]
    fn a_line_without_an_end_is_counted_once_and_before_it_ends() {
        let mut lines = Lines::new(4);
        for _ in 0..1000 {
            assert_eq!(lines.next_line(&mut b"flood".as_slice()), None);
        }
        assert_eq!((lines.overlong(), held(&lines)), (1, 0));
    }

    #[test]
    fn nothing_is_held_between_two_lines() {
        let mut lines = Lines::new(4096);
        feed(&mut lines, &[b'x'; 4096]);
        assert!((4096..=2 * 4096).contains(&held(&lines)));
        assert_eq!(feed(&mut lines, b"\n").len(), 1);
        assert_eq!(held(&lines), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes_in_any_pieces_split_as_the_text_does(
            pieces in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab\r\n\0\xff".to_vec()), 0..12), 0..24),
        ) {
            let mut lines = Lines::new(5);
            let mut seen = Vec::new();
            for piece in &pieces {
                seen.extend(feed(&mut lines, piece));
                prop_assert!(held(&lines) <= 10);
            }
            let (expected, overlong) = split_slowly(5, &pieces.concat());
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(lines.overlong(), overlong);
            if pieces.concat().ends_with(b"\n") {
                prop_assert_eq!(lines.begun, Begun::Kept(Vec::new()));
            }
        }
    }

    /// The same rules over the whole text, said in another way: what `Lines` is compared with.
    fn split_slowly(limit: usize, text: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let mut pieces: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        let unfinished = pieces.pop().expect("a split has at least one piece");
        let (kept, skipped): (Vec<&[u8]>, Vec<&[u8]>) =
            pieces.into_iter().partition(|piece| piece.len() <= limit);
        let lines =
            kept.into_iter().map(|piece| piece.strip_suffix(b"\r").unwrap_or(piece).to_vec()).collect();
        (lines, skipped.len() as u64 + u64::from(unfinished.len() > limit))
    }

    fn assert_split(limit: usize, pieces: &[&[u8]], expected: &[&str], overlong: u64) {
        let mut lines = Lines::new(limit);
        let seen: Vec<Vec<u8>> = pieces.iter().flat_map(|piece| feed(&mut lines, piece)).collect();
        assert_eq!(seen, expected.iter().map(|line| line.as_bytes()).collect::<Vec<&[u8]>>());
        assert_eq!(lines.overlong(), overlong);
    }

    fn feed(lines: &mut Lines, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| lines.next_line(&mut bytes).map(Cow::into_owned)).collect()
    }

    /// Bytes on the heap.
    fn held(lines: &Lines) -> usize {
        match &lines.begun {
            Begun::Kept(start) => start.capacity(),
            Begun::Skipped => 0,
        }
    }
}
