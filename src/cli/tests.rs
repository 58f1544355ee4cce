//! What may be typed, and what is said about the rest.

use proptest::prelude::*;

use super::options::options_of;
use super::*;

fn words(line: &[&str]) -> Vec<OsString> {
    line.iter().map(OsString::from).collect()
}

fn typed(line: &[&str]) -> Typed {
    let parsed = parse(&words(line));
    let Ok(Command::Typed(typed)) = parsed else { panic!("{line:?} gives {parsed:?}") };
    *typed
}

fn workers(line: &[&str]) -> String {
    typed(line).options.workers.expect("a number of workers").text().to_string()
}

/// The line that a user would read.
fn error(line: &[&str]) -> String {
    parse(&words(line)).expect_err("a line that is refused").to_string()
}

#[test]
fn an_option_may_be_written_in_every_usual_form() {
    for line in [
        ["-n", "4", "x"].as_slice(),
        &["-n4", "x"],
        &["-n=4", "x"],
        &["--workers", "4", "x"],
        &["--workers=4", "x"],
        &["run", "-n", "4", "x"],
        &["--workers=4", "--", "x"],
    ] {
        assert_eq!(workers(line), "4", "{line:?}");
        assert_eq!(typed(line).program, words(&["x"]), "{line:?}");
    }
}

#[test]
fn a_value_may_hold_an_equals_sign_or_begin_with_a_dash() {
    assert_eq!(typed(&["--ready=after=2s", "x"]).options.ready.text(), "after=2s");
    assert_eq!(typed(&["--ready", "after=2s", "x"]).options.ready.text(), "after=2s");
    assert_eq!(typed(&["-pweb=unix:/x=y", "x"]).options.listen[0].text(), "web=unix:/x=y");
    assert_eq!(workers(&["-n", "-1", "x"]), "-1");
    assert_eq!(workers(&["-n-1", "x"]), "-1");
}

#[test]
fn every_option_of_the_table_has_a_field_of_its_own() {
    let plain = typed(&["x"]).options;
    let mut seen = vec![plain];
    for verb in Verb::ALL {
        for row in options_of(verb).filter(|row| !matches!(row.long, "--help" | "--version")) {
            let mut line = vec![verb.name(), row.long];
            line.extend(row.value.map(|_| "value"));
            line.push("x");
            let options = typed(&line).options;
            let known = OPTIONS.iter().any(|other| other.long == row.long && other.verbs[0] != row.verbs[0]);
            assert!(
                known || verb != row.verbs[0] || !seen.contains(&options),
                "{} changes nothing",
                row.long
            );
            seen.push(options);
        }
    }
}

#[test]
fn an_option_that_is_not_given_has_the_default_of_the_help() {
    let options = typed(&["x"]).options;
    let defaults = [
        (options.ready, "notify"),
        (options.online_timeout, "60s"),
        (options.stop_timeout, "30s"),
        (options.stop_signal, "auto"),
        (options.on_crash, "respawn"),
        (options.bake, "0s"),
        (options.stdin, "null"),
        (options.log_format, "plain"),
        (options.max_log_size, "10M"),
        (options.log_keep, "10"),
        (options.log_full, "block"),
    ];
    for (given, default) in defaults {
        assert_eq!(given.text(), default);
        assert_eq!(given.row.default, Some(default));
    }
    assert_eq!((options.workers, options.listen), (None, vec![]));
    assert!(!options.stop_leader_only && !options.node_channel);
}

#[test]
fn listeners_keep_the_order_of_the_command_line() {
    let listen = typed(&["-p", "3", "--listen=1", "-p2", "x"]).options.listen;
    assert_eq!(listen.iter().map(Given::text).collect::<Vec<_>>(), ["3", "1", "2"]);
}

#[test]
fn all_after_the_program_belongs_to_it() {
    for program in [
        ["node", "-h", "--version", "-n", "0", "--", "", "run"].as_slice(),
        &["", "-V"],
        &["-", "-x"],
        &["server", "deploy"],
    ] {
        for options in [[].as_slice(), &["-n", "2"], &["run"], &["--"], &["--node-channel", "--"]] {
            let line = [options, program].concat();
            assert_eq!(typed(&line).program, words(program), "{line:?}");
        }
    }
}

