//! A pair of sockets that keep packets apart, and hand over a descriptor with one.
//!
//! ```text
//!   send ──> the socket has room: gone                 receive ──> Packet, Nothing for now, or Closed
//!        └─> it has none: kept, for the next flush
//! ```
//!
//! Neither side ever waits for the other.
//!
//! What this file does not do: know what is in a packet.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};

/// No packet is longer, in bytes.
pub(crate) const MOST_BYTES: usize = 8192;

#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: OwnedFd,
    waiting: VecDeque<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    with: Option<OwnedFd>,
}

#[derive(Debug)]
pub(crate) enum Received {
    /// With the descriptor that came with it; it closes at exec.
    Packet(Vec<u8>, Option<OwnedFd>),
    /// Nothing for now.
    Nothing,
    /// The other side has nothing more to say, or is gone.
    Closed,
}

impl PacketSocket {
    /// Both close at exec.
    pub(crate) fn pair() -> nix::Result<(PacketSocket, PacketSocket)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let end = |fd| PacketSocket { fd, waiting: VecDeque::new() };
        Ok((end(one), end(other)))
    }

    /// Of 1 to [`MOST_BYTES`] bytes. Where the other side is gone the packet is as well: its end is received. An error
    /// where it has to wait, and there is no number for a copy of the descriptor.
    pub(crate) fn send(&mut self, bytes: Vec<u8>, with: Option<BorrowedFd<'_>>) -> io::Result<()> {
        if self.waiting.is_empty() && self.send_now(&bytes, with) != Err(Errno::EAGAIN) {
            return Ok(());
        }
        let with = with.map(|fd| fd.try_clone_to_owned()).transpose()?;
        self.waiting.push_back(Outgoing { bytes, with });
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&mut self) {
        while let Some(outgoing) = self.waiting.front() {
            let with = outgoing.with.as_ref().map(AsFd::as_fd);
            if self.send_now(&outgoing.bytes, with) == Err(Errno::EAGAIN) {
                return;
            }
            self.waiting.pop_front();
        }
    }

    /// Whether there is something to flush, once the socket is writable.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The other side will receive what was sent, and then the end. This one still receives.
    pub(crate) fn say_no_more(&mut self) {
        self.waiting.clear();
        let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Write);
    }

    fn send_now(&self, bytes: &[u8], with: Option<BorrowedFd<'_>>) -> nix::Result<()> {
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = Control::EMPTY;
        // SAFETY: all zeros is a valid msghdr; everything that it points to lives through the call, which only reads it;
        // the control message is made within `control`, which has room for one descriptor.
        let sent = unsafe {
            let mut message: libc::msghdr = mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            if let Some(fd) = with {
                message.msg_control = (&raw mut control).cast();
                message.msg_controllen = DESCRIPTOR_SPACE as _;
                let head = libc::CMSG_FIRSTHDR(&raw const message);
                (*head).cmsg_level = libc::SOL_SOCKET;
                (*head).cmsg_type = libc::SCM_RIGHTS;
                (*head).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
                ptr::write_unaligned(libc::CMSG_DATA(head).cast(), fd.as_raw_fd());
            }
            libc::sendmsg(self.fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
        };
        Errno::result(sent).map(drop)
    }

    /// Without waiting.
    pub(crate) fn receive(&mut self) -> nix::Result<Received> {
        let mut bytes = vec![0; MOST_BYTES];
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let mut control = Control::EMPTY;
        // SAFETY: as above, and the call writes into the bytes and into `control` only, as far as they reach. A descriptor
        // that it says it has put there is nobody else's.
        let (received, with) = unsafe {
            let mut message: libc::msghdr = mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = DESCRIPTOR_SPACE as _;
            let received = libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
            (Errno::result(received), if received > 0 { descriptor_with(&message) } else { None })
        };
        match received {
            Ok(0) | Err(Errno::ECONNRESET) => Ok(Received::Closed),
            Ok(count) => {
                bytes.truncate(count.unsigned_abs());
                Ok(Received::Packet(bytes, with))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Received::Nothing),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The one descriptor that may have come with a packet.
///
/// # Safety
///
/// `message` is what recvmsg(2) has filled in, and its control memory is still there.
unsafe fn descriptor_with(message: &libc::msghdr) -> Option<OwnedFd> {
    // SAFETY: the kernel's macros stay within the control memory; what SCM_RIGHTS brings was opened for us.
    unsafe {
        let head = libc::CMSG_FIRSTHDR(message).as_ref()?;
        let is_descriptor = head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == libc::SCM_RIGHTS;
        is_descriptor.then(|| OwnedFd::from_raw_fd(ptr::read_unaligned(libc::CMSG_DATA(head).cast())))
    }
}

// SAFETY: it only computes.
const DESCRIPTOR_SPACE: usize = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) as usize };

/// Room for one descriptor, aligned as its head wants it.
#[repr(C, align(8))]
struct Control([u8; DESCRIPTOR_SPACE]);

impl Control {
    const EMPTY: Control = Control([0; DESCRIPTOR_SPACE]);
}
