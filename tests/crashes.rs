//! Workers that die unasked, after the boot: who replaces them, when, and who is not disturbed by it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;

use crate::harness::http::{self, Target};
use crate::harness::{is_alive, send, srvwrap, wait_until, write_file};

/// Slot 1 exits at once while the file `broken` is there, and leaves the moment of each start; slot 0 is healthy.
const ONE_BROKEN: &str = r#"
    trap 'echo "slot $SRVWRAP_SLOT of generation $SRVWRAP_GENERATION told" >&2; exit 0' TERM
    if [ $SRVWRAP_SLOT.$SRVWRAP_GENERATION = 1.1 ] && [ -e broken ]; then date +%s%N >> starts; exit 7; fi
    echo online >&3
    while :; do sleep 0.05; done"#;

/// A program that cannot start must cost nothing and nobody: neither processor time nor a line each time, and the
/// healthy worker is not touched. The delays are the documented ones.
#[test]
fn a_crash_loop_slows_down_grows_quiet_and_disturbs_nobody() {
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", ONE_BROKEN]).online();
    let healthy = srvwrap.worker_pids()[&0];
    srvwrap.touch("broken");
    let (since, ticks) = (Instant::now(), processor_time(srvwrap.pid()));
    let killed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    send(srvwrap.worker_pids()[&1], Signal::SIGKILL);
    let starts = || {
        let text = std::fs::read_to_string(srvwrap.path().join("starts")).unwrap_or_default();
        text.lines().map(|line| line.parse::<u64>().expect("a number") / 1_000_000).collect::<Vec<u64>>()
    };
    wait_until("it has been tried four times", || starts().len() >= 4);
    let (starts, share) = (starts(), (processor_time(srvwrap.pid()) - ticks) / since.elapsed().as_secs_f64());
    for (start, nominal) in starts.iter().zip([200, 600, 1400, 3000]) {
        let after = start - killed;
        // 20 % either way, and what a busy machine adds.
        assert!(after >= nominal * 8 / 10 && after < nominal * 12 / 10 + 10_000, "{after} ms for {nominal}");
    }
    assert!(share < 0.05, "srvwrap took {share} of a processor");
    // The end of the fourth is the fifth failure, which is not told. It is dead, and the second answer comes after that
    // was seen.
    wait_until("the fourth has ended", || srvwrap.children().iter().eq([&healthy]));
    for _ in 0..2 {
        srvwrap.signal(Signal::SIGUSR2);
        srvwrap.wait_for("USR2 ignored");
    }
    let lines = srvwrap.log();
    let told: Vec<&str> = lines.lines().filter(|line| line.contains("retrying in ")).collect();
    for (line, nominal) in told.iter().zip([200, 400, 800, 1600]) {
        let wait = milliseconds(line.rsplit(' ').next().expect("a line has words"));
        assert!(wait >= nominal * 8 / 10 - 100 && wait <= nominal * 12 / 10, "{line}, not about {nominal}");
    }
    assert_eq!(told.len(), 4, "later ones are told once a minute:\n{lines}");
    assert!(is_alive(healthy) && !srvwrap.has_said("told"), "{lines}");
    assert_eq!(srvwrap.times_said("worker 0 "), 1, "{lines}");
    srvwrap.stop();
}

/// "250ms" or "1.6s".
fn milliseconds(text: &str) -> u64 {
    match text.strip_suffix("ms") {
        Some(number) => number.parse().expect("a number"),
        None => {
            let seconds: f64 = text.trim_end_matches('s').parse().expect("a number");
            (seconds * 1000.0) as u64
        }
    }
}

/// Seconds, of all threads.
fn processor_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("always").split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // USER_HZ is 100 on every Linux that Rust runs on.
    ticks as f64 / 100.0
}

/// The last that an operator read is that it failed, and then nothing, because a crash loop grows quiet.
#[test]
fn the_end_of_a_crash_loop_is_told() {
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", ONE_BROKEN]).online();
    srvwrap.touch("broken");
    send(srvwrap.worker_pids()[&1], Signal::SIGKILL);
    let starts = srvwrap.path().join("starts");
    wait_until("it has grown quiet", || {
        std::fs::read_to_string(&starts).is_ok_and(|text| text.lines().count() >= 4)
    });
    std::fs::remove_file(srvwrap.path().join("broken")).expect("it was made");
    srvwrap.wait_until_said(" online after ", 3);
    srvwrap.wait_for_no_other_children();
    srvwrap.stop();
}

