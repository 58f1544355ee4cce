//! Why a listener could not be bound, in one line that names the address and, where there is one, the remedy.
//!
//! What this file does not do: find out. Who binds fills it in at the moment of the failure, while the holder of a
//! port is still there to be seen.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use nix::errno::Errno;

use super::directory::DirectoryError;
use super::holder::{self, Holders};

/// A listener that could not be bound, or not be listened on again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BindError {
    /// As its user would write it: `127.0.0.1:8000`, `port 8000`, `unix:/run/app.sock`.
    pub(crate) address: String,
    pub(crate) cause: BindCause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BindCause {
    /// What the system said, and nothing to add.
    Os(Errno),
    /// Another socket listens on this port.
    PortTaken { port: u16, holders: Option<Holders> },
    /// The port is a privileged one.
    NotPermitted,
    /// No interface of this machine has this address.
    NotOurAddress(IpAddr),
    /// A socket's path is too long, by its length in bytes.
    PathTooLong(usize),
    /// Something else has this name: a file, a directory, a symbolic link. It is left alone.
    NotASocket,
    /// Somebody listens on this path, or may.
    PathTaken(Option<Holders>),
    /// What is left of a dead server could not be removed.
    Stale(Errno),
    /// The path cannot be given to the owner that it is to have.
    Owner(Errno),
    /// Somebody else has made the socket, and has to make it anew.
    HandedIn,
    /// The kernel has forgotten where somebody else's socket was bound.
    Forgotten,
    /// The directory of the path is not fit for it.
    Directory(DirectoryError),
}

impl BindError {
    pub(super) fn tcp(name: String, address: SocketAddr, errno: Errno) -> BindError {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the system has a hundred more, none with a remedy"
        )]
        let cause = match errno {
            Errno::EADDRINUSE => {
                BindCause::PortTaken { port: address.port(), holders: holder::port_holders(address) }
            }
            Errno::EACCES => BindCause::NotPermitted,
            Errno::EADDRNOTAVAIL => BindCause::NotOurAddress(address.ip()),
            other => BindCause::Os(other),
        };
        BindError { address: name, cause }
    }

    pub(super) fn unix(path: &Path, cause: BindCause) -> BindError {
        BindError { address: format!("unix:{}", path.display()), cause }
    }
}

impl std::error::Error for BindError {}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot bind {}: {}", self.address, self.cause)
    }
}

impl fmt::Display for BindCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindCause::Os(errno) => f.write_str(errno.desc()),
            BindCause::PortTaken { port, holders } => {
                f.write_str(Errno::EADDRINUSE.desc())?;
                held_by(f, &format!("port {port}"), holders.as_ref())
            }
            BindCause::NotPermitted => write!(
                f,
                "{} (this port needs CAP_NET_BIND_SERVICE, or a lower sysctl net.ipv4.ip_unprivileged_port_start)",
                Errno::EACCES.desc()
            ),
            BindCause::NotOurAddress(address) => {
                write!(f, "{} ({address} is not an address of this machine)", Errno::EADDRNOTAVAIL.desc())
            }
            BindCause::PathTooLong(bytes) => write!(
                f,
                "the path is {bytes} bytes long and a socket's may have {}; use a shorter one",
                super::unix_listener::MAX_PATH
            ),
            BindCause::NotASocket => {
                f.write_str("something that is not a socket has this name; it is left alone")
            }
            BindCause::PathTaken(Some(holders)) if holders.are_this_process() => f.write_str(
                "srvwrap itself listens on it already, by another -p or as its control socket; give each a path of its own",
            ),
            BindCause::PathTaken(holders) => {
                f.write_str("another server listens on it")?;
                held_by(f, "it", holders.as_ref())
            }
            BindCause::Stale(errno) => {
                write!(f, "cannot remove the socket of a dead server: {}", errno.desc())
            }
            BindCause::Owner(errno) => write!(
                f,
                "cannot give it to another owner: {} (this needs root, or a group that srvwrap is in)",
                errno.desc()
            ),
            BindCause::HandedIn => {
                f.write_str("it was shut down, and whoever handed it to srvwrap has to make it anew")
            }
            BindCause::Forgotten => f.write_str(
                "it was shut down and lost its port, and whoever handed it to srvwrap has to make it anew",
            ),
            BindCause::Directory(error) => error.fmt(f),
        }
    }
}

fn held_by(f: &mut fmt::Formatter<'_>, what: &str, holders: Option<&Holders>) -> fmt::Result {
    holders.map_or(Ok(()), |holders| write!(f, " ({what} is held by {holders})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(address: &str, errno: Errno) -> String {
        BindError::tcp(address.to_owned(), address.parse().unwrap(), errno).to_string()
    }

    #[test]
    fn a_privileged_port_comes_with_its_remedy() {
        assert_eq!(
            said("0.0.0.0:80", Errno::EACCES),
            "cannot bind 0.0.0.0:80: Permission denied (this port needs CAP_NET_BIND_SERVICE, or a lower sysctl \
             net.ipv4.ip_unprivileged_port_start)"
        );
    }

    #[test]
    fn an_address_of_another_machine_is_called_that() {
        assert_eq!(
            said("192.0.2.1:80", Errno::EADDRNOTAVAIL),
            "cannot bind 192.0.2.1:80: Cannot assign requested address (192.0.2.1 is not an address of this machine)"
        );
    }

    #[test]
    fn a_holder_that_cannot_be_found_is_not_mentioned() {
        let cause = BindCause::PortTaken { port: 8000, holders: None };
        let error = BindError { address: "port 8000".to_owned(), cause };
        assert_eq!(error.to_string(), "cannot bind port 8000: Address already in use");
    }

    #[test]
    fn any_other_cause_is_given_in_the_words_of_the_system() {
        assert_eq!(said("127.0.0.1:80", Errno::EMFILE), "cannot bind 127.0.0.1:80: Too many open files");
    }
}
