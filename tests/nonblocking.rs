//! O_NONBLOCK belongs to the socket, so one worker sets or clears it for all: programs of both kinds follow each other.
//!
//! The program is `app` in the directory `current`, a link to one release or another, as deploys of files are done.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::http::{Clients, Target, get};
use crate::harness::{Srvwrap, is_alive, require, srvwrap, wait_until, write_file};

/// Blocks in accept where the listener blocks; waits with poll before it, and takes EAGAIN as "try again". The C
/// library's accept ends when a signal comes, and keeps the connection that came with it; Python's would try again or,
/// where the handler raises, lose it.
const BLOCKING_PYTHON: &str = r#"
import ctypes, os, select, signal, socket, sys
accept = ctypes.CDLL(None).accept
listener = int(os.environ['LISTEN_FD'])
told = []
signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
os.write(3, b'online\n')
while True:
    ready = select.select([3, listener], [], [])[0]
    if 3 in ready or told:
        sys.exit()
    fd = accept(listener, None, None)
    if fd < 0:
        continue
    with socket.socket(fileno=fd) as connection:
        connection.setblocking(True)
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npython')
"#;

/// It ends only after it has answered whatever it has accepted: http's own close cuts what looks idle.
const NODE: &str = r#"
const http = require('http'), net = require('net');
const server = http.createServer((request, answer) => {
  answer.setHeader('Connection', 'close');
  answer.end('node');
});
server.listen({fd: Number(process.env.LISTEN_FD)}, () => process.send('online'));
process.on('message', () => net.Server.prototype.close.call(server, () => process.exit()));
"#;

/// Makes the listener its own, and dies before it can accept anything.
const FAILING_NODE: &str = r#"
require('net').createServer().listen({fd: Number(process.env.LISTEN_FD)});
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
process.exit(1);
"#;

/// Clears the flag, serves nobody, and dies when it is told to.
const CLEARING_PYTHON: &str = r#"
import os, socket, sys, time
listener = socket.socket(fileno=int(os.environ['LISTEN_FD']))
listener.setblocking(True)
while not os.path.exists('../fail'):
    time.sleep(0.01)
sys.exit(1)
"#;

/// Runs `current/app`, two workers of it.
struct Releases {
    srvwrap: Srvwrap,
    target: Target,
    /// A worker that serves.
    worker: i32,
    deploys: u32,
}

fn node_program(text: &str) -> String {
    format!("#!/usr/bin/env node\n{text}")
}

impl Releases {
    fn start(options: &[&str], first: &str) -> Releases {
        let arguments = ["-n", "2", "-p", "127.0.0.1:0"].iter().chain(options).chain(&["./app"]);
        let starting = srvwrap(arguments);
        let current = starting.path().join("current");
        fs::create_dir(starting.path().join("r1")).expect("a new directory");
        symlink("r1", &current).expect("a new link");
        write_file(&current, "app", first);
        let in_current = |command: &mut Command| {
            command.current_dir(&current).env("PWD", &current);
        };
        let mut srvwrap = starting.with(in_current).online();
        let (target, worker) = (Target::Port(srvwrap.port()), srvwrap.worker_pids()[&0]);
        Releases { srvwrap, target, worker, deploys: 1 }
    }

    /// A new directory, to which the link is moved in one step.
    fn deploy(&mut self, program: &str) {
        self.deploys += 1;
        let directory = self.srvwrap.directory.path();
        let release = format!("r{}", self.deploys);
        fs::create_dir(directory.join(&release)).expect("a new directory");
        write_file(&directory.join(&release), "app", program);
        symlink(&release, directory.join("next")).expect("a new link");
        fs::rename(directory.join("next"), directory.join("current")).expect("in one directory");
        self.srvwrap.signal(Signal::SIGHUP);
    }

    fn deploy_well(&mut self, program: &str) {
        self.deploy(program);
        self.srvwrap.wait_for(&format!("deploy {} done after", self.deploys));
        self.worker = self.srvwrap.worker_pids()[&0];
    }

    fn serves(&self, name: &str) {
        for _ in 0..10 {
            assert_eq!(get(&self.target, "/").expect("an answer").body, name);
        }
    }

    /// As a worker sees it that serves now.
    fn is_nonblocking(&self) -> bool {
        let facts = fs::read_to_string(format!("/proc/{}/fdinfo/4", self.worker)).expect("it lives");
        let flags = facts.lines().find_map(|line| line.strip_prefix("flags:")).expect("each has flags");
        i32::from_str_radix(flags.trim(), 8).expect("octal digits") & libc::O_NONBLOCK != 0
    }

    fn stop(self) {
        let log = self.srvwrap.stop();
        assert!(!log.contains("killed"), "{log}");
    }
}

