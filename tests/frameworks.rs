//! Frameworks that others have written, with the few lines by which an application of theirs loses no request.
//!
//! | framework | is handed the socket by | says that it is ready by | drains by |
//! |---|---|---|---|
//! | Flask, gunicorn | `--bind fd://{fd}` | a hook of gunicorn's | itself |
//! | FastAPI, uvicorn | the client | the client | its own `Server` |
//! | Sinatra, Puma | `LISTEN_FDS` and a `-b` of the same address | the notice fd | a handler of TERM, and rack |
//! | Go's net/http, gin | `LISTEN_FDS` | `READY=1` | a handler of its own |
//! | axum | the client | the client | a layer and a listener |
//! | Jetty, Netty | the client | the client | itself |
//! | Tomcat | the client, and an endpoint | the client | itself |
//! | Starlet | Server::Starter | the notice fd | itself |
//!
//! The applications are in `tests/frameworks`. Half of the clients keep their connections: a server that closes idle
//! ones at once when it is told to stop, as most of these do by themselves, fails here. Servers as they are, which know
//! nothing of srvwrap, are in `consumers.rs`.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;

use crate::harness::http::{Connection, Target, Trouble, get};
use crate::harness::load::Load;
use crate::harness::{Starting, consumers, frameworks, require};

/// Without these lines the frameworks lost 2.7 to 5 requests in each deploy, but for Puma.
const DEPLOYS: u32 = 4;

fn loses_nothing(starting: Starting) {
    let mut srvwrap = starting.online();
    let target = Target::Port(srvwrap.port());
    let load = Load::begin(&[target.clone(), target]);
    let (report, _) = load.through_deploys(srvwrap, DEPLOYS);
    assert_eq!(report.failures, [], "of {} requests", report.answers);
}

/// A command of the environment with the Python frameworks.
fn python(command: &str) -> Option<String> {
    Some(frameworks::python()?.join(command).to_str().expect("a path of ours").to_string())
}

const GUNICORN: [&str; 3] = ["--bind", "fd://{fd}", "app:app"];

/// By itself it has one process without keep-alive.
#[test]
fn flask_in_gunicorn_loses_nothing() {
    let Some(gunicorn) = python("gunicorn") else { return };
    let words = [&[gunicorn.as_str(), "--worker-class", "sync"], &GUNICORN[..]].concat();
    loses_nothing(frameworks::serving("flask", &["python/srvwrap.py"], &words));
}

#[test]
fn flask_in_the_threads_of_gunicorn_loses_nothing() {
    let Some(gunicorn) = python("gunicorn") else { return };
    let words = [&[gunicorn.as_str()], &GUNICORN[..]].concat();
    loses_nothing(frameworks::serving("flask", &["python/srvwrap.py"], &words));
}

#[test]
fn fastapi_in_uvicorn_loses_nothing() {
    let Some(python) = python("python") else { return };
    loses_nothing(frameworks::serving("fastapi", &["python/srvwrap.py"], &[&python, "serve.py"]));
}

#[test]
fn sinatra_in_puma_loses_nothing() {
    let Some(starting) = sinatra() else { return };
    loses_nothing(starting);
}

/// Puma has one look more, for a fifth of a second, at a connection that it has just answered on: the clients of the
/// test above hardly ever wait for longer. Those here have waited for a new Puma to start. A test that a busy machine
/// keeps from asking within the half second shows nothing, and is made again; without the lines of `config.ru` none
/// passes.
#[test]
fn sinatra_in_puma_answers_on_idle_connections_when_it_is_told_to_stop() {
    let tries =
        std::iter::repeat_with(sinatra).take(4).map_while(|starting| Some(answers_when_idle(starting?)));
    let troubles: Vec<Trouble> = tries.take_while(Result::is_err).filter_map(Result::err).collect();
    assert!(troubles.len() < 4, "{troubles:?}");
}

