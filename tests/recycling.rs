//! Workers that say `offline`: each is replaced once, at once, and may finish in its own time.

use nix::sys::signal::Signal;

use crate::harness::{is_alive, send, srvwrap, wait_until};

/// A worker that wants to go must not leave a gap, nor be hurried, nor be replaced a second time when it is gone.
#[test]
fn an_offline_worker_is_replaced_at_once_and_finishes_in_its_own_time() {
    let program = r#"
        finish() { echo offline for a rest >&3; until [ -e go ]; do sleep 0.02; done; touch finished; exit 0; }
        trap finish USR1
        echo online >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    let leaving = srvwrap.worker_pids()[&0];
    send(leaving, Signal::SIGUSR1);
    srvwrap.wait_for(&format!("worker 0 (pid {leaving}) said offline: for a rest; replacing it"));
    srvwrap.wait_for("worker 0 (pid ");
    let replacement = srvwrap.worker_pids()[&0];
    assert!(replacement != leaving && is_alive(leaving), "{}", srvwrap.log());
    srvwrap.touch("go");
    srvwrap.wait_for(&format!("worker 0 (pid {leaving}) ended, as it had said"));
    assert!(srvwrap.path().join("finished").exists(), "it was not let finish");
    srvwrap.wait_for_no_other_children();
    // A deploy comes after everything that its end could have led to.
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    assert_eq!(srvwrap.times_said(" online after "), 5, "one replacement: {}", srvwrap.log());
    srvwrap.stop();
}

/// One that is gone before its replacement is online leaves a slot that is being filled already.
#[test]
fn an_offline_worker_that_ends_first_is_not_replaced_twice() {
    let program = r#"
        trap 'echo offline >&3; until [ -e end ]; do sleep 0.02; done; exit 0' USR1
        echo "$SRVWRAP_GENERATION.$SRVWRAP_SLOT started" >&2
        [ -e slow ] && until [ -e go ]; do sleep 0.02; done
        echo online >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["sh", "-c", program]).online();
    srvwrap.touch("slow");
    let leaving = srvwrap.worker_pids()[&0];
    send(leaving, Signal::SIGUSR1);
    srvwrap.wait_until_said("1.0 started", 2);
    srvwrap.touch("end");
    srvwrap.wait_for(&format!("worker 0 (pid {leaving}) ended, as it had said"));
    srvwrap.touch("go");
    srvwrap.wait_for(" online after ");
    srvwrap.wait_for_no_other_children();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    assert_eq!(srvwrap.times_said("1.0 started"), 2, "one replacement: {}", srvwrap.log());
    srvwrap.stop();
}

/// Programs repeat themselves: only the first word of each kind counts.
#[test]
fn words_said_twice_change_nothing() {
    let program = r#"
        trap 'echo offline >&3; echo offline >&3; until [ -e again ]; do sleep 0.02; done
              echo offline >&3; echo online >&3; touch said; until [ -e go ]; do sleep 0.02; done; exit 0' USR1
        printf 'online\nready\nonline\nREADY=1\n' >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    let leaving = srvwrap.worker_pids()[&1];
    send(leaving, Signal::SIGUSR1);
    srvwrap.wait_for("said offline; replacing it");
    srvwrap.wait_for("worker 1 (pid ");
    srvwrap.touch("again");
    wait_until("it has said everything twice", || srvwrap.path().join("said").exists());
    srvwrap.touch("go");
    srvwrap.wait_for("ended, as it had said");
    let log = srvwrap.stop();
    assert_eq!(log.matches("said offline").count(), 1, "{log}");
    assert_eq!(log.matches(" online after ").count(), 3, "{log}");
}

/// One that lingers has no part in a deploy; it is told to stop like every other old worker, and the deploy ends.
#[test]
fn a_lingering_offline_worker_does_not_disturb_a_deploy() {
    let program = r#"
        trap 'echo offline >&3' USR1
        trap 'echo "$$ told" >&2; exit 0' TERM
        echo online >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    let lingering = srvwrap.worker_pids()[&0];
    send(lingering, Signal::SIGUSR1);
    srvwrap.wait_for("said offline; replacing it");
    srvwrap.wait_for(" online after ");
    assert!(is_alive(lingering) && !srvwrap.has_said("told"), "it is told nothing: {}", srvwrap.log());
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 is live; retiring 3 workers of generation 1");
    srvwrap.wait_for("deploy 2 done");
    assert!(srvwrap.has_said(&format!("{lingering} told")), "{}", srvwrap.log());
    srvwrap.wait_for_no_other_children();
    srvwrap.stop();
}

/// A program whose shutdown handler says offline must not be replaced for it: it was told to go.
#[test]
fn offline_from_a_worker_that_was_replaced_already_is_nothing_new() {
    let program = r#"
        trap 'echo offline >&3; echo online >&3; echo offline >&3; sleep 0.1; exit 0' TERM
        echo online >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    for generation in 2..4 {
        srvwrap.signal(Signal::SIGHUP);
        srvwrap.wait_for(&format!("deploy {generation} done"));
    }
    srvwrap.wait_for_no_other_children();
    let log = srvwrap.stop();
    assert!(!log.contains("said offline") && !log.contains("as it had said"), "{log}");
    assert_eq!(log.matches(" online after ").count(), 6, "{log}");
}

/// One that says that it ends and never does would stay for ever.
#[test]
fn an_offline_worker_that_does_not_end_is_killed_at_the_stop_limit() {
    let program = r#"
        trap 'echo offline >&3' USR1
        echo online >&3
        while :; do sleep 0.05; done"#;
    let mut srvwrap = srvwrap(["--stop-timeout", "700ms", "sh", "-c", program]).online();
    let leaving = srvwrap.worker_pids()[&0];
    send(leaving, Signal::SIGUSR1);
    srvwrap.wait_for("said offline; replacing it");
    srvwrap.wait_for(" online after ");
    srvwrap.wait_for(&format!(
        "worker 0 (pid {leaving}) said offline, but did not end within its limit: killed"
    ));
    srvwrap.wait_for_no_other_children();
    srvwrap.stop();
}
