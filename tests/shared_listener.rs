//! What workers do to the listener that they share, by its backlog and by shutdown(2), and that the others serve on.

use std::fs;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::http::{Clients, Target, Trouble, at, get};
use crate::harness::{Srvwrap, is_alive, require, srvwrap, wait_until};

/// Answers everything, ends at the `"shutdown"` line, and on request does what a test wants to see undone.
const SERVER: &str = r#"
import os, select, signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.socket(fileno=int(os.environ['LISTEN_FD']))
listener.setblocking(False)

def shut(how):
    try:
        listener.shutdown(how)
    except OSError:
        pass

def storm():
    while time.process_time() < 1:
        shut(socket.SHUT_RDWR)

def answer(connection):
    request = connection.recv(65536).decode()
    if '/shut-read' in request:
        shut(socket.SHUT_RD)
    elif '/shut' in request:
        shut(socket.SHUT_RDWR)
    elif '/storm' in request:
        storm()
    body = str(os.getpid()).encode()
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(body) + body)

STARTUP
os.write(3, b'online\n')
while True:
    ready = select.select([3, listener], [], [])[0]
    if 3 in ready:
        sys.exit()
    try:
        connection = listener.accept()[0]
    except OSError:
        time.sleep(0.001)
        continue
    with connection:
        answer(connection)
"#;

/// The server above; `startup` is what it does before it says online.
fn server(startup: &str) -> String {
    SERVER.replace("STARTUP", startup)
}

fn target(srvwrap: &mut Srvwrap) -> Target {
    Target::Port(srvwrap.port())
}

fn is_answered(target: &Target, times: usize) {
    for _ in 0..times {
        get(target, "/").expect("an answer");
    }
}

fn expected_backlog() -> String {
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux has it");
    limit.trim().parse::<u32>().expect("a number").min(4096).to_string()
}

/// Of a socket that listens, as the kernel has it now.
fn backlog(port: u16) -> String {
    let output =
        Command::new("ss").args(["-Hltn", &format!("sport = :{port}")]).output().expect("it is there");
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    line.split_whitespace().nth(2).unwrap_or_else(|| panic!("nobody listens: {line:?}")).to_string()
}

/// Python's socketserver listens with 5, node with 511, and that holds for all who share the socket.
#[test]
fn the_backlog_is_4096_whatever_a_worker_has_made_of_it() {
    let Some(python) = require::python() else { return };
    if !require::program("ss") || !require::program("node") {
        return;
    }
    let node = "require('net').createServer().listen({fd: 4}, () => process.send('online'))";
    let own = server(
        "listener.listen(5)\nprint('now', socket.socket(fileno=os.dup(4)).getsockopt(6, 11, 104)[28], flush=True)",
    );
    for program in [[&python, "-c", &own], ["node", "-e", node]] {
        let options = ["-n", "2", "--stop-signal", "TERM", "--stop-timeout", "1s", "-p", "127.0.0.1:0"];
        let mut srvwrap = srvwrap(options.into_iter().chain(program)).start();
        let port = srvwrap.port();
        assert_eq!(backlog(port), expected_backlog());
        srvwrap.wait_for("workers online");
        wait_until("the backlog is as it was", || backlog(port) == expected_backlog());
        assert!(program[0] == "node" || srvwrap.has_said("now 5"), "{}", srvwrap.log());
        srvwrap.signal(Signal::SIGKILL);
    }
}

const WEBRICK: &str = r#"
require 'webrick'
listener = TCPServer.for_fd(Integer(ENV['LISTEN_FD']))
notices = IO.for_fd(Integer(ENV['NOTIFY_FD']))
server = WEBrick::HTTPServer.new(
  DoNotListen: true, Logger: WEBrick::Log.new(File::NULL), AccessLog: [],
  StartCallback: -> { notices.syswrite("online\n") })
server.listeners << listener
server.mount_proc('/') { |_, answer| answer.body = Process.pid.to_s }
trap('TERM') { server.shutdown }
server.start
"#;

