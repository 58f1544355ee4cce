//! A listening socket that lives from start to end, whatever those that share it do to it.
//!
//! ```text
//!    bind_port(8000)              [::]:8000 for both families; 0.0.0.0:8000 where there is no IPv6
//!    bind_tcp(127.0.0.1:8000)     that address; one of IPv6 is for IPv6 alone
//!    bind_unix(/run/app.sock)     a path: see unix_listener
//! ```
//!
//! A listener is shared by all that hold it, and each of them can change it for all:
//!
//! | a holder calls | TCP | unix | undone by |
//! |---|---|---|---|
//! | `listen(2)` | another backlog | another backlog | `listen_again` |
//! | `shutdown(2)` | does not listen, hangs up | refuses, hangs up | TCP `heal`, unix `bind_anew` |
//! | `shutdown(SHUT_RD)` | does not listen, hangs up | refuses, hangs up by half | the same |
//! | `shutdown` twice | listens when told to, but what it accepts is closed | as once | the same |
//! | `O_NONBLOCK` | for all | for all | `set_nonblocking` |
//!
//! A hang-up is seen without being woken by connections: see `hang_ups.rs`.
//!
//! What this file does not do: accept a connection, or know who the holders are.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind, getsockname,
    getsockopt, setsockopt, socket, sockopt,
};

pub(crate) use super::bind_error::{BindCause, BindError};
use super::half_closed::is_half_closed;
pub(crate) use super::unix_listener::DEFAULT_MODE;
use super::unix_listener::{self, Place};

/// Connections that may wait to be accepted. The kernel's own default limit (net.core.somaxconn) since Linux 5.4.
pub(crate) const BACKLOG: u32 = 4096;

/// A bound socket that listens. Dropping it closes it, and removes a unix socket's path if that is still its own.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Stays open while `name` is dropped, see [`Drop`].
    fd: OwnedFd,
    name: Name,
}

#[derive(Debug)]
enum Name {
    Tcp { address: SocketAddr, typed: String },
    Unix(Place),
}

impl Listener {
    /// One socket for both families, or for IPv4 where this machine has no IPv6. Port 0 takes a free one.
    pub(crate) fn bind_port(port: u16) -> Result<Listener, BindError> {
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let (wanted, bound) = match bind_socket(both, Families::Both) {
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => (v4, bind_socket(v4, Families::Own)),
            bound => (both, bound),
        };
        Listener::tcp(format!("port {port}"), wanted, bound)
    }

    /// That address and no other. Port 0 takes a free one.
    pub(crate) fn bind_tcp(address: SocketAddr) -> Result<Listener, BindError> {
        Listener::tcp(address.to_string(), address, bind_socket(address, Families::Own))
    }

    /// A unix socket with this mode, whatever the umask; see [`DEFAULT_MODE`].
    pub(crate) fn bind_unix(path: &Path, mode: u32) -> Result<Listener, BindError> {
        let (fd, place) = unix_listener::bind(path, mode)?;
        Ok(Listener { fd, name: Name::Unix(place) })
    }

    fn tcp(typed: String, wanted: SocketAddr, bound: nix::Result<OwnedFd>) -> Result<Listener, BindError> {
        let listening = bound.and_then(|fd| {
            listen(&fd)?;
            Ok((bound_address(&fd)?, fd))
        });
        let (address, fd) = listening.map_err(|errno| BindError::tcp(typed.clone(), wanted, errno))?;
        Ok(Listener { fd, name: Name::Tcp { address, typed } })
    }

