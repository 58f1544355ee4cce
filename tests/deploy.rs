//! Deploys that come off: what HUP runs, in which order, and what several of them at once do.
//!
//! What a deploy does that fails is in `failed_deploys.rs`.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{is_alive, send, srvwrap, wait_until, write_file};

/// HUP takes nothing from who sends it: an environment of its own would leak into the workers of every later deploy.
#[test]
fn hup_deploys_what_srvwrap_was_started_with_and_nothing_of_who_sends_it() {
    let program = "echo $GREETING in $SRVWRAP_GENERATION >&2; echo online >&3; exec sleep 1000";
    let mut srvwrap = srvwrap(["sh", "-c", program]).env("GREETING", "hello").online();
    let hup = format!("kill -HUP {}", srvwrap.pid());
    Command::new("sh").args(["-c", &hup]).env("GREETING", "goodbye").status().expect("a shell can be run");
    srvwrap.wait_for("deploy 2 done");
    assert!(srvwrap.has_said("hello in 2"), "{}", srvwrap.log());
    srvwrap.stop();
}

/// An old worker that is told too early leaves the port to fewer workers than were asked for.
#[test]
fn no_old_worker_is_told_to_stop_before_every_new_one_is_online() {
    let program = r#"
        trap 'echo "generation $SRVWRAP_GENERATION told" >&2; exit 0' TERM
        [ $SRVWRAP_GENERATION.$SRVWRAP_SLOT = 2.1 ] && until [ -e go ]; do sleep 0.02; done
        echo online >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["-n", "3", "sh", "-c", program]).online();
    let old = srvwrap.worker_pids();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 began (HUP): starting 3 workers");
    srvwrap.wait_for_times(" online after ", 2);
    assert!(!srvwrap.has_said("told") && old.values().all(|pid| is_alive(*pid)));
    srvwrap.touch("go");
    srvwrap.wait_for("deploy 2 is live; retiring 3 workers of generation 1");
    srvwrap.wait_for("deploy 2 done after ");
    assert_eq!(srvwrap.times_said("generation 1 told"), 3, "{}", srvwrap.log());
    assert!(!srvwrap.has_said("generation 2 told"));
    srvwrap.wait_for_no_other_children();
    srvwrap.stop();
}

/// Who waits for a deploy counts on it that the old version has put away what it had in its hands.
#[test]
fn a_deploy_is_done_when_the_last_old_worker_has_done_its_last_work() {
    let program = r#"
        trap 'sleep 0.2; touch put-away.$SRVWRAP_GENERATION.$SRVWRAP_SLOT; exit 0' TERM
        echo online >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    srvwrap.signal(Signal::SIGHUP);
    let done = srvwrap.wait_for("deploy 2 done after ");
    for slot in 0..2 {
        assert!(srvwrap.path().join(format!("put-away.1.{slot}")).exists(), "slot {slot} before {done}");
    }
    srvwrap.stop();
}

/// A path that is looked up once goes on running the old release for ever.
#[test]
fn a_release_symlink_that_was_moved_is_followed() {
    let release =
        |name: &str| format!("#!/bin/sh\necho release {name} >&2; echo online >&3; exec sleep 1000\n");
    let starting = srvwrap(["./app"]);
    let directory = starting.path().to_path_buf();
    let current = directory.join("current");
    for name in ["r1", "r2"] {
        std::fs::create_dir(directory.join(name)).expect("an empty directory");
        write_file(&directory.join(name), "app", &release(name));
    }
    std::os::unix::fs::symlink("r1", &current).expect("an empty directory");
    let in_current = |command: &mut Command| {
        command.current_dir(&current).env("PWD", &current);
    };
    let mut srvwrap = starting.with(in_current).online();
    assert!(srvwrap.has_said("release r1"));
    std::os::unix::fs::symlink("r2", directory.join("next")).expect("not there yet");
    std::fs::rename(directory.join("next"), &current).expect("in one directory");
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    assert!(srvwrap.has_said("release r2"), "{}", srvwrap.log());
    srvwrap.stop();
}

/// The same for a symlink on the way to the program, and for a bare name found in PATH.
#[test]
fn a_program_is_looked_for_anew_at_every_deploy() {
    let says = |word: &str| format!("#!/bin/sh\necho this is {word} >&2; echo online >&3; exec sleep 1000\n");
    let starting = srvwrap(["app"]);
    let (first, second) = (starting.path().join("first"), starting.path().join("second"));
    for directory in [&first, &second] {
        std::fs::create_dir(directory).expect("an empty directory");
    }
    write_file(&second, "app", &says("the one behind"));
    let path = format!("{}:{}:/usr/bin:/bin", first.display(), second.display());
    let mut srvwrap = starting.env("PATH", path).online();
    assert!(srvwrap.has_said("this is the one behind"));
    write_file(&first, "app", &says("the one before it"));
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    assert!(srvwrap.has_said("this is the one before it"), "{}", srvwrap.log());
    srvwrap.stop();
}