/// WEBrick shuts its listener down whenever it stops, and with it everybody's. Two that stop at once do that twice,
/// which leaves a listener whose connections are dead when they are accepted.
#[test]
fn webrick_is_deployed_and_stopped_and_the_others_serve_on_and_it_is_named() {
    if !require::webrick() {
        return;
    }
    let mut srvwrap =
        srvwrap(["-n", "2", "-p", "127.0.0.1:0", "ruby", "webrick.rb"]).file("webrick.rb", WEBRICK).online();
    let target = target(&mut srvwrap);
    let clients = Clients::start(&target, 2);
    for _ in 0..3 {
        let old: Vec<i32> = srvwrap.worker_pids().into_values().collect();
        srvwrap.signal(Signal::SIGHUP);
        let line = srvwrap.wait_for("was shut down by worker ");
        assert!(old.iter().any(|pid| line.contains(&format!("(pid {pid})"))), "{line}");
        assert!(line.ends_with("; listening again"), "{line}");
        srvwrap.wait_for(" done after");
        is_answered(&target, 20);
    }
    // One of them is told to stop by somebody else.
    let alone = srvwrap.worker_pids()[&0];
    kill(Pid::from_raw(alone), Signal::SIGTERM).unwrap();
    srvwrap.wait_for(&format!("was shut down, it seems by worker 0 (pid {alone}), which ended"));
    is_answered(&target, 20);
    let (answered, troubles) = clients.end();
    assert!(answered > 0);
    // What waited in the queue was reset by the worker, and who came in the moment after it was refused.
    assert!(
        troubles.iter().all(|trouble| matches!(trouble, Trouble::Refused | Trouble::Reset)),
        "{troubles:?}"
    );
    srvwrap.stop();
}

/// A worker that goes on after it has shut the listener down: it is healed, for it and for the other.
#[test]
fn a_listener_that_a_serving_worker_shuts_down_is_healed_at_once() {
    let Some(python) = require::python() else { return };
    for (count, suspect) in [("1", "by worker 0 (pid "), ("2", "by one of the workers")] {
        let server = server("");
        let mut srvwrap = srvwrap(["-n", count, "-p", "127.0.0.1:0", &python, "-c", &server]).online();
        let target = target(&mut srvwrap);
        let before = srvwrap.worker_pids();
        for how in ["/shut", "/shut-read"] {
            get(&target, how).unwrap();
            wait_until("it is healed", || get(&target, "/").is_ok());
            is_answered(&target, 10);
        }
        let line = srvwrap.wait_for("was shut down ");
        assert!(line.contains(suspect), "{line}");
        assert_eq!(srvwrap.worker_pids(), before);
        srvwrap.stop();
    }
}

/// The processor time that a process has used, in hundredths of a second.
fn used(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("one part at least").split(' ').collect();
    [11, 12].iter().map(|&field: &usize| fields[field].parse::<u64>().expect("a number")).sum()
}

/// A worker that shuts the listener down in a loop keeps one processor busy, its own.
#[test]
fn a_worker_that_shuts_the_listener_down_again_and_again_keeps_nobody_busy() {
    let Some(python) = require::python() else { return };
    let server = server("");
    let mut srvwrap = srvwrap(["-n", "2", "-p", "127.0.0.1:0", &python, "-c", &server]).online();
    let target = target(&mut srvwrap);
    let (before, began) = (used(srvwrap.pid()), Instant::now());
    get(&target, "/storm").unwrap();
    let (spent, limit) = (used(srvwrap.pid()) - before, 10 + 3 * began.elapsed().as_secs());
    assert!(spent < limit, "{spent} hundredths of a second in {:?}", began.elapsed());
    wait_until("it is healed", || get(&target, "/").is_ok());
    is_answered(&target, 10);
    let told = srvwrap.log().lines().filter(|line| line.contains("was shut down")).count();
    assert!((1..=3).contains(&told), "{}", srvwrap.log());
    srvwrap.stop();
}

