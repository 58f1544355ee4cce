//! A stand-in for a running srvwrap: what commands ask it is read, and answered as a test wants it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{PATIENCE, wait_until};

pub(crate) struct StandIn {
    listener: UnixListener,
    /// Questions that came while another was waited for.
    waiting: VecDeque<Asked>,
    pub(crate) directory: tempfile::TempDir,
}

/// One question, and the connection to answer it on.
pub(crate) struct Asked {
    stream: UnixStream,
    /// As in `POST /deploy`.
    pub(crate) what: String,
    pub(crate) body: String,
}

/// It listens at `srvwrap.sock` in a directory of its own.
pub(crate) fn stand_in() -> StandIn {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let listener = UnixListener::bind(directory.path().join("srvwrap.sock")).expect("a short path");
    StandIn { listener, waiting: VecDeque::new(), directory }
}

impl StandIn {
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Waits for this question. Others that come first wait for their turn.
    pub(crate) fn asked(&mut self, what: &str) -> Asked {
        if let Some(at) = self.waiting.iter().position(|asked| asked.what == what) {
            return self.waiting.remove(at).expect("just found");
        }
        loop {
            let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(PATIENCE).expect("a minute");
            assert_eq!(poll(&mut fds, patience), Ok(1), "nobody asks {what:?}, but {:?}", self.others());
            let asked = Asked::read(self.listener.accept().expect("it is there").0);
            if asked.what == what {
                return asked;
            }
            self.waiting.push_back(asked);
        }
    }

    /// What was asked and is still to be answered.
    pub(crate) fn others(&self) -> Vec<&str> {
        self.waiting.iter().map(|asked| asked.what.as_str()).collect()
    }

    /// It is gone, as one that was killed: nobody listens, and the path is still there.
    pub(crate) fn killed(self) -> tempfile::TempDir {
        let StandIn { listener, directory, .. } = self;
        drop(listener);
        // What another test starts at this moment holds a copy until it is executed.
        let path = directory.path().join("srvwrap.sock");
        wait_until("nobody listens any more", || UnixStream::connect(&path).is_err());
        directory
    }
}

impl Asked {
    fn read(mut stream: UnixStream) -> Asked {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
                    let what = head.split(" HTTP/").next().expect("a first line").to_owned();
                    return Asked { stream, what, body: body.to_owned() };
                }
            }
            let count = stream.read(&mut buffer).expect("a whole request");
            assert!(count > 0, "half a request: {bytes:?}");
            bytes.extend_from_slice(&buffer[..count]);
        }
    }

    /// The whole answer.
    pub(crate) fn answer(mut self, status: u16, body: &str) {
        let head = format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\n\r\n", body.len());
        // Whoever asked may have left.
        let _ = self.stream.write_all((head + body).as_bytes());
    }

    /// The answer to an order.
    pub(crate) fn ends(self, outcome: &str, exit_code: u8, message: &str) {
        let status = if exit_code == 0 { 200 } else { 422 };
        self.answer(status, &answer(outcome, exit_code, message));
    }

    /// Begins an answer that goes on.
    pub(crate) fn streams(mut self) -> Asked {
        self.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        self
    }

    /// One event of it.
    pub(crate) fn event(&mut self, message: &str) {
        self.event_named("test", message);
    }

    /// One of this name.
    pub(crate) fn event_named(&mut self, name: &str, message: &str) {
        let line = event(message).replace(r#""test""#, &format!("{name:?}")) + "\n";
        self.write(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes());
    }

    /// Its end.
    pub(crate) fn finish(mut self) {
        self.write(b"0\r\n\r\n");
    }

    /// Anything.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("somebody reads");
    }
}

/// An answer to an order, as JSON.
pub(crate) fn answer(outcome: &str, exit_code: u8, message: &str) -> String {
    let message = message.escape_default();
    format!(
        r#"{{"schema":1,"outcome":"{outcome}","exit_code":{exit_code},"message":"{message}","generation":2}}"#
    )
}

/// An event, as JSON.
pub(crate) fn event(message: &str) -> String {
    format!(
        r#"{{"schema":1,"event":"test","time":"2026-01-02T03:04:05.678Z","message":"{message}","counts":{{"workers":1,"starting":0,"online":1,"retiring":0}}}}"#
    )
}
