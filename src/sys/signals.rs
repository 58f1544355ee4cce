//! Signals as something to read: each is counted by its handler, and a byte on a pipe wakes the loop.
//!
//! ```text
//!   signal ──> handler: COUNTS[signal][origin] += 1, a byte into the pipe ──> fd() readable ──> drain()
//! ```
//!
//! Every signal that can be caught has a handler, so that none ends srvwrap by surprise, but for:
//! - ILL, FPE, SEGV, BUS: a fault of this very program, from which there is no return;
//! - TSTP and CONT: Ctrl-Z pauses srvwrap, and only srvwrap, as it would any program;
//! - PIPE: ignored, as Rust's runtime has it; writes fail with EPIPE instead;
//! - 32 and 33: the C library's own;
//! - HUP, where it was ignored at the start (nohup): it stays so.
//!
//! What this file does not do: decide what a signal means.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd;

use super::signal_state::{self, Change, HIGHEST_SIGNAL, SignalSet};
use super::startup::Startup;

/// Who made a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A process, by kill, sigqueue or tgkill.
    Process,
    /// The kernel: a child's death, a terminal's key or hang-up, a limit.
    Kernel,
}

/// Signals of one number and one origin since the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) signal: i32,
    pub(crate) origin: Origin,
    /// At least 1. Of those below 32 the kernel keeps one at a time, so there may have been more.
    pub(crate) count: u32,
}

/// The reading end. There is one for the whole life of the process.
pub(crate) struct Signals {
    reader: OwnedFd,
}

impl Signals {
    /// To be called once. Puts the handlers in place, then lets in all signals, those too that had come since the
    /// start, and those that whoever started srvwrap had blocked: a supervisor that TERM does not reach cannot be
    /// stopped.
    pub(crate) fn install(startup: &Startup) -> io::Result<Signals> {
        let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        WAKE.store(writer.into_raw_fd(), Ordering::Relaxed);
        for signal in (1..=HIGHEST_SIGNAL).filter(|signal| !left_alone(*signal)) {
            if signal == libc::SIGHUP && startup.hup_ignored() {
                continue;
            }
            // SAFETY: `note` only uses atomics and async-signal-safe calls, and cannot panic: the number is in range.
            unsafe {
                signal_hook_registry::register_sigaction(signal, move |info| note(signal, info.si_code))
            }?;
        }
        signal_state::change_mask(Change::Replace, SignalSet::EMPTY);
        Ok(Signals { reader })
    }

    /// Readable when something has arrived. To be watched, not read: that is what [`Signals::drain`] does.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Everything that has arrived, by number, and of one number what processes sent first. Empty when nothing has.
    pub(crate) fn drain(&self) -> Vec<Arrived> {
        // First the pipe, then the counts: a signal in between is counted now, and its byte only wakes the loop once
        // too often.
        self.empty_pipe();
        let mut arrived = Vec::new();
        for (signal, counts) in (0..).zip(&COUNTS) {
            for (origin, count) in [Origin::Process, Origin::Kernel].into_iter().zip(counts) {
                let count = count.swap(0, Ordering::SeqCst);
                if count > 0 {
                    arrived.push(Arrived { signal, origin, count });
                }
            }
        }
        arrived
    }

    fn empty_pipe(&self) {
        let mut bytes = [0; 512];
        while matches!(unistd::read(&self.reader, &mut bytes), Ok(1..) | Err(Errno::EINTR)) {}
    }
}

fn left_alone(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGKILL
            | libc::SIGSTOP
            | libc::SIGILL
            | libc::SIGFPE
            | libc::SIGSEGV
            | libc::SIGBUS
            | libc::SIGTSTP
            | libc::SIGCONT
            | libc::SIGPIPE
            | 32
            | 33
    )
}

static COUNTS: [[AtomicU32; 2]; HIGHEST_SIGNAL as usize + 1] =
    [const { [const { AtomicU32::new(0) }; 2] }; HIGHEST_SIGNAL as usize + 1];

