//! srvwrap as process 1, and as the parent of what its workers leave behind: everybody is reaped, nobody is mistaken
//! for a worker, and deaths by the thousand hold up nothing.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::harness::process::{as_process_one, bit, children_of, only_child, signal_set, state, under};
use crate::harness::{BINARY, Srvwrap, Starting, before_exec, is_alive, require, srvwrap, wait_until};

/// Leaves orphans behind, each of which waits for somebody to open the fifo `gate`; then serves.
const LEAVES_ORPHANS: &str = "#!/bin/sh
orphans=$1
while [ $orphans -gt 0 ]; do
    ( (: <gate; exit 3) & )
    orphans=$((orphans - 1))
done
echo online >&3
exec sleep 1000
";

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("it is there");
}

fn with_gate(starting: Starting) -> Starting {
    mkfifo(&starting.path().join("gate"), Mode::from_bits_truncate(0o600)).expect("a fifo can be made");
    starting
}

/// Lets in everybody who waits at the gate.
fn open_gate(srvwrap: &Srvwrap) {
    let gate = srvwrap.directory.path().join("gate");
    OpenOptions::new().read(true).write(true).open(gate).expect("it is a fifo");
}

/// The workers' own children, orphaned, end all at once. Who counted every death as a worker's would start a hundred
/// new ones; who looked only for workers would keep a hundred zombies.
fn orphans_are_reaped(starting: Starting, pid_of: fn(i32) -> i32) {
    let mut srvwrap = with_gate(starting.file("worker", LEAVES_ORPHANS)).online();
    let pid = pid_of(srvwrap.pid() as i32);
    wait_until("a hundred orphans", || children_of(pid).len() == 101);
    // Each opens it for itself, and one that comes late waits for the next time.
    wait_until("no child but the worker", || {
        open_gate(&srvwrap);
        children_of(pid).len() == 1
    });
    assert!(is_alive(children_of(pid)[0]));
    send(pid, Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(!srvwrap.log().contains("exited"), "{}", srvwrap.log());
    assert_eq!(srvwrap.log().matches(" online after ").count(), 1, "{}", srvwrap.log());
}

#[test]
fn a_hundred_orphans_are_reaped_by_process_1_and_none_counts_as_a_worker() {
    if require::pid_namespace() {
        orphans_are_reaped(as_process_one(srvwrap(["./worker", "100"])), only_child);
    }
}

#[test]
fn a_hundred_orphans_are_reaped_without_being_process_1() {
    orphans_are_reaped(srvwrap(["./worker", "100"]), |pid| pid);
}

/// Many deaths make one SIGCHLD. All workers die while srvwrap is stopped and can take none.
#[test]
fn fifty_workers_that_die_at_once_are_each_reaped_and_replaced_once() {
    let mut srvwrap = srvwrap(["-n", "50", "--ready", "exec", "sleep", "1000"]).online();
    let pids = srvwrap.worker_pids();
    assert_eq!(pids.len(), 50);
    srvwrap.signal(Signal::SIGSTOP);
    for pid in pids.values() {
        send(*pid, Signal::SIGKILL);
    }
    wait_until("fifty zombies", || pids.values().all(|pid| state(*pid) == Some('Z')));
    srvwrap.signal(Signal::SIGCONT);
    srvwrap.wait_for_times(" online after ", 50);
    let own = srvwrap.pid() as i32;
    wait_until("fifty live children", || {
        let children = children_of(own);
        children.len() == 50 && children.iter().all(|pid| is_alive(*pid))
    });
    let now = srvwrap.worker_pids();
    assert!(now.keys().copied().eq(0..50) && now.values().all(|pid| children_of(own).contains(pid)));
    let log = srvwrap.stop();
    assert_eq!(log.matches("was killed by signal 9 (KILL)").count(), 50, "{log}");
    assert_eq!(log.matches(" online after ").count(), 100, "{log}");
}

/// A child that was dead when srvwrap was executed in its parent's place: its SIGCHLD went to that parent.
#[test]
fn a_zombie_that_was_there_before_srvwrap_is_reaped() {
    if !require::program("python3") {
        return;
    }
    let script = "
import os, sys
child = os.fork()
if child == 0: os._exit(3)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
os.execv(sys.argv[1], sys.argv[1:])";
    let starting = under(srvwrap(["--ready", "exec", "sleep", "1000"]), &["python3", "-c", script]);
    let srvwrap = starting.online();
    let pid = srvwrap.pid() as i32;
    wait_until("no zombie", || children_of(pid).iter().all(|child| state(*child) != Some('Z')));
    srvwrap.stop();
}

/// `docker stop` at once. The kernel drops what process 1 has no handler for, so until there are handlers the signal
/// has to be kept; it comes as early as anything can be kept.
#[test]
fn term_in_the_first_moment_of_process_1_stops_it_cleanly() {
    if !require::pid_namespace() {
        return;
    }
    for _ in 0..5 {
        let starting = as_process_one(srvwrap(["-n", "3", "--ready", "exec", "sleep", "1000"]));
        let mut srvwrap = starting.start();
        let pid = only_child(srvwrap.pid() as i32);
        wait_until("everything blocked or handled", || {
            (signal_set(pid, "SigBlk") | signal_set(pid, "SigCgt")) & bit(libc::SIGTERM) != 0
                && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("srvwrap"))
        });
        send(pid, Signal::SIGTERM);
        assert_eq!(srvwrap.exit_code(), 0);
        assert!(srvwrap.log().ends_with("stopped"), "{}", srvwrap.log());
    }
}

