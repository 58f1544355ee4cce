//! Crashes after boot: who is replaced at once, who waits, and what is told of a loop.

use std::time::Duration;

use crate::core::sim::stage::{Ends, Forks, Stage, Starts, policy, redeploy};
use crate::core::{Effect, Ending, OnCrash, Policy};

#[test]
fn a_worker_that_served_is_replaced_at_once_the_first_time_in_ten_seconds() {
    let mut stage = Stage::serving(2);
    stage.seconds(5);
    stage.exits(1, 0, 1);
    assert_eq!(stage.spawned(), [(1, 0)]);
    assert_eq!(stage.told()[0], "worker 0 (pid 101) exited with status 1 after 5s online; replacing it");
    stage.seconds(2);
    stage.exits(1, 0, 1);
    let wait = stage.until_spawn(10);
    assert!((160..=240).contains(&wait), "{wait}");
    let told = stage.told();
    assert!(
        told[0].starts_with("worker 0 (pid 103) exited with status 1 after 2s online; retrying in"),
        "{told:?}"
    );
}

#[test]
fn a_worker_that_exits_at_once_is_retried_ever_more_slowly_and_healthy_slots_do_not_notice() {
    let mut stage = Stage::serving(2);
    stage.starts = Starts::Silent;
    stage.exits(1, 0, 1);
    for nominal in [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
        let wait = stage.until_spawn(40);
        assert!((nominal * 8 / 10..=nominal * 12 / 10).contains(&wait), "{wait} for {nominal}");
        stage.exits(1, 0, 1);
    }
    assert_eq!(stage.online(), [(1, 1)]);
    stage.starts = Starts::Online;
    stage.seconds(40);
    assert_eq!(stage.online(), [(1, 0), (1, 1)]);
}

#[test]
fn ten_seconds_online_put_a_crash_loop_back_to_its_start() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    stage.exits(1, 0, 1);
    for _ in 0..6 {
        stage.until_spawn(40);
        stage.exits(1, 0, 1);
    }
    stage.starts = Starts::Online;
    stage.seconds(40);
    stage.done();
    stage.exits(1, 0, 1);
    assert_eq!(stage.spawned(), [(1, 0)]);
    stage.exits(1, 0, 1);
    let wait = stage.until_spawn(40);
    assert!((160..=240).contains(&wait), "{wait}");
}

#[test]
fn slots_that_crash_together_do_not_come_back_together() {
    let mut stage = Stage::serving(8);
    for slot in 0..8 {
        stage.exits(1, slot, 1);
    }
    let mut moments = std::collections::BTreeSet::new();
    for _ in 0..8 {
        stage.until_spawn(1);
        moments.insert(stage.at());
    }
    assert!(moments.len() >= 5, "{moments:?}");
    stage.seconds(1);
    assert_eq!(stage.online().len(), 8);
}

#[test]
fn a_replacement_that_is_late_counts_as_a_crash_and_never_ends_srvwrap() {
    let mut stage = Stage::serving(1);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    stage.seconds(1);
    stage.exits(1, 0, 1);
    stage.seconds(60);
    assert!(stage.told()[1].starts_with("worker 0 (pid 102) was not online within 60s; retrying in"));
    stage.done();
    stage.seconds(5);
    // The respawn does not wait for the late one, which is killed after five seconds.
    assert_eq!((stage.spawned(), stage.killed()), (vec![(1, 0)], vec![(1, 0)]));
    stage.seconds(1000);
    assert_eq!(stage.ended, None);
}

#[test]
fn a_failing_fork_waits_and_recovers_by_itself() {
    let mut stage = Stage::serving(1);
    stage.seconds(5);
    stage.forks = Forks::Fail;
    stage.exits(1, 0, 1);
    assert!(
        stage.told()[1].starts_with("worker 0: cannot fork: Resource temporarily unavailable; retrying in")
    );
    stage.done();
    stage.seconds(10);
    assert!(stage.spawned().len() < 8, "{:?}", stage.spawned());
    stage.forks = Forks::Work;
    stage.seconds(20);
    assert_eq!(stage.online(), [(1, 0)]);
}

