//! `srvwrap logs`: which files it finds, what it shows of them, and when it ends.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::command::{command, run, start, told};
use crate::harness::control::{get, post};
use crate::harness::daemon::Home;
use crate::harness::stand_in::{Asked, StandIn, stand_in};
use crate::harness::{BINARY, srvwrap, wait_until};

/// A status that names these places, relative to the directory.
fn status(directory: &Path, format: &str, places: [&str; 3]) -> String {
    let [stdout, stderr, notices] = places.map(|place| match place.starts_with(['-', '/']) {
        true => place.to_owned(),
        false => directory.join(place).display().to_string(),
    });
    format!(
        r#"{{"schema":1,"version":"0","pid":1,"uptime_ms":1,"activity":"serving","generation":1,
            "workers_wanted":2,"workers_online":2,"program":["x"],"directory":"/","workers":[],"waiting":[],
            "deploy":null,"listeners":[],"logs":{{"stdout":"{stdout}","stderr":"{stderr}","notices":"{notices}",
            "format":"{format}","files":[]}}}}"#
    )
}

fn append(path: &Path, text: &str) {
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// What `logs` says where the files are so.
fn shown(
    format: &str,
    places: [&str; 3],
    files: &[(&str, &str)],
    arguments: &[&str],
) -> crate::harness::command::Told {
    let mut server = stand_in();
    for (name, text) in files {
        append(&server.path().join(name), text);
    }
    let client = start(server.path(), &[&["logs"], arguments].concat());
    let body = status(server.path(), format, places);
    server.asked("GET /status").answer(200, &body);
    let mut told = client.end();
    let directory = format!("{}/", server.path().display());
    for line in told.stdout.iter_mut().chain(&mut told.stderr) {
        *line = line.replace(&directory, "");
    }
    told
}

const ALL: [&str; 3] = ["stdout.log", "stderr.log", "srvwrap.log"];

#[test]
fn the_last_lines_of_each_file_stand_behind_its_name() {
    let files = [("stdout.log", "1\n2\n3\n"), ("stderr.log", "e\n"), ("srvwrap.log", "n\n")];
    let lines = shown("plain", ALL, &files, &["-n", "2"]).done();
    let expected =
        ["==> stdout.log <==", "2", "3", "", "==> stderr.log <==", "e", "", "==> srvwrap.log <==", "n"];
    assert_eq!(lines, expected);
    assert_eq!(shown("plain", ALL, &files, &["--stream", "stdout", "-nall"]).done(), ["1", "2", "3"]);
    assert_eq!(shown("plain", ["a", "a", "a"], &[("a", "1\n")], &[]).done(), ["1"], "one file is shown once");
}

#[test]
fn lines_that_name_their_stream_themselves_are_left_as_they_are() {
    let files = [("stdout.log", "{\"msg\":1}\n"), ("stderr.log", "{\"msg\":2}\n")];
    assert_eq!(shown("json", ALL, &files, &[]).done(), ["{\"msg\":1}", "{\"msg\":2}"]);
}

#[test]
fn the_lines_of_a_slot_are_in_its_file_or_tell_it() {
    let files = [("0.log", "zero\n"), ("1.log", "one\n")];
    let apart = ["{slot}.log", "{slot}.log", "srvwrap.log"];
    assert_eq!(shown("plain", apart, &files, &["--slot", "1"]).done(), ["one"]);
    let lines = shown("plain", apart, &files, &["--stream=stdout"]).done();
    assert_eq!(lines, ["==> 0.log <==", "zero", "", "==> 1.log <==", "one"]);

    let stamp = "2026-11-20T10:00:00.123Z";
    let text = format!("{stamp} x.0 | zero\n{stamp} x.1 | one\n{stamp} srvwrap | both\n");
    let lines = shown("prefix", ["a", "a", "a"], &[("a", &text)], &["--slot=1", "-n1"]).done();
    assert_eq!(lines, [format!("{stamp} x.1 | one")]);

    let why = shown("plain", ALL, &[("stdout.log", "1\n")], &["--slot", "1"]).failed(1);
    assert!(why.starts_with("--slot 1: the lines of all slots are in one file, and do not tell"), "{why}");
    assert!(why.contains("--log-format prefix") && why.contains("{slot}"), "{why}");
}

#[test]
fn a_stream_whose_lines_do_not_tell_their_slot_is_named() {
    for (places, mixed, apart) in
        [(["{slot}", "a", "n"], "stderr", "stdout"), (["a", "{slot}", "n"], "stdout", "stderr")]
    {
        let why = shown("plain", places, &[("a", "1\n")], &["--slot=1"]).failed(1);
        let expected = format!("--slot 1: {mixed} of all slots is in one file, whose lines do not tell; ");
        assert!(why.starts_with(&expected) && why.contains(&format!("give --stream {apart}, or ")), "{why}");
    }
}

#[test]
fn a_slot_that_there_is_not_is_refused_unless_it_has_left_lines() {
    let stamp = "2026-11-20T10:00:00.123Z";
    let text = format!("{stamp} x.0 | zero\n{stamp} x.7 | seven\n");
    let apart = ["{slot}.log", "{slot}.log", "srvwrap.log"];
    for (format, places) in [("plain", apart), ("plain", ALL), ("prefix", ALL)] {
        let files = [("0.log", "zero\n"), ("stdout.log", &text)];
        let why = shown(format, places, &files, &["--slot", "9"]).failed(1);
        assert_eq!(why, "--slot 9: no such slot; there are 0 to 1", "{format} {places:?}");
    }
    assert_eq!(shown("plain", apart, &[("7.log", "seven\n")], &["--slot=7"]).done(), ["seven"]);
    let lines = shown("prefix", ALL, &[("stdout.log", &text)], &["--slot=7"]).done();
    assert!(lines.iter().any(|line| line.ends_with("seven")), "{lines:?}");
    let told = shown("plain", apart, &[("0.log", "zero\n")], &["--slot=1"]);
    assert_eq!((told.code, told.stdout.len()), (0, 0), "it is there, and has written nothing: {told:?}");
}

#[test]
fn what_goes_elsewhere_is_told_and_what_is_there_is_shown() {
    let why = shown("plain", ["-", "-", "-"], &[], &[]).failed(1);
    assert!(
        why.contains("stdout goes to srvwrap's own") && why.contains("look where it was started"),
        "{why}"
    );
    let why = shown("plain", ["/dev/null", "a", "a"], &[("a", "1\n")], &["--stream=stdout"]).failed(1);
    assert!(why.starts_with("stdout is not kept"), "{why}");
    let why = shown("plain", ["a", "a", "-"], &[("a", "1\n")], &["--stream=notices"]).failed(1);
    assert!(why.starts_with("notices go to srvwrap's own stderr"), "{why}");
    let told = shown("plain", ["-", "-", "a"], &[("a", "1\n")], &[]);
    assert_eq!((told.code, told.stdout.concat(), told.stderr.len()), (0, "1".to_owned(), 1), "{told:?}");
    let told = shown("plain", ALL, &[], &[]);
    assert_eq!((told.code, told.stdout.len()), (0, 0), "{told:?}");
    assert!(told.stderr[0].starts_with("srvwrap: nothing was written yet to stdout.log"), "{told:?}");
}

#[test]
fn a_srvwrap_that_is_gone_may_have_left_its_logs() {
    let directory = stand_in().killed();
    assert!(told(directory.path(), &["logs"]).failed(3).starts_with("not running: "));
    append(&directory.path().join("stderr.log"), "Traceback\n");
    for arguments in [["logs"].as_slice(), &["logs", "-f"]] {
        let told = told(directory.path(), arguments);
        assert_eq!(told.code, 0, "{told:?}");
        assert_eq!(told.stdout.last().map(String::as_str), Some("Traceback"), "{told:?}");
        assert!(told.stderr[0].starts_with("srvwrap: not running; this is left of one in /"), "{told:?}");
    }
}

/// One that follows stdout.log.
fn following(server: &mut StandIn) -> (crate::harness::command::Running, Asked) {
    let client = start(server.path(), &["logs", "-f", "--stream=stdout"]);
    let body = status(server.path(), "plain", ALL);
    server.asked("GET /status").answer(200, &body);
    let events = server.asked("GET /events").streams();
    (client, events)
}

#[test]
fn it_follows_through_rotations_to_the_end_of_srvwrap() {
    let mut server = stand_in();
    let path = server.path().join("stdout.log");
    append(&path, "1\n");
    let (mut client, events) = following(&mut server);
    client.wait_for("1");
    for (stamp, lines) in [("000Z", ["2\n", "3\n"]), ("001Z", ["4\n", "5\n"])] {
        append(&path, lines[0]);
        fs::rename(&path, server.path().join(format!("stdout.log.20261120T100000.{stamp}"))).unwrap();
        append(&path, lines[1]);
    }
    client.wait_for("5");
    append(&path, "6\nthe ");
    // The log writer ends after srvwrap.
    events.finish();
    let _directory = server.killed();
    append(&path, "last\n");
    assert_eq!(client.end().done(), ["1", "2", "3", "4", "5", "6", "the last"]);
}

#[test]
fn more_slots_are_followed_as_they_come() {
    let mut server = stand_in();
    append(&server.path().join("0.log"), "zero\n");
    let mut client = start(server.path(), &["logs", "-f", "--stream=stdout"]);
    let body = status(server.path(), "plain", ["{slot}.log", "-", "-"]).replace("wanted\":2", "wanted\":1");
    server.asked("GET /status").answer(200, &body);
    let mut events = server.asked("GET /events").streams();
    client.wait_for("zero");
    append(&server.path().join("1.log"), "one\n");
    let event = crate::harness::stand_in::event("x").replace("\"workers\":1", "\"workers\":2") + "\n";
    events.write(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    client.wait_for("one");
    assert!(client.has_said("1.log <=="));
    events.finish();
    drop(server.killed());
    assert_eq!(client.end().code, 0);
}

#[test]
fn an_interrupt_ends_it_and_so_does_who_reads_it_no_longer() {
    let mut server = stand_in();
    append(&server.path().join("stdout.log"), "1\n2\n");
    let (mut client, _events) = following(&mut server);
    client.wait_for("2");
    client.signal(Signal::SIGINT);
    assert_eq!(client.end().done(), ["1", "2"]);

    let pipeline = format!("'{BINARY}' logs -f --stream=stdout | head -n 1; echo ${{PIPESTATUS[0]}}");
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", &pipeline]).current_dir(server.path()).env_remove("SRVWRAP_SOCKET");
    let shell = run(shell);
    let body = status(server.path(), "plain", ALL);
    server.asked("GET /status").answer(200, &body);
    let _events = server.asked("GET /events").streams();
    assert_eq!(shell.end().done(), ["1", "0"]);
}

#[test]
fn what_cannot_be_read_is_named_and_makes_it_1() {
    let mut server = stand_in();
    fs::create_dir(server.path().join("b")).unwrap();
    let client = run(command(server.path(), &["logs"]));
    let body = status(server.path(), "plain", ["b", "-", "-"]);
    server.asked("GET /status").answer(200, &body);
    let told = client.end();
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.stderr.iter().any(|line| line.ends_with("/b: it is not a file")), "{told:?}");
}

#[test]
fn a_daemons_logs_are_found_by_its_socket() {
    let server = "#!/bin/sh\necho \"worker $SRVWRAP_SLOT\"\necho online >&3\nexec sleep 600\n";
    let home = Home::new().file("server", server);
    let daemon = home.online(&["--stdout=logs.txt", "./server"]);
    let shown = |arguments: &[&str]| {
        told(Path::new("/"), &[arguments, &[home.at("srvwrap.sock").to_str().unwrap()]].concat())
    };
    let mut follower = start(home.path(), &["logs", "-f", "--stream", "notices"]);
    follower.wait_for("online after");
    // It comes by another pipe than what the follower has seen.
    wait_until("it is shown", || shown(&["logs", "--stream", "stdout"]).done() == ["worker 0"]);
    daemon.stop();
    let told = follower.end();
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stdout.last().is_some_and(|line| line.ends_with("stopped")), "{told:?}");
}

