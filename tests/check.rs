//! `srvwrap check`: programs that keep the worker protocol, and programs that break one rule each.
//!
//! Each bad one is the good one with a line changed, so that what is found is due to that line.

mod beginning;
mod by_itself;
mod examples;
mod finishing;
mod report;
mod sharing;

use serde_json::Value;

use crate::harness::examples::python_itself;
use crate::harness::{command, write_file};

/// Keeps every rule, with a thread for each connection.
const GOOD: &str = r#"
import os, select, signal, socket, subprocess, sys, threading, time
notice, listener = (socket.socket(fileno=int(os.environ[name])) for name in ("NOTIFY_FD", "LISTEN_FD"))
notice.set_inheritable(False)
listener.set_inheritable(False)
listener.setblocking(False)
told, tell = socket.socketpair()
until = None

def finish(*_):
    global until
    if until is None:
        until = time.monotonic() + 0.5
        tell.close()

def wait(*sockets, limit=None):
    return select.select(sockets, [], [], limit)[0]

def left():
    return max(0, until - time.monotonic())

def serve(connection):
    try:
        while connection in wait(connection, told) or connection in wait(connection, limit=left()):
            if not connection.recv(4096):
                break
            last = until is not None
            close = b"Connection: close\r\n" if last else b""
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + close + b"\r\nok")
            if last:
                break
    except OSError:
        pass
    connection.close()

signal.signal(signal.SIGTERM, finish)
notice.send(b"online\n")
while told not in (ready := wait(listener, notice, told)):
    if notice in ready:
        notice.recv(100)
        finish()
    elif listener in ready:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        threading.Thread(target=serve, args=[connection]).start()
listener.close()
"#;

/// The report on a program, and the exit code.
struct Checked {
    code: i32,
    report: Value,
}

/// None where Python is not here, which has been said.
fn checked(program: &str, options: &[&str]) -> Option<Checked> {
    let python = python_itself()?;
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    write_file(directory.path(), "server.py", program);
    let python = python.to_str().expect("its path is a text");
    let fixed = ["check", "--json", "-p", "127.0.0.1:0"];
    let arguments = [&fixed, options, &["--", python, "server.py"]].concat();
    Some(report(&command::told(directory.path(), &arguments)))
}

fn report(told: &command::Told) -> Checked {
    assert!(told.stderr.is_empty() && told.stdout.len() == 1, "pure JSON: {told:?}");
    Checked { code: told.code, report: serde_json::from_str(&told.stdout[0]).expect("one object") }
}

impl Checked {
    fn point(&self, name: &str) -> &Value {
        let points = self.report["points"].as_array().expect("there are points");
        points.iter().find(|point| point["point"] == name).unwrap_or_else(|| panic!("no point {name}"))
    }

    fn seen(&self, name: &str) -> &str {
        self.point(name)["seen"].as_str().expect("a text")
    }

    /// Every point with something to change, as in `drain: advice`.
    fn faults(&self) -> Vec<String> {
        let points = self.report["points"].as_array().expect("there are points");
        let bad = points.iter().filter(|point| point["verdict"] == "advice" || point["verdict"] == "fail");
        bad.map(|point| {
            assert!(!point["change"].as_str().expect("what to change").is_empty());
            format!("{}: {}", point["point"].as_str().unwrap(), point["verdict"].as_str().unwrap())
        })
        .collect()
    }

    fn not_tried(&self) -> Vec<&str> {
        let points = self.report["points"].as_array().expect("there are points");
        let not_tried = points.iter().filter(|point| point["verdict"] == "not tried");
        not_tried.map(|point| point["point"].as_str().unwrap()).collect()
    }
}

/// The good program with this line changed has these faults, and no others. Then, what was seen.
fn with(good: &str, bad: &str, options: &[&str], faults: &[&str]) -> Option<Checked> {
    assert_eq!(GOOD.matches(good).count(), 1, "{good}");
    let checked = checked(&GOOD.replace(good, bad), options)?;
    assert_eq!(checked.faults(), faults, "{:#}", checked.report);
    let failed = faults.iter().any(|fault| fault.ends_with("fail"));
    assert_eq!((checked.code, failed), (i32::from(failed), failed), "{:#}", checked.report);
    Some(checked)
}

#[test]
fn a_program_that_keeps_every_rule_has_no_fault() {
    let Some(checked) = checked(GOOD, &[]) else { return };
    assert_eq!((checked.faults(), checked.not_tried()), (Vec::new(), Vec::new()), "{:#}", checked.report);
    assert_eq!((checked.code, &checked.report["verdict"]), (0, &Value::from("ok")));
    assert_eq!(checked.point("online")["rules"], serde_json::json!(["W8"]));
    assert_eq!(checked.report["program"][1], "server.py");
}
