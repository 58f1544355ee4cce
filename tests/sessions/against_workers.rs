//! Plays a session against a server of `clients/`: the test is srvwrap, the worker's other holders of the listeners,
//! and its clients.
//!
//! ```text
//!   test ── NOTIFY_FD, LISTEN_FD_0 (TCP), LISTEN_FD_1 (a unix socket) ──> W, V: the example of one language
//!        ── clients ──────────────────────────────────────────────────>
//! ```
//!
//! What a worker writes has to be in the session, but for `status`, `ping` and a readiness word said again. It is told
//! by a line alone unless the session says that a signal comes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::acted::{Acted, Listeners, Spawning};
use super::page::{Session, Step, Worker};
use super::{limit_of, within};
use crate::harness::PATIENCE;
use crate::harness::examples::Language;
use crate::harness::http::{Connection, Trouble, get};

/// How a session went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// The test was so slow that what it saw shows nothing.
    TooSlow,
    Failed(String),
}

/// Whether this session can be played against a program that is run so: one that takes its listener on descriptor 0 has
/// it nowhere else, and no second one.
pub(super) fn is_for(language: &Language, session: &Session) -> bool {
    let elsewhere = |step: &Step| match step {
        Step::Has(name, value, _) => name.starts_with("LISTEN_FD") && value != "0",
        _ => false,
    };
    let names_numbers =
        session.steps.iter().any(|(_, step)| elsewhere(step)) || session.has_second_listener();
    session.is_for_workers() && !(protocol_of(language) == Some("stdin") && names_numbers)
}

/// Of the options that the language needs.
fn protocol_of(language: &Language) -> Option<&'static str> {
    let at = language.options.iter().position(|option| *option == "--protocol")?;
    language.options.get(at + 1).copied()
}

pub(super) fn play(session: &Session, language: &Language) -> Outcome {
    let program = language.program().expect("the language is here");
    let protocol = session.protocol().or(protocol_of(language)).unwrap_or("srvwrap");
    let listeners = Listeners::new(session.has_second_listener());
    let mut stage = Stage {
        spawning: Spawning::new(program, protocol, &listeners),
        listeners,
        workers: Vec::new(),
        clients: BTreeMap::new(),
        told: [None; 2],
        late: false,
        asked_to_leave: false,
    };
    let starts_by_itself = !session.steps.iter().any(|(_, step)| *step == Step::Starts(Worker::W));
    for (line, step) in &session.steps {
        if starts_by_itself && !is_setting(step) && stage.workers.is_empty() {
            stage.starts();
        }
        if let Err(why) = stage.step(step) {
            let said: Vec<String> = stage.workers.iter().map(Acted::stderr).collect();
            return Outcome::Failed(format!("{line}: {why}; on stderr: {said:?}"));
        }
        if stage.late {
            return Outcome::TooSlow;
        }
    }
    match stage.end() {
        Ok(()) => Outcome::Passed,
        Err(why) => Outcome::Failed(format!("at the end: {why}")),
    }
}

/// What is so before W starts.
fn is_setting(step: &Step) -> bool {
    matches!(step, Step::Has(..) | Step::HasDescriptors(_) | Step::RunsWith(..) | Step::Alone)
}

/// A worker goes on answering for half a second: a connection that was idle for less is to be answered on.
const DRAIN_IS_SURE_FOR: Duration = Duration::from_millis(350);
/// For so long a client is idle, so that one that closes idle connections at once has closed it.
const IDLE: Duration = Duration::from_millis(200);

struct Stage {
    spawning: Spawning,
    listeners: Listeners,
    /// W, then V.
    workers: Vec<Acted>,
    clients: BTreeMap<char, Connection>,
    /// When each worker was first told to finish.
    told: [Option<Instant>; 2],
    /// The test was too slow.
    late: bool,
    /// By a client that a line names.
    asked_to_leave: bool,
}

impl Stage {
    fn starts(&mut self) {
        let worker = self.spawning.spawn(&self.listeners, self.workers.len());
        self.workers.push(worker);
    }

