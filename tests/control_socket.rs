//! The control socket of a running srvwrap as a file: whose it is, and what becomes of it. What it answers is tested
//! elsewhere.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::daemon::listener_at;
use crate::harness::{PATIENCE, Srvwrap, Starting, before_exec, srvwrap, wait_until};

const IDLE: [&str; 3] = ["sh", "-c", "echo online >&3; exec sleep 1000"];

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket())
}

/// In another directory than its own.
fn started_in(directory: &Path, arguments: &[&str]) -> Starting {
    srvwrap(arguments).with(|command| {
        command.current_dir(directory).env("PWD", directory);
    })
}

fn socket_of(srvwrap: &Srvwrap) -> std::path::PathBuf {
    srvwrap.path().join("srvwrap.sock")
}

#[test]
fn it_is_in_the_callers_directory_in_the_foreground_too_and_gone_at_the_end() {
    let srvwrap = srvwrap(IDLE).online();
    let path = socket_of(&srvwrap);
    assert_eq!(listener_at(&path), Some(srvwrap.pid() as i32));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("kept");
    fs::create_dir(&kept).unwrap();
    drop(srvwrap);
    started_in(&kept, &IDLE).online().stop();
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 0);
}

#[test]
fn its_mode_is_0600_from_the_first_moment_at_which_it_can_be_seen() {
    let starting = srvwrap(IDLE).with(|command| {
        before_exec(command, || {
            // SAFETY: a system call without memory.
            unsafe { libc::umask(0) };
            Ok(())
        });
    });
    let path = starting.path().join("srvwrap.sock");
    let together = Barrier::new(2);
    let (first_mode, srvwrap) = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            together.wait();
            loop {
                if let Ok(facts) = fs::symlink_metadata(&path) {
                    return facts.permissions().mode() & 0o7777;
                }
                thread::yield_now();
            }
        });
        together.wait();
        let srvwrap = starting.online();
        (watcher.join().unwrap(), srvwrap)
    });
    assert_eq!(first_mode, 0o600);
    srvwrap.stop();
}

#[test]
fn a_second_one_in_the_same_directory_ends_with_1_names_the_remedy_and_touches_nothing() {
    let first = srvwrap(IDLE).online();
    let path = socket_of(&first);
    let before = fs::metadata(&path).unwrap().ino();
    let (code, said) = started_in(first.path(), &["-punix:app.sock", "sleep", "1000"]).run();
    assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    let words = format!(
        "srvwrap is running there already (pid {}); give this one another with --socket PATH",
        first.pid()
    );
    assert!(said.contains(&words), "{said}");
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    assert_eq!(listener_at(&path), Some(first.pid() as i32));
    assert!(!first.path().join("app.sock").exists());
    started_in(first.path(), &["--socket", "other.sock", IDLE[0], IDLE[1], IDLE[2]]).online().stop();
    first.stop();
}

#[test]
fn after_a_kill_the_next_one_takes_it_over_at_once() {
    let mut first = srvwrap(IDLE).online();
    let path = socket_of(&first);
    first.signal(Signal::SIGKILL);
    first.wait();
    assert!(is_socket(&path));
    let second = started_in(first.path(), &IDLE).online();
    assert_eq!(listener_at(&path), Some(second.pid() as i32));
    second.stop();
    assert!(!path.exists());
}

#[test]
fn a_directory_may_have_a_longer_path_than_a_sockets_address() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(200));
    fs::create_dir(&deep).unwrap();
    let first = started_in(&deep, &IDLE).online();
    assert!(is_socket(&deep.join("srvwrap.sock")));
    let (code, said) = started_in(&deep, &IDLE).run();
    assert_eq!(code, 1);
    assert!(said.contains("running there already"), "{said}");
    first.stop();
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
}

#[test]
fn in_the_foreground_one_that_nobody_has_asked_for_may_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    symlink("/nowhere", directory.path().join("srvwrap.sock")).unwrap();
    for place in [Path::new("/proc"), directory.path()] {
        let mut srvwrap = started_in(place, &IDLE).start();
        srvwrap.wait_for("going on without (--socket PATH puts it elsewhere)");
        srvwrap.wait_for("workers online: 1");
        assert_eq!(srvwrap.stop().matches("control socket").count(), 1);
    }
    assert!(fs::symlink_metadata(directory.path().join("srvwrap.sock")).unwrap().is_symlink());
}

#[test]
fn one_that_was_asked_for_and_cannot_be_made_is_a_reason_not_to_start() {
    let directory = tempfile::tempdir().unwrap();
    let in_it = |name: &str| directory.path().join(name);
    fs::write(in_it("file.sock"), "precious").unwrap();
    fs::create_dir(in_it("directory.sock")).unwrap();
    nix::unistd::mkfifo(&in_it("fifo.sock"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink(in_it("file.sock"), in_it("link.sock")).unwrap();
    for name in ["file.sock", "directory.sock", "fifo.sock", "link.sock"] {
        let (code, said) = started_in(directory.path(), &["--socket", name, "sleep", "1000"]).run();
        assert_eq!((code, said.lines().count()), (1, 1), "{said}");
        assert!(said.contains("something that is not a socket has this name"), "{said}");
    }
    let long = format!("{}.sock", "x".repeat(103));
    let (code, said) = started_in(directory.path(), &["--socket", &long, "sleep", "1000"]).run();
    assert_eq!(code, 2);
    assert!(said.contains("107") && said.contains("108"), "{said}");
    assert_eq!(fs::read(in_it("file.sock")).unwrap(), b"precious");
}

#[test]
fn one_that_was_removed_is_made_anew() {
    let mut srvwrap = srvwrap(IDLE).online();
    let path = socket_of(&srvwrap);
    for _ in 0..3 {
        fs::remove_file(&path).unwrap();
        srvwrap.wait_for("srvwrap.sock: made anew");
        assert_eq!(listener_at(&path), Some(srvwrap.pid() as i32));
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(srvwrap.stop().matches("made anew").count(), 3);
}

#[test]
fn where_the_whole_directory_is_removed_a_stop_still_works() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("run");
    fs::create_dir(&place).unwrap();
    let mut srvwrap = started_in(&place, &IDLE).online();
    fs::remove_dir_all(&place).unwrap();
    srvwrap.wait_for("somebody has removed");
    srvwrap.stop();
}

#[test]
fn a_listener_whose_path_was_removed_is_bound_anew_and_served() {
    let program = "echo online >&3; trap 'exit 0' TERM; while :; do sleep 0.02; done";
    let mut srvwrap = srvwrap(["-punix:app.sock", "sh", "-c", program]).online();
    let path = srvwrap.path().join("app.sock");
    fs::remove_file(&path).unwrap();
    srvwrap.wait_for("app.sock was removed; bound it anew, and replacing the workers");
    UnixStream::connect(&path).unwrap();
    wait_until("the worker is replaced", || srvwrap.times_said("online after") >= 2);
    srvwrap.stop();
    assert!(!path.exists());
}
