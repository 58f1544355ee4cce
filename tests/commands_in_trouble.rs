//! What commands say and exit with when the answer is none that they hoped for, and what an interrupt does.
//!
//! srvwrap itself is played by the test, so that each moment can be had.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::command::{Running, command, run, start, told};
use crate::harness::require::require;
use crate::harness::stand_in::{Asked, StandIn, answer, event, stand_in};

/// A deploy that has been asked for: its events and its order.
fn deploying(arguments: &[&str]) -> (StandIn, Running, Asked, Asked) {
    let mut server = stand_in();
    let client = start(server.path(), arguments);
    let events = server.asked("GET /events").streams();
    let order = server.asked("POST /deploy");
    (server, client, events, order)
}

#[test]
fn nobody_there_is_3_but_a_stop_of_nothing_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("srvwrap.sock").display().to_string();
    for arguments in [
        ["status"].as_slice(),
        &["status", "--watch"],
        &["history"],
        &["events"],
        &["deploy"],
        &["rollback"],
        &["abort"],
        &["scale", "2"],
        &["signal", "USR2"],
        &["reopen"],
        &["logs"],
        &["logs", "--follow"],
    ] {
        let why = told(directory.path(), arguments).failed(3);
        assert_eq!(
            why,
            format!(
                "not running: nobody listens at {socket}; start it with srvwrap start, or name another with --socket PATH"
            )
        );
    }
    assert_eq!(told(directory.path(), &["stop"]).done(), ["not running"]);
    assert_eq!(told(directory.path(), &["stop", "--quiet"]).done(), [""; 0]);
    let json = told(directory.path(), &["stop", "--json"]).done().concat();
    assert!(json.contains(r#""exit_code":0"#) && json.contains(r#""message":"not running""#), "{json}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "a command left something behind");
}

#[test]
fn a_dead_srvwraps_socket_is_nobody() {
    let directory = stand_in().killed();
    assert!(told(directory.path(), &["status"]).failed(3).starts_with("not running: nobody listens at /"));
    assert_eq!(told(directory.path(), &["stop"]).done(), ["not running"]);
}

#[test]
fn what_is_no_socket_is_a_failure_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("srvwrap.sock"), "").unwrap();
    for arguments in [["status"], ["stop"], ["deploy"]] {
        let why = told(directory.path(), &arguments).failed(1);
        assert!(
            why.starts_with("cannot reach srvwrap at /") && why.ends_with(": it is not a socket"),
            "{why}"
        );
    }
}

#[test]
fn a_strangers_socket_names_its_owner() {
    if !require("root, to become somebody else", nix::unistd::geteuid().is_root()) {
        return;
    }
    let server = stand_in();
    std::fs::set_permissions(server.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(server.path().join("srvwrap.sock"), PermissionsExt::from_mode(0o600)).unwrap();
    // The binary itself may be where nobody else may go.
    let binary = server.path().join("client");
    std::fs::copy(crate::harness::BINARY, &binary).unwrap();
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&binary).arg("status");
    stranger.current_dir(server.path()).env("PWD", server.path()).stdin(Stdio::null());
    let why = run(stranger).end().failed(1);
    assert!(why.ends_with(": Permission denied; it belongs to the user with uid 0"), "{why}");
}

#[test]
fn a_server_that_vanishes_in_the_middle_is_a_failure_in_one_line() {
    for arguments in
        [["deploy", "--quiet"].as_slice(), &["rollback", "--quiet"], &["abort"], &["scale", "+1", "--quiet"]]
    {
        let mut server = stand_in();
        let client = start(server.path(), arguments);
        let what = format!("POST /{}", arguments[0]);
        drop(server.asked(&what));
        assert_eq!(client.end().failed(1), "srvwrap ended before it answered");
    }
    let mut server = stand_in();
    let client = start(server.path(), &["status"]);
    for _ in 0..3 {
        server.asked("GET /status").write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"schema\":");
    }
    assert_eq!(client.end().failed(1), "srvwrap ended before it answered");
}

#[test]
fn a_status_in_the_middle_of_which_srvwrap_ends_says_that_it_is_not_running() {
    for arguments in [["status"].as_slice(), &["status", "--json"]] {
        let mut server = stand_in();
        let client = start(server.path(), arguments);
        let question = server.asked("GET /status");
        let _directory = server.killed();
        drop(question);
        assert!(client.end().failed(3).starts_with("not running: "));
    }
}

#[test]
fn a_stop_that_ends_srvwrap_before_it_can_answer_is_done() {
    let mut server = stand_in();
    let client = start(server.path(), &["stop", "--quiet"]);
    let order = server.asked("POST /stop");
    let _directory = server.killed();
    drop(order);
    assert_eq!(client.end().done(), [""; 0]);
}