    /// Where a TCP listener is bound, with the port that it was given for port 0; `None` for a unix socket.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match &self.name {
            Name::Tcp { address, .. } => Some(*address),
            Name::Unix(_) => None,
        }
    }

    /// Where a unix listener is bound, as an absolute path; `None` for TCP.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.name {
            Name::Tcp { .. } => None,
            Name::Unix(place) => Some(place.path()),
        }
    }

    /// Whether the path of a unix listener still leads to it.
    pub(crate) fn is_in_place(&self) -> bool {
        match &self.name {
            Name::Tcp { .. } => true,
            Name::Unix(place) => place.is_ours(),
        }
    }

    /// Sets the backlog to [`BACKLOG`] again. See [`Listener::heal`] for one that was shut down.
    pub(crate) fn listen_again(&self) -> Result<(), BindError> {
        listen(&self.fd).map_err(|errno| self.error(errno))
    }

    /// Makes a TCP listener that somebody has shut down listen again, on the same port. A unix one stays as it is,
    /// without an error: ask [`Listener::is_listening`].
    pub(crate) fn heal(&self) -> Result<(), BindError> {
        let forgotten = self.local_address().map_or(Ok(()), |_| forget_shutdown(&self.fd));
        forgotten.and_then(|()| listen(&self.fd)).map_err(|errno| self.error(errno))
    }

    fn error(&self, errno: Errno) -> BindError {
        match &self.name {
            Name::Tcp { address, typed } => BindError::tcp(typed.clone(), *address, errno),
            Name::Unix(place) => BindError::unix(place.path(), BindCause::Os(errno)),
        }
    }

    /// A new socket in the place of one that [`Listener::heal`] cannot heal: at the same path and with the same mode.
    /// The old one is closed here; who still holds it has a socket that nobody can reach. TCP needs no more than
    /// [`Listener::heal`], and gets that. When this fails, all is as it was.
    pub(crate) fn bind_anew(&mut self) -> Result<(), BindError> {
        match &self.name {
            Name::Tcp { .. } => self.heal(),
            Name::Unix(place) => {
                let fresh = Listener::bind_unix(place.path(), place.mode())?;
                // The old one goes now, and leaves the path alone, which is the new one's.
                *self = fresh;
                Ok(())
            }
        }
    }

    /// Whether connections get in, and are alive when they are accepted. Of TCP the kernel says so; a unix socket that
    /// was shut down claims it still, but has hung up, or by half.
    pub(crate) fn is_listening(&self) -> bool {
        match &self.name {
            Name::Tcp { address, .. } => {
                // Mending resets what waits in the queue: a doubt is no reason for it.
                let listens = getsockopt(&self.fd, sockopt::AcceptConn).unwrap_or(true);
                listens && !is_half_closed(&self.fd, *address)
            }
            Name::Unix(_) => !self.has_hung_up(),
        }
    }

    /// With a signal on its way even a poll that does not wait is interrupted, which says nothing of the socket.
    fn has_hung_up(&self) -> bool {
        let mut watched = [PollFd::new(self.fd.as_fd(), PollFlags::from_bits_retain(libc::POLLRDHUP))];
        loop {
            match poll(&mut watched, PollTimeout::ZERO) {
                Err(Errno::EINTR) => continue,
                found => return found.is_ok_and(|count| count > 0),
            }
        }
    }

    /// Whether accept returns at once when there is nothing to accept, for all who share the socket.
    pub(crate) fn nonblocking(&self) -> bool {
        self.status_flags().contains(OFlag::O_NONBLOCK)
    }

    /// For all who share the socket: one that sleeps in accept is not woken by it.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        let mut flags = self.status_flags();
        flags.set(OFlag::O_NONBLOCK, nonblocking);
        fcntl(&self.fd, FcntlArg::F_SETFL(flags)).expect("the flags of an open socket can be set");
    }

    fn status_flags(&self) -> OFlag {
        let flags = fcntl(&self.fd, FcntlArg::F_GETFL).expect("an open socket has flags");
        OFlag::from_bits_retain(flags)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    /// The path is compared and removed while the socket is still open: once it is closed, its inode number may
    /// at once be that of a successor's socket.
    fn drop(&mut self) {
        if let Name::Unix(place) = &self.name {
            place.remove();
        }
    }
}

/// The backlog that listeners really have, where net.core.somaxconn is lower than [`BACKLOG`]; for a warning.
pub(crate) fn clamped_backlog() -> Option<u32> {
    clamped_by(&fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?)
}

fn clamped_by(somaxconn: &str) -> Option<u32> {
    somaxconn.trim().parse().ok().filter(|&limit| limit < BACKLOG)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Families {
    Own,
    Both,
}

fn bind_socket(address: SocketAddr, families: Families) -> nix::Result<OwnedFd> {
    let bound = bind_once(address, families)?;
    if address.port() != 0 {
        return Ok(bound);
    }
    // A port that the kernel has chosen is lost at shutdown(2), and the next listen(2) gets another. One that was
    // asked for is kept. So it is asked for, while the first socket, which does not listen, keeps it for us.
    bind_once(bound_address(&bound)?, families)
}

fn bind_once(address: SocketAddr, families: Families) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // A restart must not wait for connections of the time before, which linger in TIME_WAIT.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &(families == Families::Own))?;
    }
    match address {
        SocketAddr::V4(v4) => bind(fd.as_raw_fd(), &SockaddrIn::from(v4))?,
        SocketAddr::V6(v6) => bind(fd.as_raw_fd(), &SockaddrIn6::from(v6))?,
    }
    Ok(fd)
}

fn bound_address(fd: &OwnedFd) -> nix::Result<SocketAddr> {
    let address: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    let v6 = address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()));
    Ok(v4.or(v6).expect("a socket of the internet families has an address of them"))
}

/// Takes back every shutdown(2) of a TCP socket. It stays bound, since its port was asked for, see [`bind_socket`].
/// A connection that waits in it is reset: only for one that does not listen, or whose connections are closed anyway.
fn forget_shutdown(fd: &OwnedFd) -> nix::Result<()> {
    let mut nowhere = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let size = size_of_val(&nowhere) as libc::socklen_t;
    // SAFETY: a connect to no family at all, which undoes what there was; the address lives through the call.
    let result = unsafe { libc::connect(fd.as_raw_fd(), &raw mut nowhere, size) };
    Errno::result(result).map(drop)
}

pub(super) fn listen(fd: &OwnedFd) -> nix::Result<()> {
    // nix refuses what is above the C library's own idea of the greatest backlog, which musl has at 128.
    // SAFETY: a system call on a descriptor that we own; no memory is involved.
    let result = unsafe { libc::listen(fd.as_raw_fd(), BACKLOG as i32) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests;
