//! Lines that are no lines: far too long, without an end, empty, and of whatever bytes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::daemon::{Daemon, Home};
use crate::harness::{proc, require, wait_until};

const GOES_ON: &str = " …[goes on]";

/// Writes what the Python expression `$1` is, as bytes; then makes the file `done`.
const WRITES: &str = r#"
import os, signal, sys
os.write(3, b"online\n")
text = eval(sys.argv[1])
while text:
    text = text[os.write(1, text):]
open("done", "w").close()
signal.pause()
"#;

/// What stdout.log has then.
fn written(format: &str, expression: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let python = require::python()?;
    let home = Home::new().file("writes.py", WRITES);
    let options = ["-n1", "--log-format", format, "--max-log-size=0", &python, "writes.py", expression];
    let daemon = home.online(&options);
    wait_until("all is written", || home.at("done").exists());
    assert_bounded(&daemon);
    daemon.stop();
    let notices = home.text("srvwrap.log");
    assert!(notices.contains("stopped") && !notices.contains("not every line"), "{notices}");
    let written = std::process::Command::new(&python)
        .args(["-c", "import sys; sys.stdout.buffer.write(eval(sys.argv[1]))", expression])
        .output()
        .unwrap();
    Some((written.stdout, fs::read(home.at("stdout.log")).unwrap()))
}

fn assert_bounded(daemon: &Daemon) {
    for pid in [daemon.pid, proc::log_writer(daemon.pid).expect("a daemon has one")] {
        let peak: u64 = proc::status(pid, "VmHWM").trim_end_matches(" kB").parse().unwrap();
        assert!(peak < 30_000, "{peak} kB");
    }
}

const EXPRESSIONS: [&str; 7] = [
    "b'x' * 10_000_000 + b'\\nshort\\n'",
    "b'no newline ever ' * 500_000",
    "b'\\n' * 200_000",
    "b'a\\0b\\0\\n' * 20_000 + b'\\0' * 200_000 + b'\\n'",
    "b'\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07\\r\\n' * 20_000",
    "bytes(range(256)) * 2_000 + b'\\n'",
    "'é€😀'.encode() * 50_000 + b'\\n' + b'\\xf0\\x9f\\n\\xe2\\x82' * 2_000 + b'\\n'",
];

/// With the marks of pieces taken out, that is where the text was cut, it is the text; and no piece is long.
#[test]
fn plain_lines_of_whatever_bytes_are_as_they_were_but_for_marks_where_they_are_cut() {
    for expression in EXPRESSIONS {
        let Some((text, found)) = written("plain", expression) else { return };
        let mark = format!("{GOES_ON}\n");
        let cuts = count(&found, mark.as_bytes());
        let joined = replace(&found, mark.as_bytes(), b"");
        let ended = [text.as_slice(), if text.ends_with(b"\n") { b"" } else { b"\n" }].concat();
        assert!(joined == ended, "{expression}: {} bytes are {}", ended.len(), joined.len());
        let longest = text.split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap_or(0);
        assert_eq!(cuts > 0, longest > 128 * 1024, "{expression}: {cuts} cuts, {longest} bytes");
    }
}

fn count(text: &[u8], words: &[u8]) -> usize {
    text.windows(words.len()).filter(|window| *window == words).count()
}

fn replace(text: &[u8], words: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        if rest.starts_with(words) {
            out.extend_from_slice(by);
            rest = &rest[words.len()..];
        } else {
            out.push(rest[0]);
            rest = &rest[1..];
        }
    }
    out
}

/// In every line of the text, pieces that go on are one.
#[test]
fn json_lines_of_whatever_bytes_are_valid_and_have_all_of_the_text() {
    for expression in EXPRESSIONS {
        let Some((text, found)) = written("json", expression) else { return };
        let mut lines: Vec<String> = Vec::new();
        let mut goes_on = false;
        for line in std::str::from_utf8(&found).expect("JSON is UTF-8").lines() {
            assert!(line.len() <= 16 * 1024, "{expression}: {} bytes", line.len());
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:.200}"));
            let message = line["msg"].as_str().expect("text");
            match lines.last_mut().filter(|_| goes_on) {
                Some(last) => last.push_str(message),
                None => lines.push(message.to_string()),
            }
            goes_on = line["partial"] == true;
        }
        let expected = expected_lines(&text);
        assert_eq!(lines.len(), expected.len(), "{expression}");
        for (line, expected) in lines.iter().zip(&expected) {
            assert!(line == expected, "{expression}: {:.80?} is {:.80?}", expected, line);
        }
    }
}

/// As people see them: without the CR of a CR LF, and what is no UTF-8 replaced.
fn expected_lines(text: &[u8]) -> Vec<String> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

#[test]
fn every_line_behind_a_prefix_has_one_and_says_where_it_goes_on() {
    for expression in EXPRESSIONS {
        let Some((text, found)) = written("prefix", expression) else { return };
        let name = Path::new(&require::python().unwrap()).file_name().unwrap().to_string_lossy().into_owned();
        let opening = format!("Z {name}.0 | ");
        let mark = GOES_ON.as_bytes();
        let mut joined = Vec::new();
        for line in found.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n') {
            assert!(line.len() < 16 * 1024, "{expression}: {} bytes", line.len());
            let stamp = "2026-11-20T10:00:00.123".len();
            assert!(line[stamp..].starts_with(opening.as_bytes()), "{:.80}", String::from_utf8_lossy(line));
            let rest = &line[stamp + opening.len()..];
            joined.extend_from_slice(rest.strip_suffix(mark).unwrap_or(rest));
            if !rest.ends_with(mark) {
                joined.push(b'\n');
            }
        }
        let ended = [text.as_slice(), if text.ends_with(b"\n") { b"" } else { b"\n" }].concat();
        assert!(
            joined == replace(&ended, b"\r\n", b"\n"),
            "{expression}: {} bytes, {}",
            ended.len(),
            joined.len()
        );
    }
}
