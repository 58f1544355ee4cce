//! What a worker has from srvwrap, and srvwrap from whoever started it: descriptors, limits, directory, environment.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::harness::proc::Socket;
use crate::harness::strace::{lines_with, traced};
use crate::harness::{Srvwrap, Starting, before_exec, pipe, proc, require, srvwrap, terminal, wait_until};

/// Says that it is online, then stops, with nothing open but what it was given.
const SERVES: [&str; 3] = ["sh", "-c", "echo online >&3; kill -STOP $$"];
/// As [`SERVES`], for where stderr cannot be read: its pid is in a file.
const LEAVES_ITS_PID: [&str; 3] =
    ["sh", "-c", "echo online >&3; echo $$ > pid.new; mv pid.new pid; kill -STOP $$"];

/// The worker, once it has stopped.
fn worker(srvwrap: &mut Srvwrap) -> i32 {
    let pid = srvwrap.worker_pids()[&0];
    wait_until("the worker has stopped", || proc::status(pid, "State").starts_with('T'));
    pid
}

/// The worker that left its pid.
fn silent_worker(srvwrap: &Srvwrap) -> i32 {
    let file = srvwrap.directory.path().join("pid");
    wait_until("the worker has left its pid", || file.exists());
    let pid = std::fs::read_to_string(file).expect("just seen").trim().parse().expect("a pid");
    wait_until("the worker has stopped", || proc::status(pid, "State").starts_with('T'));
    pid
}

/// Makes these numbers open in srvwrap, and not to be closed at exec.
fn leaking(starting: Starting, numbers: &'static [i32]) -> Starting {
    starting.with(|command| {
        before_exec(command, move || {
            for number in numbers {
                // SAFETY: the numbers are nobody's, but for the runtime's own pipe, which is then not needed.
                if unsafe { libc::dup2(1, *number) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    })
}

const LEAKED: &[i32] = &[10, 251, 1000];

/// Editors, terminals and build servers leak descriptors into all that they start.
#[test]
fn a_worker_has_the_standard_descriptors_its_notices_and_the_listeners_and_no_other() {
    let arguments = ["-p", "127.0.0.1:0", "-p", "unix:app.sock"].into_iter().chain(SERVES);
    let mut srvwrap = leaking(srvwrap(arguments), LEAKED).online();
    assert!(
        LEAKED.iter().all(|fd| proc::descriptors(srvwrap.pid() as i32).contains_key(fd)),
        "they are leaked"
    );
    let descriptors = proc::descriptors(worker(&mut srvwrap));
    assert_eq!(descriptors.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(descriptors[&0], "/dev/null");
    srvwrap.stop();
}

/// Where the system cannot mark all descriptors at once (an old kernel, a container's filter) there is another way,
/// which does not try every number up to the limit: that may be a billion.
#[test]
fn without_close_range_leaked_descriptors_are_found_and_not_looked_for_one_by_one() {
    if !require::strace() {
        return;
    }
    for error in ["ENOSYS", "EPERM", "EINVAL"] {
        let inject = format!("inject=close_range:error={error}");
        let (starting, report) =
            traced(srvwrap(SERVES), &["-e", "trace=close_range,fcntl,close,ioctl", "-e", &inject]);
        let starting = starting.with(|command| {
            before_exec(command, || {
                let many = libc::rlimit { rlim_cur: 1024, rlim_max: 1_000_000 };
                // SAFETY: the limit lives through the call. Without the right to raise it it stays as it is.
                unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const many) };
                Ok(())
            });
        });
        let mut srvwrap = leaking(starting, LEAKED).online();
        let descriptors = proc::descriptors(worker(&mut srvwrap));
        assert_eq!(descriptors.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3], "{error}");
        assert_eq!(lines_with(&report, "INJECTED").len(), 1, "{error}");
        let calls = lines_with(&report, "(").len();
        assert!(calls < 500, "{calls} calls to close and mark descriptors");
        srvwrap.stop();
    }
}

/// As many descriptors as a container runtime allows: a start that tries them all takes minutes.
#[test]
fn a_huge_limit_of_open_files_does_not_slow_a_start() {
    let most =
        std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default().trim().parse().unwrap_or(0);
    let starting = srvwrap(SERVES).with(|command| {
        before_exec(command, move || {
            let many = libc::rlimit { rlim_cur: most, rlim_max: most };
            // SAFETY: the limit lives through the call. Without the right to raise it it stays as it is.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const many) };
            Ok(())
        });
    });
    let began = Instant::now();
    let mut srvwrap = starting.online();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(proc::open_files(worker(&mut srvwrap)), proc::open_files(srvwrap.pid() as i32));
    srvwrap.stop();
}

/// Whatever numbers are open or closed when srvwrap starts, also the standard ones: its own descriptors land on the
/// very numbers that workers are promised, and must not get into their way.
#[test]
fn listeners_are_at_their_numbers_whatever_was_open_or_closed_at_the_start() {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let patterns = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    });
    let rounds: Vec<(u64, usize)> = patterns.zip((1..=5).cycle()).take(24).collect();
    std::thread::scope(|scope| {
        for some in rounds.chunks(6) {
            scope.spawn(|| some.iter().for_each(|(pattern, listeners)| check_numbers(*pattern, *listeners)));
        }
    });
}

