//! What it does to others: its children, whoever reads what it says, and the workers beside it.

use super::{checked, with};

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
fn words_are_counted_in_one_life() {
    let (good, bad) = (r#"notice.send(b"online\n")"#, r#"notice.send(b"online\nhello\n")"#);
    let Some(checked) = with(good, bad, &[], &["words: advice"]) else { return };
    assert_eq!(checked.seen("words"), "1 line not known, as \"hello\"");
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
    assert!(checked.seen("eof").contains("(see nonblocking)"), "{:#}", checked.report);
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

/// It does so whatever the flag is.
#[test]
fn a_program_that_floods_its_output_is_not_taken_for_one_that_asks_again_and_again() {
    let flood = "(lambda: [None for _ in iter(lambda: print('x' * 200), 1)])";
    let bad = format!("threading.Thread(target={flood}, daemon=True).start(); notice.send(b\"online\\n\")");
    with(r#"notice.send(b"online\n")"#, &bad, &[], &[]);
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
