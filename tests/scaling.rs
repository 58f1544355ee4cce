//! One worker more, one worker less: TTIN and TTOU.

use nix::sys::signal::Signal;

use crate::harness::{is_alive, srvwrap};

/// Comes online when the test says so, in every generation but the first; says when it is told.
const GATED: &str = r#"
    trap 'echo "slot $SRVWRAP_SLOT told" >&2; exit 0' TERM
    [ $SRVWRAP_GENERATION = 1 ] || until [ -e go ]; do sleep 0.02; done
    echo online >&3
    while :; do sleep 0.05; done"#;

#[test]
fn ttin_adds_a_slot_and_ttou_takes_the_highest_one() {
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", GATED]).online();
    let first = srvwrap.worker_pids();
    srvwrap.signal(Signal::SIGTTIN);
    srvwrap.wait_for("scaling from 2 to 3 workers");
    srvwrap.wait_for("worker 2 (pid ");
    srvwrap.wait_for("scaled to 3 workers after ");
    srvwrap.signal(Signal::SIGTTOU);
    srvwrap.wait_for("scaling from 3 to 2 workers");
    srvwrap.wait_for("slot 2 told");
    assert!(first.values().all(|pid| is_alive(*pid)), "{}", srvwrap.log());
    crate::harness::wait_until("two workers are left", || {
        srvwrap.children().iter().eq(first.values().collect::<std::collections::BTreeSet<_>>())
    });
    assert!(!srvwrap.has_said("slot 0 told") && !srvwrap.has_said("slot 1 told"), "{}", srvwrap.log());
    srvwrap.stop();
}

/// Nobody would serve, and nobody could ask for more.
#[test]
fn ttou_with_one_worker_is_refused() {
    let mut srvwrap = srvwrap(["sh", "-c", GATED]).online();
    let worker = srvwrap.worker_pids()[&0];
    srvwrap.signal(Signal::SIGTTOU);
    srvwrap.wait_for("TTOU: refused, because there can be no fewer than 1 and no more than 65535 workers");
    assert!(is_alive(worker) && !srvwrap.has_said("told"), "{}", srvwrap.log());
    srvwrap.stop();
}

/// The count is the operator's, and no property of what is deployed.
#[test]
fn a_deploy_keeps_the_count_that_was_scaled_to() {
    let mut srvwrap = srvwrap(["sh", "-c", GATED]).online();
    srvwrap.signal(Signal::SIGTTIN);
    srvwrap.wait_for("scaled to 2 workers after ");
    srvwrap.touch("go");
    srvwrap.signal(Signal::SIGHUP);
    let done = srvwrap.wait_for("deploy 2 done");
    assert!(done.ends_with(" with 2 workers"), "{done}");
    srvwrap.wait_for_no_other_children();
    assert_eq!(srvwrap.children().len(), 2);
    srvwrap.stop();
}

/// Who sends a signal sees no refusal: what comes during the boot is done after it.
#[test]
fn scaling_during_the_boot_is_summed_and_done_after_it() {
    let program = "until [ -e go ]; do sleep 0.02; done; echo online >&3; exec sleep 1000";
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).start();
    crate::harness::wait_until("it boots", || srvwrap.children().len() == 2);
    for signal in [Signal::SIGTTIN, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGTTIN] {
        srvwrap.signal_taken(signal);
    }
    srvwrap.touch("go");
    srvwrap.wait_for("workers online: 2");
    srvwrap.wait_for("scaling from 2 to 4 workers");
    srvwrap.wait_for("scaled to 4 workers after ");
    srvwrap.wait_for_no_other_children();
    srvwrap.stop();
}

#[test]
fn scaling_during_a_deploy_is_summed_and_done_after_it() {
    let mut srvwrap = srvwrap(["-n", "3", "sh", "-c", GATED]).online();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 began");
    for signal in [Signal::SIGTTOU, Signal::SIGTTOU, Signal::SIGTTIN] {
        srvwrap.signal_taken(signal);
    }
    srvwrap.touch("go");
    srvwrap.wait_for("deploy 2 done");
    srvwrap.wait_for("scaling from 3 to 2 workers");
    crate::harness::wait_until("two workers are left", || srvwrap.children().len() == 2);
    srvwrap.stop();
}

/// A count that cannot be reached must not be kept: each later deploy would fail of it.
#[test]
fn a_worker_more_that_does_not_come_online_puts_the_count_back() {
    let program = r#"
        [ $SRVWRAP_SLOT = 2 ] && [ ! -e mended ] && exit 4
        echo online >&3; exec sleep 1000"#;
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", program]).online();
    let first = srvwrap.worker_pids();
    srvwrap.signal(Signal::SIGTTIN);
    let failed = srvwrap.wait_for("scaling failed: worker 2 (pid ");
    assert!(failed.ends_with("exited with status 4 while starting; back to 2 workers"), "{failed}");
    assert!(first.values().all(|pid| is_alive(*pid)));
    srvwrap.signal(Signal::SIGHUP);
    let done = srvwrap.wait_for("deploy 2 done");
    assert!(done.ends_with(" with 2 workers"), "{done}");
    srvwrap.touch("mended");
    srvwrap.signal(Signal::SIGTTIN);
    srvwrap.wait_for("scaled to 3 workers after ");
    srvwrap.wait_for_no_other_children();
    srvwrap.stop();
}

/// The variable that platforms set for this.
#[test]
fn web_concurrency_is_the_count_where_none_is_given() {
    let program = ["sh", "-c", "echo online >&3; exec sleep 1000"];
    let mut by_variable = srvwrap(program).env("WEB_CONCURRENCY", "3").start();
    by_variable.wait_for("workers online: 3");
    by_variable.stop();
    let mut by_option = srvwrap([&["-n", "2"], &program[..]].concat()).env("WEB_CONCURRENCY", "3").start();
    by_option.wait_for("workers online: 2");
    by_option.stop();
    let (code, log) = srvwrap(program).env("WEB_CONCURRENCY", "many").run();
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("WEB_CONCURRENCY") && log.contains("many"), "{log}");
}

#[test]
fn auto_is_one_worker_for_each_processor() {
    let processors = std::thread::available_parallelism().expect("it can be asked for");
    let mut srvwrap = srvwrap(["-n", "auto", "sh", "-c", "echo online >&3; exec sleep 1000"]).start();
    srvwrap.wait_for(&format!("workers online: {processors},"));
    srvwrap.wait_for_no_other_children();
    srvwrap.stop();
}
