//! What single workers say and do: offline, odd moments, listeners, and how each is told to stop.

use std::time::Duration;

use crate::core::sim::stage::{Ends, Forks, Stage, Starts, deploy_of, policy, redeploy};
use crate::core::{Effect, Ending, Event, Mended, Policy, Ready, StopSignal};
use crate::wire::worker::{Readiness, Said};

#[test]
fn offline_is_replaced_at_once_and_the_old_one_may_finish_untold() {
    let mut stage = Stage::serving(2);
    stage.seconds(5);
    stage.ends = Ends::Never;
    let leaving = stage.worker(1, 0);
    stage.says(1, 0, Said::Offline { why: "served 1000 requests".to_string() });
    assert_eq!(
        stage.told(),
        [
            "worker 0 (pid 101) said offline: served 1000 requests; replacing it",
            "worker 0 (pid 103) online after 0ms"
        ]
    );
    assert_eq!((stage.retired(), stage.killed()), (vec![], vec![]));
    // A second one changes nothing, and when it ends nobody is respawned for it.
    stage.event(Event::Said { worker: leaving, said: Said::Offline { why: String::new() } });
    stage.seconds(20);
    stage.done();
    stage.dies(leaving, Ending::Exited(0));
    assert_eq!(stage.told(), ["worker 0 (pid 101) ended, as it had said"]);
    assert_eq!((stage.spawned(), stage.online()), (vec![], vec![(1, 0), (1, 1)]));
}

/// As one that says both at once: there is a reason to be shown while its replacement waits for its time.
#[test]
fn a_slot_that_waits_since_its_worker_said_offline_says_so() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    stage.says(1, 0, Said::Offline { why: "tired".to_string() });
    let reasons = |stage: &Stage| -> Vec<String> {
        let waiting = stage.supervisor.status(stage.now).waiting;
        waiting.into_iter().map(|slot| slot.failure.expect("it has a reason").to_string()).collect()
    };
    assert_eq!(reasons(&stage), ["worker 0 (pid 101) said offline (tired) after 0ms online"]);
    stage.seconds(5);
    assert_eq!(reasons(&stage), [""; 0]);
    let workers = stage.supervisor.status(stage.now).workers;
    assert!(workers.iter().all(|worker| worker.last_failure.is_none()), "it is no failure");
}

#[test]
fn the_stop_limit_of_an_offline_worker_runs_from_the_moment_when_its_replacement_is_online() {
    let mut stage = Stage::serving(1);
    stage.seconds(5);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    stage.says_offline(1, 0);
    stage.seconds(40);
    stage.says_online(1, 0);
    stage.pass(Duration::from_millis(29_999));
    assert_eq!(stage.killed(), []);
    stage.told();
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.killed(), [(1, 0)]);
    assert_eq!(stage.told(), ["worker 0 (pid 101) said offline, but did not end within its limit: killed"]);
    assert_eq!(stage.online(), [(1, 0)]);
}

#[test]
fn where_no_replacement_comes_online_the_limit_starts_one_online_timeout_after_the_notice() {
    let mut stage = Stage::serving(1);
    stage.seconds(5);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    let leaving = stage.worker(1, 0);
    stage.says_offline(1, 0);
    stage.pass(Duration::from_millis(89_999));
    assert!(!stage.done().contains(&Effect::Kill { worker: leaving }));
    stage.pass(Duration::from_millis(1));
    assert!(stage.done().contains(&Effect::Kill { worker: leaving }));
}

#[test]
fn an_offline_worker_that_survives_kill_has_no_slot_any_more() {
    let mut stage = Stage::serving(1);
    stage.seconds(5);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Immortal);
    stage.says_offline(1, 0);
    stage.seconds(94);
    assert_eq!(stage.seated("killed"), 1);
    stage.seconds(1);
    assert_eq!((stage.seated("killed"), stage.seated("stuck")), (0, 0));
    assert!(!stage.rows("stuck").is_empty());
}

#[test]
fn a_worker_that_says_offline_as_soon_as_it_is_online_is_replaced_once_a_second_at_most() {
    let mut stage = Stage::serving(1);
    for _ in 0..100 {
        stage.says_offline(1, 0);
        stage.pass(Duration::from_millis(100));
    }
    assert!((9..=10).contains(&stage.spawned().len()), "{:?}", stage.spawned());
}

#[test]
fn a_replacement_that_fails_leaves_the_old_one_serving_and_is_tried_again() {
    let mut stage = Stage::serving(1);
    stage.seconds(5);
    stage.starts = Starts::Silent;
    let leaving = stage.worker(1, 0);
    stage.says_offline(1, 0);
    stage.exits(1, 0, 1);
    let wait = stage.until_spawn(5);
    assert!((160..=240).contains(&wait), "{wait}");
    assert_eq!(stage.rows("leaving"), [(1, 0)]);
    // It ends before there is another: the slot is filled by the one that starts already.
    stage.done();
    stage.dies(leaving, Ending::Exited(0));
    assert_eq!(stage.spawned(), []);
    stage.says_online(1, 0);
    assert_eq!(stage.online(), [(1, 0)]);
}

