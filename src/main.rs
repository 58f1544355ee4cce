//! srvwrap runs any network server as N processes on one set of listening sockets, restarts them when they die, and
//! replaces them without dropping a connection.
//!
//! A bird's-eye view:
//!
//! ```text
//!   argv ── cli ──> Typed ── config ──> Config        what was typed, and what was meant
//!                                          │
//!   kernel <── sys ──> event_loop <──> core           facts of the system <-> decisions
//!                        │ │   └── wire               bytes <-> messages
//!                        │ └── log                    notices, as lines
//!                        └── logs ──> log_writer      lines of workers ──> files, by a process of its own
//! ```
//!
//! - [`core`] decides: a finite state machine of workers, generations and what is asked for. Pure and simulated.
//! - [`wire`] turns what workers write into messages. Pure.
//! - [`sys`] touches the operating system and decides nothing. All `unsafe` is there.
//! - [`event_loop`] is the only place where these meet in what supervises, and has its only clock.
//! - [`client`] is the other side of the control socket: the commands that talk to a running srvwrap.
//! - [`check`] runs a program for a while, to see whether it keeps the worker protocol. It has no loop, and a clock of
//!   its own.
//! - [`start`] makes a daemon of what `run` is in the foreground, and waits for it to be online.
//! - [`logs`] is what becomes of lines: cut, formed, waiting, in files that are rotated. Pure and simulated.
//!   [`log_writer`] is the process that writes those files, with a loop of its own.
//! - [`handover`] is how workers are handed the sockets, and [`environment`] what else they find. Both are pure, as are
//!   [`cli`], [`config`] and [`units`]; [`log`] is srvwrap's voice.
//!
//! What always holds:
//! - A listener outlives every worker that holds it.
//! - The old generation is told to stop only when every worker of the new one is online.
//! - Every wait has a deadline, and every deadline an outcome that the operator is told.
//! - A process or group is never signalled once its number may be somebody else's.
//! - If srvwrap dies, its workers die.
//! - What waits for a disk waits in another process.
//!
//! Deliberately absent: threads, an async runtime, timer objects, callbacks, configuration files, name services.
//!
//! To get to know it, read in this order: `protocol/worker.md`, `core/mod.rs`, `core/worker.rs` and
//! `core/transitions.txt`, `core/supervisor.rs`, `event_loop.rs`.

mod check;
mod cli;
mod client;
mod config;
mod core;
mod environment;
mod event_loop;
mod handover;
mod log;
mod log_writer;
mod logs;
mod signal_names;
#[cfg(test)]
mod sim;
mod start;
mod sys;
mod units;
mod wire;

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;

use check::Check;
use cli::{Command, Typed, UsageError, Verb};
use config::{Call, Config, Daemon, Surroundings};
use core::Spec;
use event_loop::{EventLoop, HandedIn, Refusal, Start};
use sys::above::Above;
use sys::startup::Startup;

/// Wrong usage.
const USAGE: u8 = 2;
/// It failed, whatever the reason.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let startup = Startup::take();
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let written = match cli::parse(&args) {
        Ok(Command::Help(text)) => io::stdout().write_all(text.as_bytes()),
        Ok(Command::Version) => writeln!(io::stdout(), "srvwrap {}", env!("CARGO_PKG_VERSION")),
        Ok(Command::Typed(typed)) => return obey(*typed, startup),
        Err(error) => return refuse(&error, USAGE),
    };
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

fn obey(typed: Typed, startup: Startup) -> ExitCode {
    let directory = match working_directory() {
        Ok(directory) => directory,
        Err(error) => return refuse(&format_args!("cannot tell the current directory: {error}"), FAILED),
    };
    let surroundings = surroundings(directory, typed.words.last());
    let code = match typed.verb {
        Verb::Run => {
            Config::from_typed(&typed, &surroundings).map(|config| run(config, surroundings, startup))
        }
        Verb::Start => start_typed(&typed, surroundings, startup),
        Verb::Check => Check::from_typed(&typed, &surroundings).map(|check| {
            let spec = spec_of(check.config(), surroundings);
            check::run(check, spec, startup)
        }),
        Verb::Deploy
        | Verb::Abort
        | Verb::Rollback
        | Verb::History
        | Verb::Scale
        | Verb::Stop
        | Verb::Status
        | Verb::Events
        | Verb::Signal
        | Verb::Reopen
        | Verb::Logs => Call::from_typed(typed, &surroundings).map(|call| client::run(call, &startup)),
    };
    code.map_or_else(|error| refuse(&error, USAGE), ExitCode::from)
}

fn start_typed(typed: &Typed, surroundings: Surroundings, startup: Startup) -> Result<u8, UsageError> {
    let config = Config::from_typed(typed, &surroundings)?;
    let Some(daemon) = Daemon::from_typed(typed, &surroundings)? else {
        return Ok(run(config, surroundings, startup));
    };
    let spec = spec_of(&config, surroundings);
    Ok(start::start(config, &daemon, spec, startup))
}

