//! The server's half of HTTP/1.1: what a client writes, cut into requests.
//!
//! ```text
//!   read(2) ──> feed(bytes) ──> next() ──> Request            a whole one, with its body
//!                                     ├──> Continue           it waits to be told to send its body
//!                                     ├──> Refused            say so and close: what follows cannot be understood
//!                                     └──> None               more bytes are needed
//! ```
//!
//! Requests may come in any pieces, or many in one. Nothing is on the heap between two of them; a head and a body have
//! limits, and a buffer grows as bytes arrive, never because of what a header announces. Where two readers could
//! disagree on where a request ends, it is refused.
//!
//! What it does not do: know the routes, or hold to a time.

use std::mem;

use super::chunks::Chunks;

/// How much a client may send at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The request line and the headers, in bytes.
    pub(crate) head: usize,
    pub(crate) body: usize,
}

/// Of the control socket. A deploy may bring a whole environment.
pub(crate) const CONTROL: Limits = Limits { head: 16 << 10, body: 4 << 20 };
/// Of the health address, where there is nothing to say.
pub(crate) const HEALTH: Limits = Limits { head: 4 << 10, body: 0 };

const MOST_HEADERS: usize = 64;

/// One request, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    pub(crate) form: Form,
}

/// In what form the client wants the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// Whether the connection goes on behind it.
    pub(crate) keep: bool,
    /// Whether it knows chunks: HTTP/1.1.
    pub(crate) chunks: bool,
    /// Whether it wants no body: HEAD.
    pub(crate) head_only: bool,
}

/// That of a client that has not been understood.
pub(crate) const CLOSING: Form = Form { keep: false, chunks: false, head_only: false };

/// What has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    Request(Request),
    /// The client has sent a head, and waits for `100 Continue` before it sends the body.
    Continue,
    /// It is no request that can be read, and nothing is read behind it.
    Refused(Refusal),
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Of HTTP, 4xx or 5xx.
    pub(crate) status: u16,
    /// A sentence.
    pub(crate) message: String,
    /// The methods that there are, where the method was the fault.
    pub(crate) allow: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), allow: None }
    }
}

/// Reads what one client writes.
#[derive(Debug)]
pub(crate) struct Reader {
    limits: Limits,
    state: State,
    /// What was fed; up to `taken` it is done with.
    bytes: Vec<u8>,
    taken: usize,
    /// Up to here there was no line that ends the head.
    searched: usize,
}

#[derive(Debug)]
enum State {
    Head,
    Body {
        request: Request,
        length: Length,
    },
    /// Nothing is read any more.
    Refused,
}

#[derive(Debug)]
enum Length {
    Left(usize),
    Chunked(Chunks),
}

/// How far a client is with what it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has written nothing that is not answered.
    Between,
    Head,
    Body,
}

impl Reader {
    pub(crate) fn new(limits: Limits) -> Reader {
        Reader { limits, state: State::Head, bytes: Vec::new(), taken: 0, searched: 0 }
    }

    /// Takes what was read, best when [`Reader::next`] has nothing left: what is fed is kept until it is taken.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Refused) {
            self.searched = self.searched.saturating_sub(self.taken);
            self.bytes.drain(..mem::take(&mut self.taken));
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        match self.state {
            State::Body { .. } => Progress::Body,
            State::Head if self.bytes.len() > self.taken => Progress::Head,
            State::Head | State::Refused => Progress::Between,
        }
    }

    /// In bytes, as they are on the heap.
    pub(crate) fn held(&self) -> usize {
        let body = if let State::Body { request, .. } = &self.state { request.body.capacity() } else { 0 };
        self.bytes.capacity() + body
    }

    /// The next thing in what was fed; `None` once more is needed.
    pub(crate) fn next(&mut self) -> Option<Arrived> {
        let arrived = match self.state {
            State::Head => self.next_head(),
            State::Body { .. } => self.next_body(),
            State::Refused => Ok(None),
        };
        if self.taken == self.bytes.len() {
            (self.bytes, self.taken, self.searched) = (Vec::new(), 0, 0);
        }
        arrived.unwrap_or_else(|refusal| {
            (self.state, self.bytes, self.taken) = (State::Refused, Vec::new(), 0);
            Some(Arrived::Refused(refusal))
        })
    }

    fn next_head(&mut self) -> Result<Option<Arrived>, Refusal> {
        // As many clients write one behind a body.
        self.taken += self.bytes[self.taken..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        self.searched = self.searched.max(self.taken);
        // Only a line that has ended tells something new, so that single bytes cost no more than whole reads.
        if memchr::memchr(b'\n', &self.bytes[self.searched..]).is_none() {
            self.searched = self.bytes.len();
            return self.unfinished_head();
        }
        self.searched = self.bytes.len();
        let Some((end, head)) = read_head(&self.bytes[self.taken..])? else { return self.unfinished_head() };
        if end > self.limits.head {
            return Err(self.long_head());
        }
        self.taken += end;
        self.searched = self.taken;
        self.begin_body(head)
    }

    fn unfinished_head(&self) -> Result<Option<Arrived>, Refusal> {
        if self.bytes.len() - self.taken > self.limits.head { Err(self.long_head()) } else { Ok(None) }
    }

    fn long_head(&self) -> Refusal {
        Refusal::new(431, format!("the head of the request is longer than {} bytes", self.limits.head))
    }

    fn begin_body(&mut self, head: Head) -> Result<Option<Arrived>, Refusal> {
        let Head { request, length, awaits_continue } = head;
        match &length {
            Length::Left(0) => return Ok(Some(Arrived::Request(request))),
            Length::Left(left) if *left > self.limits.body => return Err(self.long_body()),
            Length::Left(_) | Length::Chunked(_) => {}
        }
        self.state = State::Body { request, length };
        let sends_anyway = self.taken < self.bytes.len();
        if awaits_continue && !sends_anyway { Ok(Some(Arrived::Continue)) } else { self.next_body() }
    }

    fn next_body(&mut self) -> Result<Option<Arrived>, Refusal> {
        let State::Body { request, length } = &mut self.state else { return Ok(None) };
        let mut bytes = &self.bytes[self.taken..];
        let over = match length {
            Length::Left(left) => {
                let (piece, rest) = bytes.split_at(bytes.len().min(*left));
                request.body.extend_from_slice(piece);
                *left -= piece.len();
                bytes = rest;
                *left == 0
            }
            Length::Chunked(chunks) => {
                let malformed =
                    |_| Refusal::new(400, "the body is not in chunks, though Transfer-Encoding says so");
                while let Some(piece) = chunks.next(&mut bytes).map_err(malformed)? {
                    if request.body.len() + piece.len() > self.limits.body {
                        return Err(self.long_body());
                    }
                    request.body.extend_from_slice(piece);
                }
                chunks.is_over()
            }
        };
        self.taken = self.bytes.len() - bytes.len();
        self.searched = self.taken;
        if !over {
            return Ok(None);
        }
        match mem::replace(&mut self.state, State::Head) {
            State::Body { request, .. } => Ok(Some(Arrived::Request(request))),
            State::Head | State::Refused => Ok(None),
        }
    }

    fn long_body(&self) -> Refusal {
        Refusal::new(413, format!("the body is longer than {} bytes", self.limits.body))
    }
}

