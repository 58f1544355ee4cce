//! One life of the program: made, heard, told to finish, and gone.
//!
//! ```text
//!   Life::start ──> begin ──> … turn … ──> tell ──> end ──> dropped: KILL, and nothing of it is left
//! ```
//!
//! Everything that happens is seen in [`Life::turn`], which waits for the next thing, and returns false when there is
//! nothing more to wait for. What the program writes is read whatever it is, and its last lines are kept.
//!
//! What this file does not do: know what a life is for (`lives.rs`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::client::clean;
use crate::core::Ready;
use crate::environment::{self, Facts};
use crate::event_loop::Refusal;
use crate::handover::Arranged;
use crate::logs::tail::{self, Tail};
use crate::sys::children::{self, Pid, WaitStatus};
use crate::sys::failure::{ExecResult, ProgramFault, exec_result};
use crate::sys::family::{self, Member};
use crate::sys::notice_fd::{self, Received, notice_pair};
use crate::sys::notify_socket::NotifySocket;
use crate::sys::output_pipe::{self, Found};
use crate::sys::process::{self, Image, Output, Spawned, Stdin};
use crate::sys::stream;
use crate::wire::sd_notify::{self, DATAGRAM_LIMIT};
use crate::wire::worker::{Reader, Readiness, SHUTDOWN, Said};

use super::bench::Bench;
use super::seen::{Begun, ByItself, End, Ended, Purpose, Voice, Words, Written};
use super::{Cut, now};

/// What has no event of its own is looked at so often.
const TICK: Duration = Duration::from_millis(10);
/// So much of one stream is read at a time.
const TURN_BYTES: usize = 64 * 1024;
/// How long what was sent KILL may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// Of the bind that fails, in most languages.
const IN_USE: [&str; 3] = ["EADDRINUSE", "ddress already in use", "ddress in use"];

pub(super) struct Life<'a> {
    pub(super) bench: &'a Bench,
    pub(super) pid: Pid,
    pub(super) born: Instant,
    notice: Option<OwnedFd>,
    /// By which the worker's end is known in /proc.
    pub(super) notice_inode: u64,
    exec_status: Option<OwnedFd>,
    output: Option<OwnedFd>,
    /// The end of what it wrote.
    tail: Tail,
    address_in_use: bool,
    heard: Heard,
    speakers: Vec<(UnixStream, Reader)>,
    ended: Option<(Instant, Ended)>,
    /// By then nobody had asked for it.
    by_itself: bool,
    /// It has taken a connection: from then on it need not be waited for as one that is still starting.
    pub(super) serves: bool,
    /// When it was told to finish.
    pub(super) told: Option<Instant>,
}

/// What it has said.
struct Heard {
    reader: Reader,
    /// What has come of a line.
    line: Vec<u8>,
    online: Option<(Instant, Voice)>,
    readiness: Option<Readiness>,
    /// Before it was online.
    offline: Option<(Instant, String)>,
    /// The same, after that.
    leaves: bool,
    closed: bool,
    words: Words,
}

