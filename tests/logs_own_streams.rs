//! srvwrap's own stdout and stderr, where what workers write goes through srvwrap: closed, full, gone, slow, a
//! terminal, a journal.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::harness::control::get;
use crate::harness::terminal::in_terminal;
use crate::harness::{BINARY, Srvwrap, pipe, send, srvwrap, wait_until};

/// Writes 20000 lines on both streams, then makes the file `done`.
const WRITES: &str = "echo online >&3; i=0
    while [ $i -lt 20000 ]; do i=$((i + 1)); echo \"out $i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"; done
    : >done; exec sleep 1000";

fn assert_lives(mut srvwrap: Srvwrap) -> String {
    assert_eq!(get(&srvwrap, "/status").status, 200);
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0, "{}", srvwrap.log());
    srvwrap.log()
}

#[test]
fn a_stdout_that_was_closed_at_the_start_stops_nobody() {
    for format in ["plain", "prefix", "json"] {
        let options =
            [format!("--log-format={format}"), "-n1".into(), "sh".into(), "-c".into(), WRITES.into()];
        let starting = srvwrap(options).with(|command| {
            crate::harness::before_exec(command, || {
                // SAFETY: a system call on a number.
                unsafe { libc::close(1) };
                Ok(())
            });
        });
        let srvwrap = starting.online();
        wait_until("all is written", || srvwrap.path().join("done").exists());
        assert_lives(srvwrap);
    }
}

/// With `block` its writers wait, as they do for a disk that is full; the others, and srvwrap, do not.
#[test]
fn a_stdout_on_a_full_disk_is_a_reason_to_wait_or_to_drop_and_none_to_end() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for format in ["--log-format=prefix", "--log-format=json"] {
        let starting = srvwrap([format, "--log-full=drop-new", "-n1", "sh", "-c", WRITES]);
        let srvwrap = starting.with(|command| _ = command.stdout(full())).online();
        wait_until("all is written", || srvwrap.path().join("done").exists());
        let log = assert_lives(srvwrap);
        assert!(log.contains("were dropped: the disk was full"), "{log}");

        let starting = srvwrap_blocking(format);
        let srvwrap = starting.with(|command| _ = command.stdout(full())).online();
        let done = srvwrap.path().join("done");
        assert!(!done.exists());
        let log = assert_lives(srvwrap);
        assert!(log.contains("were dropped: the disk was full"), "{log}");
    }
}

fn srvwrap_blocking(format: &str) -> crate::harness::Starting {
    srvwrap([format, "-n1", "sh", "-c", WRITES])
}