/// A HUP that comes during a deploy may be about code that came after that deploy had begun: it must not be lost.
#[test]
fn a_hup_during_a_deploy_deploys_once_more_after_it() {
    let program = r#"
        [ $SRVWRAP_GENERATION = 2 ] && until [ -e go ]; do sleep 0.02; done
        echo online >&3; exec sleep 1000"#;
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 began (HUP): starting 2 workers");
    for _ in 0..3 {
        srvwrap.signal_taken(Signal::SIGHUP);
    }
    srvwrap.wait_for("HUP: will deploy once what is under way is done");
    srvwrap.touch("go");
    srvwrap.wait_for("deploy 2 done");
    srvwrap.wait_for("deploy 3 done");
    srvwrap.wait_for_no_other_children();
    let log = srvwrap.stop();
    assert_eq!(log.matches("will deploy once").count(), 1, "it is said once:\n{log}");
    assert!(!log.contains("deploy 4"), "three are remembered as one:\n{log}");
}

/// A stop wins over a deploy, and both generations end: neither a worker nor a failure notice is left behind.
#[test]
fn a_stop_during_a_deploy_ends_both_generations() {
    let program = r#"
        [ $SRVWRAP_GENERATION = 1 ] && echo online >&3
        exec sleep 1000"#;
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 began");
    wait_until("both generations are there", || srvwrap.children().len() == 4);
    let all = srvwrap.children();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0, "{}", srvwrap.log());
    assert!(!all.iter().any(|pid| is_alive(*pid)));
    assert!(!srvwrap.has_said("failed") && srvwrap.has_said("TERM: stopping 4 workers"), "{}", srvwrap.log());
}

/// What comes during a stop has nobody left to serve it.
#[test]
fn a_hup_during_a_stop_is_refused_and_the_stop_goes_on() {
    let program = r#"
        trap 'until [ -e go ]; do sleep 0.02; done; exit 0' TERM
        echo online >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["sh", "-c", program]).online();
    srvwrap.signal(Signal::SIGTERM);
    srvwrap.wait_for("TERM: stopping 1 worker");
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("HUP: refused, because srvwrap is stopping");
    srvwrap.touch("go");
    assert_eq!(srvwrap.exit_code(), 0, "{}", srvwrap.log());
    assert!(!srvwrap.has_said("deploy"), "{}", srvwrap.log());
}

/// A worker that says offline in the middle of a deploy is replaced in its own generation, and must not be counted
/// twice nor be missing when the new generation takes over.
#[test]
fn a_worker_that_goes_offline_during_a_deploy_leaves_the_pool_whole() {
    let program = r#"
        trap 'echo offline >&3' USR1
        trap 'exit 0' TERM
        [ $SRVWRAP_GENERATION = 2 ] && until [ -e go ]; do sleep 0.02; done
        echo online >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    let old = srvwrap.worker_pids();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 began");
    send(old[&0], Signal::SIGUSR1);
    srvwrap.wait_for("said offline; replacing it");
    srvwrap.wait_for(" online after ");
    srvwrap.touch("go");
    srvwrap.wait_for("deploy 2 done");
    srvwrap.wait_for_no_other_children();
    assert_eq!(srvwrap.children().len(), 2, "{}", srvwrap.log());
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 3 done");
    srvwrap.wait_for_no_other_children();
    srvwrap.stop();
}

/// What each deploy leaves behind, a descriptor or a process, adds up until nothing can be started any more.
#[test]
fn thirty_deploys_leave_nothing_behind() {
    let mut srvwrap =
        srvwrap(["-n", "3", "-p", "127.0.0.1:0", "sh", "-c", "echo online >&3; exec sleep 1000"]).online();
    let before = srvwrap.open_descriptors();
    for generation in 2..32 {
        srvwrap.signal(Signal::SIGHUP);
        srvwrap.wait_for(&format!("deploy {generation} done"));
    }
    srvwrap.wait_for_no_other_children();
    wait_until("as many descriptors as before", || srvwrap.open_descriptors() == before);
    let log = srvwrap.stop();
    assert_eq!(log.matches(" online after ").count(), 3 * 31, "{log}");
}
