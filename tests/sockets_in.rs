//! Sockets that somebody else has made: by systemd's variables, by our own, by number, and through launchd.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};

use crate::harness::daemon::Home;
use crate::harness::handed::{hand_over, tcp, unix};
use crate::harness::http::{Clients, Target, at, get};
use crate::harness::{Srvwrap, examples, pipe, proc, require, send, srvwrap, wait_until, write_file};

const IDLE: [&str; 3] = ["sh", "-c", "echo online >&3; exec sleep 1000"];

/// What the first worker has of the listeners in its environment.
fn listeners_of(srvwrap: &mut Srvwrap) -> BTreeMap<String, String> {
    let worker = srvwrap.worker_pids()[&0];
    // In the moment in which the shell becomes another program it has none.
    let name = || fs::read_to_string(format!("/proc/{worker}/comm")).unwrap_or_default();
    wait_until("it is no shell any more", || name().trim_end() != "sh");
    let environment = proc::environment(worker);
    let entries = environment.iter().filter_map(|entry| {
        let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
        Some((name.to_string(), value.to_string()))
    });
    entries.filter(|(name, _)| name.starts_with("LISTEN") || name == "PORT").collect()
}

/// What another test starts at this moment holds a copy until it is executed.
fn wait_until_closed(port: u16) {
    wait_until("nobody holds it any more", || TcpStream::connect(("127.0.0.1", port)).is_err());
}

fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// The socket that lies at the descriptor: as `/proc` shows it.
fn socket_at(pid: i32, number: i32) -> String {
    proc::descriptors(pid)[&number].clone()
}

fn words(program: &[std::ffi::OsString]) -> Vec<&str> {
    program.iter().map(|word| word.to_str().expect("a path of ours")).collect()
}

#[test]
fn those_of_systemd_are_served_by_their_names_and_stay_when_srvwrap_ends() {
    let starting = srvwrap(IDLE);
    let path = starting.path().join("app.sock");
    let (port, first) = tcp();
    let (_, second) = tcp();
    let sockets = vec![first, unix(&path), second];
    let mut srvwrap = starting.with_listen_fds("web:app.socket:web", sockets).online();
    let log = srvwrap.log();
    assert!(log.contains(&format!("listening on 127.0.0.1:{port} (fd 3) (web)")), "{log}");
    assert!(log.contains(&format!("listening on unix:{} (fd 4) (app.socket)", path.display())), "{log}");
    let port = port.to_string();
    let expected = [
        ("LISTEN_FD", "4"),
        ("LISTEN_FD_0", "4"),
        ("LISTEN_FD_1", "5"),
        ("LISTEN_FD_2", "6"),
        ("LISTEN_FD_WEB", "4"),
        ("LISTEN_FD_APP_SOCKET", "5"),
        ("PORT", &port),
    ];
    assert_eq!(listeners_of(&mut srvwrap), map(expected));
    let (own, worker) = (srvwrap.pid() as i32, srvwrap.worker_pids()[&0]);
    assert_eq!(
        (3..6).map(|number| socket_at(own, number)).collect::<Vec<_>>(),
        (4..7).map(|number| socket_at(worker, number)).collect::<Vec<_>>()
    );
    UnixStream::connect(&path).unwrap();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(path.exists(), "whoever has made it removes it");
}

#[test]
fn a_name_that_no_variable_can_hold_makes_none() {
    let starting = srvwrap(IDLE);
    let sockets = vec![tcp().1, tcp().1, tcp().1, tcp().1];
    let mut srvwrap = starting.with_listen_fds("7:a b!:A-B_:", sockets).online();
    let found = listeners_of(&mut srvwrap);
    let named: Vec<_> = found.iter().filter(|(name, _)| name.starts_with("LISTEN_FD_A")).collect();
    assert_eq!(named, [(&"LISTEN_FD_A_B_".to_string(), &"5".to_string())], "of two the first counts");
    assert!(!found.contains_key("LISTEN_FD_7") && !found.contains_key("LISTEN_FD_"), "{found:?}");
    srvwrap.stop();
}

