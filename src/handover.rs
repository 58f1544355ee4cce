//! How workers are handed the sockets: what lies at which descriptor, and what tells them so.
//!
//! | `--protocol` | 0 | 3 and the following | told by, beside `LISTEN_FD` and `NOTIFY_FD` |
//! |---|---|---|---|
//! | `srvwrap` | | notice, listeners | |
//! | `systemd` | | listeners, notice | `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`, `NOTIFY_SOCKET` |
//! | `server-starter` | | notice, listeners | `SERVER_STARTER_PORT`, `SERVER_STARTER_GENERATION` |
//! | `einhorn` | | notice, listeners | `EINHORN_FD_COUNT`, `EINHORN_FD_0`, …, `EINHORN_SOCK_FD` and others |
//! | `stdin` | the listener | notice | |
//!
//! Systemd's own are sd_listen_fds(3)'s; those of Server::Starter and einhorn are what their libraries read.
//! `words.rs` puts the same numbers into a program's arguments.
//!
//! What this module does not do: place a descriptor (`sys::process`), or know the variables that are the same in every
//! protocol (`environment.rs`).

mod unfit;
mod words;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

pub(crate) use crate::core::Protocol;
pub(crate) use unfit::Unfit;
pub(crate) use words::{is_listener_name, name_in_variable};

/// The first number behind stdin, stdout and stderr.
const FIRST: usize = 3;

/// A protocol, and the listeners that are handed over by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handover<'a> {
    pub(crate) protocol: Protocol,
    /// In the order of their descriptors.
    pub(crate) listeners: &'a [Passing<'a>],
}

/// A listener that is passed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) place: Place<'a>,
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// With the port that was really bound.
    Tcp(SocketAddr),
    /// A path.
    Unix(&'a OsStr),
}

/// What is placed in a worker: on its stdin, where anything is, and from 3 on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arranged<T> {
    pub(crate) stdin: Option<T>,
    pub(crate) from_3: Vec<T>,
}

impl<'a> Handover<'a> {
    /// Whether all this can be handed to a program with these words.
    pub(crate) fn check(self, argv: &[OsString]) -> Result<(), Unfit> {
        let count = self.listeners.len();
        match self.protocol {
            Protocol::Stdin if count != 1 => return Err(Unfit::NotOne { count }),
            Protocol::ServerStarter => self.check_paths()?,
            Protocol::Srvwrap | Protocol::Systemd | Protocol::Einhorn | Protocol::Stdin => {}
        }
        self.words(argv).map(drop)
    }

    /// Its readers end an address at `=`, and an entry at `;`.
    fn check_paths(self) -> Result<(), Unfit> {
        let paths = self.listeners.iter().filter_map(|listener| match listener.place {
            Place::Tcp(_) => None,
            Place::Unix(path) => Some(path),
        });
        match paths.into_iter().find(|path| path.as_bytes().iter().any(|byte| b"=;".contains(byte))) {
            Some(path) => Err(Unfit::Path(path.to_os_string())),
            None => Ok(()),
        }
    }

