//! Files that notices and the output of workers are appended to.
//!
//! ```text
//!   /dev/null        as it is
//!   any other path   a file of ours, see `own_file.rs`; made where there is none
//! ```
//!
//! What this file does not do: write, rotate, or make directories.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open as open_path};
use nix::sys::stat::Mode;

use super::own_file::{self, FileCause, FileError};

/// Its owner writes, its group reads, and others neither, since logs tell more than their writers mean to.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR).union(Mode::S_IRGRP);

/// To append to, whoever else does so too. Close-on-exec, and writing to it may block, as programs expect.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, FileError> {
    let error = |errno| FileError { path: path.to_owned(), cause: FileCause::Os(errno) };
    if path == Path::new("/dev/null") {
        return open_path(path, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(error);
    }
    let fd = own_file::open(path, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT, MODE)?;
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).map_err(error)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags.difference(OFlag::O_NONBLOCK))).map_err(error)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use nix::fcntl::FdFlag;

    use crate::sys::apart::own_umask;

    fn flags(fd: &OwnedFd) -> OFlag {
        OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap())
    }

    #[test]
    fn two_append_to_one_file_and_neither_overwrites_the_other() {
        let directory = tempfile::tempdir().unwrap();
        own_umask(0o000);
        let path = directory.path().join("srvwrap.log");
        fs::write(&path, "old\n").unwrap();
        let (first, second) = (open(&path).unwrap(), open(&path).unwrap());
        assert!(!flags(&first).contains(OFlag::O_NONBLOCK));
        assert_eq!(fcntl(&first, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
        File::from(first).write_all(b"one\n").unwrap();
        File::from(second).write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\none\ntwo\n");
    }

    #[test]
    fn a_new_one_is_not_for_everybody() {
        let directory = tempfile::tempdir().unwrap();
        own_umask(0o000);
        let path = directory.path().join("srvwrap.log");
        open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    }

    #[test]
    fn of_devices_only_dev_null_is_taken() {
        File::from(open(Path::new("/dev/null")).unwrap()).write_all(b"x").unwrap();
        let error = open(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(error, "cannot open /dev/zero: it is a device and not a file; it is left alone");
    }

    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        assert_eq!(open(&path).unwrap_err().cause, FileCause::NotAFile("a FIFO"));
    }
}
