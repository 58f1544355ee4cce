//! A worker that the test starts as srvwrap would, and what srvwrap holds of it: the other end of its notice fd, and
//! the listeners.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, read_to_string};
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::lines::{Lines, Next};
use super::page::Behind;
use super::within;
use crate::harness::handed::hand_over;
use crate::harness::http::Target;
use crate::harness::{PATIENCE, process};

/// The listeners, of which the test is a holder.
pub(super) struct Listeners {
    tcp: TcpListener,
    /// The second, where there is one.
    unix: Option<UnixListener>,
    directory: tempfile::TempDir,
    /// Connections that nobody asks anything on.
    clients: Vec<std::net::TcpStream>,
}

impl Listeners {
    pub(super) fn new(second: bool) -> Listeners {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("second.sock");
        Listeners {
            tcp: TcpListener::bind("127.0.0.1:0").expect("there is a port"),
            unix: second.then(|| UnixListener::bind(path).expect("a short path")),
            directory,
            clients: Vec::new(),
        }
    }

    pub(super) fn first(&self) -> Target {
        Target::Port(self.tcp.local_addr().expect("it is bound").port())
    }

    fn second(&self) -> Target {
        Target::Path(self.directory.path().join("second.sock"))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn set_nonblocking(&self, set: bool) -> Result<(), String> {
        let unix = self.unix.as_ref().map_or(Ok(()), |unix| unix.set_nonblocking(set));
        unix.and(self.tcp.set_nonblocking(set)).map_err(|error| error.to_string())
    }

    pub(super) fn connect(&mut self) -> Result<(), String> {
        let address = self.tcp.local_addr().expect("it is bound");
        let client = std::net::TcpStream::connect(address).map_err(|error| error.to_string())?;
        self.clients.push(client);
        Ok(())
    }

    pub(super) fn connect_and_leave(&mut self) -> Result<(), String> {
        self.connect()?;
        let client = self.clients.pop().expect("just pushed");
        let now = libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::Linger, &now)
            .map_err(|error| error.to_string())
    }

