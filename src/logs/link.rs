//! What srvwrap and the log writer say to each other, as packets.
//!
//! What this file does not do: send them. The text itself is not among them: it lies in the ring of its file.

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
