//! The sockets that srvwrap holds: bound once, kept against what workers do to them.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use mio::{Interest, Poll};

use crate::config::{Address, Listener as Wanted};
use crate::core::{Event, Mended, Notice, Time};
use crate::handover::{Passing, Place};
use crate::sys::hang_ups::HangUps;
use crate::sys::listener::{self, Access, BindError, Listener, Remedy};
use crate::sys::measure::{self, Queue};

use super::{EventLoop, HANG_UPS, HandedIn, watch};

/// A listener that is shut down again and again is mended so often in a second at once; from then on it waits.
const MENDS_AT_ONCE: u32 = 100;
const MENDS_COUNTED: Duration = Duration::from_secs(1);
/// Workers that are told to stop together shut it down within microseconds of each other, also while it is healed.
const HEALS_AT_ONCE: u32 = 4;
/// A hundredth of a second without the listener, and hardly any work for us.
const MEND_DELAY: Duration = Duration::from_millis(10);

/// Empty once they are closed.
pub(super) struct Listeners {
    held: Vec<Held>,
    hang_ups: HangUps,
}

pub(super) struct Held {
    /// Of one that was handed in any text without a colon, and others may have the same.
    pub(super) name: Option<String>,
    /// As an operator reads it, with the port that was really bound.
    pub(super) address: String,
    socket: Listener,
    /// How often it was mended since then.
    mends: (Time, u32),
    /// It is mended not before this.
    mend_at: Option<Time>,
}

impl Listeners {
    /// All or none; those that were handed in are there already.
    pub(super) fn bind(
        wanted: &[Wanted],
        handed_in: &mut HandedIn,
        poll: &Poll,
    ) -> Result<Listeners, String> {
        let hang_ups = HangUps::new().map_err(|error| format!("cannot make an epoll instance: {error}"))?;
        watch(poll, &hang_ups, HANG_UPS, Interest::READABLE)
            .map_err(|error| format!("cannot watch listeners: {error}"))?;
        let mut held: Vec<Held> = Vec::new();
        for (index, Wanted { name, address }) in wanted.iter().enumerate() {
            let mut sockets = handed_in.of(index);
            if let Some(bound) = bind(address, handed_in.access) {
                sockets.push(bound.map_err(|error| error.to_string())?);
            }
            for socket in sockets {
                let (name, address) = (name.clone(), shown(address, &socket));
                let new = Held { name, address, socket, mends: (Time::default(), 0), mend_at: None };
                new.watch(held.len(), &hang_ups)?;
                held.push(new);
            }
        }
        Ok(Listeners { held, hang_ups })
    }

    /// What is to be said of them when they are bound.
    pub(super) fn notices(&self) -> Vec<Notice> {
        let listening =
            |held: &Held| Notice::Listening { name: held.name.clone(), address: held.address.clone() };
        let mut notices: Vec<Notice> = self.held.iter().map(listening).collect();
        if let Some(limit) = listener::clamped_backlog().filter(|_| !self.held.is_empty()) {
            notices.push(Notice::BacklogClamped { limit, wanted: listener::BACKLOG });
        }
        notices
    }

    /// Those that have a path, each with its place among all.
    pub(super) fn paths(&self) -> impl Iterator<Item = (usize, &Path)> {
        self.held.iter().enumerate().filter_map(|(index, held)| Some((index, held.socket.path()?)))
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.held.iter().map(|held| held.address.clone()).collect()
    }

    /// As workers are told of them.
    pub(super) fn passing(&self) -> Vec<Passing<'_>> {
        self.held.iter().map(Held::passing).collect()
    }

    pub(super) fn held(&self) -> &[Held] {
        &self.held
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.held.iter().map(|held| held.socket.as_fd())
    }

    /// When one that waits to be mended is mended.
    pub(super) fn next_turn(&self) -> Option<Time> {
        self.held.iter().filter_map(|held| held.mend_at).min()
    }

    /// From here on what no worker takes is reset.
    pub(super) fn close(&mut self) {
        for held in std::mem::take(&mut self.held) {
            // Workers that drain hold it too, and may shut it down: that is nobody's affair any more.
            self.hang_ups.ignore(&held.socket);
        }
    }

    pub(super) fn set_nonblocking(&self, index: usize, nonblocking: bool) {
        if let Some(held) = self.held.get(index).filter(|held| held.socket.nonblocking() != nonblocking) {
            held.socket.set_nonblocking(nonblocking);
        }
    }
}

