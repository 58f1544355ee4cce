//! Listeners at a path: taken from the dead alone, right from the first moment, and removed only while they are ours.
//! And those of an abstract name, which are in no file system.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::{BINARY, Srvwrap, Starting, before_exec, require, send, srvwrap};

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

/// Starts it, and tells the mode, user and group of its socket as they are when it is first seen.
fn first_seen(starting: Starting) -> ((u32, u32, u32), Srvwrap) {
    let path = starting.path().join("app.sock");
    let together = Barrier::new(2);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            together.wait();
            loop {
                if let Ok(facts) = fs::symlink_metadata(&path) {
                    return (facts.permissions().mode() & 0o7777, facts.uid(), facts.gid());
                }
                thread::yield_now();
            }
        });
        together.wait();
        let srvwrap = starting.online();
        (watcher.join().unwrap(), srvwrap)
    })
}

fn with_umask(starting: Starting, mask: u32) -> Starting {
    starting.with(|command| {
        before_exec(command, move || {
            // SAFETY: a system call without memory.
            unsafe { libc::umask(mask) };
            Ok(())
        });
    })
}

/// A proxy of another user must be able to connect, whatever the umask, and without a moment in between.
#[test]
fn its_mode_is_0666_from_the_first_moment_at_which_it_can_be_seen() {
    for mask in [0o077, 0o000] {
        let ((mode, ..), srvwrap) = first_seen(with_umask(srvwrap(at("unix:app.sock", &IDLE)), mask));
        assert_eq!(mode, 0o666);
        srvwrap.stop();
    }
}

#[test]
fn its_mode_is_the_given_one_from_the_first_moment() {
    for (mode, bits, mask) in [("600", 0o600, 0o000), ("0770", 0o770, 0o077), ("000", 0, 0o022)] {
        let line = at("unix:app.sock", &["--unix-mode", mode]);
        let starting = srvwrap(line.iter().chain(&IDLE));
        let ((seen, ..), srvwrap) = first_seen(with_umask(starting, mask));
        assert_eq!(seen, bits);
        srvwrap.stop();
    }
}

/// Numbers that nobody has here: they need no account.
const OWNER: &str = "40001:40002";

fn owned<'a>(address: &'a str, owner: &'a str, program: &[&'a str]) -> Vec<&'a str> {
    at(address, &[&["--unix-mode", "640", "--unix-owner", owner], program].concat())
}

#[test]
fn its_owner_is_the_given_one_from_the_first_moment_and_nothing_else_is_left() {
    if !require::root() {
        return;
    }
    for (owner, uid, gid) in
        [(OWNER, 40001, 40002), ("40001", 40001, 0), (":40002", 0, 40002), ("root:root", 0, 0)]
    {
        for _ in 0..5 {
            let starting = srvwrap(owned("unix:app.sock", owner, &IDLE));
            // Of one that was killed between the two names.
            drop(UnixListener::bind(starting.path().join(".srvwrap.12345.sock")).unwrap());
            let directory = starting.path().to_path_buf();
            let (seen, srvwrap) = first_seen(starting);
            assert_eq!(seen, (0o640, uid, gid), "{owner}");
            let path = directory.join("app.sock");
            UnixStream::connect(&path).unwrap();
            let left = fs::read_dir(&directory)
                .unwrap()
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(".srvwrap."));
            assert_eq!(left.count(), usize::from(uid == 0 && gid == 0), "only where it is needed");
            srvwrap.stop();
            assert!(!path.exists());
        }
    }
}

#[test]
fn one_with_another_owner_may_have_a_path_of_107_bytes_and_its_holder_is_named() {
    if !require::root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x".repeat(106 - directory.path().as_os_str().len()));
    assert_eq!(path.as_os_str().len(), 107);
    let address = format!("unix:{}", path.display());
    let first = srvwrap(owned(&address, OWNER, &IDLE)).online();
    for line in [owned(&address, OWNER, &IDLE), at(&address, &IDLE)] {
        let (code, log) = srvwrap(line).run();
        assert_eq!(code, 1);
        assert!(log.contains(&format!("pid {}, srvwrap", first.pid())), "{log}");
    }
    UnixStream::connect(&path).unwrap();
    first.stop();
}

