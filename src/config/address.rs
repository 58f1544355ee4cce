//! Where to listen: `[NAME=]ADDRESS`, as a [`Listener`].
//!
//! | written | is |
//! |---|---|
//! | `8000` | [`Address::Port`]: one socket for every address of the machine, IPv4 and IPv6 |
//! | `127.0.0.1:8000`, `[::1]:8000`, `localhost:8000` | [`Address::Tcp`]; `[::]:8000` is IPv6 only |
//! | `unix:/run/app.sock` | [`Address::Unix`] |
//! | `unix:@app` | [`Address::Abstract`] |
//! | `fd:3` | [`Address::Fd`]: a socket that srvwrap was started with |
//!
//! Port 0 asks for a free one. Taken apart as bytes, because a path may hold any.
//!
//! What this module does not do: look up names (localhost is a fixed one), look at descriptors, or bind.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cli::{Given, UsageError, shown};
use crate::handover::is_listener_name;

/// A socket to hold, and what workers know it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// One from the command line is `[a-z0-9_]+`, and not a number: it becomes a part of an environment variable. One
    /// that came with a socket is printable ASCII without a colon.
    pub(crate) name: Option<String>,
    pub(crate) address: Address,
}

/// Where a socket listens. Shown as a user would write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Every address of the machine, IPv4 and IPv6.
    Port(u16),
    Tcp(SocketAddr),
    /// An absolute path where the caller's directory was one; at most [`LONGEST_PATH`] bytes.
    Unix(PathBuf),
    /// A name that is in no file system; 1 to [`LONGEST_PATH`] bytes.
    Abstract(Vec<u8>),
    /// A socket that somebody else has made, at this number when srvwrap was started: 0, or from 3 on.
    Fd(RawFd),
    /// What launchd holds under this name: one socket or more.
    Launchd(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Port(port) => write!(f, "{port}"),
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", shown(path.as_os_str())),
            Address::Abstract(name) => write!(f, "unix:@{}", shown(OsStr::from_bytes(name))),
            Address::Fd(number) => write!(f, "fd:{number}"),
            Address::Launchd(name) => write!(f, "launchd:{name}"),
        }
    }
}

/// What `sun_path` of unix(7) holds beside the zero byte at its end.
const LONGEST_PATH: usize = 107;

/// Why a text is not an address. Shown with its remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressError {
    BadName,
    NotADescriptor,
    OutputDescriptor,
    PathMissing,
    AbstractMissing,
    AbstractTooLong(usize),
    PathTooLong(usize),
    PathAlone,
    Url,
    PortMissing,
    PortTooLarge,
    NotAPort,
    HostMissing,
    BareV6,
    NotV6,
    HostName,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::BadName => {
                "a name is made of a-z, 0-9 and _, and is not a number; give one, as in http=8000"
            }
            AddressError::NotADescriptor => "not the number of a descriptor; give one, as in fd:3",
            AddressError::OutputDescriptor => {
                "1 and 2 are srvwrap's stdout and stderr; give the number of a listening socket, as in fd:3"
            }
            AddressError::PathMissing => "the path is missing; give one, as in unix:/run/app.sock",
            AddressError::AbstractMissing => "the name is missing; give one, as in unix:@app",
            AddressError::AbstractTooLong(length) => {
                return write!(
                    f,
                    "an abstract name has at most {LONGEST_PATH} bytes, and this one {length}; give a shorter one"
                );
            }
            AddressError::PathTooLong(length) => {
                return write!(
                    f,
                    "a socket's path has at most {LONGEST_PATH} bytes, and this one {length}; give a shorter one"
                );
            }
            AddressError::PathAlone => "a path has unix: before it; give unix:PATH",
            AddressError::Url => "not a URL; give a port, ADDRESS:PORT or unix:PATH",
            AddressError::PortMissing => "the port is missing; give one, as in 127.0.0.1:8000",
            AddressError::PortTooLarge => "no such port; give 1 to 65535, or 0 for a free one",
            AddressError::NotAPort => "not a port; give 1 to 65535, ADDRESS:PORT or unix:PATH",
            AddressError::HostMissing => "the address is missing; give the port alone to listen on every address",
            AddressError::BareV6 => "an IPv6 address stands in brackets; give it as in [::1]:8000",
            AddressError::NotV6 => "not an IPv6 address; give one, as in [::1]:8000",
            AddressError::HostName => {
                "names are not looked up; give the address in numbers, as in 127.0.0.1:8000, or localhost"
            }
        })
    }
}

