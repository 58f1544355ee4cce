//! The server's side of the control socket, and of the health address.
//!
//! ```text
//!   socket ── accept ──> Client ── turn ──> Request ──> routes ──> Question ─┬─> told at once: status, history, health
//!                          ^                                                 └─> the core ──> Effect::Reply ─┐
//!                          └──────────────────────── response, events <──────────────────────────────────────┘
//! ```
//!
//! However many there are and whatever they send, workers come first: all clients together have [`TURN_TIME`] between
//! two looks at everything else, each of them a share, and what they hold has a bound. With no client there is no
//! timer. A client that goes changes nothing about what it has asked for.
//!
//! What this file does not do: judge what is asked for (`core`), or know HTTP (`wire`).

mod client;
mod clients;
mod events;
mod logs;
mod tell;

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use mio::{Interest, Poll};

use crate::config::Address;
use crate::core::{Answer, Asker, ClientId, Event, Notice, Request, Time};
use crate::signal_names::signal_number;
use crate::sys::listener::Listener;
use crate::sys::stream;
use crate::wire::control::http::{self, CLOSING, Form, Refusal};
use crate::wire::control::message::{self, Deploy, Order, Outcome, Question, Stop};
use crate::wire::control::response;
use crate::wire::control::routes::{Door, question};

use super::listeners::shown;
use super::places::Places;
use super::{EventLoop, watch};
use client::Turn;
use clients::Clients;
pub(super) use clients::ConnectionId;

/// What all clients together may do before everything else gets its turn.
const TURN_TIME: Duration = Duration::from_millis(10);
/// So many requests of one client before the next client's turn.
const QUESTIONS_AT_ONCE: usize = 4;
/// Connections that are accepted before anything else gets its turn.
const ACCEPTS_AT_ONCE: usize = 64;
/// Where there is no descriptor for another client, it is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const MOST_CLIENTS: usize = 1000;
/// Descriptors that no worker gets: who cannot ask cannot put right what has gone wrong either.
const SPARE_DESCRIPTORS: usize = 16;
const MOST_HEALTH_CLIENTS: usize = 100;
/// Of all bodies that are being sent together.
const MOST_BODY_BYTES: usize = 16 << 20;
/// Of all that clients hold, above which nothing long is told.
const MOST_BYTES: usize = 64 << 20;
/// How long the last answers may take at the end.
const LAST_FLUSH: Duration = Duration::from_secs(1);

pub(super) struct Control {
    health: Option<Listener>,
    /// As an operator reads it, with the port that was really bound.
    health_address: Option<String>,
    clients: Clients,
    most_clients: usize,
    /// The first descriptor that is kept for clients.
    spare_from: usize,
    own_uid: u32,
    /// Whose listener has more to accept than was accepted.
    accepting: Vec<Door>,
    /// Nobody is accepted before this.
    accept_at: Option<Time>,
    /// Whether it was said that nobody can be accepted.
    told_full: bool,
}

impl Control {
    /// An error is a sentence.
    pub(super) fn open(health: Option<&Address>, places: &Places, poll: &Poll) -> Result<Control, String> {
        let typed = health;
        let health = typed.map(open_health).transpose()?;
        let health_address = typed.zip(health.as_ref()).map(|(typed, socket)| shown(typed, socket));
        places.watch_control(poll).map_err(cannot_watch)?;
        if let Some(health) = &health {
            watch(poll, &health.as_fd(), super::HEALTH, Interest::READABLE).map_err(cannot_watch)?;
        }
        let descriptors = usize::try_from(stream::descriptors_allowed()).unwrap_or(usize::MAX);
        Ok(Control {
            health,
            health_address,
            clients: Clients::new(),
            // The rest is for workers.
            most_clients: MOST_CLIENTS.min(descriptors / 2),
            spare_from: descriptors - SPARE_DESCRIPTORS.min(descriptors / 4),
            own_uid: stream::own_uid(),
            accepting: Vec::new(),
            accept_at: None,
            told_full: false,
        })
    }

    /// Whether a worker may have this descriptor, and some are still left for clients. The kernel gives the lowest that
    /// is free, so a high one tells that there are few. An error is a sentence.
    pub(super) fn leave_room(&self, descriptor: &impl AsRawFd) -> Result<(), String> {
        let is_spare = usize::try_from(descriptor.as_raw_fd()).is_ok_and(|number| number >= self.spare_from);
        let limit = stream::descriptors_allowed();
        let why = || {
            format!("too many open files: of the {limit} that there may be, the last are kept for clients")
        };
        if is_spare { Err(why()) } else { Ok(()) }
    }

