//! Streams to clients: accepted, read and written without ever waiting.
//!
//! What this file does not do: know who is at the other end, or what is said.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{MsgFlags, Shutdown, SockFlag, accept4, send, shutdown};

pub(crate) use super::notice_fd::Received;
use super::notice_fd::receive as receive_from;

/// The next client of a listener that does not block; `None` where there is none. An error means that this process,
/// or the system, has no room for another descriptor: asked again at once it will say the same.
pub(crate) fn accept(listener: &impl AsFd) -> Result<Option<OwnedFd>, Errno> {
    loop {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        match accept4(listener.as_fd().as_raw_fd(), flags) {
            // SAFETY: the number is new, and ours alone.
            Ok(fd) => return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether somebody is there to be accepted. Where there is no room for a descriptor, accepting tells nothing of that.
pub(crate) fn somebody_waits(listener: &impl AsFd) -> bool {
    let mut asked = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    // Who cannot be asked is taken to have somebody, and tried again.
    poll(&mut asked, PollTimeout::ZERO) != Ok(0)
}

/// One read. Every error is an end.
pub(crate) fn receive(stream: BorrowedFd<'_>, buffer: &mut [u8]) -> Received {
    receive_from(stream, buffer).unwrap_or(Received::Closed)
}

/// What one write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// So many bytes went out.
    Bytes(usize),
    /// There is no room for now.
    Full,
    /// Nobody will ever read it.
    Lost,
}

/// One write.
pub(crate) fn send_some(stream: BorrowedFd<'_>, bytes: &[u8]) -> Sent {
    loop {
        return match send(stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT) {
            Ok(count) => Sent::Bytes(count),
            Err(Errno::EAGAIN) => Sent::Full,
            Err(Errno::EINTR) => continue,
            Err(_) => Sent::Lost,
        };
    }
}

/// Tells the other side that nothing follows.
pub(crate) fn end_writing(stream: BorrowedFd<'_>) {
    // Where it fails the other side has gone, and knows.
    let _ = shutdown(stream.as_raw_fd(), Shutdown::Write);
}

/// How many descriptors this process may have open.
pub(crate) fn descriptors_allowed() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// The user that this process acts as.
pub(crate) fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    #[test]
    fn accepting_does_not_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(accept(&listener).unwrap().is_none());
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(somebody_waits(&listener));
        let accepted = accept(&listener).unwrap().expect("one is there");
        assert!(!somebody_waits(&listener));
        assert_eq!(receive(accepted.as_fd(), &mut [0; 8]), Received::Nothing);
    }

    #[test]
    fn writing_stops_where_there_is_no_room_and_where_nobody_is() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(send_some(ours.as_fd(), b"word"), Sent::Bytes(4));
        let mut word = [0; 4];
        theirs.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"word");
        while let Sent::Bytes(_) = send_some(ours.as_fd(), &[0; 65536]) {}
        assert_eq!(send_some(ours.as_fd(), b"more"), Sent::Full);
        drop(theirs);
        assert_eq!(send_some(ours.as_fd(), b"more"), Sent::Lost);
    }

    #[test]
    fn who_ends_writing_may_still_read() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        end_writing(ours.as_fd());
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
        theirs.write_all(b"word").unwrap();
        assert_eq!(receive(ours.as_fd(), &mut [0; 8]), Received::Bytes(4));
        drop(theirs);
        assert_eq!(receive(ours.as_fd(), &mut [0; 8]), Received::Closed);
    }
}
