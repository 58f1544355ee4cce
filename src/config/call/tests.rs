//! What commands that talk to a running srvwrap mean.

use super::*;
use crate::cli::{self, Command};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

fn surroundings() -> Surroundings {
    let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    Surroundings {
        environment: vec![
            variable("LANG", "C"),
            variable("PWD", "/home"),
            variable("NOTIFY_FD", "7"),
            variable("LISTEN_FD_3", "9"),
            variable("SHLVL", "2"),
        ],
        ..super::super::tests::surroundings()
    }
}

fn call_in(line: &[&str], surroundings: &Surroundings) -> Result<Call, String> {
    let args: Vec<OsString> = line.iter().map(OsString::from).collect();
    match cli::parse(&args) {
        Ok(Command::Typed(typed)) => {
            Call::from_typed(*typed, surroundings).map_err(|error| error.to_string())
        }
        Ok(other) => panic!("{line:?} gives {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn order(line: &[&str]) -> Order {
    match call_in(line, &surroundings()) {
        Ok(Call { act: Act::Order(order), .. }) => order,
        other => panic!("{line:?} gives {other:?}"),
    }
}

fn deploy_of(line: &[&str]) -> Deploy {
    let Order::Deploy(deploy) = order(line) else { panic!("{line:?} is no deploy") };
    deploy
}

fn error(line: &[&str]) -> String {
    call_in(line, &surroundings()).expect_err("a line that is refused")
}

#[test]
fn a_deploy_alone_changes_nothing_and_waits() {
    assert_eq!(deploy_of(&["deploy"]), Deploy::default());
}

#[test]
fn each_option_of_a_deploy_reaches_its_place() {
    let line = "deploy -n 3 --cwd ../app --timeout 90 --online-timeout 2m --bake 5s --surge 2 --no-wait \
                --if-generation 7 --unset OLD --env A=b=c -- node server.js --flag";
    let expected = Deploy {
        program: Some(vec!["node".into(), "server.js".into(), "--flag".into()]),
        directory: Some("/srv/../app".into()),
        environment: vec![("A".into(), Some("b=c".into())), ("OLD".into(), None)],
        workers: Some(3),
        timeout: Some(Duration::from_secs(90)),
        online_timeout: Some(Duration::from_secs(120)),
        bake: Some(Duration::from_secs(5)),
        surge: Some(2),
        wait: false,
        if_generation: Some(7),
    };
    assert_eq!(deploy_of(&line.split_whitespace().collect::<Vec<_>>()), expected);
}

#[test]
fn the_callers_variables_are_laid_over_but_for_what_is_its_own_or_srvwraps() {
    for line in [["deploy", "--inherit-env"].as_slice(), &["deploy", "--override-env", "true"]] {
        assert_eq!(deploy_of(line).environment, [("LANG".into(), Some("C".into()))]);
    }
    assert_eq!(deploy_of(&["deploy", "--override-env=false"]).environment, []);
    let both = deploy_of(&["deploy", "--inherit-env", "--env", "LANG=de"]).environment;
    assert_eq!(both, [("LANG".into(), Some("de".into()))], "no name twice");
    let unset = deploy_of(&["deploy", "--inherit-env", "--unset", "LANG"]).environment;
    assert_eq!(unset, [("LANG".into(), None)]);
}

#[test]
fn the_socket_is_the_one_that_is_named_first() {
    let socket = |line: &[&str], surroundings: &Surroundings| call_in(line, surroundings).unwrap().socket;
    let plain = surroundings();
    assert_eq!(socket(&["status"], &plain), PathBuf::from("/srv/srvwrap.sock"));
    let named = Surroundings { srvwrap_socket: Some("x/y.sock".into()), ..surroundings() };
    assert_eq!(socket(&["status"], &named), PathBuf::from("/srv/x/y.sock"));
    assert_eq!(socket(&["status", "/a.sock"], &named), PathBuf::from("/a.sock"));
    assert_eq!(socket(&["status", "--socket", "/a"], &named), PathBuf::from("/a"));
    assert_eq!(socket(&["deploy", "--ipc-file=b", "-n", "2"], &named), PathBuf::from("/srv/b"));
    assert_eq!(socket(&["scale", "3", "c.sock", "--json"], &plain), PathBuf::from("/srv/c.sock"));
    let there = Surroundings { last_word_is_socket: true, ..surroundings() };
    assert_eq!(socket(&["stop", "naught.ipc"], &there), PathBuf::from("/srv/naught.ipc"));
    let empty = Surroundings { srvwrap_socket: Some("".into()), ..surroundings() };
    assert_eq!(socket(&["status"], &empty), PathBuf::from("/srv/srvwrap.sock"));
}

#[test]
fn a_scale_is_a_number_or_a_difference() {
    assert_eq!(order(&["scale", "8"]), Order::Scale(Scale::To(8)));
    assert_eq!(order(&["scale", "+2"]), Order::Scale(Scale::By(2)));
    assert_eq!(order(&["scale", "-1"]), Order::Scale(Scale::By(-1)));
    assert_eq!(order(&["scale", "--", "-1"]), Order::Scale(Scale::By(-1)));
    assert_eq!(order(&["scale", "--", "8"]), Order::Scale(Scale::To(8)));
    for word in ["", "x", "0", "1.5", "--1", "+", "-0", "+0", "65536", "99999999999"] {
        assert!(error(&["scale", "--", word]).contains("srvwrap scale"), "{word}");
        let text = error(&["scale", word]);
        assert!(text.contains("scale") || text.contains("no such option"), "{word}: {text}");
    }
    assert!(error(&["scale"]).contains("srvwrap scale [OPTIONS] N|+K|-K"));
}

#[test]
fn a_stop_and_a_signal_have_their_options() {
    let stop = |timeout, now| Order::Stop(Stop { timeout, now });
    assert_eq!(order(&["stop"]), stop(None, false));
    assert_eq!(order(&["stop", "--timeout", "0"]), stop(Some(Duration::ZERO), false));
    assert_eq!(order(&["stop", "--now"]), stop(None, true));
    assert!(error(&["stop", "--now", "--timeout", "3"]).contains("give one of them"));
    let signal = Signal { signal: "USR2".into(), slot: Some(0) };
    assert_eq!(order(&["signal", "USR2", "--slot", "0"]), Order::Signal(signal));
    assert!(error(&["signal", "NOPE"]).starts_with("NOPE: no such signal"));
}

#[test]
fn what_is_wrong_is_named_with_its_remedy() {
    for (line, words) in [
        (["deploy", "server.js"].as_slice(), "srvwrap deploy -- PROGRAM"),
        (&["deploy", "a.sock", "b.sock"], "b.sock"),
        (&["stop", "myapp"], "srvwrap stop [OPTIONS] [SOCKET]"),
        (&["stop", "--socket", "x", "y.sock"], "give one of them"),
        (&["deploy", "--env", "A"], "give NAME=VALUE"),
        (&["deploy", "--env", "=x"], "give NAME=VALUE"),
        (&["deploy", "--env", "NOTIFY_FD=3"], "set by srvwrap"),
        (&["deploy", "--unset", "A=b"], "a name holds no ="),
        (&["deploy", "--surge", "0"], "give a number from 1"),
        (&["deploy", "--surge", "-1"], "give a number from 1"),
        (&["deploy", "--if-generation", "x"], "give the number of a generation"),
        (&["deploy", "--timeout", "never"], "give a duration"),
        (&["deploy", "--online-timeout", "0"], "give a duration"),
        (&["deploy", "-n", "0"], "at least one worker"),
        (&["deploy", "--quiet", "--json"], "give one of them"),
        (&["deploy", "--override-env", "yes"], "give true or false"),
        (&["deploy", "--", ""], "a program has a name"),
        (&["deploy", "--"], "as in: srvwrap deploy -- node server.js"),
        (&["deploy", "-n", "2", "--"], "as in: srvwrap deploy -- node server.js"),
        (&["deploy", "node", "--inspect", "x"], "srvwrap deploy -- PROGRAM"),
        (&["deploy", "node", "-p", "80"], "srvwrap deploy -- PROGRAM"),
        (&["deploy", "a.sock", "--inspect"], "--inspect: no such option"),
        (&["deploy", "--env", "A=1", "--env", "A=2"], "--env A: given twice"),
        (&["deploy", "--env", "A=1", "--unset", "A"], "--unset A: --env sets it"),
        (&["deploy", "--inherit-env", "--override-env=false"], "says the opposite"),
        (&["deploy", "--bake", "30s", "--timeout", "30s"], "within --timeout 30s; give a shorter one"),
        (
            &["deploy", "--timeout", "1s", "--bake", "5s"],
            "--bake 5s: no deploy would be done within --timeout 1s",
        ),
        (&["rollback", "--bake", "5s", "--timeout", "1s"], "--bake 5s: no deploy would be done"),
        (&["stop", "--timeout", "soon"], "or none"),
        (&["rollback", "--worker-count", "0"], "--worker-count: srvwrap rollback has no such option"),
        (&["deploy", "--socket", "d/"], "this is a directory"),
        (&["status", "--watch", "--interval", "0"], "nobody reads so fast"),
        (&["deploy", "--now"], "is one of stop"),
        (&["status", "--interval", "1s"], "give --watch"),
        (&["rollback", "--", "node"], "srvwrap deploy -- PROGRAM"),
        (&["status", "-n", "3"], "no such option"),
    ] {
        let text = error(line);
        assert!(text.contains(words) && !text.contains('\n'), "{line:?}: {text}");
    }
}

#[test]
fn naughts_command_lines_are_understood() {
    assert_eq!(order(&["deploy-abort", "naught.sock"]), Order::Abort);
    assert_eq!(deploy_of(&["deploy", "--worker-count", "2"]).workers, Some(2));
    assert_eq!(deploy_of(&["deploy", "--worker-count", "0"]).workers, None);
    for none in ["0", "none", "0s"] {
        assert_eq!(deploy_of(&["deploy", "--timeout", none, "--bake", "1h"]).timeout, None);
    }
    assert_eq!(order(&["stop", "--timeout", "none"]), order(&["stop"]));
}

#[test]
fn values_are_byte_exact() {
    let bytes = OsString::from_vec(b"A=\xff%\n=".to_vec());
    let args = [OsString::from("deploy"), "--env".into(), bytes];
    let Ok(Command::Typed(typed)) = cli::parse(&args) else { panic!("it is a command") };
    let call = Call::from_typed(*typed, &surroundings()).unwrap();
    let Act::Order(Order::Deploy(deploy)) = call.act else { panic!("it is a deploy") };
    assert_eq!(deploy.environment[0].1, Some(Text(OsString::from_vec(b"\xff%\n=".to_vec()))));
}

/// The API counts in milliseconds; less would be none at all.
#[test]
fn a_part_of_a_millisecond_is_a_whole_one() {
    assert_eq!(deploy_of(&["deploy", "--timeout", "0.5ms"]).timeout, Some(Duration::from_millis(1)));
    assert_eq!(
        deploy_of(&["deploy", "--online-timeout", "1.5ms"]).online_timeout,
        Some(Duration::from_millis(2))
    );
    assert_eq!(deploy_of(&["deploy", "--bake", "0"]).bake, Some(Duration::ZERO));
}

#[test]
fn the_lines_of_logs_that_are_wanted_are_the_last_ten_of_all_unless_others_are() {
    let wanted = |line: &[&str]| match call_in(line, &surroundings()) {
        Ok(Call { act: Act::Logs(wanted), .. }) => wanted,
        other => panic!("{line:?} gives {other:?}"),
    };
    let directory = PathBuf::from("/srv");
    let plain =
        LinesWanted { follow: false, lines: 10, slot: None, stream: None, directory: directory.clone() };
    assert_eq!(wanted(&["logs"]), plain);
    let stream = Some(LogStream::Stderr);
    let others = LinesWanted { follow: true, lines: usize::MAX, slot: Some(3), stream, directory };
    assert_eq!(wanted(&["logs", "-f", "-nall", "--slot=3", "--stream", "stderr", "x.sock"]), others);
    assert_eq!(wanted(&["logs", "--lines=0"]).lines, 0);
    assert_eq!(error(&["logs", "-n", "few"]), "-n few: no such number; give a number of lines, or all");
    assert_eq!(
        error(&["logs", "--stream=log"]),
        "--stream log: there is no such stream; give stdout, stderr or notices"
    );
    assert_eq!(
        error(&["logs", "--stream=notices", "--slot=1"]),
        "--stream notices: notices are of no slot; leave --slot out"
    );
    assert_eq!(order(&["reopen", "x.sock"]), Order::Reopen);
}