#[test]
fn those_of_another_process_are_nobodys_business() {
    let (port, socket) = tcp();
    let starting = srvwrap(IDLE).env("LISTEN_FDS", "many").env("LISTEN_PID", "1");
    let mut srvwrap = starting.with(|command| hand_over(command, vec![(3, Some(socket))])).online();
    assert_eq!(listeners_of(&mut srvwrap), map([]));
    assert!(!srvwrap.has_said("listening on"), "{}", srvwrap.log());
    assert!(srvwrap.has_said("LISTEN_FDS is ignored: LISTEN_PID=1 is another process"), "{}", srvwrap.log());
    // It is open in srvwrap, and in nobody that it starts.
    let worker = srvwrap.worker_pids()[&0];
    let socket = socket_at(srvwrap.pid() as i32, 3);
    assert!(!proc::descriptors(worker).values().any(|other| *other == socket));
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    srvwrap.stop();
}

/// A stream socket that is bound and does not listen.
fn not_listening() -> OwnedFd {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    fd
}

fn seqpacket() -> OwnedFd {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap()
}

#[test]
fn what_is_no_listening_stream_socket_is_refused_by_its_number_and_name() {
    let null = || Some(fs::File::open("/dev/null").unwrap().into());
    let things: [(Option<OwnedFd>, &str); 10] = [
        (None, "not open"),
        (Some(UdpSocket::bind("127.0.0.1:0").unwrap().into()), "a datagram socket"),
        (Some(not_listening()), "a socket that does not listen"),
        (Some(UnixStream::pair().unwrap().0.into()), "a connection"),
        (Some(seqpacket()), "a socket without a stream"),
        (Some(fs::File::open("/etc/passwd").unwrap().into()), "a file"),
        (Some(fs::File::open("/").unwrap().into()), "a directory"),
        (Some(pipe().0), "a pipe"),
        (null(), "a device"),
        (Some(nix::sys::eventfd::EventFd::new().unwrap().into()), "no socket"),
    ];
    for (thing, what) in things {
        let (port, good) = tcp();
        let handed = vec![(3, Some(good)), (4, thing)];
        let starting = srvwrap(IDLE).addressed("2").env("LISTEN_FDNAMES", "a:b");
        let (code, log) = starting.with(|command| hand_over(command, handed)).run();
        let expected = format!(
            "srvwrap: cannot take over fd 4 (b) of LISTEN_FDS: it is {what}, and a stream socket that listens is needed"
        );
        assert_eq!((code, log), (1, expected));
        wait_until_closed(port);
    }
}

/// Its number may be that of the next thing that srvwrap opens, a listening socket of its own for one.
#[test]
fn a_number_that_is_not_open_is_never_taken_for_something_of_srvwraps_own() {
    for number in 3..12 {
        let address = format!("fd:{number}");
        let starting = srvwrap(["-p", "0", "-p", &address].iter().chain(&IDLE));
        let (code, log) = starting.with(|command| hand_over(command, vec![(number, None)])).run();
        assert_eq!(code, 1);
        assert!(log.contains(&format!("cannot take over fd {number}: it is not open")), "{log}");
    }
    let starting = srvwrap(IDLE).env("LISTEN_FD", "5");
    let variable = starting.with(|command| hand_over(command, vec![(5, None)])).run();
    assert_eq!(variable.0, 1);
    assert!(variable.1.contains("cannot take over fd 5 of LISTEN_FD: it is not open"), "{}", variable.1);
}

/// Who has named a log reads it there, and not on a terminal that was closed long ago.
#[test]
fn what_cannot_be_taken_over_is_told_in_the_log_too() {
    let starting = srvwrap(["--log", "notices.log"].iter().chain(&IDLE)).env("LISTEN_FD", "5");
    let log = starting.path().join("notices.log");
    let mut refused = starting.with(|command| hand_over(command, vec![(5, None)])).start();
    assert_eq!(refused.exit_code(), 1);
    let told = "cannot take over fd 5 of LISTEN_FD: it is not open";
    assert!(refused.log().contains(told), "{}", refused.log());
    let text = fs::read_to_string(log).unwrap();
    assert!(text.contains(told) && text.lines().count() == 1, "{text}");
    // A log that nobody has named is not begun for it.
    let starting = srvwrap(IDLE).env("LISTEN_FD", "5");
    let mut refused = starting.with(|command| hand_over(command, vec![(5, None)])).start();
    assert_eq!(refused.exit_code(), 1);
    assert_eq!(fs::read_dir(&refused.directory).unwrap().count(), 0);
}

