//! Which file a stream goes to: one for each slot, one for all, none at all; and who may write to it.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::command::told;
use crate::harness::control::Raw;
use crate::harness::daemon::Home;
use crate::harness::{proc, send, srvwrap, wait_until};

/// Says its slot and generation on both streams.
const SAYS: &str =
    "echo \"$SRVWRAP_SLOT.$SRVWRAP_GENERATION\"; echo \"$SRVWRAP_SLOT.$SRVWRAP_GENERATION err\" >&2
    echo online >&3; exec sleep 1000";

#[test]
fn each_slot_keeps_its_file_across_scales_and_deploys() {
    let home = Home::new();
    let options = ["--stdout={slot}.log", "--stderr={slot}.log", "--log=srvwrap.log", "-n2"];
    let daemon = home.online(&[&options[..], &["sh", "-c", SAYS]].concat());
    for arguments in [&["scale", "4"][..], &["deploy"], &["scale", "1"], &["deploy"], &["scale", "2"]] {
        let told = told(home.path(), arguments);
        assert_eq!(told.code, 0, "{arguments:?}: {told:?}");
    }
    daemon.stop();
    let both = |said: &[&str]| said.iter().map(|said| format!("{said}\n{said} err\n")).collect::<String>();
    for (slot, said) in [
        (0, &["0.1", "0.2", "0.3"][..]),
        (1, &["1.1", "1.2", "1.3"]),
        (2, &["2.1", "2.2"]),
        (3, &["3.1", "3.2"]),
    ] {
        let text = home.text(&format!("{slot}.log"));
        let mut found: Vec<&str> = text.lines().collect();
        let expected = both(said);
        let mut expected: Vec<&str> = expected.lines().collect();
        // The two streams are two pipes.
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{slot}");
    }
    assert!(!home.at("4.log").exists());
}

