//! What the kernel says of a process: its descriptors, children, limits, and the time that it has used.
//!
//! Everything is read from outside, under `/proc/PID`, so that looking changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Its descriptors, each with what it is: a path, `socket:[INODE]`, `pipe:[INODE]`.
pub(crate) fn descriptors(pid: i32) -> BTreeMap<i32, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours");
    let numbered = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
    });
    numbered.collect()
}

/// One field of `/proc/PID/status`, as text.
pub(crate) fn status(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process that is there");
    let line = status.lines().find(|line| line.starts_with(&format!("{field}:")));
    let line = line.unwrap_or_else(|| panic!("no {field} in {status}"));
    line.split(':').nth(1).expect("it has a colon").trim().to_string()
}

/// Whether it has become this program, and has nothing open any more for its loading.
pub(crate) fn sleeps_as(pid: i32, name: &str) -> bool {
    status(pid, "Name") == name && status(pid, "State").starts_with('S')
}

/// Soft and hard limit of open files.
pub(crate) fn open_files(pid: i32) -> (u64, u64) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("a process that is there");
    let line =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("it is always there");
    let mut numbers = line.split_whitespace().map(|word| word.parse().expect("a number"));
    (numbers.next().expect("soft"), numbers.next().expect("hard"))
}

pub(crate) fn environment(pid: i32) -> Vec<Vec<u8>> {
    words(pid, "environ")
}

pub(crate) fn arguments(pid: i32) -> Vec<Vec<u8>> {
    words(pid, "cmdline")
}

/// Words that each end with a zero byte.
fn words(pid: i32, file: &str) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    // While it becomes another program it has none.
    super::wait_until(&format!("the last word of {file} ends too"), || {
        bytes = fs::read(format!("/proc/{pid}/{file}")).expect("a process of ours");
        bytes.pop() == Some(0)
    });
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// Its current directory.
pub(crate) fn directory(pid: i32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/cwd")).expect("a process of ours")
}

/// Its children, zombies too, but for the log writer.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let name = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    all_children(pid).into_iter().filter(|child| name(child).trim_end() != "srvwrap-log").collect()
}

/// The process that writes the log files of this srvwrap.
pub(crate) fn log_writer(pid: i32) -> Option<i32> {
    let workers = children(pid);
    all_children(pid).into_iter().find(|child| !workers.contains(child))
}

/// What compresses archives for this log writer.
pub(crate) fn compressors(log_writer: i32) -> Vec<i32> {
    all_children(log_writer)
}

fn all_children(pid: i32) -> Vec<i32> {
    let numbers = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it is there");
    numbers.split_whitespace().map(|number| number.parse().expect("a pid")).collect()
}

/// Processor time that it has used, in clock ticks of 10 ms.
pub(crate) fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process that is there");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("behind the name").split(' ').collect();
    // utime and stime are the 14th and 15th of all, and two are before these.
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

/// What a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Socket {
    /// It listens on IPv4, at this port.
    V4(u16),
    /// It listens on IPv6, and perhaps on both, at this port.
    V6(u16),
    /// It listens at this path.
    Path(String),
    /// One end of a socket pair, or another connected stream.
    Stream,
    Other,
}

/// All sockets, by what [`descriptors`] calls them.
pub(crate) fn sockets() -> BTreeMap<String, Socket> {
    let mut sockets = BTreeMap::new();
    for table in ["tcp", "tcp6"] {
        let listening = |port| if table == "tcp" { Socket::V4(port) } else { Socket::V6(port) };
        for row in rows(table).iter().filter(|row| row.len() > 9) {
            let port = row[1].rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            // State 0A is LISTEN.
            let socket = port.filter(|_| row[3] == "0A").map_or(Socket::Other, listening);
            sockets.insert(format!("socket:[{}]", row[9]), socket);
        }
    }
    for row in rows("unix").iter().filter(|row| row.len() > 6) {
        // Flag 10000 says that it accepts connections; type 1 is a stream, and state 3 connected.
        let socket = match (row[3].as_str(), row[4].as_str(), row[5].as_str(), row.get(7)) {
            ("00010000", _, _, Some(path)) => Socket::Path(path.clone()),
            (_, "0001", "03", None) => Socket::Stream,
            _ => Socket::Other,
        };
        sockets.insert(format!("socket:[{}]", row[6]), socket);
    }
    sockets
}

fn rows(table: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
    text.lines().map(|line| line.split_whitespace().map(str::to_string).collect()).collect()
}
