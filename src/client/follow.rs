//! Waits for the answer to an order, or for the report of a start, and shows what happens meanwhile.
//!
//! ```text
//!   GET /events  ──┐ (or the report's pipe)
//!   POST /deploy ──┼──> poll ──> View
//!   GET /status  ──┤ four times a second, where it is drawn
//!   INT, TERM    ──┘ ──> POST /abort, once; the second one leaves
//! ```
//!
//! The events are asked for first, so that none of the order's is missed. Nothing here ends the order but the abort: a
//! client that goes changes nothing.
//!
//! What this file does not do: judge what was answered.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::peer_process::PeerProcess;
use crate::sys::signals::Signals;
use crate::sys::startup::Startup;
use crate::wire::control::json;
use crate::wire::control::message::{Answer, Order, Question};

use super::FAILED;
use super::connection::{Connection, Trouble};
use super::view::View;

/// How a command ended.
#[derive(Debug)]
pub(super) enum End {
    /// With this answer, and this is how it was written.
    Answered(Answer, Vec<u8>),
    Troubled(Trouble),
    /// The report of a start ended before it told how.
    WithoutAWord,
    /// The user did not want to wait.
    Left,
}

/// What INT and TERM do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnInterrupt {
    /// They end what was ordered, and the second one ends the waiting.
    Abort,
    /// They end the waiting, and nothing else.
    Leave,
}

pub(super) struct Follow<'a> {
    socket: &'a Path,
    startup: &'a Startup,
    signals: Signals,
    on_interrupt: OnInterrupt,
    /// The user's wish to end it.
    pub(super) interrupted: bool,
    events: Option<Connection>,
    awaited: Awaited,
    status: Option<Connection>,
    abort: Option<Connection>,
    began: Instant,
    asked_at: Instant,
}

/// Where the answer comes from.
enum Awaited {
    Order(Connection),
    Report(Report),
}

/// What one of the descriptors is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Signals,
    Events,
    Awaited,
    Status,
}

const BETWEEN_FRAMES: Duration = Duration::from_millis(250);
/// A burst of events costs srvwrap no more than this.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(100);

