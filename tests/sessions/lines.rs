//! Lines that come over a socket, each waited for with a limit.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

pub(super) struct Lines {
    stream: UnixStream,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Without its newline.
    Line(String),
    /// The other side is closed. What came before it and had no newline is no line.
    End,
    /// Nothing within the limit.
    Late,
}

impl Lines {
    pub(super) fn of(stream: UnixStream) -> Lines {
        Lines { stream, bytes: Vec::new() }
    }

    pub(super) fn next(&mut self, limit: Duration) -> Next {
        let until = Instant::now() + limit;
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return Next::Line(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            // No time to wait is no limit for a socket.
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("it is not zero");
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Next::End,
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Next::End,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    if Instant::now() >= until {
                        return Next::Late;
                    }
                }
            }
        }
    }
}