/// Who reads srvwrap's stdout has stopped to: what cannot be written is lost in the end, and that is said.
#[test]
fn what_nobody_has_read_of_stdout_when_srvwrap_ends_is_counted() {
    let (reader, writer) = pipe();
    let same = writer.try_clone().unwrap();
    let starting = srvwrap(["--log-format=prefix", "-n1", "sh", "-c", WRITES]);
    let mut srvwrap = starting.with(|command| _ = command.stdout(writer)).online();
    // Nobody reads it, so once it is full it stays so. What is in the worker's pipe after that can only be lost.
    wait_until("srvwrap's stdout is full", || !takes_more(&same));
    drop(same);
    let pid = srvwrap.worker_pids()[&0];
    let own = File::options().write(true).open(format!("/proc/{pid}/fd/1")).unwrap();
    wait_until("the worker's pipe is full", || !takes_more(&own));
    drop(own);
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    let log = srvwrap.log();
    drop(srvwrap);
    let line = log.lines().find(|line| line.contains(" dropped: stdout was not read"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    let dropped: usize = line.split(" | ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).unwrap();
    let whole: Vec<&str> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
    for (at, line) in whole.iter().enumerate() {
        assert!(line.contains(&format!(" | out {} x", at + 1)), "{line}");
    }
    assert!(dropped > 100 && whole.len() + dropped <= 20_001, "{dropped} and {}", whole.len());
}

fn takes_more(pipe: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
    poll(&mut polled, PollTimeout::ZERO).unwrap() == 1
}

/// A reader that only begins when srvwrap has been told to stop has everything that workers have written until then,
/// also what was not read from their pipes.
#[test]
fn a_reader_that_comes_late_has_all_that_was_written() {
    let (reader, writer) = pipe();
    let program = COUNTS.replace("WAITS", "os.path.exists('enough')");
    let starting = srvwrap(["--log-format=prefix", "-n8", "python3", "-c", &program]);
    let mut srvwrap = starting.with(|command| _ = command.stdout(writer)).online();
    srvwrap.touch("enough");
    let counted = |slot: u32| fs::read_to_string(srvwrap.path().join(format!("count.{slot}"))).ok();
    wait_until("all have counted", || {
        (0..8).all(|slot| counted(slot).is_some_and(|text| text.ends_with('.')))
    });
    let counts: Vec<usize> =
        (0..8).map(|slot| counted(slot).unwrap().trim_end_matches('.').parse().unwrap()).collect();
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.wait_for("TERM: stopping");
    let reading = thread::spawn(move || {
        let lines = BufReader::with_capacity(1 << 20, File::from(reader)).lines().map_while(Result::ok);
        let mut found = [0usize; 8];
        for line in lines {
            let slot: usize = line.split(" | ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
            found[slot] += 1;
        }
        found.to_vec()
    });
    assert_eq!(srvwrap.exit_code(), 0);
    drop(srvwrap);
    assert_eq!(reading.join().unwrap(), counts);
}

/// Writes lines as long as its stdout takes them, and in the end how many there were.
pub(crate) const COUNTS: &str = "
import os, signal, time
slot = os.environ['SRVWRAP_SLOT']
os.set_blocking(1, False)
os.write(3, b'online\\n')
count = 0
line = (slot + ' ').encode() + b'x' * 4000 + b'\\n'
while True:
    try:
        os.write(1, line)
        count += 1
    except BlockingIOError:
        if WAITS:
            break
        time.sleep(0.01)
open('count.' + slot, 'w').write(str(count) + '.')
while True:
    signal.pause()
";

/// A terminal's prefix has a colour for each slot, and nothing else has one.
#[test]
fn a_prefix_has_colours_on_a_terminal_alone_and_not_where_they_are_not_wanted() {
    let program = "echo words; echo online >&3; exec sleep 1000";
    for (name, value, coloured) in
        [("TERM", "xterm", true), ("NO_COLOR", "1", false), ("NO_COLOR", "", true), ("TERM", "dumb", false)]
    {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(BINARY);
        command.args(["--log-format=prefix", "-n1", "sh", "-c", program]).current_dir(directory.path());
        command.env("PWD", directory.path()).env_remove("WEB_CONCURRENCY").env_remove("NO_COLOR");
        command.env("TERM", "xterm").env(name, value);
        let mut terminal = in_terminal(command);
        terminal.wait_for("workers online: 1");
        wait_until("it has written", || terminal.text().contains(" words\r"));
        let line =
            terminal.text().lines().find(|line| line.trim_end().ends_with(" words")).unwrap().to_owned();
        assert_eq!(line.contains('\u{1b}'), coloured, "{name}={value}: {line:?}");
        terminal.press("\x03");
        assert_eq!(terminal.exit_code(), 0);
    }
    let log =
        srvwrap(["--log-format=prefix", "-n1", "sh", "-c", program]).env("TERM", "xterm").online().stop();
    assert!(log.contains("sh.0 | words") && !log.contains('\u{1b}'), "{log}");
}

/// Under nohup srvwrap lives on when its terminal is closed: nobody reads what is written there.
#[test]
fn a_terminal_that_is_gone_takes_nobody_with_it_under_nohup() {
    let directory = tempfile::tempdir().unwrap();
    let line = "trap '' HUP; exec \"$0\" --log-format=prefix -n1 sh -c \"$1\"";
    let program =
        "echo online >&3; until [ -e go ]; do sleep 0.02; done; seq 20000; : >done; exec sleep 1000";
    let mut command = Command::new("sh");
    command.args(["-c", line, BINARY, program]).current_dir(directory.path()).env("PWD", directory.path());
    command.env_remove("WEB_CONCURRENCY");
    let mut terminal = in_terminal(command);
    terminal.wait_for("workers online: 1");
    terminal.hang_up();
    fs::write(directory.path().join("go"), "").unwrap();
    wait_until("it writes, to nobody", || directory.path().join("done").exists());
    send(terminal.pid(), Signal::SIGTERM);
    assert_eq!(terminal.exit_code(), 0);
}

/// 3 for what failed, 4 for what an operator should look at, 6 for the rest.
#[test]
fn a_journal_has_the_priority_of_each_notice() {
    let (reader, writer) = pipe();
    let found = File::from(reader.try_clone().unwrap()).metadata().unwrap();
    let program = "[ -e bad ] && exit 3; echo online >&3; exec sleep 1000";
    let starting = srvwrap(["-n1", "sh", "-c", program])
        .env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino()));
    let srvwrap = starting.with(|command| _ = command.stderr(writer)).start();
    let mut lines = BufReader::new(File::from(reader)).lines().map_while(Result::ok);
    let mut next = |words: &str| lines.find(|line| line.contains(words)).expect("it is said");
    assert!(next("workers online").starts_with("<6>srvwrap: "));
    srvwrap.signal(Signal::SIGUSR2);
    assert!(next("USR2 ignored").starts_with("<4>srvwrap: "));
    srvwrap.touch("bad");
    srvwrap.signal(Signal::SIGHUP);
    assert!(next("deploy 2 failed").starts_with("<3>srvwrap: "));
}
