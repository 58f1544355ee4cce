//! Who holds a port or a socket's path: the processes behind a listening socket, for the message of a failed bind.
//!
//! ```text
//!    /proc/net/tcp, tcp6   address, port, LISTEN ─┐
//!    /proc/net/unix        path, listening       ─┴─> inode ──> /proc/PID/fd/N -> "socket:[inode]" ──> pid, name
//! ```
//!
//! It is a look at one moment, good enough to be read by a person. What may not be read is skipped, and nothing
//! found is `None`.
//!
//! What this file does not do: signal anybody, or decide from a pid. By the time it is read it may be another's.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Those who hold a listening socket; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holders {
    /// In the order of /proc, which is that of their pids.
    Processes(Vec<Process>),
    /// The socket was seen, its holders not: they are another user's, or in another pid namespace. This is the
    /// user id that made the socket.
    User(u32),
}

/// A process and the name of what it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

impl Holders {
    /// That is, nobody else is.
    pub(crate) fn are_this_process(&self) -> bool {
        match self {
            Holders::User(_) => false,
            Holders::Processes(all) => all.iter().all(|process| process.pid == std::process::id()),
        }
    }
}

impl fmt::Display for Holders {
    /// `pid 123, node`, or `pid 123, node; pid 124, node; pid 125, node; and 5 more`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMED: usize = 3;
        let processes = match self {
            Holders::User(uid) => return write!(f, "a process of user {uid}, whose pid is hidden from here"),
            Holders::Processes(processes) => processes,
        };
        for (i, process) in processes.iter().take(NAMED).enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}pid {}, {}", process.pid, process.name)?;
        }
        match processes.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Who listens on TCP where `wanted` would: on its port, at its address or at one that overlaps with it.
pub(crate) fn port_holders(wanted: SocketAddr) -> Option<Holders> {
    let mut sockets = listening(Path::new("/proc/net/tcp"), wanted);
    sockets.extend(listening(Path::new("/proc/net/tcp6"), wanted));
    let inodes = sockets.iter().map(|socket| socket.inode).collect();
    let hidden = sockets.first().map(|socket| Holders::User(socket.uid));
    processes_with(&inodes).or(hidden)
}

/// Who listens on the unix socket that was bound at `path`, an absolute one.
pub(crate) fn path_holders(path: &Path) -> Option<Holders> {
    let table = fs::read("/proc/net/unix").ok()?;
    let inodes = table.split(|&byte| byte == b'\n').filter_map(|row| inode_of_path(row, path)).collect();
    processes_with(&inodes)
}

/// That process, as the only one.
pub(crate) fn process(pid: u32) -> Holders {
    Holders::Processes(vec![Process { pid, name: name_of(pid) }])
}

/// One listening row of /proc/net/tcp.
struct Listening {
    address: IpAddr,
    port: u16,
    uid: u32,
    inode: u64,
}

/// More rows than this are not read: each costs the kernel about a microsecond, and it lists the listening first.
const MAX_ROWS: usize = 100_000;

fn listening(table: &Path, wanted: SocketAddr) -> Vec<Listening> {
    let Ok(table) = File::open(table) else { return Vec::new() };
    let rows = BufReader::new(table).lines().take(MAX_ROWS).map_while(Result::ok);
    rows.filter_map(|row| parse_tcp_row(&row))
        .filter(|socket| socket.port == wanted.port() && overlap(socket.address, wanted.ip()))
        .collect()
}

/// `sl local:port remote:port state queues timer retransmits uid timeout inode …`; `None` unless it listens.
fn parse_tcp_row(row: &str) -> Option<Listening> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = row.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    Some(Listening {
        address: parse_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        uid: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// One or four words of 32 bits in hexadecimal, each as this machine reads the bytes of the network.
fn parse_address(hexadecimal: &str) -> Option<IpAddr> {
    let word = |i: usize| {
        let digits = hexadecimal.get(i * 8..i * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if hexadecimal.len() == 8 {
        return Some(IpAddr::V4(Ipv4Addr::from(word(0)?)));
    }
    let mut bytes = [0; 16];
    for i in 0..4 {
        bytes[i * 4..i * 4 + 4].copy_from_slice(&word(i)?);
    }
    Some(IpAddr::V6(Ipv6Addr::from(bytes)))
}

/// Whether listening on one keeps others from the other. `::` is taken for dual stack: the table does not say.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    let any_v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let (one, other) = (one.to_canonical(), other.to_canonical());
    let same_family = one.is_ipv4() == other.is_ipv4();
    one == other
        || one == any_v6
        || other == any_v6
        || (same_family && (one.is_unspecified() || other.is_unspecified()))
}

/// `Num RefCount Protocol Flags Type St Inode Path`; `None` unless it listens, at `path`.
fn inode_of_path(row: &[u8], path: &Path) -> Option<u64> {
    const LISTENS: &[u8] = b"00010000";
    let fields: Vec<&[u8]> = row.splitn(7, |&byte| byte == b' ').collect();
    let flags = *fields.get(3)?;
    // The inode is padded with blanks to a width of five.
    let rest = fields.get(6)?.trim_ascii_start();
    let blank = rest.iter().position(|&byte| byte == b' ')?;
    let bound_at = Path::new(OsStr::from_bytes(&rest[blank + 1..]));
    // It was bound under the name that its owner used, which may be relative to a directory unknown to us.
    let same = bound_at == path || (bound_at.is_relative() && path.ends_with(without_dots(bound_at)));
    if flags != LISTENS || !same {
        return None;
    }
    std::str::from_utf8(&rest[..blank]).ok()?.parse().ok()
}

fn without_dots(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != std::path::Component::CurDir).collect()
}

/// More descriptors than this are not looked at: it is a fifth of a second's work, and nobody waits longer for a
/// better error message.
const MAX_DESCRIPTORS: usize = 200_000;

fn processes_with(inodes: &BTreeSet<u64>) -> Option<Holders> {
    if inodes.is_empty() {
        return None;
    }
    let mut budget = MAX_DESCRIPTORS;
    let found: Vec<Process> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| holds_one(pid, inodes, &mut budget))
        .map(|pid| Process { pid, name: name_of(pid) })
        .collect();
    (!found.is_empty()).then_some(Holders::Processes(found))
}

fn holds_one(pid: u32, inodes: &BTreeSet<u64>, budget: &mut usize) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    for descriptor in descriptors {
        let Some(left) = budget.checked_sub(1) else { return false };
        *budget = left;
        let Ok(descriptor) = descriptor else { return false };
        let inode = fs::read_link(descriptor.path()).ok().and_then(|target| socket_inode(&target));
        if inode.is_some_and(|inode| inodes.contains(&inode)) {
            return true;
        }
    }
    false
}