#[test]
fn one_that_is_bound_anew_keeps_owner_and_mode() {
    if !require::root() {
        return;
    }
    let mut srvwrap = srvwrap(owned("unix:app.sock", OWNER, &IDLE)).online();
    let path = srvwrap.path().join("app.sock");
    fs::remove_file(&path).unwrap();
    srvwrap.wait_for("was removed; bound it anew");
    let facts = fs::symlink_metadata(&path).unwrap();
    assert_eq!((facts.mode() & 0o7777, facts.uid(), facts.gid()), (0o640, 40001, 40002));
    srvwrap.stop();
    assert!(!path.exists());
}

/// The system call is made to fail, since the tests may be run by root.
#[test]
fn an_owner_that_may_not_be_given_ends_it_with_1_and_leaves_nothing() {
    if !require::strace() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("strace")
        .args(["-o", "/dev/null", "-e", "trace=fchownat", "-e", "inject=fchownat:error=EPERM", BINARY])
        .args(owned("unix:app.sock", OWNER, &IDLE))
        .current_dir(directory.path())
        .env("PWD", directory.path())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), log.lines().count()), (Some(1), 1), "{log}");
    assert!(
        log.contains("cannot give it to another owner: Operation not permitted (this needs root"),
        "{log}"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_user_or_group_that_does_not_exist_is_wrong_usage() {
    for (owner, what) in [("no-such-user", "user no-such-user"), (":no-such-group", "group no-such-group")] {
        let (code, log) = srvwrap(owned("unix:app.sock", owner, &IDLE)).run();
        assert_eq!((code, log.lines().count()), (2, 1), "{log}");
        assert!(log.starts_with(&format!("srvwrap: --unix-owner: no {what} in /etc/")), "{log}");
    }
}

/// Everybody who may replace our socket between the two names could have root give something else away.
#[test]
fn root_gives_nothing_away_where_everybody_may_write() {
    if !require::root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let address = format!("unix:{}/app.sock", directory.path().display());
    let (code, log) = srvwrap(owned(&address, OWNER, &IDLE)).run();
    assert_eq!(code, 1);
    assert!(log.contains("everybody may replace what root makes in"), "{log}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// In no file system, so there is nothing to remove; and the kernel itself lets only one have it.
#[test]
fn an_abstract_name_is_taken_once_and_gone_at_the_end() {
    let name = format!("srvwrap-test-app-{}", std::process::id());
    let address = format!("unix:@{name}");
    let client = SocketAddr::from_abstract_name(&name).unwrap();
    let mut first = srvwrap(at(&address, &IDLE)).online();
    first.wait_until_said(&format!("listening on {address}"), 1);
    UnixStream::connect_addr(&client).unwrap();
    let (code, log) = srvwrap(at(&address, &IDLE)).run();
    assert_eq!((code, log.lines().count()), (1, 1), "{log}");
    assert!(log.contains(&format!("cannot bind {address}: another server listens on it")), "{log}");
    assert!(log.contains(&format!("pid {}, srvwrap", first.pid())), "{log}");
    assert_eq!(fs::read_dir(first.path()).unwrap().count(), 1, "the control socket alone");
    first.stop();
    UnixStream::connect_addr(&client).unwrap_err();
}

/// Its workers hold the dead one, and with it the name.
#[test]
fn an_abstract_one_that_is_shut_down_under_its_workers_ends_srvwrap_with_1() {
    let Some(python) = require::python() else { return };
    let address = format!("unix:@srvwrap-test-shut-{}", std::process::id());
    let program = "import os, signal, socket\n\
        listener = socket.socket(fileno=int(os.environ['LISTEN_FD']))\n\
        signal.signal(signal.SIGUSR1, lambda *_: listener.shutdown(socket.SHUT_RDWR))\n\
        os.write(3, b'online\\n')\n\
        while True: signal.pause()\n";
    let mut srvwrap = srvwrap(at(&address, &[&python, "-c", program])).online();
    send(srvwrap.worker_pids()[&0], Signal::SIGUSR1);
    srvwrap.wait_for("it cannot be bound anew, so srvwrap stops");
    assert_eq!(srvwrap.exit_code(), 1);
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
