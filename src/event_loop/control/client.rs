//! One connection of a client: what it has asked, what it has not read yet, and how long it may take.
//!
//! ```text
//!   Reading ──> Asking ──> Reading …        a question that the core answers when it is done
//!           ──> Following                   GET /events
//!           ──> Closing                     said all; reads on for a moment, so that the other side gets to read it
//! ```
//!
//! One question at a time: nothing is read while one is under way or an answer is not written yet, so whoever sends
//! without pause blocks on its own write. What this file does not do: know what a question means.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::core::{ClientId, Time};
use crate::sys::stream::{self, Received, Sent};
use crate::wire::control::http::{
    Arrived, CLOSING, CONTROL, Form, HEALTH, Progress, Reader, Refusal, Request,
};
use crate::wire::control::message::Answer;
use crate::wire::control::response;
use crate::wire::control::routes::Door;

use super::events::{Events, Next};

/// Read or written of one client before another gets its turn.
const TURN_BYTES: usize = 64 << 10;
const BUFFER_BYTES: usize = 16 << 10;
/// How long a connection may be open without a question.
const IDLE: Duration = Duration::from_secs(60);
/// From its first byte to its last.
const HEAD: Duration = Duration::from_secs(10);
const BODY: Duration = Duration::from_secs(30);
/// How long an answer may wait for its reader to take a part of it.
const UNREAD: Duration = Duration::from_secs(30);
/// What a refused client still writes is read and dropped for so long, and so much: were the connection closed with
/// bytes unread, the refusal might be lost on the way.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 << 20;
/// Turns of one client at a time at the end; more than all events that are kept need.
const LAST_TURNS: u32 = 64;

pub(super) struct Client {
    stream: OwnedFd,
    pub(super) door: Door,
    /// Of who has connected.
    pub(super) uid: u32,
    reader: Reader,
    doing: Doing,
    /// When it last began something: a head, a body, or to be idle.
    pub(super) since: Time,
    output: Vec<u8>,
    written: usize,
    /// When a part of the output was last taken, or it was put there.
    moved_at: Time,
    /// The other side has closed both directions.
    pub(super) gone: bool,
}

enum Doing {
    Reading(Progress),
    /// The core has its question, and has not answered it.
    /// `ends`: the answer is that srvwrap ends.
    Asking {
        question: ClientId,
        form: Form,
        ends: bool,
    },
    /// `next` is the number of the next event that it is sent.
    Following {
        form: Form,
        next: u64,
    },
    Closing {
        bytes: usize,
        told: bool,
    },
}

/// At the beginning of the end.
const CLOSING_NOW: Doing = Doing::Closing { bytes: 0, told: false };

/// What came of a turn.
pub(super) enum Turn {
    Request(Request),
    /// It has had its share, and there may be more.
    More,
    /// Nothing more can be done for now.
    Done,
    /// The connection is of no more use.
    Over,
    /// As `Over`: it did not take the events that it had asked for.
    Behind,
}

impl Client {
    pub(super) fn new(stream: OwnedFd, door: Door, uid: u32, now: Time) -> Client {
        let limits = match door {
            Door::Control => CONTROL,
            Door::Health => HEALTH,
        };
        Client {
            stream,
            door,
            uid,
            reader: Reader::new(limits),
            doing: Doing::Reading(Progress::Between),
            since: now,
            output: Vec::new(),
            written: 0,
            moved_at: now,
            gone: false,
        }
    }

    pub(super) fn stream(&self) -> &OwnedFd {
        &self.stream
    }

    /// Reads and writes until there is a request, nothing to be done, or its share is used up.
    pub(super) fn turn(&mut self, events: &Events, now: Time) -> Turn {
        let mut share = TURN_BYTES;
        loop {
            match self.flush(now, &mut share) {
                Sent::Bytes(_) => {}
                Sent::Full => return if self.gone { Turn::Over } else { Turn::Done },
                Sent::Lost => return Turn::Over,
            }
            if share == 0 {
                return Turn::More;
            }
            let turn = match self.doing {
                Doing::Reading(_) => self.read(now, &mut share),
                Doing::Asking { .. } => Some(if self.gone { Turn::Over } else { Turn::Done }),
                Doing::Following { form, next } => self.follow(events, form, next),
                Doing::Closing { .. } => self.linger(&mut share),
            };
            if let Some(turn) = turn {
                return turn;
            }
        }
    }