/// Nobody would listen on the others, and nobody would know.
#[test]
fn a_list_with_a_gap_is_refused_by_the_variable_behind_it() {
    let (port, good) = tcp();
    let starting = srvwrap(IDLE).env("LISTEN_FD", "4").env("LISTEN_FD_1", "5");
    let (code, log) = starting.with(|command| hand_over(command, vec![(4, Some(good))])).run();
    let expected = "srvwrap: LISTEN_FD_1=5: there is no LISTEN_FD_0; unset it, or say by -p where to listen";
    assert_eq!((code, &*log), (2, expected));
    wait_until_closed(port);
}

/// As systemd names a socket where its unit does not.
#[test]
fn a_name_that_came_with_a_socket_can_stand_in_the_programs_words() {
    let script = "echo \"$0 $1\"; echo online >&3; exec sleep 1000";
    let words = ["sh", "-c", script, "{fd:app.socket}", "{fd:ADMIN_SOCKET}"];
    let starting = srvwrap(words).addressed("2").env("LISTEN_FDNAMES", "admin.socket:app.socket");
    let handed = vec![(3, Some(tcp().1)), (4, Some(tcp().1))];
    let mut srvwrap = starting.with(|command| hand_over(command, handed)).online();
    srvwrap.wait_until_said("5 4", 1);
    srvwrap.stop();
}

#[test]
fn a_count_that_makes_no_sense_is_wrong_usage() {
    for (count, names, because) in [
        ("two", "", "not a number of sockets"),
        ("1", "a:b", "LISTEN_FDNAMES has 2 names"),
        ("0", "a", "has 1 names"),
    ] {
        let starting = srvwrap(IDLE).addressed(count).env("LISTEN_FDNAMES", names);
        let (code, log) = starting.with(|command| hand_over(command, vec![(3, Some(tcp().1))])).run();
        assert_eq!((code, log.lines().count()), (2, 1), "{log}");
        assert!(log.contains(&format!("LISTEN_FDS={count}")) && log.contains(because), "{log}");
    }
}

#[test]
fn where_an_address_is_given_they_are_closed_but_for_the_one_that_it_names() {
    let (closed, first) = tcp();
    let (kept, second) = tcp();
    let starting = srvwrap(["-p", "fd:4", "-p", "127.0.0.1:0"].iter().chain(&IDLE));
    let mut srvwrap = starting.with_listen_fds("web:admin", vec![first, second]).online();
    let log = srvwrap.log();
    assert_eq!(log.matches("handed in and closed").count(), 1, "{log}");
    assert!(log.contains("srvwrap: fd 3 (web): handed in and closed"), "{log}");
    assert!(log.contains(&format!("listening on 127.0.0.1:{kept} (fd 4) (admin)")), "{log}");
    let found = listeners_of(&mut srvwrap);
    assert_eq!((&*found["LISTEN_FD_ADMIN"], found.len()), ("4", 5), "{found:?}");
    wait_until_closed(closed);
    TcpStream::connect(("127.0.0.1", kept)).unwrap();
    srvwrap.stop();
}

/// Where what a variable names is no socket, nobody has handed it over, and it is not closed.
#[test]
fn an_address_that_is_given_makes_every_variable_harmless() {
    let (reader, writer) = pipe();
    let starting =
        srvwrap(["-p", "127.0.0.1:0"].iter().chain(&IDLE)).env("LISTEN_FD", "7").env("LISTEN_FD_0", "x");
    let srvwrap = starting.with(|command| hand_over(command, vec![(7, Some(writer))])).online();
    assert!(proc::descriptors(srvwrap.pid() as i32)[&7].starts_with("pipe:"));
    let log = srvwrap.stop();
    assert!(!log.contains("handed in"), "{log}");
    assert_eq!(fs::File::from(reader).read(&mut [0]).unwrap(), 0);
}

/// inetd's way, with wait.
#[test]
fn descriptor_0_may_be_the_socket_and_workers_read_from_nothing() {
    let (port, socket) = tcp();
    let starting = srvwrap(["-p", "web=fd:0"].iter().chain(&IDLE));
    let mut srvwrap = starting.with(|command| hand_over(command, vec![(0, Some(socket))])).online();
    let worker = srvwrap.worker_pids()[&0];
    assert_eq!(
        (socket_at(worker, 0), socket_at(srvwrap.pid() as i32, 0)),
        ("/dev/null".into(), "/dev/null".into())
    );
    assert_eq!(listeners_of(&mut srvwrap)["LISTEN_FD_WEB"], "4");
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    srvwrap.stop();
}

