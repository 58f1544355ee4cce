//! Whoever takes the lines takes them slowly, or not at all: memory is bounded, and supervision goes on.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::control::get;
use crate::harness::daemon::Home;
use crate::harness::lines::{kept_and_dropped, on_request, request, text_of};
use crate::harness::strace::Strace;
use crate::harness::{command::told, pipe, proc, require, srvwrap, wait_until};

fn resident_kb(pid: i32) -> u64 {
    proc::status(pid, "VmRSS").trim_end_matches(" kB").parse().expect("a number")
}

const FLOOD: &str = "echo online >&3; exec yes flood-flood-flood-flood-flood-flood-flood-flood";

/// One kilobyte is read for each answer, where it is read: slower than any writer.
fn floods(full: &str, is_read: bool) {
    let (reader, writer) = pipe();
    let options = ["--log-format=prefix", "--log-full", full, "-n2", "sh", "-c", FLOOD];
    let mut srvwrap = srvwrap(options).with(|command| _ = command.stdout(writer)).online();
    let mut reader = File::from(reader);
    let mut some = [0; 1024];
    for _ in 0..40 {
        let status = get(&srvwrap, "/status").json();
        assert_eq!(status["workers_online"], 2, "{full}: {status}");
        if is_read {
            reader.read_exact(&mut some).unwrap();
        }
    }
    let resident = resident_kb(srvwrap.pid() as i32);
    assert!(resident < 30_000, "{full}: {resident} kB");
    let asked = Instant::now();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0, "{full}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{full}: {:?}", asked.elapsed());
}

#[test]
fn a_stdout_that_is_read_slowly_keeps_memory_bounded_and_delays_no_stop() {
    floods("block", true);
}

#[test]
fn a_stdout_that_is_read_slowly_while_lines_are_dropped_does_not_either() {
    thread::scope(|scope| {
        scope.spawn(|| floods("drop-new", true));
        scope.spawn(|| floods("drop-old", true));
    });
}

#[test]
fn a_stdout_that_is_never_read_does_not_either() {
    floods("block", false);
}

/// Each write of the log writer takes longer than the test, until it is let go.
#[test]
fn a_slow_disk_holds_up_neither_supervision_nor_workers_whose_lines_may_be_dropped() {
    if !require::attaching() {
        return;
    }
    thread::scope(|scope| {
        for full in ["drop-new", "drop-old", "block"] {
            scope.spawn(move || writes_to_a_slow_disk(full));
        }
    });
}

fn writes_to_a_slow_disk(full: &str) {
    const REQUESTS: usize = 40;
    let home = Home::new();
    let Some(program) = on_request(home.path()) else { return };
    let options = ["-n2", "--stdout=app.log", "--log-full", full, "--max-log-size=0"];
    let daemon =
        home.online(&options.into_iter().chain(program.iter().map(String::as_str)).collect::<Vec<_>>());
    let writer = proc::log_writer(daemon.pid).expect("a daemon has one");
    let strace = Strace::inject(writer, "write", "delay_enter=600000000");
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for _ in 0..REQUESTS {
                for slot in 0..2 {
                    request(home.path(), slot, 500);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        if full == "block" {
            wait_until("they wait", || {
                let before = answered.load(Ordering::SeqCst);
                let asked = Instant::now();
                let status = told(home.path(), &["status"]);
                assert_eq!(status.code, 0, "{status:?}");
                assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
                before > 0 && before == answered.load(Ordering::SeqCst)
            });
            assert!(!asking.is_finished());
        } else {
            asking.join().unwrap();
            let status = told(home.path(), &["status"]).done().join("\n");
            assert!(status.contains(" dropped"), "{full}: {status}");
        }
        drop(strace);
    });
    assert!(resident_kb(daemon.pid) < 30_000, "{full}");
    daemon.stop();
    let (kept, dropped) = kept_and_dropped(&text_of(home.path(), "app.log"));
    assert_eq!(kept + dropped, 2 * REQUESTS * 500, "{full}: {kept} kept, {dropped} dropped");
    assert_eq!(dropped > 0, full != "block", "{full}: {dropped} dropped");
}
