//! The names that srvwrap has in the file system: its control socket, its pid file, its notify socket, that for acks
//! (`acks.rs`), unix listeners.
//!
//! ```text
//!   take ──> control socket, then pid file, then the notify socket of workers, before anything else is touched
//!   a name is removed (a host that tidies up /tmp) ──> inotify, and a second, or the next signal ──> it is made anew
//!   the end ──> each removes its own, while it is still open
//! ```
//!
//! A name that somebody else has taken meanwhile is left to them.
//!
//! What this file does not do: bind listeners (`listeners.rs`), or answer who comes by the control socket
//! (`control.rs`).

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use mio::{Interest, Poll};

use crate::config::{Config, NOTIFY_SUFFIX};
use crate::core::Time;
use crate::handover::Protocol;
use crate::log::Log;
use crate::sys::control::{ControlCause, ControlSocket};
use crate::sys::notify_socket::NotifySocket;
use crate::sys::pid_file::PidFile;
use crate::sys::vanished::Vanished;

use super::{EventLoop, NOTIFY, VANISHED, watch};

/// What [`Vanished`] knows each by; listeners follow.
const CONTROL: usize = 0;
const PID_FILE: usize = 1;
const NOTIFY_SOCKET: usize = 2;
const ACKS_SOCKET: usize = 3;
const FIRST_LISTENER: usize = 4;

pub(super) struct Places {
    pub(super) control: Option<ControlSocket>,
    pid_file: Option<PidFile>,
    /// Where workers are served that speak to systemd.
    pub(super) notify: Option<NotifySocket>,
    vanished: Option<Vanished>,
    /// Something has happened to one of them, and they are looked at then.
    look_at: Option<Time>,
}

/// Whoever removes a whole directory would find it not empty, were its socket there again at once.
const LOOK_DELAY: Duration = Duration::from_secs(1);

impl Places {
    /// All or none; but a control socket that nobody has asked for may be missing in the foreground, as in a container
    /// that cannot be written to.
    pub(super) fn take(config: &Config, daemon: bool, poll: &Poll, log: &mut Log) -> Result<Places, String> {
        let control = match ControlSocket::bind(&config.control.path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                let somebody_is_there = matches!(error.cause, ControlCause::Alive { .. });
                if somebody_is_there || config.control.given {
                    return Err(error.to_string());
                }
                if daemon {
                    return Err(format!("{error} (--socket PATH puts it elsewhere)"));
                }
                log.remark(&format_args!("{error}; going on without (--socket PATH puts it elsewhere)"));
                None
            }
        };
        let pid_file = config.pid_file.as_deref().map(PidFile::take).transpose();
        let pid_file = pid_file.map_err(|error| error.to_string())?;
        let notify = match config.policy.protocol {
            Protocol::Systemd => Some(notify_socket(config, poll, log)?),
            Protocol::Srvwrap | Protocol::ServerStarter | Protocol::Einhorn | Protocol::Stdin => None,
        };
        let vanished =
            Vanished::new().filter(|found| watch(poll, &found.fd(), VANISHED, Interest::READABLE).is_ok());
        Ok(Places { control, pid_file, notify, vanished, look_at: None })
    }

    pub(super) fn next_turn(&self) -> Option<Time> {
        self.look_at
    }

    /// For clients that come by it; as often as it is made anew.
    pub(super) fn watch_control(&self, poll: &Poll) -> io::Result<()> {
        let Some(socket) = &self.control else { return Ok(()) };
        watch(poll, &socket.as_fd(), super::CONTROL, Interest::READABLE)
    }

    /// The end: whoever comes now finds nobody.
    pub(super) fn leave(&mut self) {
        (self.control, self.pid_file, self.notify) = (None, None, None);
    }

    fn watch_own(&mut self) {
        let Places { control, pid_file, notify, vanished: Some(vanished), .. } = self else { return };
        if let Some(socket) = control {
            vanished.watch(socket.path(), CONTROL);
        }
        if let Some(file) = pid_file {
            vanished.watch(file.path(), PID_FILE);
        }
        if let Some(path) = notify.as_ref().and_then(NotifySocket::path) {
            vanished.watch(path, NOTIFY_SOCKET);
        }
    }

    pub(super) fn write_pid(&mut self, log: &mut Log) {
        if let Some(Err(error)) = self.pid_file.as_mut().map(PidFile::write) {
            log.remark(&error);
        }
    }

    /// Whether something was made anew.
    fn mend(&mut self, poll: &Poll, log: &mut Log) -> bool {
        let mut made = false;
        if let Some(socket) = self.control.as_mut().filter(|socket| !socket.is_in_place()) {
            let path = socket.path().to_owned();
            made |= told(log, &path, socket.bind_anew().map_err(|error| error.to_string()));
            let watched = if made { self.watch_control(poll) } else { Ok(()) };
            if let Err(error) = watched {
                log.remark(&format_args!("cannot watch the control socket: {error}"));
            }
        }
        if let Some(file) = self.pid_file.as_mut().filter(|file| !file.is_in_place()) {
            let path = file.path().to_owned();
            made |= told(log, &path, file.make_anew().map_err(|error| error.to_string()));
        }
        if let Some(socket) = self.notify.as_mut().filter(|socket| !socket.is_in_place()) {
            let bound = socket.bind_anew().map_err(|error| error.to_string());
            let bound = bound.and_then(|()| watch_notify(socket, poll));
            made |= told(log, Path::new(socket.name()), bound);
        }
        made
    }
}

