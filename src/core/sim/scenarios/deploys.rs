//! Deploys: all new workers online first, then the old ones retire; or nothing has changed.

use std::time::Duration;

use crate::core::sim::stage::{Ends, Forks, Stage, Starts, deploy_of, policy, redeploy};
use crate::core::{Ending, Policy, Request};

fn deploy(word: &str) -> Request {
    deploy_of(Some(word), None)
}

#[test]
fn old_workers_are_told_when_all_new_ones_are_online_and_the_answer_comes_when_they_are_gone() {
    let mut stage = Stage::serving(2);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    let deploy = stage.ask(deploy("second"));
    assert_eq!(stage.told(), ["deploy 2 began (client of uid 0): starting 2 workers"]);
    stage.says_online(2, 0);
    assert_eq!(stage.retired(), []);
    stage.seconds(1);
    stage.says_online(2, 1);
    assert_eq!(stage.retired(), [(1, 0, Some(15)), (1, 1, Some(15))]);
    assert_eq!(stage.told()[2], "deploy 2 is live; retiring 2 workers of generation 1");
    stage.exits(1, 0, 0);
    assert_eq!(stage.answer(deploy), "");
    stage.seconds(29);
    assert_eq!(stage.killed(), []);
    stage.seconds(1);
    assert_eq!(stage.killed(), [(1, 1)]);
    assert_eq!(
        stage.told(),
        [
            "worker 1 (pid 102) did not end within its limit after signal 15 (TERM): killed \
                (an open connection may hold it; --stop-timeout gives more time, --stop-signal another signal)",
            "deploy 2 done after 31s with 2 workers"
        ]
    );
    assert_eq!(stage.answer(deploy), "done");
    assert_eq!(stage.runs(2), "second");
}

#[test]
fn a_new_worker_that_dies_fails_the_deploy_at_once_and_nothing_has_changed() {
    let mut stage = Stage::serving(2);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    let deploy = stage.ask(deploy_of(Some("bad"), Some(3)));
    stage.says_online(2, 1);
    stage.exits(2, 0, 1);
    // The answer comes when the new ones are gone: told, and killed after five seconds.
    assert_eq!(stage.answer(deploy), "");
    assert_eq!(stage.retired(), [(2, 1, Some(15)), (2, 2, Some(15))]);
    stage.pass(Duration::from_millis(4999));
    assert_eq!(stage.killed(), []);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.killed(), [(2, 1), (2, 2)]);
    assert_eq!(
        stage.answer(deploy),
        "failed: deploy 2 failed: worker 0 (pid 103) exited with status 1 while starting; \
            generation 1 keeps serving"
    );
    assert_eq!((stage.online(), stage.count()), (vec![(1, 0), (1, 1)], 2));

    // The number is used up, and the spec that is deployed again is the committed one.
    stage.starts = Starts::Online;
    stage.ends = Ends::AtOnce;
    stage.signal("HUP");
    assert_eq!(stage.online(), [(3, 0), (3, 1)]);
    assert_eq!(stage.runs(3), "first");
}

#[test]
fn a_late_worker_fails_the_deploy_and_one_that_cannot_be_made_does_too() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    let late = stage.ask(deploy("silent"));
    stage.seconds(60);
    assert_eq!(
        stage.answer(late),
        "failed: deploy 2 failed: worker 0 (pid 102) was not online within 60s; generation 1 keeps serving"
    );
    stage.forks = Forks::Fail;
    let unmade = stage.ask(deploy("any"));
    assert_eq!(
        stage.answer(unmade),
        "failed: deploy 3 failed: worker 0: cannot fork: Resource temporarily unavailable; \
            generation 1 keeps serving"
    );
    assert_eq!(stage.online(), [(1, 0)]);
}

#[test]
fn a_fork_that_fails_takes_the_forks_that_are_still_to_come_along() {
    let mut stage = Stage::serving(1);
    stage.forks = Forks::Fail;
    let deploy = stage.ask(deploy_of(None, Some(5)));
    assert!(stage.answer(deploy).starts_with("failed: deploy 2 failed: worker 0: cannot fork"));
    assert_eq!((stage.online(), stage.rows("unwanted")), (vec![(1, 0)], vec![]));
}

#[test]
fn a_crash_after_a_failed_deploy_respawns_the_old_spec() {
    let mut stage = Stage::serving(2);
    stage.starts = Starts::Silent;
    stage.ask(deploy("bad"));
    stage.exits(2, 0, 1);
    stage.starts = Starts::Online;
    stage.seconds(2);
    stage.done();
    stage.exits(1, 1, 1);
    assert_eq!(stage.spawned(), [(1, 1)]);
    assert_eq!(stage.runs(1), "first");
    assert_eq!(stage.online(), [(1, 0), (1, 1)]);
}

