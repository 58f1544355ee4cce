//! What workers say in datagrams (`--protocol systemd`): heard from a worker's own processes, and from nobody else.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use crate::harness::command::told;
use crate::harness::{Srvwrap, Starting, pipe, process, require, srvwrap, wait_until};

/// What sd_notify(3) does, by hand.
const SAY: &str = r#"
import array, os, signal, socket, sys, time
def say(text, fds=()):
    address = os.environ["NOTIFY_SOCKET"]
    address = "\0" + address[1:] if address[0] == "@" else address
    text = text if isinstance(text, bytes) else text.encode()
    with_it = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendmsg([text], with_it, 0, address)
def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.02)
def serve():
    while True:
        signal.pause()
"#;

/// srvwrap with workers that run this Python; none where there is no Python.
fn python(options: &[&str], script: &str) -> Option<Starting> {
    let python = require::python()?;
    let mut arguments = vec!["--protocol", "systemd"];
    arguments.extend(options);
    arguments.extend([python.as_str(), "worker.py"]);
    Some(srvwrap(arguments).file("worker.py", &format!("{SAY}\n{script}")))
}

fn path_of(srvwrap: &Srvwrap) -> PathBuf {
    srvwrap.path().join("srvwrap.sock.notify")
}

/// A datagram of this process, which is no worker's.
fn say_as_a_stranger(srvwrap: &Srvwrap, words: &[u8]) {
    UnixDatagram::unbound().expect("a socket").send_to(words, path_of(srvwrap)).expect("it is there");
}

#[test]
fn a_worker_that_is_ready_in_a_datagram_is_online_and_its_status_is_shown() {
    let Some(starting) = python(&["-n", "2"], "say('READY=1\\nSTATUS=warm\\x1b[2J'); serve()") else {
        return;
    };
    let srvwrap = starting.online();
    let status = told(srvwrap.path(), &["status"]).stdout.join("\n");
    assert_eq!(status.matches("warm\u{fffd}[2J").count(), 2, "{status}");
    srvwrap.signal(Signal::SIGHUP);
    let path = path_of(&srvwrap);
    assert!(path.exists());
    srvwrap.stop();
    assert!(!path.exists());
}

/// It sends a descriptor after its word, and waits until that is closed.
#[test]
fn systemd_notify_in_a_shell_is_heard_and_gets_its_answer() {
    if !require::program("systemd-notify") {
        return;
    }
    let script = "systemd-notify --ready --status=up && echo heard; exec sleep 1000";
    let mut srvwrap = srvwrap(["--protocol", "systemd", "-n", "3", "sh", "-c", script]).online();
    srvwrap.wait_until_said("heard", 3);
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    srvwrap.wait_until_said("heard", 6);
    assert!(!srvwrap.has_said("is ignored"), "{}", srvwrap.log());
    srvwrap.stop();
}

#[test]
fn a_descendant_speaks_for_its_worker_in_its_group_and_out_of_it() {
    for leaves in ["", "os.setsid()"] {
        let script = format!(
            "if os.fork() == 0:\n    {leaves}\n    if os.fork() == 0:\n        say('READY=1')\n    serve()\nserve()"
        );
        let Some(starting) = python(&["--stop-timeout", "1s"], &script) else { return };
        let mut srvwrap = starting.online();
        assert!(!srvwrap.has_said("is ignored"), "{}", srvwrap.log());
        srvwrap.stop();
    }
}

/// The number of a process that has ended is its own until it is reaped, and its words are read before that.
#[test]
fn who_says_ready_and_ends_at_once_was_ready() {
    for script in
        ["say('READY=1'); os._exit(7)", "[say('STATUS=x') for _ in range(100)]; say('READY=1'); os._exit(7)"]
    {
        let Some(starting) = python(&["--on-crash", "exit"], script) else { return };
        let (code, log) = starting.run();
        assert_eq!(code, 7, "{log}");
        assert!(log.contains(" online after "), "{log}");
    }
}

/// One remark, however often; and what they have sent with it is closed.
#[test]
fn strangers_are_not_heard_and_are_named_once() {
    let Some(starting) = python(&[], "wait_for('go'); say('READY=1'); serve()") else { return };
    let mut srvwrap = starting.start();
    wait_until("there is a socket", || path_of(&srvwrap).exists());
    for words in ["READY=1", "", "STOPPING=1", "MAINPID=1\nREADY=1", "BARRIER=1"].repeat(20) {
        say_as_a_stranger(&srvwrap, words.as_bytes());
    }
    let (reader, writer) = pipe();
    let client = UnixDatagram::unbound().expect("a socket");
    let address = UnixAddr::new(&path_of(&srvwrap)).expect("it is short");
    let (part, descriptors) = ([std::io::IoSlice::new(b"READY=1")], vec![writer.as_raw_fd(); 253]);
    let with = [ControlMessage::ScmRights(&descriptors)];
    sendmsg(client.as_raw_fd(), &part, &with, MsgFlags::empty(), Some(&address)).expect("it is taken");
    drop(writer);
    // The end of the pipe: nobody has it any more.
    assert_eq!(nix::unistd::read(&reader, &mut [0; 1]), Ok(0));
    assert!(!srvwrap.has_said(" online after "), "{}", srvwrap.log());
    srvwrap.touch("go");
    srvwrap.wait_for("workers online: 1");
    let us = std::process::id();
    let remark =
        format!("what is said on the notify socket is ignored, from pid {us}: it is no worker's process");
    assert_eq!(srvwrap.times_said("is ignored"), 1, "{}", srvwrap.log());
    assert!(srvwrap.has_said(&remark), "{}", srvwrap.log());
    srvwrap.stop();
}

