//! The processes of workers: made, heard, and seen to die.
//!
//! A worker's number is its own until it is reaped; so at a death first what it wrote is read, then the core is told
//! and its orders carried out, then the number is given back. What is left of its group after that is watched by asking
//! whether a child of ours is still in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use crate::config::{Config, Stdin};
use crate::core::{Ending, Event, Notice, Time, WorkerId};
use crate::environment::{self, Facts};
use crate::handover::{Arranged, Handover, Protocol, Unfit};
use crate::sys::children::{self, Dead, Pid, WaitStatus};
use crate::sys::failure::{ExecResult, Failure, ProgramFault, exec_result};
use crate::sys::notice_fd::{self, Received, notice_pair};
use crate::sys::notify_socket::NotifySocket;
use crate::sys::process::{self, Image, Spawned};
use crate::sys::program;
use crate::wire::worker::{Reader, Said};

use super::output::{Made, OwnStreams, Writes};
use super::{DEATHS_AT_ONCE, EventLoop, FIRST_WORKER, watch};

/// So much of one worker is read at a time, and then not before [`TURN_EVERY`] has passed: a flood blocks the worker
/// that writes it, and costs nobody else.
pub(super) const TURN_BYTES: usize = 4 * BUFFER_BYTES;
const BUFFER_BYTES: usize = 4096;
const TURN_EVERY: Duration = Duration::from_millis(100);
/// A process that ends closes its descriptors before its death can be seen. Only one that lives on has hushed.
const HUSH_DELAY: Duration = Duration::from_secs(1);
/// What a dead worker has left to read, at most: more than a socket's buffer holds.
const LAST_BYTES: usize = 1 << 20;

pub(super) struct Workers {
    table: BTreeMap<WorkerId, Process>,
    by_pid: BTreeMap<Pid, WorkerId>,
    /// Their first process is reaped, but their group was not empty.
    remnants: BTreeSet<WorkerId>,
    /// Have said enough for now, and are heard again then.
    paused: BTreeMap<WorkerId, Time>,
    /// Strangers that were told to end.
    pub(super) swept: BTreeSet<Pid>,
    /// What each generation's program is, looked at when its first worker is made.
    programs: BTreeMap<u32, Program>,
    protocol: Protocol,
    stdin: Stdin,
    stop_leader_only: bool,
    node_channel: bool,
}

/// One worker's process.
pub(super) struct Process {
    pid: Pid,
    notice: OwnedFd,
    reader: Reader,
    /// What it says has come to an end.
    hushed: bool,
    /// None once it is known whether the program was executed.
    exec_status: Option<OwnedFd>,
    failure: Option<Failure>,
}

impl Process {
    /// Lines on its notice descriptor that are not known, or too long.
    pub(super) fn ignored_lines(&self) -> u64 {
        self.reader.unknown() + self.reader.overlong()
    }
}

#[derive(Clone, Copy)]
struct Program {
    node_channel: bool,
}

impl Workers {
    pub(super) fn new(config: &Config) -> Workers {
        Workers {
            table: BTreeMap::new(),
            by_pid: BTreeMap::new(),
            remnants: BTreeSet::new(),
            paused: BTreeMap::new(),
            swept: BTreeSet::new(),
            programs: BTreeMap::new(),
            protocol: config.policy.protocol,
            stdin: config.stdin,
            stop_leader_only: config.stop_leader_only,
            node_channel: config.node_channel,
        }
    }

    pub(super) fn find(&self, id: WorkerId) -> Option<&Process> {
        self.table.get(&id)
    }

    /// The worker whose first process had this number, the newest one.
    pub(super) fn id_of(&self, pid: i32) -> Option<WorkerId> {
        let mut found = self.table.iter().rev().filter(|(_, process)| process.pid.number() == pid);
        found.next().map(|(id, _)| *id)
    }

    /// The worker whose first process this is, if that is not reaped.
    pub(super) fn of_leader(&self, pid: Pid) -> Option<WorkerId> {
        self.by_pid.get(&pid).copied()
    }

    /// The worker whose group this is.
    pub(super) fn of_group(&self, group: Pid) -> Option<WorkerId> {
        self.of_leader(group).or_else(|| self.remnant_of(group))
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = Pid> + '_ {
        self.by_pid.keys().copied()
    }

