//! The report for people, and where there is none.

use nix::sys::signal::Signal;

use super::GOOD;
use crate::harness::examples::python_itself;
use crate::harness::{command, is_alive, wait_until, write_file};

/// A program that has said that it is online, and its number.
fn in_the_middle(directory: &std::path::Path, python: &str) -> (command::Running, i32) {
    let bad = "open('pid.new', 'w').write(str(os.getpid())); os.rename('pid.new', 'pid'); signal.pause()";
    write_file(directory, "server.py", &GOOD.replace("listener.setblocking(False)", bad));
    let running = command::start(directory, &["check", "-p", "127.0.0.1:0", python, "server.py"]);
    let number = || std::fs::read_to_string(directory.join("pid")).ok()?.parse().ok();
    wait_until("the program has begun", || number().is_some());
    (running, number().unwrap())
}

#[test]
fn a_check_that_is_interrupted_leaves_nothing_behind() {
    let python = python_itself();
    let Some(python) = python.as_ref().and_then(|python| python.to_str()) else { return };
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let directory = tempfile::tempdir().unwrap();
        let (running, pid) = in_the_middle(directory.path(), python);
        assert!(is_alive(pid));
        running.signal(signal);
        let told = running.end();
        assert_eq!(
            (told.code, told.stderr.as_slice()),
            (5, ["srvwrap: aborted; nothing of the program is left".into()].as_slice())
        );
        assert!(!is_alive(pid));
    }
}

#[test]
fn the_report_has_a_line_for_each_point_and_one_for_what_to_change() {
    let directory = tempfile::tempdir().unwrap();
    let script = "echo \"last words\"; exit 3";
    let told = command::told(directory.path(), &["check", "-p", "0", "--", "sh", "-c", script]);
    let text = told.stdout.join("\n");
    assert_eq!((told.code, told.stderr.is_empty()), (1, true), "{told:?}");
    let head = "srvwrap check: sh -c \"echo \\\"last words\\\"; exit 3\"\nup to 5 short lives of it, one worker each, on port ";
    assert!(text.starts_with(head), "{text}");
    let online = "\nFAIL       online            W8       ended with status 3 after ";
    assert!(
        text.contains(online) && text.contains("change: ") && text.contains("it wrote: last words"),
        "{text}"
    );
    assert!(text.contains("\nnot tried  accepts           W1 W17   it was not online\n"), "{text}");
    assert!(text.ends_with("\n1 ok, 0 advice, 1 FAIL, 11 not tried"), "{text}");
}

#[test]
fn what_needs_a_listener_is_said_once_more_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let script = "trap 'exit 0' TERM; echo online >&3; while :; do sleep 0.05; done";
    let told = command::told(directory.path(), &["check", "sh", "-c", script]);
    assert_eq!((told.code, told.stderr.is_empty()), (0, true), "{told:?}");
    let last = told.stdout.last().expect("a report");
    assert_eq!(last, "7 points need a listener: give one, as in -p 0", "{told:?}");
}

/// Two points of one life fail.
#[test]
fn what_a_program_wrote_is_shown_once_for_each_life() {
    let directory = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; echo last words; echo online >&3; while :; do sleep 0.05; done";
    let line = ["check", "-p", "127.0.0.1:0", "--stop-timeout", "1s", "sh", "-c", script];
    let text = command::told(directory.path(), &line).stdout.join("\n");
    assert_eq!(text.matches("FAIL  ").count(), 2, "{text}");
    assert_eq!(text.matches("it wrote: last words").count(), 1, "{text}");
    assert_eq!(text.matches("it wrote: what is above").count(), 1, "{text}");
}

#[test]
fn what_cannot_be_checked_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    write_file(directory.path(), "no-program", "text");
    let refused = |code: i32, words: &str, line: &[&str]| {
        let told = command::told(directory.path(), &[&["check"], line].concat());
        let text = if told.stdout.is_empty() { told.failed(code) } else { told.stderr.join("\n") };
        assert!(text.contains(words), "{line:?}: {text}");
    };
    refused(2, "no program to check; give one, as in: srvwrap check -p 8000 node server.js", &[]);
    refused(2, "-n: no such option", &["-n", "4", "true"]);
    refused(2, "--socket: srvwrap check has no such option", &["--socket", "a.sock", "true"]);
    refused(2, "--path slow: not what a request can ask for", &["--path", "slow", "true"]);
    refused(2, "--stop-timeout 0: that kills at once", &["--stop-timeout", "0", "true"]);
    refused(2, "-p", &["-p", "x", "true"]);
    let code = |line: &[&str]| {
        command::told(directory.path(), &[&["check", "--json"], line].concat())
            .failed(line.len() as i32 + 124)
    };
    assert!(code(&["./no-program", ""]).contains("cannot execute ./no-program"));
    assert!(code(&["no-such-program", "", ""]).contains("cannot find program no-such-program"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("127.0.0.1:{}", taken.local_addr().unwrap().port());
    refused(1, "Address already in use", &["--json", "-p", &port, "true"]);
}
