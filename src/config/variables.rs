//! Variables for the workers' environment, byte for byte.
//!
//! An error shows the name of a variable and not its value, which may be a secret.
//!
//! What this module does not do: look at the environment, or know what a variable means to a worker.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::Listener;
use crate::cli::{Given, UsageError};
use crate::environment::is_reserved;

type Variable = (OsString, OsString);

/// Those of `--env`, in their order.
pub(super) fn set(given: &[Given]) -> Result<Vec<Variable>, UsageError> {
    let mut variables: Vec<Variable> = Vec::new();
    for given in given {
        let (name, value) = variable(given)?;
        if variables.iter().any(|(earlier, _)| *earlier == name) {
            return Err(given.showing(&name).refused_with("given twice; give it once"));
        }
        variables.push((name, value));
    }
    Ok(variables)
}

/// `NAME=VALUE`.
fn variable(given: &Given) -> Result<Variable, UsageError> {
    let bytes = given.value.as_bytes();
    let Some(place) = bytes.iter().position(|byte| *byte == b'=') else {
        return Err(given.refused("its value is missing"));
    };
    let name = OsStr::from_bytes(&bytes[..place]);
    let shown = given.showing(name);
    if name.is_empty() {
        return Err(shown.refused("its name is missing"));
    }
    refuse_reserved(&shown)?;
    Ok((name.to_os_string(), OsStr::from_bytes(&bytes[place + 1..]).to_os_string()))
}

/// The names of `--unset`, in their order.
pub(super) fn unset(given: &[Given], set: &[Variable]) -> Result<Vec<OsString>, UsageError> {
    let mut names = Vec::new();
    for given in given {
        let name = given.value.clone();
        if name.as_bytes().contains(&b'=') {
            return Err(given.refused("a name holds no ="));
        }
        refuse_reserved(given)?;
        if set.iter().any(|(set, _)| *set == name) {
            return Err(given.refused_with("--env sets it; give only one of them"));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Its value is the name of a variable.
fn refuse_reserved(given: &Given) -> Result<(), UsageError> {
    if is_reserved(&given.value) {
        return Err(
            given.refused_with("this variable is set by srvwrap, or kept from the workers; leave it out")
        );
    }
    if given.value == "PWD" {
        return Err(given.refused_with("it is the directory of the workers; give --cwd"));
    }
    Ok(())
}

/// Refuses a PORT that no worker would see.
pub(super) fn port_is_free(given: &[Given], listeners: &[Listener]) -> Result<(), UsageError> {
    let port = given.iter().find(|given| given.value.as_bytes().starts_with(b"PORT="));
    match port.filter(|_| !listeners.is_empty()) {
        Some(given) => Err(given
            .showing(OsStr::new("PORT"))
            .refused_with("workers get the port of the first socket in it; leave it or -p out")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
