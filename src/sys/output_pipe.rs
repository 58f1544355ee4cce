//! The pipe that a worker's stdout or stderr is: it writes to it as to any other, and srvwrap reads without waiting.
//!
//! Both ends close at exec, so that a worker holds only what was placed for it. Only the reading end is non-blocking.
//!
//! What this file does not do: know a line (`logs/block.rs`).

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read};

/// What a pipe holds that nobody has changed.
pub(crate) const USUAL_BYTES: usize = 64 * 1024;
/// Of this a user who is not root may have 256.
const GROWN_BYTES: i32 = 256 * 1024;

/// What one read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// So many bytes, at least 1, at the start of the buffer.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// Nobody has the writing end any more.
    End,
}

/// A new one: where it is read, and where it is written.
pub(crate) fn output_pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

/// One read that does not wait. A pipe that cannot be read has come to its end.
pub(crate) fn read_some(reader: impl AsFd, buffer: &mut [u8]) -> Found {
    loop {
        return match read(reader.as_fd(), buffer) {
            Ok(count @ 1..) => Found::Bytes(count),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Found::Nothing,
            Ok(0) | Err(_) => Found::End,
        };
    }
}

/// Makes room for who writes much. Where the kernel allows no more to this user it stays as it is.
pub(crate) fn grow(reader: impl AsFd) {
    let _ = fcntl(reader, FcntlArg::F_SETPIPE_SZ(GROWN_BYTES));
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::FdFlag;
    use nix::unistd::write;

    use crate::sys::observed::flags;

    #[test]
    fn only_our_end_is_non_blocking_and_both_close_at_exec() {
        let (reader, writer) = output_pipe().unwrap();
        assert!(flags(&reader).0.contains(OFlag::O_NONBLOCK));
        assert!(!flags(&writer).0.contains(OFlag::O_NONBLOCK));
        assert_eq!((flags(&reader).1, flags(&writer).1), (FdFlag::FD_CLOEXEC, FdFlag::FD_CLOEXEC));
    }

    #[test]
    fn what_is_written_is_read_and_then_nothing_and_then_the_end() {
        let (reader, writer) = output_pipe().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(read_some(&reader, &mut buffer), Found::Nothing);
        write(&writer, b"line\n").unwrap();
        assert_eq!(read_some(&reader, &mut buffer), Found::Bytes(5));
        assert_eq!(&buffer[..5], b"line\n");
        drop(writer);
        assert_eq!(read_some(&reader, &mut buffer), Found::End);
    }

    #[test]
    fn one_that_grows_keeps_what_it_holds() {
        let (reader, writer) = output_pipe().unwrap();
        write(&writer, b"line\n").unwrap();
        grow(&reader);
        let size = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).unwrap();
        assert!([USUAL_BYTES as i32, GROWN_BYTES].contains(&size), "{size}");
        assert_eq!(read_some(&reader, &mut [0; 8]), Found::Bytes(5));
    }
}
