//! The files that systemd is given, judged by systemd. Nothing is started: that takes systemd as process 1.

use std::fs;
use std::process::Command;

use crate::harness::{BINARY, require};

const UNITS: [&str; 2] = ["app.socket", "app.service"];

/// A unit of `packaging/systemd`.
fn unit(name: &str) -> String {
    let path = format!("{}/packaging/systemd/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).expect("it is in the source tree")
}

/// What systemd finds wrong, and whether that is an error to it.
fn verified(change: impl Fn(String) -> String) -> (bool, String) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    for name in UNITS {
        let text = unit(name).replace("/usr/local/bin/srvwrap", BINARY);
        fs::write(directory.path().join(name), change(text)).expect("our own directory");
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--recursive-errors=no"]);
    let told = command.args(UNITS.map(|name| directory.path().join(name))).output().expect("it is there");
    let told_about_ours = String::from_utf8_lossy(&told.stderr).into_owned();
    (told.status.success(), told_about_ours)
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    if !require::program("systemd-analyze") {
        return;
    }
    assert_eq!(verified(|text| text), (true, String::new()));
    // It does look.
    let (_, told) = verified(|text| text.replace("Type=notify", "Type=nonsense"));
    assert!(told.contains("nonsense"), "{told}");
    let (good, told) = verified(|text| text.replace(BINARY, "/nowhere/srvwrap"));
    assert!(!good && told.contains("/nowhere/srvwrap"), "{told}");
}

#[test]
fn the_service_takes_from_its_processes_what_a_server_does_not_need() {
    let service = unit("app.service");
    for line in [
        "CapabilityBoundingSet=",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "ProtectClock=yes",
        "ProtectKernelLogs=yes",
        "ProtectHostname=yes",
        "UMask=0077",
    ] {
        assert!(service.lines().any(|found| found == line), "{line}");
    }
    assert!(
        service.lines().any(|line| line.starts_with("#ExecStart=") && line.contains("--protocol systemd"))
    );
}

/// The margin for KILL and for the end of the logs is in what srvwrap asks for; the commands are ones that it has.
#[test]
fn the_service_has_the_commands_of_this_version() {
    let service = unit("app.service");
    for words in [
        "ExecStart=/usr/local/bin/srvwrap -n auto --socket ",
        "ExecReload=/usr/local/bin/srvwrap deploy --socket ",
    ] {
        assert!(service.lines().any(|line| line.starts_with(words)), "{words}");
    }
}
