//! Archives of log files: who compresses them may be killed or hang, what lies beside them may be anybody's, and only
//! so many stay.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::harness::daemon::{Daemon, Home};
use crate::harness::lines::{content, files_of, text_of};
use crate::harness::process::state;
use crate::harness::{proc, require, send, wait_until};

/// Writes more than one file of the size below, of what is not soon compressed, and goes on at a file named `more`.
const WRITES: &str = "head -c 14000000 /dev/urandom | base64; : >done; echo online >&3
    until [ -e more ]; do sleep 0.05; done; echo more; exec sleep 1000";

const LARGE: [&str; 4] = ["--max-log-size=16M", "sh", "-c", WRITES];

fn ends_with(home: &Home, end: &str) -> Vec<String> {
    home.names().into_iter().filter(|name| name.starts_with("stdout.log.2") && name.ends_with(end)).collect()
}

/// A daemon whose compressor stands still within its work.
fn stopped_compressor(home: &Home) -> (Daemon, i32) {
    let daemon = home.online(&LARGE);
    let writer = proc::log_writer(daemon.pid).expect("a daemon has one");
    let found = || proc::compressors(writer).first().copied();
    wait_until("an archive is compressed", || found().is_some());
    let compressor = found().unwrap();
    wait_until("it has begun", || !ends_with(home, ".gz.tmp").is_empty());
    send(compressor, Signal::SIGSTOP);
    wait_until("it stands still", || state(compressor) == Some('T'));
    assert_eq!(proc::compressors(writer), [compressor], "there is only one");
    assert_eq!(ends_with(home, ".gz.tmp").len(), 1);
    (daemon, compressor)
}

#[test]
fn a_compressor_that_is_killed_leaves_the_archive_and_nothing_half_made() {
    let home = Home::new();
    let (daemon, compressor) = stopped_compressor(&home);
    send(compressor, Signal::SIGKILL);
    let said = "the compressor was killed by signal 9";
    wait_until("it is said", || home.text("srvwrap.log").contains(said));
    assert_eq!((ends_with(&home, ".gz.tmp").len(), ends_with(&home, "Z").len()), (0, 1));
    daemon.stop();
    let text = text_of(home.path(), "stdout.log");
    fs::remove_file(home.at("done")).unwrap();
    // The next srvwrap compresses what it finds.
    let daemon = home.online(&["sh", "-c", "echo online >&3; exec sleep 1000"]);
    wait_until("it is compressed", || ends_with(&home, ".gz").len() == 1 && ends_with(&home, "Z").is_empty());
    let archive = home.at(&ends_with(&home, ".gz")[0]);
    assert!(Command::new("gzip").arg("-t").arg(&archive).status().unwrap().success());
    daemon.stop();
    assert!(text_of(home.path(), "stdout.log") == text);
}

#[test]
fn a_compressor_that_hangs_delays_no_stop_and_leaves_nothing_half_made() {
    let home = Home::new();
    let (daemon, compressor) = stopped_compressor(&home);
    let asked = Instant::now();
    daemon.stop();
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    // No process of that number is left that has not ended.
    assert!(!crate::harness::is_alive(compressor));
    assert_eq!((ends_with(&home, ".gz.tmp").len(), ends_with(&home, "Z").len()), (0, 1));
    assert!(home.text("srvwrap.log").ends_with("srvwrap: stopped\n"));
}

