//! What a worker finds in its environment.
//!
//! Everything that srvwrap was given, without what was meant for srvwrap alone, and with what `protocol/worker.md`
//! promises. It does not look at the environment of this process: that is handed in.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::handover::{Handover, name_in_variable};

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
const OUR_MANAGERS: [&str; 12] = [
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
    "SERVER_STARTER_GENERATION",
];

/// What begins so is one of either.
const FAMILIES: [&str; 2] = ["LISTEN_FD_", "EINHORN_"];

/// How many names are reserved, of which each family stands for many.
#[cfg(test)]
pub(crate) const RESERVED_COUNT: usize = OURS.len() + OUR_MANAGERS.len() + FAMILIES.len();

/// What differs from worker to worker.
pub(crate) struct Facts<'a> {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    /// Where it starts.
    pub(crate) directory: &'a Path,
    /// Whether the program talks over a node channel.
    pub(crate) node_channel: bool,
    pub(crate) handover: Handover<'a>,
    /// Where it may say `READY=1` and its like in datagrams.
    pub(crate) notify_socket: Option<&'a OsStr>,
    /// Where einhorn's libraries ack that know no descriptor.
    pub(crate) einhorn_socket: Option<&'a OsStr>,
    /// Whether what JOURNAL_STREAM tells of srvwrap's stdout or stderr is true of the worker's.
    pub(crate) keeps_journal: bool,
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
    let mut families = FAMILIES.iter();
    let of_one = families.any(|family| name.as_bytes().starts_with(family.as_bytes()));
    of_one || OURS.iter().chain(&OUR_MANAGERS).any(|reserved| name == *reserved)
}

/// The environment of one worker, on top of its spec's.
pub(crate) fn of_worker(base: &[(OsString, OsString)], facts: &Facts<'_>) -> Vec<(OsString, OsString)> {
    let handover = facts.handover;
    let has_listeners = !handover.listeners.is_empty();
    let mut environment = Vec::with_capacity(base.len() + 17 + 3 * handover.listeners.len());
    // Without listeners the program listens by itself, and PORT is its own affair.
    let kept = base.iter().filter(|(name, _)| {
        !(has_listeners && name == "PORT" || !facts.keeps_journal && name == "JOURNAL_STREAM")
    });
    // PWD names the current directory, symlinks in it included; one that is somebody else's would be believed.
    environment.extend(kept.map(|(name, value)| {
        let value = if name == "PWD" { facts.directory.as_os_str() } else { value.as_os_str() };
        (name.clone(), value.to_os_string())
    }));
    let srvwrap = std::process::id();
    environment.extend(handover.variables(facts.slot, facts.generation, srvwrap));
    for (name, path) in [("NOTIFY_SOCKET", facts.notify_socket), ("EINHORN_SOCK_PATH", facts.einhorn_socket)]
    {
        environment.extend(path.map(|path| (name.into(), path.to_os_string())));
    }
    let mut set = |name: &str, value: String| environment.push((name.into(), value.into()));
    set("NOTIFY_FD", handover.notice().to_string());
    if facts.node_channel {
        set("NODE_CHANNEL_FD", handover.notice().to_string());
    }
    for name in ["SRVWRAP_SLOT", "NAUGHT_WORKER", "NODE_APP_INSTANCE"] {
        set(name, facts.slot.to_string());
    }
    set("SRVWRAP_GENERATION", facts.generation.to_string());
    set("SRVWRAP_PID", srvwrap.to_string());
    if has_listeners {
        set("LISTEN_FD", handover.listener(0).to_string());
    }
    if let Some(port) = handover.port() {
        set("PORT", port.to_string());
    }
    let mut named = Vec::new();
    for (index, listener) in handover.listeners.iter().enumerate() {
        let fd = handover.listener(index).to_string();
        set(&format!("LISTEN_FD_{index}"), fd.clone());
        // Of several with one name the first is meant by it.
        if let Some(name) = listener.name.and_then(name_in_variable).filter(|name| !named.contains(name)) {
            set(&format!("LISTEN_FD_{name}"), fd);
            named.push(name);
        }
    }
    environment
}

/// Programs whose runtime takes `NODE_CHANNEL_FD` for itself. Others would hand it to children that lack the
/// descriptor, and node aborts there.
pub(crate) fn speaks_node(names: &[OsString]) -> bool {
    names.iter().any(|name| ["node", "nodejs", "bun", "deno"].iter().any(|known| name == known))
        || lets_go_of_descriptors(names).is_some()
}

/// Programs that close every descriptor of their children but the first three, by name.
pub(crate) fn lets_go_of_descriptors(names: &[OsString]) -> Option<&'static str> {
    let all = ["npm", "npx", "yarn", "pnpm", "tsx", "nodemon"];
    all.into_iter().find(|known| names.first().is_some_and(|name| name == known))
}
