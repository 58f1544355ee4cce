//! What /proc tells about a process, and ways to start srvwrap from within another program.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use super::{Starting, before_exec, wait_until};

/// The same srvwrap, executed by another program: `under(starting, &["nohup"])`. The child of the test is then that
/// program.
pub(crate) fn under(starting: Starting, wrapper: &[&str]) -> Starting {
    starting.with(|command| {
        let mut wrapped = plain(wrapper[0]);
        wrapped.args(&wrapper[1..]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped.current_dir(command.get_current_dir().expect("each test has a directory"));
        wrapped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        *command = wrapped;
    })
}

/// As process 1 of a namespace of its own. `unshare` is the child of the test, and ends as srvwrap does;
/// [`only_child`] is srvwrap.
pub(crate) fn as_process_one(starting: Starting) -> Starting {
    under(starting, &["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"])
}

/// A program that is started with no signal blocked and none ignored. A test that wants one ignored adds that.
pub(crate) fn plain(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    plain_signals(&mut command);
    command
}

/// No signal blocked and none ignored, whatever the tests were started with: nohup ignores HUP, and a shell INT in what
/// it starts in the background. srvwrap lets an ignored HUP be no deploy, and no shell can trap what is ignored.
pub(crate) fn plain_signals(command: &mut Command) {
    before_exec(command, || {
        for signal in (1..=64).filter(|signal| !matches!(signal, 9 | 19 | 32 | 33)) {
            // SAFETY: changes the disposition of a process that is about to exec.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        // SAFETY: an empty set on this stack.
        unsafe {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        }
        Ok(())
    });
}

/// The children of a process, zombies among them. Empty where the process is gone.
pub(crate) fn children_of(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Waits for the one child that a process has.
pub(crate) fn only_child(pid: i32) -> i32 {
    wait_until("a child", || children_of(pid).len() == 1);
    children_of(pid)[0]
}

/// `R`, `S`, `T`, `Z`, …; nothing where the process is gone.
pub(crate) fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// One of the sets of signals in /proc/PID/status: bit `n - 1` stands for signal `n`. Without 32 and 33, which the C
/// library keeps to itself, so that the tests cannot set them for srvwrap.
pub(crate) fn signal_set(pid: i32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or_default()
        & !(bit(32) | bit(33))
}

/// The bit of a signal in such a set.
pub(crate) fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}
