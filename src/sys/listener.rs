//! A listening socket that lives from start to end, whatever those that share it do to it.
//!
//! ```text
//!    bind_port(8000)              [::]:8000 for both families; 0.0.0.0:8000 where there is no IPv6
//!    bind_tcp(127.0.0.1:8000)     that address; one of IPv6 is for IPv6 alone
//!    bind_unix(/run/app.sock)     a path: see unix_listener
//!    bind_abstract(app)           a name in no file system: the same
//!    handed_in(fd, "fd 3")        what somebody else has bound: never bound anew, and its path is never removed
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
//! An abstract name is taken as long as anybody holds the socket, workers too, so that `bind_anew` fails where they do.
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
    AddressFamily, Shutdown, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, UnixAddr, bind,
    getsockname, getsockopt, setsockopt, shutdown, socket, sockopt,
};

pub(crate) use super::bind_error::{BindCause, BindError};
use super::half_closed::is_half_closed;
pub(crate) use super::unix_listener::Access;
use super::unix_listener::{self, Place, abstract_path, new_socket};

/// Connections that may wait to be accepted. The kernel's own default limit (net.core.somaxconn) since Linux 5.4.
pub(crate) const BACKLOG: u32 = 4096;

/// A bound socket that listens. Dropping it closes it, and removes a unix socket's path if that is still its own.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Stays open while `name` is dropped, see [`Drop`].
    fd: OwnedFd,
    name: Name,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Ours,
    HandedIn { keeps_flags: bool },
}

#[derive(Debug)]
enum Name {
    Tcp {
        address: SocketAddr,
        typed: String,
    },
    Unix(Place),
    Abstract(Vec<u8>),
    /// Somebody else's unix socket, as an operator reads it.
    Foreign(String),
}

/// What can be done about a listener that was shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// [`Listener::heal`].
    Heal,
    /// [`Listener::bind_anew`].
    BindAnew,
}

