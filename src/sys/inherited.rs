//! A socket that somebody else has made, and handed in by its number or through launchd.
//!
//! ```text
//!   take(3) ──> is it open, a socket, of a stream, and does it listen? ──> ours now; closes at exec
//!   take(0) ──> the same, moved behind the others: workers find /dev/null there
//! ```
//!
//! To be called before srvwrap opens anything of its own: a number that is said to be a socket and is not open may be
//! that of the next thing that is.
//!
//! What this file does not do: change anything about the socket.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getpeername, getsockname, getsockopt, sockopt,
};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::dup2_stdin;

/// The listening stream socket that has this number, which must be nobody else's in this process; or what is there, as
/// in `a datagram socket`.
pub(crate) fn take(number: RawFd) -> Result<OwnedFd, &'static str> {
    // SAFETY: takes two numbers.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err("not open");
    }
    // SAFETY: it is open, and borrowed for this look only.
    let there = unsafe { BorrowedFd::borrow_raw(number) };
    check(there)?;
    if number > 2 {
        let _ = fcntl(there, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        // SAFETY: it is open, and the caller says that it is nobody else's.
        return Ok(unsafe { OwnedFd::from_raw_fd(number) });
    }
    let moved = there.try_clone_to_owned().map_err(|_| "not to be moved: too many files are open")?;
    let null =
        OpenOptions::new().read(true).open("/dev/null").map_err(|_| "needed: there is no /dev/null")?;
    dup2_stdin(&null).map_err(|_| "not to be moved")?;
    Ok(moved)
}

/// What it is, unless it is a stream socket of ours to use that listens.
pub(crate) fn check(fd: BorrowedFd<'_>) -> Result<(), &'static str> {
    let kind = fstat(fd).map(|found| SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT);
    match kind {
        Ok(SFlag::S_IFSOCK) => {}
        Ok(SFlag::S_IFREG) => return Err("a file"),
        Ok(SFlag::S_IFDIR) => return Err("a directory"),
        Ok(SFlag::S_IFIFO) => return Err("a pipe"),
        Ok(SFlag::S_IFCHR | SFlag::S_IFBLK) => return Err("a device"),
        Ok(_) | Err(_) => return Err("no socket"),
    }
    match getsockopt(&fd, sockopt::SockType) {
        Ok(SockType::Stream) => {}
        Ok(SockType::Datagram) => return Err("a datagram socket"),
        Ok(_) | Err(_) => return Err("a socket without a stream"),
    }
    if !getsockopt(&fd, sockopt::AcceptConn).unwrap_or(false) {
        return Err(match getpeername::<SockaddrStorage>(fd.as_raw_fd()) {
            Err(Errno::ENOTCONN | Errno::EINVAL) => "a socket that does not listen",
            _ => "a connection",
        });
    }
    let family = getsockname::<SockaddrStorage>(fd.as_raw_fd()).ok().and_then(|name| name.family());
    match family {
        Some(AddressFamily::Inet | AddressFamily::Inet6 | AddressFamily::Unix) => Ok(()),
        Some(_) | None => Err("a socket of another kind"),
    }
}