impl<'a> Follow<'a> {
    /// Gives an order.
    pub(super) fn order(
        socket: &'a Path,
        startup: &'a Startup,
        signals: Signals,
        order: Order,
        view: &View,
        with_facts: bool,
    ) -> Result<Follow<'a>, Trouble> {
        let on_interrupt = match order {
            Order::Deploy(_) | Order::Rollback(_) => OnInterrupt::Abort,
            Order::Abort | Order::Scale(_) | Order::Stop(_) | Order::Signal(_) | Order::Reopen => {
                OnInterrupt::Leave
            }
        };
        let events = if with_facts && view.shows_facts() { Some(subscribe(socket)?) } else { None };
        // The order is carried out also where there is no room for one who listens.
        let events = events.filter(|events| events.reply.status() == Some(200));
        let connection = Connection::open(socket, &Question::Order(order))?;
        let awaited = Awaited::Order(connection);
        Ok(Follow { events, on_interrupt, ..Follow::of(socket, startup, signals, awaited) })
    }

    /// Listens to the report of a start.
    pub(super) fn report(
        socket: &'a Path,
        startup: &'a Startup,
        signals: Signals,
        report: OwnedFd,
    ) -> Follow<'a> {
        let report = Report { pipe: File::from(report), bytes: Vec::new() };
        Follow::of(socket, startup, signals, Awaited::Report(report))
    }

    fn of(socket: &'a Path, startup: &'a Startup, signals: Signals, awaited: Awaited) -> Follow<'a> {
        let now = now();
        Follow {
            socket,
            startup,
            signals,
            on_interrupt: OnInterrupt::Abort,
            interrupted: false,
            events: None,
            awaited,
            status: None,
            abort: None,
            began: now,
            asked_at: now - BETWEEN_QUESTIONS,
        }
    }

    /// Waits for the end.
    pub(super) fn wait(&mut self, view: &mut View) -> End {
        loop {
            if view.is_drawn() {
                self.ask_how_things_are();
                view.redraw(now() - self.began);
            }
            let timeout = if view.is_drawn() { Some(BETWEEN_FRAMES) } else { None };
            for source in self.ready(timeout) {
                let end = match source {
                    Source::Signals => self.hear_signals(view),
                    Source::Events => self.hear_events(view),
                    Source::Status => self.hear_status(view),
                    Source::Awaited => self.hear_awaited(view),
                };
                if let Some(end) = end {
                    self.hear_the_rest(view);
                    return end;
                }
            }
        }
    }

    /// Which descriptors have something. None of them where the time was over.
    fn ready(&self, timeout: Option<Duration>) -> Vec<Source> {
        let awaited = match &self.awaited {
            Awaited::Order(connection) => connection.as_fd(),
            Awaited::Report(report) => report.pipe.as_fd(),
        };
        let watched = [
            Some((Source::Signals, self.signals.fd())),
            self.events.as_ref().map(|events| (Source::Events, events.as_fd())),
            Some((Source::Awaited, awaited)),
            self.status.as_ref().map(|status| (Source::Status, status.as_fd())),
        ];
        let watched: Vec<(Source, BorrowedFd<'_>)> = watched.into_iter().flatten().collect();
        let mut fds: Vec<PollFd<'_>> = watched.iter().map(|(_, fd)| readable(*fd)).collect();
        let ready = wait_for_any(&mut fds, timeout);
        watched.iter().zip(ready).filter(|(_, ready)| *ready).map(|((source, _), _)| *source).collect()
    }

    fn hear_signals(&mut self, view: &mut View) -> Option<End> {
        match wish(&self.signals, self.startup) {
            Wish::None => None,
            Wish::Leave => Some(End::Left),
            Wish::Interrupt if self.interrupted || self.on_interrupt == OnInterrupt::Leave => {
                self.interrupted = true;
                Some(End::Left)
            }
            Wish::Interrupt => {
                self.interrupted = true;
                match Connection::open(self.socket, &Question::Order(Order::Abort)) {
                    Ok(abort) => {
                        // Its own answer tells nothing that the awaited one does not; but who hangs up may not be
                        // heard.
                        self.abort = Some(abort);
                        view.remark("aborting; interrupt once more to leave without waiting");
                    }
                    Err(trouble) => view.remark(&format!("cannot abort: {trouble}")),
                }
                None
            }
        }
    }

    fn hear_events(&mut self, view: &mut View) -> Option<End> {
        let events = self.events.as_mut()?;
        let heard = events.receive();
        tell(events, view);
        if heard.is_err() || events.reply.is_complete() {
            // The answer is what counts, and it comes by itself.
            self.events = None;
        }
        None
    }

    fn hear_status(&mut self, view: &mut View) -> Option<End> {
        let connection = self.status.as_mut()?;
        if connection.receive().is_err() {
            self.status = None;
        } else if connection.reply.is_complete() {
            if let Ok(status) = json::read(connection.reply.body()) {
                view.status(status);
            }
            self.status = None;
        }
        None
    }

    fn ask_how_things_are(&mut self) {
        if self.status.is_none() && now() - self.asked_at >= BETWEEN_QUESTIONS {
            self.asked_at = now();
            // In a start there may be nobody yet.
            self.status = Connection::open(self.socket, &Question::Status).ok();
        }
    }

    fn hear_awaited(&mut self, view: &mut View) -> Option<End> {
        match &mut self.awaited {
            Awaited::Order(connection) => {
                if let Err(trouble) = connection.receive() {
                    return Some(End::Troubled(trouble));
                }
                connection.reply.is_complete().then(|| end(connection))
            }
            Awaited::Report(report) => report.hear(view),
        }
    }

    /// What was said before the answer, and has not been read yet.
    fn hear_the_rest(&mut self, view: &mut View) {
        if let Some(events) = &mut self.events {
            tell(events, view);
        }
        while self.ready(Some(Duration::ZERO)).contains(&Source::Events) {
            self.hear_events(view);
        }
    }

    /// Whether the user wanted the order itself to end.
    pub(super) fn was_aborted(&self) -> bool {
        self.interrupted && self.on_interrupt == OnInterrupt::Abort
    }

    /// The process that was given the order.
    pub(super) fn process(&self) -> Option<PeerProcess> {
        match &self.awaited {
            Awaited::Order(connection) => connection.process(),
            Awaited::Report(_) => None,
        }
    }

    /// Waits until this is readable, or for all of `limit`; not beyond an interrupt. Whether it was.
    pub(super) fn wait_for(&mut self, fd: Option<BorrowedFd<'_>>, limit: Duration) -> bool {
        let until = now() + limit;
        let mut watched: Vec<PollFd<'_>> = [self.signals.fd()].into_iter().chain(fd).map(readable).collect();
        loop {
            let left = until.saturating_duration_since(now());
            let ready = wait_for_any(&mut watched, Some(left));
            let came = ready.get(1) == Some(&true);
            if came || left.is_zero() {
                return came;
            }
            if ready[0] && wish(&self.signals, self.startup) != Wish::None {
                self.interrupted = true;
                return false;
            }
        }
    }
}