/// As much as the kernel lets, of a socket of somebody else's: its maker's number cannot be asked for, and must not be
/// lowered (systemd's default is the greatest there is). A longer queue loses nothing.
const ANY_BACKLOG: i32 = i32::MAX;

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
    pub(crate) fn bind_unix(path: &Path, access: Access) -> Result<Listener, BindError> {
        let (fd, place) = unix_listener::bind(path, access)?;
        Ok(Listener::ours(fd, Name::Unix(place)))
    }

    /// A unix socket of this name, 1 to 107 bytes, in the abstract namespace.
    pub(crate) fn bind_abstract(name: &[u8]) -> Result<Listener, BindError> {
        let fd = unix_listener::bind_abstract(name)?;
        Ok(Listener::ours(fd, Name::Abstract(name.to_vec())))
    }

    /// A socket that listens already, and that somebody else has made; `from` says how it came, as in `fd 3`. Where
    /// `keeps_flags`, O_NONBLOCK is never cleared: others are served by it whom we do not know. Else it blocks from now
    /// on, as ours do.
    pub(crate) fn handed_in(fd: OwnedFd, from: &str, keeps_flags: bool) -> nix::Result<Listener> {
        let address: SockaddrStorage = getsockname(fd.as_raw_fd())?;
        let name = match address.as_unix_addr() {
            Some(unix) => Name::Foreign(format!("{} ({from})", shown_unix(unix))),
            None => {
                let address = bound_address(&fd)?;
                Name::Tcp { address, typed: format!("{} ({from})", shown_tcp(&fd, address)) }
            }
        };
        let listener = Listener { fd, name, origin: Origin::HandedIn { keeps_flags } };
        if listener.nonblocking() {
            listener.set_nonblocking(false);
        }
        Ok(listener)
    }

    fn ours(fd: OwnedFd, name: Name) -> Listener {
        Listener { fd, name, origin: Origin::Ours }
    }

    fn tcp(typed: String, wanted: SocketAddr, bound: nix::Result<OwnedFd>) -> Result<Listener, BindError> {
        let listening = bound.and_then(|fd| {
            listen(&fd)?;
            Ok((bound_address(&fd)?, fd))
        });
        let (address, fd) = listening.map_err(|errno| BindError::tcp(typed.clone(), wanted, errno))?;
        Ok(Listener::ours(fd, Name::Tcp { address, typed }))
    }

    /// As an operator reads it, of one that was handed in; as in `port 8000 (fd 3)`.
    pub(crate) fn foreign_name(&self) -> Option<&str> {
        match (&self.name, self.origin) {
            (Name::Tcp { typed: shown, .. } | Name::Foreign(shown), Origin::HandedIn { .. }) => Some(shown),
            _ => None,
        }
    }

    /// Where a TCP listener is bound, with the port that it was given for port 0; `None` for a unix socket.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match &self.name {
            Name::Tcp { address, .. } => Some(*address),
            Name::Unix(_) | Name::Abstract(_) | Name::Foreign(_) => None,
        }
    }

    /// Where a unix listener is bound here, as an absolute path; `None` for TCP, for an abstract name, and for a path
    /// that is somebody else's affair.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.name {
            Name::Unix(place) => Some(place.path()),
            Name::Tcp { .. } | Name::Abstract(_) | Name::Foreign(_) => None,
        }
    }

    /// What can be tried where it was shut down.
    pub(crate) fn remedy(&self) -> Remedy {
        match &self.name {
            Name::Tcp { .. } => Remedy::Heal,
            Name::Unix(_) | Name::Abstract(_) | Name::Foreign(_) => Remedy::BindAnew,
        }
    }

    /// Whether the path of a unix listener still leads to it.
    pub(crate) fn is_in_place(&self) -> bool {
        match &self.name {
            Name::Unix(place) => place.is_ours(),
            Name::Tcp { .. } | Name::Abstract(_) | Name::Foreign(_) => true,
        }
    }

    /// Sets the backlog to [`BACKLOG`] again, or that of a socket of somebody else's to [`ANY_BACKLOG`]. See
    /// [`Listener::heal`] for one that was shut down.
    pub(crate) fn listen_again(&self) -> Result<(), BindError> {
        listen_with(&self.fd, self.backlog()).map_err(|errno| self.error_of(errno))
    }

    fn backlog(&self) -> i32 {
        if self.origin == Origin::Ours { BACKLOG as i32 } else { ANY_BACKLOG }
    }

    /// Makes a TCP listener that somebody has shut down listen again, on the same port. A unix one stays as it is,
    /// without an error: ask [`Listener::is_listening`]. One that was handed in may have lost its port, where its maker
    /// has let the kernel choose it: then it listens nowhere that anybody knows, and this is an error.
    pub(crate) fn heal(&self) -> Result<(), BindError> {
        let Some(address) = self.local_address() else { return self.listen_again() };
        let healed = forget_shutdown(&self.fd).and_then(|()| {
            listen_with(&self.fd, self.backlog())?;
            // Ours keep their port, see `bind_socket`.
            if self.origin == Origin::Ours { Ok(address) } else { bound_address(&self.fd) }
        });
        if healed.map_err(|errno| self.error_of(errno))? != address {
            // Nobody is to come by a port that nobody has asked for.
            let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Both);
            return Err(self.error(BindCause::Forgotten));
        }
        Ok(())
    }

    fn error_of(&self, errno: Errno) -> BindError {
        match &self.name {
            Name::Tcp { address, typed } => BindError::tcp(typed.clone(), *address, errno),
            Name::Unix(_) | Name::Abstract(_) | Name::Foreign(_) => self.error(BindCause::Os(errno)),
        }
    }

    fn error(&self, cause: BindCause) -> BindError {
        match &self.name {
            Name::Tcp { typed: address, .. } | Name::Foreign(address) => {
                BindError { address: address.clone(), cause }
            }
            Name::Unix(place) => BindError::unix(place.path(), cause),
            Name::Abstract(name) => BindError::unix(&abstract_path(name), cause),
        }
    }

    /// A new socket in the place of one that [`Listener::heal`] cannot heal: at the same path, with the same mode and
    /// owner. The old one is closed here; who still holds it has a socket that nobody can reach. TCP needs no more than
    /// [`Listener::heal`], and gets that. When this fails, all is as it was; but an abstract one is closed by then,
    /// since its name was taken as long as it was open.
    pub(crate) fn bind_anew(&mut self) -> Result<(), BindError> {
        let fresh = match &self.name {
            Name::Tcp { .. } => return self.heal(),
            Name::Foreign(_) => return Err(self.error(BindCause::HandedIn)),
            Name::Abstract(name) => {
                self.fd = new_socket(SockFlag::empty()).map_err(|errno| self.error_of(errno))?;
                Listener::bind_abstract(name)?
            }
            Name::Unix(place) => Listener::bind_unix(place.path(), place.access())?,
        };
        // The old one goes now, and leaves the path alone, which is the new one's.
        *self = fresh;
        Ok(())
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
            Name::Unix(_) | Name::Abstract(_) | Name::Foreign(_) => !self.has_hung_up(),
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

    /// For all who share the socket: one that sleeps in accept is not woken by it. Not cleared where it was handed in
    /// to keep its flags.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        if self.origin == (Origin::HandedIn { keeps_flags: true }) && !nonblocking {
            return;
        }
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

/// As [`Address`](SocketAddr) shows it, or the port alone where that is for both families.
fn shown_tcp(fd: &OwnedFd, address: SocketAddr) -> String {
    let is_for_both = address.is_ipv6()
        && address.ip().is_unspecified()
        && getsockopt(fd, sockopt::Ipv6V6Only).is_ok_and(|v6_only| !v6_only);
    if is_for_both { format!("port {}", address.port()) } else { address.to_string() }
}

fn shown_unix(address: &UnixAddr) -> String {
    match (address.path(), address.as_abstract()) {
        (Some(path), _) => format!("unix:{}", path.display()),
        (None, Some(name)) => format!("unix:{}", abstract_path(name).display()),
        (None, None) => "unix".to_string(),
    }
}

pub(super) fn listen(fd: &OwnedFd) -> nix::Result<()> {
    listen_with(fd, BACKLOG as i32)
}

fn listen_with(fd: &OwnedFd, backlog: i32) -> nix::Result<()> {
    // nix refuses what is above the C library's own idea of the greatest backlog, which musl has at 128.
    // SAFETY: a system call on a descriptor that we own; no memory is involved.
    let result = unsafe { libc::listen(fd.as_raw_fd(), backlog) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests;
