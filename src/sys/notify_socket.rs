//! A socket for datagrams of workers, each with the kernel's word on who sent it.
//!
//! ```text
//!   bind ──> a path beside the control socket, or a name that is nobody's file ──> Facts: NOTIFY_SOCKET
//!   receive ──> Datagram: bytes, sender; descriptors that came with it are closed when it is dropped
//! ```
//!
//! Everybody who can reach it may write, and at most fill it: what counts is who the kernel says has written. Programs
//! know it by its whole path, which has 107 bytes at most; some do not know names that are not paths.
//!
//! What this file does not do: read what is said, or know a worker.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::ptr;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind as bind_socket, connect, getsockname, setsockopt,
    socket, sockopt,
};
use nix::sys::stat::{SFlag, lstat};
use nix::unistd::{geteuid, unlink};

use super::children::Pid;
use super::directory::{Directory, DirectoryError, directory_of};
use super::unix_listener::{BIND_TRIES, Identity, MAX_PATH, REMOVE_TRIES, bind_with_mode, identity};

/// Close-on-exec, and receiving from it never waits. Dropping it removes its path if that is still its own.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    fd: OwnedFd,
    name: OsString,
    /// None where the name is not a path.
    place: Option<Identity>,
}

/// What was received. To be kept until it is handled: who has sent a descriptor with it may wait for its end, and then
/// be gone before it is asked who that was.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// So many bytes, at the start of the buffer; of a longer one the end is missing.
    pub(crate) length: usize,
    pub(crate) is_cut: bool,
    /// None where the kernel does not know it here: it is in another pid namespace, or process 1.
    pub(crate) sender: Option<Sender>,
    _attached: Attached,
}

/// Descriptors that nobody has asked for. Dropping closes them.
#[derive(Debug, Default)]
struct Attached(Vec<RawFd>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) pid: Pid,
    pub(crate) uid: u32,
}

impl Sender {
    pub(crate) fn is_root_or_us(self) -> bool {
        self.uid == 0 || self.uid == geteuid().as_raw()
    }
}

/// A notify socket that could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotifyError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    TooLong(usize),
    /// There is something that is not a dead socket.
    Taken,
    Directory(DirectoryError),
    Os(Errno),
}

impl NotifySocket {
    /// At an absolute path. A dead one that is there is replaced.
    pub(crate) fn bind(path: &Path) -> Result<NotifySocket, NotifyError> {
        bind_at(path).map_err(|cause| NotifyError { path: path.to_owned(), cause })
    }

    /// At a name that the kernel chooses, and that is no file's: for where no file can be made.
    pub(crate) fn bind_abstract() -> nix::Result<NotifySocket> {
        let fd = new_socket()?;
        bind_socket(fd.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let bound: UnixAddr = getsockname(fd.as_raw_fd())?;
        let name = [b"@", bound.as_abstract().unwrap_or_default()].concat();
        Ok(NotifySocket { fd, name: OsString::from_vec(name), place: None })
    }

    /// As NOTIFY_SOCKET has it.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.place.map(|_| Path::new(&self.name))
    }

    pub(crate) fn is_in_place(&self) -> bool {
        let path = Path::new(&self.name);
        self.place.is_none_or(|own| lstat(path).is_ok_and(|found| identity(&found) == own))
    }

    /// In the place of one whose path was removed.
    pub(crate) fn bind_anew(&mut self) -> Result<(), NotifyError> {
        // The old one is dropped after the new one is there, so that no two sockets have the same identity.
        *self = NotifySocket::bind(Path::new(&self.name))?;
        Ok(())
    }

    /// The next one; none where there is none.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Option<Datagram> {
        loop {
            match receive(self.fd.as_fd(), buffer) {
                Ok(datagram) => return Some(datagram),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        if self.place.is_none() {
            return;
        }
        let path = Path::new(&self.name);
        let _lock = Directory::locked(directory_of(path), REMOVE_TRIES);
        if self.is_in_place() {
            // Nothing can be done about a failure, and the next start takes the path over.
            let _ = unlink(path);
        }
    }
}

fn new_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    // Before it has a name: the kernel notes a sender only where it is wanted by then.
    setsockopt(&fd, sockopt::PassCred, &true)?;
    Ok(fd)
}

fn bind_at(path: &Path) -> Result<NotifySocket, Cause> {
    let length = path.as_os_str().len();
    if length > MAX_PATH {
        return Err(Cause::TooLong(length));
    }
    let address = UnixAddr::new(path).map_err(Cause::Os)?;
    let directory = Directory::locked(directory_of(path), BIND_TRIES).map_err(Cause::Directory)?;
    directory.judge(directory_of(path)).map_err(Cause::Directory)?;
    make_way(path, &address)?;
    let fd = new_socket().map_err(Cause::Os)?;
    bind_with_mode(&fd, &address, mode(geteuid().is_root())).map_err(|errno| {
        match errno == Errno::EADDRINUSE {
            true => Cause::Taken,
            false => Cause::Os(errno),
        }
    })?;
    let place = lstat(path).map(|status| identity(&status)).map_err(Cause::Os)?;
    Ok(NotifySocket { fd, name: path.as_os_str().to_owned(), place: Some(place) })
}

