//! srvwrap in a terminal: what Ctrl-C and Ctrl-Z do to it, and what they do not do to its workers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::harness::process::{children_of, only_child, state};
use crate::harness::terminal::{Terminal, in_terminal};
use crate::harness::{BINARY, http, require, wait_until, write_file};

/// Serves one connection after the other, writes each signal that it gets into `told`, and after TERM finishes the
/// connection that it has accepted.
const SERVER: &str = "
import os, select, signal, socket
told = os.open('told', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
stopping = False
def note(number, frame):
    global stopping
    os.write(told, signal.Signals(number).name.encode() + b'\\n')
    stopping |= number == signal.SIGTERM
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT):
    signal.signal(number, note)
wake, waker = socket.socketpair()
waker.setblocking(False)
signal.set_wakeup_fd(waker.fileno())
listener = socket.socket(fileno=int(os.environ['LISTEN_FD']))
os.write(3, b'online\\n')
while not stopping:
    if listener not in select.select([listener, wake], [], [])[0]:
        wake.recv(1)
        continue
    connection, _ = listener.accept()
    open('accepted', 'w').close()
    request = b''
    while b'\\r\\n\\r\\n' not in request:
        request += connection.recv(1000)
    connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\nhello')
    connection.close()
";

fn port(terminal: &mut Terminal) -> u16 {
    terminal.wait_for("listening on ");
    let line = terminal.wait_for("\r");
    let line = line.trim_end();
    line.rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("no port in {line:?}"))
}

fn told(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("told")).unwrap_or_default()
}

/// The terminal sends INT to everybody in its foreground. A worker that got it would end at once and cut off its
/// clients; it is to be told by srvwrap, once, and to finish what it has accepted.
#[test]
fn ctrl_c_is_graceful_and_reaches_a_worker_only_through_srvwrap() {
    if !require::program("python3") {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    write_file(directory.path(), "server.py", SERVER);
    let mut command = Command::new(BINARY);
    command.args(["-p", "127.0.0.1:0", "python3", "server.py"]).current_dir(directory.path());
    command.env("PWD", directory.path()).env_remove("WEB_CONCURRENCY");
    let mut terminal = in_terminal(command);
    let port = port(&mut terminal);
    terminal.wait_for("workers online: 1");

    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("srvwrap listens");
    client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    wait_until("the connection is accepted", || directory.path().join("accepted").exists());
    terminal.press("\x03");
    terminal.wait_for("INT: stopping 1 worker");
    wait_until("the worker is told", || told(directory.path()).contains("SIGTERM"));
    terminal.press("\x03");
    client.write_all(b"Host: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the whole answer");
    assert!(answer.ends_with("hello"), "{answer}");
    assert_eq!(terminal.exit_code(), 0);
    // CONT comes with each stop, for those that were stopped.
    assert_eq!(told(directory.path()).replace("SIGCONT\n", ""), "SIGTERM\n");
    assert!(!terminal.text().contains("kill"), "{}", terminal.text());
}

/// Ctrl-Z stops srvwrap as it does any program, and not the workers, which serve on. `fg` brings it back.
#[test]
fn ctrl_z_pauses_srvwrap_and_not_its_workers() {
    if !require::program("python3") {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    write_file(directory.path(), "server.py", SERVER);
    let line = "set -m; \"$0\" -p 127.0.0.1:0 python3 server.py; read go; fg %1; echo \"code $?\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", line, BINARY]).current_dir(directory.path()).env("PWD", directory.path());
    shell.env_remove("WEB_CONCURRENCY");
    let mut terminal = in_terminal(shell);
    let port = port(&mut terminal);
    terminal.wait_for("workers online: 1");
    let srvwrap = only_child(terminal.pid());
    let worker = only_child(srvwrap);

    terminal.press("\x1a");
    wait_until("srvwrap is stopped", || state(srvwrap) == Some('T'));
    assert_ne!(state(worker), Some('T'));
    let target = http::Target::Port(port);
    assert_eq!(http::get(&target, "/").expect("the worker serves on").body, "hello");
    terminal.press("go\n");
    wait_until("srvwrap runs again", || state(srvwrap) != Some('T'));
    assert_eq!(http::get(&target, "/").expect("it serves").body, "hello");
    assert_eq!((children_of(srvwrap), told(directory.path())), (vec![worker], String::new()));
    terminal.press("\x03");
    terminal.wait_for("stopped\r\n");
    terminal.wait_for("code 0");
    terminal.exit_code();
}

/// One process in the foreground beside srvwrap, as in a script: both get the key, and only srvwrap's way leads to the
/// workers.
#[test]
fn ctrl_c_in_a_script_ends_the_script_and_stops_the_workers() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let worker = "trap 'echo INT >>told' INT; trap 'echo TERM >>told; exit' TERM; echo online >&3; \
                  while :; do sleep 0.02; done";
    write_file(directory.path(), "worker", &format!("#!/bin/sh\n{worker}\n"));
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" -n 2 ./worker; echo \"code $?\"", BINARY]);
    shell.current_dir(directory.path()).env("PWD", directory.path()).env_remove("WEB_CONCURRENCY");
    let mut terminal = in_terminal(shell);
    terminal.wait_for("workers online: 2");
    terminal.press("\x03");
    terminal.wait_for("stopped");
    terminal.exit_code();
    let file = std::fs::File::open(directory.path().join("told")).expect("the workers wrote it");
    let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
    assert_eq!(lines, ["TERM", "TERM"]);
}
