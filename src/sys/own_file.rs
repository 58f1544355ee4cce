//! A file of ours at a path where a stranger may have put something else.
//!
//! ```text
//!   judge the directory ──> look ──> open, following nothing ──> look at what was opened
//!                            └── a link, a FIFO, a device, a directory: an error, and it is left alone
//! ```
//!
//! It is looked at twice: before, since opening a device or a FIFO may do something or wait for somebody; and after,
//! since the path may lead elsewhere by then.
//!
//! What this file does not do: read or write.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open as open_path};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, lstat};
use nix::unistd::geteuid;

use super::directory::{Directory, DirectoryError, directory_of};

/// A file that was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileError {
    pub(crate) path: PathBuf,
    pub(crate) cause: FileCause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileCause {
    /// It is something else, as in `a symbolic link`.
    NotAFile(&'static str),
    /// It has other names, which may be where a stranger wants something written.
    HardLink,
    /// srvwrap runs as root, and another user has put it where everybody may put something.
    OfUser(u32),
    /// Another process writes to it: this one, where it may be known.
    Held {
        pid: Option<u32>,
    },
    Directory(DirectoryError),
    /// This directory was not there, and could not be made.
    NoDirectory(PathBuf, Errno),
    Os(Errno),
}

/// A regular file with one name, close-on-exec. It never waits, and never gets a terminal; `flags` are what is wanted
/// beside that, and `mode` is for a file that is made, less the umask.
pub(super) fn open(path: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd, FileError> {
    open_checked(path, flags, mode).map_err(|cause| FileError { path: path.to_owned(), cause })
}

fn open_checked(path: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd, FileCause> {
    let parent = directory_of(path);
    let directory = Directory::open(parent).map_err(FileCause::Directory)?;
    directory.judge(parent).map_err(FileCause::Directory)?;
    match lstat(path) {
        Ok(found) => check(&found)?,
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(FileCause::Os(errno)),
    }
    let safely = OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let fd = open_path(path, flags | safely, mode).map_err(FileCause::Os)?;
    let found = fstat(&fd).map_err(FileCause::Os)?;
    check(&found)?;
    if geteuid().is_root() && found.st_uid != 0 && directory.is_open_to_all() {
        return Err(FileCause::OfUser(found.st_uid));
    }
    Ok(fd)
}

fn check(found: &FileStat) -> Result<(), FileCause> {
    let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
    let name = [
        (SFlag::S_IFLNK, "a symbolic link"),
        (SFlag::S_IFDIR, "a directory"),
        (SFlag::S_IFIFO, "a FIFO"),
        (SFlag::S_IFSOCK, "a socket"),
        (SFlag::S_IFCHR, "a device"),
        (SFlag::S_IFBLK, "a device"),
    ];
    match name.into_iter().find(|(other, _)| *other == kind) {
        Some((_, name)) => Err(FileCause::NotAFile(name)),
        // One whose name was removed meanwhile has none.
        None if found.st_nlink > 1 => Err(FileCause::HardLink),
        None => Ok(()),
    }
}

impl FileError {
    /// Whether another process writes to it.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.cause, FileCause::Held { .. })
    }

    /// Whether nothing can be written there by this user, or by anybody.
    pub(crate) fn is_forbidden(&self) -> bool {
        let errno = match &self.cause {
            FileCause::Os(errno) => *errno,
            FileCause::Directory(DirectoryError::Os(_, errno)) | FileCause::NoDirectory(_, errno) => *errno,
            FileCause::Directory(DirectoryError::Locked(_) | DirectoryError::Unsafe(_)) => return false,
            FileCause::NotAFile(_) | FileCause::HardLink => return false,
            FileCause::OfUser(_) | FileCause::Held { .. } => return false,
        };
        matches!(errno, Errno::EACCES | Errno::EPERM | Errno::EROFS)
    }
}

impl std::error::Error for FileError {}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot open {}: {}", self.path.display(), self.cause)
    }
}

