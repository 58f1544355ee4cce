//! Each step of a rotation fails for a while, with strace: nothing is lost, overwritten or left behind, and it goes on.

use std::fs;
use std::path::Path;

use crate::harness::daemon::Home;
use crate::harness::lines::{assert_complete, files_of, on_request, request, text_of};
use crate::harness::strace::Strace;
use crate::harness::{proc, require, wait_until};

/// Calls of the log writer and of its compressors, and how they fail.
const FAULTS: [(&str, &str); 11] = [
    ("write", "ENOSPC"),
    ("openat", "EACCES"),
    ("renameat2", "EROFS"),
    ("renameat2", "EINVAL"),
    ("renameat2,linkat,link", "EIO"),
    ("getdents64", "EIO"),
    ("fsync", "EDQUOT"),
    ("fstat,statx,newfstatat,lstat", "EIO"),
    ("unlink,unlinkat", "EACCES"),
    ("fchmod,utimensat", "EIO"),
    ("clone,clone3,fork,vfork", "EAGAIN"),
];

const SOME: usize = 400;

/// With `SRVWRAP_TEST_FAULTS="write:EIO fsync:EIO"` those and no others.
#[test]
fn whatever_step_of_a_rotation_fails_every_line_is_there_and_it_goes_on() {
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
    let mut faults: Vec<(&str, &str)> =
        from_environment.split(' ').filter_map(|fault| fault.split_once(':')).collect();
    if faults.is_empty() {
        faults = FAULTS.to_vec();
    }
    let mut lines = 0;
    for (calls, error) in faults {
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
        lines = request(home.path(), 0, SOME);
    }
    wait_until("all archives are compressed", || {
        let files = files_of(&logs, "app.log");
        files.len() > 5
            && files
                .iter()
                .all(|file| file.ends_with("app.log") || file.extension().is_some_and(|found| found == "gz"))
    });
    daemon.stop();
    let names: Vec<String> =
        files_of(&logs, "app.log").iter().map(|file| file.display().to_string()).collect();
    assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    assert_archives_have_text(&logs, "all");
    assert_complete(&text_of(&logs, "app.log"), &["0.1"], lines);
}

fn assert_archives_have_text(logs: &Path, when: &str) {
    for file in files_of(logs, "app.log").iter().filter(|file| !file.ends_with("app.log")) {
        let is_scratch = file.extension().is_some_and(|found| found == "tmp");
        // It may be gone by now: compressed, or a scratch file.
        let bytes = fs::metadata(file).map_or(1, |found| found.len());
        assert!(is_scratch || bytes > 0, "{when}: {} is empty", file.display());
    }
}
