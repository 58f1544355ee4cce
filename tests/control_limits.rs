//! What the control socket does with clients that are strangers, slow, many, or mad: each costs little, and workers are
//! looked after meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::control::{Raw, curl, curl_command, get, post, response_of, socket};
use crate::harness::{PATIENCE, Srvwrap, require, send, srvwrap, wait_until};

const SERVING: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; echo online >&3; while :; do sleep 0.02; done"];

fn serving() -> Srvwrap {
    srvwrap(SERVING).online()
}

/// A dead worker is replaced: srvwrap does what it is there for.
fn replaces_a_worker(srvwrap: &mut Srvwrap) -> Duration {
    let before = srvwrap.worker_pids()[&0];
    let killed_at = Instant::now();
    send(before, Signal::SIGKILL);
    wait_until("another worker is online", || srvwrap.worker_pids()[&0] != before);
    killed_at.elapsed()
}

/// Resident memory of srvwrap, in KiB.
fn memory(srvwrap: &Srvwrap) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", srvwrap.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

/// Processor time of srvwrap, in ticks.
fn ticks(srvwrap: &Srvwrap) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", srvwrap.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn another_user_is_turned_away_whatever_it_sends() {
    if !require::root() || !require::program("curl") {
        return;
    }
    const NOBODY: u32 = 65534;
    let mut srvwrap = serving();
    let ask = || {
        let mut command = curl_command(srvwrap.path(), "/stop", &["-X", "POST"]);
        command.uid(NOBODY).gid(NOBODY).output().unwrap()
    };
    fs::set_permissions(srvwrap.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The mode alone keeps it out.
    assert!(!ask().status.success());
    // And so does srvwrap where somebody has opened it.
    fs::set_permissions(socket(&srvwrap), fs::Permissions::from_mode(0o777)).unwrap();
    let response = response_of(&ask().stdout);
    assert_eq!(response.status, 403);
    assert!(response.text("message").contains("uid 65534 "), "{response:?}");
    assert_eq!(get(&srvwrap, "/livez").status, 200);
    assert!(!srvwrap.has_said("stopping"), "{}", srvwrap.log());
    srvwrap.stop();
}

#[test]
fn root_may_ask_of_another_users_srvwrap() {
    if !require::root() || !require::program("curl") {
        return;
    }
    const NOBODY: u32 = 65534;
    let srvwrap = srvwrap(SERVING);
    fs::set_permissions(srvwrap.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let binary = srvwrap.path().join("srvwrap");
    fs::copy(crate::harness::BINARY, &binary).unwrap();
    let started = srvwrap.with(|command| {
        // The binary may be where others cannot go.
        let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_os_string).collect();
        let directory = command.get_current_dir().unwrap().to_owned();
        *command = std::process::Command::new(&binary);
        command.args(arguments).current_dir(&directory).env("PWD", &directory).uid(NOBODY).gid(NOBODY);
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    });
    let mut srvwrap = started.online();
    let history = get(&srvwrap, "/history").json();
    assert_eq!(history["deploys"][0]["outcome"], "done");
    let answer = post(&srvwrap, "/stop", "");
    assert_eq!(answer.status, 200);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(srvwrap.has_said("client of uid 0: stopping"), "{}", srvwrap.log());
}

#[test]
fn garbage_gets_an_error_and_the_end_of_its_connection() {
    let mut srvwrap = serving();
    let long = vec![b'x'; 1 << 20];
    for (bytes, status) in [
        (b"status\n".as_slice(), 400),
        (b"{\"command\": \"stop\"}\n", 400),
        (b"\0\0\0\0\n", 400),
        (b"\xff\xfe\xfd /status HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\n", 400),
        (b"GET /status HTTP/2.0\r\n\r\n", 505),
        (b"GET /status HTTP/1.1\r\n\r\n", 400),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST /stop HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /stop HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /stop HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /deploy HTTP/1.1\r\nHost: a\r\nContent-Length: 4194305\r\n\r\n", 413),
        (long.as_slice(), 431),
    ] {
        let mut raw = Raw::to(&srvwrap);
        assert!(raw.send(bytes), "the connection ended before all was read");
        let response = raw.response();
        assert_eq!(
            (response.status, response.json()["outcome"].as_str()),
            (status, Some("refused")),
            "{response:?}"
        );
        assert_eq!(response.json()["exit_code"], 2);
        assert_eq!(raw.rest(), "");
    }
    assert!(!srvwrap.has_said("stopping"), "{}", srvwrap.log());
    srvwrap.stop();
}

