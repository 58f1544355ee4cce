//! Bad input to commands: one line that names it and the remedy, exit code 2, and nothing touched.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::bad_input::{USAGE, each_is_refused, refused};
use crate::harness::command::told;
use crate::harness::srvwrap;

/// A program, a typing error, or one word too many where only the path of a socket can stand.
#[test]
fn a_last_word_that_is_no_socket_is_shown_how_a_program_is_deployed() {
    each_is_refused([
        (&["deploy", "server.js"], &["server.js", "srvwrap deploy -- PROGRAM"]),
        (&["deploy", "node", "server.js"], &["srvwrap deploy -- PROGRAM"]),
        (&["deploy", "node", "--inspect", "server.js"], &["node", "srvwrap deploy -- PROGRAM"]),
        (&["deploy", "./node", "-p", "8000"], &["./node", "srvwrap deploy -- PROGRAM"]),
        (&["deploy", "-n", "2", "a.sock", "b.sock"], &["b.sock", "srvwrap deploy -- PROGRAM"]),
        (&["stop", "myapp"], &["myapp", "srvwrap stop [OPTIONS] [SOCKET]"]),
        (&["status", "."], &["srvwrap status [OPTIONS] [SOCKET]"]),
        (&["scale", "2", "3"], &["3", "srvwrap scale [OPTIONS] N|+K|-K [SOCKET]"]),
        (&["stop", "--socket", "a", "b.sock"], &["--socket a", "give one of them"]),
        (&["rollback", "--", "node"], &["node", "srvwrap deploy -- PROGRAM"]),
    ]);
}

/// An empty variable in a script must not turn a change of the program into a deploy of the old one.
#[test]
fn a_deploy_of_a_program_that_is_not_there_is_no_deploy() {
    each_is_refused([
        (&["deploy", "--"], &["--: a program is missing", "srvwrap deploy -- node server.js"]),
        (&["deploy", "--", ""], &["a program has a name"]),
        (&["start"], &["no program", "srvwrap start -n 4"]),
        (&["start", "-n", "2", "--"], &["no program", "srvwrap start -n 4"]),
    ]);
}

/// Else it would be looked for as a program, and where it is one, be kept running.
#[test]
fn a_slip_in_a_command_is_told_from_a_program() {
    each_is_refused([
        (&["stauts"], &["stauts: no such command", "srvwrap status?", "srvwrap -- stauts"]),
        (&["restart"], &["restart: no such command", "srvwrap deploy?", "srvwrap -- restart"]),
        (&["reload", "a.sock"], &["srvwrap deploy?"]),
        (&["kill"], &["srvwrap stop?"]),
        (&["ls"], &["srvwrap status?"]),
    ]);
}

#[test]
fn a_command_that_lacks_its_word_shows_its_usage() {
    each_is_refused([
        (&["scale"], &["srvwrap scale [OPTIONS] N|+K|-K"]),
        (&["signal"], &["srvwrap signal [OPTIONS] NAME"]),
        (&["help", "depoy"], &["depoy: no such command", "srvwrap --help"]),
        (&["help", "deploy", "now"], &["srvwrap -- help"]),
        (&["version", "2"], &["srvwrap -- version"]),
    ]);
}