impl<'a> Life<'a> {
    pub(super) fn start(bench: &'a Bench, generation: u32) -> Result<Life<'a>, Cut> {
        let (notice, workers_end) =
            notice_pair().map_err(|error| format!("cannot make a notice descriptor: {error}"))?;
        let (output, writer) =
            output_pipe::output_pipe().map_err(|errno| format!("cannot make a pipe: {}", errno.desc()))?;
        let passing = bench.passing();
        let handover = bench.handover(&passing);
        let argv = handover.words(&bench.spec.argv).map_err(|unfit| unfit.to_string())?;
        let descriptors = bench.listeners.iter().map(|bound| bound.socket.as_fd());
        let Arranged { stdin, from_3 } = handover.arranged(workers_end.as_fd(), descriptors);
        let facts = Facts {
            slot: 0,
            generation,
            directory: bench.spec.directory.as_path(),
            node_channel: bench.node_channel,
            handover,
            notify_socket: bench.notify.as_ref().map(NotifySocket::name),
            einhorn_socket: bench.acks.as_ref().map(|socket| socket.path().as_os_str()),
            keeps_journal: false,
        };
        let environment = environment::of_worker(&bench.spec.environment, &facts);
        let image = Image {
            argv: &argv,
            environment: &environment,
            directory: &bench.spec.directory,
            pid_variable: handover.pid_variable(),
            stdin: stdin.map_or(Stdin::Null, Stdin::From),
            stdout: Output::To(writer.as_fd()),
            stderr: Output::To(writer.as_fd()),
            descriptors: &from_3,
        };
        let Spawned { pid, exec_status } =
            process::spawn(&image, &bench.startup).map_err(|failure| failure.to_string())?;
        Ok(Life {
            bench,
            pid,
            born: now(),
            notice: Some(notice),
            notice_inode: family::inode_of(&workers_end),
            exec_status: Some(exec_status),
            output: Some(output),
            tail: Tail::default(),
            address_in_use: false,
            heard: Heard::new(),
            speakers: Vec::new(),
            ended: None,
            by_itself: false,
            serves: false,
            told: None,
        })
    }

    /// Waits until it is online, or will not be.
    pub(super) fn begin(&mut self) -> Result<Begun, Cut> {
        let policy = &self.bench.check.config.policy;
        let late_at = self.born + policy.online_timeout;
        while self.exec_status.is_some() && self.ended.is_none() && self.turn(late_at, None)? {}
        let until = match policy.ready {
            Ready::Notify => late_at,
            Ready::After(time) => late_at.min(now() + time),
            Ready::Exec => return Ok(Begun::Unasked(Ready::Exec)),
        };
        while self.heard.online.is_none() && self.heard.offline.is_none() && self.ended.is_none() {
            if !self.turn(until, None)? {
                break;
            }
        }
        Ok(self.beginning())
    }

    fn beginning(&self) -> Begun {
        let ready = self.bench.check.config.policy.ready;
        if let Some((at, why)) = &self.heard.offline {
            return Begun::Offline { after: *at - self.born, why: why.clone() };
        }
        match (self.heard.online, self.ended) {
            // Also one that has ended since.
            (Some((at, voice)), _) => Begun::Online { after: at - self.born, voice },
            (None, Some((at, how))) => Begun::Ended { after: at - self.born, how },
            (None, None) if ready != Ready::Notify => Begun::Unasked(ready),
            (None, None) => Begun::Silent { closed: self.heard.closed },
        }
    }

    /// Waits until something has happened, or there is something to read on `also`. False where that moment has
    /// passed, or nothing is left of the program.
    pub(super) fn turn(&mut self, until: Instant, also: Option<BorrowedFd<'_>>) -> Result<bool, Cut> {
        let left = until.saturating_duration_since(now());
        if left.is_zero() || self.is_gone() {
            return Ok(false);
        }
        self.wait(left.min(TICK), also);
        if self
            .bench
            .signals
            .drain()
            .iter()
            .any(|arrived| arrived.signal != libc::SIGCHLD && ends(arrived.signal))
        {
            return Err(Cut::Aborted);
        }
        self.see_execution()?;
        self.read_output();
        self.hear();
        self.see_deaths();
        Ok(true)
    }

    fn wait(&self, time: Duration, also: Option<BorrowedFd<'_>>) {
        let watched = [&self.notice, &self.exec_status, &self.output];
        let watched = watched.into_iter().flatten().map(AsFd::as_fd);
        let watched = watched.chain([self.bench.signals.fd()]).chain(also);
        let mut watched: Vec<PollFd<'_>> = watched
            .chain(self.bench.notify.iter().map(AsFd::as_fd))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let time = PollTimeout::try_from(time.max(Duration::from_millis(1))).unwrap_or(PollTimeout::ZERO);
        // What is there is looked for whatever it says.
        let _ = poll(&mut watched, time);
    }

    /// An error where the program was not executed: then there is nothing to check.
    fn see_execution(&mut self) -> Result<(), Cut> {
        let Some(exec_status) = &self.exec_status else { return Ok(()) };
        match exec_result(exec_status) {
            ExecResult::Pending => Ok(()),
            ExecResult::Executed => {
                self.exec_status = None;
                Ok(())
            }
            ExecResult::Failed(failure) => {
                let code = match failure.program_fault() {
                    Some(ProgramFault::NotFound) => 127,
                    Some(ProgramFault::NotExecutable) => 126,
                    None => crate::FAILED,
                };
                Err(Cut::Refused(Refusal { code, sentence: failure.to_string() }))
            }
        }
    }

    fn read_output(&mut self) {
        // All of a piece is kept until the next one comes.
        let mut buffer = [0; tail::KEPT];
        let mut left = TURN_BYTES;
        while let Some(output) = self.output.as_ref().filter(|_| left > 0) {
            match output_pipe::read_some(output, &mut buffer) {
                Found::Bytes(count) => {
                    self.tail.add(&buffer[..count]);
                    self.address_in_use |= IN_USE.iter().any(|text| self.tail.contains(text));
                    left = left.saturating_sub(count);
                }
                Found::Nothing => return,
                Found::End => self.output = None,
            }
        }
    }

    fn hear(&mut self) {
        self.hear_notice();
        self.hear_datagrams();
        self.hear_acks();
    }

    fn hear_notice(&mut self) {
        let mut buffer = [0; 4096];
        let mut left = TURN_BYTES;
        while let Some(notice) = self.notice.as_ref().filter(|_| left > 0 && !self.heard.closed) {
            match notice_fd::receive(notice.as_fd(), &mut buffer) {
                Ok(Received::Bytes(count)) => {
                    self.heard.take(&buffer[..count]);
                    left = left.saturating_sub(count);
                }
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => self.heard.closed = true,
            }
        }
    }

    /// Nobody else knows the socket.
    fn hear_datagrams(&mut self) {
        let Some(socket) = &self.bench.notify else { return };
        let mut buffer = [0; DATAGRAM_LIMIT];
        while let Some(datagram) = socket.receive(&mut buffer) {
            let bytes = &buffer[..datagram.length];
            if datagram.is_cut || sd_notify::unfit(bytes).is_some() {
                self.heard.words.unfit += 1;
                continue;
            }
            for said in sd_notify::read(bytes) {
                self.heard.note(said, Voice::Datagram);
            }
        }
    }

    fn hear_acks(&mut self) {
        let Some(socket) = &self.bench.acks else { return };
        while let Ok(Some((stream, _))) = socket.accept() {
            self.speakers.push((stream, Reader::new()));
        }
        let mut buffer = [0; 4096];
        for (stream, reader) in &mut self.speakers {
            if let Received::Bytes(count) = stream::receive(stream.as_fd(), &mut buffer) {
                let mut bytes = &buffer[..count];
                while let Some(said) = reader.next(&mut bytes) {
                    self.heard.note(said, Voice::Ack);
                }
            }
        }
    }

    fn see_deaths(&mut self) {
        while let Some(dead) = children::next_dead() {
            if dead.pid == self.pid {
                // What it said before comes first.
                self.hear();
                self.read_output();
                let how = match dead.status {
                    WaitStatus::Exited(status) => Ended::Exited(status),
                    WaitStatus::Signaled { signal, .. } => Ended::Signaled(signal),
                };
                self.ended = Some((now(), how));
                self.by_itself = self.told.is_none() && self.notice.is_some();
            }
            children::reap(dead.pid);
        }
    }

    /// How its first process has ended.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.ended.map(|(_, how)| how)
    }

