//! Numbers of the moment: what a process uses, and how many connections wait in a listener.
//!
//! ```text
//!   /proc/PID/stat   4711 (a name) S 1 … utime stime … rss …   ──> Usage
//!   /proc/PID/task/*/schedstat   run, waited, count        ──> wanted
//!   TCP_INFO of a listener           unacked, sacked           ──> Queue
//! ```
//!
//! What this file does not do: know whose process a number is. It is the caller's to ask only for those that it has not
//! reaped.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::children::Pid;

/// What one process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Resident memory.
    pub(crate) rss_bytes: u64,
    /// Processor time, user and system.
    pub(crate) cpu: Duration,
}

/// The connections that a listener has and nobody has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) queued: u32,
    /// How many there can be.
    pub(crate) backlog: u32,
}

/// None where /proc does not tell.
pub(crate) fn usage(pid: Pid) -> Option<Usage> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let (ticks, pages) = ticks_and_pages(&stat)?;
    let page_bytes = system_value(SysconfVar::PAGE_SIZE)?;
    let ticks_per_second = system_value(SysconfVar::CLK_TCK).filter(|ticks| *ticks > 0)?;
    let (seconds, rest) = (ticks / ticks_per_second, ticks % ticks_per_second);
    Some(Usage {
        rss_bytes: pages.saturating_mul(page_bytes),
        cpu: Duration::from_secs(seconds) + Duration::from_millis(rest * 1000 / ticks_per_second),
    })
}

/// Processor time that a process has had, and that it has waited for, runnable, while others had the processor. None
/// where it is gone, or the kernel does not count it.
pub(crate) fn wanted(pid: Pid) -> Option<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of_each =
        tasks.filter_map(|task| schedule(&fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?));
    of_each.reduce(|some, more| some.saturating_add(more))
}

/// Of a line of /proc/PID/task/TID/schedstat: nanoseconds run, nanoseconds waited for it, and a count.
fn schedule(line: &str) -> Option<Duration> {
    let mut numbers = line.split_ascii_whitespace().map_while(|number| number.parse::<u64>().ok());
    Some(Duration::from_nanos(numbers.next()?.saturating_add(numbers.next()?)))
}

fn system_value(name: SysconfVar) -> Option<u64> {
    u64::try_from(sysconf(name).ok()??).ok()
}

/// Of a line of /proc/PID/stat, see proc_pid_stat(5). The name, which is in parentheses, may hold anything, parentheses
/// and newlines too; nothing after it does.
fn ticks_and_pages(stat: &[u8]) -> Option<(u64, u64)> {
    const UTIME: usize = 14;
    const STIME: usize = 15;
    const RSS: usize = 24;
    /// The number, by that manual, of the first field behind the name.
    const FIRST: usize = 3;
    let behind = memchr::memrchr(b')', stat)? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&stat[behind..]).ok()?.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - FIRST)?.parse::<i64>().ok();
    let ticks = number(UTIME)?.checked_add(number(STIME)?)?;
    Some((u64::try_from(ticks).ok()?, u64::try_from(number(RSS)?).unwrap_or(0)))
}

/// None for what is not a TCP socket that listens.
pub(crate) fn queue(listener: &impl AsFd) -> Option<Queue> {
    const LISTEN: u8 = 10;
    // SAFETY: it holds numbers only, of which zero is one.
    let mut facts: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to a place that lives; an older one writes fewer.
    let result = unsafe {
        libc::getsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut facts).cast(),
            &raw mut size,
        )
    };
    (result == 0 && facts.tcpi_state == LISTEN)
        .then_some(Queue { queued: facts.tcpi_unacked, backlog: facts.tcpi_sacked })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    use crate::sys::listener::{Access, Listener};

    #[test]
    fn this_process_has_memory_and_has_used_a_processor() {
        let pid = Pid::new(std::process::id() as i32).unwrap();
        let mut ballast = vec![1u8; 32 << 20];
        let usage = loop {
            let usage = usage(pid).unwrap();
            if !usage.cpu.is_zero() {
                break usage;
            }
            ballast.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(3));
        };
        assert!(usage.rss_bytes > 32 << 20, "{usage:?}");
        assert!(usage.cpu < Duration::from_secs(3600), "{usage:?}");
        assert!(ballast.iter().any(|byte| *byte > 0));
    }

    #[test]
    fn who_computes_wants_a_processor_whoever_has_it() {
        let pid = Pid::new(std::process::id() as i32).unwrap();
        let before = wanted(pid).unwrap();
        let mut ballast = vec![1u8; 1 << 20];
        while wanted(pid).unwrap() - before < Duration::from_millis(20) {
            ballast.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(3));
        }
        assert!(ballast.iter().any(|byte| *byte > 0));
        assert_eq!(schedule("12 30 4\n"), Some(Duration::from_nanos(42)));
        assert_eq!((schedule("12"), schedule("")), (None, None));
    }

    #[test]
    fn a_process_that_is_gone_uses_nothing_that_is_known() {
        assert_eq!(wanted(Pid::new(i32::MAX).unwrap()), None);
        assert_eq!(usage(Pid::new(i32::MAX).unwrap()), None);
    }

    #[test]
    fn a_name_may_hold_parentheses_spaces_and_newlines() {
        let rest = "S 1 1 1 0 -1 4194560 1 2 3 4 500 25 8 9 20 0 1 0 99 1000000 77 18446744073709551615";
        for name in ["sh", "a) R 1 (b", ") \n(", "\u{0}", ""] {
            let line = format!("4711 ({name}) {rest}\n");
            assert_eq!(ticks_and_pages(line.as_bytes()), Some((525, 77)), "{name:?}");
        }
        let mut raw = b"4711 (\xff\xfe) ".to_vec();
        raw.extend(rest.bytes());
        assert_eq!(ticks_and_pages(&raw), Some((525, 77)));
    }

    #[test]
    fn a_line_that_is_cut_short_says_nothing() {
        for line in ["", "1", "1 (sh", "1 (sh)", "1 (sh) S 1 1 1 0 -1 1 1 2 3 4 500 25"] {
            assert_eq!(ticks_and_pages(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn a_listener_tells_how_many_wait_in_it() {
        let listener = Listener::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let empty = queue(&listener).unwrap();
        assert_eq!(empty.queued, 0);
        assert!((1..=crate::sys::listener::BACKLOG).contains(&empty.backlog), "{empty:?}");
        let address = listener.local_address().unwrap();
        let waiting: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!(queue(&listener).unwrap().queued, 3);
        assert_eq!(queue(&waiting[0]), None);
    }

    #[test]
    fn of_a_unix_listener_nothing_is_known() {
        crate::sys::apart::own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let listener = Listener::bind_unix(&directory.path().join("app.sock"), Access::DEFAULT).unwrap();
        assert_eq!(queue(&listener), None);
    }
}
