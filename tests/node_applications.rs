//! Applications written for naught or for pm2, and with express or fastify: they run, and lose nothing in deploys.
//!
//! | application | says that it is ready by | is told to stop by | finds its number in |
//! |---|---|---|---|
//! | naught's | `process.send('online')` | the message `shutdown` alone | `NAUGHT_WORKER` |
//! | pm2's, with `wait_ready` | `process.send('ready')` | INT | `NODE_APP_INSTANCE` |
//! | the same, with `shutdown_with_message` | the same | the message alone, by `--stop-signal none` | the same |
//! | express, fastify | `clients/node/srvwrap.js` | the message, TERM | `SRVWRAP_SLOT` |
//!
//! Nothing in them is for srvwrap but that they listen on `LISTEN_FD`. Half of the clients keep their connections, so
//! each application goes on answering for half a second, with `Connection: close`: none of them loses nothing without.

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::signal::Signal;

use crate::harness::http::{Connection, Target, Trouble, get};
use crate::harness::load::Load;
use crate::harness::node_packages::node_packages;
use crate::harness::{Srvwrap, Starting, command, examples, require, send, srvwrap, wait_until, worker_of};

/// In the words of naught's page. At /throw it throws, which nobody catches; that request is never answered, so the
/// end does not wait for it for ever.
const NAUGHT: &str = r"
var http = require('http');
var body = process.pid + ' ' + process.env.NAUGHT_WORKER + ' ' + process.env.SRVWRAP_GENERATION + '\n';
var leaving = false;

var server = http.createServer(function (request, response) {
  if (request.url === '/throw') throw new Error('nobody has foreseen this');
  setTimeout(function () {
    if (leaving) response.setHeader('Connection', 'close');
    response.setHeader('Content-Length', body.length);
    response.end(body);
  }, request.url === '/slow' ? 300 : 0);
});

server.listen({ fd: Number(process.env.LISTEN_FD) }, function () {
  if (process.send) process.send('online');
});

process.on('message', function (message) {
  if (message === 'shutdown') finish(0);
});

process.on('uncaughtException', function (error) {
  console.error(error.message);
  process.send('offline');
  finish(1);
});

function finish(status) {
  if (leaving) return;
  leaving = true;
  setTimeout(function () {
    server.close(function () { process.exit(status); });
    if (status) setTimeout(process.exit, 1000, status);
  }, 500);
}
";

/// Its two ways to be told tell which it was, and the one that it was not started for is an error.
const PM2: &str = r"
const http = require('http');
const body = `${process.pid} ${process.env.NODE_APP_INSTANCE} ${process.env.SRVWRAP_GENERATION}\n`;
let leaving = false;

const server = http.createServer((request, response) => {
  setTimeout(() => {
    if (leaving) response.setHeader('Connection', 'close');
    response.setHeader('Content-Length', body.length);
    response.end(body);
  }, request.url === '/slow' ? 300 : 0);
});
server.listen({ fd: Number(process.env.LISTEN_FD) }, () => process.send('ready'));

function finish(why) {
  console.log(`${process.pid} was told by ${why}`);
  leaving = true;
  setTimeout(() => server.close(() => process.exit(0)), 500);
}

if (process.argv[2] === 'shutdown_with_message') {
  process.on('message', (message) => message === 'shutdown' && finish('the message'));
} else {
  process.on('SIGINT', () => finish('INT'));
}
";

/// The function given to `listen` is called by express with an error too.
const EXPRESS: &str = r"
const net = require('net');
const express = require('express');
const { online, onShutdown, listeners } = require('./srvwrap');

const body = `${process.pid} ${process.env.SRVWRAP_SLOT} ${process.env.SRVWRAP_GENERATION}\n`;
const app = express();
let draining = false;

app.use((request, response, next) => {
  if (draining) response.set('Connection', 'close');
  next();
});
app.get('/', (request, response) => response.type('text').send(body));
app.get('/slow', (request, response) => setTimeout(() => response.type('text').send(body), 300));