/// All the listeners of a command line, `launchd` those of `--launchd-socket`. Relative paths are taken from
/// `directory`.
pub(super) fn listeners(
    given: &[Given],
    launchd: &[Given],
    directory: &Path,
) -> Result<Vec<Listener>, UsageError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for given in given {
        let listener =
            listener(given.value.as_bytes(), directory).map_err(|error| given.refused_with(error))?;
        if let Some(name) = taken_name(&listeners, &listener) {
            return Err(
                given.refused_with(format!("two sockets are named {name}; give each a name of its own"))
            );
        }
        if let Some(earlier) = listeners.iter().find(|earlier| overlap(&earlier.address, &listener.address)) {
            let address = &earlier.address;
            return Err(
                given.refused_with(format!("-p {address} listens there already; give only one of them"))
            );
        }
        listeners.push(listener);
    }
    for given in launchd {
        let name = given.text().to_string();
        // Workers may get the names in one list, divided by colons.
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return Err(given.refused("not a name"));
        }
        let address = Address::Launchd(name.clone());
        if listeners.iter().any(|earlier| earlier.address == address) {
            return Err(given.refused_with("given twice; give it once"));
        }
        listeners.push(Listener { name: Some(name), address });
    }
    Ok(listeners)
}

/// Where the health routes are served: TCP, without a name.
pub(super) fn of_health(
    given: Option<&Given>,
    listeners: &[Listener],
) -> Result<Option<Address>, UsageError> {
    let Some(given) = given else { return Ok(None) };
    let text = given.value.as_bytes();
    let address = match listener(text, Path::new("/")).map_err(|error| given.refused_with(error))? {
        Listener { name: None, address: address @ (Address::Port(_) | Address::Tcp(_)) } => address,
        Listener { .. } => return Err(given.refused("not a TCP address")),
    };
    match listeners.iter().find(|listener| overlap(&listener.address, &address)) {
        Some(Listener { address, .. }) => {
            Err(given.refused_with(format!("-p {address} listens there already; give another port")))
        }
        None => Ok(Some(address)),
    }
}

fn taken_name<'a>(listeners: &[Listener], new: &'a Listener) -> Option<&'a str> {
    let name = new.name.as_deref()?;
    listeners.iter().any(|earlier| earlier.name.as_deref() == Some(name)).then_some(name)
}

/// Whether the second of two sockets could not be bound because of the first. A free port is always another one.
fn overlap(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Unix(one), Address::Unix(other)) => one == other,
        (Address::Abstract(one), Address::Abstract(other)) => one == other,
        (Address::Fd(one), Address::Fd(other)) => one == other,
        (Address::Unix(_) | Address::Abstract(_) | Address::Fd(_) | Address::Launchd(_), _)
        | (_, Address::Unix(_) | Address::Abstract(_) | Address::Fd(_) | Address::Launchd(_)) => false,
        (Address::Port(port), Address::Port(other_port)) => port == other_port && *port != 0,
        (Address::Port(port), Address::Tcp(tcp)) | (Address::Tcp(tcp), Address::Port(port)) => {
            tcp.port() == *port && *port != 0
        }
        (Address::Tcp(one), Address::Tcp(other)) => {
            let every = one.ip().is_unspecified() || other.ip().is_unspecified();
            let same = one == other || (every && one.is_ipv4() == other.is_ipv4());
            one.port() == other.port() && one.port() != 0 && same
        }
    }
}

fn listener(text: &[u8], directory: &Path) -> Result<Listener, AddressError> {
    // A path may hold an equals sign; what stands before that one is not a name.
    let named = text.split_at_checked(text.iter().position(|byte| *byte == b'=').unwrap_or(text.len()));
    match named {
        Some((before, [b'=', rest @ ..])) if !before.contains(&b':') && !before.contains(&b'/') => {
            Ok(Listener { name: Some(name(before)?), address: address(rest, directory)? })
        }
        _ => Ok(Listener { name: None, address: address(text, directory)? }),
    }
}

