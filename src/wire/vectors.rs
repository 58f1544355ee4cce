//! Plays the vectors of `protocol/vectors`: what a worker writes on its notice descriptor, whole and byte by byte, and
//! what it sends in datagrams.
//!
//! That every rule about bytes has one is counted in `tests/sessions.rs`.

use std::time::Duration;

use serde_json::Value;

use super::sd_notify;
use super::worker::tests::read;
use super::worker::{Readiness, Said};

const LINES: &str = include_str!("../../protocol/vectors/worker.json");
const DATAGRAMS: &str = include_str!("../../protocol/vectors/datagrams.json");

#[test]
fn every_vector_of_lines_holds_in_one_read_and_byte_by_byte() {
    for vector in vectors(LINES) {
        let written = joined(&vector["bytes"]);
        let expected = messages(&vector);
        let overlong = vector.get("overlong").map_or(0, |count| count.as_u64().unwrap());
        let unknown = expected.iter().filter(|said| **said == Said::Unknown).count() as u64;
        for size in [written.len().max(1), 1] {
            let (said, reader) = read(written.chunks(size));
            let about = format!("{}: {}, in reads of {size}", vector["rule"], vector["note"]);
            assert_eq!(said, expected, "{about}");
            assert_eq!((reader.overlong(), reader.unknown()), (overlong, unknown), "{about}");
        }
    }
}

#[test]
fn every_vector_of_datagrams_holds() {
    for vector in vectors(DATAGRAMS) {
        let datagram = joined(&vector["bytes"]);
        let about = format!("{}: {}", vector["rule"], vector["note"]);
        assert_eq!(sd_notify::read(&datagram).collect::<Vec<Said>>(), messages(&vector), "{about}");
        let ignored = vector.get("ignored").is_some_and(|ignored| ignored.as_bool().unwrap());
        assert_eq!(sd_notify::unfit(&datagram).is_some(), ignored, "{about}");
    }
}

fn vectors(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

fn joined(pieces: &Value) -> Vec<u8> {
    pieces.as_array().unwrap().iter().flat_map(piece_bytes).collect()
}

fn piece_bytes(piece: &Value) -> Vec<u8> {
    if let Some(text) = piece.as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(hex) = piece.get("hex") {
        let digits = hex.as_str().unwrap().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        return digits.chunks(2).map(byte).collect();
    }
    piece["repeat"].as_str().unwrap().repeat(piece["times"].as_u64().unwrap() as usize).into_bytes()
}

fn messages(vector: &Value) -> Vec<Said> {
    vector["said"].as_array().unwrap().iter().map(message).collect()
}

fn message(said: &Value) -> Said {
    let text = |member: &str| said[member].as_str().unwrap().to_owned();
    match said["is"].as_str().unwrap() {
        "online" => Said::Online(readiness(&text("form"))),
        "offline" => Said::Offline { why: text("why") },
        "status" => Said::Status(text("text")),
        "ping" => Said::Ping,
        "extend" => Said::Extend(Duration::from_micros(said["usec"].as_u64().unwrap())),
        "unknown" => Said::Unknown,
        other => panic!("no such message: {other}"),
    }
}

fn readiness(form: &str) -> Readiness {
    match form {
        "plain" => Readiness::Plain,
        "json online" => Readiness::JsonOnline,
        "json ready" => Readiness::JsonReady,
        other => panic!("no such form: {other}"),
    }
}
