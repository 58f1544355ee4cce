//! Nobody hears what srvwrap says: a full disk, a reader that is gone or never reads. It supervises all the same.
//!
//! Since its notices cannot be read here, its workers leave files, which are.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Srvwrap, before_exec, pipe, proc, srvwrap, terminal, wait_until};

/// Leaves its pid under the number of its generation, but only when it has been starting for a second: while nothing
/// happens, nothing may be done.
const SLOW: &str = "sleep 1; echo $$ > new; mv new gen$SRVWRAP_GENERATION; echo online >&3; exec sleep 1000";

fn appears(directory: &Path, name: &str) -> i32 {
    let file = directory.join(name);
    wait_until(&format!("a worker leaves {name}"), || file.exists());
    std::fs::read_to_string(file).expect("just seen").trim().parse().expect("a pid")
}

/// Boots, deploys, replaces a worker that was killed, and stops with 0; and is idle in between.
fn supervises(mut srvwrap: Srvwrap, what: &str) {
    let directory = srvwrap.directory.path().to_path_buf();
    let pid = srvwrap.pid() as i32;
    appears(&directory, "gen1");
    srvwrap.signal(Signal::SIGHUP);
    let second = appears(&directory, "gen2");
    wait_until("the old worker is gone", || proc::children(pid) == [second]);

    std::fs::remove_file(directory.join("gen2")).expect("just seen");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(second), Signal::SIGKILL).expect("it is there");
    let third = appears(&directory, "gen2");
    assert_ne!(second, third);
    let ticks = proc::ticks(pid);
    assert!(ticks < 30, "{what}: it used {ticks}0 ms of processor time in three idle seconds");

    let asked = Instant::now();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0, "{what}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{what}: {:?}", asked.elapsed());
}

fn with_stderr(stderr: Stdio) -> Srvwrap {
    srvwrap(["sh", "-c", SLOW]).with(|command| _ = command.stderr(stderr)).start()
}

/// `srvwrap … 2>&1 | head`: what is written finds nobody (EPIPE), and such a pipe is always ready to be written.
#[test]
fn a_pipe_whose_reader_is_gone_stops_nothing_and_keeps_nobody_busy() {
    let (reader, writer) = pipe();
    drop(reader);
    supervises(with_stderr(writer.into()), "a pipe without a reader");
}

/// As that, but a socket, as a service manager may hand in.
#[test]
fn a_socket_whose_peer_is_gone_stops_nothing_and_keeps_nobody_busy() {
    let (reader, writer) = std::os::unix::net::UnixStream::pair().expect("a pair");
    drop(reader);
    supervises(with_stderr(OwnedFd::from(writer).into()), "a socket without a peer");
}

/// The terminal was closed.
#[test]
fn a_terminal_that_is_gone_stops_nothing_and_keeps_nobody_busy() {
    let (master, terminal) = terminal();
    drop(master);
    supervises(with_stderr(terminal.into()), "a terminal that is gone");
}

/// A reader that hangs: the pipe is full from the start, and nothing ever makes room.
#[test]
fn a_pipe_that_nobody_reads_stops_nothing() {
    let (_reader, writer) = pipe();
    let size = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETPIPE_SZ).expect("a pipe");
    let filled = nix::unistd::write(&writer, &vec![b'x'; size as usize]).expect("there is room");
    assert_eq!(filled, size as usize);
    supervises(with_stderr(writer.into()), "a pipe that nobody reads");
}

/// The disk with the log is full.
#[test]
fn a_full_disk_stops_nothing() {
    let full = File::options().write(true).open("/dev/full").expect("every Linux has it");
    supervises(with_stderr(full.into()), "a full disk");
}

/// The log has reached the limit of a file's size: beside an error that is a signal, which ends who does not expect it.
#[test]
fn a_log_that_may_not_grow_stops_nothing() {
    let log = tempfile::tempfile().expect("a temporary file");
    let srvwrap = srvwrap(["sh", "-c", SLOW]).with(|command| {
        command.stderr(log.try_clone().expect("a duplicate"));
        before_exec(command, || {
            let small = libc::rlimit { rlim_cur: 60, rlim_max: libc::RLIM_INFINITY };
            // SAFETY: the limit lives through the call.
            match unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const small) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    });
    supervises(srvwrap.start(), "a file at its limit");
    assert_eq!(log.metadata().expect("open").len(), 60, "it was written until it was full");
}

/// A cron or an init that closes all three.
#[test]
fn closed_streams_stop_nothing() {
    let srvwrap = srvwrap(["sh", "-c", SLOW]).with(|command| {
        before_exec(command, || {
            // SAFETY: takes numbers.
            unsafe {
                libc::close(0);
                libc::close(1);
                libc::close(2);
            }
            Ok(())
        });
    });
    supervises(srvwrap.start(), "closed streams");
}
