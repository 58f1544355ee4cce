//! What each signal to srvwrap does, who has to send it, and what a worker inherits.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::process::{bit, children_of, only_child, signal_set, state, under};
use crate::harness::terminal::in_terminal;
use crate::harness::{BINARY, Srvwrap, before_exec, is_alive, srvwrap, wait_until, write_file};

/// Writes each TERM down, and ends when there is a file `end`.
const UNHURRIED: &str = "#!/bin/sh
trap 'echo term >>told' TERM
echo online >&3
until [ -e end ]; do sleep 0.02; done
";

fn send(srvwrap: &Srvwrap, number: i32) {
    // SAFETY: takes two numbers. `nix` has no real-time signals.
    assert_eq!(unsafe { libc::kill(srvwrap.pid() as i32, number) }, 0, "signal {number}");
}

fn read(srvwrap: &Srvwrap, file: &str) -> String {
    std::fs::read_to_string(srvwrap.directory.path().join(file)).unwrap_or_default()
}

/// Managers send TERM again and again; programs take a second one for "at once".
#[test]
fn a_repeated_term_is_one_stop_and_tells_the_workers_once() {
    let mut srvwrap = srvwrap(["./worker"]).file("worker", UNHURRIED).online();
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.wait_for("TERM: stopping 1 worker");
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.signal(Signal::SIGINT);
    srvwrap.signal(Signal::SIGTERM);
    // The answer to this one shows that those before it were read.
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("HUP: refused, because srvwrap is stopping");
    wait_until("the worker was told", || !read(&srvwrap, "told").is_empty());
    write_file(srvwrap.directory.path(), "end", "");
    assert_eq!(srvwrap.exit_code(), 0);
    let log = srvwrap.log();
    assert_eq!((read(&srvwrap, "told").as_str(), log.matches("stopping").count()), ("term\n", 2), "{log}");
    assert!(!log.contains("kill") && !log.contains("deploy"), "{log}");
}

#[test]
fn quit_after_term_kills_at_once() {
    let mut srvwrap = srvwrap(["./worker"]).file("worker", UNHURRIED).online();
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.wait_for("TERM: stopping 1 worker");
    srvwrap.signal(Signal::SIGQUIT);
    srvwrap.wait_for("QUIT: killing 1 worker");
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(srvwrap.has_said("stopped; 1 worker was killed"));
}

#[test]
fn quit_kills_without_telling() {
    let mut srvwrap = srvwrap(["-n", "2", "./worker"]).file("worker", UNHURRIED).online();
    srvwrap.signal(Signal::SIGQUIT);
    srvwrap.wait_for("QUIT: killing 2 workers");
    assert_eq!(srvwrap.exit_code(), 0);
    assert_eq!(read(&srvwrap, "told"), "");
}

/// Terminals and managers send INT twice in one moment. A second after the first it is somebody who has lost patience.
#[test]
fn a_second_int_kills_only_a_second_after_the_first() {
    let mut srvwrap = srvwrap(["./worker"]).file("worker", UNHURRIED).online();
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.wait_for("TERM: stopping 1 worker");
    let first = Instant::now();
    wait_until("killed by INT", || {
        let _ = kill(Pid::from_raw(srvwrap.pid() as i32), Signal::SIGINT);
        srvwrap.has_said("INT: killing 1 worker")
    });
    assert!(first.elapsed() >= Duration::from_secs(1), "{:?}", first.elapsed());
    assert_eq!(srvwrap.exit_code(), 0);
}

