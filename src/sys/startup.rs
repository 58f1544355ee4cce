//! What srvwrap was started with, so that every worker can be given the same.
//!
//! ```text
//!   exec ──> .init_array ─────────> Rust's runtime ──> main: Startup::take ──> Signals::install
//!            look at mask and       ignores PIPE       limits, descriptors,    handlers in place,
//!            dispositions,                             subreaper, CHLD         signals let in
//!            block everything
//! ```
//!
//! Rust's runtime ignores SIGPIPE before `main` and forgets what was there, so the look has to be earlier: a function
//! that the loader calls (the C library's start code does in a static binary). And from that moment on everything is
//! blocked: a signal that comes before the handlers would be dropped if this is process 1, and deadly if not. It
//! waits instead.
//!
//! What this file does not do: install handlers (`signals.rs`), or give a worker what it kept (`process.rs`).

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use super::signal_state::{self, Change, SignalSet};

static MASK: AtomicU64 = AtomicU64::new(0);
static IGNORED: AtomicU64 = AtomicU64::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look_and_block;

extern "C" fn look_and_block() {
    // Tests are to end at Ctrl-C: in them only the look is taken.
    let block = if cfg!(test) { SignalSet::EMPTY } else { SignalSet::ALL };
    MASK.store(signal_state::change_mask(Change::Block, block).bits(), Ordering::Relaxed);
    IGNORED.store(signal_state::ignored().bits(), Ordering::Relaxed);
}

/// What was inherited and has to be handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Startup {
    /// The signals that were blocked.
    pub(super) mask: SignalSet,
    /// The signals that were ignored.
    pub(super) ignored: SignalSet,
    /// The soft RLIMIT_NOFILE as it was, in descriptors; nothing where it could not be read.
    pub(super) open_files: Option<rlim_t>,
}

impl Startup {
    /// To be called first in `main`, once. Takes down what was inherited and makes this process fit to supervise:
    /// - its limit of open files is raised to the hard one;
    /// - no descriptor from 3 on reaches a program that it executes, unless placed there;
    /// - what its children leave behind becomes its own child;
    /// - the status of a child is kept until it is asked for, also where SIGCHLD was inherited as ignored.
    ///
    /// None of these is reason enough not to run, so each is tried and no more: without the right to be a subreaper,
    /// for one, orphans go to process 1 as they always did.
    pub(crate) fn take() -> Startup {
        let startup = Startup {
            mask: SignalSet::from_bits(MASK.load(Ordering::Relaxed)),
            ignored: SignalSet::from_bits(IGNORED.load(Ordering::Relaxed)),
            open_files: raise_open_files(),
        };
        keep_inherited_descriptors_from_workers();
        let _ = prctl::set_child_subreaper(true);
        if startup.ignored.contains(libc::SIGCHLD) {
            signal_state::set_ignored(libc::SIGCHLD, false);
        }
        startup
    }

    /// Whether SIGHUP was ignored (nohup): it is to stay so.
    pub(crate) fn hup_ignored(&self) -> bool {
        self.ignores(libc::SIGHUP)
    }

    /// Whether a signal (1 to 64) was ignored: a shell has INT and QUIT ignored by what it starts in the background.
    pub(crate) fn ignores(&self, signal: i32) -> bool {
        self.ignored.contains(signal)
    }

    /// Lets in again what was blocked before `main` only: for a program that lives as any other, and ends at Ctrl-C.
    /// In the place of `Signals::install`.
    pub(crate) fn restore_mask(&self) {
        signal_state::change_mask(Change::Replace, self.mask);
    }
}

fn raise_open_files() -> Option<rlim_t> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft < hard {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    Some(soft)
}

/// Editors, terminals and CI runners leak descriptors into everything that they start. They stay open here, since
/// some may be sockets handed in on purpose, but end at exec.
fn keep_inherited_descriptors_from_workers() {
    // SAFETY: takes three numbers and changes only flags of descriptors.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    // ENOSYS: before Linux 5.9; EINVAL: 5.9 and 5.10, which do not know the flag; EPERM: filters of older container
    // runtimes. There is a second way, whatever the reason.
    if done != 0 && close_on_exec_by_listing("/proc/self/fd").is_err() {
        close_on_exec_by_counting();
    }
}

fn close_on_exec_by_listing(directory: &str) -> io::Result<()> {
    listed(directory)?.into_iter().for_each(close_on_exec);
    Ok(())
}

/// From 3 on. That of the listing itself is among them, and closed again.
fn listed(directory: &str) -> io::Result<Vec<RawFd>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let number = entry?.file_name();
        let number: Option<RawFd> = OsStr::to_str(&number).and_then(|name| name.parse().ok());
        found.extend(number.filter(|fd| *fd >= 3));
    }
    Ok(found)
}