fn run(config: Config, surroundings: Surroundings, startup: Startup) -> u8 {
    // A daemon has nobody above it: whoever started it goes on without.
    let above = config.handed_in.notice_fd.and_then(Above::take);
    let handed_in = match handed_in(&config) {
        Ok(handed_in) => handed_in,
        Err(code) => return code,
    };
    let spec = spec_of(&config, surroundings);
    serve(Start { startup, config, spec, handed_in, above, report: None, elsewhere: None })
}

/// Or the exit code, where it has been said why.
fn handed_in(config: &Config) -> Result<HandedIn, u8> {
    HandedIn::take(config).map_err(|Refusal { code, sentence }| {
        complain(&sentence);
        event_loop::say_in_file(config, &sentence);
        code
    })
}

/// Runs until the end, and returns the exit code.
fn serve(mut start: Start) -> u8 {
    if let logs::Destination::File(path) = &start.config.logs.notices {
        tell_panics(path.as_given().to_owned());
    }
    match EventLoop::new(&mut start) {
        Ok(event_loop) => {
            // Paths are absolute from here on, and srvwrap keeps nobody from unmounting.
            let _ = env::set_current_dir("/");
            event_loop.run()
        }
        Err(Refusal { code, sentence }) => {
            complain(&sentence);
            start.report.map_or(code, |report| start::not_started(report, &sentence, code))
        }
    }
}

/// A fault of srvwrap's own is to be found where its notices are: who reads its stderr may be nobody.
fn tell_panics(log: PathBuf) {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |fault| {
        // In that directory there may be links that strangers have made.
        let mut opening = fs::OpenOptions::new();
        if let Ok(mut file) = opening.append(true).custom_flags(libc::O_NOFOLLOW).open(&log) {
            let _ = writeln!(file, "srvwrap: {fault}");
        }
        usual(fault);
    }));
}

fn refuse(error: &dyn Display, code: u8) -> ExitCode {
    complain(error);
    ExitCode::from(code)
}

fn complain(error: &dyn Display) {
    // Where nobody can be told, the exit code has to do.
    let _ = writeln!(io::stderr(), "srvwrap: {error}");
}

/// What the first generation runs.
fn spec_of(config: &Config, surroundings: Surroundings) -> Spec {
    let Surroundings { directory, environment, .. } = surroundings;
    let mut environment = environment::inherited(environment.into_iter());
    let is_set = |name: &OsString| config.environment.iter().any(|(set, _)| set == name);
    environment.retain(|(name, _)| !is_set(name));
    environment.extend(config.environment.iter().cloned());
    Spec { argv: config.argv.clone(), environment, directory: config.directory.clone().unwrap_or(directory) }
}

/// As the caller's shell names it, where that is the current directory: a symlink in it, which may be moved to
/// another release, is then followed anew at every spawn.
fn working_directory() -> io::Result<PathBuf> {
    let current = env::current_dir()?;
    let identity = |path: &PathBuf| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let named = env::var_os("PWD").map(PathBuf::from).filter(|path| path.is_absolute());
    Ok(named
        .filter(|path| identity(path).is_some() && identity(path) == identity(&current))
        .unwrap_or(current))
}

fn surroundings(directory: PathBuf, last_word: Option<&OsString>) -> Surroundings {
    let is_socket = |word: &OsString| fs::metadata(word).is_ok_and(|found| found.file_type().is_socket());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Surroundings {
        web_concurrency: env::var_os("WEB_CONCURRENCY"),
        srvwrap_socket: env::var_os("SRVWRAP_SOCKET"),
        environment: env::vars_os().collect(),
        last_word_is_socket: last_word.is_some_and(is_socket),
        directory,
        stdin_is_terminal: io::stdin().is_terminal(),
        pid: std::process::id(),
        processors: u32::try_from(processors).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    use sys::apart::{Apart, run_apart};

    /// The hook is the whole process's.
    #[test]
    fn a_panic_is_told_in_the_log_file_and_never_through_a_link() {
        let name = "tests::a_panic_is_told_in_the_log_file_and_never_through_a_link";
        if run_apart(name, &Startup::plain()) == Apart::Done {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let [log, link, strangers] = ["log", "link", "strangers"].map(|name| directory.path().join(name));
        fs::write(&log, "before\n").unwrap();
        fs::write(&strangers, "").unwrap();
        symlink(&strangers, &link).unwrap();
        // The second one has the first one to go on with.
        tell_panics(log.clone());
        tell_panics(link);
        assert!(panic::catch_unwind(|| panic!("a fault of its own")).is_err());
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.starts_with("before\nsrvwrap: panicked at src/main.rs:"), "{text}");
        assert!(text.ends_with(":\na fault of its own\n"), "{text}");
        assert_eq!(fs::read_to_string(&strangers).unwrap(), "");
    }
}
