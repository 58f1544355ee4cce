//! The pid file: who finds it locked knows that srvwrap runs, and who reads it, by which number.
//!
//! ```text
//!   take ──> open, lock ──> is the path still this file? ──> empty it ──> write ──> "4711\n"
//!                └── locked by another: an error with its pid
//!   drop ──> remove it if it is still ours ──> unlock
//! ```
//!
//! The lock, and not the number, says that somebody is there: a number that a killed srvwrap left behind may be
//! anybody's by now. It is held for life, and given back after the file is removed, so that nobody takes a file whose
//! name is about to go. The file is empty or holds the whole line at any instant.
//!
//! What this file does not do: signal the process that it names.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{self, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollTimeout, poll};
use nix::sys::stat::{Mode, fchmod, fstat, lstat};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{ftruncate, unlink};

use super::own_file::{self, FileCause, FileError};
use super::unix_listener::{Identity, identity};

/// Everybody may read it, whatever the umask.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR).union(Mode::S_IRGRP).union(Mode::S_IROTH);

/// Locked by this process. Dropping it removes the file if it is still ours.
#[derive(Debug)]
pub(crate) struct PidFile {
    /// Stays open while the path is removed: a successor's file cannot have its inode number until then.
    fd: OwnedFd,
    /// Absolute.
    path: PathBuf,
    identity: Identity,
    written: bool,
}

/// A pid file that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PidFileError {
    pub(crate) path: PathBuf,
    pub(crate) cause: PidFileCause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PidFileCause {
    /// Another process has it: this one, where it has written so.
    Held { pid: Option<u32> },
    /// It is not a file that we would write to.
    File(FileCause),
    /// It could not be locked or written.
    Os(Errno),
}

/// A killed srvwrap's child may hold the lock until it has died too: 0.2 s.
const LOCK_TRIES: u32 = 20;
const BETWEEN_TRIES_MS: u8 = 10;
/// So often somebody may remove the file between our opening it and our locking it.
const OPEN_TRIES: u32 = 100;

impl PidFile {
    /// Empty until [`PidFile::write`]. A file that nobody has locked is taken over, whatever it names. On failure
    /// nothing has changed.
    pub(crate) fn take(path: &Path) -> Result<PidFile, PidFileError> {
        // Absolute, because the current directory is another when it is removed.
        let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
        take_absolute(&absolute)
            .map(|(fd, identity)| PidFile { fd, path: absolute.clone(), identity, written: false })
            .map_err(|cause| PidFileError { path: absolute, cause })
    }

    /// This process's pid, in one write.
    pub(crate) fn write(&mut self) -> Result<(), PidFileError> {
        let line = format!("{}\n", std::process::id());
        pwrite(&self.fd, line.as_bytes(), 0)
            .map_err(|errno| PidFileError { path: self.path.clone(), cause: PidFileCause::Os(errno) })?;
        self.written = true;
        Ok(())
    }

    /// In the place of one that was removed; written, if that was.
    pub(crate) fn make_anew(&mut self) -> Result<(), PidFileError> {
        let mut fresh = PidFile::take(&self.path)?;
        if self.written {
            fresh.write()?;
        }
        // The old one is dropped after the new one is there, so that no two files have the same identity.
        *self = fresh;
        Ok(())
    }

    /// Whether the path still leads to this file.
    pub(crate) fn is_in_place(&self) -> bool {
        lstat(&self.path).is_ok_and(|found| identity(&found) == self.identity)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_in_place() {
            // Nothing can be done about a failure, and the next start takes the file over.
            let _ = unlink(&self.path);
        }
        // Closing alone would leave the lock to a child between fork and exec, which has a copy of the descriptor.
        // SAFETY: a system call on a descriptor that we own; no memory is involved.
        unsafe { libc::flock(self.fd.as_raw_fd(), libc::LOCK_UN) };
    }
}

fn take_absolute(path: &Path) -> Result<(OwnedFd, Identity), PidFileCause> {
    for _ in 0..OPEN_TRIES {
        let fd = own_file::open(path, OFlag::O_RDWR | OFlag::O_CREAT, MODE)
            .map_err(|FileError { cause, .. }| PidFileCause::File(cause))?;
        lock(&fd)?;
        let ours = fstat(&fd).map(|status| identity(&status)).map_err(PidFileCause::Os)?;
        // Its last owner may have removed it between our opening and our locking it.
        if lstat(path).is_ok_and(|found| identity(&found) == ours) {
            fchmod(&fd, MODE).and_then(|()| ftruncate(&fd, 0)).map_err(PidFileCause::Os)?;
            return Ok((fd, ours));
        }
    }
    Err(PidFileCause::Os(Errno::EAGAIN))
}

fn lock(fd: &OwnedFd) -> Result<(), PidFileCause> {
    for _ in 0..LOCK_TRIES {
        // SAFETY: a system call on a descriptor that we own; no memory is involved.
        match Errno::result(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
            Ok(_) => return Ok(()),
            Err(errno) if errno != Errno::EWOULDBLOCK => return Err(PidFileCause::Os(errno)),
            // One who is there to stay has said so already, or is about to.
            Err(_) => {
                let _ = poll(&mut [], PollTimeout::from(BETWEEN_TRIES_MS));
            }
        }
    }
    Err(PidFileCause::Held { pid: pid_in(fd) })
}

