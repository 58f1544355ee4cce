//! Paths: from which directory, and which not together.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{self, Command, UsageError};
use crate::config::tests::surroundings;
use crate::config::{Address, Config, ControlPath, Daemon, Surroundings};
use crate::logs::{Destination, LogPath, Own};

fn in_surroundings(line: &[&str], surroundings: &Surroundings) -> Result<Config, UsageError> {
    let words: Vec<OsString> = line.iter().chain(&["x"]).map(OsString::from).collect();
    match cli::parse(&words)? {
        Command::Typed(typed) => Config::from_typed(&typed, surroundings),
        command @ (Command::Help(_) | Command::Version) => panic!("{line:?} gives {command:?}"),
    }
}

/// What `start` with these options means: in the foreground there is no daemon.
pub(in crate::config) fn started(line: &[&str]) -> Result<(Config, Option<Daemon>), UsageError> {
    let words: Vec<OsString> = ["start"].iter().chain(line).chain(&["x"]).map(OsString::from).collect();
    match cli::parse(&words)? {
        Command::Typed(typed) => {
            let config = Config::from_typed(&typed, &surroundings())?;
            Ok((config, Daemon::from_typed(&typed, &surroundings())?))
        }
        command @ (Command::Help(_) | Command::Version) => panic!("{line:?} gives {command:?}"),
    }
}

pub(in crate::config) fn start_error(line: &[&str]) -> String {
    started(line).expect_err("a line that is refused").to_string()
}

pub(in crate::config) fn file(path: &str) -> Destination {
    Destination::File(LogPath::new(path.into()))
}

