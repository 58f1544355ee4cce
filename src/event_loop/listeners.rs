//! The sockets that srvwrap holds: bound once, kept against what workers do to them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use crate::config::{Address, Listener as Wanted};
use crate::core::{Event, Mended, Notice};
use crate::log::Log;
use crate::sys::listener::{self, BindError, DEFAULT_MODE, Listener};

use super::{EventLoop, FIRST_LISTENER};

/// Empty once they are closed.
pub(super) struct Listeners {
    held: Vec<Held>,
}

pub(super) struct Held {
    pub(super) name: Option<String>,
    /// As an operator reads it, with the port that was really bound.
    pub(super) address: String,
    socket: Listener,
}

impl Listeners {
    /// All or none. Tells where it listens, since a port may have been left to the system.
    pub(super) fn bind(wanted: &[Wanted], poll: &Poll, log: &mut Log) -> Result<Listeners, String> {
        let mut held: Vec<Held> = Vec::new();
        for Wanted { name, address } in wanted {
            let socket = bind(address).map_err(|error| error.to_string())?;
            watch(poll, held.len(), &socket).map_err(|error| format!("cannot watch {address}: {error}"))?;
            held.push(Held { name: name.clone(), address: shown(&socket), socket });
        }
        for Held { name, address, .. } in &held {
            log.say(&Notice::Listening { name: name.clone(), address: address.clone() });
        }
        if let Some(limit) = listener::clamped_backlog().filter(|_| !held.is_empty()) {
            log.say(&Notice::BacklogClamped { limit, wanted: listener::BACKLOG });
        }
        Ok(Listeners { held })
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.held.iter().map(|held| held.address.clone()).collect()
    }

    pub(super) fn held(&self) -> &[Held] {
        &self.held
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.held.iter().map(|held| held.socket.as_fd())
    }

    /// From here on what no worker takes is reset.
    pub(super) fn close(&mut self) {
        self.held.clear();
    }

    pub(super) fn set_nonblocking(&self, index: usize, nonblocking: bool) {
        if let Some(held) = self.held.get(index).filter(|held| held.socket.nonblocking() != nonblocking) {
            held.socket.set_nonblocking(nonblocking);
        }
    }
}

impl Held {
    pub(super) fn port(&self) -> Option<u16> {
        self.socket.local_address().map(|address| address.port())
    }
}

impl EventLoop {
    /// Undoes what a worker's own listen(2) did to the backlog, and looks at the flags of each socket.
    pub(super) fn listen_again(&mut self, generation: u32) {
        for index in 0..self.listeners.held.len() {
            self.look_after_listener(index);
        }
        let mut nonblocking = Vec::new();
        for (index, held) in self.listeners.held.iter().enumerate() {
            if let Err(error) = held.socket.listen_again() {
                self.log.say(&error);
            }
            nonblocking.extend(held.socket.nonblocking().then_some(index));
        }
        self.supervisor.handle_event(self.now(), Event::Listened { generation, nonblocking });
    }

    /// Mends a listener that one of its holders has shut down.
    pub(super) fn look_after_listener(&mut self, index: usize) {
        let Some(held) = self.listeners.held.get_mut(index).filter(|held| !held.socket.is_listening()) else {
            return;
        };
        let outcome = match mend(&mut held.socket) {
            Ok(outcome) => outcome,
            Err(error) => {
                self.log.say(&error);
                Mended::Lost
            }
        };
        if outcome == Mended::Rebound {
            if let Err(error) = watch(&self.poll, index, &held.socket) {
                self.log.say(&format_args!("cannot watch {}: {error}", held.address));
            }
        }
        self.supervisor.handle_event(self.now(), Event::ListenerShut { listener: index, outcome });
    }
}

fn mend(socket: &mut Listener) -> Result<Mended, BindError> {
    socket.listen_again()?;
    if socket.is_listening() {
        return Ok(Mended::Healed);
    }
    socket.bind_anew()?;
    Ok(Mended::Rebound)
}

fn bind(address: &Address) -> Result<Listener, BindError> {
    match address {
        Address::Port(port) => Listener::bind_port(*port),
        Address::Tcp(address) => Listener::bind_tcp(*address),
        Address::Unix(path) => Listener::bind_unix(path, DEFAULT_MODE),
    }
}

/// A port alone where it is one socket for all addresses.
fn shown(socket: &Listener) -> String {
    match (socket.local_address(), socket.path()) {
        (Some(address), _) if address.ip().is_unspecified() => format!("port {}", address.port()),
        (Some(address), _) => address.to_string(),
        (None, path) => Address::Unix(path.unwrap_or("".as_ref()).to_path_buf()).to_string(),
    }
}

/// Priority only: no connection wakes us, but a hang-up does.
fn watch(poll: &Poll, index: usize, socket: &Listener) -> std::io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    poll.registry().register(&mut SourceFd(&fd), Token(FIRST_LISTENER + index), Interest::PRIORITY)
}