fn end(connection: &Connection) -> End {
    let body = connection.reply.body();
    match json::read::<Answer>(body) {
        Ok(answer) => {
            // What was typed is well, only somebody else may ask for it: no wrong usage.
            let is_forbidden = connection.reply.status() == Some(403);
            let exit_code = if is_forbidden { FAILED } else { answer.exit_code };
            End::Answered(Answer { exit_code, ..answer }, body.to_vec())
        }
        Err(error) => End::Troubled(Trouble::Garbled(error)),
    }
}

fn tell(events: &mut Connection, view: &mut View) {
    while let Some(line) = events.reply.next_line() {
        view.fact(&line);
    }
}

/// Listens to the events from now on: the order may follow.
pub(super) fn subscribe(socket: &Path) -> Result<Connection, Trouble> {
    let mut events = Connection::open(socket, &Question::Events)?;
    while events.reply.status().is_none() {
        events.receive()?;
    }
    Ok(events)
}

/// What the user wants by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    None,
    /// INT or TERM.
    Interrupt,
    /// QUIT, or the terminal is gone.
    Leave,
}

/// What has been wished since the last time. What was ignored at the start stays ignored.
pub(super) fn wish(signals: &Signals, startup: &Startup) -> Wish {
    let arrived = signals.drain();
    let came =
        |number: i32| !startup.ignores(number) && arrived.iter().any(|arrived| arrived.signal == number);
    if came(libc::SIGQUIT) || came(libc::SIGHUP) {
        Wish::Leave
    } else if came(libc::SIGINT) || came(libc::SIGTERM) {
        Wish::Interrupt
    } else {
        Wish::None
    }
}

/// To be woken when this can be read, or has ended.
pub(super) fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}

/// To be woken when nobody reads what is written to it.
pub(super) fn without_reader(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::empty())
}

/// For which of these something has come.
pub(super) fn wait_for_any(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Vec<bool> {
    // Rounded up, so that what is not over yet is not asked for over and over.
    let in_whole = |time: Duration| PollTimeout::try_from(time + Duration::from_micros(999));
    let timeout = timeout.map_or(PollTimeout::NONE, |time| in_whole(time).unwrap_or(PollTimeout::MAX));
    match poll(fds, timeout) {
        Ok(_) => fds.iter().map(|fd| fd.any().unwrap_or(false)).collect(),
        // EINTR: the pipe of the signals tells more the next time.
        Err(Errno::EINTR) => vec![false; fds.len()],
        Err(_) => vec![true; fds.len()],
    }
}

/// Only for what is shown, and for how long is waited.
pub(super) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a command has no event loop, and shows how long it takes")]
    Instant::now()
}

/// What a start writes: events, then the answer, each in a line.
struct Report {
    pipe: File,
    bytes: Vec<u8>,
}

impl Report {
    fn hear(&mut self, view: &mut View) -> Option<End> {
        let mut bytes = [0; 64 * 1024];
        match self.pipe.read(&mut bytes) {
            Ok(0) => return Some(self.last_word()),
            Ok(count) => self.bytes.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Some(End::WithoutAWord),
        }
        while let Some(end) = memchr::memchr(b'\n', &self.bytes) {
            let rest = self.bytes.split_off(end + 1);
            let line = std::mem::replace(&mut self.bytes, rest);
            let line = line.trim_ascii_end();
            match json::read::<Answer>(line) {
                Ok(answer) => return Some(End::Answered(answer, line.to_vec())),
                Err(_) => view.fact(line),
            }
        }
        None
    }

    /// A line may lack its end.
    fn last_word(&self) -> End {
        match json::read::<Answer>(&self.bytes) {
            Ok(answer) => End::Answered(answer, self.bytes.clone()),
            Err(_) => End::WithoutAWord,
        }
    }
}
