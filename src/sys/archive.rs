//! A log file that is appended to, and the archives that it becomes.
//!
//! ```text
//!   open ──> make its directories ──> a file of ours (`own_file.rs`) ──> lock ──> is the path still this file?
//!                                                     └── locked by another: refused, with its pid
//!   rename ──> renameat2(NOREPLACE), or link and unlink ──> sync the directory
//! ```
//!
//! The lock lasts as long as the file is open. It keeps two of us from one file, where each would rename what the other
//! writes to. Nothing that is there already is ever replaced or followed, whatever it is.
//!
//! What this file does not do: choose names, or decide when one is due.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open as open_path};
use nix::sys::stat::{Mode, fstat, lstat};
use nix::sys::uio::pread;
use nix::unistd::{self, fsync, linkat, unlink};

use super::directory::directory_of;
use super::own_file::{self, FileCause, FileError};
use super::unix_listener::{Identity, identity};

/// Its owner writes, its group reads, and others neither, since logs tell more than their writers mean to.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR).union(Mode::S_IRGRP);
const MODE_OF_DIRECTORIES: u32 = 0o755;

/// So often somebody may move the file between our opening it and our locking it.
const OPEN_TRIES: u32 = 100;

/// Open for appending, and locked.
#[derive(Debug)]
pub(crate) struct LogFile {
    fd: OwnedFd,
    path: PathBuf,
    identity: Identity,
}

/// What a file that was just opened has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: u64,
    /// Its last byte is no newline. Where it may not be read it is taken for complete.
    pub(crate) mid_line: bool,
}

impl LogFile {
    /// Made with its directories where it is not there. `path` is absolute.
    pub(crate) fn open(path: &Path) -> Result<LogFile, FileError> {
        let error = |cause| FileError { path: path.to_owned(), cause };
        make_directories(directory_of(path)).map_err(error)?;
        for _ in 0..OPEN_TRIES {
            let file = LogFile::open_unlocked(path)?;
            file.lock().map_err(error)?;
            if file.is_in_place() {
                return Ok(file);
            }
        }
        Err(error(FileCause::Os(Errno::EAGAIN)))
    }

    /// In the place of this one, if the path leads to another by now. On failure this one is as it was.
    pub(crate) fn open_again(&mut self) -> Result<(), FileError> {
        // A second lock of our own would be refused as anybody's.
        if !self.is_in_place() {
            *self = LogFile::open(&self.path)?;
        }
        Ok(())
    }

    fn open_unlocked(path: &Path) -> Result<LogFile, FileError> {
        let fd = own_file::open(path, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT, MODE)?;
        let found =
            fstat(&fd).map_err(|errno| FileError { path: path.to_owned(), cause: FileCause::Os(errno) })?;
        Ok(LogFile { fd, path: path.to_owned(), identity: identity(&found) })
    }

    fn lock(&self) -> Result<(), FileCause> {
        // SAFETY: a system call on a descriptor that we own; no memory is involved.
        let locked =
            Errno::result(unsafe { libc::flock(self.fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) });
        // A file system without locks, as some network ones, does without.
        if locked == Err(Errno::EWOULDBLOCK) {
            return Err(FileCause::Held { pid: self.holder() });
        }
        Ok(())
    }

    /// Who has it locked, as far as it can be seen: `1: FLOCK  ADVISORY  WRITE 4711 fe:01:1234 0 EOF`.
    fn holder(&self) -> Option<u32> {
        let (device, inode) = self.identity;
        let (major, minor) = (libc::major(device), libc::minor(device));
        let place = format!("{major:02x}:{minor:02x}:{inode}");
        let table = fs::read_to_string("/proc/locks").ok()?;
        let rows = table.lines().map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
        let held =
            rows.into_iter().find(|row| row.get(1) == Some(&"FLOCK") && row.get(5) == Some(&place.as_str()));
        held?[4].parse().ok()
    }

    /// Whether the path still leads to this file.
    pub(crate) fn is_in_place(&self) -> bool {
        lstat(&self.path).is_ok_and(|found| identity(&found) == self.identity)
    }

    pub(crate) fn content(&self) -> nix::Result<Content> {
        let bytes = self.bytes()?;
        let mid_line = bytes > 0 && self.last_byte(bytes).is_some_and(|last| last != b'\n');
        Ok(Content { bytes, mid_line })
    }

    /// An error as of a file server that has forgotten the file.
    pub(crate) fn bytes(&self) -> nix::Result<u64> {
        Ok(fstat(&self.fd)?.st_size.unsigned_abs())
    }

