//! `srvwrap start`, and the daemon that it leaves. What still runs at the end of a test is killed, by its id.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{BINARY, PATIENCE, is_alive, wait_until, write_file};

/// A directory to start daemons in.
pub(crate) struct Home {
    directory: tempfile::TempDir,
}

/// What `start` has done.
pub(crate) struct Returned {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A process that is nobody's child here.
pub(crate) struct Daemon {
    pub(crate) pid: i32,
    /// With the pid it tells one process from all others.
    born: String,
}

impl Home {
    pub(crate) fn new() -> Home {
        Home { directory: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Puts a file there; executable where it begins with `#!`.
    pub(crate) fn file(self, name: &str, text: &str) -> Home {
        write_file(self.path(), name, text);
        self
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Whatever is there, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).expect("it is there");
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub(crate) fn start_command(&self, arguments: &[&str]) -> Command {
        let mut command = super::process::plain(BINARY);
        command.arg("start").args(arguments).current_dir(self.path()).env("PWD", self.path());
        command.env_remove("WEB_CONCURRENCY").env_remove("PORT").env_remove("SYSTEMD_EXEC_PID");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `start` until it has returned and everything that it wrote to is closed, as a remote shell waits.
    pub(crate) fn start(&self, arguments: &[&str]) -> Returned {
        returned(self.start_command(arguments))
    }

    /// Starts a daemon, which must come online.
    pub(crate) fn online(&self, arguments: &[&str]) -> Daemon {
        let returned = self.start(arguments);
        assert_eq!(returned.code, 0, "{}{}", returned.stdout, returned.stderr);
        self.daemon().expect("it is online")
    }

    /// The one whose control socket is there, if any.
    pub(crate) fn daemon(&self) -> Option<Daemon> {
        listener_at(&self.at("srvwrap.sock")).map(Daemon::of)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if thread::panicking() {
            for name in ["srvwrap.log", "stdout.log", "stderr.log"] {
                eprintln!("{name}:\n{}", fs::read_to_string(self.at(name)).unwrap_or_default());
            }
        }
        drop(self.daemon());
    }
}

/// Who listens on a unix socket.
pub(crate) fn listener_at(path: &Path) -> Option<i32> {
    let stream = UnixStream::connect(path).ok()?;
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of_val(&found) as libc::socklen_t;
    // SAFETY: the kernel writes as much as there is room for, to a place that lives.
    let result = unsafe {
        let to = (&raw mut found).cast();
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, to, &raw mut size)
    };
    (result == 0).then_some(found.pid)
}

pub(crate) fn returned(mut command: Command) -> Returned {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(command.output().expect("it can be started")));
    let output: Output = receiver.recv_timeout(PATIENCE).expect("start returns and nobody holds its output");
    Returned {
        code: output.status.code().expect("it was not killed"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Daemon {
    pub(crate) fn of(pid: i32) -> Daemon {
        Daemon { pid, born: born(pid) }
    }

    pub(crate) fn is_alive(&self) -> bool {
        is_alive(self.pid) && born(self.pid) == self.born
    }

    pub(crate) fn signal(&self, signal: Signal) {
        assert!(self.is_alive());
        kill(Pid::from_raw(self.pid), signal).expect("it is there");
    }

    pub(crate) fn stop(self) {
        self.signal(Signal::SIGTERM);
        self.wait();
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) {
        wait_until("the daemon has ended", || !self.is_alive());
    }

    /// One field of `/proc/PID/stat`, by its number there, from 3 on.
    pub(crate) fn stat(&self, field: usize) -> String {
        stat(self.pid, field)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
            wait_until("a killed daemon is gone", || !self.is_alive());
        }
    }
}

fn born(pid: i32) -> String {
    stat(pid, 22)
}

fn stat(pid: i32, field: usize) -> String {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind = line.rsplit(") ").next().unwrap_or_default();
    behind.split_whitespace().nth(field - 3).unwrap_or_default().to_string()
}
