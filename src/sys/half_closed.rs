//! Whether a TCP socket that listens would hand out connections that are closed already.
//!
//! ```text
//!    LISTEN ── shutdown ──> CLOSE ── shutdown again ──> CLOSE, and marked ── listen ──> LISTEN, still marked
//! ```
//!
//! A second shutdown(2) fails with ENOTCONN, but leaves its mark, and each connection inherits it: whoever accepts one
//! can neither read nor write. Two servers that stop at the same moment do that. Neither poll(2) nor getsockopt(2)
//! shows the mark; the kernel's socket diagnosis does (sock_diag(7), attribute `INET_DIAG_SHUTDOWN`).
//!
//! What this file does not do: take the mark away. Where the diagnosis is not to be had, nothing is marked.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use nix::sys::stat::fstat;

/// Whether the listening socket `fd`, which is bound to `address`, has the mark.
pub(super) fn is_half_closed(fd: &OwnedFd, address: SocketAddr) -> bool {
    let Some(answer) = ask(address) else { return false };
    let inode = fstat(fd).map(|status| status.st_ino).ok();
    let found = parse(&answer);
    found.is_some_and(|found| Some(u64::from(found.inode)) == inode && found.shutdown != 0)
}

/// One question, one answer, which is there when the question is sent.
fn ask(address: SocketAddr) -> Option<Vec<u8>> {
    const MOST_BYTES: usize = 4096;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkSockDiag;
    let diagnosis = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).ok()?;
    send(diagnosis.as_raw_fd(), &request(address), MsgFlags::empty()).ok()?;
    let mut answer = vec![0; MOST_BYTES];
    let count = recv(diagnosis.as_raw_fd(), &mut answer, MsgFlags::empty()).ok()?;
    answer.truncate(count);
    Some(answer)
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const HEAD_BYTES: usize = 16;
/// `struct inet_diag_sockid`: two ports, two addresses, an interface, a cookie.
const SOCKET_ID_BYTES: usize = 48;

/// `struct nlmsghdr` and `struct inet_diag_req_v2`, for the one socket that listens there.
fn request(address: SocketAddr) -> Vec<u8> {
    const LENGTH: u32 = 72;
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = Vec::with_capacity(LENGTH as usize);
    bytes.extend(LENGTH.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    bytes.extend([0; 8]); // sequence, and our port: one question, one socket
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes()); // in any state
    bytes.extend(address.port().to_be_bytes());
    bytes.extend([0; 2]); // from no port
    let mut words = [0; 16];
    match address.ip() {
        IpAddr::V4(v4) => words[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => words.copy_from_slice(&v6.octets()),
    }
    bytes.extend(words);
    bytes.extend([0; 16 + 4]); // from no address, on any interface
    bytes.extend([0xff; 8]); // whatever its cookie
    debug_assert_eq!(bytes.len(), LENGTH as usize);
    bytes
}

struct Found {
    inode: u32,
    shutdown: u8,
}

/// `struct nlmsghdr`, `struct inet_diag_msg` and its attributes.
fn parse(answer: &[u8]) -> Option<Found> {
    const KIND: usize = 4;
    const INODE: usize = HEAD_BYTES + 4 + SOCKET_ID_BYTES + 16;
    const INET_DIAG_SHUTDOWN: u16 = 8;
    let short = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    if short(KIND)? != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let inode = u32::from_ne_bytes(answer.get(INODE..INODE + 4)?.try_into().ok()?);
    let mut at = INODE + 4;
    while let (Some(length), Some(kind)) = (short(at), short(at + 2)) {
        if kind == INET_DIAG_SHUTDOWN {
            return Some(Found { inode, shutdown: *answer.get(at + 4)? });
        }
        at += usize::from(length).max(4).next_multiple_of(4);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    use nix::sys::socket::{Backlog, Shutdown, listen, shutdown};

    /// Shut down so often, and listening again. A port that was not asked for is another one then.
    fn shut_down(listener: TcpListener, times: u32) -> (OwnedFd, SocketAddr) {
        for _ in 0..times {
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        (OwnedFd::from(listener), address)
    }

    #[test]
    fn a_second_shutdown_leaves_a_mark_on_every_kind_of_address_and_a_first_one_does_not() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            for (times, marked) in [(0, false), (1, false), (2, true)] {
                let Ok(listener) = TcpListener::bind(address) else {
                    eprintln!("SKIPPED: cannot bind {address}");
                    continue;
                };
                let (fd, address) = shut_down(listener, times);
                assert_eq!(is_half_closed(&fd, address), marked, "{address}, {times}");
            }
        }
    }

    #[test]
    fn another_socket_at_that_address_is_not_taken_for_this_one() {
        let other = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let (marked, address) = shut_down(TcpListener::bind("127.0.0.1:0").unwrap(), 2);
        assert!(is_half_closed(&marked, address));
        assert!(!is_half_closed(&other, address));
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let answer = ask(listener.local_addr().unwrap()).unwrap();
        assert!(parse(&answer).is_some());
        for length in 0..HEAD_BYTES + 4 + SOCKET_ID_BYTES + 20 {
            assert!(parse(&answer[..length]).is_none());
        }
    }
}
