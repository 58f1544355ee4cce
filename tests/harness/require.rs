//! What a test needs and the machine may not have: skipped loudly, or with `SRVWRAP_TEST_REQUIRE=all` failed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Whether the test can go on. Says what is missing where it cannot.
#[must_use]
pub(crate) fn require(what: &str, there: bool) -> bool {
    if !there {
        let all = std::env::var("SRVWRAP_TEST_REQUIRE").is_ok_and(|value| value == "all");
        assert!(!all, "required and not there: {what}");
        let test = std::thread::current().name().unwrap_or("a test").to_string();
        eprintln!("SKIPPED {test}: {what} is missing");
    }
    there
}

/// Whether this program can be run.
#[must_use]
pub(crate) fn program(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    require(name, std::env::split_paths(&paths).any(|directory| directory.join(name).is_file()))
}

/// Whether a new pid namespace can be made here, so that srvwrap can be process 1.
#[must_use]
pub(crate) fn pid_namespace() -> bool {
    let unshare = Command::new("unshare")
        .args(["--fork", "--pid", "--mount-proc", "--kill-child", "true"])
        .stderr(Stdio::null())
        .status();
    require("the right to make a pid namespace", unshare.is_ok_and(|status| status.success()))
}

/// Whether strace can trace here.
#[must_use]
pub(crate) fn strace() -> bool {
    let strace = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    require("strace, and the right to trace", strace.is_ok_and(|status| status.success()))
}

/// Whether strace can trace a process that runs already.
#[must_use]
pub(crate) fn attaching() -> bool {
    let sleep = Command::new("sleep").arg("1000").spawn();
    let attached = sleep.is_ok_and(|mut sleep| {
        let pid = sleep.id().to_string();
        let strace =
            Command::new("strace").args(["-o", "/dev/null", "-p", &pid]).stderr(Stdio::piped()).spawn();
        let attached = strace.is_ok_and(|mut strace| {
            let mut said = String::new();
            let _ = BufReader::new(strace.stderr.take().expect("piped")).read_line(&mut said);
            // With its process, strace ends too.
            let _ = sleep.kill();
            let _ = sleep.wait();
            let _ = strace.wait();
            said.contains("attached")
        });
        let _ = sleep.kill();
        let _ = sleep.wait();
        attached
    });
    require("strace, and the right to trace a process that runs", attached)
}

#[must_use]
pub(crate) fn root() -> bool {
    require("root", nix::unistd::geteuid().is_root())
}

/// The path of Python itself: what is found by its name may be a slow shell script.
pub(crate) fn python() -> Option<String> {
    static PATH: OnceLock<Option<String>> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        let asked =
            Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
        asked.status.success().then(|| String::from_utf8_lossy(&asked.stdout).trim().to_string())
    });
    require("python3", path.is_some()).then(|| path.clone()).flatten()
}

/// Whether a socket can be bound to an address of IPv6 here.
#[must_use]
pub(crate) fn ipv6() -> bool {
    require("IPv6", std::net::TcpListener::bind("[::1]:0").is_ok())
}

/// Whether a new network namespace can be made here.
#[must_use]
pub(crate) fn network_namespace() -> bool {
    let unshare = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
    require("the right to make a network namespace", unshare.is_ok_and(|status| status.success()))
}

/// Whether Ruby has WEBrick, which shuts its listener down when it stops.
#[must_use]
pub(crate) fn webrick() -> bool {
    let ruby = Command::new("ruby").args(["-e", "require 'webrick'"]).stderr(Stdio::null()).status();
    require("ruby with WEBrick", ruby.is_ok_and(|status| status.success()))
}
