//! How it begins: says that it is online, and takes connections, each in its way.

use super::{GOOD, checked, report, with};
use crate::harness::examples::python_itself;
use crate::harness::{command, require, write_file};

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

/// Node's message stands some fifteen lines before the end of what it writes.
#[test]
fn the_cause_is_shown_where_a_long_trace_follows_it_and_found_where_it_is_not_shown() {
    if !require::program("node") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let node = "require('http').createServer().listen(Number(process.env.PORT), '127.0.0.1')";
    for (program, is_shown) in [
        (["node", "-e", node], true),
        (["sh", "-c", "echo Address already in use; seq 1000 2000; exit 1"], false),
    ] {
        let line = [&["check", "--json", "-p", "127.0.0.1:0"], program.as_slice()].concat();
        let checked = report(&command::told(directory.path(), &line));
        assert_eq!(checked.faults(), ["online: fail"], "{:#}", checked.report);
        let point = checked.point("online");
        assert!(point["change"].as_str().unwrap().starts_with("it binds an address by itself"), "{point}");
        assert_eq!(point["output"].to_string().contains("ddress already in use"), is_shown, "{point}");
    }
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

/// What it has it keeps, until it is told to finish.
#[test]
fn what_is_not_answered_in_time_is_named_where_it_was_to_be_tried() {
    let (good, bad) = ("            last = until is not None\n", "            continue\n");
    let Some(checked) = with(good, bad, &["--path", "/long"], &["accepts: advice"]) else { return };
    let because = "GET /long was not answered within 10s";
    assert_eq!(checked.seen("accepts"), format!("accepted; {because}"));
    assert_eq!(checked.not_tried(), ["in-flight", "idle", "drain"]);
    assert!(checked.not_tried().iter().all(|point| checked.seen(point) == because), "{:#}", checked.report);
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