/// A unix listener cannot be healed: workers with the dead one are useless.
#[test]
fn a_unix_listener_that_is_shut_down_is_bound_anew_and_the_workers_are_replaced() {
    let Some(python) = require::python() else { return };
    for how in ["/shut", "/shut-read"] {
        let server = server("");
        let mut srvwrap = srvwrap(["-n", "2", "-p", "unix:app.sock", &python, "-c", &server]).online();
        let path = srvwrap.directory.path().join("app.sock");
        let old = srvwrap.worker_pids();
        get(&at(&path), how).unwrap();
        let line = srvwrap.wait_for("was shut down");
        assert!(line.ends_with("; bound it anew, and replacing the workers"), "{line}");
        srvwrap.wait_for_times(" online after ", 2);
        is_answered(&at(&path), 10);
        wait_until("the old ones end", || old.values().all(|pid| !is_alive(*pid)));
        is_answered(&at(&path), 10);
        assert!(srvwrap.worker_pids().values().all(|pid| !old.values().any(|other| other == pid)));
        srvwrap.signal(Signal::SIGTERM);
        assert_eq!(srvwrap.exit_code(), 0);
        assert!(!path.exists());
    }
}

/// Its new workers would come online with a socket that nobody can reach.
#[test]
fn a_unix_listener_that_is_shut_down_during_a_deploy_fails_it() {
    let Some(python) = require::python() else { return };
    let second = "if os.environ['SRVWRAP_GENERATION'] == '2':
    shut(socket.SHUT_RDWR)
    time.sleep(1000)";
    let server = server(second);
    let mut srvwrap = srvwrap(["-n", "2", "-p", "unix:app.sock", &python, "-c", &server]).online();
    let path = srvwrap.directory.path().join("app.sock");
    srvwrap.signal(Signal::SIGHUP);
    let line = srvwrap.wait_for("deploy 2 failed: ");
    assert!(line.contains("app.sock was shut down under its workers; generation 1 keeps serving"), "{line}");
    srvwrap.wait_for_times(" online after ", 2);
    is_answered(&at(&path), 10);
    // The next one finds nothing wrong.
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 3 done after");
    is_answered(&at(&path), 10);
    srvwrap.stop();
}

#[test]
fn a_listener_that_is_shut_down_at_boot_is_healed_or_ends_it() {
    let Some(python) = require::python() else { return };
    let server = server("shut(socket.SHUT_RDWR)");
    let mut tcp = srvwrap(["-n", "2", "-p", "127.0.0.1:0", &python, "-c", &server]).online();
    is_answered(&target(&mut tcp), 10);
    assert!(tcp.has_said("; listening again"));
    tcp.stop();

    let mut unix = srvwrap(["-n", "2", "-p", "unix:app.sock", &python, "-c", &server]).start();
    assert_eq!(unix.exit_code(), 1);
    assert!(unix.has_said("app.sock was shut down under its workers"), "{}", unix.log());
    assert!(!unix.directory.path().join("app.sock").exists());
}

/// Looking after a listener costs nothing while all is well: a connection is the workers' affair.
#[test]
fn connections_do_not_wake_srvwrap() {
    let Some(python) = require::python() else { return };
    let server = server("");
    for address in ["127.0.0.1:0", "unix:app.sock"] {
        let mut srvwrap = srvwrap(["-p", address, &python, "-c", &server]).online();
        let target = match address {
            "unix:app.sock" => at(&srvwrap.directory.path().join("app.sock")),
            _ => target(&mut srvwrap),
        };
        is_answered(&target, 1);
        let before = wake_ups(srvwrap.pid());
        is_answered(&target, 500);
        let wake_ups = wake_ups(srvwrap.pid()) - before;
        assert!(wake_ups < 10, "{wake_ups} for 500 connections to {address}");
        srvwrap.stop();
    }
}

fn wake_ups(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("each has it").trim().parse().expect("a number")
}
