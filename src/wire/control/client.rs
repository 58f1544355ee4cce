//! The client's half of HTTP: a question as bytes, and the bytes that come back as an answer.
//!
//! ```text
//!   request(&question) ──> bytes ──> the socket ──> Reply::feed(bytes) ──> status(), then body() or next_line()
//! ```
//!
//! One question a connection. An answer is whole when [`Reply::is_complete`] says so; that of `GET /events` goes on,
//! and is taken line by line as it comes. Memory has a bound whatever the other side sends. What it does not do: hold a
//! descriptor, wait, or know what an answer means.

use std::mem;

use memchr::memchr;

use super::chunks::Chunks;
use super::message::{Order, Question};

/// What the server writes is its own affair, but not without bound.
const MOST_HEAD_BYTES: usize = 16 << 10;
const MOST_HEADERS: usize = 64;
/// A status of 65535 workers has some 20 MiB.
const MOST_BODY_BYTES: usize = 64 << 20;

/// A whole request. The server closes the connection behind its answer.
pub(crate) fn request(question: &Question) -> Vec<u8> {
    let (method, path, body) = match question {
        Question::Status => ("GET", "/status", Vec::new()),
        Question::Events => ("GET", "/events", Vec::new()),
        Question::History => ("GET", "/history", Vec::new()),
        Question::Livez => ("GET", "/livez", Vec::new()),
        Question::Readyz => ("GET", "/readyz", Vec::new()),
        Question::Order(order) => ("POST", path(order), body(order)),
    };
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if method == "POST" {
        bytes += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    bytes += "\r\n";
    let mut bytes = bytes.into_bytes();
    bytes.extend(body);
    bytes
}

fn path(order: &Order) -> &'static str {
    match order {
        Order::Deploy(_) => "/deploy",
        Order::Rollback(_) => "/rollback",
        Order::Abort => "/abort",
        Order::Scale(_) => "/scale",
        Order::Stop(_) => "/stop",
        Order::Signal(_) => "/signal",
        Order::Reopen => "/reopen",
    }
}

/// As JSON; without what is not given.
pub(super) fn body(order: &Order) -> Vec<u8> {
    let written = match order {
        Order::Deploy(deploy) | Order::Rollback(deploy) => serde_json::to_vec(deploy),
        Order::Abort | Order::Reopen => Ok(b"{}".to_vec()),
        Order::Scale(scale) => serde_json::to_vec(scale),
        Order::Stop(stop) => serde_json::to_vec(stop),
        Order::Signal(signal) => serde_json::to_vec(signal),
    };
    written.expect("every order is an object with string keys")
}

/// What has come of one answer.
#[derive(Debug)]
pub(crate) struct Reply {
    state: State,
    /// Of the head while that is coming, then of the body what was not taken yet.
    bytes: Vec<u8>,
    /// See [`Reply::closes`].
    closes: bool,
}

#[derive(Debug)]
enum State {
    Head,
    Body { status: u16, length: Length },
    Complete { status: u16 },
}

/// How the end of a body is known.
#[derive(Debug)]
enum Length {
    Left(u64),
    Chunked(Chunks),
    /// The connection ends with it.
    Open,
}

impl Reply {
    pub(crate) fn new() -> Reply {
        Reply { state: State::Head, bytes: Vec::new(), closes: false }
    }

