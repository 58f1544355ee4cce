//! What workers have started: it is told and killed with its worker, or at the end of a stop, or when its worker dies.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::process::state;
use crate::harness::{Srvwrap, Starting, is_alive, require, srvwrap, wait_until, write_file};

/// Writes its number into `NAME.pid`, and on TERM `NAME.told`; ends then, unless it is deaf.
const MEMBER: &str = "#!/bin/sh
if [ $2 = deaf ]; then trap 'echo >$1.told' TERM; else trap 'echo >$1.told; exit 0' TERM; fi
echo $$ >$1.new; mv $1.new $1.pid
while :; do sleep 0.02; done
";

fn start(options: &[&str], worker: &str) -> Starting {
    let words = options.iter().copied().chain(["sh", "-c", worker]);
    srvwrap(words).file("member", MEMBER)
}

fn pid(srvwrap: &Srvwrap, member: &str) -> i32 {
    let path = srvwrap.directory.path().join(format!("{member}.pid"));
    wait_until("a member's number", || path.exists());
    let number = std::fs::read_to_string(path).expect("it is whole, since it was moved there");
    number.trim().parse().expect("a number")
}

fn was_told(srvwrap: &Srvwrap, member: &str) -> bool {
    srvwrap.directory.path().join(format!("{member}.told")).exists()
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("it is there");
}

const UNTIL_BOTH: &str = "until [ -e near.pid ] && [ -e far.pid ]; do sleep 0.01; done; echo online >&3;";

#[test]
fn the_whole_group_is_told_and_what_is_left_of_it_at_the_limit_is_killed() {
    let worker = format!("./member near polite & ./member far deaf & {UNTIL_BOTH} exec sleep 1000");
    let mut srvwrap = start(&["--stop-timeout", "1s"], &worker).online();
    let (near, far) = (pid(&srvwrap, "near"), pid(&srvwrap, "far"));
    let begun = Instant::now();
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.wait_for("ended, but what it had started did not: killed");
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(begun.elapsed() >= Duration::from_secs(1) && begun.elapsed() < Duration::from_secs(20));
    assert!(was_told(&srvwrap, "near") && was_told(&srvwrap, "far"));
    assert!(!is_alive(near) && !is_alive(far));
}

/// In sessions of their own no group's signal finds them. A deploy leaves them alone; a stop does not.
#[test]
fn what_left_the_session_is_told_at_the_end_of_a_stop_and_not_in_a_deploy() {
    if !require::program("setsid") {
        return;
    }
    let worker = format!(
        "mkdir first 2>/dev/null && {{ setsid ./member near polite & setsid ./member far deaf & }}
         {UNTIL_BOTH} exec sleep 1000"
    );
    let mut srvwrap = start(&["--stop-timeout", "1s"], &worker).online();
    let (near, far) = (pid(&srvwrap, "near"), pid(&srvwrap, "far"));
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    assert!(is_alive(near) && is_alive(far) && !was_told(&srvwrap, "near") && !was_told(&srvwrap, "far"));
    let begun = Instant::now();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(was_told(&srvwrap, "near") && was_told(&srvwrap, "far"));
    assert!(!is_alive(near) && !is_alive(far));
}

/// A shell that waits for a server dies of TERM at once. The server drains, and has as long for it as if it had been
/// the worker's first process.
#[test]
fn a_server_below_a_shell_drains_though_the_shell_is_dead() {
    let server = "#!/bin/sh
trap 'until [ -e finish ]; do sleep 0.02; done; echo >drained; exit 0' TERM
echo online >&3
while :; do sleep 0.02; done
";
    let mut srvwrap = start(&[], "./server; echo after").file("server", server).online();
    let shell = srvwrap.worker_pids()[&0];
    srvwrap.signal(Signal::SIGTERM);
    wait_until("the shell is dead", || !is_alive(shell));
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("HUP: refused");
    write_file(srvwrap.directory.path(), "finish", "");
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(srvwrap.directory.path().join("drained").exists());
    assert!(!srvwrap.has_said("kill"), "{}", srvwrap.log());
}

/// Its first process is killed by somebody. The rest would serve old connections, or hold a lock, for ever.
#[test]
fn what_a_dead_worker_leaves_gets_term_then_kill_and_its_replacement_does_not_wait() {
    let worker = format!(
        "if mkdir first 2>/dev/null; then ./member near polite & ./member far deaf & fi
         {UNTIL_BOTH} exec sleep 1000"
    );
    let mut srvwrap = start(&[], &worker).online();
    let (near, far, first) = (pid(&srvwrap, "near"), pid(&srvwrap, "far"), srvwrap.worker_pids()[&0]);
    // A stopped one takes TERM only when it is continued.
    send(near, Signal::SIGSTOP);
    wait_until("it is stopped", || state(near) == Some('T'));
    let begun = Instant::now();
    send(first, Signal::SIGKILL);
    srvwrap.wait_for("was killed by signal 9 (KILL)");
    srvwrap.wait_for(" online after ");
    assert!(is_alive(far), "the replacement waited");
    wait_until("the polite one is gone", || !is_alive(near));
    assert!(was_told(&srvwrap, "near"), "it was killed, not told");
    srvwrap.wait_for("ended, but what it had started did not: killed");
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
    wait_until("the deaf one is gone", || !is_alive(far));
    assert!(was_told(&srvwrap, "far"));
    srvwrap.stop();
}

#[test]
fn with_stop_leader_only_the_rest_is_not_told_and_still_ends() {
    let worker = "./member near polite & trap 'exit 0' TERM; until [ -e near.pid ]; do sleep 0.01; done
                  echo online >&3; while :; do sleep 0.02; done";
    let mut srvwrap = start(&["--stop-leader-only", "--stop-timeout", "1s"], worker).online();
    let near = pid(&srvwrap, "near");
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.wait_for("ended, but what it had started did not: killed");
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(!was_told(&srvwrap, "near") && !is_alive(near));
}

/// It leaves the group of its dead worker instead of ending: then that group is empty, though nobody has died.
#[test]
fn what_leaves_a_dead_workers_group_is_not_waited_for() {
    if !require::program("python3") {
        return;
    }
    let program = "
import os, signal, time
if os.path.exists('first'):
    os.write(3, b'online\\n')
    while True: signal.pause()
open('first', 'w').close()
if os.fork() == 0:
    leave = lambda number, frame: (os.setpgid(0, 0), open('left.pid', 'w').write(str(os.getpid())))
    signal.signal(signal.SIGTERM, leave)
    open('ready', 'w').close()
    while True: signal.pause()
while not os.path.exists('ready'): time.sleep(0.01)
os.write(3, b'online\\n')
while True: signal.pause()
";
    let mut srvwrap = srvwrap(["--stop-timeout", "1s", "python3", "-c", program]).online();
    let first = srvwrap.worker_pids()[&0];
    send(first, Signal::SIGKILL);
    let left = pid(&srvwrap, "left");
    srvwrap.wait_for(" online after ");
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(!srvwrap.has_said("held by the kernel"), "{}", srvwrap.log());
    assert!(!is_alive(left));
}