#[test]
fn messages_at_odd_moments_change_nothing() {
    let mut stage = Stage::serving(2);
    stage.seconds(5);
    stage.ends = Ends::Never;
    let first = stage.worker(1, 0);
    stage.says_online(1, 0);
    stage.says(1, 0, Said::Unknown);
    stage.says(1, 0, Said::Ping);
    stage.says(1, 0, Said::Status("busy".to_string()));
    stage.event(Event::Hushed { worker: first });
    assert_eq!((stage.told(), stage.done()), (vec![], vec![]));
    stage.ask(redeploy());
    stage.done();
    // Told already, and replaced.
    for said in [Said::Online(Readiness::JsonReady), Said::Offline { why: String::new() }] {
        stage.event(Event::Said { worker: first, said });
    }
    assert_eq!(stage.done(), []);
    stage.dies(first, Ending::Exited(0));
    stage.done();
    // Gone: a late event finds nobody.
    stage.event(Event::Said { worker: first, said: Said::Online(Readiness::Plain) });
    stage.event(Event::Hushed { worker: first });
    stage.event(Event::Died { worker: first, ending: Ending::Exited(0) });
    assert_eq!(stage.done(), []);
    assert_eq!(stage.online(), [(2, 0), (2, 1)]);
}

#[test]
fn offline_before_online_counts_as_a_crash() {
    let mut stage = Stage::serving(1);
    stage.seconds(5);
    stage.starts = Starts::Silent;
    stage.exits(1, 0, 1);
    stage.told();
    stage.says_offline(1, 0);
    let told = stage.told();
    assert!(told[0].starts_with("worker 0 (pid 102) said offline while starting; retrying in"), "{told:?}");
}

#[test]
fn each_worker_is_told_to_stop_in_the_way_that_its_readiness_word_asks_for() {
    for (said, signal) in
        [(Readiness::Plain, Some(15)), (Readiness::JsonReady, Some(2)), (Readiness::JsonOnline, None)]
    {
        let mut stage = Stage::booting(policy(), 1, Starts::Silent);
        stage.says(1, 0, Said::Online(said));
        stage.says(1, 0, Said::Online(Readiness::Plain));
        stage.signal("TERM");
        assert_eq!(stage.retired(), [(1, 0, signal)]);
    }
    for (option, signal) in [(StopSignal::None, None), (StopSignal::Signal(3), Some(3))] {
        let mut stage = Stage::serving_with(Policy { stop_signal: option, ..policy() }, 1);
        stage.signal("TERM");
        assert_eq!(stage.retired(), [(1, 0, signal)]);
    }
}

#[test]
fn the_first_readiness_word_counts_for_that_even_where_it_decides_nothing_else() {
    for ready in [Ready::Exec, Ready::After(Duration::from_secs(1))] {
        let mut stage = Stage::booting(Policy { ready, ..policy() }, 1, Starts::Silent);
        stage.seconds(2);
        stage.says(1, 0, Said::Online(Readiness::JsonOnline));
        stage.signal("TERM");
        assert_eq!(stage.retired(), [(1, 0, None)]);
    }
}

#[test]
fn who_has_closed_the_channel_gets_term_where_it_would_have_got_the_line_alone() {
    for (said, signal) in [(Readiness::JsonReady, Some(2)), (Readiness::JsonOnline, Some(15))] {
        let mut stage = Stage::booting(policy(), 1, Starts::Silent);
        stage.says(1, 0, Said::Online(said));
        stage.event(Event::Hushed { worker: stage.worker(1, 0) });
        stage.signal("TERM");
        assert_eq!(stage.retired(), [(1, 0, signal)]);
    }
}

#[test]
fn a_listener_that_was_healed_changes_nothing_and_names_who_may_have_done_it() {
    let mut stage = Stage::serving(2);
    let shut = Event::ListenerShut { listener: 0, outcome: Mended::Healed };
    stage.seconds(5);
    stage.says_offline(1, 0);
    stage.told();
    stage.event(shut);
    assert_eq!(stage.told(), ["[::]:8000 was shut down by worker 0 (pid 101), it seems; listening again"]);
    assert_eq!((stage.retired(), stage.online().len()), (vec![], 2));
}