/// Every socket is held by the test too, so that nothing is lost in between: by its path, or by another of its kind.
#[test]
fn an_abstract_one_of_somebody_elses_is_served_by_its_name() {
    let name = format!("srvwrap-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let mut srvwrap = srvwrap(IDLE).with_listen_fds("", vec![listener.into()]).online();
    srvwrap.wait_until_said(&format!("listening on unix:@{name} (fd 3)"), 1);
    UnixStream::connect_addr(&address).unwrap();
    srvwrap.stop();
    UnixStream::connect_addr(&address).unwrap_err();
}

fn is_nonblocking(pid: u32, number: i32) -> bool {
    let facts = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
    let flags = facts.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    i32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_NONBLOCK != 0
}

/// A server of node that hands its socket over has set the flag, and a program that blocks in accept would get EAGAIN.
/// Where the parent is a srvwrap, other workers of its serve under the flag.
#[test]
fn one_starts_blocking_unless_a_srvwrap_has_handed_it_over() {
    for (parent, expected) in [(None, false), (Some("1"), true)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut starting = srvwrap(IDLE);
        if let Some(parent) = parent {
            starting = starting.env("SRVWRAP_PID", parent);
        }
        let srvwrap = starting.with_listen_fds("", vec![listener.into()]).online();
        assert_eq!(is_nonblocking(srvwrap.pid(), 3), expected);
        srvwrap.stop();
    }
}

/// What a listener holds at most, as ss tells.
fn backlog(port: u16) -> u32 {
    let told = Command::new("ss").args(["-Hltn", &format!("sport = :{port}")]).output().unwrap();
    String::from_utf8(told.stdout).unwrap().split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// systemd's is the greatest that the kernel allows, unless its unit says otherwise.
#[test]
fn its_backlog_is_not_lowered() {
    if !require::program("ss") {
        return;
    }
    let limit: u32 = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    let (port, socket) = tcp();
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), 5) }, 0);
    let srvwrap = srvwrap(IDLE).with_listen_fds("", vec![socket]).online();
    wait_until("it listens again when a worker is online", || backlog(port) == limit);
    srvwrap.stop();
}

/// Shuts its listener down when it is told to, and serves on.
const SHUTS_DOWN: &str = "import os, signal, socket, time\n\
    listener = socket.socket(fileno=int(os.environ['LISTEN_FD']))\n\
    signal.signal(signal.SIGUSR1, lambda *_: listener.shutdown(socket.SHUT_RDWR))\n\
    os.write(3, b'online\\n')\n\
    while True: signal.pause()\n";

fn shut_down(program: &str, socket: OwnedFd) -> Srvwrap {
    let mut srvwrap = srvwrap([program, "-c", SHUTS_DOWN]).with_listen_fds("", vec![socket]).online();
    let worker = srvwrap.worker_pids()[&0];
    send(worker, Signal::SIGUSR1);
    srvwrap.wait_for("was shut down by worker 0");
    srvwrap
}

#[test]
fn a_unix_one_that_is_shut_down_ends_srvwrap_with_1_and_keeps_its_path() {
    let Some(python) = require::python() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let mut srvwrap = shut_down(&python, unix(&path));
    assert_eq!(srvwrap.exit_code(), 1);
    let log = srvwrap.log();
    assert!(log.contains("whoever handed it to srvwrap has to make it anew"), "{log}");
    assert!(log.contains("so srvwrap stops"), "{log}");
    assert!(path.exists());
}

