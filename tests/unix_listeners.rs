//! Listeners at a path: taken from the dead alone, right from the first moment, and removed only while they are ours.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::{before_exec, srvwrap};

const IDLE: [&str; 3] = ["sh", "-c", "echo online >&3; exec sleep 1000"];

fn at<'a>(address: &'a str, program: &[&'a str]) -> Vec<&'a str> {
    ["-p", address].into_iter().chain(program.iter().copied()).collect()
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket())
}

#[test]
fn a_relative_path_is_the_callers_and_an_absolute_one_is_taken_as_it_is() {
    let elsewhere = tempfile::tempdir().unwrap();
    let absolute = elsewhere.path().join("app.sock");
    let address = format!("unix:{}", absolute.display());
    let srvwrap = srvwrap(at("unix:app.sock", &at(&address, &IDLE))).online();
    UnixStream::connect(srvwrap.directory.path().join("app.sock")).unwrap();
    UnixStream::connect(&absolute).unwrap();
    srvwrap.stop();
    assert!(!absolute.exists());
}

/// A proxy of another user must be able to connect, whatever the umask, and without a moment in between.
#[test]
fn its_mode_is_0666_from_the_first_moment_at_which_it_can_be_seen() {
    for mask in [0o077, 0o000] {
        let starting = srvwrap(at("unix:app.sock", &IDLE)).with(|command| {
            before_exec(command, move || {
                // SAFETY: a system call without memory.
                unsafe { libc::umask(mask) };
                Ok(())
            });
        });
        let path = starting.path().join("app.sock");
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
        assert_eq!(first_mode, 0o666);
        srvwrap.stop();
    }
}

/// What a server leaves behind that was KILLed is no reason not to start, and needs no flag.
#[test]
fn the_socket_of_a_dead_srvwrap_is_replaced() {
    let mut killed = srvwrap(at("unix:app.sock", &IDLE)).online();
    let path = killed.directory.path().join("app.sock");
    killed.signal(Signal::SIGKILL);
    killed.wait();
    assert!(is_socket(&path));
    let address = format!("unix:{}", path.display());
    let next = srvwrap(at(&address, &IDLE)).online();
    UnixStream::connect(&path).unwrap();
    next.stop();
    assert!(!path.exists());
}

#[test]
fn a_live_server_is_never_robbed_of_its_path() {
    let first = srvwrap(at("unix:app.sock", &IDLE)).online();
    let path = first.directory.path().join("app.sock");
    let address = format!("unix:{}", path.display());
    let (code, log) = srvwrap(at(&address, &IDLE)).run();
    assert_eq!(code, 1, "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains(&format!("cannot bind {address}: ")), "{log}");
    assert!(log.contains(&format!("pid {}, srvwrap", first.pid())), "{log}");
    UnixStream::connect(&path).unwrap();
    first.stop();
}

#[test]
fn a_file_that_has_the_name_is_left_alone() {
    let starting = srvwrap(at("unix:app.sock", &IDLE)).file("app.sock", "precious");
    let mut srvwrap = starting.start();
    assert_eq!(srvwrap.exit_code(), 1);
    let log = srvwrap.log();
    assert!(log.contains("cannot bind unix:") && log.contains("not a socket"), "{log}");
    assert_eq!(fs::read_to_string(srvwrap.directory.path().join("app.sock")).unwrap(), "precious");
}

#[test]
fn the_path_is_removed_however_it_ends() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut srvwrap = srvwrap(at("unix:app.sock", &IDLE)).online();
        let path = srvwrap.directory.path().join("app.sock");
        assert!(is_socket(&path));
        srvwrap.signal(signal);
        assert_eq!(srvwrap.exit_code(), 0, "{signal}");
        assert!(!path.exists(), "{signal}");
    }
    for (program, expected) in [(&["sh", "-c", "exit 3"][..], 1), (&["no-such-program"][..], 127)] {
        let mut srvwrap = srvwrap(at("unix:app.sock", program)).start();
        assert_eq!(srvwrap.exit_code(), expected);
        assert!(!srvwrap.directory.path().join("app.sock").exists());
    }
}

/// A cleaner of temporary files removed it, and somebody else is there now.
#[test]
fn the_path_is_left_to_whoever_has_it_at_the_end() {
    let mut srvwrap = srvwrap(at("unix:app.sock", &IDLE)).online();
    let path = srvwrap.directory.path().join("app.sock");
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    UnixStream::connect(&path).unwrap();
}