    /// How it has ended, where nobody had told it to.
    pub(super) fn by_itself(&mut self, purpose: Purpose) -> Option<ByItself> {
        self.see_deaths();
        let (at, how) = self.ended.filter(|_| self.by_itself)?;
        let online = self.heard.online.map(|(online, _)| online);
        Some(ByItself {
            purpose,
            how,
            after: at - online.unwrap_or(self.born),
            was_online: online.is_some(),
            said_offline: self.heard.leaves || self.heard.offline.is_some(),
        })
    }

    /// Its first process, and its group.
    pub(super) fn is_gone(&self) -> bool {
        self.ended.is_some() && !children::group_has_child_of_ours(self.pid)
    }

    pub(super) fn words(&self) -> Words {
        let mut words = self.heard.words.clone();
        words.overlong = self.heard.reader.overlong();
        words
    }

    /// As `perform.rs` tells a worker: the signal first.
    pub(super) fn tell(&mut self) {
        self.see_deaths();
        let config = &self.bench.check.config;
        let closed = self.heard.closed && self.heard.readiness == Some(Readiness::JsonOnline);
        let readiness = self.heard.readiness.filter(|_| !closed);
        if let Some(signal) = config.policy.stop_signal.number(readiness) {
            if config.stop_leader_only {
                let _ = self.ended.is_none().then(|| children::signal(self.pid, signal));
            } else {
                self.signal(signal);
            }
        }
        if let Some(notice) = &self.notice {
            let _ = notice_fd::send_line(notice.as_fd(), SHUTDOWN);
        }
        self.told = Some(now());
        self.signal(libc::SIGCONT);
    }