pub(in crate::config) fn config(line: &[&str]) -> Config {
    in_surroundings(line, &surroundings()).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

pub(in crate::config) fn error(line: &[&str]) -> String {
    in_surroundings(line, &surroundings()).expect_err("a line that is refused").to_string()
}

#[test]
fn every_path_is_taken_from_the_callers_directory() {
    let config =
        config(&["--cwd=app", "--socket=a", "--pid-file=run/x.pid", "--log=x.log", "-p", "unix:app.sock"]);
    assert_eq!(config.directory, Some(PathBuf::from("/srv/app")));
    assert_eq!(config.control, ControlPath { path: "/srv/a".into(), given: true });
    assert_eq!(config.pid_file, Some(PathBuf::from("/srv/run/x.pid")));
    assert_eq!(config.logs.notices, file("/srv/x.log"));
    assert_eq!(config.listeners[0].address, Address::Unix("/srv/app.sock".into()));
    assert_eq!(config.argv, ["x"], "but the program, which is the worker's affair");
}

#[test]
fn a_control_socket_that_somebody_named_must_be_there() {
    let control = |line: &[&str], variable: &str| {
        let surroundings = Surroundings { srvwrap_socket: Some(variable.into()), ..surroundings() };
        in_surroundings(line, &surroundings).expect("a right line").control
    };
    assert_eq!(control(&[], ""), ControlPath { path: "/srv/srvwrap.sock".into(), given: false });
    assert_eq!(control(&[], "/run/x"), ControlPath { path: "/run/x".into(), given: true });
    assert_eq!(control(&["--socket=a"], "/run/x"), ControlPath { path: "/srv/a".into(), given: true });
    let bad = Surroundings { srvwrap_socket: Some("/run/".into()), ..surroundings() };
    assert_eq!(
        in_surroundings(&[], &bad).expect_err("a directory").to_string(),
        "SRVWRAP_SOCKET=/run/: this is a directory; give the path of a socket"
    );
}

#[test]
fn notices_go_to_stderr_or_to_a_file() {
    let stderr = Destination::Own(Own::Stderr);
    assert_eq!(config(&[]).logs.notices, stderr);
    assert_eq!(config(&["--log", "-"]).logs.notices, stderr);
    assert_eq!(error(&["--log", "logs/"]), "--log logs/: this is a directory; give a path, or - for stderr");
    assert_eq!(error(&["--pid-file", ".."]), "--pid-file ..: this is a directory; give a path");
}

#[test]
fn one_path_is_not_two_things() {
    for (line, problem) in [
        (
            ["--pid-file=a", "--socket=a"].as_slice(),
            "--pid-file a: the control socket is there; give another path",
        ),
        (&["--log=srvwrap.sock"], "--log srvwrap.sock: the control socket is there; give another path"),
        (
            &["--log=a", "--pid-file=/srv/./a"],
            "--pid-file /srv/./a: --log a is the same file; give another path",
        ),
        (&["--pid-file=a", "-p", "unix:a"], "--pid-file a: -p listens there; give another path"),
        (&["--socket=a", "-p", "web=unix:a"], "--socket a: -p web=unix:a listens there; give another path"),
        (
            &["-p", "unix:srvwrap.sock"],
            "-p unix:srvwrap.sock: the control socket is there; give another path, or another --socket",
        ),
        (
            &["--protocol=systemd", "-p", "unix:./srvwrap.sock.notify"],
            "-p unix:./srvwrap.sock.notify: the notify socket of --protocol systemd is there; give another path, or \
             another --socket",
        ),
        (
            &["--protocol=einhorn", "--socket=a", "-p0", "-p", "unix:a.einhorn"],
            "-p unix:a.einhorn: the socket of --protocol einhorn is there; give another path, or another --socket",
        ),
        (
            &["--protocol=einhorn", "--socket=a", "--pid-file=a.einhorn"],
            "--pid-file a.einhorn: the socket of --protocol einhorn is there; give another path",
        ),
        (
            &["--protocol=systemd", "--log=srvwrap.sock.notify"],
            "--log srvwrap.sock.notify: the notify socket of --protocol systemd is there; give another path",
        ),
    ] {
        assert_eq!(error(line), problem);
    }
}

#[test]
fn what_no_worker_needs_is_nobodys_path() {
    config(&["-p", "unix:srvwrap.sock.notify", "--pid-file=srvwrap.sock.einhorn"]);
    config(&["--protocol=systemd", "-p", "unix:srvwrap.sock.einhorn"]);
}

#[test]
fn health_is_told_over_tcp_on_a_port_of_its_own() {
    assert_eq!(config(&[]).health, None);
    assert_eq!(config(&["--health", "9000"]).health, Some(Address::Port(9000)));
    assert_eq!(
        config(&["--health=[::1]:0", "-p0"]).health,
        Some(Address::Tcp(([0, 0, 0, 0, 0, 0, 0, 1], 0).into()))
    );
    for (address, because) in [
        ("unix:/a", "not a TCP address; give a port or ADDRESS:PORT"),
        ("a=9000", "not a TCP address; give a port or ADDRESS:PORT"),
        ("70000", "no such port; give 1 to 65535, or 0 for a free one"),
        ("localhost", "the port is missing; give one, as in 127.0.0.1:8000"),
        (
            "example.com:80",
            "names are not looked up; give the address in numbers, as in 127.0.0.1:8000, or localhost",
        ),
    ] {
        assert_eq!(error(&["--health", address]), format!("--health {address}: {because}"));
    }
    assert_eq!(
        error(&["-p", "8000", "--health", "127.0.0.1:8000"]),
        "--health 127.0.0.1:8000: -p 8000 listens there already; give another port"
    );
}

#[test]
fn a_daemons_files_are_in_the_callers_directory_too() {
    let (config, daemon) = started(&["--cwd", "app"]).expect("a right line");
    assert!(daemon.is_some(), "it goes to the background");
    assert_eq!(config.logs.stdout, file("/srv/stdout.log"));
    assert_eq!(config.logs.stderr, file("/srv/stderr.log"));
    assert_eq!(config.logs.notices, file("/srv/srvwrap.log"));
    assert_eq!(config.directory, Some(PathBuf::from("/srv/app")));
    let together = ["--stdout=all", "--stderr=all", "--log=all"];
    assert!(started(&together).is_ok(), "they are appended to, and may be one");
    for (line, problem) in [
        (
            ["--stdout=srvwrap.sock"].as_slice(),
            "--stdout srvwrap.sock: the control socket is there; give another path",
        ),
        (
            &["--stderr=x.pid", "--pid-file=x.pid"],
            "--pid-file x.pid: --stderr x.pid is the same file; give another path",
        ),
        (
            &["--pid-file=stdout.log"],
            "--pid-file stdout.log: --stdout stdout.log is the same file; give another path",
        ),
        (&["--stderr=logs/"], "--stderr logs/: this is a directory; give a path, or - for srvwrap's own"),
        (&["--stdout=-"], "--stdout -: in the background nobody reads it; give a path"),
        (&["--log=-"], "--log -: in the background nobody reads it; give a path"),
    ] {
        assert_eq!(start_error(line), problem);
    }
}

#[test]
fn what_only_a_new_one_takes_is_known_as_it_was_typed_and_what_a_deploy_takes_is_not_among_it() {
    let of = |line: &[&str]| started(line).expect("a right line").1.expect("it goes to the background");
    let nothing = of(&[]);
    assert_eq!((nothing.for_a_new_one.len(), nothing.online_timeout, nothing.bake), (0, None, None));
    let taken = of(&[
        "-n3",
        "--cwd=x",
        "--env=A=1",
        "--bake=3s",
        "--online-timeout=7s",
        "--socket=x.sock",
        "--or-deploy",
        "--json",
    ]);
    assert_eq!(taken.for_a_new_one, [""; 0]);
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!((taken.online_timeout, taken.bake), (seconds(7), seconds(3)));
    let line = [
        "-p8000",
        "--listen=9000",
        "--ready=exec",
        "--stop-timeout=3s",
        "--stop-signal=INT",
        "--on-crash=exit",
        "--stdin=null",
        "--pid-file=c",
        "--health=1",
        "--stdout=a",
        "--stderr=b",
        "--log=d",
        "--stop-leader-only",
        "--node-channel",
    ];
    let typed = of(&line).for_a_new_one;
    let expected: Vec<String> =
        line.iter().map(|word| word.replace('=', " ").replace("-p8000", "-p 8000")).collect();
    assert_eq!(typed, expected);
}

#[test]
fn without_daemon_mode_a_start_stays_in_the_foreground_as_run_does() {
    let naughts =
        ["--daemon-mode", "false", "--stdout", "-", "--stderr=-", "--log=-", "--pid-file=stdout.log"];
    let (config, daemon) = started(&naughts).expect("a right line");
    assert_eq!((daemon, config.logs.notices), (None, Destination::Own(Own::Stderr)));
    assert!(matches!(started(&["--daemon-mode=true", "--remove-old-ipc=false"]), Ok((_, Some(_)))));
    for switch in ["--or-deploy", "--quiet", "--json"] {
        assert_eq!(
            start_error(&["--daemon-mode=false", switch]),
            format!("{switch}: it has no meaning with --daemon-mode false; give one of them")
        );
    }
    for option in ["--daemon-mode", "--remove-old-ipc"] {
        let problem = format!("{option} no: neither true nor false; give true or false");
        assert_eq!(start_error(&[option, "no"]), problem);
    }
}

#[test]
fn the_name_of_a_control_socket_has_its_limit_and_its_directories_have_none() {
    let fitting = format!("--socket={}/{}", "d".repeat(300), "x".repeat(107));
    assert!(config(&[&fitting]).control.path.ends_with("x".repeat(107)));
    let line = error(&["--socket", &"x".repeat(108)]);
    assert!(line.ends_with("has at most 107 bytes, and this one 108; give a shorter one"), "{line}");
}