/// Names that look like archives and are none, beside archives of a run that crashed.
#[test]
fn only_archives_are_removed_and_those_of_a_crashed_run_count_among_them() {
    let stamp = |day: u32| format!("stdout.log.202601{day:02}T100000.123Z");
    let mut others: Vec<String> =
        ["stdout.log.bak", "stdout.log.1", "stdout.log.gz", "stdout.log.20260101", "stdout.log.2.gz"]
            .map(str::to_owned)
            .to_vec();
    others.extend([".gz.bak", ".tmp", "x", ".bz2"].map(|end| format!("{}{end}", stamp(1))));
    others.extend(["stdout.log.20261301T100000.123Z".into(), "xstdout.log.20260101T100000.123Z".into()]);
    let mut home = Home::new();
    for name in &others {
        home = home.file(name, "precious");
    }
    fs::create_dir(home.at(&stamp(2))).unwrap();
    symlink("/etc/passwd", home.at(&stamp(3))).unwrap();
    // Eight archives, of which two are there twice, and a file that was half made.
    for day in 10..18 {
        home = home.file(&stamp(day), &format!("{day}\n"));
    }
    let program = ["sh", "-c", "echo online >&3; exec sleep 1000"];
    let daemon = home.online(&[&["--log-keep=1000"][..], &program].concat());
    wait_until("all are compressed", || (10..18).all(|day| !home.at(&stamp(day)).exists()));
    daemon.stop();
    for day in [10, 17] {
        let packed = home.at(&format!("{}.gz", stamp(day)));
        assert!(Command::new("gunzip").arg("-k").arg(packed).status().unwrap().success());
    }
    let half = format!("{}.gz.tmp", stamp(16));
    let home = home.file(&half, "half");
    let daemon =
        home.online(&[&["--log-keep=3", "--max-log-size=1M", "--log-total=1M"][..], &program].concat());
    let expected: Vec<String> = (15..18).map(|day| format!("{}.gz", stamp(day))).collect();
    let is_archive =
        |name: &String| name.starts_with("stdout.log.2026011") && !name.starts_with("stdout.log.20260101");
    let archives = || home.names().into_iter().filter(is_archive).collect::<Vec<_>>();
    wait_until("three stay, compressed", || archives() == expected);
    daemon.stop();
    for name in &others {
        assert_eq!(home.text(name), "precious", "{name}");
    }
    assert!(home.at(&stamp(2)).is_dir() && home.at(&stamp(3)).is_symlink());
    assert_eq!(content(&home.at(&expected[2])), b"17\n");
}

#[test]
fn archives_have_no_more_bytes_than_they_may() {
    let home = Home::new();
    let program = "head -c 3000000 /dev/urandom | base64; : >done; echo online >&3; exec sleep 1000";
    let options = ["--max-log-size=200k", "--log-total=500k", "--log-keep=1000", "sh", "-c", program];
    let start = || home.online(&options);
    start().stop();
    let daemon = start();
    let total = || {
        let files = files_of(home.path(), "stdout.log");
        let (_, archives) = files.split_last().unwrap();
        archives.iter().filter_map(|file| fs::metadata(file).ok()).map(|found| found.len()).sum::<u64>()
    };
    wait_until("they are few", || total() <= 500 * 1024 && ends_with(&home, "Z").is_empty());
    assert!(total() > 200 * 1024, "and not none: {}", total());
    daemon.stop();
    assert!(total() <= 500 * 1024);
}

#[test]
fn where_no_archive_is_to_be_kept_there_is_only_the_current_file() {
    let home = Home::new();
    let options =
        ["--max-log-size=64k", "--log-keep=0", "sh", "-c", "seq 200000; echo online >&3; exec sleep 1000"];
    home.online(&options).stop();
    assert_eq!(home.names(), ["srvwrap.log", "stderr.log", "stdout.log"]);
    let text = home.text("stdout.log");
    assert!(text.ends_with("\n200000\n") && text.len() <= 64 * 1024, "{}", text.len());
    // Those that went while they were compressed, or were to be, are no trouble.
    assert!(!home.text("srvwrap.log").contains("compress"), "{}", home.text("srvwrap.log"));
}

/// A file of root's, outside of the log directory.
fn outside(home: &Home, name: &str) -> std::path::PathBuf {
    fs::write(home.at(name), "precious\n").unwrap();
    home.at(name)
}

const UID: u32 = 1000;

/// What a worker of user 1000 may put into a log directory of its own, under each name that begins so.
fn plant(home: &Home, logs: &Path, name: &str, which: usize) {
    let path = logs.join(name);
    match which % 5 {
        0 => symlink(home.at("outside"), &path).unwrap(),
        1 => fs::hard_link(home.at("outside"), &path).unwrap(),
        2 => nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap(),
        3 => fs::create_dir(&path).unwrap(),
        _ => symlink(home.at("made"), &path).unwrap(),
    }
}

