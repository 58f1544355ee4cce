//! What values mean, and what is said about those that mean nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;
use crate::cli;
use crate::logs::{Destination, Format, Full, Limits, Own};

pub(super) fn surroundings() -> Surroundings {
    Surroundings {
        web_concurrency: None,
        srvwrap_socket: None,
        environment: Vec::new(),
        last_word_is_socket: false,
        directory: PathBuf::from("/srv"),
        stdin_is_terminal: false,
        pid: 100,
        processors: 6,
    }
}

fn understood(args: &[OsString], surroundings: &Surroundings) -> Result<Config, UsageError> {
    let command = cli::parse(args)?;
    let cli::Command::Typed(typed) = command else { panic!("{args:?} gives {command:?}") };
    Config::from_typed(&typed, surroundings)
}

/// The options of `line` before the program `x`.
fn result(line: &[&str]) -> Result<Config, UsageError> {
    let args: Vec<OsString> = line.iter().chain(&["x"]).map(OsString::from).collect();
    understood(&args, &surroundings())
}

pub(super) fn config(line: &[&str]) -> Config {
    result(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

pub(super) fn error(line: &[&str]) -> String {
    result(line).expect_err("a line that is refused").to_string()
}

fn with_web_concurrency(value: &str, line: &[&str]) -> Result<u32, String> {
    let surroundings = Surroundings { web_concurrency: Some(value.into()), ..surroundings() };
    let args: Vec<OsString> = line.iter().chain(&["x"]).map(OsString::from).collect();
    understood(&args, &surroundings).map(|config| config.count).map_err(|error| error.to_string())
}

fn listeners(line: &[&str]) -> Vec<(Option<String>, String)> {
    let listeners = config(line).listeners.into_iter();
    listeners.map(|listener| (listener.name, listener.address.to_string())).collect()
}

pub(super) fn address(text: &str) -> Address {
    config(&["-p", text]).listeners.remove(0).address
}

/// In the foreground all goes where srvwrap's own goes.
fn own_streams() -> Logs {
    Logs {
        stdout: Destination::Own(Own::Stdout),
        stderr: Destination::Own(Own::Stderr),
        notices: Destination::Own(Own::Stderr),
        format: Format::Plain,
        full: Full::Block,
        limits: Limits { max_size: Some(10 * 1024 * 1024), every: None, keep: 10, total: None },
    }
}

#[test]
fn a_program_alone_gets_the_documented_defaults() {
    let policy = Policy {
        ready: Ready::Notify,
        protocol: Protocol::Srvwrap,
        on_crash: OnCrash::Respawn,
        stop_signal: StopSignal::Auto,
        online_timeout: Duration::from_secs(60),
        stop_timeout: Duration::from_secs(30),
        bake: Duration::ZERO,
    };
    let expected = Config {
        count: 1,
        listeners: vec![],
        handed_in: HandedIn::default(),
        unix: UnixAccess { mode: 0o666, user: None, group: None },
        policy,
        stop_leader_only: false,
        stdin: Stdin::Null,
        node_channel: false,
        directory: None,
        environment: Vec::new(),
        control: ControlPath { path: "/srv/srvwrap.sock".into(), given: false },
        health: None,
        pid_file: None,
        logs: own_streams(),
        argv: vec!["x".into()],
    };
    assert_eq!(config(&[]), expected);
}

#[test]
fn each_option_reaches_its_place() {
    let line = "-n4 -p8000 --ready=after=2s --online-timeout=3s --stop-timeout=4s --stop-signal=INT \
                --stop-leader-only --on-crash=exit --bake=5s --node-channel --protocol=einhorn";
    let expected = Config {
        count: 4,
        listeners: vec![Listener { name: None, address: Address::Port(8000) }],
        handed_in: HandedIn::default(),
        unix: UnixAccess { mode: 0o666, user: None, group: None },
        policy: Policy {
            ready: Ready::After(Duration::from_secs(2)),
            protocol: Protocol::Einhorn,
            on_crash: OnCrash::Exit,
            stop_signal: StopSignal::Signal(libc::SIGINT),
            online_timeout: Duration::from_secs(3),
            stop_timeout: Duration::from_secs(4),
            bake: Duration::from_secs(5),
        },
        stop_leader_only: true,
        stdin: Stdin::Null,
        node_channel: true,
        directory: None,
        environment: Vec::new(),
        control: ControlPath { path: "/srv/srvwrap.sock".into(), given: false },
        health: None,
        pid_file: None,
        logs: own_streams(),
        argv: vec!["x".into()],
    };
    assert_eq!(config(&line.split(' ').collect::<Vec<_>>()), expected);
}

#[test]
fn the_number_of_workers_is_1_to_65535_or_the_processors() {
    assert_eq!(config(&["-n", "1"]).count, 1);
    assert_eq!(config(&["-n", "65535"]).count, 65535);
    assert_eq!(config(&["-n", "auto"]).count, 6);
    for (value, problem) in [
        ("0", "at least one worker is needed"),
        ("000", "at least one worker is needed"),
        ("-1", "at least one worker is needed"),
        ("-99999999999", "at least one worker is needed"),
        ("65536", "too many workers"),
        ("70000", "too many workers"),
        ("99999999999999999999", "too many workers"),
        ("four", "not a number of workers"),
        ("4x", "not a number of workers"),
        ("+4", "not a number of workers"),
        ("4.0", "not a number of workers"),
        ("-", "not a number of workers"),
    ] {
        assert_eq!(error(&["-n", value]), format!("-n {value}: {problem}; give 1 to 65535, or auto"));
    }
    assert!(error(&["--workers=0"]).starts_with("--workers 0: "), "the name is the one that was typed");
}

#[test]
fn no_known_processor_still_means_one_worker() {
    let surroundings = Surroundings { processors: 0, ..surroundings() };
    assert_eq!(understood(&["-nauto".into(), "x".into()], &surroundings).map(|config| config.count), Ok(1));
}

#[test]
fn web_concurrency_counts_where_no_number_is_typed() {
    assert_eq!(with_web_concurrency("3", &[]), Ok(3));
    assert_eq!(with_web_concurrency("auto", &[]), Ok(6));
    assert_eq!(with_web_concurrency("", &[]), Ok(1));
    assert_eq!(with_web_concurrency("3", &["-n", "2"]), Ok(2));
    assert_eq!(with_web_concurrency("many", &["-n", "2"]), Ok(2));
    let error = with_web_concurrency("0", &[]).expect_err("no workers");
    assert_eq!(error, "WEB_CONCURRENCY=0: at least one worker is needed; give 1 to 65535, or auto");
}

#[test]
fn an_address_is_understood_and_shown_as_it_was_written() {
    assert_eq!(address("8000"), Address::Port(8000));
    assert_eq!(address("0"), Address::Port(0));
    assert_eq!(address("127.0.0.1:8000"), Address::Tcp(([127, 0, 0, 1], 8000).into()));
    assert_eq!(address("localhost:8000"), Address::Tcp(([127, 0, 0, 1], 8000).into()));
    assert_eq!(address("[::1]:8000"), Address::Tcp(([0, 0, 0, 0, 0, 0, 0, 1], 8000).into()));
    assert_eq!(address("[::]:8000"), Address::Tcp(([0; 8], 8000).into()));
    assert_eq!(address("unix:/run/app.sock"), Address::Unix("/run/app.sock".into()));
    for text in [
        "8000",
        "0",
        "0.0.0.0:80",
        "[::1]:8000",
        "[fe80::1%2]:80",
        "unix:/run/a=b@c:d",
        "unix:@app",
        "fd:0",
        "fd:3",
    ] {
        assert_eq!(address(text).to_string(), text);
    }
}

#[test]
fn any_address_may_have_a_name() {
    let some = |name: &str| Some(name.to_string());
    assert_eq!(
        listeners(&[
            "-p",
            "http=8000",
            "-p",
            "web=unix:/x=y",
            "-p",
            "v_6=[::1]:80",
            "-p",
            "1a=0",
            "-p",
            "unix=1"
        ]),
        [
            (some("http"), "8000".to_string()),
            (some("web"), "unix:/x=y".to_string()),
            (some("v_6"), "[::1]:80".to_string()),
            (some("1a"), "0".to_string()),
            (some("unix"), "1".to_string()),
        ]
    );
    for name in ["", "HTTP", "0", "12", "a-b", "a.b", "é"] {
        assert_eq!(
            error(&["-p", &format!("{name}=8000")]),
            format!(
                "-p {name}=8000: a name is made of a-z, 0-9 and _, and is not a number; give one, as in http=8000"
            )
        );
    }
    assert_eq!(
        error(&["-p", "web=1", "-p", "web=2"]),
        "-p web=2: two sockets are named web; give each a name of its own"
    );
}

#[test]
fn what_is_not_an_address_is_told_what_is() {
    for (value, because) in [
        ("70000", "no such port; give 1 to 65535, or 0 for a free one"),
        ("65536", "no such port; give 1 to 65535, or 0 for a free one"),
        ("[::1]:70000", "no such port; give 1 to 65535, or 0 for a free one"),
        ("localhost:99999999999999999999", "no such port; give 1 to 65535, or 0 for a free one"),
        ("8000x", "not a port; give 1 to 65535, ADDRESS:PORT or unix:PATH"),
        ("-1", "not a port; give 1 to 65535, ADDRESS:PORT or unix:PATH"),
        ("+1", "not a port; give 1 to 65535, ADDRESS:PORT or unix:PATH"),
        ("http", "not a port; give 1 to 65535, ADDRESS:PORT or unix:PATH"),
        ("127.0.0.1:http", "not a port; give 1 to 65535, ADDRESS:PORT or unix:PATH"),
        ("http=", "the port is missing; give one, as in 127.0.0.1:8000"),
        ("localhost", "the port is missing; give one, as in 127.0.0.1:8000"),
        ("127.0.0.1", "the port is missing; give one, as in 127.0.0.1:8000"),
        ("127.0.0.1:", "the port is missing; give one, as in 127.0.0.1:8000"),
        ("[::1]", "the port is missing; give one, as in 127.0.0.1:8000"),
        ("[::1]:", "the port is missing; give one, as in 127.0.0.1:8000"),
        ("::1", "an IPv6 address stands in brackets; give it as in [::1]:8000"),
        ("::1:8000", "an IPv6 address stands in brackets; give it as in [::1]:8000"),
        ("fe80::1%2:8000", "an IPv6 address stands in brackets; give it as in [::1]:8000"),
        ("[zz]:80", "not an IPv6 address; give one, as in [::1]:8000"),
        ("[127.0.0.1]:80", "not an IPv6 address; give one, as in [::1]:8000"),
        ("[::1:80", "not an IPv6 address; give one, as in [::1]:8000"),
        (":8000", "the address is missing; give the port alone to listen on every address"),
        ("*:8000", "the address is missing; give the port alone to listen on every address"),
        (
            "example.com:80",
            "names are not looked up; give the address in numbers, as in 127.0.0.1:8000, or localhost",
        ),
        (
            "300.1.1.1:80",
            "names are not looked up; give the address in numbers, as in 127.0.0.1:8000, or localhost",
        ),
        ("fd:", "not the number of a descriptor; give one, as in fd:3"),
        ("fd:x", "not the number of a descriptor; give one, as in fd:3"),
        ("fd:-1", "not the number of a descriptor; give one, as in fd:3"),
        ("fd:2147483648", "not the number of a descriptor; give one, as in fd:3"),
        (
            "web=fd:1",
            "1 and 2 are srvwrap's stdout and stderr; give the number of a listening socket, as in fd:3",
        ),
        ("http://localhost:80", "not a URL; give a port, ADDRESS:PORT or unix:PATH"),
        ("/run/app.sock", "a path has unix: before it; give unix:PATH"),
        ("./a=b", "a path has unix: before it; give unix:PATH"),
        ("unix:", "the path is missing; give one, as in unix:/run/app.sock"),
        ("unix:@", "the name is missing; give one, as in unix:@app"),
    ] {
        assert_eq!(error(&["-p", value]), format!("-p {value}: {because}"));
    }
}

#[test]
fn a_relative_socket_path_is_taken_from_the_callers_directory() {
    assert_eq!(address("unix:app.sock"), Address::Unix("/srv/app.sock".into()));
    assert_eq!(
        address("unix:a=b"),
        Address::Unix("/srv/a=b".into()),
        "an equals sign does not make a name of it"
    );
    assert_eq!(address("unix:../app.sock"), Address::Unix("/srv/../app.sock".into()));
}

#[test]
fn a_socket_path_may_have_107_bytes_and_any_but_zero() {
    let longest = format!("unix:/{}", "a".repeat(106));
    assert_eq!(address(&longest).to_string(), longest);
    for (path, length) in
        [(format!("/{}", "a".repeat(107)), 108), ("a".repeat(103), 108), ("é".repeat(100), 205)]
    {
        assert_eq!(
            error(&["-p", &format!("unix:{path}")]),
            format!(
                "-p unix:{path}: a socket's path has at most 107 bytes, and this one {length}; give a shorter one"
            )
        );
    }
    let odd = OsString::from_vec(b"unix:/run/\xff".to_vec());
    let config = understood(&["-p".into(), odd, "x".into()], &surroundings()).expect("a path is bytes");
    let path = OsString::from_vec(b"/run/\xff".to_vec());
    assert_eq!(config.listeners[0].address, Address::Unix(path.into()));
    assert_eq!(config.listeners[0].address.to_string(), r"unix:/run/\xff");
}

#[test]
fn two_sockets_that_exclude_each_other_are_refused() {
    for (one, other, shown) in [
        ("8000", "8000", "8000"),
        ("8000", "http=8000", "8000"),
        ("localhost:80", "127.0.0.1:80", "127.0.0.1:80"),
        ("8000", "0.0.0.0:8000", "8000"),
        ("[::1]:8000", "8000", "[::1]:8000"),
        ("0.0.0.0:80", "10.0.0.1:80", "0.0.0.0:80"),
        ("[::1]:80", "[::]:80", "[::1]:80"),
        ("unix:/srv/a", "unix:a", "unix:/srv/a"),
        ("unix:/srv/./a", "unix:/srv//a", "unix:/srv/./a"),
    ] {
        assert_eq!(
            error(&["-p", one, "-p", other]),
            format!("-p {other}: -p {shown} listens there already; give only one of them")
        );
    }
}

#[test]
fn sockets_that_only_look_alike_are_taken() {
    for pair in [
        ["0", "0"],
        ["localhost:0", "localhost:0"],
        ["0", "localhost:0"],
        ["8000", "8001"],
        ["0.0.0.0:80", "[::]:80"],
        ["127.0.0.1:80", "127.0.0.2:80"],
        ["unix:/a", "unix:/b"],
        ["80", "unix:80"],
    ] {
        assert_eq!(config(&["-p", pair[0], "-p", pair[1]]).listeners.len(), 2, "{pair:?}");
    }
}

#[test]
fn a_worker_is_ready_by_notice_by_exec_or_after_a_time() {
    let ready = |value: &str| config(&["--ready", value]).policy.ready;
    assert_eq!(ready("notify"), Ready::Notify);
    assert_eq!(ready("exec"), Ready::Exec);
    assert_eq!(ready("after=500ms"), Ready::After(Duration::from_millis(500)));
    for (value, because) in [
        ("foo", "no such way to be ready; give notify, exec or after=DURATION"),
        ("after", "no such way to be ready; give notify, exec or after=DURATION"),
        ("after=", "not a duration; give notify, exec or after=DURATION"),
        ("after=-2s", "a duration cannot be negative; give notify, exec or after=DURATION"),
        ("after=0", "that is ready at once; give --ready exec"),
        ("after=60s", "no worker would be ready within --online-timeout 60s; give a longer one"),
    ] {
        assert_eq!(error(&["--ready", value]), format!("--ready {value}: {because}"));
    }
    assert_eq!(
        config(&["--ready=after=60s", "--online-timeout=61s"]).policy.ready,
        Ready::After(Duration::from_secs(60))
    );
}

#[test]
fn zero_is_a_time_only_where_it_means_something() {
    assert_eq!(config(&["--stop-timeout", "0"]).policy.stop_timeout, Duration::ZERO);
    assert_eq!(config(&["--bake", "0ms"]).policy.bake, Duration::ZERO);
    assert_eq!(
        error(&["--online-timeout", "0"]),
        "--online-timeout 0: no worker is online at once; give a duration, as in 500ms, 30s, 2m or 1h"
    );
}

#[test]
fn a_duration_that_is_none_is_refused_by_every_option_that_takes_one() {
    for option in ["--online-timeout", "--stop-timeout", "--bake"] {
        for (value, problem) in [
            ("soon", "not a duration"),
            ("nan", "not a duration"),
            ("-1s", "a duration cannot be negative"),
            ("99999999999999999999h", "longer than a year (8760h)"),
        ] {
            let remedy = "give a duration, as in 500ms, 30s, 2m or 1h";
            assert_eq!(error(&[option, value]), format!("{option} {value}: {problem}; {remedy}"));
        }
    }
}

#[test]
fn a_stop_signal_has_a_name_or_a_number() {
    let signal = |value: &str| config(&["--stop-signal", value]).policy.stop_signal;
    assert_eq!(signal("auto"), StopSignal::Auto);
    assert_eq!(signal("none"), StopSignal::None);
    for (value, number) in [
        ("TERM", libc::SIGTERM),
        ("SIGTERM", libc::SIGTERM),
        ("sigint", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("HUP", libc::SIGHUP),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("WINCH", libc::SIGWINCH),
        ("1", 1),
        ("64", 64),
    ] {
        assert_eq!(signal(value), StopSignal::Signal(number), "{value}");
    }
    let remedy = "give auto, none, TERM, INT, QUIT, HUP, USR1, USR2, WINCH, or a number from 1 to 64";
    for value in ["0", "65", "-15", "+15", "SIG15", "99999999999", "FOO", "SIG", "SIGSIGTERM"] {
        let line = format!("--stop-signal {value}: no such signal to stop by; {remedy}");
        assert_eq!(error(&["--stop-signal", value]), line);
    }
    for value in ["KILL", "SIGKILL", "kill", "9", "STOP", "SIGSTOP", &libc::SIGSTOP.to_string()] {
        let line = error(&["--stop-signal", value]);
        assert!(
            line.starts_with(&format!("--stop-signal {value}: no program can see this signal")),
            "{line}"
        );
    }
}

#[test]
fn a_choice_that_there_is_not_is_told_which_there_are() {
    assert_eq!(
        error(&["--on-crash", "restart"]),
        "--on-crash restart: no such answer to a crash; give respawn or exit"
    );
    assert_eq!(error(&["--stdin=keep"]), "--stdin keep: no such standard input; give null or inherit");
}

#[test]
fn standard_input_is_for_one_worker_and_not_from_a_terminal() {
    assert_eq!(config(&["--stdin", "inherit"]).stdin, Stdin::Inherit);
    assert_eq!(
        error(&["--stdin", "inherit", "-n", "2"]),
        "--stdin inherit: 2 workers cannot share one standard input; give -n 1 as well"
    );
    let terminal = Surroundings { stdin_is_terminal: true, ..surroundings() };
    let refused = understood(&["--stdin=inherit".into(), "x".into()], &terminal).expect_err("a terminal");
    assert_eq!(
        refused.to_string(),
        "--stdin inherit: a worker cannot read from a terminal; \
         give it a file or a pipe, as in: srvwrap ... < file"
    );
    assert_eq!(understood(&["x".into()], &terminal).map(|config| config.stdin), Ok(Stdin::Null));
}

proptest! {
    #[test]
    fn no_value_makes_it_panic_and_what_is_taken_keeps_the_rules(
        option in proptest::sample::select(vec!["-n", "-p", "--ready", "--bake", "--stop-signal", "--online-timeout"]),
        value in proptest::collection::vec(any::<u8>(), 1..130),
    ) {
        let args = [option.into(), OsString::from_vec(value), "x".into()];
        if !args[1].to_string_lossy().starts_with('-') {
            check(&args)?;
        }
    }

    #[test]
    fn what_is_almost_an_address_keeps_the_rules(value in "(([a-z]{0,3}|1)=)?(unix:|fd:|\\[)?[a-z0-9:./@%]{0,9}\\]?(:[0-9]{1,6})?") {
        check(&["-p".into(), value.into(), "x".into()])?;
    }
}

fn check(args: &[OsString]) -> Result<(), TestCaseError> {
    match understood(args, &surroundings()) {
        Ok(config) => {
            prop_assert!((1..=MOST_WORKERS).contains(&config.count));
            for listener in &config.listeners {
                if let Address::Unix(path) = &listener.address {
                    prop_assert!(path.as_os_str().len() <= 107 && path.is_absolute());
                }
            }
            prop_assert_eq!(config.argv, [OsStr::new("x")]);
        }
        Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
    }
    Ok(())
}

/// What is meant by a line of ours, of whichever command.
fn is_understood(line: &str) -> Result<(), String> {
    let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    let last_word_is_socket = line.ends_with(".ipc");
    let surroundings = Surroundings { last_word_is_socket, ..surroundings() };
    let command = cli::parse(&args).map_err(|error| error.to_string())?;
    let cli::Command::Typed(typed) = command else { panic!("{line} gives {command:?}") };
    let meant = if [Verb::Run, Verb::Start].contains(&typed.verb) {
        let config = Config::from_typed(&typed, &surroundings);
        config.and_then(|_| Daemon::from_typed(&typed, &surroundings)).map(drop)
    } else {
        Call::from_typed(*typed, &surroundings).map(drop)
    };
    meant.map_err(|error| error.to_string())
}

/// The command lines of ours in the README's tables for those who come from another tool: whole ones, and parts that
/// are a command, or an option of a start.
fn lines_for_newcomers() -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, section) = readme.split_once("\n## Coming from another tool\n").expect("the section is there");
    let section = section.split("\n## ").next().unwrap();
    let mut lines = Vec::new();
    for table in section.split("\n\n") {
        let of_naught = table.trim_start().starts_with("| naught |");
        for row in table.lines().skip_while(|line| !line.starts_with("|---")).skip(1) {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
            let ours = if of_naught { &cells[..] } else { &cells[1..] };
            let spans = ours.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2));
            lines.extend(spans.filter_map(|span| line_of(span, of_naught)));
        }
    }
    lines
}

