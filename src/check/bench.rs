//! What all lives of a program share: the listeners, the names at which it may speak, and the signals to srvwrap.
//!
//! What this file does not do: make a process (`life.rs`).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use crate::config::Listener as Wanted;
use crate::core::Spec;
use crate::environment;
use crate::event_loop::{HandedIn, Refusal, bind, shown};
use crate::handover::{Handover, Passing, Place, Protocol};
use crate::sys::children::{self, Pid};
use crate::sys::control::ControlSocket;
use crate::sys::listener::{Listener, Remedy};
use crate::sys::notify_socket::NotifySocket;
use crate::sys::program;
use crate::sys::scratch::Scratch;
use crate::sys::signals::Signals;
use crate::sys::startup::Startup;
use crate::{USAGE, complain};

use super::Check;

pub(super) struct Bench {
    pub(super) check: Check,
    pub(super) spec: Spec,
    pub(super) startup: Startup,
    pub(super) signals: Signals,
    pub(super) listeners: Vec<Bound>,
    /// Where programs of `--protocol systemd` speak.
    pub(super) notify: Option<NotifySocket>,
    /// The same of einhorn's.
    pub(super) acks: Option<ControlSocket>,
    pub(super) node_channel: bool,
    pub(super) runner: Option<&'static str>,
    /// Children that were there before: whoever started srvwrap has left them.
    pub(super) others: BTreeSet<Pid>,
    /// Dropped after the sockets in it.
    _scratch: Option<Scratch>,
}

pub(super) struct Bound {
    name: Option<String>,
    /// As an operator reads it, with the port that was really bound.
    pub(super) address: String,
    pub(super) socket: Listener,
}

impl Bench {
    /// Everything, or a reason and nothing.
    pub(super) fn set_up(check: Check, spec: Spec, startup: Startup) -> Result<Bench, Refusal> {
        let mut handed_in = HandedIn::take(&check.config)?;
        if let Some(remark) = &handed_in.remark {
            complain(remark);
        }
        let listeners = listeners(&check.config.listeners, &mut handed_in)?;
        let (mut notify, mut acks, mut scratch) = (None, None, None);
        if matches!(check.config.policy.protocol, Protocol::Systemd | Protocol::Einhorn) {
            let made =
                Scratch::new().map_err(|errno| format!("cannot make a directory: {}", errno.desc()))?;
            if check.config.policy.protocol == Protocol::Systemd {
                let path = made.path().join("notify");
                notify = Some(NotifySocket::bind(&path).map_err(|error| error.to_string())?);
            } else {
                let path = made.path().join("einhorn");
                acks = Some(ControlSocket::bind(&path).map_err(|error| error.to_string())?);
            }
            scratch = Some(made);
        }
        let path = spec.environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_os_str());
        let word = spec.argv.first().map(OsString::as_os_str).unwrap_or(OsStr::new(""));
        let names = program::names_of(word, path, &spec.directory);
        let others = children::children().into_iter().collect();
        let signals =
            Signals::install(&startup).map_err(|error| format!("cannot handle signals: {error}"))?;
        let bench = Bench {
            node_channel: check.config.node_channel || environment::speaks_node(&names),
            runner: environment::lets_go_of_descriptors(&names),
            check,
            spec,
            startup,
            signals,
            listeners,
            notify,
            acks,
            others,
            _scratch: scratch,
        };
        let passing = bench.passing();
        let unfit = bench.handover(&passing).check(&bench.spec.argv).err();
        match unfit {
            Some(unfit) => Err(Refusal { code: USAGE, sentence: unfit.to_string() }),
            None => Ok(bench),
        }
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.listeners.iter().map(|bound| bound.address.clone()).collect()
    }

    /// As a worker is told of them.
    pub(super) fn passing(&self) -> Vec<Passing<'_>> {
        self.listeners.iter().map(Bound::passing).collect()
    }

    pub(super) fn handover<'a>(&self, passing: &'a [Passing<'a>]) -> Handover<'a> {
        Handover { protocol: self.check.config.policy.protocol, listeners: passing }
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        for bound in &self.listeners {
            bound.socket.set_nonblocking(nonblocking);
        }
    }

    /// Undoes what a life has done to the listeners. Returns the addresses of those that it has shut down. An error
    /// says that one is lost.
    pub(super) fn mend(&mut self) -> Result<Vec<String>, Refusal> {
        let mut shut = Vec::new();
        for bound in &mut self.listeners {
            if !bound.socket.is_listening() {
                shut.push(bound.address.clone());
                let mended = match bound.socket.remedy() {
                    Remedy::Heal => bound.socket.heal(),
                    Remedy::BindAnew => bound.socket.bind_anew(),
                };
                mended.map_err(|error| {
                    Refusal::from(format!("the program has shut down a listener: {error}"))
                })?;
            }
            // Its backlog, which the program may have changed, is for the next life.
            let _ = bound.socket.listen_again();
        }
        self.set_nonblocking(false);
        Ok(shut)
    }
}

impl Bound {
    fn passing(&self) -> Passing<'_> {
        let path = || Place::Unix(self.socket.path().map(|path| path.as_os_str()).unwrap_or_default());
        let place = self.socket.local_address().map_or_else(path, Place::Tcp);
        Passing { name: self.name.as_deref(), place }
    }
}

/// All or none.
fn listeners(wanted: &[Wanted], handed_in: &mut HandedIn) -> Result<Vec<Bound>, String> {
    let mut listeners = Vec::new();
    for (index, Wanted { name, address }) in wanted.iter().enumerate() {
        let mut sockets = handed_in.of(index);
        if let Some(bound) = bind(address, handed_in.access) {
            sockets.push(bound.map_err(|error| error.to_string())?);
        }
        for socket in sockets {
            listeners.push(Bound { name: name.clone(), address: shown(address, &socket), socket });
        }
    }
    Ok(listeners)
}