/// `socket:[12345]`
fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The name of its executable; where that is hidden, what the process calls itself. (The executable comes first:
/// programs name their threads, and node's first one is called MainThread.)
fn name_of(pid: u32) -> String {
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let file =
        executable.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let name = file.or_else(|| fs::read_to_string(format!("/proc/{pid}/comm")).ok()).unwrap_or_default();
    name.trim_end().trim_end_matches(" (deleted)").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    fn me() -> u32 {
        std::process::id()
    }

    fn pids(holders: Option<Holders>) -> Vec<u32> {
        match holders {
            Some(Holders::Processes(processes)) => processes.iter().map(|process| process.pid).collect(),
            Some(Holders::User(_)) | None => Vec::new(),
        }
    }

    #[test]
    fn the_holder_of_a_port_is_found_at_its_address_and_at_the_one_that_covers_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let everywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
        let both_stacks = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
        let elsewhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9)), address.port());

        for covering in [address, everywhere, both_stacks] {
            assert!(pids(port_holders(covering)).contains(&me()), "{covering}");
        }
        assert!(!pids(port_holders(elsewhere)).contains(&me()));
    }

    #[test]
    fn a_port_that_is_bound_on_v6_is_found() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else {
            return eprintln!("SKIPPED: this machine has no IPv6");
        };
        assert!(pids(port_holders(listener.local_addr().unwrap())).contains(&me()));
    }

    #[test]
    fn a_port_that_is_bound_for_both_families_is_found_by_an_address_of_v4() {
        let Ok(listener) = TcpListener::bind("[::]:0") else {
            return eprintln!("SKIPPED: this machine has no IPv6");
        };
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()));
        assert!(pids(port_holders(v4)).contains(&me()));
    }

    #[test]
    fn the_port_of_a_connection_has_no_holder_as_nobody_listens_on_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(port_holders(connection.local_addr().unwrap()), None);
    }

    #[test]
    fn the_holder_of_a_path_is_found_with_blanks_in_it_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("an app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(pids(path_holders(&path)), [me()]);
        drop(listener);
        assert_eq!(path_holders(&path), None);
    }

    #[test]
    fn a_path_that_was_bound_as_a_relative_one_is_recognised() {
        let row = b"0000000000000000: 00000002 00000000 00010000 0001 01   123 ./run/app.sock";
        assert_eq!(inode_of_path(row, Path::new("/srv/run/app.sock")), Some(123));
        assert_eq!(inode_of_path(row, Path::new("/srv/app.sock")), None);
    }

    #[test]
    fn a_connection_of_a_path_is_not_its_listener() {
        let row = b"0000000000000000: 00000003 00000000 00000000 0001 03 12345 /srv/app.sock";
        assert_eq!(inode_of_path(row, Path::new("/srv/app.sock")), None);
    }

    #[test]
    fn only_the_first_holders_are_named() {
        let process = |pid| Process { pid, name: "node".to_owned() };
        let two = Holders::Processes(vec![process(7), process(8)]);
        let five = Holders::Processes((1..=5).map(process).collect());
        assert_eq!(two.to_string(), "pid 7, node; pid 8, node");
        assert_eq!(five.to_string(), "pid 1, node; pid 2, node; pid 3, node; and 2 more");
    }

    #[test]
    fn rows_that_are_not_understood_are_skipped() {
        for row in [
            "",
            "sl local_address",
            "0: 0100007F:1F90 0:0 0A",
            "0: zz:1 0:0 0A 0 0 0 0 0 1",
            "0: 00é000 x 0A",
        ] {
            assert!(parse_tcp_row(row).is_none(), "{row}");
        }
        assert!(inode_of_path(b"Num RefCount Protocol Flags Type St Inode Path", Path::new("/x")).is_none());
    }
}
