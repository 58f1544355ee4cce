//! What workers write, on its way to files and to srvwrap's own streams: whole, in order, and never in the way of
//! anybody.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::control::{Raw, post};
use crate::harness::daemon::{Home, returned};
use crate::harness::{pipe, proc, srvwrap, wait_until};

/// Writes `$1` numbered lines, each with its slot before it and `$2` letters behind it, then makes the file
/// `done.SLOT`.
const WRITES: &str = r#"
echo online >&3
awk -v slot="$SRVWRAP_SLOT" -v lines="$1" -v letters="$2" 'BEGIN {
    text = "x"; while (length(text) < letters) text = text text
    text = substr(text, 1, letters)
    for (i = 0; i < lines; i++) printf "%d %d %s\n", slot, i, text
}'
: > done.$SRVWRAP_SLOT
exec sleep 1000
"#;

fn writes<'a>(options: &[&'a str], lines: &'a str, letters: &'a str) -> Vec<&'a str> {
    options.iter().copied().chain(["sh", "-c", WRITES, "sh", lines, letters]).collect()
}

fn lines_of(path: &Path) -> usize {
    fs::read(path).map(|text| text.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(0)
}

/// The numbers of each slot, in the order of the lines. Each line must be whole.
fn numbers(text: &str, letters: usize) -> BTreeMap<u32, Vec<u32>> {
    let mut numbers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [slot, number, rest] = words[..] else { panic!("a torn line: {line:.80}") };
        assert!(rest.len() == letters && rest.bytes().all(|byte| byte == b'x'), "a torn line: {line:.80}");
        numbers.entry(slot.parse().unwrap()).or_default().push(number.parse().unwrap());
    }
    numbers
}

#[test]
fn long_lines_of_four_workers_come_whole_and_in_order() {
    let home = Home::new();
    let daemon = home.online(&writes(&["-n4", "--max-log-size=0"], "400", "9000"));
    let path = home.at("stdout.log");
    wait_until("all is written", || lines_of(&path) == 4 * 400);
    daemon.stop();
    let expected: Vec<u32> = (0..400).collect();
    let found = numbers(&home.text("stdout.log"), 9000);
    assert_eq!(found.len(), 4);
    assert!(found.values().all(|numbers| *numbers == expected));
}

#[test]
fn what_a_worker_writes_last_is_there_when_srvwrap_has_stopped() {
    let program =
        "trap 'echo last words; printf half >&2; exit 0' TERM; echo online >&3; while :; do sleep 0.05; done";
    let home = Home::new();
    home.online(&["-n3", "--stop-leader-only", "sh", "-c", program]).stop();
    assert_eq!(home.text("stdout.log"), "last words\n".repeat(3));
    assert_eq!(home.text("stderr.log"), "half\n".repeat(3));
    assert!(home.text("srvwrap.log").ends_with("srvwrap: stopped\n"));
}