#[test]
fn two_dashes_end_the_options_once() {
    assert_eq!(typed(&["--", "--", "x"]).program, words(&["--", "x"]));
    assert_eq!(typed(&["--", "-n", "4"]).program, words(&["-n", "4"]));
    assert_eq!(typed(&["--", "deploy"]).program, words(&["deploy"]));
    assert_eq!(typed(&["-n", "4", "--", "run"]).program, words(&["run"]));
    assert_eq!(typed(&["run", "-n", "4", "run", "x"]).program, words(&["run", "x"]));
    assert_eq!(typed(&["run", "deploy"]).program, words(&["deploy"]));
}

#[test]
fn bytes_that_are_not_text_pass_through_values_and_arguments() {
    let path = OsString::from_vec(b"unix:/run/\xff\x80=\xc3\xa9".to_vec());
    let program = OsString::from_vec(b"/bin/\xfe".to_vec());
    let parsed = parse(&["-p".into(), path.clone(), program.clone()]);
    let Ok(Command::Typed(typed)) = parsed else { panic!("{parsed:?}") };
    assert_eq!(typed.options.listen[0].value, path);
    assert_eq!(typed.program, [program]);
}

#[test]
fn help_and_version_need_no_program_and_stop_the_reading() {
    for line in [["-h"].as_slice(), &["--help"], &["run", "--help"], &["-n", "0", "-h", "--bogus"]] {
        assert_eq!(parse(&words(line)), Ok(Command::Help(help::help(Verb::Run))), "{line:?}");
    }
    for line in [["-V"].as_slice(), &["--version", "-h"], &["-p", "x", "-V"]] {
        assert_eq!(parse(&words(line)), Ok(Command::Version), "{line:?}");
    }
}

#[test]
fn a_line_without_a_program_is_told_what_one_looks_like() {
    for line in [[].as_slice(), &["run"], &["--"], &["-n", "4"], &["run", "-p8000", "--"]] {
        assert_eq!(
            error(line),
            "no program to run; give one, as in: srvwrap -n 4 -p 8000 node server.js",
            "{line:?}"
        );
    }
    for line in [["start"].as_slice(), &["start", "-n", "2"], &["start", "--"]] {
        let problem = "no program to run; give one, as in: srvwrap start -n 4 -p 8000 node server.js";
        assert_eq!(error(line), problem, "{line:?}");
    }
}

#[test]
fn a_slip_in_a_command_is_not_run_as_a_program() {
    assert_eq!(
        error(&["stauts"]),
        "stauts: no such command; did you mean srvwrap status? a program of that name is run with: srvwrap -- stauts"
    );
    for (line, meant) in [
        (["restart"].as_slice(), "deploy"),
        (&["reload", "naught.sock"], "deploy"),
        (&["depoly", "-n", "4", "--json", "a.sock"], "deploy"),
        (&["kill", "--now"], "stop"),
        (&["stpo", "--timeout=5s"], "stop"),
        (&["ls"], "status"),
        (&["stat"], "status"),
        (&["statu", "--help"], "status"),
        (&["roll-back"], "rollback"),
        (&["strat"], "start"),
        (&["histroy", "--", "a.sock"], "history"),
    ] {
        let expected = format!("{}: no such command; did you mean srvwrap {meant}? ", line[0]);
        assert!(error(line).starts_with(&expected), "{line:?}: {}", error(line));
    }
}

/// A program whose name is near to a command's has a path, an extension or arguments.
#[test]
fn what_may_be_a_program_is_taken_for_one() {
    for line in [
        ["./stauts"].as_slice(),
        &["bin/restart"],
        &["stop.sh"],
        &["kill", "-9", "4711"],
        &["ps", "aux"],
        &["restart", "app"],
        &["restart", "--", "node"],
        &["status-server"],
        &["stauts", "--port=80"],
        &["strat", "server.js"],
        &["server"],
        &["worker"],
        &["puma"],
        &["bun"],
        &["ruby"],
        &["true"],
        &[""],
    ] {
        assert_eq!(typed(line).program, words(line));
    }
    assert_eq!(typed(&["--", "stauts"]).program, words(&["stauts"]));
    assert_eq!(typed(&["run", "stauts"]).program, words(&["stauts"]));
    assert_eq!(typed(&["-n", "4", "stauts"]).program, words(&["stauts"]));
}