    /// What may not work, and srvwrap cannot know: Starlet takes the address of a client apart as one of IPv4, and dies
    /// of any other. Server::Starter itself binds a port alone as IPv4 only.
    pub(crate) fn doubt(self) -> Option<String> {
        let v6 = |listener: &Passing<'_>| match listener.place {
            Place::Tcp(address) if address.is_ipv6() => Some(address),
            Place::Tcp(_) | Place::Unix(_) => None,
        };
        let is_here = self.protocol == Protocol::ServerStarter;
        let address = self.listeners.iter().find_map(v6).filter(|_| is_here)?;
        Some(format!(
            "{address} is a socket of IPv6: a server that knows IPv4 only, as Starlet does, answers nobody there; for \
             such a one give an address of IPv4, as in -p 0.0.0.0:{}",
            address.port()
        ))
    }

    /// The number of the notice descriptor.
    pub(crate) fn notice(self) -> usize {
        match self.protocol {
            Protocol::Systemd => FIRST + self.listeners.len(),
            Protocol::Srvwrap | Protocol::ServerStarter | Protocol::Einhorn | Protocol::Stdin => FIRST,
        }
    }

    /// The number of the listener with this place among all.
    pub(crate) fn listener(self, index: usize) -> usize {
        match self.protocol {
            Protocol::Systemd => FIRST + index,
            Protocol::Srvwrap | Protocol::ServerStarter | Protocol::Einhorn => FIRST + 1 + index,
            Protocol::Stdin => index,
        }
    }

    /// Puts them where [`Self::notice`] and [`Self::listener`] say. `listeners` are as many as there are.
    pub(crate) fn arranged<T>(self, notice: T, listeners: impl Iterator<Item = T>) -> Arranged<T> {
        let mut listeners = listeners;
        let stdin = if self.protocol == Protocol::Stdin { listeners.next() } else { None };
        let from_3 = match self.protocol {
            Protocol::Systemd => listeners.chain([notice]).collect(),
            Protocol::Srvwrap | Protocol::ServerStarter | Protocol::Einhorn | Protocol::Stdin => {
                [notice].into_iter().chain(listeners).collect()
            }
        };
        Arranged { stdin, from_3 }
    }

    /// The port of the first TCP listener.
    pub(crate) fn port(self) -> Option<u16> {
        self.listeners.iter().find_map(|listener| match listener.place {
            Place::Tcp(address) => Some(address.port()),
            Place::Unix(_) => None,
        })
    }

    /// The variable that holds the worker's own process id, which is known only after the fork.
    pub(crate) fn pid_variable(self) -> Option<&'static str> {
        let is_told = self.protocol == Protocol::Systemd && !self.listeners.is_empty();
        is_told.then_some("LISTEN_PID")
    }

    /// The variables of the protocol itself, for the worker of this slot; `srvwrap` is our process id.
    pub(crate) fn variables(self, slot: u32, generation: u32, srvwrap: u32) -> Vec<(OsString, OsString)> {
        let set = |name: &str, value: String| (OsString::from(name), OsString::from(value));
        match self.protocol {
            Protocol::Srvwrap | Protocol::Stdin => Vec::new(),
            // Without sockets nothing of it: a program that finds LISTEN_FDS believes that it is socket activated.
            Protocol::Systemd if self.listeners.is_empty() => Vec::new(),
            Protocol::Systemd => {
                let names: Vec<&str> =
                    self.listeners.iter().map(|listener| listener.name.unwrap_or("unknown")).collect();
                let count = self.listeners.len().to_string();
                vec![set("LISTEN_FDS", count), set("LISTEN_FDNAMES", names.join(":"))]
            }
            Protocol::ServerStarter => vec![
                ("SERVER_STARTER_PORT".into(), self.server_starter_ports()),
                set("SERVER_STARTER_GENERATION", generation.to_string()),
            ],
            Protocol::Einhorn => {
                let numbers = self.numbers();
                let each = numbers.iter().enumerate();
                let mut all: Vec<_> =
                    each.map(|(index, fd)| set(&format!("EINHORN_FD_{index}"), fd.clone())).collect();
                all.extend([
                    set("EINHORN_FD_COUNT", numbers.len().to_string()),
                    // What there was before the count, and is still read.
                    set("EINHORN_FDS", numbers.join(" ")),
                    set("EINHORN_CHILD_INDEX", slot.to_string()),
                    set("EINHORN_MASTER_PID", srvwrap.to_string()),
                    set("EINHORN_SOCK_FD", self.notice().to_string()),
                ]);
                all
            }
        }
    }

    fn numbers(self) -> Vec<String> {
        (0..self.listeners.len()).map(|index| self.listener(index).to_string()).collect()
    }

    /// `127.0.0.1:80=4;8080=5;/path/sock=6`: a port alone where it is one of every address.
    fn server_starter_ports(self) -> OsString {
        let entry = |(index, listener): (usize, &Passing<'_>)| {
            let address = match listener.place {
                Place::Tcp(address) if address.ip().is_unspecified() => address.port().to_string().into(),
                Place::Tcp(address) => address.to_string().into(),
                Place::Unix(path) => path.to_os_string(),
            };
            [address.as_bytes(), b"=", self.listener(index).to_string().as_bytes()].concat()
        };
        let entries: Vec<Vec<u8>> = self.listeners.iter().enumerate().map(entry).collect();
        OsString::from_vec(entries.join(&b';'))
    }
}

#[cfg(test)]
mod tests;