#[test]
fn all_may_go_to_one_file_and_each_slot_may_have_its_own() {
    let program = "echo out; echo err >&2; echo online >&3; exec sleep 1000";
    let home = Home::new();
    home.online(&["--stdout=all", "--stderr=all", "--log=all", "-n1", "sh", "-c", program]).stop();
    let text = home.text("all");
    assert!(
        text.contains("out\n") && text.contains("err\n") && text.contains("srvwrap: stopped\n"),
        "{text}"
    );

    let home = Home::new();
    let daemon = home.online(&["--stdout=logs/{slot}/out", "-n2", "sh", "-c", program]);
    assert_eq!(Raw::connect(&home.at("srvwrap.sock")).post("/scale", r#"{"to": 3}"#).status, 200);
    daemon.stop();
    for slot in 0..3 {
        assert_eq!(home.text(&format!("logs/{slot}/out")), "out\n");
    }
}

/// Not of srvwrap's group, nor of the worker's.
#[test]
fn what_an_orphan_writes_is_its_workers_and_comes_slowly_and_delays_no_stop() {
    let flood = "yes flood-flood-flood-flood-flood-flood-flood-flood-flood-flood-flood";
    let program = format!(
        "if [ -e first ]; then echo online >&3; exec sleep 1000; fi; : > first; \
         setsid {flood} & echo online >&3; sleep 1; exit 3"
    );
    let home = Home::new();
    let daemon = home.online(&["--log-format=prefix", "--max-log-size=0", "-n1", "sh", "-c", &program]);
    wait_until("it is replaced", || home.text("srvwrap.log").matches("online after").count() == 2);
    let size = || fs::metadata(home.at("stdout.log")).unwrap().len();
    // What was in its pipe when the worker died, and all that was written while that was read, is read at once, and may
    // not be in the file yet.
    let first = size();
    wait_until("it writes on", || size() > first + 3 * 1024 * 1024);
    let (before, began) = (size(), Instant::now());
    wait_until("it writes on", || size() > before + 1024 * 1024);
    let took = began.elapsed();
    assert!(took > Duration::from_millis(400), "more than half a megabyte of an orphan was read in {took:?}");
    let asked = Instant::now();
    daemon.stop();
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    let text = home.text("stdout.log");
    let flooded = &flood["yes ".len()..];
    let said = text.lines().map(|line| line.split_once("Z sh.0 | ").map_or(line, |(_, said)| said));
    let cut: Vec<&str> = said.filter(|said| *said != flooded).collect();
    // Where its worker died, and at the end: a line that had begun by then has ended there.
    assert!(cut.len() <= 3 && cut.iter().all(|said| flooded.contains(said)), "{cut:?}");
}

#[test]
fn a_stdout_that_nobody_reads_stops_nothing_and_what_is_dropped_is_counted() {
    let (reader, writer) = pipe();
    let options = ["--log-format=json", "--log-full=drop-new", "-n2"];
    let starting = srvwrap(writes(&options, "30000", "100")).with(|command| _ = command.stdout(writer));
    let mut srvwrap = starting.start();
    let directory = srvwrap.directory.path().to_path_buf();
    wait_until("all is written", || (0..2).all(|slot| directory.join(format!("done.{slot}")).exists()));
    assert!(
        proc::status(srvwrap.pid() as i32, "VmRSS").trim_end_matches(" kB").parse::<u64>().unwrap() < 40_000
    );
    let reading = thread::spawn(move || {
        let lines = BufReader::new(File::from(reader)).lines().map_while(Result::ok);
        lines.map(|line| serde_json::from_str::<Value>(&line).expect("valid JSON")).collect::<Vec<_>>()
    });
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    drop(srvwrap);
    let lines = reading.join().unwrap();
    let kept = lines.iter().filter(|line| line["msg"].as_str().unwrap().ends_with("xxx")).count() as u64;
    let dropped: u64 = lines.iter().filter_map(|line| line["dropped_lines"].as_u64()).sum();
    assert!(dropped > 0 && kept > 1000, "{kept} kept, {dropped} dropped");
    assert_eq!(kept + dropped, 60_000);
}

#[test]
fn a_stdout_that_is_full_makes_its_writers_wait_and_nobody_else() {
    let (reader, writer) = pipe();
    let starting = srvwrap(writes(&["--log-format=prefix", "-n1"], "20000", "100"));
    let mut srvwrap = starting.with(|command| _ = command.stdout(writer)).online();
    let directory = srvwrap.directory.path().to_path_buf();
    let status = crate::harness::control::get(&srvwrap, "/status");
    assert_eq!(status.status, 200);
    assert!(!directory.join("done.0").exists(), "it waits: there are 2 MB to write, and nobody reads");
    let reading =
        thread::spawn(move || BufReader::new(File::from(reader)).lines().map_while(Result::ok).count());
    wait_until("all is written", || directory.join("done.0").exists());
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    drop(srvwrap);
    assert_eq!(reading.join().unwrap(), 20_000);
}

#[test]
fn a_stdout_whose_reader_is_gone_is_said_once_and_workers_write_on() {
    let (reader, writer) = pipe();
    drop(reader);
    let starting = srvwrap(writes(&["--log-format=prefix", "-n1"], "20000", "100"));
    let mut srvwrap = starting.with(|command| _ = command.stdout(writer)).online();
    let done = srvwrap.directory.path().join("done.0");
    wait_until("all is written", || done.exists());
    let words = "cannot write to stdout: Broken pipe; what workers write there is dropped";
    wait_until("it is said", || srvwrap.has_said(words));
    let log = srvwrap.stop();
    assert_eq!(log.matches(words).count(), 1, "{log}");
}

#[test]
fn notices_have_the_form_of_lines() {
    let program = ["sh", "-c", "echo out; echo online >&3; exec sleep 1000"];
    let log = srvwrap(["--log-format=json", "-n1"].into_iter().chain(program)).online().stop();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("valid JSON")).collect();
    let of = |stream: &str| lines.iter().filter(|line| line["stream"] == stream).collect::<Vec<_>>();
    assert_eq!(of("stdout")[0]["msg"], "out");
    assert_eq!(of("srvwrap").last().unwrap()["msg"], "stopped");
    let log = srvwrap(["--log-format=prefix", "-n1"].into_iter().chain(program)).online().stop();
    assert!(log.lines().all(|line| line.contains("Z srvwrap | ") || line.ends_with("Z sh.0 | out")), "{log}");
}

#[test]
fn under_a_journal_notices_have_priorities_and_workers_do_not_take_its_stream_for_theirs() {
    let program =
        "echo \"journal: $JOURNAL_STREAM\" > seen; [ -e bad ] && exit 3; echo online >&3; exec sleep 1000";
    for (option, is_kept) in
        [("--stderr=-", true), ("--stderr=/dev/null", true), ("--log-full=drop-new", false)]
    {
        let (reader, writer) = pipe();
        let found = File::from(reader.try_clone().unwrap()).metadata().unwrap();
        let stream = format!("{}:{}", found.dev(), found.ino());
        let starting = srvwrap([option, "-n1", "sh", "-c", program]).env("JOURNAL_STREAM", &stream);
        let srvwrap = starting.with(|command| _ = command.stderr(writer)).start();
        let mut lines = BufReader::new(File::from(reader)).lines().map_while(Result::ok);
        let online = lines.find(|line| line.contains("workers online")).expect("it boots");
        assert!(online.starts_with("<6>srvwrap: workers online: 1"), "{online}");
        let seen = fs::read_to_string(srvwrap.path().join("seen")).unwrap();
        assert_eq!(seen == format!("journal: {stream}\n"), is_kept, "{option}: {seen}");
        fs::write(srvwrap.path().join("bad"), "").unwrap();
        srvwrap.signal(Signal::SIGHUP);
        let failed = lines.find(|line| line.contains("deploy 2 failed")).expect("it fails");
        assert!(failed.starts_with("<3>srvwrap: deploy 2 failed"), "{failed}");
    }
}

#[test]
fn files_that_were_moved_away_are_opened_anew_at_usr1() {
    let home = Home::new();
    let daemon = home.online(&[
        "-n1",
        "sh",
        "-c",
        "trap 'echo again' USR2; echo online >&3; while :; do sleep 0.05; done",
    ]);
    fs::rename(home.at("stdout.log"), home.at("old.log")).unwrap();
    daemon.signal(Signal::SIGUSR1);
    wait_until("they are open", || home.text("srvwrap.log").contains("USR1: logs reopened"));
    let signal = Raw::connect(&home.at("srvwrap.sock")).post("/signal", r#"{"signal": "USR2"}"#);
    assert_eq!(signal.status, 200);
    wait_until("it writes to the new one", || home.text("stdout.log") == "again\n");
    assert_eq!(home.text("old.log"), "");
    daemon.stop();

    let mut srvwrap = srvwrap(["-n1", "sh", "-c", "echo online >&3; exec sleep 1000"]).online();
    srvwrap.signal(Signal::SIGUSR1);
    srvwrap.wait_for("USR1: there is no log file");
    srvwrap.stop();
}

const FAILS: &str = "[ $SRVWRAP_GENERATION = 1 ] && { echo online >&3; exec sleep 1000; }; \
                     echo no database >&2; printf 'give it one' >&2; exit 3";

#[test]
fn a_failed_deploy_shows_what_the_worker_wrote_last_but_the_same_only_once() {
    let mut srvwrap = srvwrap(["--stderr=errors", "-n1", "sh", "-c", FAILS]).online();
    for round in 1..=2 {
        let answer = post(&srvwrap, "/deploy", "{}");
        assert_eq!(answer.json()["stderr"], serde_json::json!(["no database", "give it one"]), "{answer:?}");
        srvwrap.wait_until_said(" failed: worker 0 ", round);
    }
    let log = srvwrap.stop();
    assert_eq!(log.matches(") wrote: no database").count(), 1, "{log}");
    assert_eq!(log.matches(") wrote: give it one").count(), 1, "{log}");
}

#[test]
fn what_stands_above_a_notice_already_is_not_shown_again() {
    for options in [&["-n1"][..], &["-n1", "--log-format=prefix"]] {
        let words = options.iter().copied().chain(["sh", "-c", "echo no database >&2; exit 3"]);
        let mut srvwrap = srvwrap(words).start();
        assert_eq!(srvwrap.exit_code(), 1);
        let log = srvwrap.log();
        assert_eq!(log.matches("no database").count(), 1, "{log}");
    }
}

#[test]
fn a_start_that_fails_shows_what_the_worker_wrote_last() {
    for options in [&["-n1"][..], &["-n1", "--quiet"], &["-n1", "--json"]] {
        let home = Home::new();
        let words: Vec<&str> =
            options.iter().copied().chain(["sh", "-c", "echo no database >&2; exit 3"]).collect();
        let mut command = home.start_command(&words);
        command.stdin(Stdio::null());
        let returned = returned(command);
        assert_eq!(returned.code, 1);
        let shown = format!("{}{}", returned.stdout, returned.stderr);
        assert!(shown.contains("no database"), "{options:?}: {shown}");
    }
}

#[test]
fn a_log_that_another_srvwrap_writes_is_refused() {
    let home = Home::new();
    let program = ["sh", "-c", "echo online >&3; exec sleep 1000"];
    let daemon = home.online(&["-n1", program[0], program[1], program[2]]);
    let words = ["--socket=other.sock", "-n1", program[0], program[1], program[2]];
    let second = home.start(&words);
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains("stdout.log: another srvwrap writes to it"), "{}", second.stderr);
    assert_eq!(second.stderr.lines().count(), 1, "{}", second.stderr);
    daemon.stop();
}
