//! The TCP listeners that srvwrap binds: which clients get in, what workers are given, and how a failure reads.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{BINARY, before_exec, is_alive, require, srvwrap, wait_until};

/// A worker that listens to nobody: clients get in by the kernel's hand.
const IDLE: [&str; 3] = ["sh", "-c", "echo online >&3; exec sleep 1000"];

fn with_listeners<'a>(addresses: &[&'a str], program: &[&'a str]) -> Vec<&'a str> {
    addresses.iter().flat_map(|address| ["-p", *address]).chain(program.iter().copied()).collect()
}

fn v4_gets_in(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn v6_gets_in(port: u16) -> bool {
    TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_ok()
}

/// One socket for both families, and the port that the kernel chose is told.
#[test]
fn a_port_alone_is_open_to_clients_of_both_families() {
    if !require::ipv6() {
        return;
    }
    let mut srvwrap = srvwrap(with_listeners(&["0"], &IDLE)).online();
    let port = srvwrap.port();
    assert!(srvwrap.has_said(&format!("listening on port {port}")));
    assert!(v4_gets_in(port) && v6_gets_in(port));
    srvwrap.stop();
}

#[test]
fn an_address_is_open_to_its_own_family_alone_and_told_as_it_was_typed() {
    if !require::ipv6() {
        return;
    }
    for (typed, v4, v6) in [("127.0.0.1", true, false), ("0.0.0.0", true, false), ("[::]", false, true)] {
        let address = format!("{typed}:0");
        let mut srvwrap = srvwrap(with_listeners(&[&address], &IDLE)).online();
        let port = srvwrap.port();
        assert!(srvwrap.has_said(&format!("listening on {typed}:{port}")), "{}", srvwrap.log());
        assert_eq!((v4_gets_in(port), v6_gets_in(port)), (v4, v6), "{typed}");
        srvwrap.stop();
    }
}

/// Where the machine has its IPv6 switched off, a port alone is still to be had.
#[test]
fn a_machine_without_v6_serves_its_clients_of_v4() {
    let Some(python) = require::python() else { return };
    if !require::network_namespace() {
        return;
    }
    let client = "import os, socket
os.write(3, b'online\\n')
socket.create_connection(('127.0.0.1', int(os.environ['PORT'])))
socket.socket(fileno=4).accept()
print('a client got in', flush=True)
os.read(3, 100)";
    let mut srvwrap = srvwrap(["-p", "0", &python, "-c", client])
        .with(|command| before_exec(command, enter_a_network_of_v4_alone))
        .online();
    srvwrap.wait_until_said("a client got in", 1);
    srvwrap.stop();
}

/// A new namespace, where the loopback interface is down at first.
fn enter_a_network_of_v4_alone() -> std::io::Result<()> {
    let check = |result: i32| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: system calls on memory of our own.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNET))?;
        let switch = c"/proc/sys/net/ipv6/conf/all/disable_ipv6";
        let file = check(libc::open(switch.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
        check(libc::write(file, c"1".as_ptr().cast(), 1) as i32)?;
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        let any = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        check(libc::ioctl(any, libc::SIOCSIFFLAGS, &raw mut request))?;
    }
    Ok(())
}

#[test]
fn several_listeners_come_in_the_order_in_which_they_were_named_and_by_their_names() {
    let Some(python) = require::python() else { return };
    let report = "import os, socket
for name in sorted(name for name in os.environ if name.startswith('LISTEN_FD') or name == 'PORT'):
    print('given', name, os.environ[name], flush=True)
for fd in 4, 5, 6:
    listener = socket.socket(fileno=os.dup(fd))
    print('listens', fd, listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), listener.getsockname(), flush=True)
os.write(3, b'online\\n')
os.read(3, 100)";
    let addresses = ["admin=unix:admin.sock", "http=127.0.0.1:0", "127.0.0.1:0"];
    let mut srvwrap = srvwrap(with_listeners(&addresses, &[&python, "-c", report]))
        .env("PORT", "1")
        .env("LISTEN_FD_7", "7")
        .start();
    wait_until("all is said", || srvwrap.has_said("workers online") && srvwrap.has_said("listens 6"));
    let log = srvwrap.log();
    let words = |start: &str| -> Vec<String> {
        log.lines().filter_map(|line| line.strip_prefix(start)).map(str::to_string).collect()
    };
    let port = srvwrap.port();
    assert_eq!(
        words("given "),
        [
            "LISTEN_FD 4".to_string(),
            "LISTEN_FD_0 4".to_string(),
            "LISTEN_FD_1 5".to_string(),
            "LISTEN_FD_2 6".to_string(),
            "LISTEN_FD_ADMIN 4".to_string(),
            "LISTEN_FD_HTTP 5".to_string(),
            format!("PORT {port}"),
        ]
    );
    let sockets = words("listens ");
    assert!(sockets[0].starts_with("4 1 ") && sockets[0].contains("admin.sock"), "{sockets:?}");
    assert_eq!(sockets[1], format!("5 1 ('127.0.0.1', {port})"));
    assert!(sockets[2].starts_with("6 1 ('127.0.0.1', "), "{sockets:?}");
    assert!(log.contains("admin.sock (admin)") && log.contains(&format!("127.0.0.1:{port} (http)")), "{log}");
    srvwrap.stop();
}

