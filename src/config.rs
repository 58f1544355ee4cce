//! What the user meant: a [`Config`] can only be built valid, so nobody after it checks again.
//!
//! ```text
//!   cli::Typed + Surroundings ──> Config::from_typed ──> Config        (or the UsageError that says what to change)
//! ```
//!
//! What this module does not do: ask the operating system. What the meaning depends on beside the command line comes
//! in as [`Surroundings`]; whether an address can be bound or a program executed is found out later.

mod address;
mod call;
mod files;
mod inherited;
mod logs;
mod unix;
mod variables;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use address::{Address, Listener};
pub(crate) use inherited::HandedIn;
pub(crate) use unix::UnixAccess;

use crate::cli::{Given, Options, Typed, UsageError, Verb};
use crate::core::{OnCrash, Policy, Ready, StopSignal};
use crate::handover::Protocol;
use crate::logs::Logs;
use crate::signal_names::signal_number;
use crate::units::parse_duration;
use crate::wire::control::message::Order;

/// All that `srvwrap run` was told, or what `start` was told of the same.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// How many workers to keep online, 1 to 65535.
    pub(crate) count: u32,
    /// In the order of the command line, where they stand there; those of launchd last. No two that are bound here have
    /// the same name, or addresses that exclude each other.
    pub(crate) listeners: Vec<Listener>,
    pub(crate) handed_in: HandedIn,
    pub(crate) unix: UnixAccess,
    pub(crate) policy: Policy,
    /// Whether the stop signal goes to a worker's first process alone.
    pub(crate) stop_leader_only: bool,
    pub(crate) stdin: Stdin,
    /// Whether a worker gets NODE_CHANNEL_FD whatever its program is.
    pub(crate) node_channel: bool,
    /// The program and its arguments; at least one word, which may be empty.
    pub(crate) argv: Vec<OsString>,
    /// The workers' directory, where it is not the caller's: absolute, and as it was named.
    pub(crate) directory: Option<PathBuf>,
    /// Variables to set for the workers.
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) control: ControlPath,
    /// Where `GET /livez` and `GET /readyz` are served over TCP.
    pub(crate) health: Option<Address>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) logs: Logs,
}

/// What the sockets beside the control socket end in: of workers that speak as to systemd, and to einhorn.
pub(crate) const NOTIFY_SUFFIX: &str = ".notify";
pub(crate) const EINHORN_SUFFIX: &str = ".einhorn";

/// Where the control socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControlPath {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// Whether somebody named it: then srvwrap does not go on without.
    pub(crate) given: bool,
}

impl ControlPath {
    /// Where another socket goes with it: its path, and this behind it.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }
}

/// What `srvwrap start` was told beside what [`Config`] has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Daemon {
    /// Where one is running already, deploy to it.
    pub(crate) or_deploy: bool,
    /// The number of workers, where somebody gave one: a running one keeps its own else.
    pub(crate) count: Option<u32>,
    /// The same for these two, which a deploy takes.
    pub(crate) online_timeout: Option<Duration>,
    pub(crate) bake: Option<Duration>,
    /// What was typed that means nothing to one that is running, as in `-p 8000`.
    pub(crate) for_a_new_one: Vec<String>,
    pub(crate) display: Display,
}

/// How much a command that talks to a running srvwrap says, and in what form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Display {
    /// Lines for people, drawn over one another on a terminal.
    Progress,
    /// Nothing but what was asked for, and errors.
    Quiet,
    /// JSON, one object a line.
    Json,
}

/// A command that talks to a running srvwrap.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) socket: PathBuf,
    pub(crate) display: Display,
    pub(crate) act: Act,
}

/// What such a command asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Act {
    Order(Order),
    Status {
        /// Ask again and again, so often.
        watch: Option<Duration>,
    },
    History,
    Events,
    Logs(LinesWanted),
}

