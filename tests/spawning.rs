//! Programs that cannot be executed, told apart from programs that end at once; and arguments, byte for byte.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::strace::{lines_with, traced};
use crate::harness::{is_alive, proc, require, srvwrap, wait_until, worker_of};

/// A program that is there and serves, until a test takes it away.
const SERVES: &str = "#!/bin/sh\necho online >&3\nexec sleep 1000\n";

fn executable(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("our directory");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("our file");
}

/// Every way in which exec fails at boot: the one line names what was done, to which path, and why; the exit code is
/// a shell's.
#[test]
fn a_program_that_cannot_be_executed_is_told_by_stage_path_and_reason() {
    let cases = [
        ("no-such-program", 127, "cannot find program no-such-program in PATH"),
        ("./no-such-file", 127, "cannot execute ./no-such-file: No such file or directory"),
        ("./file/below", 126, "cannot execute ./file/below: Not a directory"),
        ("./file", 126, "cannot execute ./file: Permission denied"),
        ("./directory", 126, "cannot execute ./directory: it is a directory"),
        (
            "./garbage",
            126,
            "cannot execute ./garbage: Exec format error (a script has to begin with #! and its interpreter)",
        ),
        ("./loop", 126, "cannot execute ./loop: Too many levels of symbolic links"),
        ("./orphan", 126, "cannot execute ./orphan: its interpreter /no/such/interpreter is missing"),
        ("orphan", 127, "cannot find program orphan in PATH, but ./orphan exists"),
    ];
    for (program, code, words) in cases {
        let starting = srvwrap(["-n", "3", program])
            .file("file", "not executable\n")
            .file("orphan", "#!/no/such/interpreter -x\n");
        std::fs::create_dir(starting.path().join("directory")).expect("our directory");
        executable(&starting.path().join("garbage"), b"echo a shell has run this > fallback\n");
        symlink("loop", starting.path().join("loop")).expect("our directory");
        let mut srvwrap = starting.start();
        assert_eq!(srvwrap.exit_code(), code, "{program}: {}", srvwrap.log());
        let line = srvwrap.log();
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.starts_with("srvwrap: cannot start: worker ") && line.ends_with(words), "{line}");
        assert!(
            !srvwrap.directory.path().join("fallback").exists(),
            "what is no program was given to a shell"
        );
    }
}

/// With `--ready exec` being executed is being online, so the failure to execute must not be taken for it: neither
/// at boot, nor where the first of several reads of the pipe has already brought the reason.
#[test]
fn a_program_that_cannot_be_executed_is_never_online() {
    let garbage = srvwrap(["--ready", "exec", "-n", "8", "./garbage"]);
    executable(&garbage.path().join("garbage"), b"\x00");
    for (starting, code) in
        [(srvwrap(["--ready", "exec", "-n", "8", "no-such-program"]), 127), (garbage, 126)]
    {
        let (ended_with, log) = starting.run();
        assert_eq!(ended_with, code, "{log}");
        assert!(!log.contains("online"), "{log}");
    }
}

/// The release is gone at the next deploy, and at the next crash: each is told with its path, nobody stays a zombie,
/// and the slot is filled again once the program is back.
#[test]
fn a_program_that_has_gone_fails_the_deploy_and_comes_back_by_itself() {
    let mut srvwrap = srvwrap(["-n", "2", "./app"]).file("app", SERVES).online();
    let before = srvwrap.worker_pids();
    let (app, away) = (srvwrap.directory.path().join("app"), srvwrap.directory.path().join("away"));
    std::fs::rename(&app, &away).expect("our directory");

    srvwrap.signal(Signal::SIGHUP);
    let line = srvwrap.wait_for("deploy 2 failed: ");
    assert!(line.contains("cannot execute ./app: No such file or directory; generation 1 keeps"), "{line}");
    let pid = srvwrap.pid() as i32;
    wait_until("only the old workers are children", || proc::children(pid).len() == 2);
    assert_eq!(srvwrap.worker_pids(), before);

    nix::sys::signal::kill(nix::unistd::Pid::from_raw(before[&0]), Signal::SIGKILL).expect("it is there");
    let line = srvwrap.wait_for("worker 0: cannot execute");
    assert!(line.contains("cannot execute ./app: No such file or directory; retrying in "), "{line}");
    std::fs::rename(&away, &app).expect("our directory");
    srvwrap.wait_for(" online after ");
    assert_eq!(proc::children(pid).len(), 2, "{}", srvwrap.log());
    assert!(is_alive(before[&1]), "the other slot was not touched");
    srvwrap.stop();
}

/// The directory that srvwrap was started in is gone: a stage before exec, of which the path is named.
#[test]
fn a_directory_that_has_gone_is_named_and_waited_for() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("release");
    std::fs::create_dir(&directory).expect("our directory");
    let mut srvwrap = srvwrap(["sh", "-c", "echo online >&3; exec sleep 1000"])
        .with(|command| _ = command.current_dir(&directory).env("PWD", &directory))
        .online();
    std::fs::remove_dir_all(&directory).expect("our directory");
    srvwrap.signal(Signal::SIGHUP);
    let line = srvwrap.wait_for("deploy 2 failed: ");
    let words = format!("cannot change directory to {}: No such file or directory", directory.display());
    assert!(line.contains(&words), "{line}");
    std::fs::create_dir(&directory).expect("our directory");
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 3 done");
    srvwrap.stop();
}

