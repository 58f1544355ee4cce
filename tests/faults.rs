//! The system is out of processes or descriptors for a while: nothing is lost by it but time.
//!
//! A boot ends with the reason. After it a slot waits and tries again, a deploy fails and changes nothing, and nobody
//! is kept busy.

use std::collections::BTreeMap;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::strace::{FORKS, Strace, traced};
use crate::harness::{Srvwrap, before_exec, is_alive, proc, require, srvwrap, wait_until};

const SERVES: [&str; 5] = ["-n", "2", "sh", "-c", "echo online >&3; exec sleep 1000"];

fn kill_worker(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
}

/// Sets the soft limit of open files of a running srvwrap so that it can open this many more, or back to the hard one.
fn leave_descriptors(srvwrap: &Srvwrap, more: Option<usize>) {
    let pid = srvwrap.pid() as i32;
    let (_, hard) = proc::open_files(pid);
    let open = proc::descriptors(pid);
    let mut free = (0..).filter(|number| !open.contains_key(number));
    let soft = more.map_or(hard, |more| free.nth(more).expect("there is a next number") as u64);
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the limit lives through the call, and the old one is not asked for.
    let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

/// All is as it was: the same workers, nothing else, and a deploy works.
fn is_unharmed(mut srvwrap: Srvwrap, before: &BTreeMap<u32, i32>) {
    let pid = srvwrap.pid() as i32;
    wait_until("nobody else is left", || proc::children(pid).len() == before.len());
    assert!(before.values().all(|pid| is_alive(*pid)), "{}", srvwrap.log());
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for(" done after ");
    assert_eq!(proc::children(pid).len(), before.len(), "{}", srvwrap.log());
    srvwrap.stop();
}

#[test]
fn a_boot_that_cannot_fork_ends_with_the_reason() {
    if !require::strace() {
        return;
    }
    for (error, words) in
        [("EAGAIN", "Resource temporarily unavailable"), ("ENOMEM", "Cannot allocate memory")]
    {
        // The second worker's: the first one is made by then, and must not stay.
        let inject = format!("inject={FORKS}:error={error}:when=2+");
        let (starting, _) = traced(srvwrap(SERVES), &["-e", &format!("trace={FORKS}"), "-e", &inject]);
        let mut srvwrap = starting.start();
        assert_eq!(srvwrap.exit_code(), 1, "{}", srvwrap.log());
        let line = srvwrap.wait_for("cannot start: ");
        assert!(line.ends_with(&format!(": cannot fork: {words}")), "{line}");
    }
}

#[test]
fn a_respawn_that_cannot_fork_waits_and_comes_back_by_itself() {
    if !require::attaching() {
        return;
    }
    for error in ["EAGAIN", "ENOMEM"] {
        let mut srvwrap = srvwrap(SERVES).online();
        let workers = srvwrap.worker_pids();
        let strace = Strace::inject(srvwrap.pid() as i32, FORKS, &format!("error={error}:when=1..2"));
        kill_worker(workers[&0]);
        for line in srvwrap.wait_for_times("worker 0: cannot fork", 2) {
            assert!(line.contains("; retrying in ") && !line.contains("retrying in 0"), "{line}");
        }
        srvwrap.wait_for("worker 0 (pid ");
        drop(strace);
        assert!(is_alive(workers[&1]), "the other slot was not touched");
        assert!(proc::ticks(srvwrap.pid() as i32) < 30, "it was busy");
        let workers = srvwrap.worker_pids();
        is_unharmed(srvwrap, &workers);
    }
}

/// Several slots wait at once for a system that has no processes left, and each is filled in the end.
#[test]
fn no_slot_is_lost_when_none_can_be_filled_for_a_while() {
    if !require::attaching() {
        return;
    }
    let mut srvwrap = srvwrap(["-n", "10"].into_iter().chain(SERVES[2..].iter().copied())).online();
    let workers = srvwrap.worker_pids();
    let strace = Strace::inject(srvwrap.pid() as i32, FORKS, "error=EAGAIN:when=1..15");
    workers.values().for_each(|pid| kill_worker(*pid));
    srvwrap.wait_for_times(": cannot fork", 15);
    srvwrap.wait_for_times(" online after ", 10);
    drop(strace);
    let workers = srvwrap.worker_pids();
    assert_eq!(workers.len(), 10);
    is_unharmed(srvwrap, &workers);
}

#[test]
fn a_deploy_that_cannot_fork_fails_and_the_old_workers_serve_on() {
    if !require::attaching() {
        return;
    }
    // The first and the last of its workers: before the others are there, and after.
    for nth in ["1", "2"] {
        let mut srvwrap = srvwrap(SERVES).online();
        let workers = srvwrap.worker_pids();
        let strace = Strace::inject(srvwrap.pid() as i32, FORKS, &format!("error=EAGAIN:when={nth}"));
        srvwrap.signal(Signal::SIGHUP);
        let line = srvwrap.wait_for("deploy 2 failed: ");
        let words = ": cannot fork: Resource temporarily unavailable; generation 1 keeps serving";
        assert!(line.ends_with(words), "{line}");
        drop(strace);
        is_unharmed(srvwrap, &workers);
    }
}

/// The system watches only so many descriptors for one user (ENOSPC): a worker that could not be heard is not made,
/// instead of being waited for until it is late.
#[test]
fn a_worker_that_cannot_be_watched_fails_at_once() {
    if !require::attaching() {
        return;
    }
    let mut srvwrap = srvwrap(SERVES).online();
    let workers = srvwrap.worker_pids();
    let strace = Strace::inject(srvwrap.pid() as i32, "epoll_ctl", "error=ENOSPC:when=1");
    srvwrap.signal(Signal::SIGHUP);
    let line = srvwrap.wait_for("deploy 2 failed: ");
    assert!(line.contains("cannot watch its notice descriptor: No space left on device"), "{line}");
    drop(strace);
    is_unharmed(srvwrap, &workers);
}

/// No descriptor is left for the socket pair, or for its second end, or for the pipe behind it, or for a listener's
/// copy in the child.
#[test]
fn a_deploy_without_descriptors_fails_and_the_old_workers_serve_on() {
    for left in 0..4 {
        let mut srvwrap = srvwrap(SERVES).online();
        let workers = srvwrap.worker_pids();
        leave_descriptors(&srvwrap, Some(left));
        srvwrap.signal(Signal::SIGHUP);
        let line = srvwrap.wait_for("deploy 2 failed: ");
        assert!(line.contains(": Too many open files"), "{left} left: {line}");
        assert!(line.ends_with("; generation 1 keeps serving"), "{line}");
        leave_descriptors(&srvwrap, None);
        is_unharmed(srvwrap, &workers);
    }
}

#[test]
fn a_respawn_without_descriptors_waits_and_comes_back_by_itself() {
    let mut srvwrap = srvwrap(SERVES).online();
    let workers = srvwrap.worker_pids();
    leave_descriptors(&srvwrap, Some(0));
    // The dead leave one each, and a new one takes four.
    workers.values().for_each(|pid| kill_worker(*pid));
    for line in srvwrap.wait_for_times(": Too many open files", 4) {
        assert!(line.contains(": cannot ") && line.contains("; retrying in "), "{line}");
    }
    leave_descriptors(&srvwrap, None);
    srvwrap.wait_for_times(" online after ", 2);
    assert!(proc::ticks(srvwrap.pid() as i32) < 30, "it was busy");
    let workers = srvwrap.worker_pids();
    is_unharmed(srvwrap, &workers);
}

/// At boot the limit is what srvwrap was started with, and no more can be had.
#[test]
fn a_boot_without_descriptors_ends_with_the_reason() {
    for few in 3..12 {
        let starting = srvwrap(["-p", "unix:app.sock"].into_iter().chain(SERVES)).with(|command| {
            before_exec(command, move || {
                let limit = libc::rlimit { rlim_cur: few, rlim_max: few };
                // SAFETY: the limit lives through the call.
                unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
                Ok(())
            });
        });
        let mut srvwrap = starting.start();
        let code = srvwrap.exit_code();
        let log = srvwrap.log();
        // With fewer than it takes to load a program nothing is said by srvwrap, but by the loader.
        assert!(code == 1 || code == 127, "{few}: {code}, {log}");
        assert!(code == 127 || log.contains("Too many open files"), "{few}: {log}");
        assert!(!log.contains("panicked"), "{few}: {log}");
        assert!(!srvwrap.directory.path().join("app.sock").exists(), "{few}: {log}");
    }
}