    /// Takes what was read from the connection. An error is a sentence, and then there is no going on.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        match &self.state {
            State::Head => {
                self.bytes.extend_from_slice(bytes);
                self.read_head()
            }
            State::Body { .. } => self.feed_body(bytes),
            State::Complete { .. } => Ok(()),
        }
    }

    /// The connection has ended. An error, a sentence, where that was too early.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        match self.state {
            State::Body { status, length: Length::Open } => {
                self.state = State::Complete { status };
                Ok(())
            }
            State::Complete { .. } => Ok(()),
            State::Head if self.bytes.is_empty() => Err("srvwrap ended before it answered".to_string()),
            State::Head | State::Body { .. } => Err("srvwrap ended in the middle of an answer".to_string()),
        }
    }

    /// The HTTP status, once it has come.
    pub(crate) fn status(&self) -> Option<u16> {
        match self.state {
            State::Head => None,
            State::Body { status, .. } | State::Complete { status } => Some(status),
        }
    }

    /// Whether its head says that the connection ends behind it, in words or by having no length.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// Whether the whole answer has come.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete { .. })
    }

    /// What has come of the body and was not taken by [`Reply::next_line`].
    pub(crate) fn body(&self) -> &[u8] {
        if matches!(self.state, State::Head) { &[] } else { &self.bytes }
    }

    /// Takes the next whole line of the body, without its newline.
    pub(crate) fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = memchr(b'\n', self.body())?;
        let rest = self.bytes.split_off(end + 1);
        let mut line = mem::replace(&mut self.bytes, rest);
        line.pop();
        Some(line)
    }

    fn read_head(&mut self) -> Result<(), String> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed =
            response.parse(&self.bytes).map_err(|error| format!("the answer is not HTTP: {error}"))?;
        let httparse::Status::Complete(end) = parsed else {
            let too_long = self.bytes.len() > MOST_HEAD_BYTES;
            return if too_long { Err("the answer is not HTTP: its head has no end".into()) } else { Ok(()) };
        };
        let status = response.code.unwrap_or_default();
        let length = length(&response)?;
        self.closes = closes(&response) || matches!(length, Length::Open);
        let rest = self.bytes.split_off(end);
        self.bytes = Vec::new();
        // 100 Continue and its like: the answer follows.
        if status >= 200 {
            self.state = match length {
                Length::Left(0) => State::Complete { status },
                Length::Left(_) | Length::Chunked(_) | Length::Open => State::Body { status, length },
            };
        }
        self.feed(&rest)
    }

    fn feed_body(&mut self, bytes: &[u8]) -> Result<(), String> {
        let State::Body { status, length } = &mut self.state else { return Ok(()) };
        let status = *status;
        let mut bytes = bytes;
        let over = match length {
            Length::Left(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                self.bytes.extend_from_slice(&bytes[..taken]);
                *left -= taken as u64;
                *left == 0
            }
            Length::Chunked(chunks) => {
                while let Some(piece) =
                    chunks.next(&mut bytes).map_err(|_| "the answer is not HTTP: a bad chunk")?
                {
                    self.bytes.extend_from_slice(piece);
                }
                chunks.is_over()
            }
            Length::Open => {
                self.bytes.extend_from_slice(bytes);
                false
            }
        };
        if over {
            self.state = State::Complete { status };
        }
        if self.bytes.len() > MOST_BODY_BYTES { Err("the answer is too long".to_string()) } else { Ok(()) }
    }
}

/// In HTTP/1.0 a connection is kept only where that is said.
fn closes(response: &httparse::Response<'_, '_>) -> bool {
    let said = value(response, "Connection").unwrap_or_default();
    let says = |word: &str| said.split(',').any(|said| said.trim().eq_ignore_ascii_case(word));
    says("close") || response.version == Some(0) && !says("keep-alive")
}

fn value(response: &httparse::Response<'_, '_>, name: &str) -> Option<String> {
    let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(String::from_utf8_lossy(found.value).into_owned())
}