/// Beside the control socket. Where that cannot be, and nobody has said where it is to be, a name will do that is no
/// file's; not every program knows such names.
fn notify_socket(config: &Config, poll: &Poll, log: &mut Log) -> Result<NotifySocket, String> {
    let socket = NotifySocket::bind(&config.control.beside(NOTIFY_SUFFIX)).or_else(|error| {
        if config.control.given {
            return Err(format!("{error} (--socket PATH puts it beside PATH)"));
        }
        let socket = NotifySocket::bind_abstract()
            .map_err(|errno| format!("{error}; nor one without a path: {}", errno.desc()))?;
        let name = Path::new(socket.name()).display();
        log.remark(&format_args!("{error}; it is {name} instead (--socket PATH puts it beside PATH)"));
        Ok(socket)
    })?;
    watch_notify(&socket, poll).map(|()| socket)
}

fn watch_notify(socket: &NotifySocket, poll: &Poll) -> Result<(), String> {
    watch(poll, &socket.as_fd(), NOTIFY, Interest::READABLE)
        .map_err(|error| format!("cannot watch the notify socket: {error}"))
}

pub(super) fn told(log: &mut Log, path: &Path, made: Result<(), String>) -> bool {
    let is_made = made.is_ok();
    let outcome = made.err().unwrap_or("made anew".to_string());
    log.remark(&format_args!("somebody has removed {}: {outcome}", path.display()));
    is_made
}

impl EventLoop {
    /// Something has happened to a file of ours.
    pub(super) fn handle_vanished(&mut self) {
        if self.places.vanished.as_mut().is_some_and(|vanished| !vanished.take().is_empty()) {
            let at = self.now() + LOOK_DELAY;
            self.places.look_at.get_or_insert(at);
        }
    }

    pub(super) fn look_after_due_places(&mut self) {
        if self.places.look_at.is_some_and(|at| at <= self.now()) {
            self.look_after_places();
        }
    }

    /// Looks at each, and makes anew what is not there.
    pub(super) fn look_after_places(&mut self) {
        /// Somebody may remove a name that was just made before it is watched: then it is looked at once more.
        const TRIES: u8 = 3;
        self.places.look_at = None;
        for _ in 0..TRIES {
            let places = self.places.mend(&self.poll, &mut self.log);
            let acks = self.acks.mend(&self.poll, &mut self.log);
            let listeners = self.look_after_paths();
            if !(places || acks || listeners) {
                return;
            }
            self.watch_places();
        }
    }

    pub(super) fn watch_places(&mut self) {
        self.places.watch_own();
        let Some(vanished) = &mut self.places.vanished else { return };
        if let Some(path) = self.acks.path() {
            vanished.watch(Path::new(path), ACKS_SOCKET);
        }
        for (index, path) in self.listeners.paths() {
            vanished.watch(path, FIRST_LISTENER + index);
        }
    }
}
