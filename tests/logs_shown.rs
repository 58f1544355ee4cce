//! `srvwrap logs` beside a real srvwrap: slow readers, many rotations, slots, JSON, files that may not be read.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::harness::command::{command, run, start, told};
use crate::harness::daemon::Home;
use crate::harness::{require, srvwrap, wait_until};

/// While nobody reads it the follower stands still, for more than 20 rotations; then it has every line.
#[test]
fn a_follower_that_is_read_late_has_every_line_of_the_files_meanwhile() {
    let home = Home::new();
    let program =
        "echo begun; echo online >&3; until [ -e go ]; do sleep 0.02; done; seq 400000; exec sleep 1000";
    let daemon = home.online(&["--max-log-size=100k", "--log-keep=1000", "sh", "-c", program]);
    let mut follower = command(home.path(), &["logs", "-f", "--stream=stdout"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::with_capacity(64, follower.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    fs::write(home.at("go"), "").unwrap();
    let archives = || home.names().iter().filter(|name| name.starts_with("stdout.log.2")).count();
    // Within a rotation there is none for a moment.
    let current = || fs::read_to_string(home.at("stdout.log")).unwrap_or_default();
    wait_until("all is written", || archives() > 20 && current().ends_with("\n400000\n"));
    let mut next = 1;
    for line in lines.by_ref().take(400_000) {
        assert_eq!(line.unwrap(), next.to_string());
        next += 1;
    }
    assert_eq!(next, 400_001);
    daemon.stop();
    assert!(follower.wait().unwrap().success());
}

/// A follower whose reader is killed ends too, though nothing more is written.
#[test]
fn a_follower_ends_with_who_reads_it() {
    let home = Home::new();
    let daemon = home.online(&["sh", "-c", "echo begun; echo online >&3; exec sleep 1000"]);
    let mut follower =
        command(home.path(), &["logs", "-f", "--stream=stdout"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    drop(lines);
    wait_until("it ends", || follower.try_wait().unwrap().is_some());
    assert_eq!(follower.wait().unwrap().code(), Some(0));
    daemon.stop();
}

#[test]
fn slots_are_told_apart_in_json_and_by_their_files() {
    let program = "echo \"of $SRVWRAP_SLOT\"; echo online >&3; exec sleep 1000";
    for option in ["--log-format=json", "--log-format=prefix", "--stdout={slot}.log"] {
        let home = Home::new();
        let daemon = home.online(&[option, "-n3", "sh", "-c", program]);
        let slot_2 = || told(home.path(), &["logs", "--slot=2", "--stream=stdout"]);
        wait_until("it is shown", || slot_2().stdout.len() == 1);
        let lines = slot_2().done();
        assert!(lines[0].contains("of 2"), "{option}: {lines:?}");
        assert_eq!(told(home.path(), &["logs", "-n0"]).done(), [""; 0]);
        daemon.stop();
    }
}

#[test]
fn where_none_runs_and_none_has_run_that_is_said_in_a_line() {
    let home = Home::new();
    for arguments in [&["logs"][..], &["logs", "-f"], &["logs", "-n0"]] {
        assert!(told(home.path(), arguments).failed(3).starts_with("not running: "));
    }
    let running = srvwrap(["sh", "-c", "echo online >&3; exec sleep 1000"]).online();
    let why = told(running.path(), &["logs"]).failed(1);
    assert!(why.contains("goes to srvwrap's own"), "{why}");
}

/// The others are shown all the same.
#[test]
fn a_file_that_may_not_be_read_is_named_and_the_others_are_shown() {
    if !require::root() {
        return;
    }
    let home = Home::new();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = "echo out; echo err >&2; echo online >&3; exec sleep 1000";
    let daemon = home.online(&["-n1", "sh", "-c", program]);
    wait_until("it has said all", || {
        home.text("stdout.log") == "out\n" && home.text("stderr.log") == "err\n"
    });
    daemon.stop();
    fs::set_permissions(home.at("stdout.log"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(home.at("srvwrap.log"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = command(home.path(), &["logs"]);
    command.uid(1000).gid(1000);
    let told = run(command).end();
    assert_eq!(told.code, 1, "{told:?}");
    assert!(
        told.stdout.contains(&"out".to_string()) && !told.stdout.contains(&"err".to_string()),
        "{told:?}"
    );
    assert!(told.stderr.iter().any(|line| line.contains("stderr.log: Permission denied")), "{told:?}");
}

#[test]
fn an_interrupted_follower_ends_well() {
    let home = Home::new();
    let daemon = home.online(&["sh", "-c", "echo begun; echo online >&3; exec sleep 1000"]);
    let mut follower = start(home.path(), &["logs", "-f", "--stream=stdout"]);
    follower.wait_for("begun");
    follower.signal(Signal::SIGTERM);
    assert_eq!(follower.end().code, 0);
    daemon.stop();
}
