//! A process, what descends from it, and the sockets that they hold: from /proc.
//!
//! ```text
//!   /proc/PID/stat              PID (NAME) STATE PARENT GROUP …   ──> Member
//!   /proc/PID/fd, fdinfo        FD -> socket:[INODE], flags       ──> Held
//!   /proc/net/tcp, tcp6         address:PORT … 0A … INODE         ──> ports that are listened on
//! ```
//!
//! What this file does not do: know which socket is which. Inodes are compared by who asks.

use std::fs;
use std::os::fd::{AsFd, RawFd};

use nix::sys::stat::fstat;

use super::children::Pid;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: Pid,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    /// As ps shows it: of the program's name the first 15 bytes.
    pub(crate) name: String,
    /// As ps shows it: `R`, `S`, `T`, …
    state: u8,
}

/// A socket that a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) fd: RawFd,
    pub(crate) inode: u64,
    pub(crate) closes_at_exec: bool,
}

impl Member {
    /// Neither running nor about to: stopped, or dead.
    pub(crate) fn is_still(&self) -> bool {
        matches!(self.state, b'T' | b't' | b'Z' | b'X')
    }
}

/// This process, those of its group, and all that descend from one of them. Empty where there is no /proc.
pub(crate) fn family(leader: Pid) -> Vec<Member> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let all: Vec<Member> = numbers.filter_map(|number| member(Pid::new(number)?)).collect();
    let leader = leader.number();
    let (mut found, mut others): (Vec<Member>, Vec<Member>) =
        all.into_iter().partition(|member| member.pid.number() == leader || member.group == leader);
    loop {
        let is_below = |other: &Member| found.iter().any(|known| known.pid.number() == other.parent);
        let (more, rest): (Vec<Member>, Vec<Member>) = others.into_iter().partition(is_below);
        if more.is_empty() {
            return found;
        }
        found.extend(more);
        others = rest;
    }
}

/// Nothing where it is gone.
pub(crate) fn member(pid: Pid) -> Option<Member> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// A name may hold anything, closing brackets and newlines too.
fn parse(pid: Pid, stat: &[u8]) -> Option<Member> {
    let (begin, end) = (memchr::memchr(b'(', stat)?, memchr::memrchr(b')', stat)?);
    let name = String::from_utf8_lossy(stat.get(begin + 1..end)?).into_owned();
    let mut rest = stat[end + 1..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let state = *rest.next()?.first()?;
    let mut number = || std::str::from_utf8(rest.next()?).ok()?.parse().ok();
    Some(Member { pid, parent: number()?, group: number()?, name, state })
}

/// The sockets of a process. None where it may not be looked at, or is gone.
pub(crate) fn sockets(pid: Pid) -> Option<Vec<Held>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()? {
        let Some(fd) = entry.ok().and_then(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok()) else {
            continue;
        };
        let Ok(link) = fs::read_link(format!("/proc/{pid}/fd/{fd}")) else { continue };
        let Some(inode) = link.to_str().and_then(inode_in) else { continue };
        let flags = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok().and_then(|text| flags(&text));
        let Some(flags) = flags else { continue };
        held.push(Held { fd, inode, closes_at_exec: flags & libc::O_CLOEXEC != 0 });
    }
    Some(held)
}

fn inode_in(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn flags(fdinfo: &str) -> Option<i32> {
    let value = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(value.trim(), 8).ok()
}

/// By which a socket of ours is known in /proc; 0, which none has, where it cannot be asked.
pub(crate) fn inode_of(socket: &impl AsFd) -> u64 {
    fstat(socket).map_or(0, |status| status.st_ino)
}

/// The TCP ports on which one of these sockets listens.
pub(crate) fn listening_ports(inodes: &[u64]) -> Vec<u16> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let mut ports: Vec<u16> =
        tables.iter().flat_map(|table| table.lines()).filter_map(|line| port(line, inodes)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn port(line: &str, inodes: &[u64]) -> Option<u16> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let inode = fields.get(9)?.parse().ok()?;
    let listens = *fields.get(3)? == LISTEN && inodes.contains(&inode);
    let (_, port) = fields.get(1)?.rsplit_once(':')?;
    u16::from_str_radix(port, 16).ok().filter(|_| listens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    #[test]
    fn this_process_is_of_its_own_family_with_the_sockets_that_it_holds() {
        let us = Pid::new(std::process::id() as i32).unwrap();
        let found = family(us);
        let own = found.iter().find(|member| member.pid == us).unwrap();
        assert_eq!(Some(own), member(us).as_ref());
        assert!(!own.is_still());

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = inode_of(&listener);
        let of_it = || sockets(us).unwrap().into_iter().find(|held| held.inode == inode).unwrap();
        assert!(of_it().closes_at_exec);
        fcntl(&listener, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        assert!(!of_it().closes_at_exec);
        fcntl(&listener, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        assert_eq!(listening_ports(&[inode]), [listener.local_addr().unwrap().port()]);
        assert!(listening_ports(&[]).is_empty());
    }

    #[test]
    fn a_name_may_hold_anything() {
        let pid = Pid::new(7).unwrap();
        let found = parse(pid, b"7 (a) R 1 (b\n) T 3 4 5").unwrap();
        assert_eq!((found.name.as_str(), found.parent, found.group), ("a) R 1 (b\n", 3, 4));
        assert!(found.is_still());
        assert_eq!((parse(pid, b"7 (sh"), parse(pid, b"7 (sh) S 1"), parse(pid, b")(")), (None, None, None));
    }

    #[test]
    fn other_links_and_lines_are_none() {
        assert_eq!(
            (inode_in("socket:[12]"), inode_in("pipe:[12]"), inode_in("socket:[")),
            (Some(12), None, None)
        );
        assert_eq!((flags("pos:\t0\nflags:\t02000002\n"), flags("")), (Some(libc::O_CLOEXEC | 2), None));
    }
}
