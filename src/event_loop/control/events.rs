//! The events that those who follow them have not taken yet: kept once, however many they are.
//!
//! ```text
//!   push ──> [ 41 42 43 44 45 ] ──> each follower has the number of the next one that it takes
//!              ^ the oldest goes when there are too many; who wanted it has fallen behind
//! ```
//!
//! So a follower that does not read costs nothing but its place. What this file does not do: know who follows.

use std::collections::VecDeque;

/// In all, as lines. A deploy of a thousand workers has some two thousand of them.
const MOST_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Events {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The number of the first of `lines`.
    first: u64,
}

/// What there is for a follower.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    Line(&'a [u8]),
    /// It has taken all.
    Nothing,
    /// What it would take next is kept no longer.
    Behind,
}

impl Events {
    /// The number of the next one to happen.
    pub(super) fn end(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > MOST_BYTES {
            self.drop_first();
        }
    }

    pub(super) fn next(&self, number: u64) -> Next<'_> {
        let Some(index) = number.checked_sub(self.first) else { return Next::Behind };
        let line = usize::try_from(index).ok().and_then(|index| self.lines.get(index));
        line.map_or(Next::Nothing, |line| Next::Line(line))
    }

    /// Forgets what everybody has taken: `least` is the lowest number that is wanted, none where nobody follows.
    pub(super) fn forget(&mut self, least: Option<u64>) {
        let least = least.unwrap_or(self.end());
        while self.first < least && !self.lines.is_empty() {
            self.drop_first();
        }
        if self.is_empty() {
            self.lines = VecDeque::new();
        }
    }

    fn drop_first(&mut self) {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.len();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_follower_takes_every_line_from_where_it_began() {
        let mut events = Events::default();
        let early = events.end();
        events.push(b"one".to_vec());
        let late = events.end();
        events.push(b"two".to_vec());
        assert_eq!(events.next(early), Next::Line(b"one"));
        assert_eq!(events.next(early + 1), Next::Line(b"two"));
        assert_eq!(events.next(late), Next::Line(b"two"));
        assert_eq!(events.next(late + 1), Next::Nothing);
    }

    #[test]
    fn what_everybody_has_taken_is_forgotten() {
        let mut events = Events::default();
        for _ in 0..3 {
            events.push(vec![0; 100]);
        }
        events.forget(Some(2));
        assert_eq!((events.bytes, events.end()), (100, 3));
        events.forget(None);
        assert_eq!((events.bytes, events.lines.capacity(), events.end()), (0, 0, 3));
    }

    #[test]
    fn who_does_not_take_them_falls_behind_and_costs_a_bounded_memory() {
        let mut events = Events::default();
        let follower = events.end();
        for _ in 0..5000 {
            events.push(vec![0; 1000]);
            assert!(events.bytes <= MOST_BYTES);
        }
        assert_eq!(events.next(follower), Next::Behind);
        assert_eq!(events.next(events.end() - 1), Next::Line(&[0; 1000]));
    }
}