#[test]
fn an_old_worker_that_dies_in_a_deploy_is_respawned_and_the_pool_is_back_after_an_abort() {
    let mut stage = Stage::serving(2);
    stage.seconds(5);
    stage.starts = Starts::Silent;
    let deploy = stage.ask(deploy("second"));
    stage.dies(stage.worker(1, 0), Ending::Signaled(9));
    let abort = stage.ask(Request::Abort);
    assert_eq!((stage.answer(deploy), stage.answer(abort)), ("aborted".into(), "done".into()));
    stage.says_online(1, 0);
    assert_eq!(stage.online(), [(1, 0), (1, 1)]);
}

#[test]
fn a_deploy_while_a_worker_backs_off_leaves_the_healthy_ones_alone() {
    let mut stage = Stage::serving(3);
    stage.exits(1, 0, 1);
    stage.starts = Starts::Silent;
    let deploy = stage.ask(deploy("fix"));
    stage.seconds(1);
    assert_eq!((stage.online(), stage.retired()), (vec![(1, 1), (1, 2)], vec![]));
    for slot in 0..3 {
        stage.says_online(2, slot);
    }
    assert_eq!(stage.online(), [(2, 0), (2, 1), (2, 2)]);
    assert_eq!(stage.answer(deploy), "done");
}

#[test]
fn offline_in_a_deploy_leaves_the_pool_whole_and_the_next_deploy_works() {
    let mut stage = Stage::serving(2);
    stage.seconds(5);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    let first = stage.ask(deploy("second"));
    stage.says_offline(1, 0);
    let lingering = stage.worker(1, 0);
    assert_eq!(stage.spawned().last(), Some(&(1, 0)));
    stage.says_online(2, 0);
    stage.says_online(2, 1);
    // The one that lingers is told as any other, and so is its replacement that is not online yet.
    assert_eq!(stage.retired().len(), 3);
    stage.seconds(30);
    assert_eq!(stage.answer(first), "done");
    assert_eq!(stage.online(), [(2, 0), (2, 1)]);
    assert_ne!(lingering, stage.worker(2, 0));
    (stage.starts, stage.ends) = (Starts::Online, Ends::AtOnce);
    stage.signal("HUP");
    assert_eq!(stage.online(), [(3, 0), (3, 1)]);
}

#[test]
fn offline_of_a_new_worker_before_the_flip_fails_the_deploy() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    let deploy = stage.ask(deploy_of(None, Some(2)));
    stage.says_online(2, 0);
    stage.seconds(1);
    stage.says_offline(2, 0);
    assert_eq!(
        stage.answer(deploy),
        "failed: deploy 2 failed: worker 0 (pid 102) said offline after 1s online; generation 1 keeps serving"
    );
}

#[test]
fn ten_hangups_with_a_program_that_hangs_are_two_deploys_and_the_fix_can_be_deployed() {
    let mut stage = Stage::serving(2);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    for _ in 0..10 {
        stage.signal("HUP");
        stage.pass(Duration::from_millis(100));
    }
    assert_eq!(stage.spawned(), [(2, 0), (2, 1)]);
    stage.seconds(65);
    assert_eq!(stage.spawned(), [(2, 0), (2, 1), (3, 0), (3, 1)]);
    stage.seconds(200);
    assert_eq!(stage.spawned().len(), 4);
    assert_eq!(stage.online(), [(1, 0), (1, 1)]);
    stage.starts = Starts::Online;
    stage.ask(deploy("fix"));
    assert_eq!(stage.online(), [(4, 0), (4, 1)]);
}

#[test]
fn a_second_deploy_is_refused_and_leaves_the_first_alone() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    let first = stage.ask(deploy("second"));
    let second = stage.ask(deploy_of(Some("third"), Some(7)));
    assert_eq!(
        stage.answer(second),
        "refused, because deploy 2 (client of uid 0) is under way; srvwrap abort ends it"
    );
    stage.says_online(2, 0);
    assert_eq!((stage.answer(first).as_str(), stage.runs(2).as_str(), stage.count()), ("done", "second", 1));
}

