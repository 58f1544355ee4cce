//! How a worker is told to stop, what happens to one that does not, and stops at odd moments.

use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::process::state;
use crate::harness::{Srvwrap, is_alive, require, srvwrap, wait_until};

/// Ends only by KILL.
const DEAF: &str = "#!/bin/sh
trap '' TERM INT
echo online >&3
while :; do sleep 1; done
";

fn read(srvwrap: &Srvwrap, file: &str) -> String {
    std::fs::read_to_string(srvwrap.directory.path().join(file)).unwrap_or_default()
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("it is there");
}

/// Reads what is written on its notice descriptor, and writes down that and each signal.
fn told(options: &[&str], word: &str) -> String {
    // Whoever reads the line ignores signals from its first moment, as its parent does before it is there.
    let worker = "trap '' INT TERM USR1; (read line <&3; echo \"$line\" >>told) &
        trap 'echo INT >>told' INT; trap 'echo TERM >>told' TERM; trap 'echo USR1 >>told' USR1; echo \"$WORD\" >&3
        while ! grep -q shutdown told 2>/dev/null; do sleep 0.02; done; echo >seen; until [ -e end ]; do sleep 0.02; done";
    let words = options.iter().copied().chain(["sh", "-c", worker]);
    let mut srvwrap = srvwrap(words).env("WORD", word).online();
    srvwrap.signal(Signal::SIGTERM);
    wait_until("the line is read", || !read(&srvwrap, "seen").is_empty());
    // A signal is sent before the CONT that follows it, and both before anything else is read.
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("HUP: refused");
    crate::harness::write_file(srvwrap.directory.path(), "end", "");
    assert_eq!(srvwrap.exit_code(), 0, "{}", srvwrap.log());
    let text = read(&srvwrap, "told");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join(" ")
}

#[test]
fn a_worker_is_told_by_the_line_and_by_term() {
    assert_eq!(told(&[], "online"), "\"shutdown\" TERM");
}

#[test]
fn one_that_said_ready_in_json_is_told_by_int() {
    assert_eq!(told(&[], "\"ready\""), "\"shutdown\" INT");
}

#[test]
fn one_that_said_online_in_json_is_told_by_the_line_alone() {
    assert_eq!(told(&[], "\"online\""), "\"shutdown\"");
}

#[test]
fn the_stop_signal_option_goes_before_what_a_worker_said() {
    assert_eq!(told(&["--stop-signal", "none"], "online"), "\"shutdown\"");
    assert_eq!(told(&["--stop-signal", "INT"], "online"), "\"shutdown\" INT");
    assert_eq!(told(&["--stop-signal", "USR1"], "\"online\""), "\"shutdown\" USR1");
    assert_eq!(told(&["--stop-signal", "auto"], "READY=1"), "\"shutdown\" TERM");
}

#[test]
fn a_worker_that_ignores_term_is_killed_at_its_limit_and_named_with_the_remedy() {
    let mut srvwrap = srvwrap(["-n", "2", "--stop-timeout", "1s", "./worker"]).file("worker", DEAF).online();
    let pids = srvwrap.worker_pids();
    let begun = Instant::now();
    srvwrap.signal(Signal::SIGTERM);
    for _ in 0..2 {
        let line = srvwrap.wait_for("did not end within its limit after signal 15 (TERM)");
        assert!(line.contains("worker ") && line.contains("--stop-signal"), "{line}");
    }
    srvwrap.wait_for("stopped; 2 workers were killed");
    assert_eq!(srvwrap.exit_code(), 0);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(20), "{took:?}");
    assert!(pids.values().all(|pid| !is_alive(*pid)));
}

/// A stopped process takes no signal but KILL before it is continued.
#[test]
fn a_stopped_worker_is_continued_and_ends_in_time() {
    let mut srvwrap = srvwrap(["--ready", "exec", "sleep", "1000"]).online();
    let pid = srvwrap.worker_pids()[&0];
    send(pid, Signal::SIGSTOP);
    wait_until("it is stopped", || state(pid) == Some('T'));
    let begun = Instant::now();
    let log = srvwrap.stop();
    assert!(begun.elapsed() < Duration::from_secs(20) && !log.contains("kill"), "{log}");
}

#[test]
fn a_stop_timeout_of_zero_kills_at_once() {
    let worker = "trap 'echo TERM >>told' TERM; echo online >&3; while :; do sleep 0.02; done";
    let mut srvwrap = srvwrap(["--stop-timeout", "0", "sh", "-c", worker]).online();
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.wait_for("TERM: killing 1 worker");
    assert_eq!(srvwrap.exit_code(), 0);
    assert_eq!(read(&srvwrap, "told"), "");
}

