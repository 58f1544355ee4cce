//! The commands, by name.

use std::ffi::OsStr;

/// A command: the very first word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Run,
    Start,
    Deploy,
    Abort,
    Rollback,
    History,
    Scale,
    Stop,
    Status,
    Events,
    Signal,
    Reopen,
    Logs,
    Check,
}

/// Commands that later versions have: a program of such a name is not run by accident in this one.
const FUTURE: [&str; 2] = ["pause", "resume"];

pub(super) fn is_future(word: &OsStr) -> bool {
    FUTURE.iter().any(|name| word == *name)
}

impl Verb {
    pub(crate) const ALL: [Verb; 14] = [
        Verb::Run,
        Verb::Start,
        Verb::Deploy,
        Verb::Abort,
        Verb::Rollback,
        Verb::History,
        Verb::Scale,
        Verb::Stop,
        Verb::Status,
        Verb::Events,
        Verb::Signal,
        Verb::Reopen,
        Verb::Logs,
        Verb::Check,
    ];

    /// The command of this name, or of the name that naught has for it.
    pub(super) fn named(word: &OsStr) -> Option<Verb> {
        if word == "deploy-abort" {
            return Some(Verb::Abort);
        }
        Verb::ALL.into_iter().find(|verb| word == verb.name())
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Verb::Run => "run",
            Verb::Start => "start",
            Verb::Deploy => "deploy",
            Verb::Abort => "abort",
            Verb::Rollback => "rollback",
            Verb::History => "history",
            Verb::Scale => "scale",
            Verb::Stop => "stop",
            Verb::Status => "status",
            Verb::Events => "events",
            Verb::Signal => "signal",
            Verb::Reopen => "reopen",
            Verb::Logs => "logs",
            Verb::Check => "check",
        }
    }

    /// As it is called: `srvwrap deploy`.
    pub(super) fn called(self) -> String {
        if self == Verb::Run { "srvwrap".to_string() } else { format!("srvwrap {}", self.name()) }
    }

    /// Fits the first column of the list of commands.
    pub(super) fn short_usage(self) -> &'static str {
        match self {
            Verb::Run => "run PROGRAM",
            Verb::Start => "start PROGRAM",
            Verb::Deploy => "deploy [-- PROGRAM]",
            Verb::Scale => "scale N|+K|-K",
            Verb::Signal => "signal NAME",
            Verb::Logs => "logs [-f]",
            Verb::Check => "check PROGRAM",
            Verb::Abort | Verb::Rollback | Verb::History | Verb::Stop => self.name(),
            Verb::Status | Verb::Events | Verb::Reopen => self.name(),
        }
    }

    pub(super) fn usage(self) -> &'static str {
        match self {
            Verb::Run => "srvwrap [run] [OPTIONS] [--] PROGRAM [ARGS...]",
            Verb::Start => "srvwrap start [OPTIONS] [--] PROGRAM [ARGS...]",
            Verb::Deploy => "srvwrap deploy [OPTIONS] [SOCKET] [-- PROGRAM [ARGS...]]",
            Verb::Abort => "srvwrap abort [OPTIONS] [SOCKET]",
            Verb::Rollback => "srvwrap rollback [OPTIONS] [SOCKET]",
            Verb::History => "srvwrap history [OPTIONS] [SOCKET]",
            Verb::Scale => "srvwrap scale [OPTIONS] N|+K|-K [SOCKET]",
            Verb::Stop => "srvwrap stop [OPTIONS] [SOCKET]",
            Verb::Status => "srvwrap status [OPTIONS] [SOCKET]",
            Verb::Events => "srvwrap events [OPTIONS] [SOCKET]",
            Verb::Signal => "srvwrap signal [OPTIONS] NAME [SOCKET]",
            Verb::Reopen => "srvwrap reopen [OPTIONS] [SOCKET]",
            Verb::Logs => "srvwrap logs [OPTIONS] [SOCKET]",
            Verb::Check => "srvwrap check [OPTIONS] [--] PROGRAM [ARGS...]",
        }
    }

    /// One line, also in the list of commands.
    pub(super) fn summary(self) -> &'static str {
        match self {
            Verb::Run => "Run a program in the foreground, until it is told to stop.",
            Verb::Start => "Run a program in the background; return once it is online.",
            Verb::Deploy => "Replace the workers without losing a connection, or fail.",
            Verb::Abort => "End the deploy in progress.",
            Verb::Rollback => "Deploy what ran before the last deploy.",
            Verb::History => "Show the last deploys: who, when, what, and the result.",
            Verb::Scale => "Change the number of workers.",
            Verb::Stop => "Tell the workers to finish, and end.",
            Verb::Status => "Show the workers, the sockets and the deploy in progress.",
            Verb::Events => "Show what happens, as it happens.",
            Verb::Signal => "Send a signal to the workers that are online.",
            Verb::Reopen => "Open the log files anew, after something moved them.",
            Verb::Logs => "Show the last lines of the log files, and what follows.",
            Verb::Check => "Try whether a program keeps the worker protocol.",
        }
    }
}