#[test]
fn a_crash_loop_is_told_singly_at_first_then_once_a_minute_and_so_is_its_end() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    stage.exits(1, 0, 1);
    let mut told = Vec::new();
    for _ in 0..600 {
        stage.seconds(1);
        if stage.rows("starting") == [(1, 0)] {
            stage.exits(1, 0, 1);
        }
        told.extend(stage.told());
    }
    assert!((10..=16).contains(&told.len()), "{told:#?}");
    assert!(told.last().unwrap().contains("exited with status 1 while starting, as "), "{told:#?}");
    stage.starts = Starts::Online;
    stage.seconds(40);
    assert!(stage.told().last().unwrap().contains(" online after "));
}

#[test]
fn the_group_that_a_crashed_worker_leaves_gets_term_then_kill_and_the_respawn_does_not_wait() {
    let mut stage = Stage::serving(1);
    stage.seconds(2);
    stage.leaves_remnants = true;
    let crashed = stage.worker(1, 0);
    stage.dies(crashed, Ending::Exited(1));
    assert_eq!(stage.done()[0], Effect::Terminate { worker: crashed });
    assert_eq!(stage.online(), [(1, 0)]);
    stage.pass(Duration::from_millis(4999));
    assert_eq!(stage.killed(), []);
    stage.told();
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.killed(), [(1, 0)]);
    assert_eq!(stage.online(), [(1, 0)]);
}

#[test]
fn where_a_crash_is_to_end_srvwrap_the_first_one_stops_all_with_its_status() {
    for (ending, code) in [(Ending::Exited(0), 0), (Ending::Exited(3), 3), (Ending::Signaled(15), 143)] {
        let mut stage = Stage::serving_with(Policy { on_crash: OnCrash::Exit, ..policy() }, 2);
        stage.seconds(5);
        stage.dies(stage.worker(1, 0), ending);
        assert_eq!(stage.retired(), [(1, 1, Some(15))]);
        assert_eq!((stage.spawned(), stage.ended), (vec![], Some(code)));
    }
}

#[test]
fn where_a_crash_is_to_end_srvwrap_a_failed_deploy_an_offline_and_a_scale_down_do_not() {
    let mut stage = Stage::serving_with(Policy { on_crash: OnCrash::Exit, ..policy() }, 2);
    stage.seconds(5);
    stage.starts = Starts::Silent;
    stage.ask(redeploy());
    stage.exits(2, 0, 3);
    stage.starts = Starts::Online;
    let leaving = stage.worker(1, 0);
    stage.says_offline(1, 0);
    stage.dies(leaving, Ending::Exited(0));
    stage.scale(1);
    stage.signal("HUP");
    assert_eq!((stage.ended, stage.online()), (None, vec![(3, 0)]));
}

#[test]
fn a_crash_that_ends_srvwrap_with_a_worker_that_takes_no_notice_says_that_it_was_killed() {
    let mut stage = Stage::serving_with(Policy { on_crash: OnCrash::Exit, ..policy() }, 2);
    stage.ends = Ends::Never;
    stage.seconds(5);
    stage.dies(stage.worker(1, 0), Ending::Exited(3));
    stage.seconds(30);
    assert_eq!((stage.killed(), stage.ended), (vec![(1, 1)], Some(3)));
    assert_eq!(stage.told().last().unwrap(), "stopped; 1 worker was killed");
}

#[test]
fn a_crash_that_ends_srvwrap_is_told_with_the_exit_code() {
    let mut stage = Stage::serving_with(Policy { on_crash: OnCrash::Exit, ..policy() }, 1);
    stage.seconds(5);
    stage.exits(1, 0, 3);
    assert_eq!(
        stage.told(),
        ["worker 0 (pid 101) exited with status 3 after 5s online; \
            stopping with exit code 3, as --on-crash exit asks"]
    );
}