/// Every number from 3 on that may be that of an open descriptor.
pub(super) fn descriptors_from_3() -> Vec<RawFd> {
    listed("/proc/self/fd").unwrap_or_else(|_| (3..COUNTED_DESCRIPTORS).collect())
}

/// The limit of open files can be a billion (it is in some containers), so it says nothing about where to stop.
const COUNTED_DESCRIPTORS: RawFd = 65_536;

fn close_on_exec_by_counting() {
    (3..COUNTED_DESCRIPTORS).for_each(close_on_exec);
}

fn close_on_exec(fd: RawFd) {
    // SAFETY: changes one flag of a descriptor; on a number that is not open it does nothing.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::apart::{Apart, run_apart};

    impl Startup {
        /// As started by a shell: nothing blocked, nothing ignored, limits untouched.
        pub(crate) fn plain() -> Startup {
            Startup { mask: SignalSet::EMPTY, ignored: SignalSet::EMPTY, open_files: None }
        }
    }

    #[test]
    fn mask_and_ignored_signals_are_those_before_rusts_runtime() {
        let inherited = Startup { mask: SignalSet::EMPTY.with(libc::SIGUSR1).with(40), ..Startup::plain() }
            .ignoring(libc::SIGHUP);
        if run_apart(
            "sys::startup::tests::mask_and_ignored_signals_are_those_before_rusts_runtime",
            &inherited,
        ) == Apart::Done
        {
            return;
        }
        let startup = Startup::take();
        assert_eq!(startup.mask, inherited.mask);
        assert_eq!(
            startup.ignored, inherited.ignored,
            "PIPE, which Rust ignores, was not ignored at the start"
        );
        assert!(startup.hup_ignored());
        assert!(signal_state::ignored().contains(libc::SIGPIPE));
    }

    #[test]
    fn the_mask_comes_back_as_it_was() {
        let inherited = Startup { mask: SignalSet::EMPTY.with(libc::SIGUSR1), ..Startup::plain() };
        if run_apart("sys::startup::tests::the_mask_comes_back_as_it_was", &inherited) == Apart::Done {
            return;
        }
        signal_state::change_mask(Change::Block, SignalSet::ALL);
        Startup::take().restore_mask();
        assert_eq!(signal_state::change_mask(Change::Block, SignalSet::EMPTY), inherited.mask);
    }

    #[test]
    fn an_ignored_sigchld_is_taken_down_and_reset() {
        let inherited = Startup::plain().ignoring(libc::SIGCHLD).ignoring(libc::SIGPIPE);
        if run_apart("sys::startup::tests::an_ignored_sigchld_is_taken_down_and_reset", &inherited)
            == Apart::Done
        {
            return;
        }
        assert!(signal_state::ignored().contains(libc::SIGCHLD));
        assert_eq!(Startup::take().ignored, inherited.ignored);
        assert!(!signal_state::ignored().contains(libc::SIGCHLD));
    }

    #[test]
    fn the_limit_of_open_files_is_raised_and_the_old_one_kept() {
        let test = "sys::startup::tests::the_limit_of_open_files_is_raised_and_the_old_one_kept";
        if run_apart(test, &Startup::plain()) == Apart::Done {
            return;
        }
        setrlimit(Resource::RLIMIT_NOFILE, 200, 300).unwrap();
        let startup = Startup::take();
        assert_eq!(startup.open_files, Some(200));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (300, 300));
        assert!(prctl::get_child_subreaper().unwrap());
    }

    #[test]
    fn each_way_of_marking_inherited_descriptors_finds_them() {
        let test = "sys::startup::tests::each_way_of_marking_inherited_descriptors_finds_them";
        if run_apart(test, &Startup::plain()) == Apart::Done {
            return;
        }
        let ways: [(&str, fn()); 3] = [
            ("close_range", keep_inherited_descriptors_from_workers),
            ("listing", || close_on_exec_by_listing("/proc/self/fd").unwrap()),
            ("counting", close_on_exec_by_counting),
        ];
        for (name, way) in ways {
            for fd in [10, 251, 1000] {
                // SAFETY: these numbers are nobody's in this process.
                assert_eq!(unsafe { libc::dup2(1, fd) }, fd);
            }
            way();
            for fd in [10, 251, 1000] {
                // SAFETY: reads one flag.
                assert_eq!(unsafe { libc::fcntl(fd, libc::F_GETFD) }, libc::FD_CLOEXEC, "{name} left {fd}");
            }
            // SAFETY: reads one flag.
            assert_eq!(unsafe { libc::fcntl(1, libc::F_GETFD) }, 0, "{name} took stdout");
        }
        assert!(close_on_exec_by_listing("/proc/self/nothing").is_err());
    }

    impl Startup {
        pub(crate) fn ignoring(self, signal: i32) -> Startup {
            Startup { ignored: self.ignored.with(signal), ..self }
        }
    }
}
