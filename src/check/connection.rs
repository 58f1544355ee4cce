//! A client of the program, over HTTP/1.1 where that is spoken: connects, asks, and waits for the answer.
//!
//! What this file does not do: judge an answer. Any status will do.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::core::Ready;
use crate::sys::dial::dial;
use crate::sys::stream::{Received, receive, send_some, somebody_waits};
use crate::wire::control::client::Reply;

use super::life::Life;
use super::seen::Answer;
use super::{Cut, now};

/// A connection that is not accepted by then never is.
const ACCEPT_LIMIT: Duration = Duration::from_secs(5);
/// The same of an answer that has not begun, or not ended.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// One connection, and what has come of the answer on it.
pub(super) struct Connection {
    stream: OwnedFd,
    reply: Reply,
    asked: Instant,
}

impl Life<'_> {
    /// To the listener with this place among all.
    pub(super) fn connect(&self, index: usize) -> Result<Connection, Errno> {
        let bound = self.bench.listeners.get(index).ok_or(Errno::ENOENT)?;
        let stream = dial(&bound.socket)?;
        Ok(Connection { stream, reply: Reply::new(), asked: now() })
    }

    /// Waits until nobody is left in the queue of a listener. False where somebody is by then.
    fn is_accepted(&mut self, index: usize) -> Result<bool, Cut> {
        let until = self.patience(ACCEPT_LIMIT);
        loop {
            let waits = self.bench.listeners.get(index).is_some_and(|bound| somebody_waits(&bound.socket));
            self.serves |= !waits;
            if !waits || !self.turn(until, None)? {
                return Ok(!waits);
            }
        }
    }

    /// Of a program that counts as online without a word it is not known when it is.
    pub(super) fn patience(&self, time: Duration) -> Instant {
        let policy = &self.bench.check.config.policy;
        let until = now() + time;
        let is_known = self.serves || policy.ready == Ready::Notify;
        if is_known { until } else { until.max(self.born + policy.online_timeout) }
    }

    /// A connection of which it is known that the program has it.
    pub(super) fn accepted(&mut self, index: usize) -> Result<Result<Connection, Answer>, Cut> {
        match self.connect(index) {
            Err(errno) => Ok(Err(Answer::Refused(errno.desc()))),
            Ok(connection) => {
                Ok(if self.is_accepted(index)? { Ok(connection) } else { Err(Answer::Waiting) })
            }
        }
    }

    /// A connection, a request on it, and what became of it.
    pub(super) fn visit(&mut self, index: usize) -> Result<(Option<Connection>, Answer), Cut> {
        let mut connection = match self.accepted(index)? {
            Ok(connection) => connection,
            Err(answer) => return Ok((None, answer)),
        };
        let answer = self.get(&mut connection)?;
        Ok((Some(connection), answer))
    }

    /// A further connection, as [`Self::visit`] where answers are HTTP. Else that it is accepted has to do.
    pub(super) fn visit_again(&mut self, index: usize, http: bool) -> Result<Answer, Cut> {
        if http {
            return Ok(self.visit(index)?.1);
        }
        Ok(self.accepted(index)?.map_or_else(|answer| answer, |_| Answer::Silent))
    }

    /// A request and what became of it.
    fn get(&mut self, connection: &mut Connection) -> Result<Answer, Cut> {
        self.ask(connection);
        let until = self.patience(ANSWER_LIMIT);
        self.answer(connection, until)
    }

    /// Sends the request. That it did not go out is seen when the answer is waited for.
    pub(super) fn ask(&self, connection: &mut Connection) {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: srvwrap-check\r\nAccept: */*\r\n\r\n",
            self.bench.check.path
        );
        connection.reply = Reply::new();
        connection.asked = now();
        let _ = send_some(connection.stream.as_fd(), request.as_bytes());
    }

    /// Waits for an answer, or for the end of the program.
    pub(super) fn answer(&mut self, connection: &mut Connection, until: Instant) -> Result<Answer, Cut> {
        let mut buffer = [0; 16 * 1024];
        let mut is_last = false;
        loop {
            let reply = &mut connection.reply;
            match receive(connection.stream.as_fd(), &mut buffer) {
                Received::Bytes(count) if reply.feed(&buffer[..count]).is_err() => {
                    return Ok(Answer::NotHttp);
                }
                Received::Bytes(_) => {}
                Received::Closed if reply.end().is_err() => return Ok(Answer::Cut),
                Received::Closed => {}
                Received::Nothing if is_last && reply.status().is_some() => return Ok(Answer::Half),
                Received::Nothing if is_last => return Ok(Answer::Silent),
                Received::Nothing => is_last = !self.turn(until, Some(connection.stream.as_fd()))?,
            }
            if let Some(status) = connection.reply.status().filter(|_| connection.reply.is_complete()) {
                let after = now() - connection.asked;
                return Ok(Answer::Whole { status, after, closes: connection.reply.closes() });
            }
        }
    }
}

impl Connection {
    /// How long ago the request was sent.
    pub(super) fn asked(&self) -> Instant {
        self.asked
    }
}
