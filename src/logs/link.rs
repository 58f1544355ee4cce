//! What srvwrap and the log writer say to each other, as packets.
//!
//! ```text
//!   one byte, the kind    a file's number, 4 bytes    what kind of trouble, 1 byte    a path or a sentence
//! ```
//!
//! Both sides are of one program and on one machine, so that there is no version and no order of bytes to agree on. What
//! is too long is cut; what cannot be read is nothing.
//!
//! What this file does not do: send them. The text itself is not among them: it lies in the ring of its file.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// One file of the log writer, by a number that is never used again while srvwrap runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId(pub(crate) u32);

/// To the log writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToWriter {
    /// Write there what the ring that comes with this holds. Answered by `Opened` or `Refused`.
    Open { file: FileId, path: PathBuf },
    /// There is something in a ring whose reader has said that it sleeps.
    Look,
    /// Close every file and open its path again. Answered by `Reopened`.
    Reopen,
}

/// From the log writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromWriter {
    /// The file is open, for the first time.
    Opened { file: FileId },
    /// It cannot be opened for the first time, and is tried again: a sentence. `forbidden`: nothing can be written there
    /// by this user, or by anybody.
    Refused { file: FileId, why: String, forbidden: bool },
    /// There is room in a ring whose writer has asked for it.
    Room,
    /// Something goes wrong with this file, and is tried again: a sentence, at most one a minute for the same trouble.
    /// `writing`: nothing can be written to it for now.
    Trouble { file: FileId, why: String, writing: bool },
    /// What went wrong is over.
    Recovered { file: FileId },
    /// Every file was opened again, but for those of which `why` tells: sentences.
    Reopened { why: Vec<String> },
}

/// A path has 4096 bytes at most, and a sentence names one and says a little more. A packet has room for this and its
/// head.
const MOST_TEXT_BYTES: usize = 8000;

impl ToWriter {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            ToWriter::Open { file, path } => packet(b'o', *file, false, path.as_os_str().as_bytes()),
            ToWriter::Look => vec![b'l'],
            ToWriter::Reopen => vec![b'r'],
        }
    }

    pub(crate) fn decode(packet: &[u8]) -> Option<ToWriter> {
        match packet.first()? {
            b'o' => {
                let (file, _, path) = parts(packet)?;
                Some(ToWriter::Open { file, path: PathBuf::from(OsString::from_vec(path.to_vec())) })
            }
            b'l' => Some(ToWriter::Look),
            b'r' => Some(ToWriter::Reopen),
            _ => None,
        }
    }
}

impl FromWriter {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            FromWriter::Opened { file } => packet(b'o', *file, false, b""),
            FromWriter::Refused { file, why, forbidden } => packet(b'x', *file, *forbidden, why.as_bytes()),
            FromWriter::Room => vec![b'r'],
            FromWriter::Trouble { file, why, writing } => packet(b't', *file, *writing, why.as_bytes()),
            FromWriter::Recovered { file } => packet(b'k', *file, false, b""),
            FromWriter::Reopened { why } => packet(b'a', FileId(0), false, why.join("\n").as_bytes()),
        }
    }

    pub(crate) fn decode(packet: &[u8]) -> Option<FromWriter> {
        if packet == b"r" {
            return Some(FromWriter::Room);
        }
        let (file, flag, text) = parts(packet)?;
        let why = String::from_utf8_lossy(text).into_owned();
        Some(match packet.first()? {
            b'o' => FromWriter::Opened { file },
            b'x' => FromWriter::Refused { file, why, forbidden: flag },
            b't' => FromWriter::Trouble { file, why, writing: flag },
            b'k' => FromWriter::Recovered { file },
            b'a' => FromWriter::Reopened { why: why.lines().map(str::to_owned).collect() },
            _ => return None,
        })
    }
}

fn packet(kind: u8, file: FileId, flag: bool, text: &[u8]) -> Vec<u8> {
    let text = &text[..text.len().min(MOST_TEXT_BYTES)];
    [&[kind], &file.0.to_ne_bytes()[..], &[u8::from(flag)], text].concat()
}

fn parts(packet: &[u8]) -> Option<(FileId, bool, &[u8])> {
    let (head, text) = packet.split_at_checked(6)?;
    let file = u32::from_ne_bytes(head[1..5].try_into().ok()?);
    Some((FileId(file), head[5] != 0, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sentences() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[a-zé: /]{1,60}", 0..5)
    }

    proptest! {
        #[test]
        fn what_srvwrap_says_arrives(id: u32, path in proptest::collection::vec(1u8.., 0..4096)) {
            let path = PathBuf::from(OsString::from_vec(path));
            for said in [ToWriter::Open { file: FileId(id), path }, ToWriter::Look, ToWriter::Reopen] {
                prop_assert_eq!(ToWriter::decode(&said.encode()), Some(said));
            }
        }

        #[test]
        fn what_the_log_writer_says_arrives(id: u32, flag: bool, why in "\\PC{0,200}", all in sentences()) {
            let file = FileId(id);
            for said in [
                FromWriter::Opened { file },
                FromWriter::Refused { file, why: why.clone(), forbidden: flag },
                FromWriter::Room,
                FromWriter::Trouble { file, why, writing: flag },
                FromWriter::Recovered { file },
                FromWriter::Reopened { why: all },
            ] {
                prop_assert_eq!(FromWriter::decode(&said.encode()), Some(said));
            }
        }

        #[test]
        fn no_packet_makes_the_reader_fail(packet in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (ToWriter::decode(&packet), FromWriter::decode(&packet));
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_fits_into_a_packet() {
        let said = FromWriter::Trouble { file: FileId(1), why: "é".repeat(9000), writing: true };
        let packet = said.encode();
        assert!(packet.len() <= crate::sys::packet::MOST_BYTES);
        assert!(
            matches!(FromWriter::decode(&packet), Some(FromWriter::Trouble { why, .. }) if why.len() >= 7990)
        );
    }
}