#[test]
fn a_stop_that_is_cut_off_by_a_srvwrap_that_goes_on_has_failed() {
    let mut server = stand_in();
    let client = start(server.path(), &["stop", "--quiet"]);
    drop(server.asked("POST /stop"));
    assert_eq!(client.end().failed(1), "srvwrap ended before it answered");
}

#[test]
fn what_is_not_srvwrap_is_told_so() {
    let mut server = stand_in();
    let client = start(server.path(), &["status"]);
    server.asked("GET /status").write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n");
    let why = client.end().failed(1);
    assert!(why.starts_with("cannot read the answer of srvwrap: the answer is not HTTP"), "{why}");
    let client = start(server.path(), &["deploy", "--quiet"]);
    server.asked("POST /deploy").answer(200, "<html>");
    assert!(client.end().failed(1).starts_with("cannot read the answer of srvwrap: "));
}

#[test]
fn each_outcome_has_its_exit_code_and_what_was_not_done_is_said_on_stderr() {
    for (outcome, code) in [("failed", 1), ("refused", 1), ("timed-out", 4), ("aborted", 5), ("failed", 127)]
    {
        for quiet in [false, true] {
            let arguments = if quiet { ["deploy", "--quiet"].as_slice() } else { &["deploy"] };
            let mut server = stand_in();
            let client = start(server.path(), arguments);
            let events = (!quiet).then(|| server.asked("GET /events").streams());
            server.asked("POST /deploy").ends(outcome, code, "so it went");
            assert_eq!(client.end().failed(code.into()), "so it went");
            drop(events);
        }
    }
    let mut server = stand_in();
    let client = start(server.path(), &["scale", "2", "--json"]);
    let _events = server.asked("GET /events").streams();
    server.asked("POST /scale").ends("refused", 1, "it is busy");
    let told = client.end();
    assert_eq!((told.code, told.stdout, told.stderr.len()), (1, vec![answer("refused", 1, "it is busy")], 0));
}

#[test]
fn off_a_terminal_each_fact_is_a_line_and_the_answer_is_not_said_twice() {
    let (_server, mut client, mut events, order) = deploying(&["deploy"]);
    events.event("deploy 2 began");
    client.wait_for("deploy 2 began");
    events.event("deploy 2 done");
    order.ends("done", 0, "deploy 2 done");
    assert_eq!(client.end().done(), ["deploy 2 began", "deploy 2 done"]);
}

#[test]
fn off_a_terminal_a_failure_is_said_once_on_stderr() {
    let (_server, client, mut events, order) = deploying(&["deploy"]);
    events.event_named("deploy-failed", "deploy 2 failed");
    events.event("worker 0 was killed");
    order.ends("failed", 1, "deploy 2 failed");
    let told = client.end();
    assert_eq!((told.code, told.stdout), (1, vec!["worker 0 was killed".to_owned()]));
    assert_eq!(told.stderr, ["srvwrap: deploy 2 failed"]);
    let (_server, client, mut events, order) = deploying(&["deploy"]);
    events.event_named("deploy-failed", "deploy 2 failed");
    order.ends("failed", 1, "deploy 2 failed (see stderr.log)");
    assert_eq!(client.end().failed(1), "deploy 2 failed (see stderr.log)");
}

#[test]
fn a_failure_that_is_not_the_answer_is_said_too() {
    let (_server, client, mut events, order) = deploying(&["deploy"]);
    events.event_named("deploy-failed", "deploy 7 failed");
    events.event_named("deploy-failed", "deploy 8 failed");
    order.ends("done", 0, "deploy 9 done");
    assert_eq!(client.end().done(), ["deploy 7 failed", "deploy 8 failed", "deploy 9 done"]);
    let (_server, client, mut events, order) = deploying(&["deploy"]);
    events.event_named("deploy-failed", "deploy 2 failed");
    drop(order);
    let told = client.end();
    assert_eq!((told.code, told.stdout), (1, vec!["deploy 2 failed".to_owned()]));
    assert_eq!(told.stderr, ["srvwrap: srvwrap ended before it answered"]);
}

#[test]
fn who_may_not_ask_has_made_no_mistake_in_usage() {
    for arguments in [["stop"], ["deploy"], ["abort"]] {
        let mut server = stand_in();
        let client = start(server.path(), &arguments);
        let forbidden = || answer("refused", 2, "uid 7 may ask for nothing here");
        if arguments != ["abort"] {
            server.asked("GET /events").answer(403, &forbidden());
        }
        server.asked(&format!("POST /{}", arguments[0])).answer(403, &forbidden());
        assert_eq!(client.end().failed(1), "uid 7 may ask for nothing here");
    }
}

