//! Listeners and those that share them: each change by one is seen, and undone, by another.

use super::*;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::super::hang_ups::HangUps;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tempfile::TempDir;

fn local() -> Listener {
    Listener::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap()
}

fn unix() -> (TempDir, Listener) {
    let directory = tempfile::tempdir().unwrap();
    let listener = Listener::bind_unix(&directory.path().join("app.sock"), Access::DEFAULT).unwrap();
    (directory, listener)
}

fn port(listener: &Listener) -> u16 {
    listener.local_address().unwrap().port()
}

/// What a worker does that shares the socket: it has its own descriptor of it.
fn shut_down_by_another_holder(listener: &Listener, how: std::net::Shutdown) {
    let worker = TcpStream::from(listener.fd.try_clone().unwrap());
    worker.shutdown(how).unwrap();
}

/// A word from a client of the listener to one who accepts it, so that both ends are known to work.
fn carries_a_word(listener: &Listener) -> io::Result<()> {
    let fd = listener.fd.try_clone()?;
    let mut word = [0; 4];
    if let Some(address) = listener.local_address() {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, address.port()))?;
        client.write_all(b"word")?;
        TcpListener::from(fd).accept()?.0.read_exact(&mut word)?;
    } else {
        let mut client = UnixStream::connect(listener.path().unwrap())?;
        client.write_all(b"word")?;
        std::os::unix::net::UnixListener::from(fd).accept()?.0.read_exact(&mut word)?;
    }
    assert_eq!(&word, b"word");
    Ok(())
}

/// The greatest backlog of a TCP listener, which the kernel tells in a field made for another number.
fn backlog(listener: &Listener) -> u32 {
    // SAFETY: all zeroes are a valid tcp_info, and its size is given with it.
    let answer = unsafe {
        let mut facts: libc::tcp_info = std::mem::zeroed();
        let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
        let place = (&raw mut facts).cast();
        assert_eq!(
            libc::getsockopt(
                listener.fd.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                place,
                &raw mut size
            ),
            0
        );
        facts
    };
    answer.tcpi_sacked
}

fn full_backlog() -> u32 {
    clamped_backlog().unwrap_or(BACKLOG)
}

#[test]
fn a_listener_is_not_taken_for_shut_down_because_a_signal_comes() {
    // SAFETY: a handler that does nothing.
    unsafe { signal_hook_registry::register(libc::SIGUSR2, || ()) }.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let listeners = [
        Listener::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap(),
        Listener::bind_unix(&directory.path().join("it.sock"), Access::DEFAULT).unwrap(),
    ];
    let done = std::sync::atomic::AtomicBool::new(false);
    // SAFETY: takes nothing.
    let this_thread = unsafe { libc::pthread_self() } as usize;
    let always = std::thread::scope(|scope| {
        scope.spawn(|| {
            for signal in 0..200_000 {
                // SAFETY: that thread waits for this one.
                unsafe { libc::pthread_kill(this_thread as libc::pthread_t, libc::SIGUSR2) };
                // At all kinds of moments, and with room for the other to get on.
                (0..signal % 500).for_each(|_| std::hint::spin_loop());
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut always = true;
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            always &= listeners.iter().all(Listener::is_listening);
        }
        always
    });
    assert!(always, "a signal made it look shut down");
}

#[test]
fn a_port_alone_takes_clients_of_both_families() {
    let listener = Listener::bind_port(0).unwrap();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port(&listener))).unwrap();
    match TcpListener::bind("[::1]:0") {
        Ok(_) => drop(TcpStream::connect((Ipv6Addr::LOCALHOST, port(&listener))).unwrap()),
        Err(_) => eprintln!("SKIPPED: this machine has no IPv6"),
    }
}

/// Makes the system call answer `errno` where that argument has that value, in this thread and for its life.
fn refuse(call: libc::c_long, argument: u32, value: u32, errno: Errno) {
    let offset = std::mem::offset_of!(libc::seccomp_data, args) as u32 + 8 * argument;
    let low = if cfg!(target_endian = "big") { 4 } else { 0 };
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |k| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, k);
    let unless = |k, skip| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip, k);
    let answer = |k| step(libc::BPF_RET | libc::BPF_K, 0, 0, k);
    let mut steps = [
        load(0),
        unless(call as u32, 3),
        load(offset + low),
        unless(value, 1),
        answer(libc::SECCOMP_RET_ERRNO | errno as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the filter and its steps live through both calls, which copy them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter), 0);
    }
}

