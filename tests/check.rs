//! `srvwrap check`: programs that keep the worker protocol, and programs that break one rule each.
//!
//! Each bad one is the good one with a line changed, so that what is found is due to that line.

mod examples;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::examples::python_itself;
use crate::harness::{command, is_alive, wait_until, write_file};

/// Keeps every rule, with a thread for each connection.
const GOOD: &str = r#"
import os, select, signal, socket, subprocess, sys, threading, time
notice, listener = (socket.socket(fileno=int(os.environ[name])) for name in ("NOTIFY_FD", "LISTEN_FD"))
notice.set_inheritable(False)
listener.set_inheritable(False)
listener.setblocking(False)
told, tell = socket.socketpair()
until = None

def finish(*_):
    global until
    if until is None:
        until = time.monotonic() + 0.5
        tell.close()

def wait(*sockets, limit=None):
    return select.select(sockets, [], [], limit)[0]

def left():
    return max(0, until - time.monotonic())

def serve(connection):
    try:
        while connection in wait(connection, told) or connection in wait(connection, limit=left()):
            if not connection.recv(4096):
                break
            last = until is not None
            close = b"Connection: close\r\n" if last else b""
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + close + b"\r\nok")
            if last:
                break
    except OSError:
        pass
    connection.close()

signal.signal(signal.SIGTERM, finish)
notice.send(b"online\n")
while told not in (ready := wait(listener, notice, told)):
    if notice in ready:
        notice.recv(100)
        finish()
    elif listener in ready:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        threading.Thread(target=serve, args=[connection]).start()
listener.close()
"#;

/// Accepts without a look whether somebody is there, and serves one request at a time.
const BLOCKING: &str = r#"
import os, signal, socket
listener = socket.socket(fileno=int(os.environ["LISTEN_FD"]))
busy = over = False

def finish(*_):
    global over
    over = True
    if not busy:
        raise SystemExit

signal.signal(signal.SIGTERM, finish)
os.write(int(os.environ["NOTIFY_FD"]), b"online\n")
while not over:
    connection, _ = listener.accept()
    busy = True
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    connection.close()
    busy = False
"#;

/// The report on a program, and the exit code.
struct Checked {
    code: i32,
    report: Value,
}

/// None where Python is not here, which has been said.
fn checked(program: &str, options: &[&str]) -> Option<Checked> {
    let python = python_itself()?;
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    write_file(directory.path(), "server.py", program);
    let python = python.to_str().expect("its path is a text");
    let fixed = ["check", "--json", "-p", "127.0.0.1:0"];
    let arguments = [&fixed, options, &["--", python, "server.py"]].concat();
    Some(report(&command::told(directory.path(), &arguments)))
}

fn report(told: &command::Told) -> Checked {
    assert!(told.stderr.is_empty() && told.stdout.len() == 1, "pure JSON: {told:?}");
    Checked { code: told.code, report: serde_json::from_str(&told.stdout[0]).expect("one object") }
}

impl Checked {
    fn point(&self, name: &str) -> &Value {
        let points = self.report["points"].as_array().expect("there are points");
        points.iter().find(|point| point["point"] == name).unwrap_or_else(|| panic!("no point {name}"))
    }

    fn seen(&self, name: &str) -> &str {
        self.point(name)["seen"].as_str().expect("a text")
    }

    /// Every point with something to change, as in `drain: advice`.
    fn faults(&self) -> Vec<String> {
        let points = self.report["points"].as_array().expect("there are points");
        let bad = points.iter().filter(|point| point["verdict"] == "advice" || point["verdict"] == "fail");
        bad.map(|point| {
            assert!(!point["change"].as_str().expect("what to change").is_empty());
            format!("{}: {}", point["point"].as_str().unwrap(), point["verdict"].as_str().unwrap())
        })
        .collect()
    }

    fn not_tried(&self) -> Vec<&str> {
        let points = self.report["points"].as_array().expect("there are points");
        let not_tried = points.iter().filter(|point| point["verdict"] == "not tried");
        not_tried.map(|point| point["point"].as_str().unwrap()).collect()
    }
}