/// Which lines of the logs are shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LinesWanted {
    /// Also those that are written from now on.
    pub(crate) follow: bool,
    /// So many of the last ones of each file.
    pub(crate) lines: usize,
    /// None: of all workers.
    pub(crate) slot: Option<u32>,
    /// None: all of them.
    pub(crate) stream: Option<LogStream>,
    /// The caller's, where a srvwrap that has ended may have left its logs.
    pub(crate) directory: PathBuf,
}

/// What goes to a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogStream {
    Stdout,
    Stderr,
    Notices,
}

/// What a worker reads as its standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// Nothing: `/dev/null`.
    Null,
    /// What srvwrap itself was given; only where there is one worker, and no terminal.
    Inherit,
}

/// What the meaning of a command line depends on beside its words.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// The variable `WEB_CONCURRENCY`. An empty one counts as none.
    pub(crate) web_concurrency: Option<OsString>,
    /// The variable `SRVWRAP_SOCKET`. An empty one counts as none.
    pub(crate) srvwrap_socket: Option<OsString>,
    /// All variables.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Whether the last word before the program is the path of a socket that is there.
    pub(crate) last_word_is_socket: bool,
    /// The caller's directory, from which relative paths are taken.
    pub(crate) directory: PathBuf,
    pub(crate) stdin_is_terminal: bool,
    /// srvwrap's own, as its caller knows it.
    pub(crate) pid: u32,
    /// How many processors srvwrap may use.
    pub(crate) processors: u32,
}

impl Config {
    /// For `run` and `start`.
    pub(crate) fn from_typed(typed: &Typed, surroundings: &Surroundings) -> Result<Config, UsageError> {
        let Typed { verb, options, program, words: _ } = typed;
        let path = |given: &Given| absolute(&given.value, surroundings);
        let count = count(options.workers.as_ref(), surroundings)?;
        let online_timeout = duration_above_zero(&options.online_timeout)?;
        let protocol = protocol(&options.protocol)?;
        let policy = Policy {
            protocol,
            ready: ready(&options.ready, &options.online_timeout, online_timeout)?,
            on_crash: on_crash(&options.on_crash)?,
            stop_signal: stop_signal(&options.stop_signal)?,
            online_timeout,
            stop_timeout: duration(&options.stop_timeout)?,
            bake: duration(&options.bake)?,
        };
        let given = address::listeners(&options.listen, &options.launchd_socket, &surroundings.directory)?;
        let (listeners, handed_in) = inherited::listeners(given, surroundings)?;
        variables::port_is_free(&options.env, &listeners)?;
        let control = files::control(options.socket.as_ref(), surroundings)?;
        let in_background = *verb == Verb::Start && !stays(options)?;
        files::are_apart(typed, in_background, &control, protocol, &listeners, surroundings)?;
        Ok(Config {
            count,
            policy,
            stop_leader_only: options.stop_leader_only,
            stdin: stdin(&options.stdin, count, protocol, &listeners, surroundings)?,
            node_channel: options.node_channel,
            argv: program.clone(),
            directory: options.cwd.as_ref().map(path),
            environment: variables::set(&options.env)?,
            health: address::of_health(options.health.as_ref(), &listeners)?,
            unix: unix::access(options, &listeners)?,
            listeners,
            handed_in,
            control,
            pid_file: options.pid_file.as_ref().map(path),
            logs: logs::logs(options, in_background, surroundings)?,
        })
    }
}

impl Daemon {
    /// For `start`; none where it is to stay in the foreground, as naught's `--daemon-mode false` says.
    pub(crate) fn from_typed(
        typed: &Typed,
        surroundings: &Surroundings,
    ) -> Result<Option<Daemon>, UsageError> {
        let options = &typed.options;
        if let Some(given) = &options.remove_old_ipc {
            call::truth(given)?;
        }
        let display = display(options)?;
        if stays(options)? {
            refuse_what_only_a_daemon_has(options)?;
            return Ok(None);
        }
        if options.stdin.text() == "inherit" {
            return Err(options.stdin.refused_with("in the background there is none; use srvwrap run"));
        }
        Ok(Some(Daemon {
            or_deploy: options.or_deploy,
            count: options.workers.as_ref().map(|given| count(Some(given), surroundings)).transpose()?,
            online_timeout: typed_duration(&options.online_timeout)?,
            bake: typed_duration(&options.bake)?,
            for_a_new_one: for_a_new_one(options),
            display,
        }))
    }
}

