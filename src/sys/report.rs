//! What a daemon tells the command that started it: lines on a pipe, until the last one.
//!
//! ```text
//!   caller  <── pipe <── line, line, … last ── daemon
//!           end of file behind the last line; without one, the daemon ended without a word
//! ```
//!
//! The caller may be slow, stopped or gone, and the daemon waits for it at its own end only.
//!
//! What this file does not do: know what the lines say.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

/// Bytes that may wait for the caller. Lines beyond that are lost, but for the last one.
const QUEUE_LIMIT: usize = 1 << 20;

/// The daemon's end, which does not block.
#[derive(Debug)]
pub(crate) struct Report {
    /// None once the last line is written, or the caller gone.
    fd: Option<OwnedFd>,
    queue: Vec<u8>,
    /// Nothing follows.
    ended: bool,
}

impl Report {
    pub(super) fn new(fd: OwnedFd) -> Report {
        Report { fd: Some(fd), queue: Vec::new(), ended: false }
    }

    /// One line, without its newline.
    pub(crate) fn line(&mut self, line: &[u8]) {
        if !self.ended && self.queue.len() + line.len() < QUEUE_LIMIT {
            self.push(line);
        }
    }

    /// The last line. Only the first of them counts.
    pub(crate) fn last(&mut self, line: &[u8]) {
        if !self.ended {
            self.ended = true;
            self.push(line);
        }
    }

    /// Its descriptor, whether or not something waits.
    pub(super) fn fd_number(&self) -> Option<RawFd> {
        self.fd.as_ref().map(AsRawFd::as_raw_fd)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    fn push(&mut self, line: &[u8]) {
        self.queue.extend_from_slice(line);
        self.queue.push(b'\n');
        self.flush();
    }

    /// Writes what waits, as far as it goes without waiting. For the moment at which [`Report::fd`] is writable.
    pub(crate) fn flush(&mut self) {
        let mut written = 0;
        while let Some(fd) = self.fd.as_ref().filter(|_| written < self.queue.len()) {
            match write(fd, &self.queue[written..]) {
                Ok(count) => written += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                // The caller has gone, and all is as if it had heard us.
                Err(_) => self.fd = None,
            }
        }
        self.queue.drain(..written);
        if self.fd.is_none() || (self.ended && self.queue.is_empty()) {
            *self = Report { fd: None, queue: Vec::new(), ended: self.ended };
        }
    }

    /// What to watch for room, while something waits.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.fd.as_ref().filter(|_| !self.queue.is_empty()).map(AsRawFd::as_raw_fd)
    }

    /// For the daemon's own end: waits for a slow caller, but no longer than 5 s.
    pub(crate) fn finish(mut self) {
        const WAITS: u8 = 50;
        const WAIT_MS: u8 = 100;
        for _ in 0..WAITS {
            self.flush();
            let Some(fd) = self.fd.as_ref().filter(|_| !self.queue.is_empty()) else { return };
            let _ = poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(WAIT_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    fn pair() -> (File, Report) {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        (File::from(reader), Report::new(writer))
    }

    fn rest(mut reader: File) -> String {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn the_caller_reads_the_lines_and_then_the_end() {
        let (reader, mut report) = pair();
        report.line(b"one");
        report.last(b"two");
        report.line(b"three");
        report.last(b"four");
        assert_eq!(rest(reader), "one\ntwo\n");
        assert_eq!(report.fd(), None);
    }

    #[test]
    fn a_caller_that_does_not_read_costs_a_bounded_memory_and_still_gets_the_last_line() {
        let (mut reader, mut report) = pair();
        let line = vec![b'x'; 999];
        for _ in 0..5000 {
            report.line(&line);
        }
        assert!(report.queue.len() <= QUEUE_LIMIT);
        report.last(b"last");
        assert!(report.fd().is_some());
        let mut text = Vec::new();
        while report.fd().is_some() {
            let mut part = [0; 65536];
            let length = reader.read(&mut part).unwrap();
            text.extend_from_slice(&part[..length]);
            report.flush();
        }
        text.extend(rest(reader).bytes());
        assert!(text.ends_with(b"x\nlast\n"));
        assert!(text.len() > 1 << 20);
    }

    #[test]
    fn a_caller_that_has_gone_is_no_trouble() {
        let (reader, mut report) = pair();
        drop(reader);
        report.line(b"one");
        report.last(b"two");
        assert_eq!(report.fd(), None);
        report.finish();
    }

    #[test]
    fn a_caller_that_reads_late_gets_everything_from_one_that_ends() {
        let (reader, mut report) = pair();
        for _ in 0..500 {
            report.line(&[b'x'; 999]);
        }
        report.last(b"last");
        #[expect(clippy::disallowed_methods, reason = "a reader in its own time")]
        let reading = std::thread::spawn(move || rest(reader));
        report.finish();
        assert_eq!(reading.join().unwrap().len(), 500 * 1000 + 5);
    }
}