#[test]
fn a_listener_that_was_bound_anew_fails_the_deploy_and_recycles_the_workers_one_before_the_other() {
    let mut stage = Stage::serving(2);
    stage.seconds(5);
    stage.starts = Starts::Silent;
    let deploy = stage.ask(redeploy());
    stage.done();
    stage.event(Event::ListenerShut { listener: 0, outcome: Mended::Rebound });
    assert_eq!(
        stage.answer(deploy),
        "failed: deploy 2 failed: [::]:8000 was shut down under its workers; generation 1 keeps serving"
    );
    assert_eq!(stage.spawned(), [(1, 0), (1, 1)]);
    assert_eq!(stage.online(), [(1, 0), (1, 1)]);
    stage.done();
    stage.says_online(1, 0);
    assert_eq!(stage.retired(), [(1, 0, Some(15))]);
    stage.says_online(1, 1);
    assert_eq!(stage.online(), [(1, 0), (1, 1)]);
    // Again within ten seconds: not at once.
    stage.done();
    stage.event(Event::ListenerShut { listener: 0, outcome: Mended::Rebound });
    assert_eq!(stage.spawned(), []);
    stage.seconds(5);
    assert_eq!(stage.spawned(), [(1, 0), (1, 1)]);
}

#[test]
fn a_worker_that_crashes_while_its_replacement_waits_is_told_with_the_time_that_it_takes() {
    let mut stage = Stage::serving(1);
    let shut = Event::ListenerShut { listener: 0, outcome: Mended::Rebound };
    stage.event(shut.clone());
    stage.seconds(1);
    stage.event(shut);
    stage.told();
    stage.exits(1, 0, 1);
    assert_eq!(stage.told(), ["worker 0 (pid 102) exited with status 1 after 1s online; retrying in 5s"]);
    stage.seconds(5);
    assert_eq!(stage.online(), [(1, 0)]);
}

#[test]
fn a_listener_shut_while_booting_fails_the_boot() {
    let mut stage = Stage::booting(policy(), 1, Starts::Silent);
    stage.event(Event::ListenerShut { listener: 0, outcome: Mended::Rebound });
    assert_eq!(stage.told()[1], "cannot start: [::]:8000 was shut down under its workers");
    assert_eq!(stage.ended, Some(1));
}

#[test]
fn who_is_wanted_no_longer_before_it_is_there_keeps_the_shortest_limit_that_it_was_given() {
    let mut stage = Stage::serving(1);
    stage.seconds(5);
    (stage.forks, stage.starts, stage.ends) = (Forks::Wait, Starts::Silent, Ends::Never);
    stage.exits(1, 0, 1);
    stage.event(Event::ListenerShut { listener: 0, outcome: Mended::Rebound });
    stage.signal("TERM");
    stage.forks = Forks::Work;
    stage.finish_forks();
    stage.done();
    stage.seconds(5);
    assert_eq!(stage.killed(), [(1, 0)]);
    stage.seconds(25);
    assert_eq!(stage.killed(), [(1, 0), (1, 0)]);
}

#[test]
fn flags_are_put_back_as_the_serving_generation_had_them_once_the_last_of_a_failed_one_is_gone() {
    let mut stage = Stage::serving(1);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    stage.ask(deploy_of(None, Some(2)));
    stage.nonblocking = true;
    stage.says_online(2, 0);
    stage.exits(2, 1, 1);
    assert!(!stage.done().iter().any(restores));
    stage.seconds(5);
    let restored = Effect::RestoreFlags { nonblocking: vec![], clear_others: true };
    assert!(stage.done().contains(&restored));
}

#[test]
fn flags_are_not_cleared_after_a_deploy_that_came_off_nor_where_readiness_is_guessed() {
    let mut stage = Stage::serving(1);
    stage.nonblocking = true;
    stage.ask(redeploy());
    let restored = Effect::RestoreFlags { nonblocking: vec![0], clear_others: false };
    assert!(stage.done().contains(&restored));

    let mut stage = Stage::serving_with(Policy { ready: Ready::Exec, ..policy() }, 1);
    stage.forks = Forks::Fail;
    stage.ask(redeploy());
    let restored = Effect::RestoreFlags { nonblocking: vec![], clear_others: false };
    assert!(stage.done().contains(&restored));
}

fn restores(effect: &Effect) -> bool {
    matches!(effect, Effect::RestoreFlags { .. })
}

#[test]
fn the_first_process_of_a_told_worker_may_die_first_and_its_group_keeps_the_rest_of_the_limit() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    stage.leaves_remnants = true;
    let old = stage.worker(1, 0);
    let deploy = stage.ask(redeploy());
    stage.done();
    stage.seconds(10);
    stage.dies(old, Ending::Signaled(15));
    assert_eq!(stage.done(), []);
    stage.pass(Duration::from_millis(19_999));
    assert_eq!(stage.done(), []);
    stage.told();
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.killed(), [(1, 0)]);
    assert_eq!(
        stage.told()[0],
        "worker 0 (pid 101) ended, but what it had started did not: killed \
            (a shell that starts the server should exec it)"
    );
    assert_eq!(stage.answer(deploy), "done");
}