/// All that a head says.
struct Head {
    /// Without its body.
    request: Request,
    length: Length,
    awaits_continue: bool,
}

/// The head that `bytes` begin with, and its length; `None` where it has no end yet.
fn read_head(bytes: &[u8]) -> Result<Option<(usize, Head)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(end)) => Ok(Some((end, head(&parsed)?))),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            Err(Refusal::new(431, format!("the request has more than {MOST_HEADERS} headers")))
        }
        Err(httparse::Error::Version) => Err(Refusal::new(505, "HTTP/1.1 is spoken here, and HTTP/1.0")),
        Err(error) => Err(Refusal::new(400, format!("this is not HTTP: {error}"))),
    }
}

fn head(parsed: &httparse::Request<'_, '_>) -> Result<Head, Refusal> {
    let modern = parsed.version == Some(1);
    let headers = Headers(parsed.headers);
    let hosts = headers.all("Host").count();
    if hosts > 1 || (modern && hosts == 0) {
        return Err(Refusal::new(400, "an HTTP/1.1 request has one Host header; localhost will do"));
    }
    let length = length(&headers, modern)?;
    let awaits_continue = match headers.all("Expect").next() {
        Some(expected) if expected.eq_ignore_ascii_case(b"100-continue") => modern,
        Some(_) => return Err(Refusal::new(417, "nothing but 100-continue can be expected")),
        None => false,
    };
    let says = |word: &str| headers.all("Connection").any(|value| has_word(value, word));
    let keep = if modern { !says("close") } else { says("keep-alive") && !says("close") };
    let method = parsed.method.unwrap_or_default().to_string();
    let form = Form { keep, chunks: modern, head_only: method == "HEAD" };
    let path = path(parsed.path.unwrap_or_default()).to_string();
    Ok(Head { request: Request { method, path, body: Vec::new(), form }, length, awaits_continue })
}

fn length(headers: &Headers<'_>, modern: bool) -> Result<Length, Refusal> {
    let ambiguous = |what: &str| Refusal::new(400, format!("where the body ends is not certain: {what}"));
    let mut codings = headers.all("Transfer-Encoding");
    let mut lengths = headers.all("Content-Length");
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Length::Left(0)),
        (Some(_), Some(_)) => Err(ambiguous("it has Transfer-Encoding and Content-Length")),
        (Some(_), None) if !modern => Err(ambiguous("it has Transfer-Encoding in HTTP/1.0")),
        (Some(coding), None) if codings.next().is_none() && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Length::Chunked(Chunks::new()))
        }
        (Some(_), None) => Err(Refusal::new(501, "no Transfer-Encoding but chunked is known")),
        (None, Some(_)) if lengths.next().is_some() => Err(ambiguous("it has Content-Length twice")),
        (None, Some(digits)) => {
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(ambiguous("its Content-Length is not a number"));
            }
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            // More than there are numbers is more than any limit.
            Ok(Length::Left(number.unwrap_or(usize::MAX)))
        }
    }
}

/// Of the target, the part between the host, which a proxy writes before it, and the query.
fn path(target: &str) -> &str {
    let behind_host =
        target.strip_prefix("http://").map(|rest| rest.find('/').map_or("/", |slash| &rest[slash..]));
    let path = behind_host.unwrap_or(target);
    path.split(['?', '#']).next().unwrap_or(path)
}

struct Headers<'p>(&'p [httparse::Header<'p>]);

impl<'p> Headers<'p> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'p [u8]> {
        self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }
}

fn has_word(list: &[u8], word: &str) -> bool {
    list.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests;