fn name(bytes: &[u8]) -> Result<String, AddressError> {
    let name = String::from_utf8(bytes.to_vec()).map_err(|_| AddressError::BadName)?;
    if is_listener_name(&name) { Ok(name) } else { Err(AddressError::BadName) }
}

fn address(text: &[u8], directory: &Path) -> Result<Address, AddressError> {
    if let Some(path) = text.strip_prefix(b"unix:") {
        return unix(path, directory);
    }
    if let Some(number) = text.strip_prefix(b"fd:") {
        return std::str::from_utf8(number).map_err(|_| AddressError::NotADescriptor).and_then(descriptor);
    }
    if text.contains(&b'/') {
        let is_url = text.windows(3).any(|window| window == b"://");
        return Err(if is_url { AddressError::Url } else { AddressError::PathAlone });
    }
    let text = std::str::from_utf8(text).map_err(|_| AddressError::HostName)?;
    match text.rsplit_once(':') {
        Some((host, port)) => tcp(text, host, port).map(Address::Tcp),
        None => whole_port(text).map(Address::Port),
    }
}

fn unix(path: &[u8], directory: &Path) -> Result<Address, AddressError> {
    match path {
        [] => return Err(AddressError::PathMissing),
        [b'@'] => return Err(AddressError::AbstractMissing),
        [b'@', name @ ..] if name.len() > LONGEST_PATH => {
            return Err(AddressError::AbstractTooLong(name.len()));
        }
        [b'@', name @ ..] => return Ok(Address::Abstract(name.to_vec())),
        _ => {}
    }
    let path = directory.join(OsStr::from_bytes(path));
    match path.as_os_str().len() {
        0..=LONGEST_PATH => Ok(Address::Unix(path)),
        length => Err(AddressError::PathTooLong(length)),
    }
}

fn descriptor(text: &str) -> Result<Address, AddressError> {
    match number(text) {
        Some(1 | 2) => Err(AddressError::OutputDescriptor),
        Some(number) => Ok(Address::Fd(number)),
        None => Err(AddressError::NotADescriptor),
    }
}

/// The number of a descriptor: digits alone.
pub(super) fn number(text: &str) -> Option<RawFd> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A text without a colon, which can only be a port.
fn whole_port(text: &str) -> Result<u16, AddressError> {
    let is_host = text == "localhost" || text.starts_with('[') || text.parse::<Ipv4Addr>().is_ok();
    if is_host { Err(AddressError::PortMissing) } else { port(text) }
}

fn port(text: &str) -> Result<u16, AddressError> {
    if text.is_empty() {
        return Err(AddressError::PortMissing);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::NotAPort);
    }
    text.parse().map_err(|_| AddressError::PortTooLarge)
}

/// `text` is `host`, a colon and `port_text`, split at the last colon.
fn tcp(text: &str, host: &str, port_text: &str) -> Result<SocketAddr, AddressError> {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(AddressError::BareV6);
    }
    if host.starts_with('[') {
        return v6(text, host, port_text);
    }
    let ip = match host {
        "" | "*" => return Err(AddressError::HostMissing),
        "localhost" => Ipv4Addr::LOCALHOST,
        _ if host.contains(':') => return Err(AddressError::BareV6),
        _ => host.parse().map_err(|_| AddressError::HostName)?,
    };
    Ok(SocketAddr::new(IpAddr::V4(ip), port(port_text)?))
}

fn v6(text: &str, host: &str, port_text: &str) -> Result<SocketAddr, AddressError> {
    if !host.ends_with(']') {
        return Err(if text.ends_with(']') { AddressError::PortMissing } else { AddressError::NotV6 });
    }
    port(port_text)?;
    // The whole of it is read at once, because a zone (`[fe80::1%2]:80`) belongs to the address.
    text.parse::<SocketAddrV6>().map(SocketAddr::V6).map_err(|_| AddressError::NotV6)
}

#[cfg(test)]
mod tests;
