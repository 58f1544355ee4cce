//! What a command says: what was asked for on stdout, and what went wrong on stderr.
//!
//! A reader that has gone (`srvwrap events | head`) is no failure, and ends nothing but the writing; a disk that is
//! full is one. A stdout that does not block is waited for.
//!
//! What this file does not do: clean what it is given.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd;

/// stdout, and whether it still takes anything.
#[derive(Debug, Default)]
pub(crate) struct Output {
    lost: Option<Errno>,
}

impl Output {
    /// One line.
    pub(crate) fn line(&mut self, line: &str) {
        self.bytes(format!("{line}\n").as_bytes());
    }

    /// As it is, in as few writes as there can be.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if self.lost.is_none() {
            self.lost = write(&io::stdout(), bytes).err();
        }
    }

    /// Whether nobody reads any more, or nothing can be written.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// What a command exits with that is there to write, where `code` is what else became of it: what could not be
    /// written is said, and is a failure.
    pub(crate) fn exit_code(&self, code: u8) -> u8 {
        if self.tell_loss() { code.max(1) } else { code }
    }

    /// Says what could not be written, if anything. Whether there was.
    pub(crate) fn tell_loss(&self) -> bool {
        match self.lost {
            None | Some(Errno::EPIPE) => false,
            Some(errno) => {
                complain(&format_args!("cannot write to stdout: {}", errno.desc()));
                true
            }
        }
    }
}

fn write(stdout: &impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match unistd::write(stdout, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                // Whatever it says, the next write says it better.
                let _ = poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// One line on stderr.
pub(crate) fn complain(sentence: &dyn Display) {
    let line = format!("srvwrap: {}\n", super::cells::clean(&sentence.to_string()));
    // Where nobody can be told, the exit code has to do.
    let _ = io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, pipe};

    #[test]
    fn a_reader_that_has_gone_is_no_failure_but_a_full_disk_is() {
        let gone = Output { lost: Some(Errno::EPIPE) };
        assert_eq!((gone.exit_code(0), gone.exit_code(5)), (0, 5));
        let full = Output { lost: Some(Errno::ENOSPC) };
        assert_eq!((full.exit_code(0), full.exit_code(5)), (1, 5));
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        assert_eq!(write(&writer, b"x"), Err(Errno::EPIPE));
        assert_eq!(write(&File::options().write(true).open("/dev/full").unwrap(), b"x"), Err(Errno::ENOSPC));
    }

    #[test]
    fn a_stdout_that_does_not_block_is_waited_for() {
        let (mut reader, writer) = pipe().unwrap();
        nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        let text = vec![b'x'; 300_000];
        let read = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut read = vec![0; 300_000];
                reader.read_exact(&mut read).map(|()| read)
            });
            assert_eq!(write(&writer, &text), Ok(()));
            reading.join().unwrap().unwrap()
        });
        assert!(read == text);
    }
}