/// A release that is being copied is not there for a moment: the slot must not be given up, nor the name of what is
/// missing be kept from the operator.
#[test]
fn a_respawn_whose_program_is_gone_waits_for_it() {
    let text = "#!/bin/sh\necho online >&3; exec sleep 1000\n";
    let mut srvwrap = srvwrap(["-n", "2", "./app"]).file("app", text).online();
    let first = srvwrap.worker_pids();
    std::fs::remove_file(srvwrap.path().join("app")).expect("it was there");
    send(first[&1], Signal::SIGKILL);
    for line in srvwrap.wait_for_times("worker 1: ", 2) {
        assert!(line.contains("./app") && line.contains("; retrying in "), "{line}");
    }
    write_file(srvwrap.path(), "app", text);
    srvwrap.wait_until_said(" online after ", 3);
    srvwrap.wait_for_no_other_children();
    assert_eq!(srvwrap.worker_pids()[&0], first[&0]);
    srvwrap.stop();
}

/// The fix must be deployable while the old version crashes, and must not cost the workers that still serve.
#[test]
fn a_deploy_while_a_crashed_worker_waits_goes_through_and_spares_the_healthy_until_then() {
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", ONE_BROKEN]).online();
    srvwrap.touch("broken");
    send(srvwrap.worker_pids()[&1], Signal::SIGKILL);
    srvwrap.wait_for_times("retrying in ", 3);
    assert!(!srvwrap.has_said("told"), "{}", srvwrap.log());
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 began");
    srvwrap.wait_for("deploy 2 is live");
    srvwrap.wait_for("slot 0 of generation 1 told");
    srvwrap.wait_for("deploy 2 done");
    srvwrap.wait_for_no_other_children();
    let log = srvwrap.stop();
    let (before, _) = log.split_once("deploy 2 is live").expect("waited for");
    assert!(!before.contains(" told"), "{log}");
}

/// A worker that had served is worth an immediate replacement, and its end is told with its cause.
#[test]
fn a_worker_that_had_served_for_a_while_is_replaced_at_once() {
    let program = "echo online >&3; sleep 1.2; [ $SRVWRAP_SLOT = 1 ] && exit 7; exec sleep 1000";
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    let first = srvwrap.worker_pids()[&1];
    let line = srvwrap.wait_for(&format!("worker 1 (pid {first}) exited with status 7 after "));
    assert!(line.ends_with("s online; replacing it"), "{line}");
    srvwrap.wait_for("worker 1 (pid ");
    let second = srvwrap.worker_pids()[&1];
    let line = srvwrap.wait_for(&format!("worker 1 (pid {second}) exited with status 7 after "));
    assert!(line.contains("; retrying in "), "once in ten seconds: {line}");
    srvwrap.stop();
}

/// With all workers dead at once there is nobody to accept, but the socket is srvwrap's: what comes waits in its queue.
#[test]
fn when_all_workers_die_at_once_connections_wait_and_are_served() {
    let server = r#"
import os, socket, select
listener = socket.socket(fileno=int(os.environ["LISTEN_FD"]))
os.write(int(os.environ["NOTIFY_FD"]), b"online\n")
while True:
    select.select([listener], [], [])
    try:
        client, _ = listener.accept()
    except BlockingIOError:
        continue
    client.setblocking(True)
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    client.close()
"#;
    let starting = srvwrap(["-n", "3", "-p", "127.0.0.1:0", "python3", "server.py"]);
    let mut srvwrap = starting.file("server.py", server).online();
    let target = Target::Port(srvwrap.port());
    let old = srvwrap.worker_pids();
    for pid in old.values() {
        send(*pid, Signal::SIGSTOP);
    }
    let clients: Vec<_> = (0..20)
        .map(|_| http::Connection::open(&target).expect("the kernel accepts for a listening socket"))
        .collect();
    for pid in old.values() {
        send(*pid, Signal::SIGKILL);
    }
    let later = http::Connection::open(&target).expect("nobody listens but srvwrap");
    for mut client in clients.into_iter().chain([later]) {
        assert_eq!(client.get("/", true).expect("it waited in the queue").body, "ok");
    }
    srvwrap.wait_until_said(" online after ", 6);
    srvwrap.wait_for_no_other_children();
    assert_eq!(srvwrap.children().len(), 3);
    srvwrap.stop();
}

