//! A unix socket at a path: taken from the dead, never from the living, and removed only while it is ours.
//!
//! ```text
//!    lock the directory ─> what is there? ─┬─ nothing ─────────────────────────────┐
//!                                          ├─ a socket that refuses ─> remove it ──┼─> bind, listen ─> unlock
//!                                          ├─ a socket that somebody listens on: an error, with the holder
//!                                          └─ anything else: an error, and it is left alone
//! ```
//!
//! The lock is on the directory itself, see `directory.rs`. It lasts for that moment only: of two that start at once over a dead server's socket one wins, and the other finds it alive. A server
//! that knows nothing of the lock is recognised by its answer to `connect`.
//!
//! What this file does not do: change the owner of a socket, or make directories.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{self, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind as bind_socket, connect, socket};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, lstat, umask};
use nix::unistd::unlink;

use super::bind_error::{BindCause, BindError};
use super::directory::{Directory, directory_of};
use super::holder;
use super::listener::listen;

/// Who may connect, unless it is said otherwise: everybody who can reach the path, whatever the umask. That is
/// what nginx, systemd and gunicorn do, and what a proxy that runs as another user needs; a directory keeps
/// others out.
pub(crate) const DEFAULT_MODE: u32 = 0o666;

/// Bytes in the path of a socket: the 108 of `sun_path`, less the zero at its end.
pub(crate) const MAX_PATH: usize = 107;

/// For how long a locked directory is waited for: 5 s to bind, 0.2 s to remove.
pub(super) const BIND_TRIES: u32 = 500;
pub(super) const REMOVE_TRIES: u32 = 20;

/// Where a socket of ours is bound.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    mode: u32,
    identity: Identity,
}

/// Device and inode. It tells two sockets apart for as long as the first of them is open, and no longer.
pub(super) type Identity = (u64, u64);

/// A listening socket at `path`, blocking, close-on-exec. Its mode is right from the first moment at which it can
/// be seen. On failure nothing has changed, but that a dead server's socket may be gone.
pub(super) fn bind(path: &Path, mode: u32) -> Result<(OwnedFd, Place), BindError> {
    // Absolute, because the current directory may be another when it is removed.
    let path = path::absolute(path).map_err(|_| BindError::unix(path, BindCause::Os(Errno::EINVAL)))?;
    bind_absolute(&path, mode)
        .map(|(fd, identity)| (fd, Place { path: path.clone(), mode, identity }))
        .map_err(|cause| BindError::unix(&path, cause))
}

fn bind_absolute(path: &Path, mode: u32) -> Result<(OwnedFd, Identity), BindCause> {
    let length = path.as_os_str().len();
    if length > MAX_PATH {
        return Err(BindCause::PathTooLong(length));
    }
    let address = UnixAddr::new(path).map_err(BindCause::Os)?;
    let _lock = Directory::locked(directory_of(path), BIND_TRIES).map_err(BindCause::Directory)?;
    make_way(path, &address)?;
    bind_in_locked(path, &address, mode, SockFlag::empty()).map_err(|errno| {
        match errno == Errno::EADDRINUSE {
            true => BindCause::PathTaken(holder::path_holders(path)),
            false => BindCause::Os(errno),
        }
    })
}

/// Makes the socket and lets it listen, in a directory that is locked, at a path where there is nothing.
pub(super) fn bind_in_locked(
    path: &Path,
    address: &UnixAddr,
    mode: u32,
    flags: SockFlag,
) -> nix::Result<(OwnedFd, Identity)> {
    let fd = new_socket(flags)?;
    bind_with_mode(&fd, address, mode)?;
    match listen(&fd).and_then(|()| lstat(path)) {
        Ok(status) => Ok((fd, identity(&status))),
        Err(errno) => {
            let _ = unlink(path);
            Err(errno)
        }
    }
}

/// Removes the socket of a dead server.
fn make_way(path: &Path, address: &UnixAddr) -> Result<(), BindCause> {
    let status = match lstat(path) {
        Err(Errno::ENOENT) => return Ok(()),
        found => found.map_err(BindCause::Os)?,
    };
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK {
        return Err(BindCause::NotASocket);
    }
    if is_alive(address).map_err(BindCause::Os)? {
        return Err(BindCause::PathTaken(holder::path_holders(path)));
    }
    // A server that does not know the lock may have come meanwhile.
    if lstat(path).map(|now| identity(&now)) == Ok(identity(&status)) {
        unlink(path).map_err(BindCause::Stale)?;
    }
    Ok(())
}