    /// What is to be said when the health routes are served.
    pub(super) fn notice(&self) -> Option<Notice> {
        self.health_address.clone().map(|address| Notice::HealthListening { address })
    }

    /// When a client is late, or accepting is tried again.
    pub(super) fn next_turn(&self) -> Option<Time> {
        [self.clients.next_deadline(), self.accept_at].into_iter().flatten().min()
    }

    /// Whether somebody has had to wait for the next look at everything else.
    pub(super) fn has_more(&self) -> bool {
        self.clients.has_ready() || (self.accept_at.is_none() && !self.accepting.is_empty())
    }

    /// Somebody wants to be accepted.
    pub(super) fn knocked(&mut self, door: Door) {
        if !self.accepting.contains(&door) {
            self.accepting.push(door);
        }
    }

    /// Something has happened to the connection of a client.
    pub(super) fn client_ready(&mut self, id: ConnectionId, gone: bool) {
        if let Some(client) = self.clients.get_mut(id) {
            client.gone |= gone;
            self.clients.set_ready(id);
        }
    }

    /// Whoever it is that may not ask is told so whatever it sends: nothing of that is looked at.
    fn admit(&mut self, door: Door, stream: OwnedFd, uid: u32, now: Time, poll: &Poll) {
        let most = match door {
            Door::Control => self.most_clients,
            Door::Health => MOST_HEALTH_CLIENTS,
        };
        let is_full = self.clients.count(door) >= most;
        let is_stranger = door == Door::Control && ![self.own_uid, 0].contains(&uid);
        if is_full && (is_stranger || !self.make_room(door, poll)) {
            return turn_away(&stream, &Refusal::new(503, format!("there are {most} clients already")));
        }
        let id = self.clients.add(stream, door, uid, now, poll);
        if is_stranger {
            let own = self.own_uid;
            let why = format!("uid {uid} may ask for nothing here: only uid {own} may, and root");
            self.clients.refuse(id, now, &Refusal::new(403, why));
        }
    }

    /// Closes the connection that has been idle for the longest time.
    fn make_room(&mut self, door: Door, poll: &Poll) -> bool {
        let idlest = self.clients.idlest(door);
        if let Some(id) = idlest {
            self.clients.remove(id, poll);
        }
        idlest.is_some()
    }
}

fn open_health(address: &Address) -> Result<Listener, String> {
    let bound = match address {
        Address::Port(port) => Listener::bind_port(*port),
        Address::Tcp(address) => Listener::bind_tcp(*address),
        Address::Unix(_) | Address::Abstract(_) | Address::Fd(_) | Address::Launchd(_) => {
            return Err(format!("--health: {address} is not a TCP address"));
        }
    };
    let listener = bound.map_err(|error| format!("--health: {error}"))?;
    listener.set_nonblocking(true);
    Ok(listener)
}

fn cannot_watch(error: impl fmt::Display) -> String {
    format!("cannot watch the control socket: {error}")
}

/// As far as it goes at once.
fn turn_away(stream: &OwnedFd, refusal: &Refusal) {
    let _ = stream::send_some(stream.as_fd(), &response::refusal(CLOSING, refusal));
}

impl EventLoop {
    /// What clients want, as far as it goes in one turn.
    pub(super) fn serve_clients(&mut self) {
        let now = self.now();
        self.accept_clients(now);
        self.end_late_clients(now);
        self.tell_followers();
        // One share each, and then a look at who else is there: nobody waits for one who never stops.
        let until = now + TURN_TIME;
        for _ in 0..self.control.clients.ready_count() {
            if self.now() > until {
                break;
            }
            if let Some(id) = self.control.clients.next_ready() {
                self.serve(id, until);
            }
        }
        self.control.clients.forget_events();
    }

    fn accept_clients(&mut self, now: Time) {
        if self.control.accept_at.is_some_and(|at| at > now) {
            return;
        }
        self.control.accept_at = None;
        for door in std::mem::take(&mut self.control.accepting) {
            self.accept_some(now, door);
        }
    }

    fn accept(&self, door: Door) -> Result<Option<(OwnedFd, u32)>, nix::errno::Errno> {
        match door {
            Door::Control => {
                let Some(socket) = &self.places.control else { return Ok(None) };
                Ok(socket.accept()?.map(|(stream, peer)| (stream.into(), peer.uid)))
            }
            Door::Health => {
                let Some(health) = &self.control.health else { return Ok(None) };
                Ok(stream::accept(health)?.map(|stream| (stream, 0)))
            }
        }
    }

