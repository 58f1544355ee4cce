//! Plays a session against srvwrap: the test is W and V, its operator and its clients.
//!
//! ```text
//!   test ── runs ──> srvwrap ── runs ──> W, V: puppets, which do what the test tells them
//! ```
//!
//! One worker; where the session waits until it is killed, `--stop-timeout 3s`. What srvwrap writes has to be in the
//! session, line for line; the signals that go with its lines need not be.

use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::page::{Session, Step, Worker};
use super::puppet::{self, Puppet};
use super::{limit_of, within};
use crate::harness::{PATIENCE, Srvwrap, srvwrap};

struct Stage {
    srvwrap: Srvwrap,
    puppeteer: UnixListener,
    /// W, then V.
    workers: Vec<Puppet>,
    /// Where clients connect, and those who have.
    port: u16,
    clients: Vec<TcpStream>,
}

/// What went wrong, if anything: the line, and why.
pub(super) fn play(session: &Session, python: &str) -> Result<(), String> {
    let mut stage = Stage::set(session, python)?;
    for (line, step) in &session.steps {
        stage.step(step).map_err(|why| format!("{line}: {why}\n{}", stage.srvwrap.log()))?;
    }
    stage.end()
}

impl Stage {
    fn set(session: &Session, python: &str) -> Result<Stage, String> {
        let mut options = vec!["-p", "127.0.0.1:0"];
        if session.steps.iter().any(|(_, step)| matches!(step, Step::Killed(..))) {
            options.extend(["--stop-timeout", "3s"]);
        }
        if session.has_second_listener() {
            options.extend(["-p", "unix:second.sock"]);
        }
        for (option, value) in session.options() {
            options.push(option);
            options.extend(value);
        }
        let words = options.iter().copied().chain([python, "puppet.py"]);
        let starting = srvwrap(words).file("puppet.py", puppet::PROGRAM);
        let puppeteer = puppet::puppeteer(starting.path());
        let mut srvwrap = starting.start();
        let port = srvwrap.port();
        let first = Puppet::started(&puppeteer, PATIENCE);
        let first = first.map_err(|why| format!("{why}\n{}", srvwrap.log()))?;
        Ok(Stage { srvwrap, puppeteer, workers: vec![first], port, clients: Vec::new() })
    }

    fn worker(&mut self, who: Worker) -> Result<&mut Puppet, String> {
        self.workers.get_mut(who as usize).ok_or_else(|| "no line says that it has started".to_owned())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Says(who, text) => self.worker(*who)?.order("write", text),
            Step::SaysInDatagram(who, text) => self.worker(*who)?.order("datagram", text),
            Step::WorkerCloses(who) => self.worker(*who)?.order("close", ""),
            Step::ShutsListenerDown(who) => self.worker(*who)?.order("shutdown", ""),
            // It was set so.
            Step::RunsWith(..) => Ok(()),
            Step::Starts(Worker::V) => {
                self.workers.push(Puppet::started(&self.puppeteer, PATIENCE)?);
                Ok(())
            }
            Step::HasDescriptors(numbers) => expect(&self.worker(Worker::W)?.descriptors, numbers),
            Step::Has(name, value, _) => expect(&self.worker(Worker::W)?.environment.get(name), &Some(value)),
            Step::SrvwrapGets(signal) => {
                self.srvwrap.signal(*signal);
                Ok(())
            }
            Step::SrvwrapKilled => {
                self.srvwrap.signal(Signal::SIGKILL);
                Ok(())
            }
            Step::Connects(limit) => self.connects(limit_of(*limit)),
            Step::SrvwrapExits(status, limit) => self.srvwrap_exits(*status, limit_of(*limit)),
            _ => self.comes(step),
        }
    }

    /// What comes to a worker, or must not.
    fn comes(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Tells(who, text) => expect(&self.worker(*who)?.line(PATIENCE).as_ref(), &Some(text)),
            Step::WorkerGets(who, signal) => {
                let came = self.worker(*who)?.gets(signal.as_str(), PATIENCE);
                came.then_some(()).ok_or_else(|| "it does not come".to_owned())
            }
            Step::GetsNothing(who, time) | Step::Serves(who, time) => {
                expect(&self.worker(*who)?.left_over(*time), &Vec::new())
            }
            Step::GetsNoSignal(who, time) => {
                expect(&self.worker(*who)?.signals_left_over(*time), &Vec::new())
            }
            Step::Exits(who, Some(status), _) => {
                let worker = self.worker(*who)?;
                worker.order("exit", &status.to_string())?;
                if worker.ends(PATIENCE) { Ok(()) } else { Err("it does not end".to_owned()) }
            }
            Step::Killed(who, limit) => {
                let worker = self.worker(*who)?;
                let ends = worker.ends(limit_of(*limit));
                if ends { expect(&worker.exits, &None) } else { Err("it is alive".to_owned()) }
            }
            _ => Err("nothing that can be played against srvwrap".to_owned()),
        }
    }

    /// Tried again and again: a listener may be away for a moment.
    fn connects(&mut self, limit: Duration) -> Result<(), String> {
        let connected = within(limit, || {
            TcpStream::connect(("127.0.0.1", self.port)).map(|client| self.clients.push(client)).is_ok()
        });
        if connected { Ok(()) } else { Err("nobody listens".to_owned()) }
    }

    fn srvwrap_exits(&mut self, status: i32, limit: Duration) -> Result<(), String> {
        let begun = Instant::now();
        expect(&self.srvwrap.exit_code(), &status)?;
        if begun.elapsed() <= limit { Ok(()) } else { Err(format!("after {:?} only", begun.elapsed())) }
    }

    /// Every line that has come is in the session.
    fn end(mut self) -> Result<(), String> {
        for worker in &mut self.workers {
            let line = worker.line(Duration::ZERO);
            if let Some(line) = line {
                return Err(format!("at the end: no line of the session says S: {line}"));
            }
        }
        Ok(())
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(seen: &T, wanted: &T) -> Result<(), String> {
    if seen == wanted { Ok(()) } else { Err(format!("it is {seen:?}, not {wanted:?}")) }
}