    /// Writes what waits. `Bytes` says that nothing waits any more, or that the share is used up.
    fn flush(&mut self, now: Time, share: &mut usize) -> Sent {
        while self.written < self.output.len() && *share > 0 {
            let end = self.output.len().min(self.written + *share);
            match stream::send_some(self.stream.as_fd(), &self.output[self.written..end]) {
                Sent::Bytes(count) => {
                    self.written += count;
                    *share -= count;
                    self.moved_at = now;
                }
                other @ (Sent::Full | Sent::Lost) => return other,
            }
        }
        if self.written == self.output.len() {
            (self.output, self.written) = (Vec::new(), 0);
        }
        Sent::Bytes(0)
    }

    /// `None`: go on.
    fn read(&mut self, now: Time, share: &mut usize) -> Option<Turn> {
        let arrived = self.reader.next();
        self.see_progress(now);
        match arrived {
            Some(Arrived::Request(request)) => {
                self.doing = Doing::Reading(Progress::Between);
                self.since = now;
                return Some(Turn::Request(request));
            }
            Some(Arrived::Continue) => self.say(now, response::CONTINUE),
            Some(Arrived::Refused(refusal)) => self.refuse(now, &refusal),
            None => {
                let mut buffer = [0; BUFFER_BYTES];
                match stream::receive(self.stream.as_fd(), &mut buffer) {
                    Received::Bytes(count) => {
                        *share = share.saturating_sub(count);
                        self.reader.feed(&buffer[..count]);
                    }
                    Received::Nothing => return Some(Turn::Done),
                    Received::Closed => return Some(Turn::Over),
                }
            }
        }
        None
    }

    fn see_progress(&mut self, now: Time) {
        let progress = self.reader.progress();
        if let Doing::Reading(before) = &mut self.doing {
            if *before != progress {
                *before = progress;
                self.since = now;
            }
        }
    }

    /// Puts the next events into the output, as many as one turn writes.
    fn follow(&mut self, events: &Events, form: Form, mut next: u64) -> Option<Turn> {
        let turn = loop {
            match events.next(next) {
                Next::Line(line) => {
                    self.output.extend(response::line(form, line));
                    next += 1;
                    if self.output.len() >= TURN_BYTES {
                        break None;
                    }
                }
                Next::Nothing if self.output.is_empty() => {
                    break Some(if self.gone { Turn::Over } else { Turn::Done });
                }
                Next::Nothing => break None,
                Next::Behind => break Some(Turn::Behind),
            }
        };
        self.doing = Doing::Following { form, next };
        turn
    }

    fn linger(&mut self, share: &mut usize) -> Option<Turn> {
        let Doing::Closing { bytes, told, .. } = &mut self.doing else { return None };
        if !std::mem::replace(told, true) {
            stream::end_writing(self.stream.as_fd());
        }
        match stream::receive(self.stream.as_fd(), &mut [0; BUFFER_BYTES]) {
            Received::Bytes(count) => {
                *share = share.saturating_sub(count);
                *bytes += count;
                (*bytes > LINGER_BYTES).then_some(Turn::Over)
            }
            Received::Nothing => Some(Turn::Done),
            Received::Closed => Some(Turn::Over),
        }
    }

    fn say(&mut self, now: Time, bytes: &[u8]) {
        self.moved_at = now;
        self.output.extend_from_slice(bytes);
    }

    /// The whole response to a request.
    pub(super) fn respond(&mut self, now: Time, form: Form, response: &[u8]) {
        self.say(now, response);
        self.since = now;
        self.doing = if form.keep { Doing::Reading(self.reader.progress()) } else { CLOSING_NOW };
    }