/// Only a refusal shows that nobody is there: a queue that is full, or a socket that is not for us, has an owner.
fn is_alive(address: &UnixAddr) -> nix::Result<bool> {
    let probe = new_socket(SockFlag::SOCK_NONBLOCK)?;
    Ok(!matches!(connect(probe.as_raw_fd(), address), Err(Errno::ECONNREFUSED | Errno::ENOENT)))
}

pub(super) fn new_socket(flags: SockFlag) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | flags, None)
}

/// The name gets the mode of the socket, less the umask. So the one is set before there is a name, and the other
/// is out of the way for this one call.
pub(super) fn bind_with_mode(fd: &OwnedFd, address: &UnixAddr, mode: u32) -> nix::Result<()> {
    fchmod(fd, Mode::from_bits_truncate(mode))?;
    let usual = umask(Mode::empty());
    let bound = bind_socket(fd.as_raw_fd(), address);
    umask(usual);
    bound
}

pub(super) fn identity(status: &FileStat) -> Identity {
    (status.st_dev, status.st_ino)
}

impl Place {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn mode(&self) -> u32 {
        self.mode
    }

    /// Whether the path is still that of our socket, which the caller has not closed yet.
    pub(super) fn is_ours(&self) -> bool {
        lstat(&self.path).is_ok_and(|now| identity(&now) == self.identity)
    }

    /// Removes the path if it is still that of our socket, which the caller has not closed yet. A directory that
    /// a stranger keeps locked is no reason to leave the path behind: as long as our socket is open nobody who
    /// asks takes it for a dead one, and nobody else's has its identity.
    pub(super) fn remove(&self) {
        let _lock = Directory::locked(directory_of(&self.path), REMOVE_TRIES);
        if self.is_ours() {
            // Nothing can be done about a failure, and the next start takes the path over.
            let _ = unlink(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::Barrier;
    use std::thread;

    use super::super::apart::own_umask;
    use super::super::directory::DirectoryError;
    use super::super::listener::Listener;

    fn listener_at(path: &Path) -> Listener {
        Listener::bind_unix(path, DEFAULT_MODE).unwrap()
    }

    fn cause_at(path: &Path) -> BindCause {
        Listener::bind_unix(path, DEFAULT_MODE).unwrap_err().cause
    }

    fn is_socket(path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket())
    }

    /// What a server leaves behind that was killed.
    fn leave_a_dead_socket(path: &Path) {
        drop(UnixListener::bind(path).unwrap());
        assert!(is_socket(path));
    }

    #[test]
    fn the_path_is_made_at_the_start_and_gone_at_the_end_with_nothing_beside_it() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let listener = listener_at(&path);
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        drop(listener);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_mode_is_right_from_the_first_visible_moment_whatever_the_umask() {
        let directory = tempfile::tempdir().unwrap();
        for (round, umask, mode) in [(0, 0o077, 0o666), (1, 0o000, 0o600), (2, 0o022, 0o660)].repeat(50) {
            let path = directory.path().join(format!("{round}.sock"));
            let started = Barrier::new(2);
            let (first_seen, after) = thread::scope(|scope| {
                let watcher = scope.spawn(|| {
                    started.wait();
                    loop {
                        if let Ok(facts) = fs::symlink_metadata(&path) {
                            return facts.permissions().mode() & 0o7777;
                        }
                    }
                });
                let binder = scope.spawn(|| {
                    own_umask(umask);
                    started.wait();
                    let listener = Listener::bind_unix(&path, mode).unwrap();
                    let first_seen = watcher.join().unwrap();
                    drop(listener);
                    (first_seen, super::umask(Mode::empty()).bits())
                });
                binder.join().unwrap()
            });
            assert_eq!((first_seen, after), (mode, umask), "umask {umask:o}");
        }
    }

    #[test]
    fn the_socket_of_a_dead_server_is_replaced() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        leave_a_dead_socket(&path);
        let _listener = listener_at(&path);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_server_that_lives_is_never_robbed_and_its_pid_is_named() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let living = UnixListener::bind(&path).unwrap();
        let error = Listener::bind_unix(&path, DEFAULT_MODE).unwrap_err().to_string();
        let start =
            format!("cannot bind unix:{}: another server listens on it (it is held by pid ", path.display());
        assert!(error.starts_with(&format!("{start}{}, ", std::process::id())), "{error}");
        living.accept().unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_server_whose_queue_is_full_is_taken_for_a_living_one() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let living = UnixListener::bind(&path).unwrap();
        // SAFETY: a system call on an open descriptor; no memory is involved.
        assert_eq!(unsafe { libc::listen(living.as_raw_fd(), 0) }, 0);
        let _in_the_queue = UnixStream::connect(&path).unwrap();
        assert!(matches!(cause_at(&path), BindCause::PathTaken(_)));
        assert!(is_socket(&path));
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let in_it = |name| directory.path().join(name);
        fs::write(in_it("file"), "precious").unwrap();
        fs::create_dir(in_it("directory")).unwrap();
        nix::unistd::mkfifo(&in_it("fifo"), Mode::S_IRWXU).unwrap();
        leave_a_dead_socket(&in_it("dead.sock"));
        symlink(in_it("dead.sock"), in_it("link")).unwrap();
        symlink(in_it("nowhere"), in_it("dangling")).unwrap();
        for name in ["file", "directory", "fifo", "link", "dangling"] {
            assert_eq!(cause_at(&in_it(name)), BindCause::NotASocket, "{name}");
            assert!(fs::symlink_metadata(in_it(name)).is_ok(), "{name}");
        }
        assert_eq!(fs::read(in_it("file")).unwrap(), b"precious");
        assert!(is_socket(&in_it("dead.sock")));
    }

    #[test]
    fn a_path_has_107_bytes_at_most() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let name_length = MAX_PATH - directory.path().as_os_str().len() - 1;
        let longest = directory.path().join("x".repeat(name_length));
        let _listener = listener_at(&longest);
        UnixStream::connect(&longest).unwrap();

        let error =
            Listener::bind_unix(&directory.path().join("x".repeat(name_length + 1)), 0o666).unwrap_err();
        assert_eq!(error.cause, BindCause::PathTooLong(108));
        assert!(
            error.to_string().ends_with("is 108 bytes long and a socket's may have 107; use a shorter one")
        );
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_bound_byte_for_byte() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(std::ffi::OsStr::from_bytes(b"app\xff.sock"));
        let _listener = listener_at(&path);
        assert!(is_socket(&path));
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let error = Listener::bind_unix(Path::new("/nowhere/at/all/app.sock"), DEFAULT_MODE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot bind unix:/nowhere/at/all/app.sock: cannot open the directory /nowhere/at/all: No such file or \
             directory"
        );
    }