    fn somebody_waits(&self, door: Door) -> bool {
        match door {
            Door::Control => self.places.control.as_ref().is_some_and(stream::somebody_waits),
            Door::Health => self.control.health.as_ref().is_some_and(stream::somebody_waits),
        }
    }

    fn accept_some(&mut self, now: Time, door: Door) {
        for _ in 0..ACCEPTS_AT_ONCE {
            match self.accept(door) {
                Ok(Some((stream, uid))) => {
                    self.control.told_full = false;
                    self.control.admit(door, stream, uid, now, &self.poll);
                }
                Ok(None) => return,
                Err(_) if !self.somebody_waits(door) => return,
                // One that is idle has a descriptor that another can have.
                Err(_) if self.control.make_room(door, &self.poll) => {}
                Err(errno) => {
                    self.control.accept_at = Some(now + ACCEPT_PAUSE);
                    if !std::mem::replace(&mut self.control.told_full, true) {
                        self.remark(&format_args!("cannot accept a client: {}", errno.desc()));
                    }
                    break;
                }
            }
        }
        self.control.knocked(door);
    }

    fn end_late_clients(&mut self, now: Time) {
        while let Some(id) = self.control.clients.next_late(now) {
            let has_more = self.control.clients.get_mut(id).is_some_and(|client| client.expire(now));
            if has_more {
                self.control.clients.note_deadline(id);
                self.control.clients.set_ready(id);
            } else {
                self.control.clients.remove(id, &self.poll);
            }
        }
    }

    fn tell_followers(&mut self) {
        for id in self.control.clients.tell_followers() {
            self.cut_off(id);
        }
    }

    fn cut_off(&mut self, id: ConnectionId) {
        self.control.clients.remove(id, &self.poll);
        self.remark(&"a client was cut off, because it did not read the events that it had asked for");
    }

    /// One client's share of a turn.
    fn serve(&mut self, id: ConnectionId, until: Time) {
        let mut is_done = false;
        for asked in 0..QUESTIONS_AT_ONCE {
            // One question may take long where there are many workers.
            if asked > 0 && self.now() > until {
                break;
            }
            match self.control.clients.turn(id, self.now()) {
                Turn::Request(request) => self.answer_request(id, &request),
                Turn::More => break,
                Turn::Done => {
                    is_done = true;
                    break;
                }
                Turn::Over => return self.control.clients.remove(id, &self.poll),
                Turn::Behind => return self.cut_off(id),
            }
        }
        let is_done = self.limit_bodies(id) && is_done;
        self.control.clients.note_deadline(id);
        if !is_done {
            self.control.clients.set_ready(id);
        }
    }

    /// Whether there is room for the body that this client sends, should it send one.
    fn limit_bodies(&mut self, id: ConnectionId) -> bool {
        let sends = self.control.clients.get_mut(id).is_some_and(|client| client.sends_body());
        if !sends || self.control.clients.held_by_bodies() <= MOST_BODY_BYTES {
            return true;
        }
        let refusal = Refusal::new(503, "other clients send too much at this moment; try again");
        let now = self.now();
        self.control.clients.refuse(id, now, &refusal);
        false
    }

    fn answer_request(&mut self, id: ConnectionId, request: &http::Request) {
        let Some(client) = self.control.clients.get_mut(id) else { return };
        let (door, uid, form) = (client.door, client.uid, request.form);
        let response = match question(door, request) {
            Ok(Question::Status | Question::History) if self.control.clients.held() > MOST_BYTES => {
                let refusal = Refusal::new(503, "other clients have not read their answers; try again");
                response::refusal(form, &refusal)
            }
            Ok(Question::Status) => response::response(form, 200, &self.status_told()),
            Ok(Question::History) => response::response(form, 200, &self.history_told()),
            Ok(Question::Livez) => response::health(form, "live", true),
            Ok(Question::Readyz) => response::health(form, "ready", self.supervisor.is_ready()),
            Ok(Question::Events) => return self.let_follow(id, form),
            Ok(Question::Order(Order::Reopen)) => return self.ask_to_reopen(id, uid, form),
            Ok(Question::Order(order)) => match requested(order) {
                Ok(request) => return self.ask(id, uid, form, request),
                Err(refusal) => response::refusal(form, &refusal),
            },
            Err(refusal) => response::refusal(form, &refusal),
        };
        self.respond(id, form, &response);
    }

    fn respond(&mut self, id: ConnectionId, form: Form, response: &[u8]) {
        let now = self.now();
        if let Some(client) = self.control.clients.get_mut(id) {
            client.respond(now, form, response);
        }
    }