/// Bit N of the pattern: whether number N is open, from 3 to 20. Of the standard ones those with a bit are closed, but
/// only in every other pattern, by bit 40.
fn check_numbers(pattern: u64, listeners: usize) {
    let arguments = ["-p", "unix:0", "-p", "unix:1", "-p", "127.0.0.1:0", "-p", "unix:3", "-p", "0"];
    let arguments = arguments.into_iter().take(2 * listeners).chain(LEAVES_ITS_PID);
    let starting = srvwrap(arguments).with(|command| before_exec(command, move || set_open(pattern)));
    let mut srvwrap = starting.start();
    let pid = silent_worker(&srvwrap);
    let descriptors = proc::descriptors(pid);
    let shown = format!("pattern {pattern:#x}, {listeners} listeners: {descriptors:?}");
    let numbers: Vec<i32> = descriptors.keys().copied().collect();
    assert_eq!(numbers, (0..4 + listeners as i32).collect::<Vec<_>>(), "{shown}");
    let (sockets, environment) = (proc::sockets(), proc::environment(pid));
    assert_eq!(sockets[&descriptors[&3]], Socket::Stream, "{shown}");
    for index in 0..listeners {
        let right = match &sockets[&descriptors[&(4 + index as i32)]] {
            // PORT is that of the first one.
            Socket::V4(port) if index == 2 => environment.contains(&format!("PORT={port}").into_bytes()),
            Socket::V4(_) => index == 4 && !std::path::Path::new("/proc/net/if_inet6").exists(),
            Socket::V6(_) => index == 4,
            Socket::Path(path) => path.ends_with(&format!("/{index}")),
            Socket::Stream | Socket::Other => false,
        };
        assert!(right, "listener {index}; {shown}");
    }
    srvwrap.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0, "{shown}");
}

/// Runs between fork and exec: system calls only.
fn set_open(pattern: u64) -> std::io::Result<()> {
    // SAFETY: numbers of this process, which is about to be another program.
    unsafe {
        for number in 3..=20 {
            if pattern >> number & 1 == 1 {
                libc::dup2(0, number);
            } else {
                libc::close(number);
            }
        }
        if pattern >> 40 & 1 == 1 {
            for number in 0..3 {
                if pattern >> number & 1 == 1 {
                    libc::close(number);
                }
            }
        }
    }
    Ok(())
}

/// O_NONBLOCK belongs to a description that the shell and the workers share: set on a pipe, others lose what they
/// write; on a terminal, the shell ends.
#[test]
fn inherited_streams_keep_their_flags_while_srvwrap_runs_and_after() {
    let (stdin, _input) = pipe();
    let (_stdout_reader, stdout) = pipe();
    let (_stderr_reader, stderr) = pipe();
    let (_master, terminal) = terminal();
    for given in [[&stdin, &stdout, &stderr], [&stdin, &terminal, &terminal]] {
        let before = given.map(flags);
        let [input, output, error] = given.map(|fd| Stdio::from(fd.try_clone().expect("a duplicate")));
        let arguments = ["--stdin", "inherit"].into_iter().chain(LEAVES_ITS_PID);
        let mut srvwrap =
            srvwrap(arguments).with(|command| _ = command.stdin(input).stdout(output).stderr(error)).start();
        let pid = silent_worker(&srvwrap);
        assert_eq!(given.map(flags), before, "while it runs");
        let descriptors = proc::descriptors(pid);
        let ours = proc::descriptors(std::process::id() as i32);
        let same = given.iter().zip(0..).all(|(fd, number)| descriptors[&number] == ours[&fd.as_raw_fd()]);
        assert!(same, "workers have the same ones: {descriptors:?}");
        srvwrap.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(srvwrap.exit_code(), 0);
        assert_eq!(given.map(flags), before, "after its end");
    }
}

fn flags(fd: &OwnedFd) -> OFlag {
    OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).expect("open"))
}

