//! Each step of a rotation fails for a while, with strace: nothing is lost, overwritten or left behind, and it goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use crate::harness::daemon::{Daemon, Home};
use crate::harness::lines::{assert_complete, files_of, on_request, request, text_of};
use crate::harness::strace::{Strace, lines_with};
use crate::harness::{proc, require, wait_until};

const SOME: usize = 400;

/// What a fault is tried on: a worker that writes on request, to a log that is rotated often.
fn writing(home: &Home) -> Option<Daemon> {
    if !require::attaching() {
        return None;
    }
    let program = on_request(home.path())?;
    let options = ["-n1", "--stdout=logs/app.log", "--max-log-size=20k", "--log-keep=10000"];
    Some(home.online(&options.into_iter().chain(program.iter().map(String::as_str)).collect::<Vec<_>>()))
}

/// Calls of the log writer and of its compressors, and how they fail: side by side, since what takes time is waiting
/// until a step is tried again. With `SRVWRAP_TEST_FAULTS="write:EIO fsync:EIO"` those and no others.
fn fails(faults: &[(&str, &str)]) {
    let from_environment = std::env::var("SRVWRAP_TEST_FAULTS").unwrap_or_default();
    let mut chosen: Vec<(&str, &str)> =
        from_environment.split(' ').filter_map(|fault| fault.split_once(':')).collect();
    if chosen.is_empty() {
        chosen = faults.to_vec();
    }
    thread::scope(|scope| {
        for (calls, error) in chosen {
            scope.spawn(move || fails_for_a_while(calls, error));
        }
    });
}

fn fails_for_a_while(calls: &str, error: &str) {
    let home = Home::new();
    let Some(daemon) = writing(&home) else { return };
    let (logs, report) = (home.at("logs"), home.at("strace.out"));
    let writer = proc::log_writer(daemon.pid).expect("a daemon has one");
    let strace = Strace::inject_in_all(writer, calls, &format!("error={error}"), &report);
    request(home.path(), 0, SOME);
    // Where no write goes through, what waits has to fit into memory; and what has failed may not be in the report yet.
    let mut more = if calls == "write" { 0 } else { 2 };
    let failing = || fs::read_to_string(&report).unwrap_or_default().contains("(INJECTED)");
    wait_until(&format!("{calls} fails"), || {
        let fails = failing();
        if !fails && more > 0 {
            more -= 1;
            request(home.path(), 0, SOME);
        }
        fails
    });
    request(home.path(), 0, SOME);
    assert_archives_have_text(&logs, calls);
    assert!(proc::log_writer(daemon.pid) == Some(writer), "it has died of {error} in {calls}");
    drop(strace);
    let mut lines = 0;
    wait_until("it rotates again", || {
        lines = request(home.path(), 0, SOME);
        files_of(&logs, "app.log").len() > 5
    });
    wait_until("all archives are compressed", || all_are_compressed(&logs));
    is_all_there(&home, daemon, lines);
}

fn all_are_compressed(logs: &Path) -> bool {
    let is_packed = |file: &PathBuf| file.extension().is_some_and(|found| found == "gz");
    files_of(logs, "app.log").iter().all(|file| file.ends_with("app.log") || is_packed(file))
}

fn is_all_there(home: &Home, daemon: Daemon, lines: usize) {
    let logs = home.at("logs");
    daemon.stop();
    let files = files_of(&logs, "app.log");
    let is_scratch = |file: &PathBuf| file.extension().is_some_and(|found| found == "tmp");
    assert!(!files.iter().any(is_scratch), "{files:?}");
    assert_archives_have_text(&logs, "all");
    assert_complete(&text_of(&logs, "app.log"), &["0.1"], lines);
}

/// A kernel, or a file system, that does not know how to rename without replacing; nor, the last one, how to link.
#[test]
fn where_there_is_no_rename_that_spares_what_is_there_it_rotates_all_the_same() {
    thread::scope(|scope| {
        for (calls, error) in
            [("renameat2", "ENOSYS"), ("renameat2", "EINVAL"), ("renameat2,linkat,link", "ENOSYS")]
        {
            scope.spawn(move || {
                let home = Home::new();
                let Some(daemon) = writing(&home) else { return };
                let (logs, report) = (home.at("logs"), home.at("strace.out"));
                let writer = proc::log_writer(daemon.pid).expect("a daemon has one");
                let strace = Strace::inject_in_all(writer, calls, &format!("error={error}"), &report);
                let mut lines = 0;
                // Under that, so that nothing but the other ways can have done it.
                wait_until("it rotates and compresses", || {
                    if files_of(&logs, "app.log").len() <= 5 {
                        lines = request(home.path(), 0, SOME);
                    }
                    files_of(&logs, "app.log").len() > 5 && all_are_compressed(&logs)
                });
                assert!(lines_with(&report, "(INJECTED)").len() >= 10, "of an archive two names are new");
                drop(strace);
                let notices = home.text("srvwrap.log");
                assert!(!notices.contains("cannot"), "{notices}");
                is_all_there(&home, daemon, lines);
            });
        }
    });
}

#[test]
fn where_writing_and_renaming_fail_every_line_is_there_and_it_goes_on() {
    fails(&[
        ("write", "ENOSPC"),
        ("renameat2", "EROFS"),
        ("renameat2", "EINVAL"),
        ("renameat2,linkat,link", "EIO"),
    ]);
}

#[test]
fn where_opening_and_looking_fail_every_line_is_there_and_it_goes_on() {
    fails(&[("openat", "EACCES"), ("getdents64", "EIO"), ("fstat,statx,newfstatat,lstat", "EIO")]);
}

#[test]
fn where_compressing_fails_every_line_is_there_and_it_goes_on() {
    fails(&[("fsync", "EDQUOT"), ("unlink,unlinkat", "EACCES"), ("clone,clone3,fork,vfork", "EAGAIN")]);
}

fn assert_archives_have_text(logs: &Path, when: &str) {
    for file in files_of(logs, "app.log").iter().filter(|file| !file.ends_with("app.log")) {
        let is_scratch = file.extension().is_some_and(|found| found == "tmp");
        // It may be gone by now: compressed, or a scratch file.
        let bytes = fs::metadata(file).map_or(1, |found| found.len());
        assert!(is_scratch || bytes > 0, "{when}: {} is empty", file.display());
    }
}
