//! A failed deploy changes nothing: the old workers never stop serving, and what is respawned later is theirs.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;

use crate::harness::{Srvwrap, is_alive, send, srvwrap, worker_of, write_file};

/// Serves, and says when it is told to stop.
const GOOD: &str = r#"#!/bin/sh
trap 'echo generation $SRVWRAP_GENERATION told >&2; exit 0' TERM
echo online >&3
while :; do sleep 0.05; done
"#;

/// Two workers of [`GOOD`], in whose place something else is put then. Returns the sentence of the failed deploy.
fn failed_deploy_of(options: &[&str], change: impl FnOnce(&Srvwrap)) -> (Srvwrap, String) {
    let options = [&["-n", "2"], options, &["./app"]].concat();
    let mut srvwrap = srvwrap(options).file("app", GOOD).online();
    let old = srvwrap.worker_pids();
    change(&srvwrap);
    srvwrap.signal(Signal::SIGHUP);
    let sentence = srvwrap.wait_for("deploy 2 failed: ");
    assert!(sentence.ends_with("; generation 1 keeps serving"), "{sentence}");
    assert!(old.values().all(|pid| is_alive(*pid)), "{}", srvwrap.log());
    (srvwrap, sentence)
}

/// Puts the good program back and sees that it can be deployed, that the old workers had served until then, and that
/// nothing of the failed deploy is left.
fn deploy_the_fix(mut srvwrap: Srvwrap) {
    assert!(!srvwrap.has_said("generation 1 told"), "{}", srvwrap.log());
    write_file(srvwrap.path(), "app", GOOD);
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 3 done");
    assert_eq!(srvwrap.times_said("generation 1 told"), 2, "{}", srvwrap.log());
    srvwrap.wait_for_no_other_children();
    srvwrap.stop();
}

#[test]
fn a_new_version_that_exits_at_once_is_a_failed_deploy() {
    let (srvwrap, sentence) =
        failed_deploy_of(&[], |srvwrap| drop(write_file(srvwrap.path(), "app", "#!/bin/sh\nexit 3\n")));
    assert!(sentence.contains("exited with status 3 while starting"), "{sentence}");
    deploy_the_fix(srvwrap);
}

#[test]
fn a_new_version_that_is_killed_at_once_is_a_failed_deploy() {
    let (srvwrap, sentence) = failed_deploy_of(&[], |srvwrap| {
        drop(write_file(srvwrap.path(), "app", "#!/bin/sh\nkill -SEGV $$\n"));
    });
    assert!(sentence.contains("was killed by signal 11 (SEGV)"), "{sentence}");
    deploy_the_fix(srvwrap);
}

/// A time-out that means "go on" takes the service down; it means that the deploy has failed.
#[test]
fn a_new_version_that_is_never_online_is_a_failed_deploy() {
    let (srvwrap, sentence) = failed_deploy_of(&["--online-timeout", "2s"], |srvwrap| {
        drop(write_file(srvwrap.path(), "app", "#!/bin/sh\nexec sleep 1000\n"));
    });
    assert!(sentence.contains("was not online within 2s"), "{sentence}");
    deploy_the_fix(srvwrap);
}

#[test]
fn a_new_version_that_says_offline_before_it_is_online_is_a_failed_deploy() {
    let (srvwrap, sentence) = failed_deploy_of(&[], |srvwrap| {
        let text = "#!/bin/sh\necho offline no database >&3; exec sleep 1000\n";
        drop(write_file(srvwrap.path(), "app", text));
    });
    assert!(sentence.contains("said offline (no database) while starting"), "{sentence}");
    deploy_the_fix(srvwrap);
}

#[test]
fn a_new_version_that_cannot_be_executed_is_a_failed_deploy() {
    let (srvwrap, sentence) = failed_deploy_of(&[], |srvwrap| {
        drop(write_file(srvwrap.path(), "app", "#!/no/such/interpreter\n"));
    });
    assert!(sentence.contains("./app") && sentence.contains("/no/such/interpreter"), "{sentence}");
    deploy_the_fix(srvwrap);
}

#[test]
fn a_new_version_that_is_not_there_is_a_failed_deploy() {
    let (srvwrap, sentence) = failed_deploy_of(&[], |srvwrap| {
        std::fs::remove_file(srvwrap.path().join("app")).expect("it was there");
    });
    assert!(sentence.contains(": worker ") && sentence.contains("./app"), "{sentence}");
    deploy_the_fix(srvwrap);
}

/// Without --bake the old workers would be gone by the time that the new ones die.
#[test]
fn with_bake_a_new_worker_that_dies_soon_after_online_fails_the_deploy() {
    let (mut srvwrap, sentence) = failed_deploy_of(&["--bake", "2s"], |srvwrap| {
        drop(write_file(srvwrap.path(), "app", "#!/bin/sh\necho online >&3; sleep 0.3; exit 5\n"));
    });
    assert!(srvwrap.has_said("deploy 2 is online; both generations serve for 2s"), "{}", srvwrap.log());
    assert!(sentence.contains("exited with status 5 after "), "{sentence}");
    deploy_the_fix(srvwrap);
}

/// The number of descriptors that a process may have can be used up; the old workers need none of the new ones.
#[test]
fn a_deploy_without_a_free_descriptor_fails_and_the_next_one_works() {
    let (srvwrap, sentence) = failed_deploy_of(&[], |srvwrap| limit_descriptors(srvwrap, 8));
    assert!(sentence.contains("Too many open files"), "{sentence}");
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be asked for");
    limit_descriptors(&srvwrap, soft);
    deploy_the_fix(srvwrap);
}