/// Starting the same thing twice is the first mistake that a user makes.
#[test]
fn a_port_that_is_taken_ends_it_with_1_and_names_address_and_holder() {
    let mut first = srvwrap(with_listeners(&["127.0.0.1:0"], &IDLE)).online();
    let address = format!("127.0.0.1:{}", first.port());
    let (code, log) = srvwrap(with_listeners(&[&address], &IDLE)).run();
    assert_eq!(code, 1, "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.starts_with(&format!("srvwrap: cannot bind {address}: Address already in use (port ")),
        "{log}"
    );
    assert!(log.contains(&format!("pid {}, srvwrap", first.pid())), "{log}");
    assert!(v4_gets_in(first.port()));
    first.stop();
}

/// A process of the same user that sets SO_REUSEPORT would get a share of the connections, and nobody would know.
#[test]
fn nobody_joins_a_listener_by_the_reuse_of_its_port() {
    let Some(python) = require::python() else { return };
    let mut srvwrap = srvwrap(with_listeners(&["127.0.0.1:0"], &IDLE)).online();
    let join = "import socket, sys
other = socket.socket()
other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    other.bind(('127.0.0.1', int(sys.argv[1])))
    other.listen()
except OSError as error:
    print(error.errno)";
    let tried = Command::new(python).args(["-c", join, &srvwrap.port().to_string()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&tried.stdout).trim(), libc::EADDRINUSE.to_string());
    srvwrap.stop();
}

/// One for IPv6 alone leaves IPv4 to others, and a port alone needs both.
#[test]
fn one_for_both_families_and_one_for_each_exclude_each_other_and_two_for_each_do_not() {
    if !require::ipv6() {
        return;
    }
    let mut first = srvwrap(with_listeners(&["[::]:0"], &IDLE)).online();
    let port = first.port();
    let v4 = srvwrap(with_listeners(&[&format!("0.0.0.0:{port}")], &IDLE)).online();
    for address in [port.to_string(), format!("[::]:{port}"), format!("[::1]:{port}")] {
        let (code, log) = srvwrap(with_listeners(&["127.0.0.1:0", &address], &IDLE)).run();
        assert_eq!((code, log.lines().count()), (1, 1), "{log}");
        let shown = if address.contains(':') { address } else { format!("port {address}") };
        assert!(log.contains(&format!("cannot bind {shown}: Address already in use")), "{log}");
        assert!(log.contains(&format!("pid {}, srvwrap", first.pid())), "{log}");
    }
    v4.stop();
    first.stop();
}

#[test]
fn an_address_of_another_machine_ends_it_with_1_and_its_name() {
    let (code, log) = srvwrap(with_listeners(&["192.0.2.1:8000"], &IDLE)).run();
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains("cannot bind 192.0.2.1:8000: ") && log.contains("not an address of this machine"),
        "{log}"
    );
}

/// A port that needs a privilege. The system call is made to fail, since the tests may be run by root.
#[test]
fn a_privileged_port_ends_it_with_1_and_the_remedy() {
    if !require::strace() {
        return;
    }
    let output = Command::new("strace")
        .args(["-o", "/dev/null", "-e", "trace=bind", "-e", "inject=bind:error=EACCES"])
        .args([BINARY, "-p", "80", "true"])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("cannot bind port 80: Permission denied") && log.contains("CAP_NET_BIND"), "{log}");
}

/// The second of several fails: the first is free again.
#[test]
fn a_listener_that_cannot_be_bound_leaves_nothing_of_the_others() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let taken = taken.local_addr().unwrap().to_string();
    let starting = srvwrap(with_listeners(&["unix:first.sock", &free, &taken], &IDLE));
    let directory = starting.path().to_path_buf();
    let mut srvwrap = starting.start();
    assert_eq!(srvwrap.exit_code(), 1);
    let log = srvwrap.log();
    assert!(log.contains(&format!("cannot bind {taken}")), "{log}");
    assert!(!log.contains("listening on"), "{log}");
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
    TcpListener::bind(free).unwrap();
}

/// A supervisor that is KILLed cannot end what its workers have started. A process that has left their group and
/// ignores everything keeps the port: the next start says who it is.
#[test]
fn a_descendant_that_outlives_a_killed_srvwrap_and_holds_the_port_is_named_at_the_next_start() {
    let Some(python) = require::python() else { return };
    let worker = "import os, signal, sys
if os.fork() == 0:
    os.setsid()
    for number in range(1, 32):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)
    os.close(3)
    print('descendant', os.getpid(), flush=True)
    os.dup2(os.open('/dev/null', os.O_WRONLY), 1)
    os.dup2(1, 2)
    while True:
        signal.pause()
os.write(3, b'online\\n')
signal.pause()";
    let mut killed = srvwrap(["-p", "127.0.0.1:0", &python, "-c", worker]).start();
    wait_until("both are there", || killed.has_said("descendant ") && killed.has_said("workers online"));
    let log = killed.log();
    let descendant = log.lines().find_map(|line| line.strip_prefix("descendant ")).unwrap();
    let descendant: i32 = descendant.parse().unwrap();
    let (address, worker) = (format!("127.0.0.1:{}", killed.port()), killed.worker_pids()[&0]);
    killed.signal(Signal::SIGKILL);
    killed.wait();
    wait_until("its worker dies with it", || !is_alive(worker));

    let (code, log) = srvwrap(with_listeners(&[&address], &IDLE)).run();
    kill(Pid::from_raw(descendant), Signal::SIGKILL).unwrap();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains(&format!("cannot bind {address}: ")), "{log}");
    assert!(log.contains(&format!("is held by pid {descendant}, python")), "{log}");

    wait_until("it is gone", || !is_alive(descendant));
    srvwrap(with_listeners(&[&address], &IDLE)).online().stop();
}
