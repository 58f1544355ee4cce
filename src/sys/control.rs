//! The control socket: who may ask srvwrap for something reaches it by a path, however long that is.
//!
//! ```text
//!   bind ───> enter the directory, locked ──> what is there? ──> a socket of mode 0600 ──> accept ──> stream, Peer
//!   connect ─> enter the directory ─────────────────────────────────^
//! ```
//!
//! It is bound and reached by its name alone, from within its directory: only that name is limited, to the 107 bytes
//! that the address of a socket holds. A stale one is taken over, a live one never; the rules are those of
//! `unix_listener.rs`, and the work is done by the same functions.
//!
//! What this file does not do: read a byte of what is asked, or decide who may ask.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{self, Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};
use nix::sys::socket::{SockFlag, UnixAddr, accept4, connect as connect_socket, getsockopt, sockopt};
use nix::sys::stat::{SFlag, lstat, stat};
use nix::unistd::unlink;

use super::directory::{Directory, DirectoryError, directory_of};
use super::unix_listener::{self, BIND_TRIES, Identity, MAX_PATH, REMOVE_TRIES, identity, new_socket};

/// Only its owner and root may connect: what can be asked for is to run any program as this user.
const MODE: u32 = 0o600;

/// A listening socket, close-on-exec, from which accepting never waits. Dropping it removes the path if that is still
/// its own, and closes it.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    /// Stays open while the path is removed: a successor's socket cannot have its inode number until then.
    fd: OwnedFd,
    /// Absolute.
    path: PathBuf,
    identity: Identity,
}

/// Who is at the other end, as the kernel knew it when it connected. A pid may be another's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// 0 where it is in another pid namespace.
    pub(crate) pid: u32,
}

/// A control socket that could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControlError {
    pub(crate) path: PathBuf,
    pub(crate) cause: ControlCause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlCause {
    /// A process listens on it: this one, where the kernel tells.
    Alive {
        pid: Option<u32>,
    },
    /// Its name is too long, by its length in bytes.
    NameTooLong(usize),
    /// Something else has this name: a file, a directory, a symbolic link. It is left alone.
    NotASocket,
    /// What is left of a dead srvwrap could not be removed.
    Stale(Errno),
    Directory(DirectoryError),
    /// What the system said, and nothing to add.
    Os(Errno),
}

impl ControlSocket {
    /// Its mode is 0600 from the first moment at which it can be seen. On failure nothing has changed, but that a dead
    /// srvwrap's socket may be gone.
    pub(crate) fn bind(path: &Path) -> Result<ControlSocket, ControlError> {
        // Absolute, because the current directory is another when it is removed.
        let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
        bind_absolute(&absolute)
            .map(|(fd, identity)| ControlSocket { fd, path: absolute.clone(), identity })
            .map_err(|cause| ControlError { path: absolute, cause })
    }

    /// In the place of one whose path was removed. The clients that this one has stay.
    pub(crate) fn bind_anew(&mut self) -> Result<(), ControlError> {
        // The old one is dropped after the new one is there, so that no two sockets have the same identity.
        *self = ControlSocket::bind(&self.path)?;
        Ok(())
    }

