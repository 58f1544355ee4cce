//! The processes below srvwrap: who has died, who is left, and signals to them.
//!
//! A number is a process's own until its parent has reaped it. So a death is first *seen* ([`next_dead`]), and the
//! number is given back ([`reap`]) only when nothing will be sent to it any more. With a group it is the same: while
//! one member is a child of ours that has not been reaped, the group's number cannot become someone else's
//! ([`group_has_child_of_ours`]), and as a subreaper srvwrap is the parent of what workers leave behind.
//!
//! The C library is called directly where `nix` would fit: it has no real-time signals, and reports a death by one
//! as an error that would hide the death.
//!
//! What this file does not do: wait. Every question is answered at once.

use std::fs;
use std::io;
use std::mem;

use nix::errno::Errno;

/// The number of a process that may be sent signals: 2 or more. 0, 1 and what is below mean "my own group", "init" and
/// "everybody" to kill(2), and cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pid(i32);

impl Pid {
    pub(crate) const fn new(number: i32) -> Option<Pid> {
        if number > 1 { Some(Pid(number)) } else { None }
    }

    pub(crate) const fn number(self) -> i32 {
        self.0
    }
}

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitStatus {
    /// With this status, 0 to 255.
    Exited(i32),
    /// By this signal, 1 to 64.
    Signaled { signal: i32, core_dumped: bool },
}

/// A child that has ended and has not been reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dead {
    pub(crate) pid: Pid,
    pub(crate) status: WaitStatus,
}

/// One dead child, the same at each call until it is reaped. To be called until nothing comes: many deaths may have
/// made one SIGCHLD.
pub(crate) fn next_dead() -> Option<Dead> {
    let info = look(libc::P_ALL, 0, libc::WEXITED)?;
    // SAFETY: these fields are valid in what waitid fills in; where no child has ended the pid is 0.
    let (pid, status) = unsafe { (Pid::new(info.si_pid())?, info.si_status()) };
    let status = match info.si_code {
        libc::CLD_EXITED => WaitStatus::Exited(status),
        code => WaitStatus::Signaled { signal: status, core_dumped: code == libc::CLD_DUMPED },
    };
    Some(Dead { pid, status })
}

/// Gives the number of a dead child back to the system. From here on it may be anybody's.
pub(crate) fn reap(pid: Pid) {
    // SAFETY: a null pointer is allowed for the status. WNOHANG, so that a child that lives after all is not waited
    // for.
    unsafe { libc::waitpid(pid.number(), std::ptr::null_mut(), libc::WNOHANG) };
}

/// Whether a child of ours, dead and not reaped ones included, is in this group: as long as it is, the group's number
/// is not somebody else's.
pub(crate) fn group_has_child_of_ours(group: Pid) -> bool {
    look(libc::P_PGID, group.number(), libc::WEXITED | libc::WSTOPPED).is_some()
}

/// Whether there is nobody left to reap or to wait for.
pub(crate) fn no_children_left() -> bool {
    look(libc::P_ALL, 0, libc::WEXITED).is_none()
}

fn is_child_of_ours(pid: Pid) -> bool {
    look(libc::P_PID, pid.number(), libc::WEXITED).is_some()
}

/// waitid(2) that neither waits nor reaps. Nothing where there is no such child (ECHILD).
fn look(kind: libc::idtype_t, number: i32, states: i32) -> Option<libc::siginfo_t> {
    let id = libc::id_t::try_from(number).ok()?;
    // SAFETY: all zeros is a valid siginfo, and the call only writes into it. With WNOHANG it is not interrupted.
    unsafe {
        let mut info: libc::siginfo_t = mem::zeroed();
        let result = libc::waitid(kind, id, &raw mut info, states | libc::WNOHANG | libc::WNOWAIT);
        (result == 0).then_some(info)
    }
}

/// Sends a signal to one process. False where it is gone.
pub(crate) fn signal(pid: Pid, signal: i32) -> io::Result<bool> {
    kill(pid.number(), signal)
}

