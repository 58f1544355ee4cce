//! Stops: every worker told, listeners closed, the rest swept, one exit code.

use std::time::Duration;

use crate::core::Event;
use crate::core::sim::stage::{Ends, Forks, Stage, Starts, deploy_of, policy, redeploy};
use crate::core::{Effect, Mended, Policy, Request};

#[test]
fn all_workers_are_told_then_the_listeners_close_and_it_ends_with_0() {
    let mut stage = Stage::serving(2);
    let stop = stage.ask(Request::Stop { timeout: None });
    let done = stage.done();
    assert!(matches!(done[0], Effect::Retire { .. }), "{done:?}");
    assert!(matches!(done[1], Effect::Retire { .. }), "{done:?}");
    assert_eq!(done[2], Effect::CloseListeners);
    assert_eq!(done.iter().filter(|effect| **effect == Effect::CloseListeners).count(), 1);
    assert_eq!(done.last(), Some(&Effect::End { code: 0 }));
    assert_eq!(stage.told(), ["client of uid 0: stopping 2 workers within 30s", "stopped"]);
    assert_eq!(stage.answer(stop), "done");
}

#[test]
fn who_asks_for_a_stop_again_is_answered_too() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    let (first, second) =
        (stage.ask(Request::Stop { timeout: None }), stage.ask(Request::Stop { timeout: None }));
    assert_eq!(stage.answer(first), "");
    stage.exits(1, 0, 0);
    assert_eq!((stage.answer(first), stage.answer(second)), ("done".into(), "done".into()));
}

#[test]
fn a_worker_that_takes_no_notice_is_killed_at_the_limit_and_the_sentence_says_so() {
    let mut stage = Stage::serving(2);
    stage.ends = Ends::Never;
    stage.signal("TERM");
    stage.exits(1, 0, 0);
    stage.pass(Duration::from_millis(29_999));
    assert_eq!(stage.killed(), []);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.killed(), [(1, 1)]);
    assert_eq!(stage.told().last().unwrap(), "stopped; 1 worker was killed");
    assert_eq!(stage.ended, Some(0));
}

#[test]
fn a_repeated_term_changes_nothing() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    for _ in 0..3 {
        stage.signal("TERM");
        stage.seconds(9);
    }
    assert_eq!(
        (stage.told(), stage.retired().len()),
        (vec!["TERM: stopping 1 worker within 30s".to_string()], 1)
    );
    assert_eq!(stage.killed(), []);
    stage.seconds(3);
    assert_eq!((stage.killed(), stage.ended), (vec![(1, 0)], Some(0)));
}

#[test]
fn a_second_int_counts_a_second_after_the_first_and_not_before() {
    let mut stage = Stage::serving(2);
    stage.ends = Ends::Never;
    stage.signal("TERM");
    stage.seconds(5);
    stage.signal("INT");
    stage.pass(Duration::from_millis(999));
    stage.signal("INT");
    assert_eq!(stage.killed(), []);
    stage.pass(Duration::from_millis(1));
    stage.signal("INT");
    assert_eq!(stage.killed(), [(1, 0), (1, 1)]);
    assert_eq!(
        stage.told(),
        ["TERM: stopping 2 workers within 30s", "INT: killing 2 workers", "stopped; 2 workers were killed"]
    );
    assert_eq!(stage.ended, Some(0));
}

#[test]
fn a_second_int_also_cuts_the_wait_for_what_is_no_worker() {
    let mut stage = Stage::serving(1);
    stage.strangers = true;
    stage.signal("INT");
    stage.seconds(10);
    assert_eq!((stage.online(), stage.ended), (vec![], None));
    stage.signal("INT");
    assert_eq!(stage.ended, Some(0));
}

#[test]
fn strangers_are_killed_when_the_stop_limit_is_over() {
    let mut stage = Stage::serving(1);
    stage.strangers = true;
    stage.signal("TERM");
    stage.pass(Duration::from_millis(29_999));
    assert_eq!(stage.ended, None);
    stage.pass(Duration::from_millis(1));
    assert!(stage.done().contains(&Effect::Sweep { kill: true }));
    assert_eq!(stage.ended, Some(0));
}

#[test]
fn what_a_stranger_leaves_behind_is_told_as_well() {
    let mut stage = Stage::serving(1);
    stage.strangers = true;
    stage.signal("TERM");
    stage.done();
    stage.event(Event::StrangerDied);
    assert_eq!(stage.done(), [Effect::Sweep { kill: false }]);
    stage.event(Event::Childless);
    assert_eq!(stage.ended, Some(0));
}

#[test]
fn quit_kills_at_once_in_any_state() {
    let mut stage = Stage::serving(2);
    stage.ends = Ends::Never;
    let quit = stage.ask(Request::Kill);
    assert_eq!((stage.retired(), stage.killed()), (vec![], vec![(1, 0), (1, 1)]));
    assert_eq!((stage.answer(quit).as_str(), stage.ended), ("done", Some(0)));

    let mut stage = Stage::serving(1);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    stage.ask(redeploy());
    stage.signal("TERM");
    stage.signal("QUIT");
    assert_eq!((stage.killed(), stage.ended), (vec![(1, 0), (2, 0)], Some(0)));
}

