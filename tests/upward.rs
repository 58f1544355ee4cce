//! srvwrap as a service: what it says to a manager that has set NOTIFY_SOCKET for it. The test is the manager.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::command::told;
use crate::harness::{PATIENCE, Starting, process, srvwrap, wait_until};

const WORKER: [&str; 3] = ["sh", "-c", "echo online >&3; exec sleep 1000"];

/// Whoever reads what srvwrap says of itself.
struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
    /// Each datagram, its lines joined by blanks.
    told: Vec<String>,
}

impl Manager {
    fn new() -> Manager {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let socket = UnixDatagram::bind(directory.path().join("manager")).expect("our own directory");
        Manager { socket, directory, told: Vec::new() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("manager")
    }

    fn of(&self, starting: Starting) -> Starting {
        starting.env("NOTIFY_SOCKET", self.path())
    }

    /// The next datagram, if one comes in this time.
    fn next(&mut self, patience: Duration) -> Option<String> {
        let mut buffer = [0; 8192];
        self.socket.set_read_timeout(Some(patience)).expect("it is not zero");
        let length = self.socket.recv(&mut buffer).ok()?;
        let datagram = String::from_utf8_lossy(&buffer[..length]).replace('\n', " ");
        self.told.push(datagram.clone());
        Some(datagram)
    }

    /// The next datagram that holds these words.
    fn wait_for(&mut self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while let Some(datagram) = self.next(until.saturating_duration_since(Instant::now()).max(MOMENT)) {
            if datagram.contains(words) {
                return datagram;
            }
        }
        panic!("no {words:?}: {:#?}", self.told);
    }

    /// Everything that has come by now.
    fn take(&mut self) -> Vec<String> {
        while self.next(MOMENT).is_some() {}
        std::mem::take(&mut self.told)
    }
}

const MOMENT: Duration = Duration::from_millis(1);

/// What `NAME=` is followed by.
fn value(datagram: &str, name: &str) -> Option<u64> {
    let value = datagram.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.map(|digits| digits.parse().expect("a number"))
}

fn seconds_asked_for(datagram: &str) -> Option<u64> {
    value(datagram, "EXTEND_TIMEOUT_USEC").map(|microseconds| microseconds / 1_000_000)
}

/// Those of all datagrams that are a turn, in short.
fn turns(datagrams: &[String]) -> Vec<&str> {
    let turns = ["READY=1", "RELOADING=1", "STOPPING=1"];
    let of = |datagram: &String| turns.iter().copied().filter(|turn| datagram.contains(turn)).collect();
    datagrams.iter().flat_map(|datagram| -> Vec<&str> { of(datagram) }).collect()
}

fn monotonic_usec() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes into `now`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

/// And before that, how far it is, and how long it may take.
#[test]
fn ready_is_said_when_all_workers_are_online_and_not_before() {
    let mut manager = Manager::new();
    let script = "until [ -e go$SRVWRAP_SLOT ]; do sleep 0.02; done; echo online >&3; exec sleep 1000";
    let mut srvwrap =
        manager.of(srvwrap(["-n", "2", "--online-timeout", "300s", "sh", "-c", script])).start();
    let first = manager.wait_for("STATUS=booting: 0 of 2 workers online");
    assert!(seconds_asked_for(&first).is_some_and(|seconds| (300..=310).contains(&seconds)), "{first}");
    srvwrap.touch("go1");
    manager.wait_for("STATUS=booting: 1 of 2 workers online");
    assert_eq!(turns(&manager.take()), [""; 0]);
    srvwrap.touch("go0");
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("STATUS=2 of 2 workers online, generation 1"), "{ready}");
    assert!(srvwrap.wait_for("workers online: 2").contains("after"));
    srvwrap.stop();
}