impl fmt::Display for FileCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileCause::NotAFile(kind) => write!(f, "it is {kind} and not a file; it is left alone"),
            FileCause::HardLink => f.write_str("it has another name (a hard link); it is left alone"),
            FileCause::OfUser(uid) => {
                write!(
                    f,
                    "it belongs to user {uid}, in a directory that everybody may write; it is left alone"
                )
            }
            FileCause::Held { pid } => {
                f.write_str("another srvwrap writes to it")?;
                pid.map_or(Ok(()), |pid| write!(f, " (by its process {pid})"))?;
                f.write_str("; give another path")
            }
            FileCause::Directory(error) => error.fmt(f),
            FileCause::NoDirectory(path, errno) => {
                write!(f, "cannot make the directory {}: {}", path.display(), errno.desc())
            }
            FileCause::Os(errno) => f.write_str(errno.desc()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::os::unix::net::UnixListener;

    fn opened(path: &Path) -> Result<OwnedFd, FileCause> {
        open(path, OFlag::O_RDWR | OFlag::O_CREAT, Mode::S_IRWXU).map_err(|error| error.cause)
    }

    #[test]
    fn what_is_not_a_file_of_one_name_is_refused_left_alone_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let in_it = |name| directory.path().join(name);
        fs::write(in_it("file"), "precious").unwrap();
        fs::write(in_it("linked"), "precious").unwrap();
        fs::hard_link(in_it("linked"), in_it("hard")).unwrap();
        symlink(in_it("file"), in_it("link")).unwrap();
        symlink(in_it("nowhere"), in_it("dangling")).unwrap();
        fs::create_dir(in_it("directory")).unwrap();
        nix::unistd::mkfifo(&in_it("fifo"), Mode::S_IRWXU).unwrap();
        let _socket = UnixListener::bind(in_it("socket")).unwrap();
        for (name, kind) in [
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("directory", "a directory"),
            ("fifo", "a FIFO"),
            ("socket", "a socket"),
        ] {
            assert_eq!(opened(&in_it(name)).unwrap_err(), FileCause::NotAFile(kind), "{name}");
        }
        assert_eq!(opened(Path::new("/dev/null")).unwrap_err(), FileCause::NotAFile("a device"));
        assert_eq!(opened(&in_it("hard")).unwrap_err(), FileCause::HardLink);
        assert_eq!(fs::read(in_it("linked")).unwrap(), b"precious");
        assert!(!in_it("nowhere").exists());
        opened(&in_it("file")).unwrap();
        opened(&in_it("new")).unwrap();
    }

    #[test]
    fn root_opens_nothing_where_everybody_could_replace_it() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let result = opened(&directory.path().join("file"));
        if geteuid().is_root() {
            let cause = result.unwrap_err();
            assert!(matches!(cause, FileCause::Directory(DirectoryError::Unsafe(_))), "{cause}");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        } else {
            result.unwrap();
        }
    }

    #[test]
    fn root_opens_no_file_that_another_user_has_put_into_a_directory_for_everybody() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        chown(&path, Some(1234), None).unwrap();
        opened(&path).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        // Where fs.protected_regular is set the kernel is the first to refuse it.
        let refused = opened(&path).unwrap_err();
        assert!([FileCause::OfUser(1234), FileCause::Os(Errno::EACCES)].contains(&refused), "{refused:?}");
    }

    #[test]
    fn a_refusal_names_the_path_and_says_the_reason_last() {
        let error = FileError { path: "/run/x.pid".into(), cause: FileCause::NotAFile("a FIFO") };
        assert!(!error.is_forbidden());
        let read_only = FileError { cause: FileCause::Os(Errno::EROFS), ..error.clone() };
        assert!(read_only.is_forbidden());
        assert_eq!(
            error.to_string(),
            "cannot open /run/x.pid: it is a FIFO and not a file; it is left alone"
        );
        let error = open(Path::new("/nowhere/x"), OFlag::O_RDONLY, Mode::empty()).unwrap_err();
        let reason = "cannot open the directory /nowhere: No such file or directory";
        assert_eq!(error.to_string(), format!("cannot open /nowhere/x: {reason}"));
    }
}
