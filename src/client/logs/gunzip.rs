//! Archives that srvwrap has compressed, read from their beginning.
//!
//! What this file does not do: verify the sum at the end; that was done before the source was removed.

use std::fs::File;
use std::io::{self, ErrorKind, Read};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

/// Hands on what is in it, a piece at a time.
pub(super) fn gunzip(mut file: &File, show: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let malformed = || io::Error::from(ErrorKind::InvalidData);
    // RFC 1952; with nothing in it that its flags, the fourth byte, would announce.
    let mut head = [0; 10];
    file.read_exact(&mut head)?;
    if head[..4] != [0x1f, 0x8b, 8, 0] {
        return Err(malformed());
    }
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let (mut packed, mut text) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let (mut start, mut end) = (0, 0);
    loop {
        if start == end {
            (start, end) = (0, file.read(&mut packed)?);
        }
        let result = inflate(&mut state, &packed[start..end], &mut text, MZFlush::None);
        start += result.bytes_consumed;
        show(&text[..result.bytes_written]);
        match result.status {
            Ok(MZStatus::StreamEnd) => return Ok(()),
            Ok(_) if result.bytes_consumed + result.bytes_written > 0 => {}
            Ok(_) | Err(_) => return Err(malformed()),
        }
    }
}

const PIECE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(packed).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let mut text = Vec::new();
        gunzip(&file, &mut |piece| text.extend_from_slice(piece)).map(|()| text)
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let deflated = miniz_oxide::deflate::compress_to_vec(text, 3);
        [[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3].as_slice(), &deflated, &[0; 8]].concat()
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let line: Vec<u8> =
            (0..100_000u32).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
        for text in [b"".as_slice(), b"x\n", &line] {
            assert!(unpacked(&packed(text)).unwrap() == text);
        }
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_an_error() {
        let whole = packed(b"some lines\n");
        for packed in [&whole[..12], &whole[..5], b"not compressed at all", b""] {
            assert!(unpacked(packed).is_err());
        }
    }
}