#[test]
fn unknown_verbs_and_wrong_bodies_get_an_error_and_the_connection_goes_on() {
    let srvwrap = serving();
    let mut raw = Raw::to(&srvwrap);
    for (request, status) in [
        ("BREW /status HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("POST /exec HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 404),
        ("POST /deploy HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{\0}", 400),
        ("POST /deploy HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\n{\"workers\": 0}", 400),
        ("POST /scale HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n{\"at\":2}", 400),
    ] {
        raw.send(request);
        let response = raw.response();
        assert_eq!((response.status, response.json()["exit_code"].as_u64()), (status, Some(2)), "{request}");
    }
    assert_eq!(raw.get("/livez").status, 200);
    srvwrap.stop();
}

#[test]
fn ten_thousand_questions_may_be_sent_ahead_and_a_dead_worker_is_replaced_meanwhile() {
    let mut srvwrap = serving();
    let mut raw = Raw::to(&srvwrap);
    let mut writer = raw.stream().try_clone().unwrap();
    let writing = thread::spawn(move || {
        let questions = "GET /status HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
        std::io::Write::write_all(&mut writer, questions.as_bytes()).unwrap();
    });
    for _ in 0..1000 {
        assert_eq!(raw.response().status, 200);
    }
    replaces_a_worker(&mut srvwrap);
    for _ in 1000..10_000 {
        assert_eq!(raw.response().status, 200);
    }
    writing.join().unwrap();
    assert_eq!(raw.get("/livez").status, 200);
    srvwrap.stop();
}

/// Orders that come behind one another are carried out one after another.
#[test]
fn orders_that_are_sent_ahead_are_answered_in_their_order() {
    let srvwrap = serving();
    let mut raw = Raw::to(&srvwrap);
    for body in ["{\"to\": 2}", "{\"to\": 3}", "{\"by\": -2}"] {
        raw.ask("/scale", body);
    }
    for workers in ["to 2 workers", "to 3 workers", "to 1 worker"] {
        let answer = raw.response();
        assert!(answer.status == 200 && answer.text("message").contains(workers), "{answer:?}");
    }
    srvwrap.stop();
}

/// They write without pause and read nothing.
#[test]
fn clients_that_never_read_cost_a_bounded_memory_and_no_latency() {
    let mut srvwrap = serving();
    let before = memory(&srvwrap);
    let flooders: Vec<Raw> = (0..50).map(|_| Raw::to(&srvwrap)).collect();
    let questions = "GET /status HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    for flooder in &flooders {
        flooder.stream().set_nonblocking(true).unwrap();
        // Until there is no more room.
        while std::io::Write::write(&mut flooder.stream(), questions.as_bytes()).is_ok() {}
    }
    assert_eq!(get(&srvwrap, "/status").status, 200);
    let took = replaces_a_worker(&mut srvwrap);
    assert!(took < Duration::from_secs(20), "{took:?}");
    let grown = memory(&srvwrap) - before;
    assert!(grown < 32 << 10, "{grown} KiB");
    drop(flooders);
    srvwrap.stop();
}

#[test]
fn a_thousand_idle_clients_hinder_nobody_and_one_more_takes_the_place_of_the_idlest() {
    let mut srvwrap = serving();
    if !require::require("2100 open files", open_files(&srvwrap) >= 2100) {
        return;
    }
    let (_first, descriptors) = descriptors_with_one_client(&srvwrap);
    let before = memory(&srvwrap);
    let mut busy = Raw::to(&srvwrap);
    busy.follow();
    let mut idle: Vec<Raw> = (2..1000).map(|_| Raw::to(&srvwrap)).collect();
    wait_until("all are accepted", || srvwrap.open_descriptors() == descriptors + 999);
    assert!(memory(&srvwrap) - before < 8 << 10, "{} KiB", memory(&srvwrap) - before);
    // The first of them have asked later than the others.
    for raw in &mut idle[..10] {
        assert_eq!(raw.get("/livez").status, 200);
    }
    assert_eq!(get(&srvwrap, "/livez").status, 200);
    assert!(idle[10].is_closed());
    assert_eq!(idle[0].get("/livez").status, 200);
    replaces_a_worker(&mut srvwrap);
    busy.event_named("worker-online");
    drop(idle);
    wait_until("all are gone", || srvwrap.open_descriptors() == descriptors + 1);
    srvwrap.stop();
}

