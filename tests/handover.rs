//! How workers are handed the sockets: by every `--protocol`, and by words in a program's arguments.
//!
//! What real servers make of it is in `consumers.rs`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::http::{Target, get};
use crate::harness::{Srvwrap, command, examples, proc, srvwrap, wait_until};

/// Says that it is online by the descriptor that it is told of, leaves what it was told, and becomes a program that
/// opens nothing.
const LEAVES_ALL: &str = "#!/bin/sh
    echo online >&\"$NOTIFY_FD\"
    { env; echo \"PID=$$\"; for each; do echo \"ARGUMENT=$each\"; done; } > told.new
    mv told.new told
    exec sleep 1000
    ";

/// What a worker of [`LEAVES_ALL`] was told, and what is open in it.
struct Told {
    variables: BTreeMap<String, String>,
    arguments: Vec<String>,
    descriptors: BTreeMap<i32, String>,
}

impl Told {
    fn by(srvwrap: &Srvwrap) -> Told {
        let file = srvwrap.path().join("told");
        wait_until("the worker has left what it was told", || file.exists());
        let text = std::fs::read_to_string(file).expect("just seen");
        let pairs: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let arguments = pairs.iter().filter(|(name, _)| *name == "ARGUMENT");
        let arguments = arguments.map(|(_, value)| (*value).to_string()).collect();
        let variables: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect();
        let pid = variables["PID"].parse().expect("a pid");
        wait_until("the worker is the other program", || proc::sleeps_as(pid, "sleep"));
        Told { variables, arguments, descriptors: proc::descriptors(pid) }
    }

    fn of(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// At each of these numbers is a socket, and nothing is open behind 2 else.
    fn has_sockets_at(&self, numbers: &[i32]) {
        let sockets: Vec<i32> = self
            .descriptors
            .iter()
            .filter(|(_, what)| what.starts_with("socket:"))
            .map(|(fd, _)| *fd)
            .collect();
        assert_eq!(sockets, numbers);
        let others: Vec<i32> = self.descriptors.keys().copied().filter(|fd| *fd > 2).collect();
        assert!(others.iter().all(|fd| numbers.contains(fd)), "{others:?} are open");
    }
}

/// As a script, so that what the kernel executes is not what was asked for.
fn told(arguments: &[&str], inherited: &[(&str, &str)]) -> (Srvwrap, Told) {
    let words = arguments.iter().copied().chain(["./leaves-all", "{fd}", "{{fd}}"]);
    let mut starting = srvwrap(words).file("leaves-all", LEAVES_ALL);
    for (name, value) in inherited {
        starting = starting.env(name, value);
    }
    let srvwrap = starting.online();
    let told = Told::by(&srvwrap);
    (srvwrap, told)
}

#[test]
fn systemds_protocol_puts_the_sockets_first_and_names_the_worker_itself() {
    let arguments = ["--protocol", "systemd", "-p", "http=127.0.0.1:0", "-p", "unix:app.sock"];
    let (srvwrap, told) = told(&arguments, &[]);
    told.has_sockets_at(&[3, 4, 5]);
    for (name, value) in [
        ("LISTEN_FDS", "2"),
        ("LISTEN_FDNAMES", "http:unknown"),
        ("LISTEN_PID", told.variables["PID"].as_str()),
        ("LISTEN_FD", "3"),
        ("LISTEN_FD_1", "4"),
        ("LISTEN_FD_HTTP", "3"),
        ("NOTIFY_FD", "5"),
    ] {
        assert_eq!(told.of(name), Some(value), "{name}");
    }
    assert_eq!(told.arguments, ["3", "{fd}"]);
    srvwrap.stop();
}

#[test]
fn server_starters_protocol_names_each_socket_with_its_descriptor() {
    let arguments = ["--protocol", "server-starter", "-p", "0", "-p", "127.0.0.1:0", "-p", "unix:app.sock"];
    let (srvwrap, told) =
        told(&arguments, &[("SERVER_STARTER_PORT", "80=9"), ("SERVER_STARTER_GENERATION", "9")]);
    told.has_sockets_at(&[3, 4, 5, 6]);
    let ports = told.of("SERVER_STARTER_PORT").expect("it is set");
    let [every, one, path] = ports.split(';').collect::<Vec<_>>()[..] else { panic!("{ports}") };
    assert_eq!(every, format!("{}=4", told.of("PORT").expect("it is set")));
    assert!(one.starts_with("127.0.0.1:") && one.ends_with("=5"), "{one}");
    let own = std::fs::canonicalize(srvwrap.path()).expect("it is there").join("app.sock");
    let at = path.strip_suffix("=6").expect("the third");
    assert_eq!(std::fs::canonicalize(Path::new(at)).expect("it is a path"), own);
    assert_eq!(told.of("SERVER_STARTER_GENERATION"), Some("1"));
    srvwrap.stop();
}

#[test]
fn a_socket_on_fd_0_is_all_that_the_stdin_protocol_hands_over() {
    let (srvwrap, told) = told(&["--protocol", "stdin", "-p", "unix:app.sock"], &[]);
    told.has_sockets_at(&[0, 3]);
    assert_eq!((told.of("LISTEN_FD"), told.of("NOTIFY_FD")), (Some("0"), Some("3")));
    assert_eq!((told.of("LISTEN_FDS"), told.of("LISTEN_PID")), (None, None));
    srvwrap.stop();
}

/// What einhorn itself said to srvwrap is not passed on, in whatever protocol.
#[test]
fn einhorns_protocol_counts_the_sockets_and_has_the_notice_descriptor_for_acks() {
    let inherited = [("EINHORN_MASTER_PID", "1"), ("EINHORN_FD_7", "9"), ("EINHORN_SOCK_PATH", "/nowhere")];
    let (srvwrap, told) = told(&["--protocol", "einhorn", "-p", "0", "-p", "unix:app.sock"], &inherited);
    told.has_sockets_at(&[3, 4, 5]);
    let srvwraps = srvwrap.pid().to_string();
    for (name, value) in [
        ("EINHORN_FD_COUNT", Some("2")),
        ("EINHORN_FD_0", Some("4")),
        ("EINHORN_FD_1", Some("5")),
        ("EINHORN_FD_7", None),
        ("EINHORN_FDS", Some("4 5")),
        ("EINHORN_CHILD_INDEX", Some("0")),
        ("EINHORN_MASTER_PID", Some(&srvwraps)),
        ("EINHORN_SOCK_FD", Some("3")),
    ] {
        assert_eq!(told.of(name), value, "{name}");
    }
    assert_ne!(told.of("EINHORN_SOCK_PATH"), Some("/nowhere"));
    srvwrap.stop();
}

/// Else nobody could ack any more after a tidier has been there.
#[test]
fn einhorns_socket_is_made_anew_where_its_path_was_removed() {
    let Some(python) = examples::python_itself() else { return };
    let script = "[ $SRVWRAP_GENERATION = 1 ] && echo online >&3 || \"$0\" acks.py \"$EINHORN_SOCK_PATH\" & exec sleep 1000";
    let words = ["--protocol", "einhorn", "-p", "0", "sh", "-c", script, python.to_str().expect("a path")];
    let mut srvwrap = srvwrap(words).file("acks.py", ACKS).online();
    std::fs::remove_file(srvwrap.path().join("srvwrap.sock.einhorn")).expect("it is there");
    srvwrap.wait_for("srvwrap.sock.einhorn: made anew");
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    let path = srvwrap.path().join("srvwrap.sock.einhorn");
    srvwrap.stop();
    assert!(!path.exists());
}

/// As its libraries write it.
#[test]
fn einhorns_ack_is_a_readiness_word() {
    for ack in [r#"{"command":"worker:ack","pid":1}"#, "---%0Acommand: worker:ack%0Apid: 1%0A"] {
        let script = format!("echo '{ack}' >&$EINHORN_SOCK_FD; exec sleep 1000");
        let words = ["--protocol", "einhorn", "-p", "0", "sh", "-c", &script];
        srvwrap(words).online().stop();
    }
}

/// Waits for the end of the connection.
const ACKS: &str = r"
import socket, sys
it = socket.socket(socket.AF_UNIX)
it.connect(sys.argv[1])
try:
    it.sendall(b'what else\n---%0Acommand: worker:ack%0Apid: 1%0A\n')
    it.recv(1)
except OSError:
    pass
";

/// By its path, as einhorn's libraries do unless they are told otherwise, from a process that the worker has started;
/// and nobody else can say it for a worker.
#[test]
fn einhorns_ack_comes_by_its_socket_too_and_from_workers_alone() {
    let Some(python) = examples::python_itself() else { return };
    let script = "echo ready to ack; until [ -e go ]; do sleep 0.01; done
                  \"$0\" acks.py \"$EINHORN_SOCK_PATH\" & exec sleep 1000";
    let words = ["--protocol", "einhorn", "-p", "0", "sh", "-c", script, python.to_str().expect("a path")];
    let mut srvwrap = srvwrap(words).file("acks.py", ACKS).start();
    srvwrap.wait_for("ready to ack");
    let socket = srvwrap.path().join("srvwrap.sock.einhorn");
    let mut stranger = Command::new(python);
    stranger.arg(srvwrap.path().join("acks.py")).arg(&socket);
    assert!(
        stranger.status().expect("python can be started").success(),
        "its connection was taken, and closed"
    );
    assert!(!srvwrap.has_said("online"), "a stranger's word counts for nothing");
    srvwrap.touch("go");
    srvwrap.wait_for("workers online: 1");
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(!socket.exists());
}

#[test]
fn what_cannot_be_handed_over_ends_the_start_with_2_and_one_line() {
    for (arguments, said) in [
        (&["--protocol", "stdin", "sleep", "1"][..], "srvwrap: --protocol stdin: there is no socket"),
        (
            &["--protocol", "stdin", "-p", "0", "-p", "unix:a", "sleep", "1"],
            "srvwrap: --protocol stdin: it hands over one socket, and there are 2",
        ),
        (&["sleep", "{fd}"], "srvwrap: argument {fd}: there is no socket"),
        (&["-p", "unix:a", "sleep", "{port}"], "srvwrap: argument {port}: no socket has a port"),
        (&["-p", "a=0", "sleep", "--x={fd:b}"], "srvwrap: argument {fd:b}: no socket has this name"),
        (
            &["--protocol", "server-starter", "-p", "unix:a=b", "sleep", "1"],
            "srvwrap: --protocol server-starter: it cannot name ",
        ),
    ] {
        let starting = srvwrap(arguments);
        let directory = starting.path().join("a");
        let mut srvwrap = starting.start();
        assert_eq!(srvwrap.exit_code(), 2, "{arguments:?}");
        let log = srvwrap.log();
        assert!(log.starts_with(said) && log.lines().count() == 1, "{arguments:?}: {log}");
        assert!(!directory.exists(), "nothing is left of {arguments:?}");
    }
}

/// The numbers are those of a worker, and what was typed is what is shown and deployed again.
#[test]
fn a_deploy_fills_words_and_is_refused_where_it_cannot() {
    let Some(python) = examples::python_itself() else { return };
    let example = examples::client("python/example.py");
    let python = python.to_str().expect("a path");
    let program = [
        python,
        "-c",
        "import os, runpy, sys; os.environ['LISTEN_FD'] = sys.argv[2]; \
                       sys.path.insert(0, os.path.dirname(sys.argv[1])); runpy.run_path(sys.argv[1], run_name='__main__')",
        example.to_str().expect("a path"),
    ];
    let words = ["-p", "http=0"].into_iter().chain(program).chain(["{fd}"]);
    let mut srvwrap = srvwrap(words).env("PYTHONDONTWRITEBYTECODE", "1").online();
    let target = Target::Port(srvwrap.port());
    assert_eq!(get(&target, "/").expect("it answers").by().generation, 1);

    let deploy = |argument: &str| {
        let words: Vec<&str> = ["deploy", "--"].into_iter().chain(program).chain([argument]).collect();
        command::told(srvwrap.path(), &words)
    };
    for argument in ["{fd:admin}", "fd://{fd:admin}"] {
        let told = deploy(argument);
        assert_eq!(told.code, 1, "{told:?}");
        let said = format!("{told:?}");
        assert!(said.contains("refused, because of argument {fd:admin}: no socket has this name"), "{said}");
    }
    assert_eq!(get(&target, "/").expect("it answers").by().generation, 1);
    let told = deploy("{fd:http}");
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(get(&target, "/").expect("it answers").by().generation, 2);
    let status = command::told(srvwrap.path(), &["status", "--json"]);
    assert!(format!("{status:?}").contains("{fd:http}"), "{status:?}");
    srvwrap.stop();
}
