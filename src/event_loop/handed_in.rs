//! What is taken before srvwrap opens anything of its own: sockets that somebody else has made, and who is to own ours.
//!
//! ```text
//!   Config ──> HandedIn::take ──> Listeners::bind
//!              fd:N, LISTEN_FDS, launchd
//! ```
//!
//! A daemon takes them before it leaves its caller: `LISTEN_PID` and launchd speak of that process.
//!
//! What this file does not do: bind, or close what is listened on.

use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::USAGE;
use crate::config::{Address, Config, Listener as Wanted};
use crate::sys::listener::{Access, Listener};
use crate::sys::{accounts, inherited, launchd};

use super::Refusal;

#[derive(Debug)]
pub(crate) struct HandedIn {
    /// For each listener that is wanted, in their order; none where it is to be bound.
    sockets: Vec<Vec<Listener>>,
    /// For the paths that are bound here.
    pub(crate) access: Access,
    /// That some were closed, or not for us, in one sentence.
    pub(crate) remark: Option<String>,
}

impl HandedIn {
    /// All or none. To be called first, and once.
    pub(crate) fn take(config: &Config) -> Result<HandedIn, Refusal> {
        let access = access(config)
            .map_err(|error| Refusal { code: USAGE, sentence: format!("--unix-owner: {error}") })?;
        // First, while their numbers cannot be anybody else's.
        let remark = close_unused(&config.handed_in.unused).or(config.handed_in.for_another.clone());
        let mut sockets = Vec::new();
        for wanted in &config.listeners {
            sockets.push(take_one(wanted, config)?);
        }
        Ok(HandedIn { sockets, access, remark })
    }

    /// Their numbers: a daemon is to keep these.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.sockets.iter().flatten().map(|socket| socket.as_fd().as_raw_fd())
    }

    /// Those of one of the listeners that are wanted, by its place among them.
    pub(crate) fn of(&mut self, index: usize) -> Vec<Listener> {
        self.sockets.get_mut(index).map(std::mem::take).unwrap_or_default()
    }
}

fn access(config: &Config) -> Result<Access, String> {
    let unix = &config.unix;
    let uid = unix.user.as_deref().map(accounts::user).transpose()?;
    let gid = unix.group.as_deref().map(accounts::group).transpose()?;
    Ok(Access { mode: unix.mode, uid, gid })
}

fn take_one(wanted: &Wanted, config: &Config) -> Result<Vec<Listener>, String> {
    match &wanted.address {
        Address::Port(_) | Address::Tcp(_) | Address::Unix(_) | Address::Abstract(_) => Ok(Vec::new()),
        Address::Fd(number) => {
            let named = named(*number, wanted.name.as_deref());
            let by = config.handed_in.variable.map_or_else(String::new, |variable| format!(" of {variable}"));
            let fd = inherited::take(*number).map_err(|what| unfit(&format!("{named}{by}: it"), what))?;
            Ok(vec![owned(fd, &format!("fd {number}"), config)?])
        }
        Address::Launchd(name) => {
            let object = format!("the sockets {name} of launchd");
            let fds =
                launchd::activate(name).map_err(|error| format!("cannot take over {object}: {error}"))?;
            let mut sockets = Vec::new();
            for fd in fds {
                inherited::check(fd.as_fd()).map_err(|what| unfit(&format!("{object}: one"), what))?;
                sockets.push(owned(fd, "launchd", config)?);
            }
            Ok(sockets)
        }
    }
}

fn unfit(object: &str, what: &str) -> String {
    format!("cannot take over {object} is {what}, and a stream socket that listens is needed")
}

fn owned(fd: OwnedFd, from: &str, config: &Config) -> Result<Listener, String> {
    Listener::handed_in(fd, from, config.handed_in.by_srvwrap)
        .map_err(|errno| format!("cannot take over {from}: {}", errno.desc()))
}

fn named(number: RawFd, name: Option<&str>) -> String {
    name.map_or(format!("fd {number}"), |name| format!("fd {number} ({name})"))
}

/// What is something else than a listening socket was not handed over, whatever a variable says, and is left alone.
fn close_unused(unused: &[Wanted]) -> Option<String> {
    let mut closed = String::new();
    for wanted in unused {
        let Address::Fd(number) = wanted.address else { continue };
        if inherited::take(number).is_ok() {
            let separator = if closed.is_empty() { "" } else { ", " };
            let _ = write!(closed, "{separator}{}", named(number, wanted.name.as_deref()));
        }
    }
    let advice =
        "handed in and closed, because -p or --launchd-socket says where to listen (-p fd:N would keep it)";
    (!closed.is_empty()).then(|| format!("{closed}: {advice}"))
}
