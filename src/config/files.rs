//! The control socket and the files that srvwrap writes: what can be the path of one, and which are too many for one
//! path.
//!
//! What this module does not do: look at the file system, so two names of one file are two files.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Address, ControlPath, EINHORN_SUFFIX, Listener, NOTIFY_SUFFIX, Surroundings, absolute, logs};
use crate::cli::{Given, Typed, UsageError};
use crate::handover::Protocol;
use crate::logs::LogPath;

/// What `sun_path` of unix(7) holds beside the zero byte at its end; directories do not count, since the socket is
/// reached from the one that it is in.
const LONGEST_NAME: usize = 107;

/// The option, else the environment's, else the one in the caller's directory.
pub(super) fn control(
    option: Option<&Given>,
    surroundings: &Surroundings,
) -> Result<ControlPath, UsageError> {
    let variable = surroundings.srvwrap_socket.clone().filter(|path| !path.is_empty());
    let variable = variable.map(|path| Given::from_environment("--socket", "SRVWRAP_SOCKET", path));
    let Some(given) = option.or(variable.as_ref()) else {
        return Ok(ControlPath { path: surroundings.directory.join("srvwrap.sock"), given: false });
    };
    let path = file(given, surroundings)?;
    let length = path.file_name().map_or(0, |name| name.len());
    if length > LONGEST_NAME {
        return Err(given.refused_with(format!(
            "the name of a socket has at most {LONGEST_NAME} bytes, and this one {length}; give a shorter one"
        )));
    }
    Ok(ControlPath { path, given: true })
}

/// A path that can be that of a file.
fn file(given: &Given, surroundings: &Surroundings) -> Result<PathBuf, UsageError> {
    let path = absolute(&given.value, surroundings);
    let names_a_directory = given.value.as_bytes().ends_with(b"/") || path.file_name().is_none();
    if names_a_directory { Err(given.refused("this is a directory")) } else { Ok(path) }
}

/// Refuses files that cannot be, or that something else is already. Logs alone may be one file: they are appended to.
pub(super) fn are_apart(
    typed: &Typed,
    in_background: bool,
    control: &ControlPath,
    protocol: Protocol,
    listeners: &[Listener],
    surroundings: &Surroundings,
) -> Result<(), UsageError> {
    let options = &typed.options;
    refuse_listener_at(control, options.socket.as_ref(), &options.listen, listeners)?;
    let own = own_sockets(control, protocol);
    refuse_listener_beside(&own, &options.listen, listeners)?;
    let places = logs::places(options, in_background);
    let logs: Vec<(&Given, LogPath)> =
        places.iter().filter_map(|given| Some((given, logs::path(given, surroundings)?))).collect();
    for (given, log) in &logs {
        file(given, surroundings)?;
        refuse_taken(given, |path| log.leads_to(path), &own, listeners)?;
    }
    let Some(given) = &options.pid_file else { return Ok(()) };
    let pid_file = file(given, surroundings)?;
    refuse_taken(given, |path| pid_file == path, &own, listeners)?;
    logs::refuse_archive(given, &pid_file, &logs)?;
    match logs.iter().find(|(_, log)| log.leads_to(&pid_file)) {
        Some((log, _)) => Err(given.refused_with(format!("{log} is the same file; give another path"))),
        None => Ok(()),
    }
}

/// The control socket, and what lies beside it where workers need it; each with what it is.
fn own_sockets(control: &ControlPath, protocol: Protocol) -> Vec<(PathBuf, &'static str)> {
    let mut own = vec![(control.path.clone(), "the control socket")];
    own.extend(match protocol {
        Protocol::Systemd => Some((control.beside(NOTIFY_SUFFIX), "the notify socket of --protocol systemd")),
        Protocol::Einhorn => Some((control.beside(EINHORN_SUFFIX), "the socket of --protocol einhorn")),
        Protocol::Srvwrap | Protocol::ServerStarter | Protocol::Stdin => None,
    });
    own
}

fn refuse_taken(
    given: &Given,
    leads_to: impl Fn(&Path) -> bool,
    own: &[(PathBuf, &str)],
    listeners: &[Listener],
) -> Result<(), UsageError> {
    let listens = |listener: &Listener| matches!(&listener.address, Address::Unix(path) if leads_to(path));
    if let Some((_, what)) = own.iter().find(|(path, _)| leads_to(path)) {
        Err(given.refused_with(format!("{what} is there; give another path")))
    } else if listeners.iter().any(listens) {
        Err(given.refused_with("-p listens there; give another path"))
    } else {
        Ok(())
    }
}

fn refuse_listener_at(
    control: &ControlPath,
    option: Option<&Given>,
    listen: &[Given],
    listeners: &[Listener],
) -> Result<(), UsageError> {
    let taken = listen.iter().zip(listeners).find(|(_, listener)| is_at(listener, &control.path));
    match (taken, option) {
        (None, _) => Ok(()),
        (Some((listen, _)), Some(option)) => {
            Err(option.refused_with(format!("{listen} listens there; give another path")))
        }
        (Some((listen, _)), None) => {
            Err(listen.refused_with("the control socket is there; give another path, or another --socket"))
        }
    }
}

fn refuse_listener_beside(
    own: &[(PathBuf, &str)],
    listen: &[Given],
    listeners: &[Listener],
) -> Result<(), UsageError> {
    for (listen, listener) in listen.iter().zip(listeners) {
        if let Some((_, what)) = own.iter().find(|(path, _)| is_at(listener, path)) {
            return Err(
                listen.refused_with(format!("{what} is there; give another path, or another --socket"))
            );
        }
    }
    Ok(())
}

fn is_at(listener: &Listener, path: &Path) -> bool {
    matches!(&listener.address, Address::Unix(taken) if taken == path)
}

#[cfg(test)]
pub(super) mod tests;