fn limit_descriptors(srvwrap: &Srvwrap, soft: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be asked for");
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the pointers are to a whole rlimit and to none.
    let result =
        unsafe { libc::prlimit(srvwrap.pid() as i32, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
    assert_eq!(result, 0, "the limit of our own child can be set");
}

/// A respawn that took the spec of the failed deploy would bring the bad version in by the back door.
#[test]
fn after_a_failed_deploy_a_crashed_worker_is_replaced_by_one_of_the_old_generation() {
    let program = r#"
        echo "slot $SRVWRAP_SLOT of generation $SRVWRAP_GENERATION" >&2
        [ $SRVWRAP_GENERATION = 2 ] && exit 1
        echo online >&3; exec sleep 1000"#;
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    let old = srvwrap.worker_pids();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 failed: ");
    send(old[&1], Signal::SIGKILL);
    srvwrap.wait_for("was killed by signal 9 (KILL)");
    let line = srvwrap.wait_for("slot 1 of generation ");
    assert_eq!(line, "slot 1 of generation 1");
    assert_eq!(worker_of(&srvwrap.wait_for(" online after ")).map(|(slot, _)| slot), Some(1));
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 3 done");
    srvwrap.wait_for_no_other_children();
    srvwrap.stop();
}

/// The pool must be whole after a deploy that fails, also where an old worker was lost on the way.
#[test]
fn an_old_worker_killed_during_a_deploy_that_fails_is_replaced() {
    let program = r#"
        [ $SRVWRAP_GENERATION = 2 ] && { until [ -e die ]; do sleep 0.02; done; exit 9; }
        echo online >&3; exec sleep 1000"#;
    let mut srvwrap = srvwrap(["-n", "3", "sh", "-c", program]).online();
    let old = srvwrap.worker_pids();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 began");
    send(old[&1], Signal::SIGKILL);
    srvwrap.wait_for("worker 1 (pid ");
    srvwrap.touch("die");
    srvwrap.wait_for("deploy 2 failed: ");
    srvwrap.wait_until_said(" online after ", 4);
    srvwrap.wait_for_no_other_children();
    let now = srvwrap.worker_pids();
    assert_eq!((now[&0], now[&2]), (old[&0], old[&2]), "they never ended");
    assert_eq!(now.len(), 3);
    srvwrap.stop();
}

/// As above, where the old worker leaves by itself: `offline` is a wish for a replacement, deploy or not.
#[test]
fn an_old_worker_offline_during_a_deploy_that_fails_is_replaced() {
    let program = r#"
        trap 'echo offline >&3; sleep 0.1; exit 0' USR1
        [ $SRVWRAP_GENERATION = 2 ] && { until [ -e die ]; do sleep 0.02; done; exit 9; }
        echo online >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    let old = srvwrap.worker_pids();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 began");
    send(old[&0], Signal::SIGUSR1);
    srvwrap.wait_for("said offline; replacing it");
    srvwrap.touch("die");
    srvwrap.wait_for("deploy 2 failed: ");
    srvwrap.wait_until_said(" online after ", 3);
    srvwrap.wait_for_no_other_children();
    assert_eq!(srvwrap.children().len(), 2);
    srvwrap.stop();
}

/// An impatient operator with a program that hangs: nothing piles up, and the fix gets through.
#[test]
fn ten_hups_with_a_program_that_hangs_pile_nothing_up_and_the_fix_deploys() {
    let mut srvwrap = srvwrap(["-n", "2", "./app"]).file("app", GOOD).online();
    let hanging = "#!/bin/sh\nuntil [ -e die ]; do sleep 0.02; done; exit 1\n";
    write_file(srvwrap.path(), "app", hanging);
    for _ in 0..10 {
        srvwrap.signal_taken(Signal::SIGHUP);
        assert!(srvwrap.children().len() <= 4, "{:?}", srvwrap.children());
    }
    srvwrap.touch("die");
    srvwrap.wait_for("deploy 2 failed: ");
    srvwrap.wait_for("deploy 3 failed: ");
    assert_eq!(srvwrap.times_said("will deploy once"), 1, "{}", srvwrap.log());
    write_file(srvwrap.path(), "app", GOOD);
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 4 done");
    srvwrap.wait_for_no_other_children();
    assert_eq!(srvwrap.children().len(), 2);
    srvwrap.stop();
}

/// Says in files when it began and when it was told, in nanoseconds.
const TELLS_THE_TIME: &str = r#"#!/bin/sh
tell() { date +%s%N >"$1.$SRVWRAP_GENERATION.$SRVWRAP_SLOT"; }
trap 'tell told; exit 0' TERM
tell began
echo online >&3
while :; do sleep 0.05; done
"#;

/// Both generations serve while a deploy bakes, and the old one is told only after that.
#[test]
fn a_deploy_that_bakes_well_flips_after_that_time_and_not_before() {
    let bake = Duration::from_secs(1);
    let mut srvwrap = srvwrap(["-n", "2", "--bake", "1s", "./app"]).file("app", TELLS_THE_TIME).online();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 is online; both generations serve for 1s");
    srvwrap.wait_for("deploy 2 is live");
    srvwrap.wait_for("deploy 2 done");
    srvwrap.wait_for_no_other_children();
    let time = |name: &str| -> u64 {
        let text = std::fs::read_to_string(srvwrap.path().join(name)).expect("it is there");
        text.trim().parse().expect("a number")
    };
    let began = time("began.2.0").max(time("began.2.1"));
    for told in ["told.1.0", "told.1.1"] {
        let after = Duration::from_nanos(time(told) - began);
        assert!(after >= bake, "{told}: {after:?} after the last new one began");
    }
    srvwrap.stop();
}