/// Names, numbers and times that are none, in every option that takes one.
#[test]
fn a_value_that_cannot_be_is_named_with_what_can() {
    for number in ["0", "-1", "65536", "two", "+0", "1.5", "99999999999999999999"] {
        let line = refused(srvwrap(["deploy", "--surge", number]), USAGE);
        assert!(line.contains(&format!("--surge {number}")) && line.contains("1 to 65535"), "{line}");
        let line = refused(srvwrap(["deploy", "-n", number]), USAGE);
        assert!(line.contains(&format!("-n {number}")) && line.contains("1 to 65535, or auto"), "{line}");
    }
    for time in ["soon", "-1", "1w", "1e3", "nan", "99999999999999999999s"] {
        for option in ["--timeout", "--online-timeout", "--bake"] {
            let line = refused(srvwrap(["rollback", option, time]), USAGE);
            assert!(line.contains(option) && line.contains("500ms"), "{line}");
        }
    }
    each_is_refused([
        (&["scale", "0"], &["0: at least one worker", "+K or -K"]),
        (&["scale", "-0"], &["changes nothing"]),
        (&["scale", "-1x"], &["-1x: not a number"]),
        (&["scale", "+70000"], &["too many workers"]),
        (&["signal", "USR3"], &["USR3: no such signal"]),
        (&["signal", "65"], &["1 to 64"]),
        (&["signal", "HUP", "--slot", "-1"], &["--slot -1", "from 0"]),
        (&["deploy", "--if-generation", "new"], &["--if-generation new", "number of a generation"]),
        (&["deploy", "--online-timeout", "0"], &["--online-timeout 0"]),
        (&["status", "--watch", "--interval", "0"], &["--interval 0"]),
        (&["deploy", "--override-env", "1"], &["give true or false"]),
        (&["start", "--daemon-mode", "off", "true"], &["give true or false"]),
        (&["--health", "unix:/x", "true"], &["--health unix:/x", "ADDRESS:PORT"]),
        (&["--health", "70000", "true"], &["--health 70000", "1 to 65535"]),
    ]);
}

#[test]
fn what_excludes_each_other_is_named_together() {
    each_is_refused([
        (&["deploy", "--quiet", "--json"], &["--quiet", "--json"]),
        (&["stop", "--now", "--timeout", "5s"], &["--timeout 5s", "--now"]),
        (&["deploy", "--timeout", "1s", "--bake", "5s"], &["--bake 5s", "--timeout 1s"]),
        (&["deploy", "--bake", "30s", "--timeout", "10s"], &["--bake 30s", "--timeout 10s"]),
        (&["deploy", "--inherit-env", "--override-env=false"], &["--inherit-env", "--override-env false"]),
        (&["deploy", "-n", "2", "--worker-count", "3"], &["given twice"]),
        (&["status", "--interval", "5s"], &["--interval 5s", "--watch"]),
        (
            &["start", "--stdout=a-{slot}", "--stderr=a-0", "true"],
            &["--stderr a-0", "--stdout a-{slot}", "slot 0"],
        ),
        (&["start", "--daemon-mode=false", "--or-deploy", "true"], &["--or-deploy", "--daemon-mode false"]),
        (&["-p", "8000", "--health", "8000", "true"], &["--health 8000", "-p 8000"]),
        (&["-p", "0", "--env", "PORT=80", "true"], &["--env PORT", "-p"]),
    ]);
}

/// Each of them would have its file taken away, or be a socket where a file is wanted.
#[test]
fn two_things_at_one_path_are_refused_before_either_is_there() {
    each_is_refused([
        (&["--pid-file", "x", "--socket", "x", "true"], &["--pid-file x", "the control socket"]),
        (&["--log", "srvwrap.sock", "true"], &["--log srvwrap.sock", "the control socket"]),
        (&["-p", "unix:srvwrap.sock", "true"], &["-p unix:srvwrap.sock", "the control socket"]),
        (&["-p", "unix:x", "--pid-file", "./x", "true"], &["--pid-file ./x", "-p listens there"]),
        (&["start", "--pid-file", "stdout.log", "true"], &["--pid-file stdout.log", "the same file"]),
        (&["--socket", "x/", "true"], &["--socket x/", "a directory"]),
        (&["start", "--log", "logs/", "true"], &["--log logs/", "a directory"]),
        (&["start", "--stdout", "-", "true"], &["--stdout -", "in the background"]),
    ]);
    let line = refused(srvwrap(["true"]).env("SRVWRAP_SOCKET", "run/"), USAGE);
    assert!(line.contains("SRVWRAP_SOCKET=run/") && line.contains("a directory"), "{line}");
    let line = refused(srvwrap(["stop", "--socket", &"x".repeat(108)]), USAGE);
    assert!(line.contains("107 bytes"), "{line}");
}

