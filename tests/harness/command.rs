//! Runs a command of srvwrap as a shell would, and tells its two outputs apart.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::plain;
use super::{BINARY, PATIENCE};

/// A command that is running. Killed at the end, if it has not ended.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<(Stream, String)>,
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

/// What a command said, and how it ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// 128+n where a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

/// The command `srvwrap ARGUMENTS` in this directory, with no input and nothing of srvwrap's in its environment.
pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = plain(BINARY);
    command.args(arguments).current_dir(directory).env("PWD", directory).stdin(Stdio::null());
    command.env_remove("WEB_CONCURRENCY").env_remove("PORT").env_remove("SRVWRAP_SOCKET");
    command
}

/// Starts a command.
pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Running {
    run(command(directory, arguments))
}

/// Starts one that has been changed.
pub(crate) fn run(mut command: Command) -> Running {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let (sender, lines) = channel();
    let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let also = sender.clone();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // The test may be over.
            let _ = sender.send((Stream::Stdout, line));
        }
    });
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = also.send((Stream::Stderr, line));
        }
    });
    Running { child, lines, told: Told::default() }
}

/// Runs a command to its end.
pub(crate) fn told(directory: &Path, arguments: &[&str]) -> Told {
    start(directory, arguments).end()
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it is there");
    }

    /// Waits until a line on either output holds these words, and returns it.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok((stream, line)) = self.lines.recv_timeout(left) else {
                panic!("no {words:?}, but {:?}", self.told);
            };
            self.took(stream, line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Whether anything that it has said so far holds these words.
    pub(crate) fn has_said(&mut self, words: &str) -> bool {
        while let Ok((stream, line)) = self.lines.try_recv() {
            self.took(stream, line);
        }
        self.told.stdout.iter().chain(&self.told.stderr).any(|line| line.contains(words))
    }

    /// Waits for its end, and for all that it said.
    pub(crate) fn end(mut self) -> Told {
        let until = Instant::now() + PATIENCE;
        // The outputs end with it: it starts nothing.
        while let Ok((stream, line)) =
            self.lines.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.took(stream, line);
        }
        assert!(Instant::now() < until, "it does not end; it said {:?}", self.told);
        let status = self.child.wait().expect("it is our child");
        self.told.code = status.code().or_else(|| Some(128 + status.signal()?)).expect("it has ended");
        std::mem::take(&mut self.told)
    }

    fn took(&mut self, stream: Stream, line: String) {
        match stream {
            Stream::Stdout => self.told.stdout.push(line),
            Stream::Stderr => self.told.stderr.push(line),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Told {
    /// It was done, and nothing went wrong.
    pub(crate) fn done(self) -> Vec<String> {
        assert!(self.code == 0 && self.stderr.is_empty(), "{self:?}");
        self.stdout
    }

    /// It ended with this code, said nothing that was asked for, and why in one line.
    pub(crate) fn failed(self, code: i32) -> String {
        assert!(self.code == code && self.stdout.is_empty() && self.stderr.len() == 1, "{self:?}");
        let line = self.stderr.into_iter().next().expect("counted");
        line.strip_prefix("srvwrap: ").unwrap_or_else(|| panic!("not by srvwrap: {line}")).to_owned()
    }
}