    /// Whether its first process is, so that its number may be somebody else's.
    pub(super) fn is_reaped(&self, id: WorkerId) -> bool {
        self.find(id).is_some_and(|process| self.by_pid.get(&process.pid) != Some(&id))
    }

    /// The worker whose first process is dead and led this group.
    fn remnant_of(&self, group: Pid) -> Option<WorkerId> {
        self.remnants.iter().copied().find(|id| self.find(*id).is_some_and(|process| process.pid == group))
    }

    pub(super) fn stop_leader_only(&self) -> bool {
        self.stop_leader_only
    }

    /// When somebody who has said enough is heard again.
    pub(super) fn next_turn(&self) -> Option<Time> {
        self.paused.values().copied().min()
    }

    pub(super) fn forget(&mut self, id: WorkerId, poll: &Poll) {
        self.paused.remove(&id);
        self.remnants.remove(&id);
        if let Some(process) = self.table.remove(&id) {
            ignore(poll, &process.notice);
            if let Some(exec_status) = &process.exec_status {
                ignore(poll, exec_status);
            }
        }
    }
}

impl Process {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn notice(&self) -> BorrowedFd<'_> {
        self.notice.as_fd()
    }
}

impl EventLoop {
    pub(super) fn spawn(&mut self, worker: WorkerId, slot: u32, generation: u32) {
        let event = match self.make_process(worker, slot, generation) {
            Ok(pid) => {
                Event::Spawned { worker, pid: u32::try_from(pid.number()).expect("pids are positive") }
            }
            Err(why) => {
                self.output.drop_streams(worker, &self.poll);
                Event::SpawnFailed { worker, why }
            }
        };
        self.supervisor.handle_event(self.now(), event);
    }

    fn make_process(&mut self, worker: WorkerId, slot: u32, generation: u32) -> Result<Pid, String> {
        let program = self.program(generation);
        let spec = self.supervisor.spec(generation).ok_or("its generation is gone")?;
        let (notice, workers_end) =
            notice_pair().map_err(|error| format!("cannot make its notice descriptor: {error}"))?;
        self.control.leave_room(&notice)?;
        // Before there is a process: one that is not heard would count as late.
        watch(&self.poll, &notice, notice_token(worker), Interest::READABLE)
            .map_err(|error| format!("cannot watch its notice descriptor: {error}"))?;
        let passing = self.listeners.passing();
        let handover = Handover { protocol: self.workers.protocol, listeners: &passing };
        let argv = handover.words(&spec.argv).map_err(|unfit| unfit.to_string())?;
        let Arranged { stdin, from_3 } = handover.arranged(workers_end.as_fd(), self.listeners.descriptors());
        let program_name = spec.argv.first().map(OsString::as_os_str).unwrap_or_default();
        let writes = Writes { worker, slot, generation, program: program_name };
        let tokens = [stdout_token(worker), stderr_token(worker)];
        let [stdout, stderr] = self.output.make_streams(writes, tokens, &self.poll)?;
        for made in [&stdout, &stderr] {
            if let Made::Pipe(end) = made {
                self.control.leave_room(end)?;
            }
        }
        let facts = Facts {
            slot,
            generation,
            directory: spec.directory.as_path(),
            node_channel: program.node_channel,
            handover,
            notify_socket: self.places.notify.as_ref().map(NotifySocket::name),
            einhorn_socket: self.acks.path(),
            keeps_journal: self.output.passes_own_on(),
        };
        let environment = environment::of_worker(&spec.environment, &facts);
        let stdin = match (stdin, self.workers.stdin) {
            (Some(listener), _) => process::Stdin::From(listener),
            (None, Stdin::Null) => process::Stdin::Null,
            (None, Stdin::Inherit) => process::Stdin::Inherit,
        };
        let own = OwnStreams::of_this_process();
        let image = Image {
            argv: &argv,
            environment: &environment,
            directory: &spec.directory,
            pid_variable: handover.pid_variable(),
            stdin,
            stdout: stdout.as_output(&own),
            stderr: stderr.as_output(&own),
            descriptors: &from_3,
        };
        let spawned = process::spawn(&image, &self.startup).map_err(|failure| failure.to_string())?;
        Ok(self.adopt(worker, spawned, notice))
    }

    /// Why the sockets cannot be handed to a program with these words, if so.
    pub(super) fn unfit(&self, argv: &[OsString]) -> Option<Unfit> {
        let passing = self.listeners.passing();
        Handover { protocol: self.workers.protocol, listeners: &passing }.check(argv).err()
    }