/// Workers of root may have become another user; others have no way to.
fn mode(root: bool) -> u32 {
    if root { 0o666 } else { 0o600 }
}

/// Removes what a dead srvwrap has left.
fn make_way(path: &Path, address: &UnixAddr) -> Result<(), Cause> {
    let status = match lstat(path) {
        Err(Errno::ENOENT) => return Ok(()),
        found => found.map_err(Cause::Os)?,
    };
    let is_socket = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK;
    let probe = new_socket().map_err(Cause::Os)?;
    // Only a refusal shows that nobody is there.
    let refused = Err(Errno::ECONNREFUSED);
    if !is_socket || connect(probe.as_raw_fd(), address) != refused {
        return Err(Cause::Taken);
    }
    unlink(path).map_err(Cause::Os)
}

/// The most that the kernel lets through with one message (SCM_MAX_FD in its net/scm.h).
const MOST_DESCRIPTORS: usize = 253;
// SAFETY: they only compute.
const CREDENTIALS_SPACE: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) as usize };
// SAFETY: as above.
const DESCRIPTORS_SPACE: usize =
    unsafe { libc::CMSG_SPACE((MOST_DESCRIPTORS * size_of::<RawFd>()) as u32) as usize };

/// Room for what may come with a datagram, aligned as its heads want it.
#[repr(C, align(8))]
struct Control([u8; CREDENTIALS_SPACE + DESCRIPTORS_SPACE]);

fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<Datagram> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control([0; CREDENTIALS_SPACE + DESCRIPTORS_SPACE]);
    // SAFETY: all zeros is a valid msghdr; everything that it points to lives through the call, which writes as far as
    // it is told that there is room. The control messages are read while their memory is there.
    unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        let received = libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
        let length = Errno::result(received)?.unsigned_abs();
        let is_cut = message.msg_flags & libc::MSG_TRUNC != 0;
        let (sender, attached) = sender_of(&message);
        Ok(Datagram { length, is_cut, sender, _attached: attached })
    }
}

/// Who sent it, and what came with it.
///
/// # Safety
///
/// `message` is what recvmsg(2) has filled in, and its control memory is still there.
unsafe fn sender_of(message: &libc::msghdr) -> (Option<Sender>, Attached) {
    let (mut sender, mut attached) = (None, Attached::default());
    // SAFETY: the kernel's macros stay within the control memory; what SCM_RIGHTS brings was opened for us, and is
    // nobody else's.
    unsafe {
        let mut head = libc::CMSG_FIRSTHDR(message);
        while let Some(found) = head.as_ref() {
            let data = libc::CMSG_DATA(head);
            if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SCM_CREDENTIALS {
                let credentials: libc::ucred = ptr::read_unaligned(data.cast());
                sender = Pid::new(credentials.pid).map(|pid| Sender { pid, uid: credentials.uid });
            } else if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SCM_RIGHTS {
                let length = found.cmsg_len - libc::CMSG_LEN(0) as usize;
                for index in 0..length / size_of::<RawFd>() {
                    attached.0.push(ptr::read_unaligned(data.cast::<RawFd>().add(index)));
                }
            }
            head = libc::CMSG_NXTHDR(message, head);
        }
    }
    (sender, attached)
}

impl Drop for Attached {
    /// A socket may be one whose last close waits until all is sent (SO_LINGER): we do not.
    fn drop(&mut self) {
        let at_once = libc::linger { l_onoff: 0, l_linger: 0 };
        let size = size_of::<libc::linger>() as libc::socklen_t;
        for fd in &self.0 {
            // SAFETY: the option lives through the call, which fails on what is not a socket; the number is ours alone,
            // and not used again.
            unsafe {
                libc::setsockopt(*fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const at_once).cast(), size);
                libc::close(*fd);
            }
        }
    }
}

impl std::error::Error for NotifyError {}

impl fmt::Display for NotifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot make the notify socket {}: ", self.path.display())?;
        match &self.cause {
            Cause::TooLong(bytes) => {
                write!(f, "it is {bytes} bytes long and a socket's path may have {MAX_PATH}")
            }
            Cause::Taken => f.write_str("something else is there; it is left alone"),
            Cause::Directory(error) => error.fmt(f),
            Cause::Os(errno) => f.write_str(errno.desc()),
        }
    }
}

#[cfg(test)]
mod tests;
