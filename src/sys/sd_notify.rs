//! srvwrap's own words to its manager: datagrams to the address in NOTIFY_SOCKET.
//!
//! It never waits: a manager that is not there, or does not read, is told nothing.
//!
//! What this file does not do: know what there is to say.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, socket};

/// The way to a manager.
#[derive(Debug)]
pub(crate) struct ManagerSocket {
    fd: OwnedFd,
    address: UnixAddr,
}

impl ManagerSocket {
    /// `address` is an absolute path, or `@` and a name that is no path.
    pub(crate) fn to(address: &OsStr) -> nix::Result<ManagerSocket> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] if !name.is_empty() => UnixAddr::new_abstract(name)?,
            [b'/', ..] => UnixAddr::new(Path::new(address))?,
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Ok(ManagerSocket { fd: socket(AddressFamily::Unix, SockType::Datagram, flags, None)?, address })
    }

    /// False where its queue is full. An error means that it is not to be reached.
    pub(crate) fn send(&self, words: &[u8]) -> nix::Result<bool> {
        loop {
            match sendto(self.fd.as_raw_fd(), words, &self.address, MsgFlags::MSG_NOSIGNAL) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                sent => return sent.map(|_| true),
            }
        }
    }
}

/// Microseconds of the clock that the manager compares: a deploy that began before it asked for one is not the one.
pub(crate) fn monotonic_usec() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes into `now`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_manager_at_a_path_or_at_a_name_is_told_and_one_that_is_gone_or_reads_nothing_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manager");
        let manager = UnixDatagram::bind(&path).unwrap();
        let way = ManagerSocket::to(path.as_os_str()).unwrap();
        assert!(way.send(b"READY=1").unwrap());
        let mut buffer = [0; 16];
        assert_eq!(manager.recv(&mut buffer).unwrap(), 7);
        let sent = (0..100_000).take_while(|_| way.send(b"x").unwrap()).count();
        assert!((1..100_000).contains(&sent), "{sent}");
        drop(manager);
        assert_eq!(way.send(b"x"), Err(Errno::ECONNREFUSED));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(way.send(b"x"), Err(Errno::ENOENT));

        let named = super::super::notify_socket::NotifySocket::bind_abstract().unwrap();
        assert!(ManagerSocket::to(named.name()).unwrap().send(b"READY=1").unwrap());
        assert_eq!(named.receive(&mut buffer).unwrap().length, 7);
        for bad in ["", "@", "relative", "vsock:2:1234"] {
            assert_eq!(ManagerSocket::to(OsStr::new(bad)).unwrap_err(), Errno::EAFNOSUPPORT, "{bad}");
        }
        assert_eq!(
            ManagerSocket::to(OsStr::new(&format!("/{}", "x".repeat(108)))).unwrap_err(),
            Errno::ENAMETOOLONG
        );
    }

    #[test]
    fn time_goes_on() {
        let before = monotonic_usec();
        assert!(before > 0 && monotonic_usec() >= before);
    }
}