    /// Where the outcome of exec cannot be watched, it is still looked at when the process dies.
    fn adopt(&mut self, worker: WorkerId, spawned: Spawned, notice: OwnedFd) -> Pid {
        let Spawned { pid, exec_status } = spawned;
        // A number that could be given away again leads no group any more.
        if let Some(remnant) = self.workers.remnant_of(pid) {
            self.workers.remnants.remove(&remnant);
            self.supervisor.handle_event(self.now(), Event::Emptied { worker: remnant });
        }
        if let Err(error) = watch(&self.poll, &exec_status, exec_token(worker), Interest::READABLE) {
            self.remark(&format_args!("cannot watch a worker (pid {pid}): {error}"));
        }
        let process = Process {
            pid,
            notice,
            reader: Reader::new(),
            hushed: false,
            exec_status: Some(exec_status),
            failure: None,
        };
        self.output.set_pid(worker, u32::try_from(pid.number()).unwrap_or(0));
        self.workers.table.insert(worker, process);
        self.workers.by_pid.insert(pid, worker);
        pid
    }

    /// Looked at once a generation: whether it is node, which talks over its own channel, or one that lets go of
    /// descriptors.
    fn program(&mut self, generation: u32) -> Program {
        if let Some(program) = self.workers.programs.get(&generation) {
            return *program;
        }
        let Some(spec) = self.supervisor.spec(generation) else { return Program { node_channel: false } };
        let path = spec.environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_os_str());
        let words: Vec<OsString> = spec.argv.first().into_iter().cloned().collect();
        let names =
            words.first().map(|word| program::names_of(word, path, &spec.directory)).unwrap_or_default();
        if let Some(name) = environment::lets_go_of_descriptors(&names) {
            self.tell(&Notice::PassesNothingOn { program: name.to_string() });
        }
        let program = Program { node_channel: self.workers.node_channel || environment::speaks_node(&names) };
        self.workers.programs.retain(|known, _| self.supervisor.spec(*known).is_some());
        self.workers.programs.insert(generation, program);
        program
    }

    pub(super) fn see_execution(&mut self, worker: WorkerId) {
        let Some(process) = self.workers.table.get_mut(&worker) else { return };
        let Some(exec_status) = &process.exec_status else { return };
        let executed = match exec_result(exec_status) {
            ExecResult::Pending => return,
            ExecResult::Executed => true,
            // Its death, which tells the core, is on its way.
            ExecResult::Failed(failure) => {
                process.failure = Some(failure);
                false
            }
        };
        // Asked once more, a pipe whose message was read would say that the program was executed.
        ignore(&self.poll, exec_status);
        process.exec_status = None;
        if executed {
            self.handle(Event::Executed { worker });
        }
    }

    /// Reads what a worker says, up to a limit.
    pub(super) fn hear(&mut self, worker: WorkerId, limit: usize) {
        if limit == TURN_BYTES && self.workers.paused.contains_key(&worker) {
            return;
        }
        let mut buffer = [0; BUFFER_BYTES];
        let mut heard = 0;
        while heard < limit {
            let Some(process) = self.workers.table.get_mut(&worker).filter(|process| !process.hushed) else {
                return;
            };
            match notice_fd::receive(process.notice.as_fd(), &mut buffer) {
                Ok(Received::Bytes(count)) => {
                    heard += count;
                    self.tell_words(worker, &buffer[..count]);
                }
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => {
                    process.hushed = true;
                    ignore(&self.poll, &process.notice);
                    self.pause(worker, HUSH_DELAY);
                    return;
                }
            }
        }
        self.pause(worker, TURN_EVERY);
    }

    fn pause(&mut self, worker: WorkerId, time: Duration) {
        let until = self.now() + time;
        self.workers.paused.insert(worker, until);
    }

    fn tell_words(&mut self, worker: WorkerId, mut bytes: &[u8]) {
        while let Some(process) = self.workers.table.get_mut(&worker) {
            match process.reader.next(&mut bytes) {
                None => return,
                // Counted already; that there was one is all that matters.
                Some(Said::Unknown) if process.reader.unknown() > 1 => {}
                Some(said) => self.handle(Event::Said { worker, said }),
            }
        }
    }

    pub(super) fn listen_to_paused(&mut self) {
        if self.workers.paused.is_empty() {
            return;
        }
        let now = self.now();
        let due: Vec<WorkerId> =
            self.workers.paused.iter().filter(|(_, at)| **at <= now).map(|(worker, _)| *worker).collect();
        for worker in due {
            self.workers.paused.remove(&worker);
            if let Some(process) = self.workers.find(worker).filter(|process| process.hushed) {
                // Who says all that it has to say in datagrams has closed a descriptor that it does not know.
                if self.places.notify.is_none() || process.reader.has_begun() {
                    self.handle(Event::Hushed { worker });
                }
            } else {
                self.hear(worker, TURN_BYTES);
            }
        }
    }

    /// Every child that is dead, up to a limit: others get their turn in between.
    pub(super) fn handle_deaths(&mut self) {
        if !std::mem::take(&mut self.deaths_left) {
            return;
        }
        let (mut buried, mut strangers) = (0, 0);
        while let Some(dead) = children::next_dead().filter(|_| buried < DEATHS_AT_ONCE) {
            buried += 1;
            self.hear_last_notified();
            if let Some(worker) = self.workers.by_pid.get(&dead.pid).copied() {
                self.bury_worker(worker, dead);
            } else {
                self.bury_stranger(dead.pid);
                strangers += 1;
            }
        }
        self.deaths_left = buried == DEATHS_AT_ONCE;
        // Once for all of them: at the end of a stop each such event leads to a look at every child that is left.
        if strangers > 0 {
            self.handle(Event::StrangerDied);
        }
    }

    fn bury_worker(&mut self, worker: WorkerId, dead: Dead) {
        // What it did to a listener was before its death, and is told first.
        self.handle_hang_ups();
        self.see_execution(worker);
        self.hear(worker, LAST_BYTES);
        self.read_last_words(worker);
        self.workers.paused.remove(&worker);
        let failure = self.workers.table.get_mut(&worker).and_then(|process| process.failure.take());
        self.handle(Event::Died { worker, ending: ending(dead.status, failure) });
        self.workers.by_pid.remove(&dead.pid);
        children::reap(dead.pid);
        self.workers.remnants.insert(worker);
        self.see_emptied(worker, dead.pid);
    }

    fn bury_stranger(&mut self, pid: Pid) {
        let group = children::group_of(pid);
        children::reap(pid);
        self.workers.swept.remove(&pid);
        if let Some((group, worker)) = group.and_then(|group| Some((group, self.workers.remnant_of(group)?)))
        {
            self.see_emptied(worker, group);
        }
    }

    /// A group is emptied without a death where its last process moves to another one.
    pub(super) fn look_at_remnants(&mut self) {
        let remnants: Vec<WorkerId> = self.workers.remnants.iter().copied().collect();
        for worker in remnants {
            if let Some(group) = self.workers.find(worker).map(Process::pid) {
                self.see_emptied(worker, group);
            }
        }
    }

    fn see_emptied(&mut self, worker: WorkerId, group: Pid) {
        if !children::group_has_child_of_ours(group) {
            self.workers.remnants.remove(&worker);
            self.handle(Event::Emptied { worker });
        }
    }
}

fn ending(status: WaitStatus, failure: Option<Failure>) -> Ending {
    match (failure, status) {
        (Some(failure), _) => {
            let exit_code = match failure.program_fault() {
                Some(ProgramFault::NotFound) => 127,
                Some(ProgramFault::NotExecutable) => 126,
                None => 1,
            };
            Ending::NotExecuted { why: failure.to_string(), exit_code }
        }
        (None, WaitStatus::Exited(status)) => Ending::Exited(status),
        (None, WaitStatus::Signaled { signal, .. }) => Ending::Signaled(signal),
    }
}

fn notice_token(worker: WorkerId) -> Token {
    Token(FIRST_WORKER + 4 * usize::try_from(worker.0).expect("64 bits"))
}

fn exec_token(worker: WorkerId) -> Token {
    Token(notice_token(worker).0 + 1)
}

fn stdout_token(worker: WorkerId) -> Token {
    Token(notice_token(worker).0 + 2)
}

fn stderr_token(worker: WorkerId) -> Token {
    Token(notice_token(worker).0 + 3)
}

/// Closing would do, were it not for children between fork and exec, which hold copies.
pub(super) fn ignore(poll: &Poll, fd: &impl AsRawFd) {
    let _ = poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
}