/// As root, in a directory of the worker's user, who plants something at the names that srvwrap is about to use.
#[test]
fn root_follows_nothing_that_a_worker_has_planted_in_its_log_directory() {
    if !require::root() {
        return;
    }
    let home = Home::new();
    let (precious, logs) = (outside(&home, "outside"), home.at("logs"));
    fs::create_dir(&logs).unwrap();
    chown(&logs, Some(UID), Some(UID)).unwrap();
    // Archives of a run before, whose compressed names are taken already, each by something else; and so are the names
    // under which they are made.
    for (which, end) in (0..5).flat_map(|which| [(which, ".gz"), (which + 5, ".gz.tmp")]) {
        let name = format!("app.log.202601{:02}T100000.123Z", which + 10);
        fs::write(logs.join(&name), format!("{which}\n")).unwrap();
        plant(&home, &logs, &format!("{name}{end}"), which);
    }
    let writes = "echo begun; echo online >&3; until [ -e more ]; do sleep 0.02; done
        seq 60000; : >done; exec sleep 1000";
    let options = ["--stdout=logs/app.log", "--max-log-size=100k", "--log-keep=1000", "sh", "-c", writes];
    let daemon = home.online(&options);
    // The next names: each millisecond of the next half of a second has one.
    let now = std::time::SystemTime::now();
    for ms in 0..500u64 {
        let stamp = humantime_of(now + Duration::from_millis(ms));
        // Some of these are in the past, where an archive may be.
        let name = format!("app.log.{stamp}");
        if !logs.join(&name).exists() {
            plant(&home, &logs, &name, ms as usize);
        }
    }
    fs::write(home.at("more"), "").unwrap();
    wait_until("all is written", || home.at("done").exists());
    wait_until("all is in files", || {
        fs::read_to_string(logs.join("app.log")).is_ok_and(|text| text.ends_with("\n60000\n"))
    });
    // Its own name: what is open is written to, until there is a place for a new one.
    fs::remove_file(logs.join("app.log")).unwrap();
    symlink(home.at("made"), logs.join("app.log")).unwrap();
    daemon.signal(Signal::SIGUSR1);
    let said = "logs/app.log: it is a symbolic link and not a file; it is left alone";
    wait_until("it is refused in a line", || home.text("srvwrap.log").contains(said));
    assert!(daemon.is_alive());
    daemon.stop();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious\n");
    assert_eq!(fs::metadata(&precious).unwrap().uid(), 0);
    assert!(!home.at("made").exists());
}

/// `20261120T100000.123Z`
fn humantime_of(time: std::time::SystemTime) -> String {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
    let date =
        Command::new("date").args(["-u", "-d", &format!("@{}", since.as_secs()), "+%Y%m%dT%H%M%S"]).output();
    format!("{}.{:03}Z", String::from_utf8(date.unwrap().stdout).unwrap().trim(), since.subsec_millis())
}

/// What cannot be a log at the start makes a start impossible, in one line.
#[test]
fn root_starts_nothing_with_a_log_that_is_no_file_of_one_name() {
    if !require::root() {
        return;
    }
    for (which, why) in [
        (0, "it is a symbolic link"),
        (1, "it has another name"),
        (2, "it is a FIFO"),
        (3, "it is a directory"),
    ] {
        let home = Home::new();
        let precious = outside(&home, "outside");
        fs::create_dir(home.at("logs")).unwrap();
        chown(home.at("logs"), Some(UID), Some(UID)).unwrap();
        plant(&home, &home.at("logs"), "app.log", which);
        let returned = home.start(&["--stdout=logs/app.log", "sh", "-c", "echo online >&3; exec sleep 1000"]);
        assert_eq!((returned.code, returned.stderr.lines().count()), (1, 1), "{}", returned.stderr);
        assert!(returned.stderr.contains(why), "{}", returned.stderr);
        assert_eq!(fs::read_to_string(precious).unwrap(), "precious\n");
    }
}