#[test]
fn after_the_end_nothing_that_happens_matters() {
    let mut stage = Stage::serving(1);
    stage.signal("TERM");
    assert_eq!(stage.ended, Some(0));
    for name in ["HUP", "TTIN", "TERM", "INT", "QUIT"] {
        stage.signal(name);
    }
    stage.event(Event::ListenerShut { listener: 0, outcome: Mended::Lost });
    stage.seconds(100);
}

#[test]
fn a_hangup_a_scale_and_a_deploy_are_refused_during_a_stop() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    stage.signal("TERM");
    stage.told();
    stage.signal("HUP");
    stage.signal("TTIN");
    assert_eq!(
        stage.told(),
        ["HUP: refused, because srvwrap is stopping", "TTIN: refused, because srvwrap is stopping"]
    );
    let (deploy, scale) = (stage.ask(redeploy()), stage.scale(3));
    assert_eq!(stage.answer(deploy), "refused, because srvwrap is stopping");
    assert_eq!(stage.answer(scale), "refused, because srvwrap is stopping");
    assert_eq!(stage.spawned(), []);
}

#[test]
fn a_stop_in_a_deploy_ends_both_generations_and_what_waited_does_not_run() {
    let mut stage = Stage::serving(1);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    let deploy = stage.ask(redeploy());
    stage.signal("HUP");
    stage.signal("TTIN");
    stage.done();
    let stop = stage.ask(Request::Stop { timeout: None });
    assert_eq!(stage.answer(deploy), "aborted");
    assert_eq!(stage.retired(), [(1, 0, Some(15)), (2, 0, Some(15))]);
    stage.seconds(30);
    assert_eq!(stage.spawned(), []);
    assert_eq!((stage.answer(stop).as_str(), stage.ended), ("done", Some(0)));
}

#[test]
fn a_stop_while_a_respawn_waits_stays_stopped() {
    let mut stage = Stage::serving(1);
    stage.exits(1, 0, 1);
    stage.signal("TERM");
    assert_eq!(stage.ended, Some(0));
    stage.done();
    stage.seconds(100);
    assert_eq!(stage.done(), []);
}

#[test]
fn a_stop_while_a_process_is_being_made_waits_for_it_and_tells_it() {
    let mut stage = Stage::serving(1);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    stage.seconds(5);
    stage.forks = Forks::Wait;
    stage.exits(1, 0, 1);
    stage.signal("TERM");
    assert_eq!(stage.ended, None);
    stage.forks = Forks::Work;
    stage.done();
    stage.finish_forks();
    assert_eq!((stage.retired(), stage.ended), (vec![(1, 0, Some(15))], None));
    stage.seconds(30);
    assert_eq!(stage.ended, Some(0));
}

#[test]
fn a_stop_limit_of_zero_kills() {
    let mut stage = Stage::serving_with(Policy { stop_timeout: Duration::ZERO, ..policy() }, 1);
    stage.ends = Ends::Never;
    stage.signal("TERM");
    assert_eq!((stage.retired(), stage.killed(), stage.ended), (vec![], vec![(1, 0)], Some(0)));
}

#[test]
fn survivors_of_kill_are_reported_and_not_waited_for() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Immortal;
    stage.strangers = true;
    stage.signal("QUIT");
    stage.seconds(4);
    assert_eq!(stage.ended, None);
    stage.seconds(3);
    let told = stage.told();
    assert!(told[1].contains("is still there 5s after KILL"), "{told:?}");
    assert_eq!(stage.ended, Some(0));
}

#[test]
fn a_deploy_and_a_scale_that_had_failed_before_the_stop_are_answered_with_that() {
    let mut stage = Stage::serving(1);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    let scale = stage.scale(3);
    stage.exits(1, 1, 1);
    let deploy = stage.ask(deploy_of(None, Some(2)));
    stage.exits(2, 0, 1);
    stage.signal("TERM");
    assert!(stage.answer(scale).starts_with("failed: scaling failed"), "{}", stage.answer(scale));
    assert!(stage.answer(deploy).starts_with("failed: deploy 2 failed"), "{}", stage.answer(deploy));
    stage.seconds(40);
    assert_eq!(stage.ended, Some(0));
}

#[test]
fn a_listener_that_is_lost_stops_srvwrap_with_1() {
    let mut stage = Stage::serving(1);
    stage.event(Event::ListenerShut { listener: 0, outcome: Mended::Lost });
    assert_eq!(
        stage.told(),
        [
            "[::]:8000 was shut down by worker 0 (pid 101), it seems; it cannot be bound anew, so srvwrap stops"
        ]
    );
    assert_eq!((stage.retired(), stage.ended), (vec![(1, 0, Some(15))], Some(1)));
}