/// A respawn that comes after the stop would leave a worker behind, or keep srvwrap from ending.
#[test]
fn a_stop_while_a_respawn_waits_ends_at_once_and_starts_nothing() {
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", ONE_BROKEN]).online();
    srvwrap.touch("broken");
    send(srvwrap.worker_pids()[&1], Signal::SIGKILL);
    srvwrap.wait_for_times("retrying in ", 4);
    let starts =
        || std::fs::read_to_string(srvwrap.path().join("starts")).expect("it was started").lines().count();
    let before = starts();
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.wait_for("TERM: stopping 1 worker");
    assert_eq!(srvwrap.exit_code(), 0, "{}", srvwrap.log());
    let starts = std::fs::read_to_string(srvwrap.path().join("starts")).expect("as before").lines().count();
    assert_eq!(starts, before, "{}", srvwrap.log());
}

/// A respawn that hangs is a crash like any other: it must neither end srvwrap nor be tried without a pause.
#[test]
fn a_respawn_that_is_late_is_ended_and_tried_again_later() {
    let program = r#"
        [ $SRVWRAP_SLOT = 1 ] && until [ ! -e broken ]; do sleep 0.02; done
        echo online >&3; exec sleep 1000"#;
    let mut srvwrap = srvwrap(["-n", "2", "--online-timeout", "1500ms", "sh", "-c", program]).online();
    let first = srvwrap.worker_pids();
    srvwrap.touch("broken");
    send(first[&1], Signal::SIGKILL);
    srvwrap.wait_for("was killed by signal 9 (KILL)");
    let late = srvwrap.wait_for("was not online within 1.5s");
    assert!(late.contains("worker 1 (pid ") && late.contains("; retrying in "), "{late}");
    std::fs::remove_file(srvwrap.path().join("broken")).expect("it was made");
    srvwrap.wait_for("worker 1 (pid ");
    srvwrap.wait_until_said(" online after ", 3);
    srvwrap.wait_for_no_other_children();
    assert_eq!(srvwrap.worker_pids()[&0], first[&0]);
    srvwrap.stop();
}

/// Where srvwrap is one container's program, its end is to be the worker's end.
#[test]
fn with_on_crash_exit_the_first_end_stops_all_and_is_passed_on() {
    for (end, code, said) in [
        ("exit 0", 0, "exited with status 0"),
        ("exit 3", 3, "exited with status 3"),
        ("kill -KILL $$", 137, "was killed by signal 9 (KILL)"),
        ("kill -TERM $$", 143, "was killed by signal 15 (TERM)"),
    ] {
        let program = format!(
            "echo online >&3; [ $SRVWRAP_SLOT = 1 ] && until [ -e go ]; do sleep 0.02; done && {end}; exec sleep 1000"
        );
        let mut srvwrap = srvwrap(["-n", "3", "--on-crash", "exit", "sh", "-c", &program]).online();
        let workers = srvwrap.worker_pids();
        srvwrap.touch("go");
        let line = srvwrap.wait_for(said);
        assert!(
            line.ends_with(&format!("stopping with exit code {code}, as --on-crash exit asks")),
            "{line}"
        );
        assert_eq!(srvwrap.exit_code(), code, "{}", srvwrap.log());
        assert!(!workers.values().any(|pid| is_alive(*pid)), "{}", srvwrap.log());
    }
}

/// A worker that is told to stop in a deploy has not crashed, whatever its exit status.
#[test]
fn with_on_crash_exit_a_deploy_is_no_crash() {
    let program = r#"
        trap 'exit 5' TERM
        echo online >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["-n", "2", "--on-crash", "exit", "sh", "-c", program]).online();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    srvwrap.wait_for_no_other_children();
    srvwrap.stop();
}

/// A worker that fails in a new generation fails the deploy; it is not an end of the committed one.
#[test]
fn with_on_crash_exit_a_failed_deploy_changes_nothing() {
    let program = "[ $SRVWRAP_GENERATION = 2 ] && exit 6; echo online >&3; exec sleep 1000";
    let mut srvwrap = srvwrap(["-n", "2", "--on-crash", "exit", "sh", "-c", program]).online();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 failed: ");
    srvwrap.wait_for_no_other_children();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 3 done");
    srvwrap.stop();
}