/// Sends a signal to each process of a group. False where it is gone.
pub(crate) fn signal_group(group: Pid, signal: i32) -> io::Result<bool> {
    kill(-group.number(), signal)
}

/// Sends a signal to each process of the group that a child of ours was made the leader of, and to that child where it
/// has moved to another group. For a child that has not been reaped: its number keeps the group's from being reused.
pub(crate) fn signal_leader_and_group(leader: Pid, signal_number: i32) -> io::Result<bool> {
    let to_group = signal_group(leader, signal_number);
    if group_of(leader) == Some(leader) {
        return to_group;
    }
    signal(leader, signal_number)?;
    to_group
}

/// The group that a process is in, dead and not reaped ones included. Nothing where it is gone, or in a group from
/// outside of this pid namespace.
pub(crate) fn group_of(pid: Pid) -> Option<Pid> {
    // SAFETY: takes a number.
    Pid::new(unsafe { libc::getpgid(pid.number()) })
}

/// The process that would be told of its end. Nothing where it is gone, or there is no /proc.
pub(crate) fn parent_of(pid: Pid) -> Option<Pid> {
    let parent = parent_in(&fs::read(format!("/proc/{pid}/stat")).ok()?)?;
    Pid::new(i32::try_from(parent).ok()?)
}

/// The user that a process runs as (its effective one), dead and not reaped ones included. As above.
pub(crate) fn user_of(pid: Pid) -> Option<u32> {
    // The owner of the directory in /proc is root's where the process has changed its user.
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn kill(number: i32, signal: i32) -> io::Result<bool> {
    // SAFETY: takes two numbers; `Pid` keeps away those that mean more than one process or group.
    if unsafe { libc::kill(number, signal) } == 0 {
        return Ok(true);
    }
    let errno = Errno::last();
    if errno == Errno::ESRCH { Ok(false) } else { Err(errno.into()) }
}

/// The children of this process, in no order. Each that /proc names is asked for by number once more, so that a /proc
/// of other numbers (a host's, in a container) names nobody.
pub(crate) fn children() -> Vec<Pid> {
    let numbers = listed_children().or_else(|_| scanned_children()).unwrap_or_default();
    let found = ours(numbers);
    // There may be no /proc, or a foreign one. Asking for every number takes about a second, at the end of a stop.
    if found.is_empty() && !no_children_left() { ours(2..=HIGHEST_PID) } else { found }
}

/// No Linux gives a higher one (PID_MAX_LIMIT in its threads.h).
const HIGHEST_PID: i32 = 4 * 1024 * 1024;

fn ours(numbers: impl IntoIterator<Item = i32>) -> Vec<Pid> {
    numbers.into_iter().filter_map(Pid::new).filter(|pid| is_child_of_ours(*pid)).collect()
}

/// From the kernel's own list, which not every kernel is built with.
fn listed_children() -> io::Result<Vec<i32>> {
    let mut numbers = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let list = fs::read_to_string(task?.path().join("children"))?;
        numbers.extend(list.split_ascii_whitespace().filter_map(|number| number.parse::<i32>().ok()));
    }
    Ok(numbers)
}

/// From every process's own word on its parent.
fn scanned_children() -> io::Result<Vec<i32>> {
    let us = std::process::id();
    let processes =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let has_us_as_parent = |number: &i32| {
        fs::read(format!("/proc/{number}/stat")).is_ok_and(|stat| parent_in(&stat) == Some(us))
    };
    Ok(processes.filter(has_us_as_parent).collect())
}