/// The writing end of the pipe, never closed.
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// Runs inside the handler.
fn note(signal: i32, code: i32) {
    let by_process = matches!(code, libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL);
    // Made by the kernel these two are a fault: a breakpoint, or a call that a seccomp filter refused and that would
    // now seem to have returned its own number. Only a handler that knows the filter could go on.
    if !by_process && matches!(signal, libc::SIGTRAP | libc::SIGSYS) {
        // Does not return: the signal has its default action again, and ends this process.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    COUNTS[signal as usize][usize::from(!by_process)].fetch_add(1, Ordering::SeqCst);
    // A full pipe is a readable one, so that a byte that does not fit is not missed.
    // SAFETY: writes one byte that lives through the call; errno is kept by signal-hook.
    unsafe { libc::write(WAKE.load(Ordering::Relaxed), [0u8].as_ptr().cast(), 1) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::apart::{Apart, run_apart};
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    /// To this very thread: to the process, another thread might be handling it still when this returns.
    fn raise(signal: i32) {
        // SAFETY: takes a number.
        assert_eq!(unsafe { libc::raise(signal) }, 0);
    }

    fn readable(fd: BorrowedFd<'_>) -> bool {
        poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
    }

    fn from_process(signal: i32, count: u32) -> Arrived {
        Arrived { signal, origin: Origin::Process, count }
    }

    #[test]
    fn every_signal_but_the_documented_ones_is_counted_and_none_is_deadly() {
        let test = "sys::signals::tests::every_signal_but_the_documented_ones_is_counted_and_none_is_deadly";
        if run_apart(test, &Startup::plain()) == Apart::Done {
            return;
        }
        let signals = Signals::install(&Startup::plain()).unwrap();
        assert!(!readable(signals.fd()));
        let caught = || (1..=HIGHEST_SIGNAL).filter(|signal| !left_alone(*signal));
        caught().chain([libc::SIGPIPE, libc::SIGCONT]).for_each(raise);
        assert!(readable(signals.fd()));
        assert_eq!(signals.drain(), caught().map(|signal| from_process(signal, 1)).collect::<Vec<_>>());
        assert_eq!(caught().count(), 64 - 11);
        assert!(!readable(signals.fd()));
        assert_eq!(signals.drain(), []);
    }

    #[test]
    fn what_came_while_blocked_arrives_and_the_kernels_signals_are_told_apart() {
        let test =
            "sys::signals::tests::what_came_while_blocked_arrives_and_the_kernels_signals_are_told_apart";
        let blocked = Startup { mask: SignalSet::ALL, ..Startup::plain() };
        if run_apart(test, &blocked) == Apart::Done {
            return;
        }
        // SAFETY: takes two numbers. All threads block the signal, so that it waits for the one that lets it in.
        assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGTERM) }, 0);
        (0..3).for_each(|_| raise(40));
        // SAFETY: the child calls nothing but _exit.
        if unsafe { libc::fork() } == 0 {
            // SAFETY: takes a number.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: waits until the child is dead, which leaves SIGCHLD pending.
        assert!(unsafe { libc::wait(std::ptr::null_mut()) } > 0);

        let signals = Signals::install(&blocked).unwrap();
        let death = Arrived { signal: libc::SIGCHLD, origin: Origin::Kernel, count: 1 };
        assert_eq!(signals.drain(), [from_process(libc::SIGTERM, 1), death, from_process(40, 3)]);
    }

    #[test]
    fn a_hang_up_that_was_ignored_at_the_start_stays_ignored() {
        let test = "sys::signals::tests::a_hang_up_that_was_ignored_at_the_start_stays_ignored";
        let nohup = Startup::plain().ignoring(libc::SIGHUP);
        if run_apart(test, &nohup) == Apart::Done {
            return;
        }
        let signals = Signals::install(&nohup).unwrap();
        raise(libc::SIGHUP);
        raise(libc::SIGUSR1);
        assert_eq!(signals.drain(), [from_process(libc::SIGUSR1, 1)]);
    }

    #[test]
    fn a_hundred_thousand_signals_do_not_block_the_handler() {
        let test = "sys::signals::tests::a_hundred_thousand_signals_do_not_block_the_handler";
        if run_apart(test, &Startup::plain()) == Apart::Done {
            return;
        }
        let signals = Signals::install(&Startup::plain()).unwrap();
        (0..100_000).for_each(|_| raise(libc::SIGWINCH));
        assert_eq!(signals.drain(), [from_process(libc::SIGWINCH, 100_000)]);
        assert!(!readable(signals.fd()));
    }
}