fn typed_duration(given: &Given) -> Result<Option<Duration>, UsageError> {
    given.typed().map(|given| duration(given).map(call::whole)).transpose()
}

/// As they were typed, those that no deploy can change.
fn for_a_new_one(options: &Options) -> Vec<String> {
    let Options { protocol, ready, stop_timeout, stop_signal, on_crash, stdin, stdout, stderr, log, .. } =
        options;
    let Options { log_format, max_log_size, log_keep, log_full, log_every, log_total, .. } = options;
    let Options { launchd_socket, unix_mode, unix_owner, .. } = options;
    let with_default = [unix_mode, protocol, ready, stop_timeout, stop_signal, on_crash, stdin];
    let with_default = with_default.into_iter().chain([log_format, max_log_size, log_keep, log_full]);
    let others = [unix_owner, &options.pid_file, &options.health, stdout, stderr, log, log_every, log_total];
    let switches =
        [("--stop-leader-only", options.stop_leader_only), ("--node-channel", options.node_channel)];
    let typed = options.listen.iter().chain(launchd_socket);
    let typed = typed.chain(with_default.filter_map(Given::typed));
    let typed = typed.chain(others.into_iter().flatten()).map(Given::to_string);
    let switches = switches.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.to_string());
    typed.chain(switches).collect()
}

/// Whether naught's `--daemon-mode false` keeps a start in the foreground.
fn stays(options: &Options) -> Result<bool, UsageError> {
    options.daemon_mode.as_ref().map_or(Ok(false), |given| call::truth(given).map(|daemon| !daemon))
}

fn refuse_what_only_a_daemon_has(options: &Options) -> Result<(), UsageError> {
    let switches = [("--or-deploy", options.or_deploy), ("--quiet", options.quiet), ("--json", options.json)];
    match switches.into_iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(UsageError::BadWord {
            word: name.into(),
            because: "it has no meaning with --daemon-mode false; give one of them".to_string(),
        }),
        None => Ok(()),
    }
}

/// As it was named, symlinks and `..` in it included, but for dots and slashes that mean nothing.
fn absolute(path: &OsStr, surroundings: &Surroundings) -> PathBuf {
    surroundings.directory.join(path).components().collect()
}

fn display(options: &Options) -> Result<Display, UsageError> {
    match (options.quiet, options.json) {
        (true, true) => Err(UsageError::BadWord {
            word: "--quiet".into(),
            because: "--json says everything; give one of them".to_string(),
        }),
        (true, false) => Ok(Display::Quiet),
        (false, true) => Ok(Display::Json),
        (false, false) => Ok(Display::Progress),
    }
}

const MOST_WORKERS: u32 = 65535;

