//! The control socket on real directories. Each test has a current directory and a umask of its own.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::Barrier;
use std::thread;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::Shutdown;
use nix::sys::stat::{Mode, umask};
use tempfile::TempDir;

use super::*;
use crate::sys::apart::own_umask;

fn directory() -> TempDir {
    own_umask(0o022);
    tempfile::tempdir().unwrap()
}

fn cause_at(path: &Path) -> ControlCause {
    ControlSocket::bind(path).unwrap_err().cause
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket())
}

fn accepted(socket: &ControlSocket) -> (UnixStream, Peer) {
    socket.accept().unwrap().expect("somebody has connected")
}

#[test]
fn a_client_is_known_before_it_has_said_a_word() {
    let directory = directory();
    let socket = ControlSocket::bind(&directory.path().join("srvwrap.sock")).unwrap();
    assert!(socket.accept().unwrap().is_none());
    let mut client = connect(socket.path()).unwrap();
    let (mut stream, peer) = accepted(&socket);
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    assert_eq!(peer, Peer { uid, gid, pid: std::process::id() });
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    stream.write_all(b"x").unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 1);
}

#[test]
fn neither_socket_nor_clients_reach_a_program_that_is_executed() {
    let directory = directory();
    let socket = ControlSocket::bind(&directory.path().join("srvwrap.sock")).unwrap();
    let client = connect(socket.path()).unwrap();
    let (stream, _) = accepted(&socket);
    for fd in [socket.as_fd(), client.as_fd(), stream.as_fd()] {
        assert_eq!(fcntl(fd, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
    }
}

#[test]
fn the_path_is_made_for_its_owner_and_gone_at_the_end_with_nothing_beside_it() {
    let directory = directory();
    let path = directory.path().join("srvwrap.sock");
    let before = env::current_dir().unwrap();
    let socket = ControlSocket::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    drop(socket);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    assert_eq!(env::current_dir().unwrap(), before);
    assert_eq!(umask(Mode::empty()).bits(), 0o022);
}

#[test]
fn nobody_sees_another_mode_than_0600_whatever_the_umask() {
    let directory = tempfile::tempdir().unwrap();
    for (round, mask) in [0o000, 0o077, 0o022].repeat(50).into_iter().enumerate() {
        let path = directory.path().join(format!("{round}.sock"));
        let started = Barrier::new(2);
        let first_seen = thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                started.wait();
                loop {
                    if let Ok(facts) = fs::symlink_metadata(&path) {
                        return facts.permissions().mode() & 0o7777;
                    }
                }
            });
            let binder = scope.spawn(|| {
                own_umask(mask);
                started.wait();
                let socket = ControlSocket::bind(&path).unwrap();
                let first_seen = watcher.join().unwrap();
                drop(socket);
                first_seen
            });
            binder.join().unwrap()
        });
        assert_eq!(first_seen, 0o600, "umask {mask:o}");
    }
}