    #[test]
    fn an_end_does_not_remove_the_socket_of_a_successor() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let first = listener_at(&path);
        // What a cleaner of temporary files may do.
        fs::remove_file(&path).unwrap();
        let second = listener_at(&path);
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop(second);
        assert!(!is_socket(&path));
    }

    #[test]
    fn a_socket_that_is_bound_anew_keeps_its_path_and_mode_and_removes_it_at_the_end() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let mut listener = Listener::bind_unix(&path, 0o620).unwrap();
        shutdown_all(&listener);
        listener.bind_anew().unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o620);
        drop(listener);
        assert!(!is_socket(&path));
    }

    #[test]
    fn binding_anew_does_not_rob_one_who_took_the_path_meanwhile() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let mut listener = listener_at(&path);
        shutdown_all(&listener);
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        assert!(listener.bind_anew().is_err());
        drop(listener);
        UnixStream::connect(&path).unwrap();
        drop(other);
    }

    fn shutdown_all(listener: &Listener) {
        nix::sys::socket::shutdown(listener.as_fd().as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
    }

    #[test]
    fn of_many_who_find_the_same_dead_server_one_wins() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = directory.path().join(format!("{round}.sock"));
            leave_a_dead_socket(&path);
            let together = Barrier::new(4);
            let attempt = || {
                own_umask(0o022);
                together.wait();
                let bound = Listener::bind_unix(&path, DEFAULT_MODE);
                together.wait(); // nobody leaves before all have tried
                bound.is_ok()
            };
            let winners = thread::scope(|scope| {
                let rivals: Vec<_> = (0..4).map(|_| scope.spawn(attempt)).collect();
                rivals.into_iter().map(|rival| rival.join().unwrap()).filter(|&won| won).count()
            });
            assert_eq!(winners, 1);
        }
    }

    #[test]
    fn a_directory_that_a_stranger_keeps_locked_is_an_error_and_no_reason_to_leave_a_path_behind() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let listener = listener_at(&path);
        let stranger = Directory::locked(directory.path(), 1).unwrap();
        let second = Directory::locked(directory.path(), 2).map(drop);
        assert_eq!(second, Err(DirectoryError::Locked(directory.path().to_owned())));
        drop(listener);
        assert!(!is_socket(&path));
        drop(stranger);
        Directory::locked(directory.path(), 1).unwrap();
    }
}
