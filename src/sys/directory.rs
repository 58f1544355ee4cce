//! A directory that something of ours lies in: judged, locked, and entered for a moment.
//!
//! ```text
//!   open ──> judge: may strangers put something else into our place?
//!        ──> lock: of two that make or remove a thing in it, one at a time
//!        ──> enter ──> Visit: short names reach what a long path does not ──> back, when it is dropped
//! ```
//!
//! The lock is a `flock` on the directory itself, so that no lock file is left behind.
//!
//! What this file does not do: make directories, or know what is made in them.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollTimeout, poll};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{fchdir, geteuid};

/// An open directory. A lock that was taken lasts as long as this.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
}

/// Why a directory is not fit for what was to be done in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DirectoryError {
    /// It could not be opened, looked at or entered.
    Os(PathBuf, Errno),
    /// Somebody else kept it locked for as long as we were willing to wait.
    Locked(PathBuf),
    /// Everybody may put something else into our place, and srvwrap runs as root.
    Unsafe(PathBuf),
}

const BETWEEN_TRIES_MS: u8 = 10;

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Directory, DirectoryError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // One that may be entered and not listed cannot be locked, but serves for the rest.
        let opened = match open(path, flags | OFlag::O_RDONLY, Mode::empty()) {
            Err(Errno::EACCES) => open(path, flags | OFlag::O_PATH, Mode::empty()),
            opened => opened,
        };
        opened.map(|fd| Directory { fd }).map_err(|errno| DirectoryError::Os(path.to_owned(), errno))
    }

    /// Opened, and locked after so many tries at most, 10 ms apart: anybody who may read a directory can lock it.
    pub(super) fn locked(path: &Path, tries: u32) -> Result<Directory, DirectoryError> {
        let directory = Directory::open(path)?;
        for _ in 0..tries {
            // SAFETY: a system call on a descriptor that we own; no memory is involved.
            let locked = Errno::result(unsafe {
                libc::flock(directory.fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB)
            });
            // A file system without locks, as some network ones, does without: bind itself lets only one in.
            if locked != Err(Errno::EWOULDBLOCK) {
                return Ok(directory);
            }
            // Somebody else makes or removes something: a matter of microseconds, unless it is a stranger's lock.
            let _ = poll(&mut [], PollTimeout::from(BETWEEN_TRIES_MS));
        }
        Err(DirectoryError::Locked(path.to_owned()))
    }

    /// What root makes where everybody may remove it, everybody may replace. The sticky bit of /tmp prevents that.
    pub(super) fn judge(&self, path: &Path) -> Result<(), DirectoryError> {
        match geteuid().is_root() && self.is_open_to_all() && self.mode() & libc::S_ISVTX == 0 {
            true => Err(DirectoryError::Unsafe(path.to_owned())),
            false => Ok(()),
        }
    }

    /// Whether everybody may make files in it.
    pub(super) fn is_open_to_all(&self) -> bool {
        self.mode() & libc::S_IWOTH != 0
    }

    /// The group of whatever is made in it, where that is not the maker's.
    pub(super) fn group_of_new_files(&self) -> Option<libc::gid_t> {
        let facts = fstat(&self.fd).expect("an open directory has a mode");
        (facts.st_mode & libc::S_ISGID != 0).then_some(facts.st_gid)
    }

    fn mode(&self) -> libc::mode_t {
        fstat(&self.fd).expect("an open directory has a mode").st_mode
    }

    /// Makes this the current directory, which belongs to the whole process, until the visit is dropped.
    pub(super) fn enter(&self, path: &Path) -> Result<Visit, DirectoryError> {
        // srvwrap has one thread; its tests have many.
        #[cfg(test)]
        super::apart::own_directory();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let entered = open(".", flags, Mode::empty()).and_then(|usual| fchdir(&self.fd).map(|()| usual));
        entered.map(|usual| Visit { usual }).map_err(|errno| DirectoryError::Os(path.to_owned(), errno))
    }
}

impl Drop for Directory {
    /// Gives the lock back, if there is one. Closing alone would leave it to a child between fork and exec, which has a
    /// copy of the descriptor.
    fn drop(&mut self) {
        // SAFETY: a system call on a descriptor that we own; no memory is involved.
        unsafe { libc::flock(self.fd.as_raw_fd(), libc::LOCK_UN) };
    }
}

/// While this lives the current directory is another.
pub(super) struct Visit {
    usual: OwnedFd,
}

impl Drop for Visit {
    fn drop(&mut self) {
        // One that may not be entered any more is lost to us, and nothing depends on it: paths are absolute by now.
        let _ = fchdir(&self.usual);
    }
}

/// The directory that `path` is in.
pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirectoryError::Os(path, errno) => {
                write!(f, "cannot open the directory {}: {}", path.display(), errno.desc())
            }
            DirectoryError::Locked(path) => {
                write!(f, "another process keeps the directory {} locked", path.display())
            }
            DirectoryError::Unsafe(path) => write!(
                f,
                "everybody may replace what root makes in {}; use another directory, or make it sticky (chmod +t)",
                path.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use crate::sys::apart::own_umask;

    #[test]
    fn a_visit_ends_where_it_began() {
        own_umask(0o022);
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        env::set_current_dir(&home).unwrap();
        let visit = Directory::open(other.path()).unwrap().enter(other.path()).unwrap();
        fs::write("made", "").unwrap();
        drop(visit);
        assert!(other.path().join("made").exists());
        assert_eq!(env::current_dir().unwrap(), home.path().canonicalize().unwrap());
    }

    #[test]
    fn root_takes_no_directory_that_everybody_may_write_unless_it_is_sticky() {
        let directory = tempfile::tempdir().unwrap();
        let verdict = |mode| {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            Directory::open(directory.path()).unwrap().judge(directory.path())
        };
        assert_eq!(verdict(0o755), Ok(()));
        assert_eq!(verdict(0o775), Ok(()));
        assert_eq!(verdict(0o1777), Ok(()));
        let open_to_all = verdict(0o777);
        if geteuid().is_root() {
            assert_eq!(open_to_all, Err(DirectoryError::Unsafe(directory.path().to_owned())));
        } else {
            assert_eq!(open_to_all, Ok(()));
        }
    }
}