#[test]
fn a_boot_that_fails_is_a_stop_and_was_never_ready() {
    let mut manager = Manager::new();
    let (code, _) = manager.of(srvwrap(["sh", "-c", "exit 3"])).run();
    assert_eq!(code, 1);
    let told = manager.take();
    assert_eq!(turns(&told), ["STOPPING=1"]);
    let last = told.iter().rev().find(|told| told.contains("STATUS=")).expect("there is a status");
    assert!(last.contains("STATUS=cannot start: worker 0 "), "{told:#?}");
    assert!(last.contains(" exited with status 3 while starting"), "{told:#?}");
    let (code, _) = manager.of(srvwrap(["/nowhere/at/all"])).run();
    assert_eq!(code, 127);
    assert_eq!(turns(&manager.take()), ["STOPPING=1"]);
}

#[test]
fn a_deploy_is_a_reload_with_its_time_however_it_was_asked_for_and_however_it_ends() {
    let mut manager = Manager::new();
    let script = "[ -e bad ] && exit 4; echo online >&3; exec sleep 1000";
    let srvwrap = manager.of(srvwrap(["sh", "-c", script])).online();
    manager.wait_for("READY=1");
    for (way, generation) in [("HUP", 2), ("command", 3), ("bad HUP", 3), ("bad command", 3)] {
        let before = monotonic_usec();
        if way == "bad HUP" {
            srvwrap.touch("bad");
        }
        if way.ends_with("HUP") {
            srvwrap.signal(Signal::SIGHUP);
        } else {
            let code = told(srvwrap.path(), &["deploy"]).code;
            assert_eq!(code, i32::from(way.starts_with("bad")), "{way}");
        }
        let began = manager.wait_for("RELOADING=1");
        let at = value(&began, "MONOTONIC_USEC").expect("it has its time");
        assert!((before..=monotonic_usec()).contains(&at), "{way}: {before} {began}");
        let done = manager.wait_for("READY=1");
        assert!(
            done.contains(&format!("STATUS=1 of 1 worker online, generation {generation}")),
            "{way}: {done}"
        );
        assert_eq!(done.contains(" failed: worker 0 "), way.starts_with("bad"), "{way}: {done}");
    }
    srvwrap.stop();
    let reloads = ["RELOADING=1", "READY=1"].repeat(4);
    assert_eq!(turns(&manager.take()), [vec!["READY=1"], reloads, vec!["STOPPING=1"]].concat());
}

/// The manager waits as long as srvwrap does, and where a worker asks for more it is told so.
#[test]
fn while_it_drains_the_manager_is_asked_for_as_much_time_as_that_may_take() {
    let mut manager = Manager::new();
    let script = "trap 'until [ -e go ]; do sleep 0.02; done; exit 0' TERM; echo online >&3; while :; do sleep 0.02; done";
    let mut srvwrap =
        manager.of(srvwrap(["--stop-timeout", "500s", "--bake", "1ms", "sh", "-c", script])).online();
    manager.wait_for("READY=1");
    srvwrap.signal(Signal::SIGHUP);
    let began = manager.wait_for("RELOADING=1");
    assert!(seconds_asked_for(&began).is_some_and(|seconds| (60..=70).contains(&seconds)), "{began}");
    let drains = manager.wait_for("STATUS=generation 2 online, 1 of the old workers left");
    let asked = seconds_asked_for(&drains)
        .or_else(|| manager.told.iter().rev().find_map(|told| seconds_asked_for(told)));
    assert!(asked.is_some_and(|seconds| (500..=510).contains(&seconds)), "{:?}", manager.told);
    srvwrap.touch("go");
    manager.wait_for("READY=1");
    std::fs::remove_file(srvwrap.path().join("go")).expect("our own file");

    srvwrap.signal(Signal::SIGTERM);
    let stops = manager.wait_for("STOPPING=1");
    assert!(seconds_asked_for(&stops).is_some_and(|seconds| (500..=510).contains(&seconds)), "{stops}");
    srvwrap.touch("go");
    assert_eq!(srvwrap.exit_code(), 0);
}

#[test]
fn the_status_follows_a_scale() {
    let mut manager = Manager::new();
    let srvwrap = manager.of(srvwrap(WORKER)).online();
    manager.wait_for("STATUS=1 of 1 worker online, generation 1");
    assert_eq!(told(srvwrap.path(), &["scale", "3"]).code, 0);
    manager.wait_for("STATUS=3 of 3 workers online, generation 1");
    assert_eq!(turns(&manager.take()), ["READY=1"], "a scale is no reload");
    srvwrap.stop();
}