/// The kernel has no number for a process that is not in the namespace of who asks.
#[test]
fn a_stranger_from_outside_of_a_container_is_not_heard() {
    if !require::pid_namespace() {
        return;
    }
    let Some(starting) = python(&[], "wait_for('go'); say('READY=1'); serve()") else { return };
    let mut srvwrap = process::as_process_one(starting).start();
    wait_until("there is a socket", || path_of(&srvwrap).exists());
    say_as_a_stranger(&srvwrap, b"READY=1");
    srvwrap.wait_for("is ignored, from somebody: its process is in another pid namespace");
    assert!(!srvwrap.has_said(" online after "), "{}", srvwrap.log());
    srvwrap.touch("go");
    srvwrap.wait_for("workers online: 1");
}

/// An orphan that has left its group belongs to nobody.
#[test]
fn a_process_that_has_left_its_worker_is_a_stranger() {
    let script = "
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while os.getppid() != int(os.environ['SRVWRAP_PID']):
            time.sleep(0.02)
        say('READY=1')
        open('said', 'w')
        serve()
    os._exit(0)
os.wait()
wait_for('go')
say('READY=1')
serve()";
    let Some(starting) = python(&[], script) else { return };
    let mut srvwrap = starting.start();
    srvwrap.wait_for("it is no worker's process");
    assert!(!srvwrap.has_said(" online after "), "{}", srvwrap.log());
    srvwrap.touch("go");
    srvwrap.wait_for("workers online: 1");
    srvwrap.stop();
}

/// Workers of root may have become another user; a child of one of them that has is somebody else.
#[test]
fn a_worker_that_has_changed_its_user_is_heard_and_a_process_of_another_user_is_not() {
    if !require::root() {
        return;
    }
    for (script, is_heard) in [
        ("os.setgid(65534); os.setuid(65534); say('READY=1'); serve()", true),
        (
            // The other one stays: of one that has gone nobody knows whose it was.
            "
begun, begins = os.pipe()
if os.fork() == 0:
    os.setuid(65534)
    say('READY=1')
    os.write(begins, b'.')
    os.read(os.pipe()[0], 1)
os.read(begun, 1)
say('READY=1')
serve()",
            false,
        ),
    ] {
        let Some(starting) = python(&[], script) else { return };
        fs::set_permissions(starting.path(), fs::Permissions::from_mode(0o755)).expect("our own directory");
        let mut srvwrap = starting.online();
        assert_eq!(srvwrap.has_said("it runs as user 65534, and its worker as another one"), !is_heard);
        srvwrap.stop();
    }
}

/// Words that mean nothing, or were not meant so, with and without descriptors: the next one is heard, and nothing of
/// them stays.
#[test]
fn odd_datagrams_of_a_worker_change_nothing_and_leave_nothing_behind() {
    let script = "
reader, writer = os.pipe()
for odd in [b'', b'\\0', b'READY=1\\0\\0', b'\\0READY=1', b'READY=1\\nSTATUS=' + b'x' * 5000, b'READY=0', b'online',
            b'MAINPID=0\\nMAINPID=1\\nMAINPID=999999999999\\nMAINPID=1', b'FDSTORE=1', b'BARRIER=1', b'\\xff' * 4096]:
    for fds in [[], [writer], [writer] * 2, [writer] * 253]:
        say(odd, fds)
os.close(writer)
# Each of them was taken, and the descriptors are closed.
assert os.read(reader, 1) == b''
open('odd', 'w')
wait_for('go')
say(b'STATUS=fine\\nREADY=1\\0')
serve()";
    let Some(starting) = python(&[], script) else { return };
    let mut srvwrap = starting.start();
    wait_until("all were sent", || srvwrap.path().join("odd").exists());
    let before = srvwrap.open_descriptors();
    assert!(!srvwrap.has_said(" online after "), "{}", srvwrap.log());
    srvwrap.touch("go");
    srvwrap.wait_for("workers online: 1");
    assert_eq!(srvwrap.open_descriptors(), before);
    assert_eq!(srvwrap.times_said("is ignored"), 1, "{}", srvwrap.log());
    assert!(srvwrap.has_said("is ignored: it has a zero byte inside"), "{}", srvwrap.log());
    assert!(told(srvwrap.path(), &["status"]).stdout.join("\n").contains("fine"));
    srvwrap.stop();
}