    /// Device and inode.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// How many bytes the file has that is meant: this one, or what it has become beside it.
    pub(crate) fn bytes_of(&self, file: (u64, u64)) -> Option<u64> {
        if file == self.identity {
            return self.bytes().ok();
        }
        let entries = fs::read_dir(directory_of(&self.path)).ok()?;
        let mut named = entries.flatten().filter(|entry| entry.ino() == file.1);
        let found = named.find_map(|entry| entry.metadata().ok().filter(|found| found.dev() == file.0))?;
        Some(found.len())
    }

    fn last_byte(&self, bytes: u64) -> Option<u8> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let fd = open_path(&self.path, flags, Mode::empty()).ok()?;
        let is_this = fstat(&fd).is_ok_and(|found| identity(&found) == self.identity);
        let mut last = [0];
        let offset = libc::off_t::try_from(bytes - 1).ok()?;
        (is_this && pread(&fd, &mut last, offset) == Ok(1)).then_some(last[0])
    }

    /// So many of these bytes, at least one, were appended.
    pub(crate) fn append(&self, bytes: &[u8]) -> nix::Result<usize> {
        loop {
            return match unistd::write(&self.fd, bytes) {
                Ok(0) if !bytes.is_empty() => Err(Errno::EIO),
                Err(Errno::EINTR) => continue,
                written => written,
            };
        }
    }

    /// Gives the file another name in its directory. EEXIST where something has it; then, and on every other error,
    /// nothing is changed. ESTALE where the path leads to another file by now.
    pub(crate) fn rename(&self, to: &OsStr) -> nix::Result<()> {
        if !self.is_in_place() {
            return Err(Errno::ESTALE);
        }
        rename_to_new(&self.path, &directory_of(&self.path).join(to))?;
        sync_directory_of(&self.path);
        Ok(())
    }
}

fn make_directories(path: &Path) -> Result<(), FileCause> {
    let made = DirBuilder::new().recursive(true).mode(MODE_OF_DIRECTORIES).create(path);
    made.map_err(|error| FileCause::NoDirectory(path.to_owned(), errno_of(&error)))
}

pub(super) fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// EEXIST where `to` is there already.
pub(super) fn rename_to_new(from: &Path, to: &Path) -> nix::Result<()> {
    match rename_noreplace(from, to) {
        // The kernel or the file system does not know how.
        Err(Errno::ENOSYS | Errno::EINVAL | Errno::ENOTSUP) => {}
        renamed => return renamed,
    }
    match linkat(AT_FDCWD, from, AT_FDCWD, to, AtFlags::empty()) {
        Ok(()) => unlink(from),
        // Nor does it know links. Names are ours alone, so that a look before is as good.
        Err(Errno::EPERM | Errno::ENOSYS | Errno::ENOTSUP) => match lstat(to) {
            Err(Errno::ENOENT) => fs::rename(from, to).map_err(|error| errno_of(&error)),
            Ok(_) => Err(Errno::EEXIST),
            Err(errno) => Err(errno),
        },
        Err(errno) => Err(errno),
    }
}

fn rename_noreplace(from: &Path, to: &Path) -> nix::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL);
    let (from, to) = (text(from)?, text(to)?);
    // SAFETY: two C strings and numbers.
    let renamed = unsafe {
        let (here, how) = (libc::AT_FDCWD, libc::RENAME_NOREPLACE);
        libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), how)
    };
    Errno::result(renamed).map(drop)
}

/// So that a name outlives a loss of power. Where it cannot be done the name is there all the same.
pub(super) fn sync_directory_of(path: &Path) {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let _ = open_path(directory_of(path), flags, Mode::empty()).and_then(|fd| fsync(&fd));
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    pub(crate) bytes: u64,
    pub(crate) is_file: bool,
}

/// What lies beside the file at `path` and has its name, a dot and more for a name; in no order.
pub(crate) fn list(path: &Path) -> io::Result<Vec<Entry>> {
    let start = [path.file_name().unwrap_or_default().as_bytes(), b"."].concat();
    let mut found = Vec::new();
    for entry in fs::read_dir(directory_of(path))? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.as_bytes().starts_with(&start) {
            continue;
        }
        // One that is gone by now need not be told of.
        if let Ok(found_there) = entry.metadata() {
            found.push(Entry { name, bytes: found_there.len(), is_file: found_there.is_file() });
        }
    }
    Ok(found)
}