    /// What it sent cannot be read on.
    pub(super) fn refuse(&mut self, now: Time, refusal: &Refusal) {
        self.respond(now, CLOSING, &response::refusal(CLOSING, refusal));
    }

    pub(super) fn ask(&mut self, question: ClientId, form: Form, ends: bool) {
        self.doing = Doing::Asking { question, form, ends };
    }

    /// The answer to what it asked. Where that was a stop, the connection ends when srvwrap does, not before: that is
    /// how the client sees it.
    pub(super) fn answer(&mut self, now: Time, answer: &Answer) {
        let Doing::Asking { form, ends, .. } = self.doing else { return };
        self.respond(now, form, &response::answer(form, answer));
        if ends {
            self.doing = Doing::Closing { bytes: 0, told: true };
        }
    }

    pub(super) fn follow_from(&mut self, now: Time, form: Form, next: u64) {
        self.say(now, &response::stream_head(form));
        self.doing = if form.head_only { CLOSING_NOW } else { Doing::Following { form, next } };
    }

    /// Nothing more happens: writes what is left to be said to it, as far as that goes now. Whether there is more.
    pub(super) fn last_turn(&mut self, events: &Events, now: Time) -> bool {
        if let Doing::Reading(_) = self.doing {
            // What it asks now nobody answers.
            self.doing = CLOSING_NOW;
        }
        for _ in 0..LAST_TURNS {
            match (self.turn(events, now), self.following()) {
                (Turn::More, _) => {}
                (Turn::Done, _) if self.has_output() => return true,
                (Turn::Done, Some(_)) => self.end_following(now),
                (Turn::Done, None) => return false,
                (Turn::Request(_) | Turn::Over | Turn::Behind, _) => return false,
            }
        }
        true
    }

    fn end_following(&mut self, now: Time) {
        if let Doing::Following { form, .. } = self.doing {
            self.say(now, response::stream_end(form));
            self.doing = CLOSING_NOW;
        }
    }

    /// The question that it waits to have answered.
    pub(super) fn asking(&self) -> Option<ClientId> {
        match self.doing {
            Doing::Asking { question, .. } => Some(question),
            Doing::Reading(_) | Doing::Following { .. } | Doing::Closing { .. } => None,
        }
    }

    /// The number of the event that it takes next.
    pub(super) fn following(&self) -> Option<u64> {
        match self.doing {
            Doing::Following { next, .. } => Some(next),
            Doing::Reading(_) | Doing::Asking { .. } | Doing::Closing { .. } => None,
        }
    }

    /// Whether it may be closed to make room for another.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.doing, Doing::Reading(_) | Doing::Closing { .. })
    }

    /// Whether it waits for its body to be read.
    pub(super) fn sends_body(&self) -> bool {
        self.reader.progress() == Progress::Body
    }

    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// On the heap, in bytes.
    pub(super) fn held(&self) -> usize {
        self.reader.held() + self.output.capacity()
    }

    /// When it has taken too long over what it does.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.doing {
            Doing::Asking { .. } | Doing::Following { .. } => None,
            Doing::Reading(_) | Doing::Closing { .. } if self.has_output() => Some(self.moved_at + UNREAD),
            Doing::Reading(Progress::Between) => Some(self.since + IDLE),
            Doing::Reading(Progress::Head) => Some(self.since + HEAD),
            Doing::Reading(Progress::Body) => Some(self.since + BODY),
            Doing::Closing { .. } => Some(self.moved_at + LINGER),
        }
    }

    /// Its deadline is over. Whether there is something left to be said to it.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        let (what, limit) = match self.doing {
            Doing::Reading(Progress::Head) if !self.has_output() => ("head of the request", HEAD),
            Doing::Reading(Progress::Body) if !self.has_output() => ("body", BODY),
            Doing::Reading(_) | Doing::Asking { .. } | Doing::Following { .. } | Doing::Closing { .. } => {
                return false;
            }
        };
        self.refuse(now, &Refusal::new(408, format!("the {what} did not come within {}s", limit.as_secs())));
        true
    }
}

#[cfg(test)]
mod tests;