/// None where it is no line of ours, or only the name of a command that needs a program.
fn line_of(span: &str, of_naught: bool) -> Option<String> {
    let whole = span.strip_prefix("srvwrap ").or(span.strip_prefix("naught "));
    let line = whole.unwrap_or(span);
    let first = line.split(' ').next().filter(|_| !["run", "start"].contains(&line))?;
    if first == "--override-env" {
        Some(format!("deploy {line}"))
    } else if first.starts_with("--") {
        // Beside other tools' an option may stand for itself, without its value.
        (of_naught || line.contains(' ')).then(|| format!("start {line} x"))
    } else {
        let is_command = first == "deploy-abort" || Verb::ALL.iter().any(|verb| verb.name() == first);
        (whole.is_some() || is_command).then(|| line.to_owned())
    }
}

#[test]
fn what_the_readme_tells_those_who_come_from_another_tool_is_understood() {
    let lines = lines_for_newcomers();
    for line in [
        "start --worker-count 4 server.js",
        "start -n 4 -p 8000 node server.js",
        "start --worker-count 4 x",
        "deploy --override-env true naught.ipc",
        "deploy --override-env true",
        "deploy --inherit-env",
        "deploy-abort",
        "status",
        "stop --timeout 10",
        "start --ipc-file F x",
        "start --daemon-mode false x",
        "start --remove-old-ipc true x",
        "start --socket F x",
        "scale +2",
        "status --watch",
        "signal USR2",
        "node server.js",
        "deploy --surge 1",
        "scale -1",
        "start --pid-file FILE x",
    ] {
        assert!(lines.iter().any(|known| known == line), "the README has no {line:?}; it has {lines:#?}");
    }
    for line in lines {
        assert_eq!(is_understood(&line), Ok(()), "{line}");
    }
    for line in ["deploy --timeout none", "deploy --timeout none naught.ipc", "start --daemon-mode true x"] {
        assert_eq!(is_understood(line), Ok(()), "{line}");
    }
    assert!(is_understood("deploy --override-env maybe").is_err());
}