#[test]
fn facts_that_come_before_the_answer_are_told_before_it() {
    for _ in 0..20 {
        let (_server, client, mut events, order) = deploying(&["deploy"]);
        for number in 0..50 {
            events.event(&format!("fact {number}"));
        }
        order.ends("done", 0, "done");
        let lines = client.end().done();
        assert_eq!((lines.len(), lines[49].as_str(), lines[50].as_str()), (51, "fact 49", "done"));
    }
}

#[test]
fn json_is_passed_on_as_it_came_and_the_answer_is_its_last_line() {
    let (_server, client, mut events, order) = deploying(&["deploy", "--json", "-n", "3", "--no-wait"]);
    assert_eq!(order.body, r#"{"workers":3,"wait":false}"#);
    events.event("deploy 2 began");
    order.ends("failed", 1, "it broke");
    let told = client.end();
    assert_eq!(told.code, 1);
    assert_eq!(told.stdout, [event("deploy 2 began"), answer("failed", 1, "it broke")]);
    assert_eq!(told.stderr, [""; 0]);
}

#[test]
fn quiet_says_nothing_but_a_failure_and_listens_to_nothing() {
    let mut server = stand_in();
    let client = start(server.path(), &["deploy", "--quiet"]);
    server.asked("POST /deploy").ends("done", 0, "deploy 2 done");
    assert_eq!(client.end().done(), [""; 0]);
}

#[test]
fn a_deploy_goes_on_where_there_is_no_room_for_who_listens() {
    let mut server = stand_in();
    let client = start(server.path(), &["deploy"]);
    server.asked("GET /events").answer(503, &answer("refused", 1, "too many clients"));
    server.asked("POST /deploy").ends("done", 0, "deploy 2 done");
    assert_eq!(client.end().done(), ["deploy 2 done"]);
}

#[test]
fn an_answer_cannot_speak_to_the_terminal() {
    let (_server, client, mut events, order) = deploying(&["deploy"]);
    events.event(r"a\u001b[2Jb\u0007");
    order.answer(200, &answer("done", 0, "X").replace('X', r"c\u009b2Jd\ne"));
    assert_eq!(client.end().done(), [r"a\u{1b}[2Jb\u{7}", r"c\u{9b}2Jd\ne"]);
}

#[test]
fn an_interrupted_deploy_is_aborted_once_and_never_0() {
    for (outcome, code, message) in [
        ("aborted", 5, "deploy 2 aborted; generation 1 keeps serving"),
        ("aborted", 5, "deploy 2 is live, though aborted; killing 1 worker of the old generation"),
        ("failed", 1, "deploy 2 failed"),
    ] {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let (mut server, mut client, _events, order) = deploying(&["deploy"]);
            client.signal(signal);
            let _abort = server.asked("POST /abort");
            client.wait_for("aborting; interrupt once more to leave without waiting");
            order.ends(outcome, code, message);
            let told = client.end();
            assert_eq!(told.code, i32::from(code), "{told:?}");
            assert_eq!(told.stderr.last(), Some(&format!("srvwrap: {message}")));
        }
    }
    let (mut server, client, _events, order) = deploying(&["deploy"]);
    client.signal(Signal::SIGINT);
    let _abort = server.asked("POST /abort");
    order.ends("done", 0, "deploy 2 done");
    let told = client.end();
    assert_eq!((told.code, told.stdout.as_slice()), (5, ["deploy 2 done".to_owned()].as_slice()));
    assert_eq!(told.stderr.last().unwrap(), "srvwrap: it was too late to abort the deploy");
}

#[test]
fn a_second_interrupt_leaves_at_once() {
    let (mut server, mut client, _events, _order) = deploying(&["deploy"]);
    client.signal(Signal::SIGINT);
    client.wait_for("aborting");
    client.signal(Signal::SIGINT);
    let told = client.end();
    assert_eq!(told.code, 5);
    assert!(told.stderr.last().unwrap().contains("not waiting any longer; the deploy goes on"), "{told:?}");
    drop(server.asked("POST /abort"));
}

#[test]
fn an_interrupted_stop_or_scaling_goes_on_without_its_client() {
    for (arguments, what) in [(["stop", "--quiet"].as_slice(), "stop"), (&["scale", "2", "--quiet"], "scale")]
    {
        let mut server = stand_in();
        let client = start(server.path(), arguments);
        let _order = server.asked(&format!("POST /{what}"));
        client.signal(Signal::SIGINT);
        assert!(client.end().failed(5).starts_with("not waiting any longer; the s"));
    }
}

