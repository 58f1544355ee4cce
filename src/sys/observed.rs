//! What tests look at: the names in a directory, the flags of a descriptor.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

/// Sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Of the open file, and of the descriptor.
pub(crate) fn flags(fd: &OwnedFd) -> (OFlag, FdFlag) {
    let status = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap());
    (status, FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap()))
}