#[test]
fn a_path_may_be_far_longer_than_a_sockets_address() {
    let directory = directory();
    let deep = directory.path().join("d".repeat(200)).join("e".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    let path = deep.join("srvwrap.sock");
    let socket = ControlSocket::bind(&path).unwrap();
    connect(&path).unwrap();
    accepted(&socket);
    assert!(matches!(cause_at(&path), ControlCause::Alive { .. }));
    drop(socket);
    assert!(!is_socket(&path));
}

#[test]
fn a_name_has_107_bytes_at_most() {
    let directory = directory();
    let longest = directory.path().join("x".repeat(107));
    let _socket = ControlSocket::bind(&longest).unwrap();
    connect(&longest).unwrap();
    let error = ControlSocket::bind(&directory.path().join("x".repeat(108))).unwrap_err();
    assert_eq!(error.cause, ControlCause::NameTooLong(108));
    let end = "its name is 108 bytes long and a socket's may have 107; give a shorter one with --socket PATH";
    assert!(error.to_string().ends_with(end), "{error}");
}

#[test]
fn a_bare_name_is_in_the_current_directory_and_stays_there() {
    let (home, other) = (directory(), directory());
    env::set_current_dir(&home).unwrap();
    let socket = ControlSocket::bind(Path::new("srvwrap.sock")).unwrap();
    connect(Path::new("srvwrap.sock")).unwrap();
    connect(Path::new("./srvwrap.sock")).unwrap();
    assert!(socket.path().is_absolute());
    env::set_current_dir(&other).unwrap();
    drop(socket);
    assert!(!is_socket(&home.path().join("srvwrap.sock")));
}

#[test]
fn a_name_that_is_not_utf_8_is_bound_byte_for_byte() {
    let directory = directory();
    let path = directory.path().join(OsStr::from_bytes(b"s\xff.sock"));
    let _socket = ControlSocket::bind(&path).unwrap();
    assert!(is_socket(&path));
    connect(&path).unwrap();
}

#[test]
fn a_dead_one_is_taken_over() {
    let directory = directory();
    let path = directory.path().join("srvwrap.sock");
    drop(UnixListener::bind(&path).unwrap());
    let socket = ControlSocket::bind(&path).unwrap();
    connect(&path).unwrap();
    accepted(&socket);
}

#[test]
fn a_living_one_is_never_robbed_and_the_remedy_is_named() {
    let directory = directory();
    let path = directory.path().join("srvwrap.sock");
    let living = ControlSocket::bind(&path).unwrap();
    let error = ControlSocket::bind(&path).unwrap_err().to_string();
    let expected = format!(
        "cannot make the control socket {}: srvwrap is running there already (pid {}); give this one another with \
         --socket PATH",
        path.display(),
        std::process::id()
    );
    assert_eq!(error, expected);
    assert!(living.is_in_place());
    connect(&path).unwrap();
}

#[test]
fn one_whose_queue_is_full_is_alive_and_a_client_does_not_wait_for_ever() {
    let directory = directory();
    let path = directory.path().join("srvwrap.sock");
    let living = UnixListener::bind(&path).unwrap();
    // SAFETY: a system call on an open descriptor; no memory is involved.
    assert_eq!(unsafe { libc::listen(living.as_raw_fd(), 0) }, 0);
    let _in_the_queue = connect(&path).unwrap();
    assert_eq!(cause_at(&path), ControlCause::Alive { pid: None });
    assert_eq!(connect_within(&path, 3).unwrap_err(), ConnectError::Busy);
    assert!(is_socket(&path));
}

#[test]
fn a_client_whose_queue_is_full_gets_in_when_there_is_room() {
    let directory = directory();
    let path = directory.path().join("srvwrap.sock");
    let living = UnixListener::bind(&path).unwrap();
    // SAFETY: a system call on an open descriptor; no memory is involved.
    assert_eq!(unsafe { libc::listen(living.as_raw_fd(), 0) }, 0);
    let _first = connect(&path).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            own_umask(0o022);
            connect(&path).map(drop)
        });
        living.accept().unwrap();
        living.accept().unwrap();
        assert_eq!(second.join().unwrap(), Ok(()));
    });
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let directory = directory();
    let in_it = |name| directory.path().join(name);
    fs::write(in_it("file"), "precious").unwrap();
    fs::create_dir(in_it("directory")).unwrap();
    nix::unistd::mkfifo(&in_it("fifo"), Mode::S_IRWXU).unwrap();
    drop(UnixListener::bind(in_it("dead.sock")).unwrap());
    symlink(in_it("dead.sock"), in_it("link")).unwrap();
    symlink(in_it("nowhere"), in_it("dangling")).unwrap();
    for name in ["file", "directory", "fifo", "link", "dangling"] {
        assert_eq!(cause_at(&in_it(name)), ControlCause::NotASocket, "{name}");
        assert!(fs::symlink_metadata(in_it(name)).is_ok(), "{name}");
    }
    for path in ["/", "/dev/null", ".."] {
        assert_eq!(cause_at(Path::new(path)), ControlCause::NotASocket, "{path}");
    }
    assert_eq!(fs::read(in_it("file")).unwrap(), b"precious");
    assert!(is_socket(&in_it("dead.sock")));
    for name in ["file", "directory", "fifo"] {
        assert_eq!(connect(&in_it(name)).unwrap_err(), ConnectError::NotASocket, "{name}");
    }
}

#[test]
fn root_makes_none_where_everybody_could_replace_it() {
    let directory = directory();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let bound = ControlSocket::bind(&directory.path().join("srvwrap.sock"));
    if nix::unistd::geteuid().is_root() {
        let cause = bound.unwrap_err().cause;
        assert!(matches!(cause, ControlCause::Directory(DirectoryError::Unsafe(_))), "{cause}");
    } else {
        bound.unwrap();
    }
}