#[test]
fn no_workers_at_all_cannot_be_deployed() {
    let mut stage = Stage::serving(1);
    let none = stage.ask(deploy_of(None, Some(0)));
    assert_eq!(
        stage.answer(none),
        "refused, because there can be no fewer than 1 and no more than 65535 workers"
    );
    assert_eq!(stage.online(), [(1, 0)]);
}

#[test]
fn an_abort_after_the_flip_kills_the_old_ones_and_the_deploy_is_not_answered_with_done() {
    let mut stage = Stage::serving(2);
    stage.ends = Ends::Never;
    let deploy = stage.ask(deploy("second"));
    stage.told();
    let abort = stage.ask(Request::Abort);
    assert_eq!(stage.killed(), [(1, 0), (1, 1)]);
    assert_eq!(
        stage.told()[0],
        "deploy 2 is live, though aborted by client of uid 0; killing 2 workers of the old generation"
    );
    assert_eq!((stage.answer(deploy), stage.answer(abort)), ("aborted".into(), "done".into()));
    assert_eq!(stage.online(), [(2, 0), (2, 1)]);
}

#[test]
fn an_abort_of_what_has_failed_already_does_not_make_it_an_aborted_one() {
    let mut stage = Stage::serving(1);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    let deploy = stage.ask(deploy_of(None, Some(2)));
    stage.exits(2, 0, 1);
    let abort = stage.ask(Request::Abort);
    assert_eq!(stage.answer(abort), "");
    stage.seconds(5);
    assert!(stage.answer(deploy).starts_with("failed: deploy 2 failed"), "{}", stage.answer(deploy));
    assert_eq!(stage.answer(abort), "done");
    let late = stage.ask(Request::Abort);
    assert_eq!(stage.answer(late), "refused, because no deploy is under way");
}

#[test]
fn a_starting_worker_that_is_wanted_no_longer_gets_the_stop_ladder_and_not_kill() {
    let mut stage = Stage::serving(1);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    stage.forks = Forks::Wait;
    stage.ask(redeploy());
    stage.ask(Request::Abort);
    assert_eq!((stage.retired(), stage.killed()), (vec![], vec![]));
    stage.forks = Forks::Work;
    stage.finish_forks();
    // Without a generation to run the fork fails; with one it would have been told.
    assert_eq!(stage.killed(), []);
    stage.ask(redeploy());
    stage.done();
    stage.ask(Request::Abort);
    assert_eq!((stage.retired(), stage.killed()), (vec![(3, 0, Some(15))], vec![]));
}

#[test]
fn a_bake_keeps_both_generations_and_then_flips() {
    let mut stage = Stage::serving_with(Policy { bake: Duration::from_secs(30), ..policy() }, 1);
    let deploy = stage.ask(deploy("second"));
    assert_eq!(stage.told().last().unwrap(), "deploy 2 is online; both generations serve for 30s");
    stage.pass(Duration::from_millis(29_999));
    assert_eq!(stage.online(), [(1, 0), (2, 0)]);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.online(), [(2, 0)]);
    assert_eq!(stage.answer(deploy), "done");
}

#[test]
fn a_new_worker_that_dies_in_the_bake_fails_the_deploy_and_the_old_were_never_told() {
    let mut stage = Stage::serving_with(Policy { bake: Duration::from_secs(30), ..policy() }, 1);
    let deploy = stage.ask(deploy("second"));
    stage.seconds(29);
    stage.exits(2, 0, 1);
    assert_eq!(
        stage.answer(deploy),
        "failed: deploy 2 failed: worker 0 (pid 102) exited with status 1 after 29s online; \
            generation 1 keeps serving"
    );
    assert_eq!((stage.retired(), stage.online()), (vec![], vec![(1, 0)]));
    stage.seconds(100);
    assert_eq!((stage.online(), stage.runs(1)), (vec![(1, 0)], "first".into()));
}

#[test]
fn a_survivor_of_kill_holds_a_deploy_up_for_five_seconds_and_not_for_ever() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Immortal;
    let deploy = stage.ask(deploy("second"));
    stage.seconds(34);
    assert_eq!(stage.answer(deploy), "");
    stage.told();
    stage.seconds(1);
    assert_eq!(
        stage.told()[0],
        "worker 0 (pid 101) is still there 5s after KILL, held by the kernel: no longer waited for"
    );
    assert_eq!(stage.answer(deploy), "done");
    // When the kernel lets go of it at last, nobody is confused.
    stage.dies(stage.worker(1, 0), Ending::Signaled(9));
    assert_eq!(stage.rows("stuck"), []);
    assert_eq!(stage.online(), [(2, 0)]);
}
