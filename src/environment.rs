//! What a worker finds in its environment.
//!
//! Everything that srvwrap was given, without what was meant for srvwrap alone, and with what `protocol/worker.md`
//! promises. It does not look at the environment of this process: that is handed in.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The notice descriptor, and behind it the listeners.
const NOTICE_FD: usize = 3;

/// Set for each worker, so an inherited value is never passed on.
const OURS: [&str; 8] = [
    "LISTEN_FD",
    "NOTIFY_FD",
    "NODE_CHANNEL_FD",
    "SRVWRAP_SLOT",
    "SRVWRAP_GENERATION",
    "SRVWRAP_PID",
    "NAUGHT_WORKER",
    "NODE_APP_INSTANCE",
];

/// Set for srvwrap by whoever started it: a worker that took them for its own would answer our manager in our name,
/// or use descriptors that it does not have.
const OUR_MANAGERS: [&str; 11] = [
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "MAINPID",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "SERVER_STARTER_PORT",
];

/// How many names are reserved, of which `LISTEN_FD_…` stands for many.
#[cfg(test)]
pub(crate) const RESERVED_COUNT: usize = OURS.len() + OUR_MANAGERS.len() + 1;

/// What differs from worker to worker.
pub(crate) struct Facts<'a> {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    /// Where it starts.
    pub(crate) directory: &'a Path,
    /// Whether the program talks over a node channel.
    pub(crate) node_channel: bool,
    /// In the order of their descriptors.
    pub(crate) listeners: &'a [Passing<'a>],
    /// Where it may say `READY=1` and its like in datagrams.
    pub(crate) notify_socket: Option<&'a OsStr>,
    /// Whether what JOURNAL_STREAM tells of srvwrap's stdout or stderr is true of the worker's.
    pub(crate) keeps_journal: bool,
}

/// A listener that is passed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing<'a> {
    pub(crate) name: Option<&'a str>,
    /// None for a unix socket.
    pub(crate) port: Option<u16>,
}

/// What a spec keeps of the environment that srvwrap was started with.
pub(crate) fn inherited(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    all.filter(|(name, _)| !is_reserved(name)).collect()
}

/// Whether this variable tells where the caller is, or whom it talks to: true of its shell, and of no server.
pub(crate) fn is_about_the_caller(name: &OsStr) -> bool {
    ["PWD", "OLDPWD", "SHLVL", "_", "SRVWRAP_SOCKET"].iter().any(|own| name == *own)
}

/// Whether nobody but srvwrap sets this variable for a worker, or nobody at all.
pub(crate) fn is_reserved(name: &OsStr) -> bool {
    let listener = name.as_bytes().starts_with(b"LISTEN_FD_");
    listener || OURS.iter().chain(&OUR_MANAGERS).any(|reserved| name == *reserved)
}

/// The environment of one worker, on top of its spec's.
pub(crate) fn of_worker(base: &[(OsString, OsString)], facts: &Facts<'_>) -> Vec<(OsString, OsString)> {
    let has_listeners = !facts.listeners.is_empty();
    let mut environment = Vec::with_capacity(base.len() + 12 + 2 * facts.listeners.len());
    // Without listeners the program listens by itself, and PORT is its own affair.
    let kept = base.iter().filter(|(name, _)| {
        !(has_listeners && name == "PORT" || !facts.keeps_journal && name == "JOURNAL_STREAM")
    });
    // PWD names the current directory, symlinks in it included; one that is somebody else's would be believed.
    environment.extend(kept.map(|(name, value)| {
        let value = if name == "PWD" { facts.directory.as_os_str() } else { value.as_os_str() };
        (name.clone(), value.to_os_string())
    }));
    let mut set = |name: &str, value: String| environment.push((name.into(), value.into()));
    set("NOTIFY_FD", NOTICE_FD.to_string());
    if facts.node_channel {
        set("NODE_CHANNEL_FD", NOTICE_FD.to_string());
    }
    if let Some(path) = facts.notify_socket {
        environment.push(("NOTIFY_SOCKET".into(), path.to_os_string()));
    }
    let mut set = |name: &str, value: String| environment.push((name.into(), value.into()));
    for name in ["SRVWRAP_SLOT", "NAUGHT_WORKER", "NODE_APP_INSTANCE"] {
        set(name, facts.slot.to_string());
    }
    set("SRVWRAP_GENERATION", facts.generation.to_string());
    set("SRVWRAP_PID", std::process::id().to_string());
    if has_listeners {
        set("LISTEN_FD", (NOTICE_FD + 1).to_string());
    }
    if let Some(port) = facts.listeners.iter().find_map(|listener| listener.port) {
        set("PORT", port.to_string());
    }
    let mut named = Vec::new();
    for (index, listener) in facts.listeners.iter().enumerate() {
        let fd = (NOTICE_FD + 1 + index).to_string();
        set(&format!("LISTEN_FD_{index}"), fd.clone());
        // Of several with one name the first is meant by it.
        if let Some(name) = listener.name.and_then(name_in_variable).filter(|name| !named.contains(name)) {
            set(&format!("LISTEN_FD_{name}"), fd);
            named.push(name);
        }
    }
    environment
}

/// The name of a listener as a variable can hold it. None where that is empty or a number, which would be taken for a
/// place among all.
fn name_in_variable(name: &str) -> Option<String> {
    let fit = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(fit).collect();
    (!name.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// Programs whose runtime takes `NODE_CHANNEL_FD` for itself. Others would hand it to children that lack the
/// descriptor, and node aborts there.
pub(crate) fn speaks_node(names: &[OsString]) -> bool {
    names.iter().any(|name| ["node", "nodejs", "bun", "deno"].iter().any(|known| name == known))
        || lets_go_of_descriptors(names).is_some()
}

/// Programs that close every descriptor of their children but the first three, by name.
pub(crate) fn lets_go_of_descriptors(names: &[OsString]) -> Option<&'static str> {
    ["npm", "npx", "yarn", "pnpm"].into_iter().find(|known| names.first().is_some_and(|name| name == known))
}
