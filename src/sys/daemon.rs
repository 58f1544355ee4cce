//! A process in the background: of another session, with nothing left of the terminal and the pipes of its caller.
//!
//! ```text
//!   caller ── fork ──> intermediate: a session of its own ── fork ──> daemon: never the leader of a session
//!     │ reaps it <──────────── exits                                    │
//!     └ reads the report until its end <──────────── pipe ──────────────┘ settle: stdio, every other descriptor
//! ```
//!
//! It is done before anything else is set up, while every signal is blocked: nothing is lost on the way, and nothing
//! that belongs to one process (being a subreaper, a death signal) is left with the wrong one. That a daemon does not
//! lead its session keeps it from getting a terminal by opening one.
//!
//! What this file does not do: change the directory or the umask. Workers are to have the caller's.

use std::os::fd::{OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::prctl;
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

use super::report::Report;
use super::startup;

/// Which of the two processes this is now.
#[derive(Debug)]
pub(crate) enum Side {
    /// The one that was started by somebody who waits. The report ends when the daemon has no more to say.
    Caller { report: OwnedFd },
    /// The one that stays.
    Daemon { report: Report },
}

/// To be called while this process has one thread, no child and nothing but what it was started with.
pub(crate) fn divide() -> nix::Result<Side> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    // The daemon is to become the child of process 1 (or of a supervisor above us), and not ours.
    let _ = prctl::set_child_subreaper(false);
    // SAFETY: there is one thread, so that the child may do what the parent may.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(writer);
            see_off(child)?;
            Ok(Side::Caller { report: reader })
        }
        ForkResult::Child => {
            drop(reader);
            leave_session();
            // No other process has this description, so that nobody else is surprised.
            fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            Ok(Side::Daemon { report: Report::new(writer) })
        }
    }
}

/// In the intermediate process, and returns in the daemon only.
fn leave_session() {
    // A child that was just made leads no group, so that this cannot fail.
    let _ = setsid();
    // SAFETY: as above.
    let code = match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            // Not inherited. Without it orphans go to process 1, as they always did.
            let _ = prctl::set_child_subreaper(true);
            return;
        }
        Ok(ForkResult::Parent { .. }) => 0,
        Err(errno) => errno as i32,
    };
    // SAFETY: ends this process, without what the other two have to do at their ends.
    unsafe { libc::_exit(code) }
}

/// The intermediate process says by its exit status why it could not make a daemon.
fn see_off(intermediate: Pid) -> nix::Result<()> {
    loop {
        match waitpid(intermediate, None) {
            Ok(WaitStatus::Exited(_, 0)) => return Ok(()),
            Ok(WaitStatus::Exited(_, code)) => return Err(Errno::from_raw(code)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            // Killed by somebody: whether there is a daemon shows in the report.
            Ok(_) => return Ok(()),
        }
    }
}

/// In the daemon: reads nothing, writes nothing, and lets go of everything that the caller had open, but for the report
/// and what is `kept`.
pub(crate) fn settle(report: &Report, kept: impl Iterator<Item = RawFd>) -> nix::Result<()> {
    close_all_but(&report.fd_number().into_iter().chain(kept).collect::<Vec<RawFd>>());
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)
}

/// Every descriptor from 3 on but these.
pub(super) fn close_all_but(kept: &[RawFd]) {
    let is_kept = |fd: u32| kept.iter().any(|kept| u32::try_from(*kept) == Ok(fd));
    let next_kept =
        |first: u32| kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= first).min();
    let (mut first, mut done) = (3, true);
    while let Some(fd) = next_kept(first) {
        done &= fd == first || close_range(first, fd - 1);
        first = fd + 1;
    }
    if !(done && close_range(first, u32::MAX)) {
        // Kernels before 5.9 and filters of older container runtimes.
        for fd in
            startup::descriptors_from_3().into_iter().filter(|fd| !u32::try_from(*fd).is_ok_and(is_kept))
        {
            // SAFETY: closes a number that nobody in this process has taken for its own yet.
            unsafe { libc::close(fd) };
        }
    }
}

fn close_range(first: u32, last: u32) -> bool {
    // SAFETY: closes numbers that nobody in this process has taken for its own yet.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
}

/// Why this process is not one to come back from: who started it expects it to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    /// It is process 1, and its end is that of the container.
    ProcessOne,
    /// It is the main process of a systemd unit.
    SystemdUnit,
}

/// `exec_pid` is the variable SYSTEMD_EXEC_PID, which children inherit and which counts for one process only.
pub(crate) fn stays(exec_pid: Option<&str>) -> Option<Stays> {
    let pid = std::process::id();
    if pid == 1 {
        Some(Stays::ProcessOne)
    } else if exec_pid.and_then(|text| text.parse().ok()) == Some(pid) {
        Some(Stays::SystemdUnit)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    use crate::sys::apart::{Apart, run_apart};
    use crate::sys::startup::Startup;

    #[test]
    fn a_process_stays_only_where_the_variable_names_it() {
        let pid = std::process::id();
        assert_eq!(stays(None), None);
        assert_eq!(stays(Some("")), None);
        assert_eq!(stays(Some(&(pid + 1).to_string())), None);
        assert_eq!(stays(Some(&pid.to_string())), Some(Stays::SystemdUnit));
    }

    #[test]
    fn what_was_inherited_is_let_go_of() {
        let test = "sys::daemon::tests::what_was_inherited_is_let_go_of";
        if run_apart(test, &Startup::plain()) == Apart::Done {
            return;
        }
        let (reader, writer) = nix::unistd::pipe().unwrap();
        for number in [50, 250, 251, 252] {
            // SAFETY: these numbers are nobody's in this process.
            assert_eq!(unsafe { libc::dup2(1, number) }, number);
        }
        let kept = writer.as_raw_fd();
        let report = Report::new(writer);
        let mut reader = File::from(reader);
        // SAFETY: a child, which does no more than this and ends without its parent's farewells.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let settled = settle(&report, [251].into_iter());
                let open: Vec<RawFd> =
                    startup::descriptors_from_3().into_iter().filter(|fd| is_open(*fd)).collect();
                let is_null = |fd| {
                    fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|to| to == Path::new("/dev/null"))
                };
                let verdict = [settled.is_ok(), open == [kept, 251], is_null(0), is_null(1), is_null(2)];
                let code = i32::from(verdict != [true; 5]);
                // SAFETY: see above.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => {
                drop(report);
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            }
        }
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    fn is_open(fd: RawFd) -> bool {
        // SAFETY: reads one flag.
        unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
    }
}