/// `PID (NAME) STATE PARENT …`: a name may hold anything, closing brackets and newlines too.
fn parent_in(stat: &[u8]) -> Option<u32> {
    let name_end = memchr::memrchr(b')', stat)?;
    let parent =
        stat[name_end + 1..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).nth(1)?;
    std::str::from_utf8(parent).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::apart::{Apart, run_apart};
    use crate::sys::startup::Startup;

    #[test]
    fn no_pid_stands_for_init_or_for_everybody() {
        assert!([i32::MIN, -1, 0, 1].into_iter().all(|number| Pid::new(number).is_none()));
        assert_eq!(Pid::new(2).map(Pid::number), Some(2));
    }

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent_in(b"7 (sh) S 3 7 7 0"), Some(3));
        assert_eq!(parent_in(b"7 (a) (b\nc) S 99) R 4 7 7"), Some(4));
        assert_eq!((parent_in(b"7 (sh"), parent_in(b"7 (sh) S"), parent_in(b"")), (None, None, None));
    }

    /// A child that does `action` in a group of its own, and does not outlive a failed test.
    fn child(action: fn()) -> Pid {
        // SAFETY: the actions below are single system calls.
        let number = unsafe { libc::fork() };
        if number == 0 {
            // SAFETY: numbers only, and then the process ends.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::setpgid(0, 0);
                action();
                libc::_exit(99)
            };
        }
        // SAFETY: takes two numbers.
        unsafe { libc::setpgid(number, number) };
        Pid::new(number).expect("fork works in tests")
    }

    fn pause() {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }

    /// Waits for a death without reaping.
    fn wait_for_death(pid: Pid) {
        // SAFETY: writes into memory of this function.
        unsafe {
            let mut info: libc::siginfo_t = mem::zeroed();
            let id = libc::id_t::try_from(pid.number()).unwrap();
            libc::waitid(libc::P_PID, id, &raw mut info, libc::WEXITED | libc::WNOWAIT);
        }
    }

    #[test]
    fn a_dead_child_is_seen_until_it_is_reaped_and_keeps_its_group() {
        let test = "sys::children::tests::a_dead_child_is_seen_until_it_is_reaped_and_keeps_its_group";
        if run_apart(test, &Startup::plain()) == Apart::Done {
            return;
        }
        assert!(no_children_left() && next_dead().is_none() && children().is_empty());
        let pid = child(pause);
        assert!(!no_children_left() && next_dead().is_none() && group_has_child_of_ours(pid));
        assert_eq!((children(), scanned_children().unwrap()), (vec![pid], vec![pid.number()]));
        assert_eq!((ours(0..=pid.number() + 1), group_of(pid)), (vec![pid], Some(pid)));
        let us = Pid::new(i32::try_from(std::process::id()).unwrap());
        assert_eq!((parent_of(pid), user_of(pid)), (us, Some(nix::unistd::geteuid().as_raw())));

        assert!(signal_group(pid, 40).unwrap());
        wait_for_death(pid);
        let status = WaitStatus::Signaled { signal: 40, core_dumped: false };
        assert_eq!((next_dead(), next_dead()), (Some(Dead { pid, status }), Some(Dead { pid, status })));
        assert!(signal(pid, libc::SIGTERM).unwrap() && group_has_child_of_ours(pid));
        assert_eq!((parent_of(pid), group_of(pid)), (us, Some(pid)), "a dead one that is not reaped");
        assert_eq!(user_of(pid), Some(nix::unistd::geteuid().as_raw()));

        reap(pid);
        assert!(next_dead().is_none() && no_children_left() && !group_has_child_of_ours(pid));
        assert!(!signal(pid, libc::SIGTERM).unwrap() && !signal_group(pid, libc::SIGTERM).unwrap());
    }

    #[test]
    fn fifty_deaths_at_once_are_each_seen_once_with_their_status() {
        let test = "sys::children::tests::fifty_deaths_at_once_are_each_seen_once_with_their_status";
        if run_apart(test, &Startup::plain()) == Apart::Done {
            return;
        }
        // SAFETY: ends the process.
        let mut pids: Vec<Pid> = (0..50).map(|_| child(|| unsafe { libc::_exit(7) })).collect();
        pids.iter().copied().for_each(wait_for_death);
        while let Some(dead) = next_dead() {
            assert_eq!(dead.status, WaitStatus::Exited(7));
            pids.remove(pids.iter().position(|pid| *pid == dead.pid).expect("each is seen once"));
            reap(dead.pid);
        }
        assert!(pids.is_empty() && no_children_left());
    }
}