const server = app.listen(listeners()[0] ?? 8000, (error) => {
  if (error) throw error;
  online();
});
const open = new Set();
server.on('connection', (socket) => open.add(socket.on('close', () => open.delete(socket))));
onShutdown(() => {
  draining = true;
  net.Server.prototype.close.call(server);
  setTimeout(() => {
    server.closeIdleConnections();
    open.forEach((socket) => socket.bytesRead || socket.destroy());
  }, 500);
});
";

/// Fastify adds `Connection: close` itself as soon as it closes, and waits for this hook before it closes connections.
/// Its own `listen` looks `localhost` up where no host is given, and listens on the descriptor a second time.
const FASTIFY: &str = r"
const net = require('net');
const { setTimeout: after } = require('timers/promises');
const { online, onShutdown, listeners } = require('./srvwrap');

const body = `${process.pid} ${process.env.SRVWRAP_SLOT} ${process.env.SRVWRAP_GENERATION}\n`;
const app = require('fastify')({ return503OnClosing: false });
app.get('/', async () => body);
app.get('/slow', () => after(300, body));
const open = new Set();
app.server.on('connection', (socket) => open.add(socket.on('close', () => open.delete(socket))));
app.addHook('preClose', async () => {
  net.Server.prototype.close.call(app.server);
  await after(500);
  open.forEach((socket) => socket.bytesRead || socket.destroy());
});

app.listen({ ...(listeners()[0] ?? { port: 8000 }), host: '' }).then(online);
onShutdown(() => app.close());
";

/// Two workers on a free port, with every program of this page beside them, and the client.
fn serving(words: &[&str]) -> Starting {
    let ours = |name: &str| std::fs::read_to_string(examples::client(name)).expect("it is there");
    srvwrap(["-n", "2", "-p", "127.0.0.1:0"].iter().chain(words))
        .file("naught.js", NAUGHT)
        .file("pm2.js", PM2)
        .file("express.js", EXPRESS)
        .file("fastify.js", FASTIFY)
        .file("srvwrap.js", &ours("node/srvwrap.js"))
        .file("example.js", &ours("node/example.js"))
}

/// Clients at work, of whom half keep their connections.
fn load(srvwrap: &mut Srvwrap) -> Load {
    let target = Target::Port(srvwrap.port());
    Load::begin(&[target.clone(), target])
}

fn has_lost_nothing(load: Load) {
    let report = load.end();
    assert_eq!(report.failures, [], "of {} requests", report.answers);
}

/// Everything that was said, in which nobody was killed.
fn stopped_well(srvwrap: Srvwrap) -> String {
    let log = srvwrap.stop();
    assert!(!log.contains("killed"), "{log}");
    log
}

fn loses_nothing(starting: Starting) -> String {
    let mut srvwrap = starting.online();
    let load = load(&mut srvwrap);
    let (report, log) = load.through_deploys(srvwrap, 3);
    assert_eq!(report.failures, [], "of {} requests", report.answers);
    log
}

#[test]
fn an_application_written_for_naught_loses_nothing() {
    if !require::program("node") {
        return;
    }
    loses_nothing(serving(&["node", "naught.js"]));
}

/// The worker is replaced at once, and finishes what others have asked of it.
#[test]
fn an_exception_that_nobody_catches_costs_its_own_request_and_no_other() {
    if !require::program("node") {
        return;
    }
    let mut srvwrap = serving(&["node", "naught.js"]).online();
    let target = Target::Port(srvwrap.port());
    let load = load(&mut srvwrap);
    load.wait_for_generation(1);
    for _ in 0..2 {
        let trouble = get(&target, "/throw").expect_err("nobody answers");
        assert!(matches!(trouble, Trouble::Reset | Trouble::Truncated), "{trouble:?}");
        let line = srvwrap.wait_for("said offline");
        let (slot, pid) = worker_of(&line).expect("it is named");
        wait_until("its slot is filled again", || srvwrap.worker_pids().get(&slot) != Some(&pid));
        srvwrap.wait_until_said(&format!("worker {slot} (pid {pid}) ended, as it had said"), 1);
    }
    has_lost_nothing(load);
    stopped_well(srvwrap);
}

