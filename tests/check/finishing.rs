//! How it ends: when it is told to, whatever it has in its hands, and when srvwrap is gone.

use super::{GOOD, checked, report, with};
use crate::harness::examples::python_itself;
use crate::harness::{command, is_alive, write_file};

#[test]
fn a_shutdown_that_nobody_hears_fails() {
    let (good, bad) = ("if until is None:", "if False:");
    let faults = ["shutdown: fail", "eof: advice"];
    let Some(checked) = with(good, bad, &["--stop-timeout", "2s"], &faults) else { return };
    assert!(checked.seen("shutdown").contains("still there after 2"), "{:#}", checked.report);
}

#[test]
fn a_status_that_looks_like_a_fault_is_advised_against() {
    let Some(checked) = with("listener.close()", "sys.exit(3)", &[], &["status: advice"]) else { return };
    assert_eq!(checked.seen("status"), "with status 3");
}

#[test]
fn a_request_that_is_dropped_at_the_shutdown_fails() {
    // It takes a moment for its answers, so that none has gone before it hears.
    let program = GOOD.replace("            last = ", "            time.sleep(0.05)\n            last = ");
    let Some(checked) = checked(&program.replace("        tell.close()", "        os._exit(0)"), &[]) else {
        return;
    };
    assert_eq!(checked.faults(), ["in-flight: fail", "drain: advice"], "{:#}", checked.report);
}

/// The signal alone ends what does not handle it, whatever it has in its hands.
#[test]
fn a_program_without_a_handler_for_the_signal_drops_requests() {
    let (good, bad) = ("signal.signal(signal.SIGTERM, finish)", "pass");
    let faults = ["status: advice", "in-flight: fail", "drain: advice"];
    let Some(checked) = with(good, bad, &[], &faults) else { return };
    assert_eq!(checked.seen("status"), "by TERM");
}

#[test]
fn a_slow_answer_is_waited_for_or_it_fails() {
    // Longer than the half second, in which requests are to be taken all the same.
    let slow = GOOD.replace("            last = ", "            time.sleep(0.7)\n            last = ");
    let Some(good) = checked(&slow, &["--path", "/slow"]) else { return };
    assert_eq!(good.faults(), [""; 0], "{:#}", good.report);
    assert!(good.seen("in-flight").contains("before the shutdown: answered 200"), "{:#}", good.report);
    assert!(!good.seen("in-flight").contains("just before"), "{:#}", good.report);
    let bad = slow.replace("        tell.close()", "        os._exit(0)");
    let faults = checked(&bad, &["--path", "/slow"]).expect("as before").faults();
    assert_eq!(faults, ["in-flight: fail", "drain: advice"]);
}

#[test]
fn an_answer_that_takes_longer_than_the_stop_may_is_told_so() {
    let (good, bad) = ("            last = ", "            time.sleep(1.2)\n            last = ");
    let Some(checked) = with(good, bad, &["--stop-timeout", "1s"], &["in-flight: fail"]) else { return };
    let seen = checked.seen("in-flight");
    assert!(
        seen.starts_with("GET / takes 1.") && seen.ends_with("and is cut after --stop-timeout 1s"),
        "{seen}"
    );
    assert_eq!(checked.not_tried(), ["idle", "drain"]);
    assert!(checked.seen("drain").starts_with("--stop-timeout 1s is too short for half a second of drain"));
}

#[test]
fn an_idle_connection_that_holds_it_fails() {
    let (good, bad) = ("connection in wait(connection, limit=left())", "connection in wait(connection)");
    with(good, bad, &["--stop-timeout", "3s"], &["idle: fail"]);
}

/// As one that a browser opens in advance, or a probe.
#[test]
fn a_connection_that_never_asks_and_holds_it_fails() {
    let (good, bad) =
        ("    try:\n        while", "    try:\n        connection.recv(1, socket.MSG_PEEK)\n        while");
    with(good, bad, &["--stop-timeout", "3s"], &["idle: fail"]);
}

#[test]
fn a_drain_that_is_too_short_or_keeps_connections_alive_is_advised_against() {
    let Some(checked) = with("return max(0, until - time.monotonic())", "return 0", &[], &["drain: advice"])
    else {
        return;
    };
    assert!(checked.seen("drain").contains("100ms after the shutdown"), "{:#}", checked.report);
    let checked =
        with("monotonic() + 0.5", "monotonic() + 0.25", &[], &["drain: advice"]).expect("as before");
    assert!(checked.seen("drain").contains("400ms after the shutdown"), "{:#}", checked.report);
    let (good, bad) = (r#"close = b"Connection: close\r\n" if last else b"""#, r#"close = b"""#);
    let checked = with(good, bad, &[], &["drain: advice"]).expect("as before");
    assert!(checked.seen("drain").contains("without Connection: close"), "{:#}", checked.report);
}

#[test]
fn a_worker_that_outlives_srvwrap_is_advised_against() {
    let (good, bad) =
        ("    if notice in ready:", "    if notice in ready and notice.recv(1, socket.MSG_PEEK):");
    with(good, bad, &[], &["eof: advice"]);
}

/// Neither is waited for in a deploy, but they are told; and after the check there is none.
#[test]
fn what_it_starts_and_leaves_is_named_and_gone_afterwards() {
    let bad = "open('child', 'a').write(f\"{subprocess.Popen(['sleep', '1000'], start_new_session=True).pid}\\n\"); pass";
    let python = python_itself();
    let Some(python) = python.as_ref().and_then(|python| python.to_str()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let program =
        GOOD.replace("signal.signal(signal.SIGTERM", &format!("{bad}\nsignal.signal(signal.SIGTERM"));
    write_file(directory.path(), "server.py", &program);
    let line = ["check", "--json", "-p", "127.0.0.1:0", python, "server.py"];
    let checked = report(&command::told(directory.path(), &line));
    assert_eq!(checked.faults(), ["shutdown: advice"], "{:#}", checked.report);
    assert!(checked.seen("shutdown").contains("left behind: sleep (pid "), "{:#}", checked.report);
    let children = std::fs::read_to_string(directory.path().join("child")).unwrap();
    assert_eq!(children.lines().count(), 5, "one in each life");
    assert!(children.lines().all(|pid| !is_alive(pid.parse().unwrap())));
}