/// The signal waits already when srvwrap is executed.
#[test]
fn a_term_that_was_blocked_before_srvwrap_began_stops_it_cleanly() {
    let starting = srvwrap(["-n", "3", "--stop-timeout", "100ms", "--ready", "exec", "sleep", "1000"]);
    let mut srvwrap = starting
        .with(|command| {
            before_exec(command, || {
                // SAFETY: system calls on a set on this stack.
                unsafe {
                    let mut term: libc::sigset_t = std::mem::zeroed();
                    libc::sigaddset(&raw mut term, libc::SIGTERM);
                    libc::sigprocmask(libc::SIG_BLOCK, &raw const term, std::ptr::null_mut());
                    libc::raise(libc::SIGTERM);
                }
                Ok(())
            });
        })
        .start();
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(srvwrap.has_said("TERM: stopping"), "{}", srvwrap.log());
    assert!(srvwrap.log().contains("srvwrap: stopped"), "{}", srvwrap.log());
}

/// Not process 1: as early as a signal can be sent, and then a little later each time, through the boot of twenty
/// workers. Before srvwrap's first instruction the kernel ends it, as it would any program; from then on it stops.
#[test]
fn term_at_any_early_moment_leaves_no_worker() {
    for step in 0..30 {
        let mut srvwrap = srvwrap(["-n", "20", "--ready", "exec", "sleep", "1000"]).start();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(step * 400) {}
        let pid = srvwrap.pid() as i32;
        srvwrap.signal(Signal::SIGTERM);
        let code = srvwrap.exit_code();
        let log = srvwrap.log();
        match code {
            0 => assert!(log.ends_with("stopped"), "{log}"),
            143 => assert!(log.is_empty(), "{log}"),
            code => panic!("{code}\n{log}"),
        }
        assert!(srvwrap.worker_pids().values().all(|pid| !is_alive(*pid)), "of {pid}:\n{log}");
    }
}

/// What a container runtime shows: 0 after a stop, else what the worker ended with.
#[test]
fn the_exit_code_of_a_container_is_what_its_end_means() {
    if !require::pid_namespace() {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut srvwrap = as_process_one(srvwrap(["--ready", "exec", "sleep", "1000"])).online();
        send(only_child(srvwrap.pid() as i32), signal);
        assert_eq!(srvwrap.exit_code(), 0, "{signal}: {}", srvwrap.log());
    }
    for (script, code) in [
        ("echo online >&3; exit 7", 7),
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -KILL $$", 137),
        ("echo online >&3; kill -TERM $$", 143),
    ] {
        let words = ["-n", "2", "--on-crash", "exit", "sh", "-c", script];
        let (ended, log) = as_process_one(srvwrap(words)).run();
        assert_eq!(ended, code, "{script}: {log}");
    }
    let as_program = |name: &str| as_process_one(srvwrap([name]).file("plain", "not executable")).run().0;
    assert_eq!((as_program("no-such-program"), as_program("./plain")), (127, 126));
}

/// A thousand orphans die of the same TERM that the worker ignores, while its limit runs. Nothing may be held up by it.
#[test]
fn a_storm_of_deaths_delays_no_deadline() {
    let deaf = "trap '' TERM; echo online >&3; while :; do sleep 1; done; ";
    let script = LEAVES_ORPHANS.replace("echo online", &format!("{deaf}echo online"));
    let starting = srvwrap(["--stop-timeout", "1s", "./worker", "1000"]).file("worker", &script);
    let mut srvwrap = with_gate(starting).online();
    let own = srvwrap.pid() as i32;
    wait_until("a thousand orphans", || children_of(own).len() == 1001);
    let begun = Instant::now();
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.wait_for("did not end within its limit");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(990), "{took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(srvwrap.exit_code(), 0);
}

/// Each leads a group of its own, so that only the sweep at the end finds it. They take TERM: nobody is to wait for the
/// limit.
#[test]
fn a_thousand_left_behind_end_with_the_stop() {
    if !require::program("bash") {
        return;
    }
    let worker = "set -m; for orphan in {1..1000}; do (: <gate) & done; echo online >&3; exec sleep 1000";
    let mut srvwrap = with_gate(srvwrap(["bash", "-c", worker])).online();
    let worker = srvwrap.worker_pids()[&0];
    wait_until("a thousand children", || children_of(worker).len() == 1000);
    let begun = Instant::now();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// Without /proc there is no list of children, and who was left behind has to be found all the same.
#[test]
fn what_is_left_behind_is_ended_without_proc() {
    if !(require::root() && require::program("setsid")) {
        return;
    }
    let worker = "setsid sh -c 'trap \"echo told >told; exit\" TERM; echo >there; while :; do sleep 0.05; done' & \
                  until [ -e there ]; do sleep 0.01; done; echo online >&3; exec sleep 1000";
    let hide = "mount -t tmpfs none /proc && exec \"$@\"";
    let starting = under(srvwrap(["sh", "-c", worker]), &["unshare", "--mount", "sh", "-c", hide, "sh"]);
    let mut srvwrap = starting.online();
    let begun = Instant::now();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(srvwrap.directory.path().join("told").exists(), "{}", srvwrap.log());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// A pipe's reader as the only worker, and srvwrap as one word in a pipeline.
#[test]
fn a_pipeline_runs_through_a_worker_that_inherits_stdin() {
    for (option, expected) in [("--stdin inherit ", "x\n"), ("", "")] {
        let line = format!("echo x | \"$0\" -n1 {option}--ready exec --on-crash exit cat");
        let mut command = Command::new("sh");
        command.args(["-c", &line, BINARY]).process_group(0).env_remove("WEB_CONCURRENCY");
        let output = command.output().expect("sh can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{said}");
    }
}
