//! The notice descriptor of srvwrap itself, where it is the worker of another srvwrap.
//!
//! The flags of the descriptor are shared with whoever started us, a shell perhaps: none is changed, and each call says
//! for itself that it does not wait.
//!
//! What this file does not do: know a word that is said on it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockType, SockaddrLike, SockaddrStorage, getpeername, getsockopt, recv, sockopt,
};

use super::notice_fd::Received;
use super::stream::{Sent, send_some};

/// The way to the srvwrap above.
#[derive(Debug)]
pub(crate) struct Above {
    fd: OwnedFd,
}

impl Above {
    /// The connected stream socket that has this number, which must be nobody else's in this process. To be called
    /// before srvwrap opens anything of its own.
    pub(crate) fn take(number: RawFd) -> Option<Above> {
        // SAFETY: takes two numbers.
        if number <= 2 || unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return None;
        }
        let peer = getpeername::<SockaddrStorage>(number).ok()?.family();
        // SAFETY: it is open, and borrowed for this look only.
        let kind = getsockopt(&unsafe { BorrowedFd::borrow_raw(number) }, sockopt::SockType);
        let fits = peer == Some(AddressFamily::Unix) && kind == Ok(SockType::Stream);
        // SAFETY: it is open, and the caller says that it is nobody else's.
        fits.then(|| Above { fd: unsafe { OwnedFd::from_raw_fd(number) } })
    }

    /// False where there is no room. A line is short enough for the kernel to take it whole or not at all. Where nobody
    /// is there any more it is said to nobody: that is heard.
    pub(crate) fn send(&self, line: &[u8]) -> bool {
        send_some(self.fd.as_fd(), line) != Sent::Full
    }

    /// One read.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Received {
        loop {
            return match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Received::Nothing,
                Ok(0) | Err(_) => Received::Closed,
                Ok(count) => Received::Bytes(count),
            };
        }
    }
}

impl AsRawFd for Above {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    #[test]
    fn what_is_no_connected_stream_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (datagrams, _other) = UnixDatagram::pair().unwrap();
        let listener = UnixListener::bind(directory.path().join("listener")).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let (pipe, _writer) = nix::unistd::pipe().unwrap();
        let all = [
            datagrams.as_raw_fd(),
            listener.as_raw_fd(),
            tcp.as_raw_fd(),
            client.as_raw_fd(),
            pipe.as_raw_fd(),
            1_000_000,
            -1,
            0,
        ];
        for number in all {
            assert!(Above::take(number).is_none(), "{number}");
        }
        client.set_nodelay(true).expect("it is still open");
    }

    #[test]
    fn nothing_waits_though_the_descriptor_does() {
        let (ours, mut above) = UnixStream::pair().unwrap();
        let ours = Above::take(ours.into_raw_fd()).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(ours.receive(&mut buffer), Received::Nothing);
        std::io::Write::write_all(&mut above, b"\"shutdown\"\n").unwrap();
        assert_eq!(ours.receive(&mut buffer), Received::Bytes(11));
        let sent = (0..100_000).take_while(|_| ours.send(&[b'x'; 400])).count();
        assert!((1..100_000).contains(&sent), "{sent}");
        let mut all = vec![0; sent * 400];
        std::io::Read::read_exact(&mut above, &mut all).unwrap();
        above.set_nonblocking(true).unwrap();
        assert!(std::io::Read::read(&mut above, &mut all).is_err(), "only whole lines");
        drop(above);
        assert_eq!(ours.receive(&mut buffer), Received::Closed);
        assert!(ours.send(b"online\n"), "it is said to nobody");
    }
}