#[test]
fn an_application_written_for_pm2_is_told_by_int_and_loses_nothing() {
    if !require::program("node") {
        return;
    }
    let log = loses_nothing(serving(&["node", "pm2.js"]));
    assert_eq!(log.matches("was told by INT").count(), 4 * 2, "{log}");
}

#[test]
fn an_application_written_for_pm2_that_is_told_by_a_message_loses_nothing() {
    if !require::program("node") {
        return;
    }
    let log = loses_nothing(serving(&["--stop-signal", "none", "node", "pm2.js", "shutdown_with_message"]));
    assert_eq!(log.matches("was told by the message").count(), 4 * 2, "{log}");
}

#[test]
fn an_application_with_express_loses_nothing() {
    let Some(modules) = node_packages() else { return };
    loses_nothing(serving(&["node", "express.js"]).env("NODE_PATH", modules));
}

#[test]
fn an_application_with_fastify_loses_nothing() {
    let Some(modules) = node_packages() else { return };
    loses_nothing(serving(&["node", "fastify.js"]).env("NODE_PATH", modules));
}

/// As a browser opens one beforehand. Node keeps it for a minute.
fn a_connection_that_never_asks_holds_nobody(file: &str) {
    let Some(modules) = node_packages() else { return };
    let words = ["--stop-timeout", "10s", "node", file];
    let mut srvwrap = serving(&words).env("NODE_PATH", modules).online();
    let target = Target::Port(srvwrap.port());
    let silent = Connection::open(&target).expect("it listens");
    // The queue of the listener has an order: with this one, the one before it has been accepted.
    get(&target, "/").expect("it answers");
    stopped_well(srvwrap);
    drop(silent);
}

#[test]
fn a_connection_that_never_asks_does_not_hold_an_application_with_express() {
    a_connection_that_never_asks_holds_nobody("express.js");
}

#[test]
fn a_connection_that_never_asks_does_not_hold_an_application_with_fastify() {
    a_connection_that_never_asks_holds_nobody("fastify.js");
}

/// Each is told to stop as it expects, whatever the next one expects.
#[test]
fn a_deploy_from_one_of_them_to_another_loses_nothing() {
    let Some(modules) = node_packages() else { return };
    let programs = [
        "naught.js",
        "pm2.js",
        "express.js",
        "fastify.js",
        "example.js",
        "fastify.js",
        "express.js",
        "pm2.js",
        "naught.js",
    ];
    let mut srvwrap = serving(&["node", programs[0]]).env("NODE_PATH", modules).online();
    let load = load(&mut srvwrap);
    let others: Vec<_> = programs[1..].iter().map(|file| vec!["node".into(), file.into()]).collect();
    let (report, _) = load.through_programs(srvwrap, &others);
    assert_eq!(report.failures, [], "of {} requests", report.answers);
}

const NUMBERED: &str = r"
const { NODE_APP_INSTANCE, NAUGHT_WORKER } = process.env;
console.log(`${process.pid} found ${NODE_APP_INSTANCE} and ${NAUGHT_WORKER}`);
process.send('online');
process.on('message', () => process.exit(0));
";

#[test]
fn a_worker_finds_its_slot_where_naught_and_pm2_put_it() {
    if !require::program("node") {
        return;
    }
    let mut srvwrap = srvwrap(["-n", "3", "node", "server.js"]).file("server.js", NUMBERED).online();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    let crashing = srvwrap.worker_pids()[&1];
    send(crashing, Signal::SIGKILL);
    wait_until("the slot is filled again", || srvwrap.worker_pids()[&1] != crashing);
    srvwrap.signal(Signal::SIGTTIN);
    srvwrap.wait_for("scaled to 4");
    let log = srvwrap.stop();
    let online: Vec<_> = log.lines().filter(|line| line.contains(" online after ")).collect();
    assert_eq!(online.len(), 3 + 3 + 1 + 1, "{log}");
    for (slot, pid) in online.into_iter().filter_map(worker_of) {
        assert!(log.contains(&format!("{pid} found {slot} and {slot}")), "{log}");
    }
}