/// Every change of kind, under load: nothing is lost, and nobody sleeps in accept for ever.
#[test]
fn blocking_and_nonblocking_programs_follow_each_other_and_nothing_is_lost() {
    let Some(python) = require::python().filter(|_| require::program("node")) else { return };
    let blocking = format!("#!{python}\n{BLOCKING_PYTHON}");
    let mut releases = Releases::start(&[], &blocking);
    let clients = Clients::start(&releases.target, 4);
    releases.serves("python");
    assert!(!releases.is_nonblocking());

    releases.deploy_well(&node_program(NODE));
    releases.serves("node");
    assert!(releases.is_nonblocking());

    releases.deploy(&node_program(FAILING_NODE));
    releases.srvwrap.wait_for("deploy 3 failed: ");
    releases.serves("node");
    assert!(releases.is_nonblocking());

    releases.deploy_well(&blocking);
    releases.serves("python");

    let (answered, troubles) = clients.end();
    assert_eq!(troubles, []);
    assert!(answered > 0);
    releases.stop();
}

/// Its program would get EAGAIN from then on, whenever two wake up for one connection.
#[test]
fn a_flag_that_a_failed_deploy_has_set_is_cleared_when_its_workers_are_gone() {
    let Some(python) = require::python().filter(|_| require::program("node")) else { return };
    let mut releases = Releases::start(&[], &format!("#!{python}\n{BLOCKING_PYTHON}"));
    let clients = Clients::start(&releases.target, 2);
    releases.deploy(&node_program(FAILING_NODE));
    wait_until("node sets the flag", || releases.is_nonblocking());
    releases.srvwrap.wait_for("deploy 2 failed: ");
    wait_until("the flag is put back", || !releases.is_nonblocking());
    releases.serves("python");
    assert_eq!(clients.end().1, []);
    releases.stop();
}

/// A node worker sleeps in accept where the flag is gone, and answers nobody: it is set again.
#[test]
fn a_flag_that_a_failed_deploy_has_cleared_under_node_is_set_again_and_node_answers() {
    let Some(python) = require::python().filter(|_| require::program("node")) else { return };
    let mut releases = Releases::start(&[], &node_program(NODE));
    assert!(releases.is_nonblocking());
    releases.deploy(&format!("#!{python}\n{CLEARING_PYTHON}"));
    wait_until("python clears the flag", || !releases.is_nonblocking());
    let target = releases.target.clone();
    let meanwhile = thread::spawn(move || get(&target, "/").unwrap().body);
    fs::write(releases.srvwrap.directory.path().join("fail"), "").unwrap();
    releases.srvwrap.wait_for("deploy 2 failed: ");
    wait_until("the flag is put back", || releases.is_nonblocking());
    releases.serves("node");
    wait_until("who came meanwhile is answered", || {
        releases.serves("node");
        meanwhile.is_finished()
    });
    assert_eq!(meanwhile.join().unwrap(), "node");
    releases.stop();
}

/// The first of the new workers is online, the second is not: the old ones serve on, with what is theirs.
#[test]
fn a_flag_that_a_worker_has_cleared_is_set_again_when_it_comes_online_beside_node() {
    let Some(python) = require::python().filter(|_| require::program("node")) else { return };
    let mut releases = Releases::start(&[], &node_program(NODE));
    let first = "if os.environ['SRVWRAP_SLOT'] == '0':
    listener.setblocking(True)
    os.write(3, b'online\\n')";
    let half = CLEARING_PYTHON.replace("listener.setblocking(True)", first);
    releases.deploy(&format!("#!{python}\n{half}"));
    let before = releases.worker;
    wait_until("the first is online", || releases.srvwrap.worker_pids()[&0] != before);
    wait_until("the flag is set again", || releases.is_nonblocking());
    assert!(!releases.srvwrap.has_said("deploy 2 failed"));
    fs::write(releases.srvwrap.directory.path().join("fail"), "").unwrap();
    releases.srvwrap.wait_for("deploy 2 failed: ");
    releases.serves("node");
    releases.stop();
}

/// Of programs that say nothing it is never known under which flag they serve.
#[test]
fn with_readiness_by_exec_a_flag_is_never_cleared() {
    let Some(python) = require::python().filter(|_| require::program("node")) else { return };
    let blocking = format!("#!{python}\n{BLOCKING_PYTHON}");
    let mut releases = Releases::start(&["--ready", "exec", "--bake", "60s"], &blocking);
    releases.serves("python");
    releases.deploy(&node_program(FAILING_NODE));
    wait_until("node sets the flag", || releases.is_nonblocking());
    releases.srvwrap.wait_for("deploy 2 failed: ");
    let failed = releases.srvwrap.worker_pids();
    wait_until("its workers are gone", || failed.values().all(|pid| !is_alive(*pid)));
    // Whatever follows from that is done when the next signal is answered.
    releases.srvwrap.signal(Signal::SIGUSR2);
    releases.srvwrap.wait_for("USR2 ignored");
    assert!(releases.is_nonblocking());
    releases.serves("python");
    releases.stop();
}