#[test]
fn all_in_one_file_of_json_is_an_object_in_each_line() {
    let home = Home::new();
    let program = "i=0; while [ $i -lt 500 ]; do i=$((i + 1)); echo \"out \\\"$i\\\"\"; printf 'e\\377\\033[1m %s\\n' $i >&2; done
        printf 'half \\342\\202'; : >done.$SRVWRAP_SLOT; echo online >&3; exec sleep 1000";
    let options = ["--stdout=all", "--stderr=all", "--log=all", "--log-format=json", "-n3"];
    let daemon = home.online(&[&options[..], &["sh", "-c", program]].concat());
    assert_eq!(told(home.path(), &["deploy"]).code, 0);
    daemon.stop();
    let text = fs::read(home.at("all")).unwrap();
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let objects: Vec<Value> = lines
        .map(|line| serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
        .collect();
    let of = |stream: &str| objects.iter().filter(|object| object["stream"] == stream).count();
    assert_eq!((of("stdout"), of("stderr")), (6 * 501, 6 * 500));
    assert!(objects.iter().all(|object| object["ts"].is_string() && object["msg"].is_string()));
    assert_eq!(objects.last().unwrap()["msg"], "stopped");
    assert!(of("srvwrap") > 5);
}

/// Nothing is made that would have to be read.
#[test]
fn what_goes_nowhere_has_no_pipe() {
    let mut srvwrap = srvwrap(["--stdout=/dev/null", "--stderr=/dev/null", "-n1", "sh", "-c", SAYS]).online();
    let worker = srvwrap.worker_pids()[&0];
    // A shell that writes to fd 3 has its stdout elsewhere meanwhile.
    wait_until("it is made", || proc::arguments(worker)[0] == b"sleep");
    let places = proc::descriptors(worker);
    assert_eq!((&places[&1][..], &places[&2][..]), ("/dev/null", "/dev/null"));
    assert_eq!(proc::log_writer(srvwrap.pid() as i32), None);
    srvwrap.stop();
}

#[test]
fn a_second_srvwrap_is_refused_and_touches_nothing() {
    let home = Home::new();
    let daemon = home.online(&["-n1", "sh", "-c", SAYS]);
    wait_until("it has said all", || {
        home.text("stdout.log") == "0.1\n"
            && home.text("stderr.log") == "0.1 err\n"
            && home.text("srvwrap.log").contains("workers online: 1, after ")
    });
    let look = || (home.names(), ["stdout.log", "stderr.log", "srvwrap.log"].map(|name| home.text(name)));
    let before = look();
    let second = home.start(&["--socket=other.sock", "-n1", "sh", "-c", SAYS]);
    assert_eq!((second.code, second.stderr.lines().count()), (1, 1), "{}", second.stderr);
    assert!(second.stderr.contains("another srvwrap writes to it"), "{}", second.stderr);
    assert!(second.stderr.trim_end().ends_with("give another path"), "{}", second.stderr);
    assert_eq!(look(), before);
    assert!(daemon.is_alive());
    daemon.stop();
}

/// The log writer of a srvwrap that was killed writes what it has, and lets go of the files soon.
#[test]
fn a_start_right_after_a_kill_needs_no_help() {
    let home = Home::new();
    let program = "echo online >&3; exec yes a line that comes again and again";
    for _ in 0..3 {
        let daemon = home.online(&["-n2", "--max-log-size=1M", "--log-keep=2", "sh", "-c", program]);
        send(daemon.pid, Signal::SIGKILL);
        wait_until("it is dead", || !daemon.is_alive());
    }
    let daemon = home.online(&["-n2", "--max-log-size=1M", "--log-keep=2", "sh", "-c", program]);
    // Before, it may be away for a moment: it is rotated again and again.
    daemon.stop();
    let text = home.text("stdout.log");
    assert!(!text.is_empty() && text.lines().all(|line| line == "a line that comes again and again"));
}

/// A disk that hangs is no reason to answer somebody who asks later with what was done for somebody before.
#[test]
fn a_reopening_that_is_late_is_no_answer_to_the_next_one() {
    let home = Home::new();
    let daemon = home.online(&["-n1", "sh", "-c", SAYS]);
    let writer = proc::log_writer(daemon.pid).unwrap();
    send(writer, Signal::SIGSTOP);
    let mut first = Raw::connect(&home.at("srvwrap.sock"));
    let answer = first.post("/reopen", "");
    assert_eq!(answer.json()["outcome"], "failed", "{answer:?}");
    let asked = Instant::now();
    let mut second = Raw::connect(&home.at("srvwrap.sock"));
    second.ask("/reopen", "");
    wait_until("it is asked", || Raw::connect(&home.at("srvwrap.sock")).get("/status").status == 200);
    // Moved before it is opened anew for the second one: the answer comes when there is a new file.
    fs::rename(home.at("stdout.log"), home.at("old.log")).unwrap();
    send(writer, Signal::SIGCONT);
    let answer = second.response();
    assert_eq!(answer.json()["outcome"], "done", "{answer:?}");
    assert!(home.at("stdout.log").exists() && asked.elapsed() < Duration::from_secs(30));
    daemon.stop();
}

/// What a stop finds in pipes for which there was no room in memory is written when the disk comes back in time.
#[test]
fn a_stop_writes_what_found_no_room_in_memory() {
    if !crate::harness::require::program("python3") {
        return;
    }
    let home = Home::new();
    let program = crate::logs_own_streams::COUNTS.replace("WAITS", "os.path.exists('enough')");
    let daemon = home.online(&["--max-log-size=0", "-n8", "python3", "-c", &program]);
    let writer = proc::log_writer(daemon.pid).unwrap();
    send(writer, Signal::SIGSTOP);
    fs::write(home.at("enough"), "").unwrap();
    let counted = |slot: u32| fs::read_to_string(home.at(&format!("count.{slot}"))).ok();
    wait_until("all have counted", || {
        (0..8).all(|slot| counted(slot).is_some_and(|text| text.ends_with('.')))
    });
    let workers = proc::children(daemon.pid);
    daemon.signal(Signal::SIGTERM);
    wait_until("the workers are gone", || !workers.iter().any(|worker| crate::harness::is_alive(*worker)));
    send(writer, Signal::SIGCONT);
    daemon.wait();
    wait_until("the log writer has ended", || !crate::harness::is_alive(writer));
    let text = home.text("stdout.log");
    for slot in 0..8 {
        let count: usize = counted(slot).unwrap().trim_end_matches('.').parse().unwrap();
        let found =
            text.lines().filter(|line| line.starts_with(&format!("{slot} ")) && line.len() == 4002).count();
        assert_eq!(found, count, "{slot}");
    }
}
