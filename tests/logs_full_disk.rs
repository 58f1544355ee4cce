//! A disk that is full for a while: a tmpfs, filled by the test under the feet of the log writer.

use std::fs;
use std::thread;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::harness::command::told;
use crate::harness::daemon::{Home, listener_at};
use crate::harness::disk::SmallDisk;
use crate::harness::lines::{assert_complete, kept_and_dropped, on_request, request, text_of};
use crate::harness::{is_alive, proc, require, srvwrap, wait_until};

const WORKERS: usize = 4;
/// Of each, and of this size: more than all that can wait in memory.
const REQUESTS: usize = 60;
const LINES: usize = 250;

/// srvwrap with four workers that write on request to a disk of its own.
fn with_disk(full: &str, test: impl FnOnce(&Home, &SmallDisk)) {
    let home = Home::new();
    let (Some(disk), Some(program)) = (SmallDisk::new(16), on_request(home.path())) else { return };
    let path = disk.at("app.log").display().to_string();
    let options =
        ["-n4", "--stdout", &path, "--log-full", full, "--max-log-size", "500k", "--log-keep", "1000"];
    let program = program.iter().map(String::as_str);
    let daemon = home.online(&options.into_iter().chain(program).collect::<Vec<_>>());
    (0..WORKERS).for_each(|slot| assert_eq!(request(home.path(), slot, LINES), LINES));
    disk.fill();
    test(&home, &disk);
    daemon.stop();
    let notices = home.text("srvwrap.log");
    let why = format!("cannot write {path}: No space left on device; ");
    assert_eq!(notices.matches(&why).count(), 1, "{notices}");
    assert_eq!(notices.matches(&format!("{path} is written again")).count(), 1, "{notices}");
    let text = text_of(disk.path(), "app.log");
    if full == "block" {
        assert_complete(&text, &["0.1", "1.1", "2.1", "3.1"], (1 + REQUESTS) * LINES);
        return;
    }
    let (kept, dropped) = kept_and_dropped(&text);
    assert_eq!(kept + dropped, WORKERS * (1 + REQUESTS) * LINES, "{kept} kept, {dropped} dropped");
    assert!(kept > 5000 && dropped > 5000, "{kept} kept, {dropped} dropped");
    assert!(notices.contains(&format!("is written again; {dropped} lines were dropped")), "{notices}");
}

fn status(home: &Home) -> String {
    told(home.path(), &["status"]).done().join("\n")
}

fn is_full(home: &Home) -> bool {
    status(home).contains("No space left on device")
}

fn is_over(home: &Home) -> bool {
    home.text("srvwrap.log").contains(" is written again")
}

/// They wait, as it is documented; srvwrap does not.
#[test]
fn with_block_a_full_disk_loses_nothing_and_its_writers_wait() {
    with_disk("block", |home, disk| {
        thread::scope(|scope| {
            let asking = |slot| move || (0..REQUESTS).map(|_| request(home.path(), slot, LINES)).max();
            let asked: Vec<_> = (0..WORKERS).map(|slot| scope.spawn(asking(slot))).collect();
            wait_until("status tells", || is_full(home));
            let daemon = listener_at(&home.at("srvwrap.sock")).expect("it answers");
            let workers = proc::children(daemon);
            let call = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            let write = format!("{} 0x1 ", libc::SYS_write);
            wait_until("all wait", || workers.iter().all(|pid| call(pid).starts_with(&write)));
            assert!(!asked.iter().any(thread::ScopedJoinHandle::is_finished));
            assert!(is_full(home));
            disk.free();
            for asked in asked {
                assert_eq!(asked.join().unwrap(), Some((1 + REQUESTS) * LINES));
            }
        });
        wait_until("it says so", || is_over(home) && !is_full(home));
    });
}

fn drops(full: &str) {
    with_disk(full, |home, disk| {
        for round in 1..=REQUESTS {
            for slot in 0..WORKERS {
                assert_eq!(request(home.path(), slot, LINES), (1 + round) * LINES);
            }
        }
        wait_until("status tells", || is_full(home));
        assert!(status(home).contains(" dropped"), "{}", status(home));
        disk.free();
        wait_until("it says so", || is_over(home) && !is_full(home));
    });
}

#[test]
fn with_drop_new_a_full_disk_stops_nobody_and_what_is_missing_is_counted_where_it_is_missing() {
    drops("drop-new");
}

#[test]
fn with_drop_old_a_full_disk_stops_nobody_and_what_is_missing_is_counted_where_it_is_missing() {
    drops("drop-old");
}

/// srvwrap has said where the lines are, and ends as it was told to; its log writer waits for room a while longer.
#[test]
fn a_stop_with_a_full_disk_tells_what_is_not_written_and_the_log_writer_gives_up_in_the_end() {
    let (Some(disk), Some(python)) = (SmallDisk::new(4), require::python()) else { return };
    let file = disk.at("app.log");
    let path = file.display().to_string();
    let starting = srvwrap(["-n1", "--stdout", &path, "--max-log-size=0", &python, "request.py"]);
    let _ = on_request(starting.path());
    let mut srvwrap = starting.online();
    assert_eq!(request(srvwrap.path(), 0, 10), 10);
    wait_until("it is written", || fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == 10));
    disk.fill();
    assert_eq!(request(srvwrap.path(), 0, 100), 110);
    srvwrap.wait_for(&format!("cannot write {path}: No space left on device; lines wait in memory"));
    let writer = proc::log_writer(srvwrap.pid() as i32).expect("there is a file");
    let asked = Instant::now();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    let written = fs::read(&file).unwrap().len();
    let all: usize = (1..=110).map(|number| format!("0.1 {number} \n").len() + number * 7 % 190).sum();
    let sentence = format!(
        "srvwrap: {} bytes of {path} are not written yet: cannot write {path}: No space left on device; the log \
         writer (pid {writer}) goes on until all is written, or for 10s in which nothing can be",
        all - written
    );
    let log = srvwrap.log();
    assert_eq!(log.lines().last(), Some(sentence.as_str()), "{log}");
    assert!(is_alive(writer));
    wait_until("it gives up", || !is_alive(writer));
    let took = asked.elapsed();
    assert!((10..20).contains(&took.as_secs()), "{took:?}");
    assert_eq!(fs::read(&file).unwrap().len(), written);
}

/// Its stdout.log alone is full; who looks into srvwrap.log finds out.
#[test]
fn a_daemon_that_stops_with_a_full_disk_tells_that_in_its_log() {
    let home = Home::new();
    let (Some(disk), Some(program)) = (SmallDisk::new(4), on_request(home.path())) else { return };
    let path = disk.at("app.log").display().to_string();
    let program = program.iter().map(String::as_str);
    let daemon = home.online(&["-n1", "--stdout", &path].into_iter().chain(program).collect::<Vec<_>>());
    disk.fill();
    assert_eq!(request(home.path(), 0, LINES), LINES);
    wait_until("it is told", || {
        home.text("srvwrap.log").contains("No space left on device; lines wait in memory")
    });
    let stopped = told(home.path(), &["stop"]);
    assert_eq!(
        (stopped.code, stopped.stdout.last().map(String::as_str)),
        (0, Some("stopped")),
        "{stopped:?}"
    );
    assert!(!daemon.is_alive());
    let sentence =
        format!(" bytes of {path} are not written yet: cannot write {path}: No space left on device; ");
    wait_until("its log writer tells", || home.text("srvwrap.log").contains(&sentence));
}
