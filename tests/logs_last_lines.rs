//! What a worker that failed wrote last: shown to whoever waits for it, wherever srvwrap reads it, and not again and
//! again.

use crate::harness::command::told;
use crate::harness::control::{get, post};
use crate::harness::daemon::Home;
use crate::harness::{srvwrap, wait_until};

/// From the second generation on it fails; its last words have no newline.
const FAILS: &str = "[ $SRVWRAP_GENERATION = 1 ] && { echo online >&3; exec sleep 1000; }
    echo no database >&2; printf 'give it one' >&2; exit 3";

#[test]
fn a_deploy_that_fails_shows_its_caller_what_the_worker_wrote_last() {
    let home = Home::new();
    let daemon = home.online(&["-n1", "sh", "-c", FAILS]);
    for options in [&[][..], &["--quiet"]] {
        let told = told(home.path(), &[&["deploy"], options].concat());
        assert_eq!(told.code, 1, "{told:?}");
        let shown = told.stdout.iter().chain(&told.stderr);
        let shown: Vec<&String> = shown.filter(|line| line.contains("no database")).collect();
        assert_eq!(shown.len(), 1, "{options:?}: {told:?}");
        let mut shown = told.stdout.iter().chain(&told.stderr);
        assert!(shown.any(|line| line.contains("give it one")), "{told:?}");
    }
    let told = told(home.path(), &["deploy", "--json"]);
    let last: serde_json::Value = serde_json::from_str(told.stdout.last().unwrap()).unwrap();
    assert_eq!(last["stderr"], serde_json::json!(["no database", "give it one"]), "{told:?}");
    daemon.stop();
}

#[test]
fn a_worker_that_is_late_has_written_why_as_well() {
    let home = Home::new();
    let program = "echo waiting for the database >&2; exec sleep 1000";
    for options in [&["-n1"][..], &["-n1", "--quiet"], &["-n1", "--json"]] {
        let returned = home.start(&[options, &["--online-timeout=1s", "sh", "-c", program]].concat());
        assert_ne!(returned.code, 0);
        let shown = format!("{}{}", returned.stdout, returned.stderr);
        assert!(shown.contains("waiting for the database"), "{options:?}: {shown}");
    }
    let mut run = srvwrap(["--stderr=errors", "-n1", "--online-timeout=1s", "sh", "-c", program]).start();
    assert_ne!(run.exit_code(), 0);
    assert!(run.log().contains(") wrote: waiting for the database"), "{}", run.log());
}

/// It was online before, and now fails to come back: the same words are told once, however often it tries.
#[test]
fn a_crash_loop_tells_the_same_words_once() {
    let program = "[ -e bad ] || { echo online >&3; until [ -e bad ]; do sleep 0.02; done; exit 3; }
        cat bad >&2; echo x >> tries; exit 3";
    let mut srvwrap = srvwrap(["--stderr=errors", "-n1", "sh", "-c", program]).online();
    std::fs::write(srvwrap.path().join("new"), "no database\n").unwrap();
    std::fs::rename(srvwrap.path().join("new"), srvwrap.path().join("bad")).unwrap();
    srvwrap.wait_until_said("while starting", 3);
    assert_eq!(srvwrap.times_said("wrote: no database"), 1, "{}", srvwrap.log());
    srvwrap.stop();
}

#[test]
fn a_scale_up_that_fails_shows_what_the_worker_wrote_last() {
    let program = "[ $SRVWRAP_SLOT = 0 ] && { echo online >&3; exec sleep 1000; }
        echo no second port >&2; exit 3";
    let home = Home::new();
    let daemon = home.online(&["-n1", "sh", "-c", program]);
    let told = told(home.path(), &["scale", "2"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.stderr.iter().chain(&told.stdout).any(|line| line.contains("no second port")), "{told:?}");
    // Another process writes it.
    wait_until("it is in the log", || home.text("srvwrap.log").contains(") wrote: no second port"));
    daemon.stop();
}

/// What srvwrap does not read it cannot show, and says nothing of.
#[test]
fn a_stderr_that_is_not_read_shows_nothing() {
    for stderr in ["--stderr=-", "--stderr=/dev/null"] {
        let srvwrap = srvwrap([stderr, "-n1", "sh", "-c", FAILS]).online();
        let answer = post(&srvwrap, "/deploy", "{}");
        assert!(
            answer.json().get("stderr").is_none_or(|lines| lines == &serde_json::json!([])),
            "{answer:?}"
        );
        assert_eq!(get(&srvwrap, "/status").status, 200);
        let log = srvwrap.stop();
        assert!(!log.contains("wrote: "), "{log}");
    }
}