#[test]
fn a_stop_while_booting_ends_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", "echo here; exec sleep 1000"]).start();
        srvwrap.wait_for_times("here", 2);
        srvwrap.signal(signal);
        assert_eq!(srvwrap.exit_code(), 0, "{signal}: {}", srvwrap.log());
    }
}

/// Some have executed their program, some are between fork and exec, some are not made yet.
#[test]
fn a_stop_while_a_hundred_workers_are_being_made_leaves_none() {
    let words = ["-n", "100", "sh", "-c", "echo here $$; exec sleep 1000"];
    let mut srvwrap = srvwrap(words).start();
    srvwrap.wait_for("here");
    let begun = Instant::now();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    let log = srvwrap.log();
    assert!(begun.elapsed() < Duration::from_secs(25) && !log.contains("kill"), "{log}");
    let pids = log.lines().filter_map(|line| line.strip_prefix("here ")?.parse().ok());
    assert!(pids.clone().count() <= 100 && pids.clone().all(|pid: i32| !is_alive(pid)), "{log}");
}

/// One ends by itself in the very moment in which it is told to: nobody is left to signal, and that is all right.
#[test]
fn workers_that_end_as_they_are_told_to_are_no_trouble() {
    for round in 0..10 {
        let mut srvwrap = srvwrap(["-n", "4", "--ready", "exec", "sleep", "1000"]).online();
        let pids = srvwrap.worker_pids();
        let (mut first, mut then) = (pids.values().copied(), pids.values().copied());
        if round % 2 == 0 {
            first.by_ref().take(2).for_each(|pid| send(pid, Signal::SIGKILL));
        }
        srvwrap.signal(Signal::SIGTERM);
        // The others may have taken the TERM already.
        then.by_ref().skip(2).for_each(|pid| {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        });
        assert_eq!(srvwrap.exit_code(), 0, "{}", srvwrap.log());
        assert!(!srvwrap.log().contains("cannot signal"), "{}", srvwrap.log());
        assert!(!srvwrap.log().contains("fault of srvwrap"), "{}", srvwrap.log());
    }
}

/// A worker that has moved into another process group is not in its own any more, which is where signals go.
#[test]
fn a_worker_that_has_left_its_group_is_told_and_killed_all_the_same() {
    if !require::program("python3") {
        return;
    }
    let program = "
import os, signal, sys
def note(number, frame):
    open('told', 'a').write('TERM\\n')
    if sys.argv[1] == 'willing': sys.exit(0)
signal.signal(signal.SIGTERM, note)
os.setpgid(0, os.getpgid(os.getppid()))
os.write(3, b'online\\n')
while True: signal.pause()
";
    for (how, killed) in [("willing", false), ("deaf", true)] {
        let starting = srvwrap(["--stop-timeout", "1s", "python3", "-c", program, how]);
        // Else it would be the group of the tests.
        let starting = starting.with(|command| {
            command.process_group(0);
        });
        let mut srvwrap = starting.online();
        let pid = srvwrap.worker_pids()[&0];
        srvwrap.signal(Signal::SIGTERM);
        assert_eq!(srvwrap.exit_code(), 0);
        assert_eq!((read(&srvwrap, "told").as_str(), is_alive(pid)), ("TERM\n", false), "{}", srvwrap.log());
        assert_eq!(srvwrap.has_said("did not end within"), killed, "{}", srvwrap.log());
        assert!(!srvwrap.has_said("held by the kernel"), "{}", srvwrap.log());
    }
}

/// The supervisor itself is killed. Nobody is left to restart or to stop anything: so nobody may be left at all, and
/// the port and the socket's path are free for the next one.
#[test]
fn when_srvwrap_is_killed_no_worker_lives_and_the_next_start_just_works() {
    let worker =
        "(trap '' TERM; read line <&3; echo \"end of file\" >far) & echo online >&3; exec sleep 1000";
    let mut first =
        srvwrap(["-n", "3", "-p", "127.0.0.1:0", "-p", "unix:app.sock", "sh", "-c", worker]).online();
    let (port, pids) = (first.port(), first.worker_pids());
    first.signal(Signal::SIGKILL);
    assert_eq!(first.exit_code(), 137);
    wait_until("no worker is left", || pids.values().all(|pid| !is_alive(*pid)));
    wait_until("what a worker had started is told", || !read(&first, "far").is_empty());
    let socket = first.directory.path().join("app.sock");
    assert!(std::fs::metadata(&socket).is_ok_and(|found| found.file_type().is_socket()));

    let (port, socket) = (format!("127.0.0.1:{port}"), format!("unix:{}", socket.display()));
    srvwrap(["-p", &port, "-p", &socket, "--ready", "exec", "sleep", "1000"]).online().stop();
}