    fn let_follow(&mut self, id: ConnectionId, form: Form) {
        let (now, next) = (self.now(), self.control.clients.events.end());
        if let Some(client) = self.control.clients.get_mut(id) {
            client.follow_from(now, form, next);
        }
    }

    fn ask(&mut self, id: ConnectionId, uid: u32, form: Form, request: Request) {
        let question = self.control.clients.new_question(id);
        let ends = matches!(request, Request::Stop { .. } | Request::Kill);
        if let Some(client) = self.control.clients.get_mut(id) {
            client.ask(question, form, ends);
        }
        if let Some(why) = self.refused(&request) {
            return self.reply_with(question, Outcome::Refused, why);
        }
        self.handle(Event::Requested { asker: Asker::Client { client: question, uid }, request });
    }

    /// Why nobody could run what is to be deployed, if so: the core knows nothing of sockets.
    fn refused(&self, request: &Request) -> Option<String> {
        let Request::Deploy(Deploy { program: Some(program), .. }) = request else { return None };
        let argv: Vec<OsString> = program.iter().map(|word| word.0.clone()).collect();
        self.unfit(&argv).map(|unfit| format!("refused, because of {unfit}"))
    }

    /// The core knows nothing of logs.
    fn ask_to_reopen(&mut self, id: ConnectionId, uid: u32, form: Form) {
        let question = self.control.clients.new_question(id);
        if let Some(client) = self.control.clients.get_mut(id) {
            client.ask(question, form, false);
        }
        self.reopen_logs(Asker::Client { client: question, uid });
    }

    /// The core's answer.
    pub(super) fn reply(&mut self, question: ClientId, answer: &Answer) {
        let told = self.answer_told(answer);
        self.send_answer(question, &told);
    }

    /// The answer to what the core knows nothing of.
    pub(super) fn reply_with(&mut self, question: ClientId, outcome: Outcome, message: String) {
        let generation = self.supervisor.committed();
        let told = message::Answer {
            outcome,
            exit_code: outcome.exit_code(),
            message,
            generation,
            stderr: Vec::new(),
        };
        self.send_answer(question, &told);
    }

    /// It finds nobody where the client has gone.
    fn send_answer(&mut self, question: ClientId, told: &message::Answer) {
        let now = self.now();
        let clients = &mut self.control.clients;
        let Some(id) = clients.take_asker(question) else { return };
        if let Some(client) = clients.get_mut(id) {
            client.answer(now, told);
        }
        clients.note_deadline(id);
        clients.set_ready(id);
    }

    pub(super) fn has_followers(&self) -> bool {
        self.control.clients.has_followers()
    }

    /// Everybody who follows events is told.
    pub(super) fn publish(&mut self, line: Vec<u8>) {
        if self.has_followers() {
            self.control.clients.push_event(line);
        }
    }

    /// The end: nobody is accepted any more, and the last answers and events go out, for a second at most.
    pub(super) fn take_leave(&mut self) {
        self.control.health = None;
        self.places.leave();
        let until = self.now() + LAST_FLUSH;
        let mut events = mio::Events::with_capacity(256);
        while self.flush_clients() {
            let left = until - self.now();
            if left.is_zero() {
                break;
            }
            // An error is a signal, and there is time for another look.
            let _ = self.poll.poll(&mut events, Some(left));
        }
    }

    /// Whether somebody has more to read.
    fn flush_clients(&mut self) -> bool {
        let now = self.now();
        let mut more = false;
        for id in self.control.clients.ids() {
            more |= self.control.clients.last_turn(id, now);
        }
        more
    }
}

/// An order as the core understands it.
fn requested(order: Order) -> Result<Request, Refusal> {
    Ok(match order {
        Order::Deploy(deploy) => Request::Deploy(deploy),
        Order::Rollback(deploy) => Request::Rollback(deploy),
        Order::Abort => Request::Abort,
        Order::Scale(scale) => Request::Scale(scale),
        Order::Stop(Stop { now: true, .. }) => Request::Kill,
        Order::Stop(Stop { now: false, timeout }) => Request::Stop { timeout },
        Order::Signal(wanted) => {
            let unknown = || Refusal::new(400, format!("there is no signal {}", wanted.signal));
            let signal = signal_number(&wanted.signal).ok_or_else(unknown)?;
            Request::Signal { signal, slot: wanted.slot }
        }
        Order::Reopen => return Err(Refusal::new(400, "the core knows nothing of logs")),
    })
}
