//! Sockets that whoever started srvwrap hands over by variables.
//!
//! | set | hands over |
//! |---|---|
//! | `LISTEN_FDS=2` `LISTEN_PID=`our pid `LISTEN_FDNAMES=a:b` | 3 and 4, named a and b: systemd's way |
//! | `LISTEN_FD=4` `LISTEN_FD_0=4` `LISTEN_FD_1=5` `LISTEN_FD_HTTP=4` | 4, named http, and 5: our way, and naught's |
//!
//! They are used where no address is given; where one is, they are closed, but for those that `fd:N` names.
//! `LISTEN_FDS` is addressed to one process. Where that is us, it alone counts: `LISTEN_FD` may be left over from a
//! parent's parent. For the same reason `LISTEN_FD_0` and the rest count only where the first of them is `LISTEN_FD`.
//!
//! What this module does not do: look at descriptors.

use std::ffi::{OsStr, OsString};

use super::address::number;
use super::{Address, Listener, Surroundings};
use crate::cli::{UsageError, shown};

/// What is to be known of sockets that somebody else has made, beside which of them are listened on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HandedIn {
    /// The variable that the listeners come from, where they do.
    pub(crate) variable: Option<&'static str>,
    /// Handed over by a variable, and not used because an address is given.
    pub(crate) unused: Vec<Listener>,
    /// That there are sockets for another process, where there are none for this one: a sentence.
    pub(crate) for_another: Option<String>,
    /// The notice descriptor, where a srvwrap above us has given one, or somebody who does as it does.
    pub(crate) notice_fd: Option<i32>,
    /// Whether a srvwrap above us has started us, whose other workers may share the sockets.
    pub(crate) by_srvwrap: bool,
}

const FIRST_OF_SYSTEMD: usize = 3;
/// More than any process is handed; a wrong number is not to cost memory.
const MOST_SOCKETS: usize = 65_535;
/// What systemd allows.
const LONGEST_NAME: usize = 255;

/// What is listened on: what is given on the command line, else what is handed over.
pub(super) fn listeners(
    mut given: Vec<Listener>,
    surroundings: &Surroundings,
) -> Result<(Vec<Listener>, HandedIn), UsageError> {
    let of_ours = HandedIn {
        by_srvwrap: value(surroundings, "SRVWRAP_PID").is_some(),
        notice_fd: value(surroundings, "NOTIFY_FD").and_then(|text| text.to_str()?.parse().ok()),
        ..HandedIn::default()
    };
    let found = handed_over(surroundings);
    if given.is_empty() {
        let Some((variable, listeners)) = found? else {
            let for_another = for_another(surroundings);
            return Ok((given, HandedIn { for_another, ..of_ours }));
        };
        let variable = Some(variable);
        return Ok((listeners, HandedIn { variable, ..of_ours }));
    }
    // Where it is not used it need not make sense.
    let mut unused = found.ok().flatten().map(|(_, listeners)| listeners).unwrap_or_default();
    for listener in &mut given {
        let Some(at) = unused.iter().position(|other| other.address == listener.address) else { continue };
        let named = unused.remove(at);
        listener.name = listener.name.take().or(named.name);
    }
    Ok((given, HandedIn { unused, ..of_ours }))
}

/// A shell between systemd and us is the usual reason.
fn for_another(surroundings: &Surroundings) -> Option<String> {
    value(surroundings, "LISTEN_FDS")?;
    let whose = match value(surroundings, "LISTEN_PID") {
        Some(pid) => format!("LISTEN_PID={} is another process", shown(pid)),
        None => "there is no LISTEN_PID".to_string(),
    };
    Some(format!("LISTEN_FDS is ignored: {whose} (a shell that starts srvwrap has to exec it)"))
}

/// The variable that says so, and what it hands over, at least one.
fn handed_over(surroundings: &Surroundings) -> Result<Option<(&'static str, Vec<Listener>)>, UsageError> {
    let ours = value(surroundings, "LISTEN_PID").and_then(OsStr::to_str).and_then(|pid| pid.parse().ok());
    let of_systemd = if ours == Some(surroundings.pid) { by_systemd(surroundings)? } else { Vec::new() };
    if !of_systemd.is_empty() {
        return Ok(Some(("LISTEN_FDS", of_systemd)));
    }
    let of_others = by_number(surroundings)?;
    Ok((!of_others.is_empty()).then_some(("LISTEN_FD", of_others)))
}