#[test]
fn a_tcp_one_that_is_shut_down_listens_again_where_its_port_was_asked_for() {
    let Some(python) = require::python() else { return };
    let port = tcp().0;
    let socket = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let srvwrap = shut_down(&python, socket.into());
    wait_until("it is healed", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let log = srvwrap.stop();
    assert!(log.contains("; listening again"), "{log}");
}

/// The kernel forgets a port that it has chosen itself: another one is nobody's address.
#[test]
fn a_tcp_one_that_loses_its_port_ends_srvwrap_with_1() {
    let Some(python) = require::python() else { return };
    let mut srvwrap = shut_down(&python, tcp().1);
    assert_eq!(srvwrap.exit_code(), 1);
    let log = srvwrap.log();
    assert!(log.contains("it was shut down and lost its port"), "{log}");
}

/// A srvwrap as the worker of another: its listeners are those of the outer one, with their names.
#[test]
fn srvwrap_runs_under_srvwrap_and_both_deploy_and_nothing_is_lost() {
    let Some(program) = examples::PYTHON.program() else { return };
    let inner = [crate::harness::BINARY, "-n", "2", "--socket", "inner.sock"];
    let outer = ["-p", "127.0.0.1:0", "-p", "admin=127.0.0.1:0"];
    let mut srvwrap = srvwrap(outer.iter().chain(&inner).chain(&words(&program))).start();
    let port = srvwrap.port();
    srvwrap.wait_for("workers online: 2");
    let target = Target::Port(port);
    let log = srvwrap.log();
    assert!(log.contains("(fd 5) (admin)"), "{log}");
    srvwrap.wait_for("workers online: 1");
    let clients = Clients::start(&target, 4);
    let inner = srvwrap.children().into_iter().next().expect("the inner one");
    send(inner, Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    get(&target, "/").unwrap();
    let (answers, failures) = clients.end();
    assert_eq!(failures, [], "of {answers}");
    srvwrap.stop();
}

/// systemd's own tool makes the sockets, and starts srvwrap at the first connection, which waits in the queue.
#[test]
fn activated_by_systemds_tool_no_connection_is_lost_in_a_deploy_or_a_crash() {
    if !require::program("systemd-socket-activate") {
        return;
    }
    let Some(program) = examples::PYTHON.program() else { return };
    let port = tcp().0;
    let starting = srvwrap(["-n", "2"].iter().chain(&words(&program)));
    let path = starting.path().join("app.sock");
    let options = [
        "-l".into(),
        format!("127.0.0.1:{port}"),
        "-l".into(),
        path.display().to_string(),
        "--fdname=web:app".into(),
    ];
    let mut srvwrap = starting.under("systemd-socket-activate", options.map(Into::into)).start();
    srvwrap.wait_for("Listening on ");
    srvwrap.wait_for("Listening on ");
    let first = get(&Target::Port(port), "/").expect("it waits for the first worker").by();
    assert_eq!(first.generation, 1);
    srvwrap.wait_for("workers online: 2");
    let found = listeners_of(&mut srvwrap);
    assert_eq!((&*found["LISTEN_FD_WEB"], &*found["LISTEN_FD_APP"]), ("4", "5"));
    let clients = Clients::start(&Target::Port(port), 2);
    let others = Clients::start(&at(&path), 2);
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    let idle = srvwrap.worker_pids()[&0];
    assert_ne!(idle, first.pid);
    let (answers, failures) = clients.end();
    assert_eq!(failures, [], "of {answers}");
    let (answers, failures) = others.end();
    assert_eq!(failures, [], "of {answers}");
    // Nobody is served by it now, and whoever comes meanwhile waits for another.
    send(idle, Signal::SIGKILL);
    for _ in 0..20 {
        get(&Target::Port(port), "/").unwrap();
    }
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(path.exists());
}

/// The daemon is another process than the one that `LISTEN_PID` names, and keeps what was handed to that one.
#[test]
fn a_daemon_keeps_what_was_handed_to_the_command_that_started_it() {
    let home = Home::new();
    let (port, socket) = tcp();
    let (_, second) = tcp();
    let shell = "LISTEN_PID=$$; export LISTEN_PID; exec \"$0\" \"$@\"";
    let start = |things: Vec<(i32, Option<OwnedFd>)>, count: &str, more: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", shell, crate::harness::BINARY, "start"]).args(more).args(IDLE);
        command.current_dir(home.path()).env("PWD", home.path()).env("LISTEN_FDS", count);
        command.env_remove("SYSTEMD_EXEC_PID").stdin(std::process::Stdio::null());
        hand_over(&mut command, things);
        command.output().unwrap()
    };
    let wrong = start(vec![(3, None)], "1", &[]);
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&wrong.stderr).lines().count(), 1, "{wrong:?}");
    assert!(home.daemon().is_none());

    let told = start(vec![(3, Some(socket)), (4, Some(second))], "2", &[]);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let daemon = home.daemon().expect("it is online");
    assert!(home.text("srvwrap.log").contains(&format!("listening on 127.0.0.1:{port} (fd 3)")));
    TcpStream::connect(("127.0.0.1", port)).unwrap();

    // What is handed to one that is not needed is not even looked at.
    let deployed = start(vec![(3, None)], "1", &["--or-deploy"]);
    assert_eq!(deployed.status.code(), Some(0), "{deployed:?}");
    send(daemon.pid, Signal::SIGTERM);
    wait_until_closed(port);
}