/// srvwrap itself takes all that it may; a program that uses select(2) must not be given as many.
#[test]
fn a_worker_has_the_limit_of_open_files_that_srvwrap_was_started_with() {
    let starting = srvwrap(SERVES).with(|command| {
        before_exec(command, || {
            let few = libc::rlimit { rlim_cur: 123, rlim_max: 456 };
            // SAFETY: the limit lives through the call.
            match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    });
    let mut srvwrap = starting.online();
    assert_eq!(proc::open_files(srvwrap.pid() as i32), (456, 456));
    assert_eq!(proc::open_files(worker(&mut srvwrap)), (123, 456));
    srvwrap.stop();
}

/// An operator who lowers the hard limit of a running srvwrap must not keep it from making workers: only root could
/// raise it again.
#[test]
fn a_limit_lowered_while_it_runs_holds_for_workers_too() {
    if !require::program("prlimit") {
        return;
    }
    let mut srvwrap = srvwrap(SERVES).with(become_nobody).online();
    let mut prlimit = Command::new("prlimit");
    become_nobody(prlimit.args(["--pid", &srvwrap.pid().to_string(), "--nofile=100:100"]));
    assert!(prlimit.status().expect("it is there").success());
    srvwrap.signal(nix::sys::signal::Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    assert_eq!(proc::open_files(worker(&mut srvwrap)), (100, 100));
    srvwrap.stop();
}

/// Without the rights of root, where we have them.
fn become_nobody(command: &mut Command) {
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534).current_dir("/");
    }
}

/// srvwrap keeps nobody from unmounting or removing a directory; its workers are where it was started.
#[test]
fn a_worker_is_where_srvwrap_was_started_and_srvwrap_is_nowhere() {
    let starting = srvwrap(SERVES).with(|command| {
        before_exec(command, || {
            // SAFETY: takes a number.
            unsafe { libc::umask(0o037) };
            Ok(())
        });
    });
    let mut srvwrap = starting.online();
    let pid = worker(&mut srvwrap);
    let here = srvwrap.directory.path().canonicalize().expect("our directory");
    assert_eq!(proc::directory(pid), here);
    assert_eq!(proc::directory(srvwrap.pid() as i32), std::path::Path::new("/"));
    assert_eq!(proc::status(pid, "Umask"), "0037");
    srvwrap.stop();
}

/// What whoever started srvwrap set for srvwrap alone: a worker that took it for its own would speak in its name, or
/// use descriptors that it does not have. All else arrives as it is, byte for byte.
#[test]
fn a_worker_has_the_whole_environment_without_what_was_meant_for_srvwrap() {
    let kept: BTreeMap<&[u8], &[u8]> = BTreeMap::from([
        (b"PERCENT".as_slice(), b"%s%n%%".as_slice()),
        (b"EQUALS", b"=a=b="),
        (b"LINES_", b"one\ntwo\n"),
        (b"BYTES", b"\xff\xfe\x80"),
        (b"EMPTY", b""),
        (b"NA\xffME", b"x"),
        (b"LISTEN", b"mine"),
        (b"PORT", b"1234"),
    ]);
    let taken = [
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "LISTEN_PIDFDID",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "MAINPID",
        "NODE_CHANNEL_FD",
        "NODE_CHANNEL_SERIALIZATION_MODE",
        "NODE_UNIQUE_ID",
        "LISTEN_FD",
        "LISTEN_FD_0",
        "LISTEN_FD_7",
        "LISTEN_FD_HTTP",
    ];
    // No shell: it would drop a name that it cannot use.
    let mut starting = srvwrap(["--ready", "exec", "sleep", "1000"]);
    for (name, value) in &kept {
        starting = starting.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
    }
    for name in taken {
        // One that is empty hands nothing over.
        starting = starting.env(name, if name == "LISTEN_FD" { "" } else { "77" });
    }
    let mut srvwrap = starting.online();
    let pid = srvwrap.worker_pids()[&0];
    let environment = proc::environment(pid);
    let has = |name: &[u8], value: &[u8]| {
        let entry = [name, b"=", value].concat();
        environment.iter().filter(|found| **found == entry).count() == 1
    };
    for (name, value) in kept {
        assert!(has(name, value), "{}", String::from_utf8_lossy(name));
    }
    for name in taken {
        let start = format!("{name}=").into_bytes();
        assert!(!environment.iter().any(|entry| entry.starts_with(&start)), "{name} was passed on");
    }
    assert!(has(b"NOTIFY_FD", b"3") && has(b"SRVWRAP_SLOT", b"0") && has(b"SRVWRAP_GENERATION", b"1"));
    assert!(has(b"SRVWRAP_PID", srvwrap.pid().to_string().as_bytes()));
    srvwrap.stop();
}
