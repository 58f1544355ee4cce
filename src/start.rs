//! `srvwrap start`: a daemon, and the command that waits until it is online.
//!
//! ```text
//!   is one running? ── yes ──> its status, or a deploy to it
//!        │ no
//!   divide ──┬─ caller: shows the report until its end; its exit code is that of the answer
//!            └─ daemon: settles, serves, reports
//! ```
//!
//! Everything is done in the daemon, so that the caller has nothing to undo: what fails there, before the boot or in
//! it, is an answer too.
//!
//! What this file does not do: fork, or say how a boot goes.

use std::env;
use std::path::Path;

use crate::client;
use crate::config::{Act, Call, Config, Daemon, Display};
use crate::core::Spec;
use crate::event_loop::Start;
use crate::logs::Destination;
use crate::sys::control::{ConnectError, connect};
use crate::sys::daemon::{Side, Stays, divide, settle, stays};
use crate::sys::report::Report;
use crate::sys::startup::Startup;
use crate::wire::control::json;
use crate::wire::control::message::{Answer, Deploy, Order, Outcome};
use crate::wire::control::text::Text;
use crate::{FAILED, USAGE, complain, handed_in, serve};

/// What to do where nothing can be written.
const ELSEWHERE: &str = "--stdout, --stderr, --log and --socket name other places; or start it in a directory that can \
                         be written";

/// Returns the exit code: in the caller, and in the daemon at its end.
pub(crate) fn start(config: Config, daemon: &Daemon, spec: Spec, startup: Startup) -> u8 {
    if let Some(stays) = stays(env::var("SYSTEMD_EXEC_PID").ok().as_deref()) {
        complain(&instead_of_a_daemon(stays));
        return USAGE;
    }
    if is_running(&config.control.path) {
        return running_already(config, daemon, spec, &startup);
    }
    let handed_in = match handed_in(&config) {
        Ok(handed_in) => handed_in,
        Err(code) => return code,
    };
    match divide() {
        Ok(Side::Caller { report }) => {
            // Whoever waits in them is the daemon's.
            drop(handed_in);
            let log = path_of(&config.logs.notices);
            client::follow_report(report, daemon.display, &config.control.path, log, &startup)
        }
        Ok(Side::Daemon { report }) => match settle(&report, handed_in.descriptors()) {
            Ok(()) => {
                let (report, elsewhere) = (Some(report), Some(ELSEWHERE));
                serve(Start { startup, config, spec, handed_in, above: None, report, elsewhere })
            }
            Err(errno) => not_started(report, &format!("cannot open /dev/null: {}", errno.desc()), FAILED),
        },
        Err(errno) => {
            complain(&format_args!("cannot make a process for the background: {}", errno.desc()));
            FAILED
        }
    }
}

/// A daemon has no stdout and stderr of its own.
fn path_of(destination: &Destination) -> &Path {
    match destination {
        Destination::File(path) => path.as_given(),
        Destination::Own(_) | Destination::Null => Path::new("/dev/null"),
    }
}

fn instead_of_a_daemon(stays: Stays) -> &'static str {
    match stays {
        Stays::ProcessOne => {
            "start returns once all is online, and the container would end with it; use srvwrap run, which stays"
        }
        Stays::SystemdUnit => {
            "start returns once all is online, but systemd wants a process that stays; use srvwrap run, in a unit with \
             Type=notify, or Type=exec"
        }
    }
}

/// Somebody who does not answer is there as well: what the socket is good for is found out when it is made.
fn is_running(socket: &Path) -> bool {
    matches!(connect(socket), Ok(_) | Err(ConnectError::Busy))
}

fn running_already(config: Config, daemon: &Daemon, spec: Spec, startup: &Startup) -> u8 {
    let display = daemon.display;
    if daemon.or_deploy {
        if let Some(remark) = without_effect(&daemon.for_a_new_one).filter(|_| display != Display::Quiet) {
            complain(&remark);
        }
        let socket = config.control.path.clone();
        let act = Act::Order(Order::Deploy(deploy_of(daemon, spec)));
        return client::run(Call { socket, display, act }, startup);
    }
    let socket = config.control.path;
    complain(&format_args!(
        "srvwrap is running already, with {}; use srvwrap deploy, start --or-deploy, or another --socket",
        socket.display()
    ));
    client::run(Call { socket, display, act: Act::Status { watch: None } }, startup);
    FAILED
}

/// Of options that only a new one could have.
fn without_effect(options: &[String]) -> Option<String> {
    let (last, others) = options.split_last()?;
    let rest = "no effect on the srvwrap that is running; stop and start it to change";
    Some(match others {
        [] => format!("{last} has {rest} it"),
        others => format!("{} and {last} have {rest} them", others.join(", ")),
    })
}

/// What a start would have run, as a deploy.
fn deploy_of(daemon: &Daemon, spec: Spec) -> Deploy {
    let environment = spec.environment.into_iter().map(|(name, value)| (Text(name), Some(Text(value))));
    Deploy {
        program: Some(spec.argv.into_iter().map(Text).collect()),
        directory: Some(Text(spec.directory.into_os_string())),
        environment: environment.collect(),
        workers: daemon.count,
        online_timeout: daemon.online_timeout,
        bake: daemon.bake,
        ..Deploy::default()
    }
}

/// Tells who waits for a daemon that it came to nothing, and returns the exit code for both.
pub(crate) fn not_started(mut report: Report, message: &str, exit_code: u8) -> u8 {
    report.last(&json::write(&Answer {
        outcome: Outcome::Failed,
        exit_code,
        message: message.to_string(),
        generation: None,
        stderr: Vec::new(),
    }));
    report.finish();
    exit_code
}