    /// Again and again somebody connects, and the test tries to be faster than the worker, whom poll has woken: not too
    /// fast, or that sees nothing of it.
    pub(super) fn accept_what_others_wait_for(&mut self) -> Result<(), String> {
        let kept = self.clients.len();
        for round in 0..300 {
            self.clients.truncate(kept);
            self.connect()?;
            let since = Instant::now();
            while since.elapsed() < Duration::from_micros(round % 100) {}
            match self.tcp.accept() {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}

/// A worker to be started.
pub(super) struct Spawning {
    program: Vec<OsString>,
    environment: BTreeMap<String, String>,
    /// What is at which number, beside stdin, stdout and stderr.
    placed: BTreeMap<i32, Placed>,
    next: Option<(Notices, OwnedFd)>,
    /// Where it binds a port of its own, this is the one.
    own_port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placed {
    Notices,
    First,
    Second,
    DevNull,
}

impl Spawning {
    pub(super) fn new(program: Vec<OsString>, protocol: &str, listeners: &Listeners) -> Spawning {
        let Target::Port(port) = listeners.first() else { unreachable!("the first is on TCP") };
        let mut spawning = Spawning {
            program,
            environment: BTreeMap::new(),
            placed: BTreeMap::new(),
            next: None,
            own_port: None,
        };
        let (notices, first) = match protocol {
            "stdin" => (3, 0),
            "srvwrap" => (3, 4),
            other => panic!("the test is no srvwrap for --protocol {other}"),
        };
        let given = [
            ("NOTIFY_FD", notices.to_string()),
            ("LISTEN_FD", first.to_string()),
            ("LISTEN_FD_0", first.to_string()),
            ("PORT", port.to_string()),
            ("SRVWRAP_SLOT", "0".to_owned()),
            ("NODE_APP_INSTANCE", "0".to_owned()),
            ("NAUGHT_WORKER", "0".to_owned()),
            ("SRVWRAP_GENERATION", "1".to_owned()),
            ("SRVWRAP_PID", std::process::id().to_string()),
        ];
        spawning.environment.extend(given.map(|(name, value)| (name.to_owned(), value)));
        spawning.placed.extend([(notices, Placed::Notices), (first, Placed::First)]);
        if listeners.unix.is_some() {
            spawning.environment.insert("LISTEN_FD_1".to_owned(), (first + 1).to_string());
            spawning.placed.insert(first + 1, Placed::Second);
        }
        spawning
    }

    /// Sees to it that W has this variable, and at its number what belongs there.
    pub(super) fn has(&mut self, name: &str, value: &str, behind: Behind) -> Result<(), String> {
        let thing = match name {
            "NOTIFY_FD" => Some(Placed::Notices),
            "LISTEN_FD_0" => Some(Placed::First),
            "LISTEN_FD_1" => Some(Placed::Second),
            _ => None,
        };
        self.environment.insert(name.to_owned(), value.to_owned());
        let (Some(thing), Ok(number)) = (thing, value.parse()) else { return Ok(()) };
        self.placed.retain(|_, placed| *placed != thing);
        match behind {
            Behind::Itself => self.placed.insert(number, thing),
            Behind::DevNull => self.placed.insert(number, Placed::DevNull),
            Behind::Nothing => None,
        };
        Ok(())
    }

    pub(super) fn has_descriptors(&self, numbers: &[i32]) -> Result<(), String> {
        let mut placed: Vec<i32> = [0, 1, 2].into_iter().chain(self.placed.keys().copied()).collect();
        placed.sort_unstable();
        placed.dedup();
        if placed == numbers { Ok(()) } else { Err(format!("the test would give it {placed:?}")) }
    }

    /// W is started by somebody who knows nothing of srvwrap.
    pub(super) fn alone(&mut self) {
        // Given up at once, so that nobody has it but the program.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("there is a port").port();
        self.own_port = Some(port);
        self.placed.clear();
        self.environment = BTreeMap::from([("PORT".to_owned(), port.to_string())]);
    }

    pub(super) fn is_alone(&self) -> bool {
        self.own_port.is_some()
    }

    pub(super) fn target(&self, listeners: &Listeners, name: &str) -> Result<Target, String> {
        match (self.own_port, name) {
            (Some(port), "LISTEN_FD") => Ok(Target::Port(port)),
            (None, "LISTEN_FD" | "LISTEN_FD_0") => Ok(listeners.first()),
            (None, "LISTEN_FD_1") => Ok(listeners.second()),
            _ => Err("there is no such listener".to_owned()),
        }
    }

    /// Those of the worker that is started next.
    pub(super) fn next_notices(&mut self) -> &mut Notices {
        &mut self.next.get_or_insert_with(Notices::new).0
    }

    pub(super) fn spawn(&mut self, listeners: &Listeners, index: usize) -> Acted {
        let (notices, of_worker) = self.next.take().unwrap_or_else(Notices::new);
        let generation = (index + 1).to_string();
        if self.environment.contains_key("SRVWRAP_GENERATION") {
            self.environment.insert("SRVWRAP_GENERATION".to_owned(), generation);
        }
        let stderr = listeners.path().join(format!("stderr.{index}"));
        let mut command = process::plain(&self.program[0]);
        command.args(&self.program[1..]).current_dir(listeners.path()).process_group(0);
        command.env("PYTHONDONTWRITEBYTECODE", "1").envs(&self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&stderr).expect("a file can be made"));
        let thing = |placed: &Placed| match placed {
            Placed::Notices => of_worker.try_clone(),
            Placed::First => listeners.tcp.as_fd().try_clone_to_owned(),
            Placed::Second => listeners.unix.as_ref().expect("it is placed").as_fd().try_clone_to_owned(),
            Placed::DevNull => File::open("/dev/null").map(OwnedFd::from),
        };
        let things = self.placed.iter().map(|(number, placed)| (*number, Some(thing(placed).expect("room"))));
        hand_over(&mut command, things.collect());
        let child = command.spawn().expect("the example can be started");
        let numbers = self.placed.keys().copied().filter(|number| *number > 2).collect();
        Acted { child, status: None, notices, stderr: stderr.into_os_string(), numbers }
    }
}

/// srvwrap's end of a notice fd.
pub(super) struct Notices {
    /// None once it is closed.
    reading: Option<Lines>,
    writing: Option<UnixStream>,
    /// The worker's end, through which the test fills what the worker would write to.
    filling: UnixStream,
    said: Vec<String>,
}

/// What fills the socket, and is no word of a worker's.
const FILLING: &str = "status srvwrap has not read this";

impl Notices {
    fn new() -> (Notices, OwnedFd) {
        let (ours, of_worker) = UnixStream::pair().expect("a pair can be made");
        let filling = of_worker.try_clone().expect("there is room");
        let writing = ours.try_clone().expect("there is room");
        let notices =
            Notices { reading: Some(Lines::of(ours)), writing: Some(writing), filling, said: Vec::new() };
        (notices, of_worker.into())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let stream = self.writing.as_mut().ok_or("it is closed")?;
        stream.set_write_timeout(Some(PATIENCE)).expect("it is not zero");
        stream.write_all(bytes).map_err(|error| format!("nobody reads: {error}"))
    }

    pub(super) fn close(&mut self) {
        self.reading = None;
        self.writing = None;
    }

    /// Until nothing more finds room.
    pub(super) fn fill(&mut self) -> Result<(), String> {
        let line = format!("{FILLING}\n");
        let full = || {
            // SAFETY: so many bytes of a text that lives through the call.
            let count = unsafe {
                libc::send(
                    self.filling.as_raw_fd(),
                    line.as_ptr().cast(),
                    line.len(),
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            count < 0 && std::io::Error::last_os_error().kind() == ErrorKind::WouldBlock
        };
        for _ in 0..1_000_000 {
            if full() {
                return Ok(());
            }
        }
        Err("it takes everything".to_owned())
    }

    /// Waits for this line.
    pub(super) fn says(&mut self, text: &str, limit: Duration) -> Result<(), String> {
        let until = Instant::now() + limit;
        loop {
            let reading = self.reading.as_mut().ok_or("it is closed")?;
            match reading.next(until.saturating_duration_since(Instant::now())) {
                Next::Line(line) if line == text => {
                    self.said.push(line);
                    return Ok(());
                }
                Next::Line(line) if self.is_allowed(&line) => {}
                Next::Line(line) => return Err(format!("it says {line:?}")),
                Next::End => return Err("it has closed its end".to_owned()),
                Next::Late => return Err("it does not say it".to_owned()),
            }
        }
    }

    fn is_allowed(&self, line: &str) -> bool {
        let of_readiness = ["online", "ready", "READY=1"].contains(&line);
        let harmless = ["ping", "status"].contains(&line) || line.starts_with("status ");
        harmless || (of_readiness && !self.said.is_empty())
    }

    /// Nothing is there that was not waited for. A word of readiness is right after it was told to finish, too.
    pub(super) fn nothing_more(&mut self) -> Result<(), String> {
        self.said.push("online".to_owned());
        let Some(mut reading) = self.reading.take() else { return Ok(()) };
        while let Next::Line(line) = reading.next(Duration::ZERO) {
            if !self.is_allowed(&line) {
                return Err(format!("no line of the session says W: {line}"));
            }
        }
        Ok(())
    }
}

/// A worker that was started. Killed with its group at the end.
pub(super) struct Acted {
    child: Child,
    status: Option<ExitStatus>,
    pub(super) notices: Notices,
    stderr: OsString,
    /// At which numbers it was given something, above stderr.
    numbers: Vec<i32>,
}

impl Acted {
    pub(super) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub(super) fn stderr(&self) -> String {
        read_to_string(&self.stderr).unwrap_or_default()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("it is our child");
        }
        self.status.is_some()
    }

    pub(super) fn signal(&mut self, signal: Signal) -> Result<(), String> {
        if self.has_ended() {
            return Ok(());
        }
        killpg(Pid::from_raw(self.pid()), signal).map_err(|error| error.to_string())
    }

    pub(super) fn exits(&mut self, status: Option<i32>, limit: Duration) -> Result<(), String> {
        if !within(limit, || self.has_ended()) {
            return Err(format!("it has not ended after {limit:?}"));
        }
        let ended = self.status.expect("it has ended");
        match status.is_none() || ended.code() == status {
            true => Ok(()),
            false => Err(format!("{ended}")),
        }
    }

    /// It ends by itself, not with 0, and has said why in one line.
    pub(super) fn complains(&mut self, variable: &str) -> Result<(), String> {
        self.exits(None, PATIENCE)?;
        let ended = self.status.expect("it has ended");
        let stderr = self.stderr();
        match (ended.code(), ended.signal()) {
            (Some(0), _) => Err("it exits with 0".to_owned()),
            (None, signal) => Err(format!("it dies of signal {signal:?}")),
            _ if stderr.lines().count() != 1 => Err("it is to say one line".to_owned()),
            _ if !stderr.contains(variable) => Err(format!("it does not name {variable}")),
            _ => Ok(()),
        }
    }

    /// Each is close-on-exec, or closed.
    pub(super) fn keeps_descriptors(&self) -> Result<(), String> {
        for number in &self.numbers {
            let path = format!("/proc/{}/fdinfo/{number}", self.pid());
            let Ok(text) = read_to_string(path) else { continue };
            let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
            let flags = i32::from_str_radix(flags.trim(), 8).unwrap_or_default();
            if flags & libc::O_CLOEXEC == 0 {
                return Err(format!("a child would be given descriptor {number}"));
            }
        }
        Ok(())
    }
}

impl Drop for Acted {
    fn drop(&mut self) {
        if !self.has_ended() {
            // Its group may have ended in this moment.
            let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}