/// An idle client, and how many descriptors srvwrap has open with it: its question is answered after what the worker's
/// start has left behind is closed.
fn descriptors_with_one_client(srvwrap: &Srvwrap) -> (Raw, usize) {
    let mut first = Raw::to(srvwrap);
    first.follow();
    (first, srvwrap.open_descriptors())
}

/// The limit that srvwrap has raised for itself.
fn open_files(srvwrap: &Srvwrap) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{}/limits", srvwrap.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap_or(u64::MAX)
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_given_up() {
    let srvwrap = serving();
    let mut raw = Raw::to(&srvwrap);
    let began = Instant::now();
    raw.send("GET /livez HTTP/1.1\r\nHo");
    let mut behind_another = Raw::to(&srvwrap);
    behind_another.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\nG");
    assert_eq!(behind_another.response().status, 200);
    let response = raw.response();
    assert_eq!(response.status, 408);
    assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(raw.is_closed());
    assert_eq!(behind_another.response().status, 408);
    srvwrap.stop();
}

#[test]
fn a_connection_that_breaks_in_the_middle_leaves_nothing_behind() {
    let mut srvwrap = serving();
    let (_first, descriptors) = descriptors_with_one_client(&srvwrap);
    for bytes in
        ["", "G", "GET /status HTTP/1.1\r\n", "POST /stop HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{"]
    {
        let mut half = Raw::to(&srvwrap);
        half.send(bytes);
        half.end_writing();
        assert_eq!(half.rest(), "", "{bytes}");
        Raw::to(&srvwrap).send(bytes);
    }
    // With answers unread, which makes the end a reset.
    let mut reset = Raw::to(&srvwrap);
    reset.send("GET /status HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10));
    drop(reset);
    wait_until("all are gone", || srvwrap.open_descriptors() == descriptors);
    assert!(!srvwrap.has_said("stopping"), "{}", srvwrap.log());
    srvwrap.stop();
}

#[test]
fn a_body_may_be_long_and_is_waited_for_by_who_expects_that() {
    if !require::program("curl") {
        return;
    }
    let srvwrap = serving();
    let file = srvwrap.path().join("body.json");
    // More than any program can be started with.
    fs::write(&file, json!({ "environment": { "LONG": "x".repeat(3 << 20) } }).to_string()).unwrap();
    let long = curl(&srvwrap, "/deploy", &["-H", "Expect: 100-continue", "--data-binary", "@body.json"]);
    assert_eq!((long.status, long.json()["outcome"].as_str()), (422, Some("failed")), "{}", long.head);
    assert!(long.body.len() < 2000, "{} bytes", long.body.len());
    let chunks =
        curl(&srvwrap, "/deploy", &["-H", "Transfer-Encoding: chunked", "--data-binary", "@body.json"]);
    assert_eq!(chunks.status, 422);
    fs::write(&file, json!({ "environment": { "LONG": "x".repeat(5 << 20) } }).to_string()).unwrap();
    for header in ["Expect: 100-continue", "Expect:", "Transfer-Encoding: chunked"] {
        let too_long = curl(&srvwrap, "/deploy", &["-H", header, "--data-binary", "@body.json"]);
        assert_eq!(too_long.status, 413, "{header}");
    }
    assert_eq!(get(&srvwrap, "/status").json()["generation"], 1);
    srvwrap.stop();
}

/// So many that all bodies together are too much: some are refused, and those that are not are read.
#[test]
fn bodies_have_a_limit_together() {
    let srvwrap = serving();
    let before = memory(&srvwrap);
    let mut clients: Vec<Raw> = (0..8).map(|_| Raw::to(&srvwrap)).collect();
    let part = "x".repeat(3 << 20);
    for client in &mut clients {
        client.stream().set_nonblocking(false).unwrap();
        client.send(format!("POST /deploy HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{part}", 4 << 20));
    }
    wait_until("some are refused", || {
        let refused = clients.iter().filter(|client| {
            let mut first = [0; 12];
            let count = nix::sys::socket::recv(
                std::os::fd::AsRawFd::as_raw_fd(client.stream()),
                &mut first,
                nix::sys::socket::MsgFlags::MSG_PEEK | nix::sys::socket::MsgFlags::MSG_DONTWAIT,
            );
            count == Ok(12) && &first == b"HTTP/1.1 503"
        });
        (1..8).contains(&refused.count())
    });
    assert!(memory(&srvwrap) - before < 64 << 10, "{} KiB", memory(&srvwrap) - before);
    assert_eq!(get(&srvwrap, "/status").status, 200);
    drop(clients);
    srvwrap.stop();
}

#[test]
fn a_follower_that_does_not_read_is_cut_off_and_the_others_miss_nothing() {
    let mut srvwrap = serving();
    let (mut reading, mut stuck) = (Raw::to(&srvwrap), Raw::to(&srvwrap));
    reading.follow();
    stuck.follow();
    const EVENTS: usize = 8000;
    let following = thread::spawn(move || {
        for _ in 0..EVENTS {
            reading.event_named("signalled");
        }
        reading
    });
    let mut orders = Raw::to(&srvwrap);
    for _ in 0..EVENTS {
        assert_eq!(orders.post("/signal", "{\"signal\": \"CONT\"}").status, 200);
    }
    following.join().unwrap();
    srvwrap.wait_for("a client was cut off, because it did not read");
    assert!(srvwrap.times_said("cut off") == 1, "{}", srvwrap.times_said("cut off"));
    let taken = stuck.rest().lines().count();
    assert!(taken < EVENTS, "{taken}");
    srvwrap.stop();
}

/// Nor does it keep the processor busy: the next client waits until there is a descriptor again.
#[test]
fn without_descriptors_clients_wait_and_workers_are_kept() {
    let mut srvwrap = serving();
    let mut followers: Vec<Raw> = (0..5).map(|_| Raw::to(&srvwrap)).collect();
    followers.iter_mut().for_each(Raw::follow);
    let pid = nix::unistd::Pid::from_raw(srvwrap.pid() as i32);
    let is_open = |number: &u64| fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_ok();
    let first_free = (0..).find(|number| !is_open(number)).unwrap();
    let before = limit_open_files(pid, first_free);
    let mut waiting = Raw::to(&srvwrap);
    waiting.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    srvwrap.wait_for("cannot accept a client: ");
    let (ticks_before, began) = (ticks(&srvwrap), Instant::now());
    // Twenty tries at 100 ms each, of which a loop without a pause would make thousands.
    thread::sleep(Duration::from_secs(2));
    let busy = Duration::from_millis(10 * (ticks(&srvwrap) - ticks_before));
    assert!(busy < began.elapsed() / 4, "{busy:?}");
    assert_eq!(srvwrap.times_said("cannot accept a client"), 1);
    drop(followers.pop());
    assert_eq!(waiting.response().status, 200);
    limit_open_files(pid, before);
    assert_eq!(get(&srvwrap, "/status").status, 200);
    replaces_a_worker(&mut srvwrap);
    srvwrap.stop();
}

/// The soft limit of another process; what it was before.
fn limit_open_files(pid: nix::unistd::Pid, limit: u64) -> u64 {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both places live through the calls.
    unsafe {
        assert_eq!(libc::prlimit(pid.as_raw(), libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut before), 0);
        let new = libc::rlimit { rlim_cur: limit, rlim_max: before.rlim_max };
        assert_eq!(libc::prlimit(pid.as_raw(), libc::RLIMIT_NOFILE, &raw const new, std::ptr::null_mut()), 0);
    }
    before.rlim_cur
}

/// A question a second, and in between nothing that the kernel would have to wake it for.
#[test]
fn an_open_connection_costs_no_wake_ups() {
    let srvwrap = serving();
    let mut raw = Raw::to(&srvwrap);
    raw.follow();
    let wake_ups = || {
        let status = fs::read_to_string(format!("/proc/{}/status", srvwrap.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    let until = Instant::now() + PATIENCE;
    loop {
        let before = wake_ups();
        thread::sleep(Duration::from_millis(500));
        if wake_ups() == before {
            break;
        }
        assert!(Instant::now() < until, "it is never quiet");
    }
    srvwrap.stop();
}