/// What stands before node is not known for node, be it a shell script or node itself by another name.
#[test]
fn an_application_behind_a_launcher_talks_once_it_is_said_that_it_does() {
    if !require::program("node") {
        return;
    }
    let script = "#!/bin/sh\nexec node naught.js\n";
    let starting = serving(&["--node-channel", "./start"]).file("start", script);
    let mut srvwrap = starting.online();
    let told = command::told(srvwrap.path(), &["deploy", "--", "./renamed", "naught.js"]);
    assert_ne!(told.code, 0, "nobody has this name yet");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut nodes = std::env::split_paths(&paths).map(|directory| directory.join("node"));
    let node = nodes.find(|path| path.is_file()).expect("it is required above");
    std::os::unix::fs::symlink(node, srvwrap.path().join("renamed")).expect("a link can be made");
    let told = command::told(srvwrap.path(), &["deploy", "--", "./renamed", "naught.js"]);
    assert_eq!(told.code, 0, "{told:?}");
    let target = Target::Port(srvwrap.port());
    get(&target, "/").expect("it answers");
    stopped_well(srvwrap);
}

/// Python hands its environment to its children, and closes what it has open for them.
const PARENT: &str = r#"
import os, signal, subprocess
child = "console.log('the child lives', process.env.NODE_CHANNEL_FD, typeof process.send)"
subprocess.run(["node", "-e", child], check=True)
os.write(int(os.environ["NOTIFY_FD"]), b"online\n")
signal.pause()
"#;

#[test]
fn a_program_that_starts_node_is_not_given_the_channel() {
    let Some(python) = examples::python_itself().filter(|_| require::program("node")) else { return };
    let python = python.to_str().expect("a path");
    let srvwrap = serving(&[python, "parent.py"]).file("parent.py", PARENT).online();
    let log = srvwrap.stop();
    assert_eq!(log.matches("the child lives undefined undefined").count(), 2, "{log}");
}

/// The channel of each child is the one that the first process made for it, and the listener is the first process's.
const CLUSTER: &str = r"
const cluster = require('cluster');
const http = require('http');

if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
  let listening = 0;
  cluster.on('listening', () => ++listening === 2 && process.send('online'));
  process.on('message', (message) => message === 'shutdown' && cluster.disconnect(() => process.exit(0)));
} else {
  const body = `${process.pid} ${cluster.worker.id} ${process.env.SRVWRAP_GENERATION}\n`;
  const server = http.createServer((request, response) => response.end(body));
  server.listen({ fd: Number(process.env.LISTEN_FD) });
}
";

#[test]
fn nodes_own_cluster_runs_in_a_worker() {
    if !require::program("node") {
        return;
    }
    let starting = srvwrap(["-p", "127.0.0.1:0", "node", "cluster.js"]).file("cluster.js", CLUSTER);
    let mut srvwrap = starting.online();
    let target = Target::Port(srvwrap.port());
    let mut asked = BTreeMap::new();
    for generation in [1, 2] {
        let mut children = BTreeSet::new();
        wait_until("both children answer", || {
            let who = get(&target, "/").expect("somebody answers").by();
            assert_eq!(who.generation, generation);
            children.insert(who.pid);
            children.len() == 2
        });
        asked.insert(generation, children);
        srvwrap.signal(Signal::SIGHUP);
        srvwrap.wait_for(&format!("deploy {} done", generation + 1));
    }
    assert!(asked[&1].is_disjoint(&asked[&2]));
    stopped_well(srvwrap);
}