/// The good program with this line changed has these faults, and no others. Then, what was seen.
fn with(good: &str, bad: &str, options: &[&str], faults: &[&str]) -> Option<Checked> {
    assert_eq!(GOOD.matches(good).count(), 1, "{good}");
    let checked = checked(&GOOD.replace(good, bad), options)?;
    assert_eq!(checked.faults(), faults, "{:#}", checked.report);
    let failed = faults.iter().any(|fault| fault.ends_with("fail"));
    assert_eq!((checked.code, failed), (i32::from(failed), failed), "{:#}", checked.report);
    Some(checked)
}

#[test]
fn a_program_that_keeps_every_rule_has_no_fault() {
    let Some(checked) = checked(GOOD, &[]) else { return };
    assert_eq!((checked.faults(), checked.not_tried()), (Vec::new(), Vec::new()), "{:#}", checked.report);
    assert_eq!((checked.code, &checked.report["verdict"]), (0, &Value::from("ok")));
    assert_eq!(checked.point("online")["rules"], serde_json::json!(["W8"]));
    assert_eq!(checked.report["program"][1], "server.py");
}

#[test]
fn a_word_that_never_comes_fails_and_nothing_else_is_tried() {
    let options = ["--online-timeout", "2s"];
    let Some(checked) = with(r#"b"online\n""#, r#"b"online""#, &options, &["online: fail"]) else { return };
    assert!(checked.seen("online").contains("no such word within 2s"), "{:#}", checked.report);
    assert_eq!(checked.not_tried().len(), 11);
}

#[test]
fn an_address_that_it_binds_by_itself_is_named_where_srvwrap_holds_it() {
    let bad = r#"socket.create_server(("127.0.0.1", int(os.environ["PORT"])))"#;
    let Some(checked) = with("listener.setblocking(False)", bad, &[], &["online: fail"]) else { return };
    assert!(checked.seen("online").contains("ended with status 1"), "{:#}", checked.report);
    let point = checked.point("online").to_string();
    assert!(point.contains("listen on the descriptor in LISTEN_FD"), "{point}");
    assert!(point.contains("Address already in use"), "its last lines are shown: {point}");
}

#[test]
fn a_program_that_listens_elsewhere_is_not_taken_for_one_that_serves() {
    let bad = "listener.close(); listener = socket.create_server((\"127.0.0.1\", 0))";
    let Some(checked) = with("listener.setblocking(False)", bad, &[], &["accepts: fail"]) else { return };
    assert!(checked.seen("accepts").contains("it listens on port "), "{:#}", checked.report);
    assert_eq!(checked.point("shutdown")["verdict"], "ok");
}

#[test]
fn a_connection_that_is_kept_open_must_not_stop_others() {
    let (good, bad) = ("threading.Thread(target=serve, args=[connection]).start()", "serve(connection)");
    let Some(checked) = with(good, bad, &[], &["second-connection: fail"]) else { return };
    assert_eq!(checked.not_tried(), ["idle", "drain"]);
}

#[test]
fn a_shutdown_that_nobody_hears_fails() {
    let (good, bad) = ("if until is None:", "if False:");
    let faults = ["shutdown: fail", "eof: advice"];
    let Some(checked) = with(good, bad, &["--stop-timeout", "2s"], &faults) else { return };
    assert!(checked.seen("shutdown").contains("still there after 2"), "{:#}", checked.report);
}

#[test]
fn an_end_that_nobody_asked_for_fails() {
    let (good, bad) = ("            if last:", "            os._exit(7)\n            if last:");
    let assertion = |checked: &Checked| {
        assert_eq!(checked.code, 1);
        assert!(checked.seen("shutdown").contains("ended with status 7"), "{:#}", checked.report);
    };
    checked(&GOOD.replace(good, bad), &[]).iter().for_each(assertion);
}

#[test]
fn a_status_that_looks_like_a_fault_is_advised_against() {
    let Some(checked) = with("listener.close()", "sys.exit(3)", &[], &["status: advice"]) else { return };
    assert_eq!(checked.seen("status"), "with status 3");
}

#[test]
fn a_request_that_is_dropped_at_the_shutdown_fails() {
    let (good, bad) = ("        tell.close()", "        os._exit(0)");
    with(good, bad, &[], &["in-flight: fail", "drain: advice"]);
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
fn an_idle_connection_that_holds_it_fails() {
    let (good, bad) = ("connection in wait(connection, limit=left())", "connection in wait(connection)");
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

#[test]
fn descriptors_that_a_child_would_get_are_advised_against() {
    let advice = &["leaks: advice"];
    let Some(checked) = with("notice.set_inheritable(False)", "pass", &[], advice) else { return };
    assert!(checked.seen("leaks").contains("has the notice fd (3)"), "{:#}", checked.report);
    assert!(!checked.seen("leaks").contains("listener"), "{:#}", checked.report);
    let bad = "subprocess.Popen(['sleep', '1000'], close_fds=False); notice.set_inheritable(False)";
    let advice = &["eof: advice", "leaks: advice"];
    let checked = with("notice.set_inheritable(False)", bad, &[], advice).expect("as before");
    assert!(
        checked.seen("eof").contains("still there 5s after srvwrap was gone: sleep (pid "),
        "{:#}",
        checked.report
    );
    let seen = checked.seen("leaks");
    assert!(
        seen.contains("sleep (pid ") && seen.contains("has the notice fd (3) and the listener (4)"),
        "{seen}"
    );
}

#[test]
fn words_that_are_not_known_are_shown() {
    let (good, bad) =
        (r#"notice.send(b"online\n")"#, r#"notice.send(b"x" * 5000 + b"\nhello there\nonline\n")"#);
    let Some(checked) = with(good, bad, &[], &["words: advice"]) else { return };
    let seen = checked.seen("words");
    assert!(
        seen.contains("not known, as \"hello there\"") && seen.contains("more than 4096 bytes"),
        "{seen}"
    );
}

#[test]
fn a_flood_of_words_holds_nothing_up() {
    let flood = "(lambda: [notice.send(b'nothing\\n' * 1000) for _ in iter(int, 1)])";
    let bad = format!("notice.send(b\"online\\n\"); threading.Thread(target={flood}, daemon=True).start()");
    with(r#"notice.send(b"online\n")"#, &bad, &[], &["words: advice"]);
}

#[test]
fn a_server_that_takes_eagain_for_an_error_fails() {
    let Some(checked) = checked(BLOCKING, &[]) else { return };
    let faults = ["second-connection: advice", "leaks: advice", "nonblocking: fail"];
    assert_eq!((checked.faults().as_slice(), checked.code), (faults.map(String::from).as_slice(), 1));
    let point = checked.point("nonblocking").to_string();
    assert!(point.contains("O_NONBLOCK set while it served: ended with status 1"), "{point}");
    assert!(point.contains("BlockingIOError"), "{point}");
}

#[test]
fn a_server_that_asks_again_and_again_is_advised_against() {
    let (good, bad) = (
        "    connection, _ = listener.accept()\n",
        "    try:\n        connection, _ = listener.accept()\n    except BlockingIOError:\n        continue\n",
    );
    let Some(checked) = checked(&BLOCKING.replace(good, bad), &[]) else { return };
    assert_eq!(
        (&checked.point("nonblocking")["verdict"], checked.code),
        (&"advice".into(), 0),
        "{:#}",
        checked.report
    );
    assert!(checked.seen("nonblocking").contains("% of a processor"), "{:#}", checked.report);
}

#[test]
fn a_flag_is_to_be_left_as_it_was_found() {
    let (good, bad) = ("listener.setblocking(False)", "listener.setblocking(True)");
    let Some(checked) = with(good, bad, &[], &["nonblocking: advice"]) else { return };
    assert!(checked.seen("nonblocking").contains("cleared"), "{:#}", checked.report);
    let (good, bad) = ("listener.setblocking(False)", "assert os.get_blocking(listener.fileno())");
    let checked = with(good, bad, &[], &["nonblocking: fail"]).expect("as before");
    assert!(checked.seen("nonblocking").contains("started with O_NONBLOCK set"), "{:#}", checked.report);
}

#[test]
fn a_listener_that_is_shut_down_for_all_fails() {
    let (good, bad) = ("listener.close()", "listener.shutdown(socket.SHUT_RDWR)");
    let Some(checked) = with(good, bad, &[], &["listener: fail"]) else { return };
    assert!(checked.seen("listener").contains("127.0.0.1:"), "{:#}", checked.report);
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

/// A program that has said that it is online, and its number.
fn in_the_middle(directory: &std::path::Path, python: &str) -> (command::Running, i32) {
    let bad = "open('pid.new', 'w').write(str(os.getpid())); os.rename('pid.new', 'pid'); signal.pause()";
    write_file(directory, "server.py", &GOOD.replace("listener.setblocking(False)", bad));
    let running = command::start(directory, &["check", "-p", "127.0.0.1:0", python, "server.py"]);
    let number = || std::fs::read_to_string(directory.join("pid")).ok()?.parse().ok();
    wait_until("the program has begun", || number().is_some());
    (running, number().unwrap())
}

#[test]
fn a_check_that_is_interrupted_leaves_nothing_behind() {
    let python = python_itself();
    let Some(python) = python.as_ref().and_then(|python| python.to_str()) else { return };
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let directory = tempfile::tempdir().unwrap();
        let (running, pid) = in_the_middle(directory.path(), python);
        assert!(is_alive(pid));
        running.signal(signal);
        let told = running.end();
        assert_eq!(
            (told.code, told.stderr.as_slice()),
            (5, ["srvwrap: aborted; nothing of the program is left".into()].as_slice())
        );
        assert!(!is_alive(pid));
    }
}

#[test]
fn without_a_listener_connections_are_not_tried() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"trap 'exit 0' TERM; echo online >&3; while :; do sleep 0.05; done"#;
    let checked = report(&command::told(directory.path(), &["check", "--json", "sh", "-c", script]));
    assert_eq!(checked.code, 0, "{:#}", checked.report);
    let expected = ["accepts", "second-connection", "in-flight", "idle", "drain", "nonblocking", "listener"];
    assert_eq!(checked.not_tried(), expected);
    assert!(checked.seen("accepts").contains("give one, as in -p 0"));
    assert_eq!(checked.point("shutdown")["verdict"], "ok");
}

#[test]
fn a_program_that_says_nothing_is_checked_for_the_rest() {
    let program = GOOD.replace(r#"notice.send(b"online\n")"#, "time.sleep(0.5)");
    for ready in ["exec", "after=300ms"] {
        let Some(checked) = checked(&program, &["--ready", ready]) else { return };
        assert_eq!(
            (checked.faults(), checked.not_tried()),
            (Vec::new(), vec!["online", "eof"]),
            "{:#}",
            checked.report
        );
    }
}

/// Bytes are answered with the same bytes: what an answer is cannot be told.
#[test]
fn what_is_no_http_is_tried_as_far_as_it_goes() {
    let program =
        GOOD.replace("if not connection.recv(4096):", "if not (request := connection.recv(4096)):").replace(
            r#"connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + close + b"\r\nok")"#,
            "connection.sendall(request)",
        );
    let Some(checked) = checked(&program, &[]) else { return };
    assert_eq!(
        (checked.faults(), checked.not_tried()),
        (Vec::new(), vec!["in-flight", "idle", "drain"]),
        "{:#}",
        checked.report
    );
    assert!(checked.seen("accepts").contains("not HTTP"), "{:#}", checked.report);
}

#[test]
fn every_listener_is_tried_and_unix_ones_are_too() {
    let Some(one) = checked(GOOD, &["-p", "unix:second.sock"]) else { return };
    assert_eq!(one.faults(), ["accepts: fail", "leaks: advice"], "{:#}", one.report);
    assert!(one.seen("accepts").contains("second.sock: not accepted"), "{:#}", one.report);
    let directory = tempfile::tempdir().unwrap();
    write_file(directory.path(), "server.py", GOOD);
    let python = python_itself().expect("as before");
    let line = ["check", "--json", "-p", "unix:app.sock", python.to_str().unwrap(), "server.py"];
    let checked = report(&command::told(directory.path(), &line));
    assert_eq!((checked.faults(), checked.not_tried()), (Vec::new(), Vec::new()), "{:#}", checked.report);
    assert!(!directory.path().join("app.sock").exists());
}

#[test]
fn sockets_are_handed_over_as_their_protocol_has_it() {
    let with_systemd = GOOD.replace(
        r#"notice.send(b"online\n")"#,
        concat!(
            "assert os.environ['LISTEN_PID'] == str(os.getpid())\n",
            "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])"
        ),
    );
    let Some(checked) = checked(&with_systemd, &["--protocol", "systemd"]) else { return };
    assert_eq!((checked.faults(), checked.not_tried()), (Vec::new(), vec!["eof"]), "{:#}", checked.report);
    assert!(checked.seen("online").contains("at NOTIFY_SOCKET"), "{:#}", checked.report);
    let on_stdin = self::checked(GOOD, &["--protocol", "stdin"]).expect("as before");
    assert_eq!((on_stdin.faults(), on_stdin.not_tried()), (Vec::new(), Vec::new()), "{:#}", on_stdin.report);
    let with_einhorn = GOOD.replace(
        r#"notice.send(b"online\n")"#,
        concat!(
            "ack = socket.socket(socket.AF_UNIX); ack.connect(os.environ['EINHORN_SOCK_PATH']); ",
            "ack.send(b'{\"command\":\"worker:ack\",\"pid\":1}\\n')"
        ),
    );
    let acked = self::checked(&with_einhorn, &["--protocol", "einhorn"]).expect("as before");
    assert_eq!((acked.faults(), acked.not_tried()), (Vec::new(), vec!["eof"]), "{:#}", acked.report);
}

#[test]
fn the_report_has_a_line_for_each_point_and_one_for_what_to_change() {
    let directory = tempfile::tempdir().unwrap();
    let told =
        command::told(directory.path(), &["check", "-p", "0", "--", "sh", "-c", "echo last words; exit 3"]);
    let text = told.stdout.join("\n");
    assert_eq!((told.code, told.stderr.is_empty()), (1, true), "{told:?}");
    let head = "srvwrap check: sh -c \"echo last words; exit 3\"\nup to 5 short lives of it, one worker each, on port ";
    assert!(text.starts_with(head), "{text}");
    let online = "\nFAIL       online            W8       ended with status 3 after ";
    assert!(
        text.contains(online) && text.contains("change: ") && text.contains("it wrote: last words"),
        "{text}"
    );
    assert!(text.contains("\nnot tried  accepts           W1 W17   it was not online\n"), "{text}");
    assert!(text.ends_with("\n1 ok, 0 advice, 1 FAIL, 11 not tried"), "{text}");
}

#[test]
fn what_cannot_be_checked_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    write_file(directory.path(), "no-program", "text");
    let refused = |code: i32, words: &str, line: &[&str]| {
        let told = command::told(directory.path(), &[&["check"], line].concat());
        let text = if told.stdout.is_empty() { told.failed(code) } else { told.stderr.join("\n") };
        assert!(text.contains(words), "{line:?}: {text}");
    };
    refused(2, "no program to check; give one, as in: srvwrap check -p 8000 node server.js", &[]);
    refused(2, "-n: no such option", &["-n", "4", "true"]);
    refused(2, "--socket: srvwrap check has no such option", &["--socket", "a.sock", "true"]);
    refused(2, "--path slow: not what a request can ask for", &["--path", "slow", "true"]);
    refused(2, "--stop-timeout 0: that kills at once", &["--stop-timeout", "0", "true"]);
    refused(2, "-p", &["-p", "x", "true"]);
    let code = |line: &[&str]| {
        command::told(directory.path(), &[&["check", "--json"], line].concat())
            .failed(line.len() as i32 + 124)
    };
    assert!(code(&["./no-program", ""]).contains("cannot execute ./no-program"));
    assert!(code(&["no-such-program", "", ""]).contains("cannot find program no-such-program"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("127.0.0.1:{}", taken.local_addr().unwrap().port());
    refused(1, "Address already in use", &["--json", "-p", &port, "true"]);
}
