//! A child process that waiting for children does not see, and that shares nothing with srvwrap but one socket.
//!
//! ```text
//!   srvwrap                                      child
//!   block all signals, clone(exit signal 0) ───> session         its own: no terminal, and nobody's group
//!   put the mask back                            signals         those that end or ask something of srvwrap: ignored
//!                                                stdio           a pipe to nobody
//!   reap(pid), by its number alone               descriptors     one is kept, the others are closed
//!                                                name, directory `srvwrap-log`, /
//! ```
//!
//! A child whose exit signal is not CHLD is passed over by wait calls that do not ask for such (`__WALL`): the
//! supervisor neither counts nor reaps it. It was not executed, so that it needs no /proc, and nothing in an empty
//! root.
//!
//! Ctrl-C and `systemctl stop` reach every process of the group or of the cgroup. This one ends when the socket does.
//!
//! What this file does not do: know what the child is for.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid};

use super::children::{Pid, WaitStatus};
use super::daemon::close_all_but;
use super::signal_state::{self, Change, SignalSet};

/// In the parent the number of the child; in the child nothing, and every signal is blocked. To be called where there
/// is one thread: in the child memory is as it was.
pub(crate) fn divide() -> nix::Result<Option<Pid>> {
    let before = signal_state::change_mask(Change::Block, SignalSet::ALL);
    // SAFETY: with neither flags nor a stack it is fork(2) with another exit signal. All arguments are zeros, so that
    // their order, which is not the same on every architecture, does not matter.
    let number = unsafe { libc::syscall(libc::SYS_clone, 0usize, 0usize, 0usize, 0usize, 0usize) };
    if number == 0 {
        return Ok(None);
    }
    let errno = Errno::last();
    signal_state::change_mask(Change::Replace, before);
    i32::try_from(number).ok().and_then(Pid::new).map(Some).ok_or(errno)
}

/// In the child, first of all: lets go of everything but this descriptor, and lets signals in.
pub(crate) fn settle(kept: &impl AsFd) {
    // A child that was just made leads no group, so that this cannot fail.
    let _ = setsid();
    signal_state::ignore_only(ignored());
    // One that holds no directory lets its file system go.
    let _ = chdir("/");
    write_to_nobody();
    close_all_but(&[kept.as_fd().as_raw_fd()]);
    let _ = prctl::set_name(c"srvwrap-log");
    signal_state::change_mask(Change::Replace, SignalSet::EMPTY);
}

/// XFSZ as well: a file that grows over its limit is an error like others.
fn ignored() -> SignalSet {
    use libc::{SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
    [SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ]
        .into_iter()
        .fold(SignalSet::EMPTY, SignalSet::with)
}

/// stdin, stdout and stderr stay taken, so that no file gets their numbers. There may be no /dev/null.
fn write_to_nobody() {
    let Ok((_, nobody)) = pipe2(OFlag::O_CLOEXEC) else { return };
    let _ = dup2_stdin(&nobody);
    let _ = dup2_stdout(&nobody);
    let _ = dup2_stderr(&nobody);
}

/// How a child of [`divide`] or of fork(2) ended, and gives its number back. Nothing while it lives.
pub(crate) fn reap(pid: Pid) -> Option<WaitStatus> {
    let mut status = 0;
    // SAFETY: the call writes one number; WNOHANG, so that it does not wait.
    let reaped =
        unsafe { libc::waitpid(pid.number(), ptr::from_mut(&mut status), libc::WNOHANG | libc::__WALL) };
    if reaped != pid.number() {
        return None;
    }
    Some(match libc::WIFEXITED(status) {
        true => WaitStatus::Exited(libc::WEXITSTATUS(status)),
        false => {
            WaitStatus::Signaled { signal: libc::WTERMSIG(status), core_dumped: libc::WCOREDUMP(status) }
        }
    })
}

/// Ends this process, a child, without what the parent has to do at its end.
pub(crate) fn end(code: i32) -> ! {
    // SAFETY: takes a number, and does not return.
    unsafe { libc::_exit(code) }
}
