//! Where a log file is, and what is awaited for it.

use crate::logs::archive_name::Stamp;

/// Which answer the file waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    None,
    Opening,
    EndingLine,
    /// `size`: it is looked at because it is to be rotated, and has so many bytes.
    Looking {
        size: Option<u64>,
    },
    /// `taken`: so many names were.
    Renaming {
        stamp: Stamp,
        taken: u32,
    },
}

/// Where the open file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// None is open.
    Nowhere,
    /// At its path.
    There,
    /// It is an archive of so many bytes, and more, already.
    Renamed { stamp: Stamp, size: u64 },
    /// Somebody has moved or removed it.
    Astray,
}

/// Whether the directory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// It has been, and need not be for now.
    Done,
    /// It has to be, when it may be tried.
    Due,
    /// An answer is awaited.
    Asked,
}
