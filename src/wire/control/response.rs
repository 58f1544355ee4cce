//! What the server writes: a response of JSON, or a stream of events.
//!
//! ```text
//!   response(form, status, json)                             a head, and JSON with a newline behind it
//!   stream_head(form), line(form, json) …, stream_end(form)  GET /events: one line of JSON an event
//! ```
//!
//! What it does not do: know what an answer means, or whether somebody reads it.

use super::http::{Form, Refusal};
use super::json;
use super::message::{Answer, Outcome};

/// `form` as the request had it, or [`CLOSING`](super::http::CLOSING).
pub(crate) fn response(form: Form, status: u16, json: &[u8]) -> Vec<u8> {
    with_body(form, status, None, json)
}

/// A refusal is an answer like others; its exit code says that the question was wrong.
pub(crate) fn refusal(form: Form, refusal: &Refusal) -> Vec<u8> {
    let answer = Answer {
        outcome: Outcome::Refused,
        exit_code: WRONG_USAGE,
        message: refusal.message.clone(),
        generation: None,
        stderr: Vec::new(),
    };
    with_body(form, refusal.status, refusal.allow, &json::write(&answer))
}

/// What a command exits with that was used wrongly.
const WRONG_USAGE: u8 = 2;

pub(crate) fn answer(form: Form, answer: &Answer) -> Vec<u8> {
    let status = match answer.outcome {
        Outcome::Done => 200,
        Outcome::Refused => 409,
        Outcome::Failed | Outcome::Aborted | Outcome::TimedOut => 422,
    };
    response(form, status, &json::write(answer))
}

/// `GET /livez`, `GET /readyz`: 200 where it is so, else 503.
pub(crate) fn health(form: Form, name: &str, is_so: bool) -> Vec<u8> {
    let status = if is_so { 200 } else { 503 };
    response(form, status, &json::write(&serde_json::json!({ name: is_so })))
}

/// Please send the body.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

fn with_body(form: Form, status: u16, allow: Option<&str>, json: &[u8]) -> Vec<u8> {
    let mut bytes = head(form, status, "application/json");
    if let Some(methods) = allow {
        bytes += &format!("Allow: {methods}\r\n");
    }
    bytes += &format!("Content-Length: {}\r\n\r\n", json.len() + 1);
    let mut bytes = bytes.into_bytes();
    if !form.head_only {
        bytes.extend_from_slice(json);
        bytes.push(b'\n');
    }
    bytes
}

/// Lines may follow, but where the request was a HEAD.
pub(crate) fn stream_head(form: Form) -> Vec<u8> {
    let mut bytes = head(form, 200, "application/x-ndjson");
    if form.chunks {
        bytes += "Transfer-Encoding: chunked\r\n";
    }
    bytes += "\r\n";
    bytes.into_bytes()
}

/// One event, which gets its newline here.
pub(crate) fn line(form: Form, json: &[u8]) -> Vec<u8> {
    let mut bytes = if form.chunks { format!("{:x}\r\n", json.len() + 1).into_bytes() } else { Vec::new() };
    bytes.extend_from_slice(json);
    bytes.push(b'\n');
    if form.chunks {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Behind the last event; where there are no chunks the connection's end has to do.
pub(crate) fn stream_end(form: Form) -> &'static [u8] {
    if form.chunks { b"0\r\n\r\n" } else { b"" }
}

fn head(form: Form, status: u16, content: &str) -> String {
    let reason = reason(status);
    let connection = match form {
        Form { keep: false, .. } => "Connection: close\r\n",
        // One that speaks HTTP/1.0 does not expect it.
        Form { keep: true, chunks: false, .. } => "Connection: keep-alive\r\n",
        Form { keep: true, chunks: true, .. } => "",
    };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content}\r\nCache-Control: no-store\r\n{connection}"
    )
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}