#[test]
fn an_interrupt_that_was_ignored_at_the_start_stays_ignored() {
    let mut server = stand_in();
    let mut command = command(server.path(), &["deploy", "--quiet"]);
    crate::harness::before_exec(&mut command, || {
        // SAFETY: changes the disposition of a process that is about to exec.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        Ok(())
    });
    let client = run(command);
    let order = server.asked("POST /deploy");
    client.signal(Signal::SIGINT);
    order.ends("done", 0, "deploy 2 done");
    assert_eq!(client.end().done(), [""; 0]);
    assert_eq!(server.others(), [""; 0]);
}

#[test]
fn events_end_quietly_with_their_reader_and_with_srvwrap() {
    let mut server = stand_in();
    let mut shell = Command::new("sh");
    let pipeline = format!("'{}' events | head -n 1", crate::harness::BINARY);
    shell.args(["-c", &pipeline]).current_dir(server.path()).env("PWD", server.path());
    let mut client = run(shell);
    let mut events = server.asked("GET /events").streams();
    events.event("first");
    assert_eq!(client.wait_for("first"), "2026-01-02T03:04:05.678Z first");
    // No second event is needed for it to notice.
    assert_eq!(client.end().stderr, [""; 0]);

    let client = start(server.path(), &["events", "--json"]);
    let mut events = server.asked("GET /events").streams();
    events.event("last");
    events.finish();
    assert_eq!(client.end().done(), [event("last")]);

    let client = start(server.path(), &["events"]);
    let events = server.asked("GET /events").streams();
    let directory = server.killed();
    drop(events);
    assert_eq!(client.end().done(), [""; 0]);
    drop(directory);
}

#[test]
fn events_that_are_cut_off_by_a_srvwrap_that_goes_on_are_a_failure() {
    let mut server = stand_in();
    let client = start(server.path(), &["events"]);
    drop(server.asked("GET /events").streams());
    server.asked("GET /livez").answer(200, "{}");
    assert!(client.end().failed(1).ends_with("they were not read fast enough"));
}

#[test]
fn an_interrupt_ends_events_with_0() {
    let mut server = stand_in();
    let mut client = start(server.path(), &["events"]);
    let mut events = server.asked("GET /events").streams();
    events.event("first");
    client.wait_for("first");
    client.signal(Signal::SIGINT);
    assert_eq!(client.end().done().len(), 1);
}

#[test]
fn a_stopped_srvwrap_is_not_waited_for_without_end() {
    let mut server = stand_in();
    let client = start(server.path(), &["status"]);
    let _asked = server.asked("GET /status");
    assert_eq!(client.end().failed(1), "srvwrap did not answer within 10s (is it stopped?)");
}

/// A command whose stdout takes nothing.
fn on_a_full_disk(server: &StandIn, arguments: &str) -> Running {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("'{}' {arguments} > /dev/full", crate::harness::BINARY)]);
    shell.current_dir(server.path()).env("PWD", server.path()).env_remove("SRVWRAP_SOCKET");
    run(shell)
}

#[test]
fn a_full_disk_is_a_failure_of_what_is_to_be_read_and_is_said() {
    let mut server = stand_in();
    let client = on_a_full_disk(&server, "events --json");
    let mut events = server.asked("GET /events").streams();
    events.event("first");
    assert_eq!(client.end().failed(1), "cannot write to stdout: No space left on device");
}

#[test]
fn on_a_full_disk_an_order_ends_as_its_answer_says() {
    for json in ["", " --json"] {
        for (outcome, code) in [("done", 0), ("failed", 1), ("timed-out", 4), ("failed", 127)] {
            let mut server = stand_in();
            let client = on_a_full_disk(&server, &format!("deploy{json}"));
            let mut events = server.asked("GET /events").streams();
            events.event("deploy 2 began");
            server.asked("POST /deploy").ends(outcome, code, "so it went");
            let told = client.end();
            assert_eq!(told.code, i32::from(code), "{told:?}");
            let why = "srvwrap: cannot write to stdout: No space left on device";
            assert_eq!(told.stderr.last().map(String::as_str), Some(why));
        }
    }
}

#[test]
fn a_client_that_is_killed_asks_for_no_abort() {
    let (mut server, client, _events, order) = deploying(&["deploy"]);
    client.signal(Signal::SIGKILL);
    assert_eq!(client.end().code, 128 + 9);
    order.ends("done", 0, "deploy 2 done");
    let client = start(server.path(), &["history", "--json"]);
    server.asked("GET /history").answer(200, r#"{"schema":1,"deploys":[]}"#);
    assert_eq!(client.end().done(), [r#"{"schema":1,"deploys":[]}"#]);
    assert_eq!(server.others(), [""; 0]);
}
