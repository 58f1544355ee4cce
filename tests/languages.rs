//! Real servers in several languages: each serves, survives a deploy, and finishes what it has accepted.
//!
//! The servers are the examples of `clients/`, and programs written without them. What srvwrap says of the worker
//! protocol on its own is in other modules, and load is in `load.rs`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::examples::Language;
use crate::harness::http::{Connection, Target, get};
use crate::harness::{Srvwrap, examples, is_alive, require, srvwrap, wait_until};

#[test]
fn c_serves_and_finishes() {
    serves_and_finishes(&examples::C);
}

#[test]
fn go_serves_and_finishes() {
    serves_and_finishes(&examples::GO);
}

#[test]
fn java_serves_and_finishes() {
    serves_and_finishes(&examples::JAVA);
}

#[test]
fn node_serves_and_finishes() {
    serves_and_finishes(&examples::NODE);
}

#[test]
fn perl_serves_and_finishes() {
    serves_and_finishes(&examples::PERL);
}

#[test]
fn php_serves_and_finishes() {
    serves_and_finishes(&examples::PHP);
}

#[test]
fn python_serves_and_finishes() {
    serves_and_finishes(&examples::PYTHON);
}

#[test]
fn ruby_serves_and_finishes() {
    serves_and_finishes(&examples::RUBY);
}

#[test]
fn rust_serves_and_finishes() {
    serves_and_finishes(&examples::RUST);
}

/// The word comes from the shell, before the program that it becomes accepts, and that program says it once more. Told
/// to finish between the two, it ends by the signal, with nothing in its hands.
#[test]
fn sh_serves_and_finishes() {
    let Some(program) = examples::SH.with(&[]) else { return };
    serves_survives_a_deploy_and_drains(&program);
    is_replaced_when_it_says_offline(&program);
}

/// What there is a test of for each language.
const KINDS: [(&str, &str); 3] = [
    ("serves_and_finishes", include_str!("languages.rs")),
    ("has_no_fault", include_str!("check/examples.rs")),
    ("keeps_its_part_of_every_session", include_str!("sessions/clients.rs")),
];

#[test]
fn no_language_is_without_its_tests() {
    for name in examples::ALL.map(|language| language.name) {
        for (kind, file) in KINDS {
            let head = format!("#[test]\nfn {}_{kind}() {{\n", name.to_lowercase());
            let body = file.split_once(&head).and_then(|(_, rest)| rest.split_once("\n}\n"));
            let example = format!("examples::{}", name.to_uppercase());
            assert!(body.is_some_and(|(body, _)| body.contains(&example)), "{name} has no test that {kind}");
        }
    }
}

fn serves_and_finishes(language: &Language) {
    let Some(program) = language.with(&[]) else { return };
    serves_survives_a_deploy_and_drains(&program);
    exits_with_0_when_it_is_told_to_finish(language);
    finishes_by_the_line_alone(language);
    is_replaced_when_it_says_offline(&program);
}

fn serves_survives_a_deploy_and_drains(program: &[OsString]) {
    let mut srvwrap = serving(program).online();
    let target = Target::Port(srvwrap.port());
    let mut kept = Connection::open(&target).expect("it listens");
    let first = kept.get("/", false).expect("it answers").by();
    assert_eq!(first.generation, 1);
    assert_eq!(srvwrap.worker_pids().get(&first.slot), Some(&first.pid));

    srvwrap.signal(Signal::SIGHUP);
    // An answer from before the deploy must not be the last of its connection, or what follows shows nothing.
    let mut answer = kept.get("/", false).expect("it answers");
    while !answer.last {
        assert_eq!(answer.by(), first);
        answer = kept.get("/", false).expect("a connection is not closed without an answer that says so");
    }
    assert_eq!(answer.by(), first);
    srvwrap.wait_for("deploy 2 done");
    wait_until("the old worker has ended", || !is_alive(first.pid));

    let second = get(&target, "/").expect("the new generation answers").by();
    assert_eq!(second.generation, 2);
    answers_what_it_has_when_it_is_stopped(srvwrap, &target);
}

