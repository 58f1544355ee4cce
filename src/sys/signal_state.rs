//! The two things about signals that a program keeps through exec: which are blocked, and which are ignored.
//!
//! Everything here is async-signal-safe, so that it can be used between fork and exec and before `main`. The
//! kernel is asked directly for the mask, because the C library hides the two signals that it uses itself (32 and
//! 33), and a worker is to get the very mask that srvwrap was given.
//!
//! Handlers are not known here: see `signals.rs`.

use std::mem;
use std::ptr;

/// The highest signal number on Linux.
pub(crate) const HIGHEST_SIGNAL: i32 = 64;

/// A set of signals as the kernel has it: bit `n - 1` stands for signal `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignalSet(u64);

impl SignalSet {
    pub(crate) const EMPTY: SignalSet = SignalSet(0);
    pub(crate) const ALL: SignalSet = SignalSet(u64::MAX);

    pub(crate) const fn from_bits(bits: u64) -> SignalSet {
        SignalSet(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// This set and one more signal (1 to 64).
    pub(crate) const fn with(self, signal: i32) -> SignalSet {
        SignalSet(self.0 | 1 << (signal - 1))
    }

    pub(crate) const fn contains(self, signal: i32) -> bool {
        self.0 & (1 << (signal - 1)) != 0
    }
}

/// What a set does to the mask of the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// These are blocked as well.
    Block,
    /// These and no others are blocked.
    Replace,
}

/// Changes which signals are blocked and returns those that were before. The kernel leaves out KILL and STOP.
pub(crate) fn change_mask(change: Change, set: SignalSet) -> SignalSet {
    let how = match change {
        Change::Block => libc::SIG_BLOCK,
        Change::Replace => libc::SIG_SETMASK,
    };
    let mut before = SignalSet::EMPTY;
    // SAFETY: both pointers are to eight bytes that live through the call, and eight is the size that the kernel
    // is told. With them the call has no way to fail.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set.0, &raw mut before.0, size_of::<u64>())
    };
    before
}

/// Which signals this process ignores now.
pub(crate) fn ignored() -> SignalSet {
    let mut ignored = SignalSet::EMPTY;
    for signal in 1..=HIGHEST_SIGNAL {
        // SAFETY: all zeros is a valid sigaction, and the call only writes into it. For 32 and 33 the C library
        // refuses and leaves it as it is, "default": nobody here ever changes those two.
        let action = unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            libc::sigaction(signal, ptr::null(), &raw mut action);
            action
        };
        if action.sa_sigaction == libc::SIG_IGN {
            ignored = ignored.with(signal);
        }
    }
    ignored
}

/// Ignores these signals and gives every other one its default action, handlers of ours included.
pub(crate) fn ignore_only(ignored: SignalSet) {
    for signal in 1..=HIGHEST_SIGNAL {
        set_ignored(signal, ignored.contains(signal));
    }
}

/// Ignores one signal, or gives it its default action. What cannot be changed (KILL, STOP, 32, 33) stays.
pub(crate) fn set_ignored(signal: i32, ignore: bool) {
    // SAFETY: all zeros is a valid sigaction (no flags, empty mask); neither action is a function.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
        libc::sigaction(signal, &raw const action, ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_the_signals_put_into_it_and_no_others() {
        let set = SignalSet::EMPTY.with(1).with(64).with(libc::SIGTERM);
        let held: Vec<i32> = (1..=HIGHEST_SIGNAL).filter(|signal| set.contains(*signal)).collect();
        assert_eq!(held, [1, libc::SIGTERM, 64]);
        assert_eq!(SignalSet::from_bits(set.bits()), set);
    }

    #[test]
    fn the_mask_is_the_threads_own_and_comes_back_exactly() {
        let before = change_mask(Change::Block, SignalSet::EMPTY.with(libc::SIGUSR1).with(33));
        let blocked = change_mask(Change::Replace, before);
        assert_eq!(blocked, before.with(libc::SIGUSR1).with(33));
        assert_eq!(change_mask(Change::Block, SignalSet::EMPTY), before);
    }
}