#[test]
fn where_the_kernel_has_no_v6_a_port_is_bound_on_v4() {
    refuse(libc::SYS_socket, 0, libc::AF_INET6 as u32, Errno::EAFNOSUPPORT);
    let listener = Listener::bind_port(0).unwrap();
    assert_eq!(listener.local_address().unwrap().ip(), Ipv4Addr::UNSPECIFIED);
    carries_a_word(&listener).unwrap();
}

#[test]
fn where_no_interface_has_v6_a_port_is_bound_on_v4() {
    let size_of_v6_address = size_of::<libc::sockaddr_in6>() as u32;
    refuse(libc::SYS_bind, 2, size_of_v6_address, Errno::EADDRNOTAVAIL);
    let listener = Listener::bind_port(0).unwrap();
    assert_eq!(listener.local_address().unwrap().ip(), Ipv4Addr::UNSPECIFIED);
}

#[test]
fn an_address_of_v6_leaves_the_port_of_v4_to_others() {
    let Ok(v6) = Listener::bind_tcp("[::]:0".parse().unwrap()) else {
        return eprintln!("SKIPPED: this machine has no IPv6");
    };
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port(&v6))).is_err());
    Listener::bind_tcp(SocketAddr::from((Ipv4Addr::new(127, 77, 0, 1), port(&v6)))).unwrap();
}