/// The workers are gone, and what they have left behind takes its time: patience is lost there as anywhere.
#[test]
fn a_second_int_also_kills_what_workers_have_left_behind() {
    let worker = "setsid sh -c 'trap \"echo told >told\" TERM; echo >there; while :; do sleep 0.05; done' & \
                  until [ -e there ]; do sleep 0.01; done; echo online >&3; exec sleep 1000";
    let mut srvwrap = srvwrap(["sh", "-c", worker]).online();
    srvwrap.signal(Signal::SIGINT);
    let begun = Instant::now();
    wait_until("what was left behind is told", || !read(&srvwrap, "told").is_empty());
    wait_until("ended by INT", || {
        let _ = kill(Pid::from_raw(srvwrap.pid() as i32), Signal::SIGINT);
        srvwrap.has_said("stopped")
    });
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// All of them, from 1 to 64, but those that no program can catch, that are faults of the program itself, or that
/// belong to the C library; those that stop srvwrap have tests of their own.
#[test]
fn no_signal_ends_srvwrap_that_is_not_said_to() {
    let mut srvwrap = srvwrap(["./worker"]).file("worker", UNHURRIED).online();
    let worker = srvwrap.worker_pids()[&0];
    let faults = [libc::SIGILL, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV];
    let stops = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGKILL, libc::SIGSTOP, libc::SIGTSTP];
    let acts = [libc::SIGHUP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGUSR1, libc::SIGUSR2];
    let quiet = |number: &i32| {
        !faults.contains(number)
            && !stops.contains(number)
            && !acts.contains(number)
            && !(32..=33).contains(number)
    };
    let said = srvwrap.log().lines().count();
    for number in (1..=64).filter(quiet) {
        send(&srvwrap, number);
    }
    send(&srvwrap, libc::SIGUSR2);
    srvwrap.wait_for("USR2 ignored");
    assert_eq!(srvwrap.log().lines().count(), said + 1, "{}", srvwrap.log());
    assert!(is_alive(worker));

    send(&srvwrap, libc::SIGTTIN);
    srvwrap.wait_for("scaling from 1 to 2 workers");
    srvwrap.wait_for("scaled to 2 workers");
    send(&srvwrap, libc::SIGTTOU);
    srvwrap.wait_for("scaling from 2 to 1 worker");
    write_file(srvwrap.directory.path(), "end", "");
    send(&srvwrap, libc::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
}

/// The one that sends HUP has another environment; the workers' is the one that srvwrap was started with.
#[test]
fn hup_deploys_the_same_program_in_the_same_environment() {
    let worker = "echo \"$COLOR $SRVWRAP_GENERATION\"; echo online >&3; exec sleep 1000";
    let mut srvwrap = srvwrap(["sh", "-c", worker]).env("COLOR", "red").online();
    let pid = srvwrap.pid().to_string();
    let status = Command::new("sh").args(["-c", "kill -HUP $0", &pid]).env("COLOR", "blue").status();
    assert!(status.is_ok_and(|status| status.success()));
    srvwrap.wait_for("deploy 2 done");
    let log = srvwrap.stop();
    assert!(log.contains("red 1") && log.contains("red 2") && !log.contains("blue"), "{log}");
}

/// What srvwrap does to its own signals, and what Rust's runtime does to PIPE before `main`, is not the workers'.
#[test]
fn a_worker_has_no_signal_blocked_or_ignored() {
    let srvwrap = &mut srvwrap(["--ready", "exec", "sleep", "1000"]).online();
    let pid = srvwrap.worker_pids()[&0];
    assert_eq!(["SigBlk", "SigIgn", "SigCgt"].map(|set| signal_set(pid, set)), [0, 0, 0]);
}

#[test]
fn a_worker_has_those_signals_blocked_and_ignored_that_srvwrap_was_started_with() {
    let mut srvwrap = srvwrap(["-n", "2", "--ready", "exec", "sleep", "1000"])
        .with(|command| {
            before_exec(command, || {
                // SAFETY: system calls on a set on this stack.
                unsafe {
                    let mut blocked: libc::sigset_t = std::mem::zeroed();
                    libc::sigaddset(&raw mut blocked, libc::SIGUSR1);
                    libc::sigaddset(&raw mut blocked, 40);
                    libc::sigprocmask(libc::SIG_BLOCK, &raw const blocked, std::ptr::null_mut());
                    libc::signal(libc::SIGHUP, libc::SIG_IGN);
                    libc::signal(libc::SIGPIPE, libc::SIG_IGN);
                    libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                }
                Ok(())
            });
        })
        .online();
    let (blocked, ignored) = (bit(libc::SIGUSR1) | bit(40), bit(libc::SIGHUP) | bit(13) | bit(libc::SIGCHLD));
    let first = srvwrap.worker_pids();
    for pid in first.values() {
        assert_eq!((signal_set(*pid, "SigBlk"), signal_set(*pid, "SigIgn")), (blocked, ignored));
    }
    // With SIGCHLD ignored the kernel would keep no death to see; and a replacement inherits the same.
    kill(Pid::from_raw(first[&1]), Signal::SIGKILL).unwrap();
    srvwrap.wait_for("was killed by signal 9 (KILL)");
    srvwrap.wait_for("worker 1 ");
    let second = srvwrap.worker_pids()[&1];
    assert_eq!((signal_set(second, "SigBlk"), signal_set(second, "SigIgn")), (blocked, ignored));
    srvwrap.stop();
}

/// `nohup srvwrap …`, and the terminal is closed: that is not a deploy.
#[test]
fn under_nohup_a_hang_up_is_nothing() {
    let mut srvwrap = under(srvwrap(["--ready", "exec", "sleep", "1000"]), &["nohup"]).online();
    let worker = srvwrap.worker_pids()[&0];
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.signal(Signal::SIGUSR2);
    srvwrap.wait_for("USR2 ignored");
    assert!(is_alive(worker) && signal_set(worker, "SigIgn") & bit(libc::SIGHUP) != 0);
    let log = srvwrap.stop();
    assert!(!log.contains("deploy") && !log.contains("HUP"), "{log}");
}

/// In the background of a terminal with `stty tostop` the kernel sends TTOU for each write, again and again for one
/// that is tried again. It means "do not write", not "one worker less", and must not stop srvwrap either.
#[test]
fn writing_to_a_terminal_from_its_background_scales_nothing_and_stops_nothing() {
    let mut shell = Command::new("sh");
    let line = "set -m; stty tostop; \"$0\" -n 3 --ready exec sleep 1000 & wait; wait";
    shell.args(["-c", line, BINARY]).env_remove("WEB_CONCURRENCY");
    let mut terminal = in_terminal(shell);
    terminal.wait_for("workers online: 3");
    let srvwrap = only_child(terminal.pid());
    for _ in 0..20 {
        kill(Pid::from_raw(srvwrap), Signal::SIGUSR2).unwrap();
        terminal.wait_for("USR2 ignored");
    }
    assert_eq!(children_of(srvwrap).len(), 3);
    assert!(matches!(state(srvwrap), Some('S' | 'R')));
    // A storm would be half a million signals a second, and so of processor time.
    assert!(processor_ticks(srvwrap) < 100, "{}", processor_ticks(srvwrap));
    kill(Pid::from_raw(srvwrap), Signal::SIGTERM).unwrap();
    terminal.exit_code();
    assert!(!terminal.text().contains("scal"), "{}", terminal.text());
    assert!(terminal.text().contains("stopped"), "{}", terminal.text());
}

/// In hundredths of a second.
fn processor_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    fields[11..13].iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// The window is closed. The kernel's HUP is no request to deploy, least of all into a terminal that is gone.
#[test]
fn the_terminals_hang_up_is_a_graceful_stop() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let worker =
        "trap 'echo told >told; exit 0' TERM; echo $$ >pid; echo online >&3; while :; do sleep 0.02; done";
    let mut command = Command::new(BINARY);
    command.args(["sh", "-c", worker]).current_dir(directory.path()).env("PWD", directory.path());
    let mut terminal = in_terminal(command);
    terminal.wait_for("workers online: 1");
    let pid = std::fs::read_to_string(directory.path().join("pid")).unwrap().trim().parse().unwrap();
    terminal.hang_up();
    assert_eq!(terminal.exit_code(), 0);
    assert!(!is_alive(pid) && directory.path().join("told").exists());
}