#[test]
fn nobody_there_is_told_apart_from_other_reasons() {
    let directory = directory();
    drop(UnixListener::bind(directory.path().join("dead.sock")).unwrap());
    for name in ["nothing.sock", "nowhere/at/all.sock", "dead.sock"] {
        assert_eq!(connect(&directory.path().join(name)).unwrap_err(), ConnectError::NotRunning, "{name}");
    }
    let error = connect(&directory.path().join("x".repeat(300))).unwrap_err();
    assert_eq!(error, ConnectError::Os(Errno::ENAMETOOLONG));
}

#[test]
fn the_end_of_one_that_drains_does_not_remove_its_successors() {
    let directory = directory();
    let path = directory.path().join("srvwrap.sock");
    let mut old = ControlSocket::bind(&path).unwrap();
    for round in 0..2000 {
        // Somebody removes the path, and the next one starts while the old one still has its socket.
        fs::remove_file(&path).unwrap();
        let new = ControlSocket::bind(&path).unwrap();
        assert!(!old.is_in_place());
        drop(old);
        assert!(new.is_in_place(), "round {round}");
        old = new;
    }
    connect(&path).unwrap();
}

#[test]
fn of_two_that_follow_each_other_at_once_the_second_keeps_its_path() {
    let directory = directory();
    let path = directory.path().join("srvwrap.sock");
    for round in 0..500 {
        let first = ControlSocket::bind(&path).unwrap();
        // Its listening is over, and its end is still to come: the race of an old one's end with a new one's start.
        nix::sys::socket::shutdown(first.as_fd().as_raw_fd(), Shutdown::Both).unwrap();
        let second = thread::scope(|scope| {
            let second = scope.spawn(|| {
                own_umask(0o022);
                ControlSocket::bind(&path).unwrap()
            });
            drop(first);
            second.join().unwrap()
        });
        assert!(second.is_in_place(), "round {round}");
        connect(&path).unwrap();
    }
}

#[test]
fn of_many_who_find_the_same_dead_one_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = directory.path().join(format!("{round}.sock"));
        drop(UnixListener::bind(&path).unwrap());
        let together = Barrier::new(4);
        let attempt = || {
            own_umask(0o022);
            together.wait();
            let bound = ControlSocket::bind(&path);
            together.wait(); // nobody leaves before all have tried
            bound.is_ok()
        };
        let winners = thread::scope(|scope| {
            let rivals: Vec<_> = (0..4).map(|_| scope.spawn(attempt)).collect();
            rivals.into_iter().map(|rival| rival.join().unwrap()).filter(|&won| won).count()
        });
        assert_eq!(winners, 1);
    }
}

#[test]
fn one_whose_path_was_removed_is_made_anew_and_its_clients_stay() {
    let directory = directory();
    let path = directory.path().join("srvwrap.sock");
    let mut socket = ControlSocket::bind(&path).unwrap();
    let mut client = connect(&path).unwrap();
    let (mut stream, _) = accepted(&socket);
    fs::remove_file(&path).unwrap();
    assert!(!socket.is_in_place());
    socket.bind_anew().unwrap();
    assert!(socket.is_in_place());
    connect(&path).unwrap();
    accepted(&socket);
    stream.write_all(b"x").unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 1);
}

#[test]
fn making_it_anew_robs_nobody() {
    let directory = directory();
    let path = directory.path().join("srvwrap.sock");
    let mut socket = ControlSocket::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let other = ControlSocket::bind(&path).unwrap();
    assert!(matches!(socket.bind_anew().unwrap_err().cause, ControlCause::Alive { .. }));
    drop(socket);
    assert!(other.is_in_place());
}

#[test]
fn accepting_never_waits_though_its_clients_streams_may() {
    let directory = directory();
    let socket = ControlSocket::bind(&directory.path().join("srvwrap.sock")).unwrap();
    let flags = |fd: BorrowedFd<'_>| OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap());
    assert!(flags(socket.as_fd()).contains(OFlag::O_NONBLOCK));
    assert!(!flags(connect(socket.path()).unwrap().as_fd()).contains(OFlag::O_NONBLOCK));
    assert!(flags(accepted(&socket).0.as_fd()).contains(OFlag::O_NONBLOCK));
}