fn pid_in(fd: &OwnedFd) -> Option<u32> {
    const LONGEST: usize = 16;
    let mut text = [0; LONGEST];
    let length = pread(fd, &mut text, 0).ok()?;
    std::str::from_utf8(&text[..length]).ok()?.strip_suffix('\n')?.parse().ok()
}

impl std::error::Error for PidFileError {}

impl fmt::Display for PidFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            PidFileCause::Held { pid: Some(pid) } => {
                write!(f, "cannot take the pid file {path}: srvwrap is running already (pid {pid})")
            }
            PidFileCause::Held { pid: None } => {
                write!(f, "cannot take the pid file {path}: another process has locked it")
            }
            PidFileCause::File(cause) => write!(f, "cannot open the pid file {path}: {cause}"),
            PidFileCause::Os(errno) => write!(f, "cannot write the pid file {path}: {}", errno.desc()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::sync::Barrier;
    use std::thread;

    use crate::sys::apart::own_umask;

    fn line() -> String {
        format!("{}\n", std::process::id())
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn it_is_empty_until_it_is_written_readable_for_all_and_gone_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        for mask in [0o000, 0o077] {
            own_umask(mask);
            let path = directory.path().join("srvwrap.pid");
            let mut file = PidFile::take(&path).unwrap();
            assert_eq!(text(&path), "");
            file.write().unwrap();
            assert_eq!(text(&path), line());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
            drop(file);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_second_one_learns_the_pid_and_touches_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("srvwrap.pid");
        let mut first = PidFile::take(&path).unwrap();
        first.write().unwrap();
        let before = fs::metadata(&path).unwrap();
        let error = PidFile::take(&path).unwrap_err().to_string();
        let pid = std::process::id();
        let words =
            format!("cannot take the pid file {}: srvwrap is running already (pid {pid})", path.display());
        assert_eq!(error, words);
        let after = fs::metadata(&path).unwrap();
        assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
        assert_eq!(text(&path), line());
    }

    #[test]
    fn one_that_boots_still_is_not_mistaken_for_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("srvwrap.pid");
        let _booting = PidFile::take(&path).unwrap();
        assert_eq!(PidFile::take(&path).unwrap_err().cause, PidFileCause::Held { pid: None });
    }

    #[test]
    fn a_stale_one_is_taken_over_whoever_has_its_number_now() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("srvwrap.pid");
        for stale in ["1\n", "", "4194304000\nand more", "\u{0}"] {
            fs::write(&path, stale).unwrap();
            let mut file = PidFile::take(&path).unwrap();
            assert_eq!(text(&path), "");
            file.write().unwrap();
            assert_eq!(text(&path), line());
        }
    }

    #[test]
    fn a_reader_sees_nothing_or_the_whole_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("srvwrap.pid");
        let done = std::sync::atomic::AtomicBool::new(false);
        let ordering = std::sync::atomic::Ordering::SeqCst;
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !done.load(ordering) {
                    let seen = fs::read_to_string(&path).unwrap_or_default();
                    assert!(seen.is_empty() || seen == line(), "{seen:?}");
                }
            });
            for _ in 0..1000 {
                let mut file = PidFile::take(&path).unwrap();
                file.write().unwrap();
            }
            done.store(true, ordering);
            reader.join().unwrap();
        });
    }

    #[test]
    fn what_is_not_a_file_of_ours_is_refused_in_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("srvwrap.pid");
        symlink("/etc/passwd", &path).unwrap();
        let error = PidFile::take(&path).unwrap_err().to_string();
        let reason = "it is a symbolic link and not a file; it is left alone";
        assert_eq!(error, format!("cannot open the pid file {}: {reason}", path.display()));
    }

    #[test]
    fn the_end_of_one_that_drains_does_not_remove_its_successors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("srvwrap.pid");
        let mut old = PidFile::take(&path).unwrap();
        for round in 0..2000 {
            fs::remove_file(&path).unwrap();
            let mut new = PidFile::take(&path).unwrap();
            new.write().unwrap();
            drop(old);
            assert!(new.is_in_place(), "round {round}");
            old = new;
        }
        assert_eq!(text(&path), line());
    }

    #[test]
    fn of_two_that_follow_each_other_at_once_the_second_keeps_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("srvwrap.pid");
        for round in 0..2000 {
            let first = PidFile::take(&path).unwrap();
            let together = Barrier::new(2);
            let second = thread::scope(|scope| {
                let second = scope.spawn(|| {
                    together.wait();
                    PidFile::take(&path).unwrap()
                });
                together.wait();
                drop(first);
                second.join().unwrap()
            });
            assert!(second.is_in_place(), "round {round}");
        }
    }

    #[test]
    fn one_that_was_removed_is_made_anew_unless_somebody_else_has_taken_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("srvwrap.pid");
        let mut file = PidFile::take(&path).unwrap();
        file.write().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!file.is_in_place());
        file.make_anew().unwrap();
        assert!(file.is_in_place());
        assert_eq!(text(&path), line());

        fs::remove_file(&path).unwrap();
        let other = PidFile::take(&path).unwrap();
        assert!(matches!(file.make_anew().unwrap_err().cause, PidFileCause::Held { .. }));
        drop(file);
        assert!(other.is_in_place());
    }
}