    fn worker(&mut self, who: Worker) -> Result<&mut Acted, String> {
        self.workers.get_mut(who as usize).ok_or_else(|| "no line says that it has started".to_owned())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Has(name, value, behind) => self.spawning.has(name, value, *behind),
            Step::HasDescriptors(numbers) => self.spawning.has_descriptors(numbers),
            Step::RunsWith(..) => Ok(()),
            Step::Alone => {
                self.spawning.alone();
                Ok(())
            }
            Step::Starts(who) if *who as usize == self.workers.len() => {
                self.starts();
                Ok(())
            }
            // What srvwrap does about it is in the lines that follow.
            Step::SrvwrapGets(_) => Ok(()),
            Step::SrvwrapExits(..) => match self.workers.iter_mut().all(Acted::has_ended) {
                true => Ok(()),
                false => Err("a worker is still there".to_owned()),
            },
            Step::Tells(..) | Step::Writes(_) | Step::SrvwrapCloses | Step::Reads(_) => self.of_srvwrap(step),
            Step::WorkerGets(who, signal) => {
                self.tells_to_finish(*who);
                if self.late { Ok(()) } else { self.worker(*who)?.signal(*signal) }
            }
            Step::Nonblocking(set) => self.listeners.set_nonblocking(*set),
            Step::AnotherIsFaster => self.listeners.accept_what_others_wait_for(),
            Step::Connects(_) | Step::Leaves | Step::IsAnswered(_) => self.of_clients(step),
            Step::Asks(..) | Step::Answered(_) | Step::ConnectionCloses(_) => self.of_named_clients(step),
            Step::AsksUntilLast(name) => self.asks_until_last(*name),
            _ => self.of_workers(step),
        }
    }

    fn of_srvwrap(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Tells(who, text) => {
                let was_told = self.told[*who as usize].is_some();
                if text == "\"shutdown\"" {
                    self.tells_to_finish(*who);
                }
                let written = self.notice(*who).write(format!("{text}\n").as_bytes());
                // One that was told need not read on: some end what there is to read at the signal.
                if was_told || self.late { Ok(()) } else { written }
            }
            Step::Writes(bytes) => self.notice(Worker::W).write(bytes),
            Step::SrvwrapCloses => {
                self.notice(Worker::W).close();
                Ok(())
            }
            Step::Reads(true) => Ok(()),
            _ => self.notice(Worker::W).fill(),
        }
    }

    /// On its way out a program may have put its handlers away. Until then what it answers on has to hold it: one that
    /// is told again, in a session, has a client that is idle.
    fn tells_to_finish(&mut self, who: Worker) {
        let told = self.told[who as usize].get_or_insert_with(Instant::now);
        self.late = told.elapsed() > DRAIN_IS_SURE_FOR;
    }

    /// A worker's notices, which are there before it is.
    fn notice(&mut self, who: Worker) -> &mut super::acted::Notices {
        match self.workers.get_mut(who as usize) {
            Some(worker) => &mut worker.notices,
            None => self.spawning.next_notices(),
        }
    }

    fn of_workers(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Says(who, text) => {
                if text.starts_with("offline") && !self.asked_to_leave {
                    get(&self.listeners.first(), "/offline").map_err(|trouble| format!("{trouble:?}"))?;
                }
                self.worker(*who)?.notices.says(text, PATIENCE)
            }
            Step::KeepsDescriptors => self.worker(Worker::W)?.keeps_descriptors(),
            // The test is srvwrap, and does nothing.
            Step::GetsNothing(..) | Step::GetsNoSignal(..) => Ok(()),
            Step::Serves(who, time) => {
                let worker = self.worker(*who)?;
                let ended = within(*time, || worker.has_ended());
                if ended { Err("it has ended".to_owned()) } else { Ok(()) }
            }
            Step::Exits(who, status, limit) => self.worker(*who)?.exits(*status, limit_of(*limit)),
            Step::Complains(who, name) => self.worker(*who)?.complains(name),
            _ => Err("nothing that can be played against a worker".to_owned()),
        }
    }

    fn of_clients(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Connects(_) => self.listeners.connect(),
            Step::Leaves => self.listeners.connect_and_leave(),
            Step::IsAnswered(name) => {
                let target = self.spawning.target(&self.listeners, name)?;
                // One that is not run by srvwrap has still to bind its port.
                let until = Instant::now() + PATIENCE;
                let answer = loop {
                    match get(&target, "/") {
                        Err(Trouble::Refused) if self.spawning.is_alone() && Instant::now() < until => {
                            let ended = within(Duration::from_millis(20), || self.workers[0].has_ended());
                            if ended {
                                return Err("it has ended".to_owned());
                            }
                        }
                        answer => break answer.map_err(|trouble| format!("{trouble:?}"))?,
                    }
                };
                let pids: Vec<String> = self.workers.iter().map(|worker| worker.pid().to_string()).collect();
                let pid = answer.body.split(' ').next().unwrap_or_default();
                match pids.iter().any(|each| each == pid) {
                    true => Ok(()),
                    false => Err(format!("{:?} is not by process {}", answer.body, pids.join(" or "))),
                }
            }
            _ => Err("nothing that a client does".to_owned()),
        }
    }

    fn of_named_clients(&mut self, step: &Step) -> Result<(), String> {
        let listener = self.listeners.first();
        let failed = |trouble: Trouble| format!("{trouble:?}");
        match step {
            Step::Asks(name, path) => {
                if !self.clients.contains_key(name) {
                    self.clients.insert(*name, Connection::open(&listener).map_err(failed)?);
                }
                let client = self.clients.get_mut(name).expect("just opened");
                let asked = client.ask(path, false);
                self.asked_to_leave |= path == "/offline";
                asked.map_err(failed)
            }
            Step::Answered(name) => self.client(*name)?.answer(false).map(|_| ()).map_err(failed),
            Step::ConnectionCloses(name) => match self.client(*name)?.answer(false) {
                Err(Trouble::Truncated) => Ok(()),
                other => Err(format!("{other:?}")),
            },
            _ => Err("nothing that a client does".to_owned()),
        }
    }

    /// Idle while the worker is told, then again and again: the last answer says that it is.
    fn asks_until_last(&mut self, name: char) -> Result<(), String> {
        let mut idle_since = Instant::now();
        let until = idle_since + PATIENCE;
        within(IDLE, || false);
        while Instant::now() < until {
            let client = self.client(name)?;
            let asked = client.ask("/", false);
            if idle_since.elapsed() > DRAIN_IS_SURE_FOR {
                self.late = true;
                return Ok(());
            }
            match asked.and_then(|()| client.answer(false)) {
                Ok(answer) if answer.last => return Ok(()),
                Ok(_) => idle_since = Instant::now(),
                Err(trouble) => {
                    return Err(format!("{trouble:?}, and no answer has said `Connection: close`"));
                }
            }
        }
        Err("it is still answered, and no answer says `Connection: close`".to_owned())
    }

    fn client(&mut self, name: char) -> Result<&mut Connection, String> {
        self.clients.get_mut(&name).ok_or_else(|| "it has asked for nothing".to_owned())
    }

    /// Whoever has not ended is killed with the stage. What it wrote is in the session.
    fn end(mut self) -> Result<(), String> {
        self.workers.iter_mut().try_for_each(|worker| worker.notices.nothing_more())
    }
}