    /// To each process of its group, as long as that is certainly its own. What is gone needs none.
    fn signal(&self, signal: i32) {
        if self.ended.is_none() {
            let _ = children::signal_leader_and_group(self.pid, signal);
        } else if children::group_has_child_of_ours(self.pid) {
            let _ = children::signal_group(self.pid, signal);
        }
    }

    /// Stops every process of its group, for [`Self::tell`] to continue them: whatever happens in between has happened
    /// before they know.
    pub(super) fn freeze(&mut self) -> Result<(), Cut> {
        let until = now() + Duration::from_millis(500);
        self.signal(libc::SIGSTOP);
        while !self.group().iter().all(Member::is_still) && self.turn(until, None)? {}
        Ok(())
    }

    fn group(&self) -> Vec<Member> {
        let mut members = family::family(self.pid);
        members.retain(|member| member.group == self.pid.number());
        members
    }

    /// Who lives of its group, by name.
    pub(super) fn alive(&self) -> Vec<String> {
        self.group().iter().map(shown).collect()
    }

    /// srvwrap is gone, as far as the program can see.
    pub(super) fn close_notice(&mut self) {
        self.see_deaths();
        self.notice = None;
    }

    /// Waits for its end, up to `limit` from when it was told; then what is left of its group is killed.
    pub(super) fn end(&mut self, limit: Duration) -> Result<End, Cut> {
        let told = self.told.unwrap_or_else(now);
        while self.turn(told + limit, None)? {}
        let after = now() - told;
        let mut killed = Vec::new();
        let how = self.ended();
        if !self.is_gone() {
            killed = self.alive();
            self.signal(libc::SIGKILL);
            let until = now() + KILL_LIMIT;
            while self.turn(until, None)? {}
        }
        let left = children::children().into_iter().filter(|pid| !self.bench.others.contains(pid));
        let left = left.filter_map(family::member).map(|member| shown(&member)).collect();
        Ok(End { after, how, killed, left })
    }

    /// What it wrote, fit to be shown.
    pub(super) fn written(&mut self) -> Written {
        self.read_output();
        let lines = self.tail.lines().iter().map(|line| clean(line)).collect();
        Written { lines, address_in_use: self.address_in_use }
    }

    /// Every process that has come of it, wherever it has gone to.
    fn sweep(&mut self) {
        self.signal(libc::SIGKILL);
        let until = now() + KILL_LIMIT;
        while now() < until {
            self.see_deaths();
            let left: Vec<Pid> =
                children::children().into_iter().filter(|pid| !self.bench.others.contains(pid)).collect();
            if left.is_empty() {
                return;
            }
            for pid in left {
                let _ = children::signal(pid, libc::SIGKILL);
            }
            let _ = poll(&mut [], PollTimeout::from(1u8));
        }
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        self.sweep();
    }
}

fn shown(member: &Member) -> String {
    format!("{} (pid {})", clean(&member.name), member.pid)
}

/// Whether whoever sends this to a command wants it to end.
fn ends(signal: i32) -> bool {
    matches!(signal, libc::SIGINT | libc::SIGTERM | libc::SIGQUIT | libc::SIGHUP)
}

impl Heard {
    fn new() -> Heard {
        Heard {
            reader: Reader::new(),
            line: Vec::new(),
            online: None,
            readiness: None,
            offline: None,
            leaves: false,
            closed: false,
            words: Words::default(),
        }
    }

    /// What came on the notice descriptor.
    fn take(&mut self, bytes: &[u8]) {
        /// Enough to know it again.
        const SHOWN_BYTES: usize = 60;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = SHOWN_BYTES.saturating_sub(self.line.len()).min(piece.len());
            self.line.extend_from_slice(&piece[..room]);
            let mut rest = piece;
            if let Some(said) = self.reader.next(&mut rest) {
                if said == Said::Unknown {
                    let line = String::from_utf8_lossy(&self.line);
                    self.words.first.get_or_insert(clean(line.trim_end()));
                    self.words.unknown += 1;
                }
                self.note(said, Voice::NoticeFd);
            }
            if piece.ends_with(b"\n") {
                self.line.clear();
            }
        }
    }

    fn note(&mut self, said: Said, voice: Voice) {
        match said {
            Said::Online(readiness) => {
                self.online.get_or_insert((now(), voice));
                self.readiness.get_or_insert(readiness);
            }
            Said::Offline { why } if self.online.is_none() => {
                self.offline.get_or_insert((now(), why));
            }
            Said::Offline { .. } => self.leaves = true,
            Said::Status(_) | Said::Ping | Said::Extend(_) | Said::Unknown => {}
        }
    }
}