/// TERM while an answer is being made, to a worker that is known to have the connection.
fn answers_what_it_has_when_it_is_stopped(mut srvwrap: Srvwrap, target: &Target) {
    let mut slow = Connection::open(target).expect("it listens");
    let who = slow.get("/", false).expect("it answers").by();
    slow.ask("/slow", false).expect("the connection is open");
    srvwrap.signal(Signal::SIGTERM);
    let answer = slow.answer(false).expect("what was asked is answered");
    assert_eq!(answer.by(), who);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(!srvwrap.has_said("killed"), "a worker did not finish by itself");
}

/// Two workers of this program on a free port.
fn serving(program: &[OsString]) -> crate::harness::Starting {
    let options = ["-n", "2", "-p", "0"].map(OsString::from);
    srvwrap(options.iter().chain(program)).env("PYTHONDONTWRITEBYTECODE", "1")
}

/// The process that is told ends by itself with 0, not by the signal, and not with an error on its way out. The shell
/// around it is there to see the status; as the program is `sh`, node has to read the descriptor without its channel.
fn exits_with_0_when_it_is_told_to_finish(language: &Language) {
    // A shell that handles a signal waits for its child first, and the child starts without that handler.
    let shell = ["sh", "-c", r#"trap : TERM; "$@"; echo "status $?""#, "sh"].map(OsString::from);
    let options = language.options.iter().map(OsString::from).collect::<Vec<_>>();
    let Some(program) = language.program() else { return };
    let mut srvwrap = serving(&[&options[..], &shell, &program].concat()).online();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    let log = srvwrap.stop();
    assert_eq!(log.matches("status ").count(), 4, "two of each generation");
    assert_eq!(log.matches("status 0").count(), 4, "{log}");
}

/// With `--stop-signal none` the line is all that a worker is told. Every client reads it.
fn finishes_by_the_line_alone(language: &Language) {
    let Some(program) = language.with(&["--stop-signal", "none"]) else { return };
    let mut srvwrap = serving(&program).online();
    let target = Target::Port(srvwrap.port());
    get(&target, "/").expect("it answers");
    let log = srvwrap.stop();
    assert!(!log.contains("killed"), "{log}");
}

/// A worker that asks to be replaced gets no signal, has its replacement, and ends by itself.
fn is_replaced_when_it_says_offline(program: &[OsString]) {
    let mut srvwrap = serving(program).online();
    let target = Target::Port(srvwrap.port());
    let who = get(&target, "/offline").expect("it answers first").by();
    srvwrap.wait_for_all(&[
        &format!("worker {} (pid {}) said offline: asked to", who.slot, who.pid),
        &format!("worker {} (pid {}) ended, as it had said", who.slot, who.pid),
    ]);
    wait_until("its slot is filled again", || srvwrap.worker_pids().get(&who.slot) != Some(&who.pid));
    assert_ne!(get(&target, "/").expect("somebody answers").by().pid, who.pid);
    srvwrap.stop();
}

/// A server as it is written for the Node tools: the word by `process.send`, the end by `process.on('message')`. It
/// does not handle TERM, and would die of it with an answer in its hands.
const BY_CHANNEL: &str = r"
    const http = require('http');
    const server = http.createServer((request, response) => {
      setTimeout(() => response.end(`${process.pid} ${process.env.NODE_APP_INSTANCE} 1`), request.url === '/slow' ? 300 : 0);
    });
    server.listen({ fd: Number(process.env.LISTEN_FD) }, () => process.send('online'));
    process.on('message', (message) => {
      if (message !== 'shutdown') return;
      server.close(() => {
        require('fs').writeFileSync(`drained-${process.pid}`, '');
        process.disconnect();
      });
    });";

#[test]
fn a_node_program_that_uses_process_send_drains_by_the_message_alone() {
    a_node_program_drains(BY_CHANNEL);
}

/// A node program that writes the line itself, although node has made its channel of the same descriptor, and that
/// finishes at TERM. Nobody listens for messages in it: `"shutdown"` arrives there all the same, and a line that is
/// not JSON would end the process with an exception.
const BY_RAW_LINE: &str = r"
    const fs = require('fs');
    const http = require('http');
    const server = http.createServer((request, response) => {
      setTimeout(() => response.end(`${process.pid} ${process.env.SRVWRAP_SLOT} 1`), request.url === '/slow' ? 300 : 0);
    });
    server.listen({ fd: Number(process.env.LISTEN_FD) }, () => fs.writeSync(Number(process.env.NOTIFY_FD), 'online\n'));
    process.on('SIGTERM', () => server.close(() => fs.writeFileSync(`drained-${process.pid}`, '')));";

#[test]
fn a_node_program_that_writes_the_raw_line_survives_the_shutdown_line_and_drains() {
    a_node_program_drains(BY_RAW_LINE);
}

fn a_node_program_drains(text: &str) {
    if !require::program("node") {
        return;
    }
    let mut srvwrap = srvwrap(["-n", "2", "-p", "0", "node", "server.js"]).file("server.js", text).online();
    let target = Target::Port(srvwrap.port());
    let old = srvwrap.worker_pids();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    for pid in old.values() {
        assert!(srvwrap.directory.path().join(format!("drained-{pid}")).exists(), "{pid} did not drain");
    }
    let new = srvwrap.worker_pids();
    let directory = srvwrap.directory.path().to_path_buf();
    // The answer ends only with the connection's request under way, so it needs a worker that has it already.
    let mut slow = Connection::open(&target).expect("it listens");
    let who = slow.get("/", false).expect("it answers").by();
    assert_eq!(new.get(&who.slot), Some(&who.pid));
    slow.ask("/slow", false).expect("the connection is open");
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(slow.answer(false).expect("what was asked is answered").by(), who);
    // Else node waits for the end of it, for as long as it keeps idle connections.
    drop(slow);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(!srvwrap.has_said("killed"));
    assert_eq!(std::fs::read_dir(directory).expect("it is there").count(), 1 + 2 * 2, "all of them drained");
}

/// Arguments that a shell, an option parser or a conversion to text would change: blanks, newlines, an empty one, what
/// looks like an option of srvwrap's, and bytes that are no UTF-8.
#[test]
fn the_programs_arguments_arrive_byte_for_byte() {
    let script = "#!/bin/sh\nfor each; do printf '%s\\0' \"$each\"; done >arguments\necho online >&\"$NOTIFY_FD\"\nexec sleep 1000\n";
    let arguments: [&[u8]; 14] = [
        b"two words",
        b" ",
        b"",
        b"-n",
        b"9",
        b"--port=1",
        b"--",
        b"-h",
        b"--version",
        b"a\nb\t\"'`$x*",
        b"%s\\0",
        b"\xff\xfe\x80",
        "\u{fc}\u{202e}".as_bytes(),
        b"-\xff",
    ];
    let after = arguments.map(OsStr::from_bytes);
    let before = ["-n", "1", "./program"].map(OsStr::new);
    let srvwrap = srvwrap(before.into_iter().chain(after)).file("program", script).online();
    let arrived =
        std::fs::read(srvwrap.directory.path().join("arguments")).expect("it was written before online");
    let arrived: Vec<OsString> =
        arrived.split(|byte| *byte == 0).map(|each| OsString::from_vec(each.to_vec())).collect();
    assert_eq!(arrived[..arrived.len() - 1], after[..]);
    srvwrap.stop();
}

/// An option of the interpreter, between it and the script: srvwrap has to know neither.
#[test]
fn an_interpreters_options_are_arguments_like_any_other() {
    if !require::program("node") {
        return;
    }
    let text = "
        require('fs').writeFileSync('arguments', JSON.stringify([process.execArgv, process.argv.slice(2)]));
        process.send('online');
        process.on('message', () => process.exit(0));";
    let words = ["node", "--harmony", "server.js", "-p", "a  b", "--harmony"];
    let srvwrap = srvwrap(words).file("server.js", text).online();
    let arrived = std::fs::read_to_string(srvwrap.directory.path().join("arguments"));
    assert_eq!(
        arrived.expect("it was written before online"),
        r#"[["--harmony"],["-p","a  b","--harmony"]]"#
    );
    srvwrap.stop();
}

/// A server that says `offline` and goes on. At /close it closes its listener, and answers on what it has.
const LINGERING: &str = r#"
import os, select, socket, sys
listener = socket.socket(fileno=int(os.environ["LISTEN_FD"]))
listener.setblocking(False)
connections = []
os.write(3, b"online\n")
while listener.fileno() >= 0 or connections:
    waited_for = connections + ([listener] if listener.fileno() >= 0 else [])
    for ready in select.select(waited_for, [], [])[0]:
        if ready is listener:
            try:
                connections.append(listener.accept()[0])
            except BlockingIOError:
                pass
            continue
        request = ready.recv(4096)
        if not request:
            connections.remove(ready)
            ready.close()
            continue
        if b"/offline" in request:
            os.write(3, b"offline\n")
        if b"/close" in request:
            listener.close()
        body = f"{os.getpid()} {os.environ['SRVWRAP_SLOT']} {os.environ['SRVWRAP_GENERATION']}\n".encode()
        ready.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
"#;

/// A worker that has said `offline` and keeps its listener is still given connections, its replacement there or not;
/// once it has closed the listener it is given none, and goes on with the connections that it has.
#[test]
fn after_offline_a_worker_gets_new_connections_until_it_closes_its_listener() {
    let Some(python) = examples::python_itself() else { return };
    let words = ["-n".into(), "1".into(), "-p".into(), "0".into(), python, "server.py".into()];
    let mut srvwrap = srvwrap(words).file("server.py", LINGERING).online();
    let target = Target::Port(srvwrap.port());
    let mut kept = Connection::open(&target).expect("it listens");
    let old = kept.get("/offline", false).expect("it answers").by().pid;
    srvwrap.wait_for("said offline");
    srvwrap.wait_for(" online after ");
    let new = *srvwrap.worker_pids().get(&0).expect("the replacement");
    assert_ne!(new, old);

    // Stopped, the replacement cannot be faster, and what is asked now must be answered by the old one.
    kill(Pid::from_raw(new), Signal::SIGSTOP).expect("it is there");
    for _ in 0..20 {
        assert_eq!(get(&target, "/").expect("the old one answers").by().pid, old);
    }
    kept.get("/close", false).expect("it answers");
    kill(Pid::from_raw(new), Signal::SIGCONT).expect("it is there");
    for _ in 0..50 {
        assert_eq!(get(&target, "/").expect("the new one answers").by().pid, new);
    }
    assert_eq!(kept.get("/", false).expect("a connection accepted before is served").by().pid, old);
    drop(kept);
    srvwrap.wait_for(&format!("(pid {old}) ended, as it had said"));
    srvwrap.stop();
}

/// npm and its kin close every descriptor before they start the server, which then finds variables with nothing behind
/// them. Boot goes on, and the operator has read why it will fail.
#[test]
fn npm_and_its_kin_are_named_as_programs_that_pass_no_descriptors_on() {
    for name in ["npm", "npx", "yarn", "pnpm", "tsx", "nodemon"] {
        let program = format!("./{name}");
        let text = "#!/bin/sh\necho online >&\"$NOTIFY_FD\"\nexec sleep 1000\n";
        let mut srvwrap = srvwrap(["-p", "0", program.as_str(), "start"]).file(name, text).online();
        let hint = format!("{name} passes no descriptors on to the program that it starts");
        assert!(srvwrap.has_said(&hint), "{name}");
        srvwrap.stop();
    }
}

/// What the hint warns of, with npm itself: the server has no way to say that it is online, and boot ends.
#[test]
fn a_server_under_npm_start_ends_the_boot_after_the_hint() {
    if !require::program("npm") {
        return;
    }
    let package = r#"{"name":"it","version":"1.0.0","scripts":{"start":"node server.js"}}"#;
    let text = format!("require({:?}).online();", examples::client("node/srvwrap.js"));
    let starting =
        srvwrap(["-p", "0", "npm", "start"]).file("package.json", package).file("server.js", &text);
    let (code, log) = starting.env("npm_config_update_notifier", "false").run();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("npm passes no descriptors on"), "{log}");
    assert!(log.contains("cannot start: worker 0"), "{log}");
}
