//! Who outlives its worker and holds the worker's pipes: read, slowly, and let go of where there are too many.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::Signal;

use crate::harness::control::post;
use crate::harness::daemon::Home;
use crate::harness::{proc, srvwrap, wait_until};

/// Milliseconds within a day, of `2026-11-20T10:00:00.123Z …`.
fn millis(line: &str) -> Option<u64> {
    let time = line.get(11..23)?;
    let part = |range: std::ops::Range<usize>| time.get(range)?.parse::<u64>().ok();
    Some(((part(0..2)? * 60 + part(3..5)?) * 60 + part(6..8)?) * 1000 + part(9..12)?)
}

/// One that writes no faster than it is read has never more than a share in its pipe. It is no flood, and still each of
/// its lines would wake srvwrap.
#[test]
fn an_orphan_that_writes_line_by_line_wakes_nobody_for_each() {
    let program = "if [ -e first ]; then echo online >&3; exec sleep 1000; fi
        : > first
        setsid sh -c 'while [ -e first ]; do echo orphan; done' &
        echo online >&3; sleep 0.2; exit 3";
    let home = Home::new();
    let daemon = home.online(&["--log-format=prefix", "--max-log-size=0", "-n1", "sh", "-c", program]);
    wait_until("it is replaced", || home.text("srvwrap.log").matches("online after").count() == 2);
    let from = fs::metadata(home.at("stdout.log")).unwrap().len() as usize;
    // Lines that are read together have one time. In its turn it is read until there is no more, which takes a few
    // reads.
    let stamps = || {
        let text = home.text("stdout.log");
        let lines = text[from..].lines().filter(|line| line.ends_with(" | orphan"));
        lines.filter_map(millis).collect::<BTreeSet<_>>()
    };
    let span = |stamps: &BTreeSet<u64>| stamps.last().unwrap_or(&0) - stamps.first().unwrap_or(&0);
    wait_until("it writes for two seconds", || span(&stamps()) > 2000);
    let (reads, millis) = (stamps().len() as u64, span(&stamps()));
    assert!(reads <= 4 * (millis / 100) + 8, "{reads} reads in {millis} ms");
    fs::remove_file(home.at("first")).unwrap();
    daemon.stop();
}

/// Descriptors are for the living. Who is cut off has an error when it writes, and an operator is to know why; the
/// others write on.
#[test]
fn of_very_many_orphans_that_write_the_oldest_are_let_go_of_and_that_is_said() {
    let orphan = "trap '' PIPE; while echo orphan; do sleep 0.5; done; : >cut.$SRVWRAP_SLOT";
    let program = "setsid sh -c \"$0\" & echo online >&3; exec sleep 1000";
    let options = ["--log-format=prefix", "-n101", "--stop-leader-only", "sh", "-c", program, orphan];
    let mut srvwrap = srvwrap(options).online();
    let open = proc::descriptors(srvwrap.pid() as i32).len();
    assert_eq!(post(&srvwrap, "/scale", r#"{"to": 1}"#).status, 200);
    // 100 workers with two streams each are dead, and 128 streams may stay.
    srvwrap.wait_until_said("has left running can write no more", 36);
    let directory = srvwrap.path().to_owned();
    let cut = || {
        let names = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("cut.")).count()
    };
    wait_until("they have an error", || cut() == 36);
    let before = srvwrap.times_said("| orphan");
    wait_until("the others write on", || srvwrap.times_said("| orphan") > before + 64);
    let log = srvwrap.log();
    assert_eq!((log.matches("has left running can write no more").count(), cut()), (36, 36), "{log}");
    assert!(proc::descriptors(srvwrap.pid() as i32).len() < open);
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
}
