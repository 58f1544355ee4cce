//! A worker that does what the test tells it over a socket, and tells the test what comes to it.
//!
//! ```text
//!   srvwrap ── starts ──> puppet ── what it has, its lines, its signals ──> test
//!                                <── write, datagram, close, shutdown, exit ──
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use super::lines::{Lines, Next};
use crate::harness::PATIENCE;

/// It has no descriptor of its own until it has looked which ones it was given. It handles the signals that may tell it
/// to finish, and does nothing about them.
pub(super) const PROGRAM: &str = r#"
import fcntl, json, os, select, signal, socket, sys

def is_open(number):
    try:
        fcntl.fcntl(number, fcntl.F_GETFD)
        return True
    except OSError:
        return False

def tell(**what):
    test.sendall(json.dumps(what).encode() + b"\n")

def datagram(text):
    address = os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1)
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text.encode(), address)

def obey(do, text):
    global watched
    if do == "write":
        os.write(notice, text.encode() + b"\n")
    elif do == "datagram":
        datagram(text)
    elif do == "close":
        watched = [test, woken]
        os.close(notice)
    elif do == "shutdown":
        socket.socket(fileno=os.dup(int(os.environ["LISTEN_FD"]))).shutdown(socket.SHUT_RDWR)
    elif do == "exit":
        tell(exits=text)
        os._exit(int(text))
    tell(done=do)

descriptors = [number for number in range(256) if is_open(number)]
test = socket.socket(socket.AF_UNIX)
test.connect("puppeteer")
woken, wake = socket.socketpair()
wake.setblocking(False)
signal.set_wakeup_fd(wake.fileno())
for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2"):
    signal.signal(getattr(signal, "SIG" + name), lambda number, frame: None)
notice = int(os.environ["NOTIFY_FD"])
watched = [test, woken, notice]
tell(pid=os.getpid(), descriptors=descriptors, environment=dict(os.environ))
orders, received = b"", b""
while True:
    ready = select.select(watched, [], [])[0]
    if woken in ready:
        for number in woken.recv(100):
            tell(signal=signal.Signals(number).name)
    if notice in ready:
        chunk = os.read(notice, 4096)
        *lines, received = (received + chunk).split(b"\n")
        for line in lines:
            tell(line=line.decode(errors="replace"))
        if not chunk:
            watched = [test, woken]
    if test in ready:
        chunk = test.recv(4096)
        if not chunk:
            sys.exit("the test has gone")
        *lines, orders = (orders + chunk).split(b"\n")
        for line in lines:
            obey(**json.loads(line))
"#;

/// Where puppets report: in the directory that they are started in.
pub(super) fn puppeteer(directory: &Path) -> UnixListener {
    UnixListener::bind(directory.join("puppeteer")).expect("a short path")
}

pub(super) struct Puppet {
    orders: UnixStream,
    reports: Lines,
    pub(super) descriptors: Vec<i32>,
    pub(super) environment: BTreeMap<String, String>,
    /// What came to it and was not waited for yet.
    lines: VecDeque<String>,
    signals: VecDeque<String>,
    done: bool,
    /// The status that it has said that it exits with.
    pub(super) exits: Option<i32>,
    gone: bool,
}

impl Puppet {
    /// The next one to be started.
    pub(super) fn started(puppeteer: &UnixListener, limit: Duration) -> Result<Puppet, String> {
        let mut fds = [PollFd::new(puppeteer.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).expect("a minute");
        if poll(&mut fds, limit) != Ok(1) {
            return Err("no worker has been started".to_owned());
        }
        let orders = puppeteer.accept().expect("it is there").0;
        let mut reports = Lines::of(orders.try_clone().expect("there is room"));
        let Next::Line(first) = reports.next(PATIENCE) else {
            return Err("the worker has ended at once".to_owned());
        };
        let first: Value = serde_json::from_str(&first).expect("JSON of ours");
        let numbers = first["descriptors"].as_array().expect("a list");
        let variables = first["environment"].as_object().expect("an object");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Ok(Puppet {
            orders,
            reports,
            descriptors: numbers.iter().map(|number| number.as_i64().expect("a number") as i32).collect(),
            environment: variables.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
            lines: VecDeque::new(),
            signals: VecDeque::new(),
            done: false,
            exits: None,
            gone: false,
        })
    }

    /// Has it do something, and waits until it has.
    pub(super) fn order(&mut self, what: &str, text: &str) -> Result<(), String> {
        self.done = false;
        let order = json!({"do": what, "text": text}).to_string() + "\n";
        self.orders.write_all(order.as_bytes()).map_err(|_| "it has ended already".to_owned())?;
        let until = Instant::now() + PATIENCE;
        while !self.done && self.exits.is_none() && self.take(until) {}
        if self.done || self.exits.is_some() { Ok(()) } else { Err(format!("it does not {what}")) }
    }

    /// Takes one report; false where there is none until then, or never.
    fn take(&mut self, until: Instant) -> bool {
        if self.gone {
            return false;
        }
        match self.reports.next(until.saturating_duration_since(Instant::now())) {
            Next::Late => return false,
            Next::End => self.gone = true,
            Next::Line(line) => self.heard(&serde_json::from_str(&line).expect("JSON of ours")),
        }
        true
    }

    fn heard(&mut self, report: &Value) {
        if let Some(line) = report["line"].as_str() {
            self.lines.push_back(line.to_owned());
        } else if let Some(name) = report["signal"].as_str() {
            self.signals.push_back(name.to_owned());
        } else if let Some(status) = report["exits"].as_str() {
            self.exits = status.parse().ok();
        } else {
            self.done = true;
        }
    }

    pub(super) fn line(&mut self, limit: Duration) -> Option<String> {
        let until = Instant::now() + limit;
        while self.lines.is_empty() && self.take(until) {}
        self.lines.pop_front()
    }

    /// Waits for this signal; the others that come are waited for by others.
    pub(super) fn gets(&mut self, signal: &str, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            if let Some(at) = self.signals.iter().position(|name| name == signal) {
                self.signals.remove(at);
                return true;
            }
            if !self.take(until) {
                return false;
            }
        }
    }

    /// What has come to it, and not been waited for, when this time is over: lines, signals, and its end.
    pub(super) fn left_over(&mut self, limit: Duration) -> Vec<String> {
        let until = Instant::now() + limit;
        while self.take(until) {}
        let end = self.gone.then(|| "its end".to_owned());
        self.lines.iter().chain(&self.signals).cloned().chain(end).collect()
    }

    pub(super) fn signals_left_over(&mut self, limit: Duration) -> Vec<String> {
        self.left_over(limit);
        self.signals.iter().cloned().collect()
    }

    /// Waits for its end.
    pub(super) fn ends(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while self.take(until) {}
        self.gone
    }
}