/// Each one says that the loop goes round: none comes where it cannot.
#[test]
fn the_watchdog_is_fed_by_a_loop_that_lives() {
    let mut manager = Manager::new();
    let starting = manager.of(srvwrap(WORKER)).env("WATCHDOG_USEC", "200000");
    let srvwrap = starting.online();
    for _ in 0..5 {
        manager.wait_for("WATCHDOG=1");
    }
    srvwrap.signal(Signal::SIGSTOP);
    wait_until("it is stopped", || process::state(srvwrap.pid() as i32) == Some('T'));
    manager.take();
    assert_eq!(manager.next(Duration::from_millis(600)), None, "it says that it lives, and is stopped");
    srvwrap.signal(Signal::SIGCONT);
    manager.wait_for("WATCHDOG=1");
    srvwrap.stop();
}

#[test]
fn a_watchdog_of_another_process_is_not_ours_to_feed() {
    let mut manager = Manager::new();
    let starting = manager.of(srvwrap(WORKER)).env("WATCHDOG_USEC", "60000").env("WATCHDOG_PID", "1");
    let srvwrap = starting.online();
    manager.wait_for("READY=1");
    assert_eq!(manager.next(Duration::from_millis(600)), None);
    srvwrap.stop();
}

/// What is not there, does not read or cannot be meant changes nothing, and is told once.
#[test]
fn a_manager_that_cannot_be_told_is_named_once_and_nothing_waits_for_it() {
    for (address, why) in [
        ("/nowhere/at/all", "No such file or directory"),
        ("relative", "Address family not supported by protocol"),
        ("vsock:2:1234", "Address family not supported by protocol"),
    ] {
        let mut srvwrap = srvwrap(WORKER).env("NOTIFY_SOCKET", address).online();
        srvwrap.signal(Signal::SIGHUP);
        srvwrap.wait_for("deploy 2 done");
        let log = srvwrap.stop();
        let told = format!("cannot tell the manager in NOTIFY_SOCKET: {why}");
        assert_eq!(log.matches(&told).count(), 1, "{log}");
    }
}

#[test]
fn a_manager_that_has_no_room_is_told_later_what_is_true_by_then() {
    let mut manager = Manager::new();
    let filler = UnixDatagram::unbound().expect("a socket");
    filler.set_nonblocking(true).expect("our own");
    while filler.send_to(b"full", manager.path()).is_ok() {}
    let mut srvwrap = manager.of(srvwrap(WORKER)).online();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    manager.wait_for("READY=1");
    let last = manager.wait_for("generation 2");
    assert!(last.contains("1 of 1 worker online"), "{last}");
    srvwrap.stop();
}

/// It is no reason to wake up for, and is named once.
#[test]
fn a_manager_that_never_reads_costs_nothing_and_is_named() {
    let manager = Manager::new();
    let filler = UnixDatagram::unbound().expect("a socket");
    filler.set_nonblocking(true).expect("our own");
    while filler.send_to(b"full", manager.path()).is_ok() {}
    let mut srvwrap = manager.of(srvwrap(WORKER)).env("WATCHDOG_USEC", "40000").online();
    srvwrap.wait_for("the manager in NOTIFY_SOCKET does not read");
    let log = srvwrap.stop();
    assert_eq!(log.matches("does not read").count(), 1, "{log}");
}

/// Nobody is to answer our manager in our name.
#[test]
fn workers_do_not_know_of_it() {
    let manager = Manager::new();
    let script = "env > seen; echo online >&3; exec sleep 1000";
    let starting =
        manager.of(srvwrap(["sh", "-c", script])).env("WATCHDOG_USEC", "5000000").env("MAINPID", "1");
    let srvwrap = starting.online();
    let seen = std::fs::read_to_string(srvwrap.path().join("seen")).expect("the worker has written it");
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "MAINPID"] {
        assert!(!seen.lines().any(|line| line.starts_with(&format!("{name}="))), "{seen}");
    }
    assert!(!srvwrap.path().join("srvwrap.sock.notify").exists(), "nobody has asked for it");
    srvwrap.stop();
}
