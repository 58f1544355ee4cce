//! The notice descriptor: a stream socket pair, one end srvwrap's, the other a worker's.
//!
//! Both ends close at exec, so that a worker holds only the one that was placed for it. Only srvwrap's end is
//! non-blocking: the flag belongs to an end, and a program that writes a word to its own must not meet EAGAIN.
//!
//! What this file does not do: know a line, or a word of the protocol (`wire`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::unistd;

/// A new pair: ours, then the worker's.
pub(crate) fn notice_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, workers) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((ours, workers))
}

/// What one read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes, at least 1, at the start of the buffer.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The other side has nothing more to say.
    Closed,
}

/// One read that does not wait. A worker that has closed its end with unread bytes in it (ECONNRESET) has closed it.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    loop {
        return match unistd::read(fd, buffer) {
            Ok(0) | Err(Errno::ECONNRESET) => Ok(Received::Closed),
            Ok(count) => Ok(Received::Bytes(count)),
            Err(Errno::EAGAIN) => Ok(Received::Nothing),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(errno.into()),
        };
    }
}

/// Sends a line without waiting. False where it did not go out whole: the worker has closed its end, or has not read
/// for so long that there is no room. Either is the worker's affair, and no reason to wait.
pub(crate) fn send_line(fd: BorrowedFd<'_>, line: &[u8]) -> io::Result<bool> {
    loop {
        return match send(fd.as_fd().as_raw_fd(), line, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT) {
            Ok(count) => Ok(count == line.len()),
            Err(Errno::EAGAIN | Errno::EPIPE | Errno::ECONNRESET) => Ok(false),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(errno.into()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::FdFlag;

    use crate::sys::observed::flags;

    #[test]
    fn only_our_end_is_non_blocking_and_both_close_at_exec() {
        let (ours, workers) = notice_pair().unwrap();
        assert!(flags(&ours).0.contains(OFlag::O_NONBLOCK));
        assert!(!flags(&workers).0.contains(OFlag::O_NONBLOCK));
        assert_eq!((flags(&ours).1, flags(&workers).1), (FdFlag::FD_CLOEXEC, FdFlag::FD_CLOEXEC));
    }

    #[test]
    fn what_a_worker_writes_is_read_and_its_end_closing_is_seen_once_it_is_read() {
        let (ours, workers) = notice_pair().unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receive(ours.as_fd(), &mut buffer).unwrap(), Received::Nothing);
        unistd::write(&workers, b"online\n").unwrap();
        drop(workers);
        assert_eq!(receive(ours.as_fd(), &mut buffer).unwrap(), Received::Bytes(7));
        assert_eq!(&buffer[..7], b"online\n");
        assert_eq!(receive(ours.as_fd(), &mut buffer).unwrap(), Received::Closed);
    }

    #[test]
    fn a_line_to_a_closed_end_is_not_sent_and_kills_nobody() {
        let (ours, workers) = notice_pair().unwrap();
        assert!(send_line(ours.as_fd(), b"\"shutdown\"\n").unwrap());
        drop(workers);
        assert!(!send_line(ours.as_fd(), b"\"shutdown\"\n").unwrap());
        assert_eq!(receive(ours.as_fd(), &mut [0; 16]).unwrap(), Received::Closed, "reset by an unread line");
    }

    #[test]
    fn a_worker_that_does_not_read_does_not_hold_us_up() {
        let (ours, _workers) = notice_pair().unwrap();
        let sent = (0..1_000_000).take_while(|_| send_line(ours.as_fd(), b"\"shutdown\"\n").unwrap()).count();
        assert!((1..1_000_000).contains(&sent), "{sent}");
    }
}
