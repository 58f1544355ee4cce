//! Each step of a rotation fails for a while, with strace: nothing is lost, overwritten or left behind, and it goes on.

use std::fs;
use std::path::Path;

use crate::harness::daemon::Home;
use crate::harness::lines::{assert_complete, files_of, on_request, request, text_of};
use crate::harness::strace::Strace;
use crate::harness::{proc, require, wait_until};

const SOME: usize = 400;

/// Calls of the log writer and of its compressors, and how they fail, one after the other. With
/// `SRVWRAP_TEST_FAULTS="write:EIO fsync:EIO"` those and no others.
fn fails(faults: &[(&str, &str)]) {
    let home = Home::new();
    if !require::attaching() {
        return;
    }
    let Some(program) = on_request(home.path()) else { return };
    let options = ["-n1", "--stdout=logs/app.log", "--max-log-size=20k", "--log-keep=10000"];
    let daemon =
        home.online(&options.into_iter().chain(program.iter().map(String::as_str)).collect::<Vec<_>>());
    let logs = home.at("logs");
    let from_environment = std::env::var("SRVWRAP_TEST_FAULTS").unwrap_or_default();
    let mut chosen: Vec<(&str, &str)> =
        from_environment.split(' ').filter_map(|fault| fault.split_once(':')).collect();
    if chosen.is_empty() {
        chosen = faults.to_vec();
    }
    for (calls, error) in chosen {
        let report = home.at("strace.out");
        let writer = proc::log_writer(daemon.pid).expect("a daemon has one");
        let strace = Strace::inject_in_all(writer, calls, &format!("error={error}"), &report);
        request(home.path(), 0, SOME);
        // Where no write goes through, what waits has to fit into memory.
        let failing = || fs::read_to_string(&report).unwrap_or_default().contains("(INJECTED)");
        wait_until(&format!("{calls} fails"), || {
            let fails = failing();
            if !fails && calls != "write" {
                request(home.path(), 0, SOME);
            }
            fails
        });
        request(home.path(), 0, SOME);
        assert_archives_have_text(&logs, calls);
        assert!(proc::log_writer(daemon.pid) == Some(writer), "it has died of {error} in {calls}");
        drop(strace);
        request(home.path(), 0, SOME);
    }
    let mut lines = 0;
    wait_until("it rotates again", || {
        lines = request(home.path(), 0, SOME);
        files_of(&logs, "app.log").len() > 5
    });
    wait_until("all archives are compressed", || {
        let is_packed = |file: &std::path::PathBuf| file.extension().is_some_and(|found| found == "gz");
        files_of(&logs, "app.log").iter().all(|file| file.ends_with("app.log") || is_packed(file))
    });
    daemon.stop();
    let names: Vec<String> =
        files_of(&logs, "app.log").iter().map(|file| file.display().to_string()).collect();
    assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    assert_archives_have_text(&logs, "all");
    assert_complete(&text_of(&logs, "app.log"), &["0.1"], lines);
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