fn length(response: &httparse::Response<'_, '_>) -> Result<Length, String> {
    if matches!(response.code, Some(204 | 304)) {
        return Ok(Length::Left(0));
    }
    let value = |name| value(response, name);
    if let Some(coding) = value("Transfer-Encoding") {
        let known = coding.eq_ignore_ascii_case("chunked");
        let unknown = || format!("the answer is in an unknown form: {coding}");
        return known.then(|| Length::Chunked(Chunks::new())).ok_or_else(unknown);
    }
    let Some(length) = value("Content-Length") else { return Ok(Length::Open) };
    length.parse().map(Length::Left).map_err(|_| "the answer is not HTTP: a bad length".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    use super::super::message::Stop;

    fn fed(pieces: &[&[u8]]) -> Result<Reply, String> {
        let mut reply = Reply::new();
        for piece in pieces {
            reply.feed(piece)?;
        }
        Ok(reply)
    }

    #[test]
    fn a_question_has_a_length_where_it_has_a_body() {
        let status = request(&Question::Status);
        assert_eq!(status, b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let stop =
            String::from_utf8(request(&Question::Order(Order::Stop(Stop { timeout: None, now: true }))))
                .unwrap();
        assert!(stop.starts_with("POST /stop HTTP/1.1\r\n"), "{stop}");
        assert!(stop.ends_with("Content-Length: 12\r\n\r\n{\"now\":true}"), "{stop}");
    }

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let reply = fed(&[b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}behind"]).unwrap();
        assert_eq!((reply.status(), reply.body(), reply.is_complete()), (Some(409), b"{}".as_slice(), true));
        let empty = fed(&[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]).unwrap();
        assert!(empty.is_complete() && empty.body().is_empty());
    }

    #[test]
    fn lines_come_as_they_are_written() {
        let mut reply =
            fed(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n4\r\n[]\n{\r\n"])
                .unwrap();
        let lines: Vec<_> = std::iter::from_fn(|| reply.next_line()).collect();
        assert_eq!(lines, [b"{}", b"[]"]);
        assert_eq!((reply.body(), reply.is_complete()), (b"{".as_slice(), false));
        reply.feed(b"2\r\n}\n\r\n0\r\n\r\n").unwrap();
        assert_eq!(
            (reply.next_line(), reply.is_complete(), reply.end()),
            (Some(b"{}".to_vec()), true, Ok(()))
        );
    }

    #[test]
    fn a_server_that_goes_in_the_middle_is_told_apart() {
        assert!(fed(&[]).unwrap().end().unwrap_err().contains("before"));
        assert!(fed(&[b"HTTP/1.1 2"]).unwrap().end().unwrap_err().contains("middle"));
        assert!(fed(&[b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"]).unwrap().end().is_err());
        let mut open = fed(&[b"HTTP/1.0 200 OK\r\n\r\nab"]).unwrap();
        assert_eq!((open.is_complete(), open.end(), open.is_complete()), (false, Ok(()), true));
    }

    #[test]
    fn the_head_says_whether_the_connection_ends_behind_the_answer() {
        let closes = |head: &str| fed(&[head.as_bytes(), b"\r\n\r\n"]).unwrap().closes();
        assert!(!closes("HTTP/1.1 200 OK\r\nContent-Length: 0"));
        assert!(closes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nconnection: Upgrade, Close"));
        assert!(closes("HTTP/1.1 200 OK"));
        assert!(!closes("HTTP/1.1 204 No Content"));
        assert!(closes("HTTP/1.0 200 OK\r\nContent-Length: 0"));
        assert!(!closes("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive"));
    }

    #[test]
    fn an_interim_answer_is_none() {
        let reply =
            fed(&[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"]).unwrap();
        assert_eq!((reply.status(), reply.body()), (Some(200), b"x".as_slice()));
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for bytes in [
            b"SSH-2.0-x\r\n".as_slice(),
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
        ] {
            assert!(fed(&[bytes]).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MOST_HEAD_BYTES));
        assert!(fed(&[endless.as_bytes()]).is_err());
    }

    proptest! {
        #[test]
        fn byte_by_byte_is_as_whole(
            body in prop::collection::vec(any::<u8>(), 0..40),
            chunked in any::<bool>(),
        ) {
            let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
            if chunked {
                bytes.extend(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len().max(1)).bytes());
                bytes.extend(if body.is_empty() { b"x".as_slice() } else { &body });
                bytes.extend(b"\r\n0\r\n\r\n");
            } else {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                bytes.extend(&body);
            }
            let whole = fed(&[&bytes]).unwrap();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let bit_by_bit = fed(&single).unwrap();
            prop_assert!(whole.is_complete() && bit_by_bit.is_complete());
            prop_assert_eq!(whole.body(), bit_by_bit.body());
        }
    }
}