/// Removes a name, and no directory. Good where it is gone already.
pub(crate) fn remove(path: &Path) -> nix::Result<()> {
    match unlink(path) {
        Err(Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use crate::sys::apart::own_umask;
    use crate::sys::observed::names;

    fn opened(path: &Path) -> LogFile {
        LogFile::open(path).unwrap()
    }

    #[test]
    fn directories_are_made_and_what_is_there_is_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        own_umask(0o022);
        let path = directory.path().join("a/b/app.log");
        let file = opened(&path);
        assert_eq!(file.content().unwrap(), Content { bytes: 0, mid_line: false });
        assert_eq!(file.append(b"one\nhalf"), Ok(8));
        assert_eq!(file.content().unwrap(), Content { bytes: 8, mid_line: true });
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o755);
        drop(file);
        let file = opened(&path);
        file.append(b" of it\n").unwrap();
        assert_eq!(file.content().unwrap(), Content { bytes: 15, mid_line: false });
        assert_eq!(fs::read(&path).unwrap(), b"one\nhalf of it\n");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let path = directory.path().join("file/below/app.log");
        let error = LogFile::open(&path).unwrap_err().to_string();
        let below = path.parent().unwrap().display();
        let why = format!("cannot make the directory {below}: Not a directory");
        assert_eq!(error, format!("cannot open {}: {why}", path.display()));
    }

    #[test]
    fn a_second_one_is_refused_by_the_pid_of_the_first_until_that_closes_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let first = opened(&path);
        let refused = LogFile::open(&path).unwrap_err();
        let FileCause::Held { pid } = refused.cause else { panic!("{refused}") };
        // Where the file system has another number than its files, or there is no /proc, it cannot be known.
        assert!(pid.is_none_or(|pid| pid == std::process::id()), "{pid:?}");
        drop(first);
        opened(&path);
    }

    #[test]
    fn it_is_opened_again_only_where_the_path_leads_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let mut file = opened(&path);
        file.append(b"one\n").unwrap();
        file.open_again().unwrap();
        assert!(file.is_in_place());
        fs::rename(&path, directory.path().join("moved")).unwrap();
        assert!(!file.is_in_place());
        assert_eq!(file.rename(OsStr::new("app.log.1")), Err(Errno::ESTALE));
        symlink("moved", &path).unwrap();
        file.open_again().unwrap_err();
        file.append(b"two\n").unwrap();
        fs::remove_file(&path).unwrap();
        file.open_again().unwrap();
        file.append(b"three\n").unwrap();
        assert_eq!(fs::read(directory.path().join("moved")).unwrap(), b"one\ntwo\n");
        assert_eq!(fs::read(&path).unwrap(), b"three\n");
    }

    #[test]
    fn a_name_that_anything_has_is_taken_and_what_has_it_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let in_it = |name| directory.path().join(name);
        let file = opened(&in_it("app.log"));
        file.append(b"text\n").unwrap();
        fs::write(in_it("precious"), "precious").unwrap();
        fs::hard_link(in_it("precious"), in_it("hard")).unwrap();
        symlink("precious", in_it("link")).unwrap();
        symlink("nowhere", in_it("dangling")).unwrap();
        fs::create_dir(in_it("directory")).unwrap();
        unistd::mkfifo(&in_it("fifo"), Mode::S_IRWXU).unwrap();
        for name in ["precious", "hard", "link", "dangling", "directory", "fifo"] {
            assert_eq!(file.rename(OsStr::new(name)), Err(Errno::EEXIST), "{name}");
        }
        assert!(file.is_in_place());
        assert_eq!(fs::read(in_it("precious")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(in_it("directory")).unwrap().count(), 0);
        file.rename(OsStr::new("app.log.1")).unwrap();
        assert_eq!(
            names(directory.path()),
            ["app.log.1", "dangling", "directory", "fifo", "hard", "link", "precious"]
        );
    }

    #[test]
    fn a_list_has_what_begins_with_the_name_and_says_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        for name in ["app.log", "app.log.1", "app.logs", "other.app.log.1"] {
            fs::write(directory.path().join(name), "12345").unwrap();
        }
        symlink("app.log.1", directory.path().join("app.log.link")).unwrap();
        fs::create_dir(directory.path().join("app.log.directory")).unwrap();
        let mut found = list(&path).unwrap();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        let files: Vec<(&str, bool)> =
            found.iter().map(|entry| (entry.name.to_str().unwrap(), entry.is_file)).collect();
        assert_eq!(files, [("app.log.1", true), ("app.log.directory", false), ("app.log.link", false)]);
        assert_eq!(found[0].bytes, 5);
        list(Path::new("/nowhere/app.log")).unwrap_err();
    }

    #[test]
    fn what_is_gone_is_removed_and_a_directory_is_not() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("directory")).unwrap();
        assert_eq!(remove(&directory.path().join("nothing")), Ok(()));
        remove(&directory.path().join("directory")).unwrap_err();
        assert_eq!(names(directory.path()), ["directory"]);
    }
}