fn count(workers: Option<&Given>, surroundings: &Surroundings) -> Result<u32, UsageError> {
    let from_environment = || {
        let value = surroundings.web_concurrency.clone().filter(|value| !value.is_empty())?;
        Some(Given::from_environment("--workers", "WEB_CONCURRENCY", value))
    };
    let Some(given) = workers.cloned().or_else(from_environment) else { return Ok(1) };
    let text = given.text();
    if text == "auto" {
        return Ok(surroundings.processors.clamp(1, MOST_WORKERS));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !all_digits(digits) {
        return Err(given.refused("not a number of workers"));
    }
    match text.parse() {
        Ok(count @ 1..=MOST_WORKERS) => Ok(count),
        Ok(0) => Err(given.refused("at least one worker is needed")),
        _ if digits.len() < text.len() => Err(given.refused("at least one worker is needed")),
        _ => Err(given.refused("too many workers")),
    }
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn protocol(given: &Given) -> Result<Protocol, UsageError> {
    match given.text() {
        "srvwrap" => Ok(Protocol::Srvwrap),
        "systemd" => Ok(Protocol::Systemd),
        "server-starter" => Ok(Protocol::ServerStarter),
        "einhorn" => Ok(Protocol::Einhorn),
        "stdin" => Ok(Protocol::Stdin),
        _ => Err(given.refused("no such way to hand sockets over")),
    }
}

fn ready(given: &Given, online_option: &Given, online_timeout: Duration) -> Result<Ready, UsageError> {
    match given.text() {
        "notify" => return Ok(Ready::Notify),
        "exec" => return Ok(Ready::Exec),
        _ => {}
    }
    let Some(after) = given.text().strip_prefix("after=") else {
        return Err(given.refused("no such way to be ready"));
    };
    let after = parse_duration(after).map_err(|error| given.refused(error))?;
    if after.is_zero() {
        return Err(given.refused_with("that is ready at once; give --ready exec"));
    }
    if after >= online_timeout {
        let because = format!("no worker would be ready within {online_option}; give a longer one");
        return Err(given.refused_with(because));
    }
    Ok(Ready::After(after))
}

fn on_crash(given: &Given) -> Result<OnCrash, UsageError> {
    match given.text() {
        "respawn" => Ok(OnCrash::Respawn),
        "exit" => Ok(OnCrash::Exit),
        _ => Err(given.refused("no such answer to a crash")),
    }
}

const STOP_SIGNALS: [i32; 7] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

fn stop_signal(given: &Given) -> Result<StopSignal, UsageError> {
    match given.text() {
        "auto" => return Ok(StopSignal::Auto),
        "none" => return Ok(StopSignal::None),
        _ => {}
    }
    match signal_number(given.text()) {
        Some(libc::SIGKILL | libc::SIGSTOP) => {
            Err(given.refused("no program can see this signal, and KILL follows at the stop timeout anyway"))
        }
        // Others by their number only: a name that is rarely one to stop by is more likely a slip.
        Some(number) if all_digits(given.text()) || STOP_SIGNALS.contains(&number) => {
            Ok(StopSignal::Signal(number))
        }
        Some(_) | None => Err(given.refused("no such signal to stop by")),
    }
}

fn duration(given: &Given) -> Result<Duration, UsageError> {
    parse_duration(given.text()).map_err(|error| given.refused(error))
}

fn duration_above_zero(given: &Given) -> Result<Duration, UsageError> {
    let duration = duration(given)?;
    if duration.is_zero() { Err(given.refused("no worker is online at once")) } else { Ok(duration) }
}

fn stdin(
    given: &Given,
    count: u32,
    protocol: Protocol,
    listeners: &[Listener],
    surroundings: &Surroundings,
) -> Result<Stdin, UsageError> {
    match given.text() {
        "null" => Ok(Stdin::Null),
        "inherit" if protocol == Protocol::Stdin => {
            Err(given.refused_with("--protocol stdin puts the socket there; give only one of them"))
        }
        "inherit" if count != 1 => {
            let because = format!("{count} workers cannot share one standard input; give -n 1 as well");
            Err(given.refused_with(because))
        }
        // A worker has a process group of its own, and the terminal stops readers that are not in its foreground.
        "inherit" if surroundings.stdin_is_terminal => {
            let because =
                "a worker cannot read from a terminal; give it a file or a pipe, as in: srvwrap ... < file";
            Err(given.refused_with(because))
        }
        "inherit" if listeners.iter().any(|listener| listener.address == Address::Fd(0)) => {
            Err(given.refused_with("srvwrap's own is a listening socket; leave it out"))
        }
        "inherit" => Ok(Stdin::Inherit),
        _ => Err(given.refused("no such standard input")),
    }
}

#[cfg(test)]
mod tests;