    /// Whether the path still leads here.
    pub(crate) fn is_in_place(&self) -> bool {
        lstat(&self.path).is_ok_and(|found| identity(&found) == self.identity)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next client, whose stream does not block, and who it is; `None` where there is none. An error means that
    /// this process, or the system, has no room for another descriptor: asked again at once it will say the same.
    pub(crate) fn accept(&self) -> Result<Option<(UnixStream, Peer)>, Errno> {
        loop {
            let accepted = accept4(self.fd.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC);
            match accepted {
                Ok(fd) => {
                    // SAFETY: the number is new, and ours alone.
                    let stream = unsafe { UnixStream::from_raw_fd(fd) };
                    match peer_of(&stream) {
                        Ok(peer) => return Ok(Some((stream, peer))),
                        // Nobody to answer to.
                        Err(_) => continue,
                    }
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

fn peer_of(stream: &impl AsFd) -> nix::Result<Peer> {
    let found = getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(Peer { uid: found.uid(), gid: found.gid(), pid: u32::try_from(found.pid()).unwrap_or(0) })
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for ControlSocket {
    /// A directory that a stranger keeps locked is no reason to leave the path behind: as long as our socket is open
    /// nobody who asks takes it for a dead one, and nobody else's has its identity.
    fn drop(&mut self) {
        let _lock = Directory::locked(directory_of(&self.path), REMOVE_TRIES);
        if self.is_in_place() {
            // Nothing can be done about a failure, and the next start takes the path over.
            let _ = unlink(&self.path);
        }
    }
}

fn bind_absolute(path: &Path) -> Result<(OwnedFd, Identity), ControlCause> {
    let name = name_in(path).ok_or(ControlCause::NotASocket)?;
    if name.as_os_str().len() > MAX_PATH {
        return Err(ControlCause::NameTooLong(name.as_os_str().len()));
    }
    let parent = directory_of(path);
    let directory = Directory::locked(parent, BIND_TRIES).map_err(ControlCause::Directory)?;
    directory.judge(parent).map_err(ControlCause::Directory)?;
    let _visit = directory.enter(parent).map_err(ControlCause::Directory)?;
    let name = Path::new(name);
    let address = UnixAddr::new(name).map_err(ControlCause::Os)?;
    make_way(name, &address)?;
    unix_listener::bind_in_locked(name, &address, MODE, SockFlag::SOCK_NONBLOCK).map_err(|errno| {
        match errno == Errno::EADDRINUSE {
            // A server that does not know the lock came just now.
            true => ControlCause::Alive { pid: None },
            false => ControlCause::Os(errno),
        }
    })
}

/// None where the path ends in `..`, or is that of the root.
fn name_in(path: &Path) -> Option<&Path> {
    path.file_name().map(Path::new)
}

/// Removes the socket of a dead srvwrap, from within its directory.
fn make_way(name: &Path, address: &UnixAddr) -> Result<(), ControlCause> {
    let status = match lstat(name) {
        Err(Errno::ENOENT) => return Ok(()),
        found => found.map_err(ControlCause::Os)?,
    };
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK {
        return Err(ControlCause::NotASocket);
    }
    let probe = new_socket(SockFlag::SOCK_NONBLOCK).map_err(ControlCause::Os)?;
    match connect_socket(probe.as_raw_fd(), address) {
        // Only a refusal shows that nobody is there.
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => {}
        Err(_) => return Err(ControlCause::Alive { pid: None }),
        Ok(()) => return Err(ControlCause::Alive { pid: listener_behind(&probe) }),
    }
    // Somebody who does not know the lock may have come meanwhile.
    if lstat(name).map(|now| identity(&now)) == Ok(identity(&status)) {
        unlink(name).map_err(ControlCause::Stale)?;
    }
    Ok(())
}

/// Who called listen(2) on the other end of a connected socket.
fn listener_behind(stream: &impl AsFd) -> Option<u32> {
    peer_of(stream).ok().map(|peer| peer.pid).filter(|pid| *pid > 0)
}

/// A control socket that could not be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// There is nothing at the path, or nobody behind it.
    NotRunning,
    /// There is something at the path, and it is no socket.
    NotASocket,
    /// It is another user's.
    Denied,
    /// Somebody is there who accepts nobody.
    Busy,
    Os(Errno),
}

/// For so long a queue that is full is waited for: 5 s.
const CONNECT_TRIES: u32 = 500;
const BETWEEN_TRIES_MS: u8 = 10;

/// A stream to who listens at `path`; reading from it and writing to it may block.
pub(crate) fn connect(path: &Path) -> Result<UnixStream, ConnectError> {
    connect_within(path, CONNECT_TRIES)
}

fn connect_within(path: &Path, tries: u32) -> Result<UnixStream, ConnectError> {
    let name = name_in(path).ok_or(ConnectError::NotASocket)?;
    // A bare name is in the current directory.
    let parent = Some(directory_of(path)).filter(|parent| !parent.as_os_str().is_empty());
    let _visit = match parent {
        None => None,
        Some(parent) => Some(
            Directory::open(parent)
                .and_then(|found| found.enter(parent))
                .map_err(|error| cannot_enter(&error))?,
        ),
    };
    let address = UnixAddr::new(name).map_err(ConnectError::Os)?;
    for _ in 0..tries {
        // A queue that is full makes a connect that may block wait for ever.
        let socket = new_socket(SockFlag::SOCK_NONBLOCK).map_err(ConnectError::Os)?;
        match connect_socket(socket.as_raw_fd(), &address) {
            Ok(()) => {
                let stream = UnixStream::from(socket);
                stream.set_nonblocking(false).map_err(|_| ConnectError::Os(Errno::last()))?;
                return Ok(stream);
            }
            Err(Errno::EAGAIN) => {
                let _ = poll(&mut [], PollTimeout::from(BETWEEN_TRIES_MS));
            }
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNREFUSED) if is_no_socket(name) => return Err(ConnectError::NotASocket),
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => return Err(ConnectError::NotRunning),
            Err(Errno::EACCES | Errno::EPERM) => return Err(ConnectError::Denied),
            Err(errno) => return Err(ConnectError::Os(errno)),
        }
    }
    Err(ConnectError::Busy)
}

/// A file refuses a connection as a dead server's socket does.
fn is_no_socket(name: &Path) -> bool {
    stat(name).is_ok_and(|found| SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK)
}

fn cannot_enter(error: &DirectoryError) -> ConnectError {
    match error {
        DirectoryError::Os(_, Errno::ENOENT) => ConnectError::NotRunning,
        DirectoryError::Os(_, Errno::EACCES | Errno::EPERM) => ConnectError::Denied,
        DirectoryError::Os(_, errno) => ConnectError::Os(*errno),
        DirectoryError::Locked(_) | DirectoryError::Unsafe(_) => ConnectError::Os(Errno::EBUSY),
    }
}

impl std::error::Error for ControlError {}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot make the control socket {}: {}", self.path.display(), self.cause)
    }
}

impl fmt::Display for ControlCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlCause::Alive { pid } => {
                let by = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                write!(f, "srvwrap is running there already{by}; give this one another with --socket PATH")
            }
            ControlCause::NameTooLong(bytes) => write!(
                f,
                "its name is {bytes} bytes long and a socket's may have {MAX_PATH}; give a shorter one with --socket \
                 PATH"
            ),
            ControlCause::NotASocket => {
                f.write_str("something that is not a socket has this name; it is left alone")
            }
            ControlCause::Stale(errno) => {
                write!(f, "cannot remove the socket of a dead srvwrap: {}", errno.desc())
            }
            ControlCause::Directory(error) => error.fmt(f),
            ControlCause::Os(errno) => f.write_str(errno.desc()),
        }
    }
}

impl std::error::Error for ConnectError {}

/// What is wrong; the path is known to who asked.
impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::NotRunning => f.write_str("srvwrap is not running there"),
            ConnectError::NotASocket => f.write_str("it is not a socket"),
            ConnectError::Denied => f.write_str(Errno::EACCES.desc()),
            ConnectError::Busy => f.write_str("whoever listens there does not answer"),
            ConnectError::Os(errno) => f.write_str(errno.desc()),
        }
    }
}

#[cfg(test)]
mod tests;
