//! The process at the other end of a connected unix socket, so that its end can be waited for.
//!
//! Its number is asked for while it still listens, and turned at once into a descriptor that means this process and no
//! later one.
//!
//! What this file does not do: signal it.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt};

/// A process that may have ended since.
#[derive(Debug)]
pub(crate) struct PeerProcess(OwnedFd);

impl PeerProcess {
    /// Who listened where this stream was connected to. Nothing where the kernel does not tell: it is in another pid
    /// namespace, or gone, or this is Linux before 5.3.
    pub(crate) fn of(stream: &UnixStream) -> Option<PeerProcess> {
        let pid = getsockopt(stream, sockopt::PeerCredentials).ok()?.pid();
        if pid <= 0 {
            return None;
        }
        // SAFETY: takes two numbers, and what it returns is new and ours alone.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: as above.
        Some(PeerProcess(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

/// Readable from the moment at which it has ended.
impl AsFd for PeerProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::unix::net::UnixListener;

    #[test]
    fn who_listens_is_known_and_here_it_is_this_very_process_which_has_not_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let process = PeerProcess::of(&UnixStream::connect(&path).unwrap()).expect("the kernel knows it");
        let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(0));
    }
}