fn answers_when_idle(starting: Starting) -> Result<(), Trouble> {
    let mut srvwrap = starting.online();
    let target = Target::Port(srvwrap.port());
    let mut by_worker: BTreeMap<i32, Vec<Connection>> = BTreeMap::new();
    for _ in 0..10 {
        let mut connection = Connection::open(&target).expect("it listens");
        let answer = connection.get("/", false).expect("it answers");
        assert!(!answer.last);
        by_worker.entry(answer.by().pid).or_default().push(connection);
    }
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("retiring 2 workers");
    // One connection of each worker tells when it has been told.
    for connections in by_worker.values_mut() {
        let mut busy = connections.pop().expect("it has answered on one");
        while !busy.get("/", false)?.last {}
    }
    for mut connection in by_worker.into_values().flatten() {
        assert!(connection.get("/", false)?.last);
    }
    srvwrap.wait_for("deploy 2 done");
    let log = srvwrap.stop();
    assert!(!log.contains("killed"), "{log}");
    Ok(())
}

fn sinatra() -> Option<Starting> {
    if !require::program("puma") || !consumers::ruby("sinatra/base") {
        return None;
    }
    let bind = "tcp://127.0.0.1:{port}";
    let words = ["--protocol", "systemd", "puma", "--quiet", "-b", bind, "config.ru"];
    Some(frameworks::serving("sinatra", &[], &words))
}

#[test]
fn net_http_of_go_loses_nothing() {
    let Some(program) = frameworks::go("nethttp", &["github.com/coreos/go-systemd"]) else { return };
    let program = program.to_str().expect("a path of ours");
    loses_nothing(frameworks::serving("nethttp", &[], &["--protocol", "systemd", program]));
}

#[test]
fn gin_loses_nothing() {
    let imports = ["github.com/coreos/go-systemd", "github.com/gin-gonic/gin"];
    let Some(program) = frameworks::go("gin", &imports) else { return };
    let program = program.to_str().expect("a path of ours");
    loses_nothing(frameworks::serving("gin", &[], &["--protocol", "systemd", program]));
}

#[test]
fn a_connection_that_never_asks_holds_none_of_go() {
    let package = "github.com/coreos/go-systemd";
    let Some(program) = frameworks::go("nethttp", &[package]) else { return };
    let program = program.to_str().expect("a path of ours");
    is_not_held("nethttp", &["--protocol", "systemd", program]);
}

/// `Shutdown` of net/http waits five seconds for such a connection.
fn is_not_held(name: &str, words: &[&str]) {
    let words = [&["--stop-timeout", "4s"], words].concat();
    let mut srvwrap = frameworks::serving(name, &[], &words).online();
    let target = Target::Port(srvwrap.port());
    let silent = [(); 4].map(|()| Connection::open(&target).expect("it listens"));
    // The queue has an order: whoever is answered now came after those.
    get(&target, "/").expect("it answers");
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(!srvwrap.has_said("killed"), "it was held");
    drop(silent);
}

#[test]
fn axum_loses_nothing() {
    let Some(program) = frameworks::axum() else { return };
    let program = program.to_str().expect("a path of ours");
    is_not_held("axum", &[program]);
    loses_nothing(frameworks::serving("axum", &[], &[program]));
}

#[test]
fn jetty_loses_nothing() {
    java("jetty", &["jetty9-server", "jetty9-http", "jetty9-io", "jetty9-util", "servlet-api"]);
}

#[test]
fn netty_loses_nothing() {
    let parts = ["buffer", "codec", "codec-http", "common", "handler", "resolver", "transport"];
    let jars = parts.map(|part| format!("netty-{part}"));
    java("netty", &jars.each_ref().map(String::as_str));
}

#[test]
fn tomcat_loses_nothing() {
    java("tomcat", &["tomcat10-embed-core", "jakarta-annotation-api"]);
}

fn java(name: &str, jars: &[&str]) {
    let Some(classes) = frameworks::java(name, jars) else { return };
    let opening = ["--add-opens", "java.base/java.io=ALL-UNNAMED"];
    let words = [&["--protocol", "stdin", "java"], &opening[..], &["-cp", &classes, "Server"]].concat();
    is_not_held(name, &words);
    loses_nothing(frameworks::serving(name, &[], &words));
}

/// A connection that is kept has one of its processes to itself.
#[test]
fn starlet_loses_nothing() {
    if !require::program("plackup") || !consumers::perl(&["Starlet", "Server::Starter"]) {
        return;
    }
    let starlet = ["-s", "Starlet", "--max-workers", "10", "--max-keepalive-reqs", "1000"];
    let words =
        [&["--protocol", "server-starter", "plackup", "-E", "production"], &starlet[..], &["app.psgi"]];
    loses_nothing(frameworks::serving("starlet", &[], &words.concat()));
}