/// It waits for its turn as all others do.
#[test]
fn a_worker_that_floods_keeps_nobody_from_being_heard() {
    let script = "
say('READY=1')
if os.environ['SRVWRAP_SLOT'] == '0':
    open('floods', 'w')
    while True:
        say('WATCHDOG=1\\nSTATUS=' + 'x' * 2000)
serve()";
    let Some(starting) = python(&["-n", "2", "--stop-timeout", "2s"], script) else { return };
    let mut srvwrap = starting.online();
    wait_until("it floods", || srvwrap.path().join("floods").exists());
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    assert_eq!(told(srvwrap.path(), &["scale", "3"]).code, 0);
    srvwrap.stop();
}

/// What cannot be heard is named, that nobody looks for it for long.
#[test]
fn a_worker_whose_word_was_too_long_is_told_why_it_is_late() {
    let script = "say('READY=1\\nSTATUS=' + 'x' * 5000); serve()";
    let Some(starting) = python(&[], script) else { return };
    let mut srvwrap = starting.start();
    srvwrap.wait_for(" is ignored: it is longer than 4096 bytes");
    srvwrap.stop();
}

#[test]
fn a_worker_that_is_ready_and_stops_at_once_has_its_words_in_the_status() {
    let script = "say('READY=1\\nSTOPPING=1\\r\\n'); serve()";
    let Some(starting) = python(&[], script) else { return };
    let mut srvwrap = starting.online();
    srvwrap.wait_for("said offline; replacing it");
    let status = told(srvwrap.path(), &["status"]).stdout.join("\n");
    assert!(!status.contains("failed: ;"), "{status}");
    srvwrap.stop();
}

/// One that needs longer than its limit, and says so, in time.
#[test]
fn a_worker_has_the_time_that_it_asks_for_to_start_and_to_end() {
    let script = "
def ends(*_):
    say('STOPPING=1\\nEXTEND_TIMEOUT_USEC=60000000')
    time.sleep(1.5)
    os._exit(0)
signal.signal(signal.SIGTERM, ends)
say('EXTEND_TIMEOUT_USEC=60000000')
time.sleep(2.5)
say('READY=1')
serve()";
    let limits = ["--online-timeout", "2s", "--stop-timeout", "1s"];
    let Some(starting) = python(&limits, script) else { return };
    let log = starting.online().stop();
    assert!(!log.contains("killed"), "{log}");

    // Without its word it is late, and killed.
    let mute = script.replace("EXTEND_TIMEOUT_USEC", "OTHER");
    let Some(starting) = python(&limits, &mute) else { return };
    let (code, log) = starting.run();
    assert!(code == 1 && log.contains(" did not say READY=1 on NOTIFY_SOCKET within 2s"), "{log}");
    assert!(!log.contains("notice fd"), "{log}");
}

#[test]
fn where_its_path_was_removed_it_is_made_anew() {
    let Some(starting) = python(&[], "say('READY=1'); serve()") else { return };
    let mut srvwrap = starting.online();
    fs::remove_file(path_of(&srvwrap)).expect("it is there");
    srvwrap.wait_for("srvwrap.sock.notify: made anew");
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    srvwrap.stop();
}

/// As in a container whose files cannot be written to. Named by hand, it has to be there.
#[test]
fn where_no_file_can_be_made_a_name_will_do_that_is_none() {
    let Some(starting) = python(&[], "say('READY=1'); serve()") else { return };
    let worker = starting.path().join("worker.py");
    let python = require::python().expect("just asked for");
    let in_proc = |arguments: &[&str]| {
        srvwrap(arguments).with(|command| {
            command.arg(&python).arg(&worker).current_dir("/proc").env("PWD", "/proc");
        })
    };
    let mut running = in_proc(&["--protocol", "systemd"]).online();
    assert!(
        running.has_said("cannot make the notify socket /proc/srvwrap.sock.notify: "),
        "{}",
        running.log()
    );
    assert!(running.has_said("; it is @"), "{}", running.log());
    running.stop();

    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let long = directory.path().join("x".repeat(101 - directory.path().as_os_str().len()));
    let long = long.to_str().expect("it is text");
    let (code, log) = in_proc(&["--protocol", "systemd", "--socket", long]).run();
    assert!(code == 1 && log.contains("is 109 bytes long and a socket's path may have 107"), "{log}");
    assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 0, "nothing is left");
}

/// It knows nothing of the notice descriptor, and closes what it does not know.
#[test]
fn a_worker_that_closes_the_notice_descriptor_is_not_told_to_be_mute() {
    let script = "os.closerange(3, 100); time.sleep(1.5); say('READY=1'); serve()";
    let Some(starting) = python(&[], script) else { return };
    let log = starting.online().stop();
    assert!(!log.contains("without saying online"), "{log}");
}
