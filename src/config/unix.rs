//! Who may connect to the unix sockets of `-p`, and whose they are: `--unix-mode`, `--unix-owner`.
//!
//! What this module does not do: know users and groups. A name is one until it is looked up.

use super::{Address, Listener};
use crate::cli::{Given, Options, UsageError};

/// What the paths of unix listeners get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnixAccess {
    /// At most 0o777. Unless it is said otherwise everybody who can reach the path may connect, whatever the umask.
    /// That is what nginx, systemd and gunicorn do, and what a proxy that runs as another user needs; a directory
    /// keeps others out.
    pub(crate) mode: u32,
    /// As they were written: `www-data` or `33`.
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
}

pub(super) fn access(options: &Options, listeners: &[Listener]) -> Result<UnixAccess, UsageError> {
    let has_path = listeners.iter().any(|listener| matches!(listener.address, Address::Unix(_)));
    if let Some(given) = options.unix_mode.typed().or(options.unix_owner.as_ref()).filter(|_| !has_path) {
        return Err(
            given.refused_with("no unix socket of srvwrap's own has a path; give one, as in -p unix:PATH")
        );
    }
    let [user, group] = match &options.unix_owner {
        Some(given) => owner(given)?,
        None => [None, None],
    };
    Ok(UnixAccess { mode: mode(&options.unix_mode)?, user, group })
}

fn mode(given: &Given) -> Result<u32, UsageError> {
    let text = given.text();
    let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if is_octal && mode <= 0o777 => Ok(mode),
        _ => Err(given.refused("not the mode of a socket, 000 to 777")),
    }
}

/// User and group, at least one of them.
fn owner(given: &Given) -> Result<[Option<String>; 2], UsageError> {
    let text = given.text();
    let (user, group) = match text.split_once(':') {
        Some((_, "")) => return Err(given.refused("its group is missing")),
        Some((user, group)) => (user, Some(group.to_string())),
        None => (text, None),
    };
    if user.is_empty() && group.is_none() || group.as_ref().is_some_and(|group| group.contains(':')) {
        return Err(given.refused("not an owner"));
    }
    Ok([(!user.is_empty()).then(|| user.to_string()), group])
}

#[cfg(test)]
mod tests;