#[test]
fn a_command_of_a_later_version_is_not_run_as_a_program() {
    for name in ["pause", "resume"] {
        let remedy = format!(
            "{name}: this version has no such command; a program of that name is run with: srvwrap -- {name}"
        );
        assert_eq!(error(&[name]), remedy);
        assert_eq!(error(&[name, "--help"]), remedy);
    }
}

#[test]
fn a_command_after_options_is_shown_both_right_forms() {
    assert_eq!(
        error(&["-n", "4", "run", "x"]),
        "run: a command is the very first word, as in: srvwrap run -n 4 ...; \
         a program of that name is run with: srvwrap -n 4 -- run"
    );
    assert_eq!(
        error(&["-n4", "deploy"]),
        "deploy: a command is the very first word, as in: srvwrap deploy -n4 ...; \
         a program of that name is run with: srvwrap -n4 -- deploy"
    );
    assert_eq!(
        error(&["-n4", "pause"]),
        "pause: a command is the very first word, as in: srvwrap pause -n4 ... (which this version does not have); \
         a program of that name is run with: srvwrap -n4 -- pause"
    );
}

#[test]
fn an_unknown_option_is_named_with_the_nearest_one_there_is() {
    for (word, nearest) in [
        ("--lisen", "--listen"),
        ("--worker=4", "--workers"),
        ("-workers", "--workers"),
        ("--on-crush", "--on-crash"),
        ("--node", "--node-channel"),
        ("---help", "--help"),
    ] {
        assert_eq!(error(&[word, "x"]), format!("{word}: no such option; did you mean {nearest}?"));
    }
    for word in ["-x", "--bogus", "--=x", "--x", "-é"] {
        assert_eq!(error(&[word, "x"]), format!("{word}: no such option; srvwrap --help lists them"));
    }
}

#[test]
fn a_missing_value_is_not_taken_from_the_next_option() {
    for line in [
        ["-n"].as_slice(),
        &["-n", "", "x"],
        &["-n=", "x"],
        &["-n", "--", "x"],
        &["-n", "-p", "8000", "x"],
        &["-n", "-p8000", "x"],
        &["-n", "--listen=8000", "x"],
    ] {
        assert_eq!(error(line), "-n: its value is missing; give 1 to 65535, or auto", "{line:?}");
    }
    assert_eq!(error(&["--workers="]), "--workers: its value is missing; give 1 to 65535, or auto");
}

#[test]
fn a_switch_takes_no_value() {
    assert_eq!(
        error(&["--node-channel=yes", "x"]),
        "--node-channel=yes: --node-channel takes no value; give it alone"
    );
    assert_eq!(error(&["-hx"]), "-hx: --help takes no value; give it alone");
}

#[test]
fn only_listen_may_be_given_twice() {
    assert_eq!(error(&["-n1", "--workers", "2", "x"]), "--workers: given twice; give it once");
    assert_eq!(
        error(&["--node-channel", "--node-channel", "x"]),
        "--node-channel: given twice; give it once"
    );
}

