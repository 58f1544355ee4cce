//! The chunked form of a body: pieces, each behind its length in hexadecimal, until one of length 0.
//!
//! ```text
//!   5␍␊hello␍␊  0␍␊␍␊       (extensions behind a length, and trailers behind the last piece, are dropped)
//! ```
//!
//! Bytes may come in any pieces; what is not strictly of this form is refused. It does not bound the body: who takes
//! its pieces does.

use std::mem;

/// A length with its extensions, or all trailers together.
const MOST_LINE_BYTES: usize = 4096;

/// How far one chunked body has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    state: State,
    /// Of the line or the trailers that have begun.
    line_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a length; none yet where it is the first.
    Length {
        so_far: u64,
        digits: u8,
    },
    /// Behind the digits.
    Extension {
        length: u64,
    },
    /// Between the two bytes of the end of a length's line.
    LengthEnd {
        length: u64,
    },
    Data {
        left: u64,
    },
    DataEnd {
        carriage_return: bool,
    },
    /// At the beginning of a line behind the last piece, or within one.
    Trailer {
        empty: bool,
    },
    TrailerEnd {
        empty: bool,
    },
    Over,
}

/// What a chunked body had that it must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Chunks {
    pub(super) fn new() -> Chunks {
        Chunks { state: State::Length { so_far: 0, digits: 0 }, line_bytes: 0 }
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Takes bytes off the front of `bytes` up to the end of a piece, and returns the part of the body that is in
    /// them; `None` once all of them were taken, or the body is over.
    pub(super) fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<&'b [u8]>, Malformed> {
        while !self.is_over() {
            if let State::Data { left } = self.state {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let (piece, rest) = mem::take(bytes).split_at(most);
                *bytes = rest;
                let left = left - most as u64;
                self.state =
                    if left == 0 { State::DataEnd { carriage_return: false } } else { State::Data { left } };
                return Ok(Some(piece).filter(|piece| !piece.is_empty()));
            }
            let Some((byte, rest)) = bytes.split_first() else { return Ok(None) };
            *bytes = rest;
            self.take(*byte)?;
        }
        Ok(None)
    }

    fn take(&mut self, byte: u8) -> Result<(), Malformed> {
        self.line_bytes += 1;
        if self.line_bytes > MOST_LINE_BYTES {
            return Err(Malformed);
        }
        self.state = match (self.state, byte) {
            (State::Length { digits: 1.., so_far }, b'\r') => State::LengthEnd { length: so_far },
            (State::Length { digits: 1.., so_far }, b';' | b' ' | b'\t') => {
                State::Extension { length: so_far }
            }
            (State::Length { digits: 0..=14, so_far }, _) if byte.is_ascii_hexdigit() => {
                self.longer(so_far, byte)
            }
            (State::Extension { length }, b'\r') => State::LengthEnd { length },
            (State::Extension { .. }, b'\t' | b' '..=b'~' | 0x80..) => self.state,
            (State::LengthEnd { length: 0 }, b'\n') => State::Trailer { empty: true },
            (State::LengthEnd { length }, b'\n') => State::Data { left: length },
            (State::DataEnd { carriage_return: false }, b'\r') => State::DataEnd { carriage_return: true },
            (State::DataEnd { carriage_return: true }, b'\n') => State::Length { so_far: 0, digits: 0 },
            (State::Trailer { empty }, b'\r') => State::TrailerEnd { empty },
            (State::Trailer { .. }, b'\t' | b' '..=b'~' | 0x80..) => State::Trailer { empty: false },
            (State::TrailerEnd { empty: true }, b'\n') => State::Over,
            (State::TrailerEnd { empty: false }, b'\n') => State::Trailer { empty: true },
            _ => return Err(Malformed),
        };
        if matches!(self.state, State::Data { .. } | State::Length { digits: 0, .. }) {
            self.line_bytes = 0;
        }
        Ok(())
    }

    fn longer(&self, so_far: u64, digit: u8) -> State {
        let digits = if let State::Length { digits, .. } = self.state { digits } else { 0 };
        let value = char::from(digit).to_digit(16).map_or(0, u64::from);
        State::Length { so_far: so_far * 16 + value, digits: digits + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), Malformed> {
        let mut chunks = Chunks::new();
        let mut body = Vec::new();
        for piece in pieces {
            let mut bytes = *piece;
            while let Some(part) = chunks.next(&mut bytes)? {
                body.extend_from_slice(part);
            }
            assert!(bytes.is_empty() || chunks.is_over());
        }
        Ok((body, chunks.is_over()))
    }

    const WHOLE: &[u8] = b"5;a=b\r\nhello\r\n0011\r\n, world of chunks\r\n0\r\nX: y\r\n\r\n";

    #[test]
    fn pieces_are_put_together_and_what_is_around_them_dropped() {
        assert_eq!(decode(&[WHOLE]), Ok((b"hello, world of chunks".to_vec(), true)));
        assert_eq!(decode(&[b"0\r\n\r\n"]), Ok((Vec::new(), true)));
        assert_eq!(decode(&[b"ffffffffffff\r\nabc"]), Ok((b"abc".to_vec(), false)));
    }

    #[test]
    fn what_follows_the_last_piece_is_left_alone() {
        let mut chunks = Chunks::new();
        let mut bytes = b"0\r\n\r\nGET /".as_slice();
        assert_eq!(chunks.next(&mut bytes), Ok(None));
        assert_eq!((chunks.is_over(), bytes), (true, b"GET /".as_slice()));
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        let long = format!("1;{}\r\n", "x".repeat(MOST_LINE_BYTES));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(MOST_LINE_BYTES / 6 + 1));
        for bytes in [
            b"x\r\n".as_slice(),
            b"\r\n",
            b";\r\n",
            b"-1\r\n",
            b"+1\r\na",
            b"0x1\r\na",
            b"1\na",
            b"1\r\nab",
            b"1\r\na\n",
            b"1\r\na\r\r",
            b"1;\x00\r\n",
            b"10000000000000000\r\n",
            b"0\r\nX\n",
            b"0\r\n\r\r",
            long.as_bytes(),
            trailers.as_bytes(),
        ] {
            assert_eq!(decode(&[bytes]), Err(Malformed), "{}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn the_pieces_that_bytes_come_in_make_no_difference(cuts in prop::collection::vec(0..WHOLE.len(), 0..9)) {
            let mut cuts = cuts;
            cuts.extend([0, WHOLE.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &WHOLE[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode(&pieces), decode(&[WHOLE]));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(prop::sample::select(b"01fF;\r\n \0\xff".to_vec()), 0..60)) {
            let _ = decode(&[&bytes]);
        }
    }
}