/// The kernel limits arguments and environment together by the stack's limit, which may shrink while srvwrap runs.
#[test]
fn too_large_an_environment_is_told_as_that() {
    let mut srvwrap = srvwrap(["sh", "-c", "echo online >&3; exec sleep 1000"])
        .env("LARGE_0", "x".repeat(100_000))
        .env("LARGE_1", "x".repeat(100_000))
        .online();
    let limit = libc::rlimit { rlim_cur: 64 * 1024, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the new limit lives through the call, and the old one is not asked for.
    let lowered = unsafe {
        let pid = srvwrap.pid() as i32;
        let mut old: libc::rlimit = std::mem::zeroed();
        libc::prlimit(pid, libc::RLIMIT_STACK, std::ptr::null(), &raw mut old);
        let limit = libc::rlimit { rlim_max: old.rlim_max, ..limit };
        libc::prlimit(pid, libc::RLIMIT_STACK, &raw const limit, std::ptr::null_mut())
    };
    assert_eq!(lowered, 0);
    srvwrap.signal(Signal::SIGHUP);
    let line = srvwrap.wait_for("deploy 2 failed: ");
    assert!(
        line.contains("worker 0: cannot execute ") && line.contains(": Argument list too long"),
        "{line}"
    );
    srvwrap.stop();
}

/// 127 and 126 are what failed shells say, and 1 is what everybody says: an exit within a millisecond is still an
/// exit, whoever else dies at that moment.
#[test]
fn twenty_five_programs_that_end_at_once_are_told_as_exits() {
    for status in ["127", "126", "1"] {
        let script = format!("[ -e fail ] && exit {status}; echo online >&3; exec sleep 1000");
        let mut srvwrap = srvwrap(["-n", "25", "sh", "-c", &script]).online();
        std::fs::write(srvwrap.directory.path().join("fail"), "").expect("our directory");
        for pid in srvwrap.worker_pids().into_values() {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
        }
        let words = format!("exited with status {status} while starting");
        let lines = srvwrap.wait_for_times(&words, 25);
        let slots: std::collections::BTreeSet<u32> =
            lines.iter().map(|line| worker_of(line).expect("named").0).collect();
        assert!(slots.len() > 10, "{lines:?}");
        assert!(!srvwrap.has_said("cannot execute"), "{}", srvwrap.log());
        srvwrap.stop();
    }
}

/// At boot too, where 127 would be srvwrap's own word for a program that is not there.
#[test]
fn a_first_worker_that_exits_with_127_is_an_exit_and_not_a_missing_program() {
    for status in ["127", "126", "1"] {
        let (code, log) = srvwrap(["-n", "4", "sh", "-c", &format!("exit {status}")]).run();
        assert_eq!(code, 1, "{log}");
        assert!(log.contains(&format!("exited with status {status} while starting")), "{log}");
    }
}

/// What looks like our own options, what is empty, and what is no text belongs to the program.
#[test]
fn arguments_of_the_program_arrive_byte_for_byte() {
    let odd: [&[u8]; 9] =
        [b"-h", b"--version", b"--", b"", b"-n", b"a  b", b"100%\n=", b"\xff\xfe", b"'\"$HOME\\"];
    let script = "echo online >&3; while :; do sleep 1000; done";
    let mut arguments: Vec<OsString> = ["--", "sh", "-c", script, ""].map(OsString::from).to_vec();
    arguments.extend(odd.iter().map(|bytes| OsStr::from_bytes(bytes).to_owned()));
    let mut srvwrap = srvwrap(arguments.clone()).online();
    let pid = srvwrap.worker_pids()[&0];
    let expected: Vec<Vec<u8>> = arguments[1..].iter().map(|word| word.as_bytes().to_vec()).collect();
    assert_eq!(proc::arguments(pid), expected);
    srvwrap.stop();
}

/// Behind the two dashes even a program's name may look like an option.
#[test]
fn a_program_named_like_an_option_is_looked_for() {
    for name in ["-h", "--version", "-n4"] {
        let (code, log) = srvwrap(["--", name]).run();
        assert_eq!(code, 127, "{log}");
        assert!(log.contains(&format!("cannot find program {name} in PATH")), "{log}");
    }
}

/// A number that is closed twice is, the second time, somebody else's descriptor.
#[test]
fn no_descriptor_is_closed_twice_when_exec_fails() {
    if !require::strace() {
        return;
    }
    let address = ["-p", "127.0.0.1:0", "-p", "unix:app.sock", "-n", "3"];
    let (starting, report) = traced(
        srvwrap(address.into_iter().chain(["./app"])).file("app", SERVES),
        &["-f", "-e", "trace=close,dup2,dup3,close_range"],
    );
    let mut srvwrap = starting.online();
    let app = srvwrap.directory.path().join("app");
    std::fs::remove_file(&app).expect("our directory");
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 failed: ");
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(!lines_with(&report, "close(").is_empty(), "it was traced");
    let faults = lines_with(&report, "EBADF");
    assert!(faults.is_empty(), "{faults:?}");
}