impl Held {
    fn passing(&self) -> Passing<'_> {
        let path = || Place::Unix(self.socket.path().map(Path::as_os_str).unwrap_or_default());
        let place = self.socket.local_address().map_or_else(path, Place::Tcp);
        Passing { name: self.name.as_deref(), place }
    }

    /// What waits in it; none where the kernel does not tell.
    pub(super) fn queue(&self) -> Option<Queue> {
        measure::queue(&self.socket)
    }

    /// Whether it has been mended so often of late that it is to wait.
    fn is_mended_too_often(&mut self, now: Time) -> bool {
        let (since, count) = self.mends;
        self.mends = if now - since > MENDS_COUNTED { (now, 1) } else { (since, count + 1) };
        self.mends.1 > MENDS_AT_ONCE
    }

    /// Nor is it watched until then: each shutdown(2) of one that does not listen would wake us.
    fn wait_for_mending(&mut self, now: Time, hang_ups: &HangUps) {
        self.mend_at = Some(now + MEND_DELAY);
        hang_ups.ignore(&self.socket);
    }

    /// What kind of listener it is decides, not how it is afterwards: another worker may shut it down in between, and
    /// the hang-up tells that, or the look at it a moment later.
    fn mend(&mut self, index: usize, now: Time, hang_ups: &HangUps) -> Result<Mended, String> {
        if self.socket.remedy() == Remedy::Heal {
            for _ in 0..HEALS_AT_ONCE {
                self.socket.heal().map_err(|error| error.to_string())?;
                if self.socket.is_listening() {
                    return Ok(Mended::Healed);
                }
            }
            self.wait_for_mending(now, hang_ups);
            return Ok(Mended::Healed);
        }
        hang_ups.ignore(&self.socket);
        self.socket.bind_anew().map_err(|error| error.to_string())?;
        self.watch(index, hang_ups)?;
        Ok(Mended::Rebound)
    }

    fn watch(&self, index: usize, hang_ups: &HangUps) -> Result<(), String> {
        hang_ups.watch(&self.socket, index).map_err(|error| format!("cannot watch {}: {error}", self.address))
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
                self.log.remark(&error);
            }
            nonblocking.extend(held.socket.nonblocking().then_some(index));
        }
        self.supervisor.handle_event(self.now(), Event::Listened { generation, nonblocking });
    }

    pub(super) fn handle_hang_ups(&mut self) {
        for index in self.listeners.hang_ups.take() {
            self.look_after_listener(index);
            self.perform();
        }
    }

    /// Mends those that had to wait.
    pub(super) fn look_after_overdue(&mut self) {
        let now = self.now();
        let is_due = |held: &Held| held.mend_at.is_some_and(|at| at <= now);
        let count = self.listeners.held.len();
        for index in 0..count {
            if self.listeners.held.get(index).is_some_and(is_due) {
                self.look_after_listener(index);
                self.perform();
            }
        }
    }

    /// Binds those anew whose paths somebody has removed. What others have made there since is left alone.
    /// Returns whether there was one.
    pub(super) fn look_after_paths(&mut self) -> bool {
        let mut bound_anew = false;
        for index in 0..self.listeners.held.len() {
            let Listeners { held, hang_ups } = &mut self.listeners;
            let removed = |held: &&mut Held| held.mend_at.is_none() && !held.socket.is_in_place();
            let Some(held) = held.get_mut(index).filter(removed) else { continue };
            hang_ups.ignore(&held.socket);
            let bound = held.socket.bind_anew().map_err(|error| error.to_string());
            match bound.and_then(|()| held.watch(index, hang_ups)) {
                Ok(()) => {
                    bound_anew = true;
                    self.handle(Event::ListenerShut { listener: index, outcome: Mended::Renewed });
                }
                Err(error) => {
                    let _ = held.watch(index, hang_ups);
                    self.log.remark(&format_args!("somebody has removed the path of a listener: {error}"));
                }
            }
        }
        bound_anew
    }

    /// Mends a listener that one of its holders has shut down.
    fn look_after_listener(&mut self, index: usize) {
        let now = self.now();
        let Listeners { held, hang_ups } = &mut self.listeners;
        let Some(held) = held.get_mut(index).filter(|held| held.mend_at.is_none_or(|at| at <= now)) else {
            return;
        };
        let has_waited = held.mend_at.take().is_some();
        if has_waited {
            if let Err(error) = held.watch(index, hang_ups) {
                self.log.remark(&error);
            }
        }
        if held.socket.is_listening() {
            return;
        }
        if !has_waited && held.is_mended_too_often(now) {
            held.wait_for_mending(now, hang_ups);
            return;
        }
        let outcome = held.mend(index, now, hang_ups).unwrap_or_else(|error| {
            self.log.remark(&error);
            Mended::Lost
        });
        self.supervisor.handle_event(now, Event::ListenerShut { listener: index, outcome });
        if outcome == Mended::Rebound {
            self.watch_places();
        }
    }
}

/// None for those that are not bound here.
pub(crate) fn bind(address: &Address, access: Access) -> Option<Result<Listener, BindError>> {
    match address {
        Address::Port(port) => Some(Listener::bind_port(*port)),
        Address::Tcp(address) => Some(Listener::bind_tcp(*address)),
        Address::Unix(path) => Some(Listener::bind_unix(path, access)),
        Address::Abstract(name) => Some(Listener::bind_abstract(name)),
        Address::Fd(_) | Address::Launchd(_) => None,
    }
}

/// As it was typed, with the port that was really bound and the whole path; one that was handed in with how it came.
pub(crate) fn shown(typed: &Address, socket: &Listener) -> String {
    if let Some(name) = socket.foreign_name() {
        return name.to_string();
    }
    match (typed, socket.local_address(), socket.path()) {
        (Address::Port(_), Some(address), _) => format!("port {}", address.port()),
        (_, Some(address), _) => address.to_string(),
        (_, None, Some(path)) => Address::Unix(path.to_path_buf()).to_string(),
        (_, None, None) => typed.to_string(),
    }
}