#[test]
fn where_there_is_no_log_file_a_reopening_has_nothing_to_do() {
    let srvwrap = srvwrap(["sh", "-c", "echo online >&3; exec sleep 600"]).online();
    assert_eq!(told(srvwrap.path(), &["reopen"]).done(), ["there is no log file"]);
    assert_eq!(told(srvwrap.path(), &["reopen", "--quiet"]).done(), [""; 0]);
    let answer = post(&srvwrap, "/reopen", "{\"now\":true}");
    assert_eq!((answer.status, answer.text("message").contains("POST /reopen")), (400, true));
    let logs = &get(&srvwrap, "/status").json()["logs"];
    assert_eq!(
        (&logs["stdout"], &logs["notices"], &logs["format"]),
        (&"-".into(), &"-".into(), &"plain".into())
    );
}

/// Numbers its lines, and writes them as fast as it can.
const COUNTING: &str = "#!/bin/sh
    echo begun
    echo online >&3
    until test -e go; do sleep 0.02; done
    awk -v slot=$SRVWRAP_SLOT 'BEGIN { for (i = 0; i < 30000; i++) print slot, i, \"and so on, to fill files sooner\" }'
    touch done-$SRVWRAP_SLOT
    exec sleep 600
    ";

/// Asserts that each of two slots has all its lines, once and in order.
fn assert_whole(lines: &[String]) {
    let mut next = [0, 0];
    for line in lines {
        let mut words = line.split(' ').map(|word| word.parse::<usize>().unwrap_or(usize::MAX));
        let (slot, number) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(number, next[slot], "{line}");
        next[slot] += 1;
    }
    assert_eq!(next, [30_000, 30_000]);
}

#[test]
fn nothing_is_lost_or_doubled_by_real_rotations_however_many_there_are() {
    let home = Home::new().file("server", COUNTING);
    let options = ["-n", "2", "--max-log-size=100k", "--log-keep=1000", "./server"];
    let daemon = home.online(&options);
    let mut follower = start(home.path(), &["logs", "-f", "--stream=stdout"]);
    follower.wait_for("begun");
    let lines = |told: crate::harness::command::Told| {
        assert!(told.code == 0 && told.stderr.is_empty(), "{} {:?}", told.code, told.stderr);
        told.stdout.into_iter().filter(|line| line != "begun").collect::<Vec<_>>()
    };
    fs::write(home.at("go"), "").unwrap();
    wait_until("all is written", || home.at("done-0").exists() && home.at("done-1").exists());
    let all = || lines(told(home.path(), &["logs", "--stream=stdout", "--lines=all"]));
    wait_until("all is in files", || all().len() == 60_000);
    assert_whole(&all());
    daemon.stop();
    assert_whole(&lines(follower.end()));
    let archives = home.names().iter().filter(|name| name.starts_with("stdout.log.2")).count();
    assert!(archives > 20, "{:?}", home.names());
}
