//! srvwrap as the worker of another srvwrap, both with all that they do by default.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::command::told;
use crate::harness::http::Target;
use crate::harness::load::Load;
use crate::harness::{BINARY, Srvwrap, Starting, examples, proc, srvwrap, wait_until};

/// Becomes the inner one, beside whose socket no other one has its own, and says of which outer generation it is.
const INNER: &str = r#"#!/bin/sh
OUTER=$SRVWRAP_GENERATION; export OUTER
exec "$BINARY" --socket "inner-$OUTER-$SRVWRAP_SLOT.sock" --pid-file "inner-$OUTER-$SRVWRAP_SLOT.pid" \
    sh -c 'SRVWRAP_GENERATION=$OUTER exec "$@"' sh "$@"
"#;

const IDLE: [&str; 3] = ["sh", "-c", "echo online >&3; exec sleep 1000"];

/// So many of them, with one worker each.
fn outer(options: &[&str], program: &[&str]) -> Starting {
    srvwrap(options.iter().chain(&["./inner"]).chain(program)).file("inner", INNER).env("BINARY", BINARY)
}

fn inner_pid(directory: &Path, generation: u32) -> i32 {
    let file = directory.join(format!("inner-{generation}-0.pid"));
    let written = || std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'));
    wait_until("the inner one has written its pid", || written().is_some());
    written().expect("just seen").trim().parse().expect("a pid")
}

fn worker_of(pid: i32) -> i32 {
    let worker = || proc::children(pid).into_iter().find(|child| proc::sleeps_as(*child, "sleep"));
    wait_until("it has a worker", || worker().is_some());
    worker().expect("just seen")
}

fn is_gone(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_err()
}

#[test]
fn a_deploy_of_the_outer_one_loses_nothing() {
    let Some(python) = examples::python_itself() else { return };
    let example = examples::client("python/example.py");
    let program = [python.to_str().expect("a path"), example.to_str().expect("a path")];
    let mut srvwrap = outer(&["-n", "2", "-p", "127.0.0.1:0"], &program).start();
    srvwrap.wait_for("workers online: 2");
    let load = Load::begin(&[Target::Port(srvwrap.port())]);
    let (report, _) = load.through_deploys(srvwrap, 2);
    assert_eq!(report.failures, [], "of {} requests", report.answers);
}

/// It is online when all of its workers are, and what it is doing is shown by the outer one.
#[test]
fn the_outer_one_knows_how_far_the_inner_one_is() {
    let waits = ["sh", "-c", "until [ -e go ]; do sleep 0.02; done; echo online >&3; exec sleep 1000"];
    let mut srvwrap = outer(&[], &waits).start();
    let status = |srvwrap: &Srvwrap| told(srvwrap.path(), &["status"]).stdout.join("\n");
    wait_until("it says that it boots", || {
        status(&srvwrap).contains("starting") && status(&srvwrap).contains("booting: 0 of 1 worker online")
    });
    srvwrap.touch("go");
    srvwrap.wait_for("workers online: 1");
    wait_until("it is online", || {
        status(&srvwrap).contains(": 1 of 1 worker online")
            && status(&srvwrap).contains("1 of 1 worker online, generation 1")
    });
    let inner = inner_pid(srvwrap.path(), 1);
    kill(Pid::from_raw(inner), Signal::SIGHUP).expect("it lives");
    srvwrap.wait_for("deploy 2 done");
    wait_until("its deploy is seen", || status(&srvwrap).contains("1 of 1 worker online, generation 2"));
    srvwrap.stop();
}

/// Where it has no signal to go by.
#[test]
fn the_line_ends_the_inner_one_and_its_workers() {
    let mut srvwrap = outer(&["--stop-signal", "none"], &IDLE).online();
    let inner = inner_pid(srvwrap.path(), 1);
    let worker = worker_of(inner);
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.wait_for("shutdown by the srvwrap above: stopping 1 worker");
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(is_gone(inner) && is_gone(worker));
    assert!(!srvwrap.log().contains("killed"), "{}", srvwrap.log());
}

/// The kernel kills only what the outer one has started itself, here a shell.
#[test]
fn the_death_of_the_outer_one_ends_the_inner_one() {
    let words = ["sh", "-c", r#""$@"; exit 0"#, "sh", "./inner"];
    let starting = srvwrap(words.iter().chain(&IDLE)).file("inner", INNER).env("BINARY", BINARY);
    let mut srvwrap = starting.online();
    let inner = inner_pid(srvwrap.path(), 1);
    let worker = worker_of(inner);
    srvwrap.signal(Signal::SIGKILL);
    srvwrap.wait_for("the end of the srvwrap above: stopping 1 worker");
    wait_until("both are gone", || is_gone(inner) && is_gone(worker));
}

/// Its workers have a notice descriptor of their own, and only that.
#[test]
fn the_descriptor_of_the_inner_one_is_not_handed_on() {
    let srvwrap = outer(&[], &IDLE).online();
    let inner = inner_pid(srvwrap.path(), 1);
    let notice = proc::descriptors(inner)[&3].clone();
    assert!(notice.starts_with("socket:"), "{notice}");
    let of_worker = proc::descriptors(worker_of(inner));
    assert_eq!(of_worker.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_ne!(of_worker[&3], notice);
    srvwrap.stop();
}

/// As it may be where a shell or a debugger has set the variable, and where its number is something else by now.
#[test]
fn what_is_no_notice_descriptor_is_left_alone() {
    let script = r#"exec 7</dev/null; NOTIFY_FD=$FD exec "$@""#;
    for number in ["7", "8", "0", "2", "x", ""] {
        let starting = srvwrap(IDLE).under("sh", ["-c".into(), script.into(), "sh".into()]);
        let srvwrap = starting.env("FD", number).online();
        let log = srvwrap.stop();
        assert!(!log.contains("above") && !log.contains("NOTIFY_FD"), "{number}: {log}");
    }
}