#[test]
fn an_error_is_one_line_whatever_the_word_holds() {
    let word = OsString::from_vec(b"--\n\x1b[31m\xff".to_vec());
    let line = parse(&[word]).expect_err("no such option").to_string();
    assert_eq!(line, r"--\n\u{1b}[31m\xff: no such option; srvwrap --help lists them");
    assert_eq!(shown(OsStr::new("")), "\"\"");
    assert_eq!(shown(OsStr::new("two words")), "\"two words\"");
    assert_eq!(
        shown(OsStr::new(r#"echo "$x" `y` \z"#)),
        r#""echo \"\$x\" \`y\` \\z""#,
        "for a shell to take it"
    );
    assert_eq!(shown(OsStr::new("it's")), "\"it's\"");
    assert_eq!(shown(OsStr::new("[::]:8000,{fd}=/~")), "[::]:8000,{fd}=/~");
}

/// Words as they are typed, and words that nobody would type.
fn any_word() -> impl Strategy<Value = OsString> {
    let names = OPTIONS.iter().flat_map(|row| [Some(row.long), row.short]).flatten();
    let likely: Vec<&str> =
        names.chain(["--", "-", "", "run", "deploy", "8000", "-n4", "--ready=exec"]).collect();
    let bytes = proptest::collection::vec(any::<u8>(), 0..12);
    (0..3, proptest::sample::select(likely), bytes).prop_map(|(kind, likely, bytes)| match kind {
        0 => likely.into(),
        1 => OsString::from_vec(bytes),
        _ => OsString::from_vec([b"--listen=".to_vec(), bytes].concat()),
    })
}

#[test]
fn a_call_takes_options_and_words_in_any_order_and_a_program_behind_dashes() {
    for line in ["deploy a.sock -n 3 -- x -n 4", "deploy -n 3 a.sock -- x -n 4", "deploy -n3 -- x -n 4"] {
        let line: Vec<&str> = line.split(' ').collect();
        assert_eq!((workers(&line), typed(&line).program), ("3".to_string(), words(&["x", "-n", "4"])));
    }
    assert_eq!(typed(&["scale", "-1", "--json"]).words, words(&["-1"]));
    for line in [["scale", "--", "-1"].as_slice(), &["scale", "--json", "--", "-1"]] {
        assert_eq!((typed(line).words, typed(line).program), (words(&["-1"]), words(&[])), "{line:?}");
    }
    assert_eq!(typed(&["signal", "USR2", "--", "-odd.sock"]).words, words(&["USR2", "-odd.sock"]));
    assert_eq!(typed(&["status", "--"]).words, words(&[]));
    assert_eq!(typed(&["deploy-abort", "x"]).verb, Verb::Abort);
    assert!(error(&["deploy", "-n", "3", "x", "-n", "4"]).contains("given twice"));
    assert!(error(&["deploy", "--workers", "3", "--worker-count", "4"]).contains("given twice"));
}

#[test]
fn help_of_a_command_is_asked_for_in_two_ways() {
    for verb in Verb::ALL {
        let text = Ok(Command::Help(help::help(verb)));
        assert_eq!(parse(&words(&[verb.name(), "--help"])), text);
        assert_eq!(parse(&words(&["help", verb.name()])), text);
    }
    assert_eq!(parse(&words(&["help"])), Ok(Command::Help(help::help(Verb::Run))));
    assert_eq!(parse(&words(&["version"])), Ok(Command::Version));
    assert_eq!(error(&["help", "me"]), "me: no such command; srvwrap --help lists them");
    assert!(error(&["help", "pause"]).starts_with("pause: this version has no such command"));
    assert_eq!(
        error(&["help", "run", "x"]),
        "run: help has no use for it; a program of that name is run with: srvwrap -- help"
    );
    assert!(error(&["version", "x"]).ends_with("srvwrap -- version"));
    assert_eq!(typed(&["--", "help", "me"]).program, words(&["help", "me"]));
    assert_eq!(typed(&["run", "version"]).program, words(&["version"]));
    assert!(error(&["-n4", "help"]).starts_with("help: a command is the very first word"));
}

#[test]
fn an_option_of_another_command_is_told_as_such() {
    assert_eq!(
        error(&["--now", "x"]),
        "--now: srvwrap has no such option, which is one of stop; srvwrap --help lists its own"
    );
}

proptest! {
    #[test]
    fn no_line_makes_it_panic_and_the_programs_part_is_its_end(line in proptest::collection::vec(any_word(), 0..8)) {
        match parse(&line) {
            Ok(Command::Typed(typed)) => prop_assert!(line.ends_with(&typed.program)),
            Ok(Command::Help(_) | Command::Version) => {}
            Err(error) => {
                let text = error.to_string();
                prop_assert!(!text.contains(char::is_control) && !text.ends_with('.'), "{}", text);
            }
        }
    }

    #[test]
    fn the_programs_part_is_byte_exact(program in proptest::collection::vec(any_word(), 1..8)) {
        let line = [words(&["-n", "3", "-p8000", "--"]), program.clone()].concat();
        let Ok(Command::Typed(typed)) = parse(&line) else { panic!("refused: {line:?}") };
        prop_assert_eq!(typed.program, program);
    }

    #[test]
    fn a_value_is_byte_exact(value in proptest::collection::vec(any::<u8>(), 1..20)) {
        let value = OsString::from_vec([b"unix:".to_vec(), value].concat());
        let Ok(Command::Typed(typed)) = parse(&["-p".into(), value.clone(), "x".into()]) else { panic!("refused") };
        prop_assert_eq!(&typed.options.listen[0].value, &value);
    }
}
