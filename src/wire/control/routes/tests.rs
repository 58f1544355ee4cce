//! Which requests find something, and what the others are told.

use super::*;

use crate::wire::control::http::{Arrived, CONTROL, Reader};
use crate::wire::control::message::{Deploy, Scale, Signal, Stop};
use crate::wire::control::{client, response};

fn asked(door: Door, bytes: &[u8]) -> Result<Question, Refusal> {
    let mut reader = Reader::new(CONTROL);
    reader.feed(bytes);
    match reader.next() {
        Some(Arrived::Request(request)) => question(door, &request),
        other => panic!("{other:?}"),
    }
}

fn get(door: Door, method: &str, path: &str) -> Result<Question, Refusal> {
    asked(door, format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
}

#[test]
fn what_the_client_asks_is_what_the_server_understands() {
    for asking in [
        Question::Status,
        Question::Events,
        Question::History,
        Question::Livez,
        Question::Readyz,
        Question::Order(Order::Deploy(Deploy { workers: Some(3), ..Deploy::default() })),
        Question::Order(Order::Rollback(Deploy::default())),
        Question::Order(Order::Abort),
        Question::Order(Order::Scale(Scale::By(-1))),
        Question::Order(Order::Stop(Stop { timeout: None, now: true })),
        Question::Order(Order::Signal(Signal { signal: "USR2".to_string(), slot: None })),
        Question::Order(Order::Reopen),
    ] {
        assert_eq!(asked(Door::Control, &client::request(&asking)), Ok(asking));
    }
}

#[test]
fn an_unknown_path_is_told_the_known_ones() {
    let refusal = get(Door::Control, "GET", "/stats").expect_err("there is no such path");
    assert_eq!(refusal.status, 404);
    assert!(refusal.message.contains("/status, /events"), "{}", refusal.message);
    for path in ["/", "*", "/status/", "/STATUS", "//status", "/%73tatus", "/../status", "status"] {
        assert_eq!(get(Door::Control, "GET", path).expect_err(path).status, 404, "{path}");
    }
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    for (method, path, allow, message) in [
        ("POST", "/status", "GET, HEAD", "/status takes GET or HEAD"),
        ("GET", "/deploy", "POST", "/deploy takes POST"),
        ("HEAD", "/stop", "POST", "/stop takes POST"),
        ("BREW", "/readyz", "GET, HEAD", "/readyz takes GET or HEAD"),
    ] {
        let refusal = get(Door::Control, method, path).expect_err(path);
        assert_eq!((refusal.status, refusal.allow, refusal.message.as_str()), (405, Some(allow), message));
        let written = response::refusal(crate::wire::control::http::CLOSING, &refusal);
        let written = String::from_utf8(written).expect("it is text");
        assert!(written.contains(&format!("\r\nAllow: {allow}\r\n")), "{written}");
    }
    assert_eq!(get(Door::Control, "HEAD", "/status"), Ok(Question::Status));
}

#[test]
fn the_health_door_leads_to_health_alone() {
    assert_eq!(get(Door::Health, "GET", "/livez"), Ok(Question::Livez));
    assert_eq!(get(Door::Health, "HEAD", "/readyz"), Ok(Question::Readyz));
    for route in ROUTES.iter().filter(|route| ![LIVEZ, READYZ].contains(&route.path)) {
        for method in ["GET", "POST"] {
            assert_eq!(get(Door::Health, method, route.path).expect_err(route.path).status, 404);
        }
    }
}

#[test]
fn a_wrong_body_is_a_bad_request() {
    let bytes = b"POST /scale HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{\"two\":2}";
    assert_eq!(asked(Door::Control, bytes).expect_err("it is wrong").status, 400);
}