/// As systemd makes it of `ListenStream=8000`.
#[test]
fn one_for_both_families_is_told_by_its_port_alone() {
    if !require::ipv6() {
        return;
    }
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut srvwrap = srvwrap(IDLE).with_listen_fds("", vec![listener.into()]).online();
    srvwrap.wait_until_said(&format!("listening on port {port} (fd 3)"), 1);
    assert_eq!(listeners_of(&mut srvwrap)["PORT"], port.to_string());
    srvwrap.stop();
}

/// As Apple documents it: two sockets for one name, an errno for whatever is wrong.
const LAUNCHD: &str = r#"
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int launch_activate_socket(const char *name, int **fds, size_t *count) {
    static int taken;
    const char *managed = getenv("STAND_IN");
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    if (managed == NULL) return ESRCH;
    if (strcmp(name, "Listeners") != 0 && strcmp(name, "Datagrams") != 0 && strcmp(name, "None") != 0) return ENOENT;
    if (taken++ || strcmp(managed, "taken") == 0) return EALREADY;
    *count = strcmp(name, "None") == 0 ? 0 : 2;
    *fds = malloc(*count * sizeof(int));
    for (size_t i = 0; i < *count; i++) {
        (*fds)[i] = socket(AF_INET, strcmp(name, "Datagrams") == 0 ? SOCK_DGRAM : SOCK_STREAM, 0);
        bind((*fds)[i], (void *)&here, sizeof here);
        listen((*fds)[i], 5);
    }
    return 0;
}
"#;

fn launchd(directory: &Path) -> Option<PathBuf> {
    if !require::program("cc") {
        return None;
    }
    let source = write_file(directory, "launchd.c", LAUNCHD);
    let library = directory.join("launchd.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(made.unwrap().success());
    Some(library)
}

#[test]
fn all_sockets_of_a_name_are_taken_over_from_launchd() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = launchd(directory.path()) else { return };
    let starting = srvwrap(["-p", "127.0.0.1:0", "--launchd-socket", "Listeners"].iter().chain(&IDLE));
    let (port, unused) = tcp();
    let starting = starting.env("STAND_IN", "1").env("LD_PRELOAD", &library).env("LISTEN_FD", "9");
    let mut srvwrap = starting.with(|command| hand_over(command, vec![(9, Some(unused))])).online();
    assert_eq!(srvwrap.times_said(" (launchd) (Listeners)"), 2);
    assert_eq!(srvwrap.times_said("fd 9: handed in and closed"), 1);
    wait_until_closed(port);
    let found = listeners_of(&mut srvwrap);
    assert_eq!((&*found["LISTEN_FD_LISTENERS"], &*found["LISTEN_FD_2"]), ("5", "6"));
    srvwrap.stop();
}

#[test]
fn what_launchd_refuses_is_told_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = launchd(directory.path()) else { return };
    for (managed, name, because) in [
        ("1", "Other", "the Sockets of the job's property list have no such name"),
        ("taken", "Listeners", "they were taken over already"),
        ("1", "None", "launchd holds no socket of this name"),
        ("1", "Datagrams", "one is a datagram socket, and a stream socket that listens is needed"),
        ("", "Listeners", "launchd has not started this srvwrap"),
    ] {
        let mut starting =
            srvwrap(["--launchd-socket", name].iter().chain(&IDLE)).env("LD_PRELOAD", &library);
        if !managed.is_empty() {
            starting = starting.env("STAND_IN", managed);
        }
        let expected = format!("srvwrap: cannot take over the sockets {name} of launchd: {because}");
        assert_eq!(starting.run(), (1, expected));
    }
}

#[test]
fn without_launchd_its_sockets_are_a_clear_error() {
    let (code, log) = srvwrap(["--launchd-socket", "Listeners"].iter().chain(&IDLE)).run();
    assert_eq!(code, 1);
    assert!(log.ends_with("there is no launchd here: it is a part of macOS"), "{log}");
}