/// Logs keep what is said on stderr, and a secret has no place in them.
#[test]
fn a_variable_that_cannot_be_set_is_named_without_its_value() {
    for command in [["run"].as_slice(), &["start"], &["deploy"]] {
        for (variable, name) in [
            ("SRVWRAP_SLOT=s3cret", "SRVWRAP_SLOT"),
            ("LISTEN_FD_9=s3cret", "LISTEN_FD_9"),
            ("NOTIFY_SOCKET=s3cret", "NOTIFY_SOCKET"),
            ("PWD=s3cret", "PWD"),
            ("=s3cret", "--env \"\""),
        ] {
            let line = refused(srvwrap([command, &["--env", variable, "--", "true"]].concat()), USAGE);
            assert!(line.contains(name) && !line.contains("s3cret"), "{line}");
        }
    }
    let twice = ["deploy", "--env", "TOKEN=s3cret", "--env", "TOKEN=s3cret"];
    let line = refused(srvwrap(twice), USAGE);
    assert!(line.contains("--env TOKEN: given twice") && !line.contains("s3cret"), "{line}");
    each_is_refused([
        (&["deploy", "--env", "TOKEN"], &["--env TOKEN", "NAME=VALUE"]),
        (&["deploy", "--unset", "A=b"], &["--unset A=b", "holds no ="]),
        (&["deploy", "--env", "A=b", "--unset", "A"], &["--unset A", "--env sets it"]),
    ]);
}

#[test]
fn an_option_of_another_command_is_told_whose_it_is() {
    each_is_refused([
        (&["status", "--surge", "1"], &["--surge", "deploy, rollback", "srvwrap status --help"]),
        (&["--or-deploy", "true"], &["--or-deploy", "start", "srvwrap --help"]),
        (&["deploy", "--listen", "80"], &["--listen", "run, start"]),
        (&["stop", "--tiemout", "5s"], &["--tiemout", "did you mean --timeout?"]),
        (&["deploy", "--frobnicate"], &["--frobnicate", "srvwrap deploy --help"]),
    ]);
}

#[test]
fn bytes_that_are_no_text_are_shown_in_one_line() {
    let words = |words: &[&[u8]]| {
        words.iter().map(|word| OsStr::from_bytes(word).to_owned()).collect::<Vec<OsString>>()
    };
    for (line, shown) in [
        (words(&[b"scale", b"\xff"]), "\\xff"),
        (words(&[b"signal", b"A\nB"]), "A\\nB"),
        (words(&[b"deploy", b"x\xff\x1b[2J"]), "x\\xff\\u{1b}[2J"),
        (words(&[b"deploy", b"--env", b"\xff\n"]), "\\xff\\n"),
        (words(&[b"help", b"\xfe"]), "\\xfe"),
    ] {
        let line = refused(srvwrap(line), USAGE);
        assert!(line.contains(shown), "{line}");
    }
}

/// A wrong line has no effect on a srvwrap that runs.
#[test]
fn a_wrong_command_does_not_reach_a_running_srvwrap() {
    let mut srvwrap = srvwrap(["sh", "-c", "echo online >&3; while :; do sleep 0.05; done"]).online();
    let before = srvwrap.log();
    for line in [
        ["stop", "--now", "--timeout=0"].as_slice(),
        &["deploy", "--env", "PWD=/"],
        &["scale", "0"],
        &["signal", "NOPE"],
        &["deploy", "sh"],
        &["abort", "--now"],
    ] {
        let told = told(srvwrap.path(), line);
        assert_eq!(told.code, USAGE, "{line:?}");
    }
    assert_eq!(srvwrap.log(), before);
}