#[test]
fn a_listener_starts_blocking_and_closed_on_exec_with_the_full_backlog() {
    let listener = local();
    assert!(!listener.nonblocking());
    assert_eq!(fcntl(&listener, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
    assert_eq!(backlog(&listener), full_backlog());
    assert!(listener.is_listening());
}

#[test]
fn a_flag_that_another_holder_has_set_is_seen_and_put_back() {
    let listener = local();
    let worker = TcpListener::from(listener.fd.try_clone().unwrap());
    worker.set_nonblocking(true).unwrap();
    assert!(listener.nonblocking());
    listener.set_nonblocking(false);
    assert!(!listener.nonblocking());
    carries_a_word(&listener).unwrap();
}

#[test]
fn a_port_that_is_taken_names_its_holder_though_its_maker_is_gone() {
    let made_here = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = made_here.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a process that holds the port and knows nothing of it")]
    let mut heir =
        std::process::Command::new("sleep").arg("600").stdin(OwnedFd::from(made_here)).spawn().unwrap();
    let error = Listener::bind_tcp(address).unwrap_err().to_string();
    heir.kill().unwrap();
    heir.wait().unwrap();
    let (start, holders) = error.split_once(" is held by ").unwrap();
    assert_eq!(start, format!("cannot bind {address}: Address already in use (port {}", address.port()));
    assert!(holders.contains(&format!("pid {}, ", heir.id())), "{holders}");
}

#[test]
fn a_port_alone_is_refused_where_one_family_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Listener::bind_port(port).unwrap_err();
    assert!(matches!(&error.cause, BindCause::PortTaken { holders: Some(_), .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot bind port {port}: ")), "{error}");
}

#[test]
fn an_address_of_another_machine_is_an_error_of_that_name() {
    let error = Listener::bind_tcp("192.0.2.1:0".parse().unwrap()).unwrap_err();
    assert_eq!(error.cause, BindCause::NotOurAddress("192.0.2.1".parse().unwrap()));
}

#[test]
fn a_listener_that_fails_late_leaves_nothing_of_those_before_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (directory, first) = unix();
    let second = Listener::bind_tcp(taken.local_addr().unwrap());
    drop((first, second.unwrap_err()));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_backlog_that_another_holder_has_changed_is_put_back() {
    let listener = local();
    // SAFETY: a system call on an open descriptor; no memory is involved.
    assert_eq!(unsafe { libc::listen(listener.fd.as_raw_fd(), 5) }, 0);
    assert_eq!(backlog(&listener), 5);
    listener.listen_again().unwrap();
    assert_eq!(backlog(&listener), full_backlog());
}

/// As the event loop does it: one inside of the other.
struct Watch {
    hang_ups: HangUps,
    poll: Poll,
    events: Events,
}

impl Watch {
    fn on(listener: &Listener) -> Watch {
        let (hang_ups, poll) = (HangUps::new().unwrap(), Poll::new().unwrap());
        hang_ups.watch(listener, 7).unwrap();
        let fd = hang_ups.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE).unwrap();
        Watch { hang_ups, poll, events: Events::with_capacity(8) }
    }

    fn wakes_within(&mut self, limit_ms: u64) -> bool {
        self.poll.poll(&mut self.events, Some(Duration::from_millis(limit_ms))).unwrap();
        let told = self.hang_ups.take();
        assert_eq!(told.is_empty(), self.events.is_empty());
        assert!(told.iter().all(|&number| number == 7));
        !told.is_empty()
    }
}

#[test]
fn a_connection_wakes_nobody_and_a_shutdown_of_tcp_does_and_is_healed_on_the_same_port() {
    for listener in [local(), Listener::bind_port(0).unwrap()] {
        let mut watch = Watch::on(&listener);
        carries_a_word(&listener).unwrap();
        let waiting = TcpStream::connect((Ipv4Addr::LOCALHOST, port(&listener))).unwrap();
        assert!(!watch.wakes_within(0));

        for _ in 0..2 {
            shut_down_by_another_holder(&listener, std::net::Shutdown::Both);
            assert!(watch.wakes_within(10_000));
            assert!(!listener.is_listening());

            listener.heal().unwrap();
            assert!(listener.is_listening());
            assert_eq!(bound_address(&listener.fd).unwrap().port(), port(&listener));
            assert_eq!(backlog(&listener), full_backlog());
            carries_a_word(&listener).unwrap();
            assert!(!watch.wakes_within(0));
        }
        drop(waiting);
    }
}

/// What two servers do that stop at the same moment.
#[test]
fn a_listener_that_was_shut_down_twice_is_healed_so_that_its_connections_live() {
    for listener in [local(), Listener::bind_port(0).unwrap()] {
        let worker = TcpStream::from(listener.fd.try_clone().unwrap());
        for _ in 0..3 {
            worker.shutdown(std::net::Shutdown::Both).unwrap();
            worker.shutdown(std::net::Shutdown::Both).unwrap_err();
            // A worker that starts meanwhile may have it listen before we do.
            listen(&listener.fd).unwrap();
            assert!(!listener.is_listening());
            listener.heal().unwrap();
            assert!(listener.is_listening());
            carries_a_word(&listener).unwrap();
            assert_eq!(bound_address(&listener.fd).unwrap(), listener.local_address().unwrap());
        }
    }
}

#[test]
fn a_shutdown_of_unix_wakes_and_is_healed_by_binding_anew_only() {
    let (_directory, mut listener) = unix();
    let mut watch = Watch::on(&listener);
    carries_a_word(&listener).unwrap();
    assert!(!watch.wakes_within(0));

    shut_down_by_another_holder(&listener, std::net::Shutdown::Both);
    assert!(watch.wakes_within(10_000));
    listener.heal().unwrap();
    assert!(!listener.is_listening());
    assert!(carries_a_word(&listener).is_err());

    listener.bind_anew().unwrap();
    assert!(listener.is_listening());
    carries_a_word(&listener).unwrap();
}

#[test]
fn half_a_shutdown_wakes_where_it_matters() {
    let ((_one, unix), (_other, harmless), tcp) = (unix(), unix(), local());
    for listener in [&unix, &tcp] {
        let mut watch = Watch::on(listener);
        shut_down_by_another_holder(listener, std::net::Shutdown::Read);
        assert!(watch.wakes_within(10_000));
        assert!(!listener.is_listening());
        assert!(carries_a_word(listener).is_err());
    }
    let mut watch = Watch::on(&harmless);
    shut_down_by_another_holder(&harmless, std::net::Shutdown::Write);
    assert!(!watch.wakes_within(0));
    assert!(harmless.is_listening());
    carries_a_word(&harmless).unwrap();
}

#[test]
fn a_lower_limit_of_the_system_is_known_and_a_higher_one_does_not_matter() {
    assert_eq!(clamped_by("128\n"), Some(128));
    assert_eq!(clamped_by("4096\n"), None);
    assert_eq!(clamped_by("65535\n"), None);
    assert_eq!(clamped_by(""), None);
}
