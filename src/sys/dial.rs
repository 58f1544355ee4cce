//! Connects to where a listener is bound, as a client of it would.
//!
//! What this file does not do: read or write (`stream.rs`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect, getsockname,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::listener::Listener;

/// A full queue is waited for so long, in seconds.
const LONGEST_S: i64 = 2;

/// A new connection, whose stream does not block and closes at exec. Of a listener at every address of the machine the
/// one at the loopback.
pub(crate) fn dial(listener: &Listener) -> Result<OwnedFd, Errno> {
    if let Some(path) = listener.path() {
        return dial_at(AddressFamily::Unix, &UnixAddr::new(path)?);
    }
    let Some(address) = listener.local_address() else {
        let bound: UnixAddr = getsockname(listener.as_fd().as_raw_fd())?;
        return dial_at(AddressFamily::Unix, &bound);
    };
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other @ (IpAddr::V4(_) | IpAddr::V6(_)) => other,
    };
    let family = if ip.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    dial_at(family, &SockaddrStorage::from(SocketAddr::new(ip, address.port())))
}

fn dial_at(family: AddressFamily, address: &dyn SockaddrLike) -> Result<OwnedFd, Errno> {
    loop {
        let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&fd, sockopt::SendTimeout, &TimeVal::new(LONGEST_S, 0))?;
        match connect(fd.as_raw_fd(), address) {
            Ok(()) => {
                fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
                return Ok(fd);
            }
            // Where it waits, a child's death interrupts it.
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::sys::listener::Access;
    use crate::sys::stream::{accept, somebody_waits};

    #[test]
    fn every_kind_of_listener_is_reached() {
        crate::sys::apart::own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let name = format!("srvwrap dial {}", std::process::id());
        for listener in [
            Listener::bind_port(0).unwrap(),
            Listener::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap(),
            Listener::bind_unix(&directory.path().join("app.sock"), Access::DEFAULT).unwrap(),
            Listener::bind_abstract(name.as_bytes()).unwrap(),
        ] {
            listener.set_nonblocking(true);
            assert!(!somebody_waits(&listener));
            let _client = dial(&listener).unwrap();
            assert!(somebody_waits(&listener) && accept(&listener).unwrap().is_some());
            assert!(!somebody_waits(&listener));
        }
    }
}