fn by_systemd(surroundings: &Surroundings) -> Result<Vec<Listener>, UsageError> {
    let Some(count) = value(surroundings, "LISTEN_FDS") else { return Ok(Vec::new()) };
    let names: Vec<&[u8]> = match value(surroundings, "LISTEN_FDNAMES") {
        Some(names) => names.as_encoded_bytes().split(|byte| *byte == b':').collect(),
        None => Vec::new(),
    };
    let refused = |because: &str| Err(wrong("LISTEN_FDS", count, because));
    let count = match count.to_str().and_then(number).and_then(|count| usize::try_from(count).ok()) {
        Some(count) if count <= MOST_SOCKETS => count,
        Some(_) => return refused("too many sockets"),
        None => return refused("not a number of sockets"),
    };
    if names.len() > count {
        return refused(&format!("LISTEN_FDNAMES has {} names", names.len()));
    }
    let mut listeners = Vec::new();
    for index in 0..count {
        let Some(name) = socket_name(names.get(index).copied().unwrap_or_default()) else {
            let all = value(surroundings, "LISTEN_FDNAMES").unwrap_or_default();
            let name = names.get(index).copied().unwrap_or_default();
            return Err(UsageError::BadWord {
                word: assigned("LISTEN_FDNAMES", all),
                // What looks like a letter of ASCII may be none.
                because: format!(
                    "name {}, {}, is not 1 to {LONGEST_NAME} printable letters of ASCII; give the socket another one",
                    index + 1,
                    name.escape_ascii()
                ),
            });
        };
        listeners.push(listener(FIRST_OF_SYSTEMD + index, name));
    }
    Ok(listeners)
}

/// None for what cannot be a name; an empty one is none.
fn socket_name(bytes: &[u8]) -> Option<Option<String>> {
    let is_name =
        bytes.len() <= LONGEST_NAME && bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b':');
    let name = std::str::from_utf8(bytes).ok().filter(|_| is_name)?;
    Some((!name.is_empty()).then(|| name.to_string()))
}

fn by_number(surroundings: &Surroundings) -> Result<Vec<Listener>, UsageError> {
    let first = descriptor(surroundings, "LISTEN_FD")?;
    let mut all: Vec<usize> = first.into_iter().collect();
    // They may be somebody else's, and then need not be numbers.
    let mut count = 0;
    if first.is_some() && matches!(descriptor(surroundings, "LISTEN_FD_0"), Ok(zeroth) if zeroth == first) {
        for index in 1..MOST_SOCKETS {
            count = index;
            let Some(next) = descriptor(surroundings, &format!("LISTEN_FD_{index}"))? else { break };
            if !all.contains(&next) {
                all.push(next);
            }
        }
    }
    if count > 0 || value(surroundings, "LISTEN_FD_0").is_none() {
        refuse_gap(surroundings, count)?;
    }
    Ok(all.into_iter().map(|fd| listener(fd, name_of(surroundings, fd))).collect())
}

/// Nobody would listen on a socket that is behind a gap.
fn refuse_gap(surroundings: &Surroundings, missing: usize) -> Result<(), UsageError> {
    let behind = |(variable, _): &&(OsString, OsString)| {
        let number = variable.to_str().and_then(|name| name.strip_prefix("LISTEN_FD_")).and_then(number);
        number.and_then(|number| usize::try_from(number).ok()).is_some_and(|number| number > missing)
            && value(surroundings, variable).is_some()
    };
    match surroundings.environment.iter().find(behind) {
        Some((variable, value)) => {
            let variable = variable.to_string_lossy();
            Err(wrong(&variable, value, &format!("there is no LISTEN_FD_{missing}")))
        }
        None => Ok(()),
    }
}

fn listener(fd: usize, name: Option<String>) -> Listener {
    Listener { name, address: Address::Fd(i32::try_from(fd).expect("few enough")) }
}

/// Our own way of saying it: the variable has the name in upper case.
fn name_of(surroundings: &Surroundings, fd: usize) -> Option<String> {
    surroundings.environment.iter().find_map(|(variable, value)| {
        let suffix = variable.to_str()?.strip_prefix("LISTEN_FD_")?;
        let is_number = suffix.bytes().all(|byte| byte.is_ascii_digit());
        let means_it =
            value.to_str().and_then(number).and_then(|found| usize::try_from(found).ok()) == Some(fd);
        if is_number || !means_it { None } else { socket_name(suffix.to_ascii_lowercase().as_bytes())? }
    })
}

fn descriptor(surroundings: &Surroundings, variable: &str) -> Result<Option<usize>, UsageError> {
    let Some(text) = value(surroundings, variable) else { return Ok(None) };
    match text.to_str().and_then(number) {
        Some(1 | 2) => Err(wrong(variable, text, "1 and 2 are srvwrap's stdout and stderr")),
        Some(number) => Ok(usize::try_from(number).ok()),
        None => Err(wrong(variable, text, "not the number of a descriptor")),
    }
}

/// An empty one counts as none.
fn value(surroundings: &Surroundings, variable: impl AsRef<OsStr>) -> Option<&OsStr> {
    let found = surroundings.environment.iter().find(|(name, _)| name == variable.as_ref());
    found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
}

fn wrong(variable: &str, value: &OsStr, problem: &str) -> UsageError {
    let because = format!("{problem}; unset it, or say by -p where to listen");
    UsageError::BadWord { word: assigned(variable, value), because }
}

fn assigned(variable: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(format!("{variable}="));
    word.push(value);
    word
}

#[cfg(test)]
mod tests;
