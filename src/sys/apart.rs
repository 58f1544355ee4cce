//! Runs one test in a process of its own, for what belongs to a whole process: its children, handlers, descriptors.
//!
//! ```text
//!   cargo test ──> test, a thread among others ──exec──> the same test, and no other
//!                  Apart::Done when that has passed      Apart::Here
//! ```

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::signal_state::{self, Change};
use super::startup::Startup;

const MARK: &str = "SRVWRAP_TEST_APART";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Apart {
    /// This is the process to run the test's body in.
    Here,
    /// The body has run and passed in a process of its own.
    Done,
}

/// `test` is the full name of the calling test; its process starts with the mask and the ignored signals of
/// `inherited`.
#[expect(clippy::disallowed_methods, reason = "a test of its own process cannot be started by what it tests")]
pub(crate) fn run_apart(test: &str, inherited: &Startup) -> Apart {
    if env::var_os(MARK).is_some() {
        return Apart::Here;
    }
    let inherited = *inherited;
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--test-threads=1"]).env(MARK, "1");
    // SAFETY: both calls are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            signal_state::ignore_only(inherited.ignored);
            signal_state::change_mask(Change::Replace, inherited.mask);
            Ok(())
        });
    }
    let output = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Apart::Done
}

/// The current directory and the umask are the process's; this thread takes its own, so that tests that run beside it
/// keep theirs.
pub(crate) fn own_directory() {
    // SAFETY: a system call without memory.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_FS) }, 0);
}

pub(crate) fn own_umask(mask: u32) {
    own_directory();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
}
