//! Rolling deploys: some slots at a time, each make before break, and put back the same way where one fails.

use std::time::Duration;

use crate::core::Request;
use crate::core::sim::stage::{Ends, Forks, Stage, Starts, redeploy};
use crate::wire::control::message::Deploy;

fn rolling(word: &str, surge: u32) -> Request {
    Request::Deploy(Deploy { program: Some(vec![word.into()]), surge: Some(surge), ..Deploy::default() })
}

#[test]
fn one_slot_after_the_other_is_taken_over_and_then_the_spec_is_committed() {
    let mut stage = Stage::serving(3);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    let deploy = stage.ask(rolling("second", 1));
    assert_eq!(stage.told(), ["deploy 2 began (client of uid 0): starting 3 workers, 1 at a time"]);
    assert_eq!(stage.spawned(), [(2, 0)]);
    stage.done();
    stage.says_online(2, 0);
    assert_eq!(stage.retired(), [(1, 0, Some(15))]);
    // The next slot's turn comes when the old worker is gone: never more than one too many.
    assert_eq!(stage.spawned(), []);
    stage.exits(1, 0, 0);
    assert_eq!(stage.spawned(), [(2, 1)]);
    stage.says_online(2, 1);
    stage.exits(1, 1, 0);
    assert_eq!((stage.runs(1).as_str(), stage.answer(deploy).as_str()), ("first", ""));
    stage.told();
    stage.says_online(2, 2);
    assert_eq!(stage.told()[1], "deploy 2 is live in every slot; 1 worker of generation 1 left to retire");
    stage.exits(1, 2, 0);
    assert_eq!(stage.answer(deploy), "done");
    assert_eq!(stage.online(), [(2, 0), (2, 1), (2, 2)]);
}

#[test]
fn two_at_a_time_are_two_at_a_time() {
    let mut stage = Stage::serving(5);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    stage.ask(rolling("second", 2));
    assert_eq!(stage.spawned(), [(2, 0), (2, 1)]);
    stage.done();
    stage.says_online(2, 1);
    stage.exits(1, 1, 0);
    assert_eq!(stage.spawned(), [(2, 2)]);
}

#[test]
fn an_old_worker_that_crashes_meanwhile_is_followed_by_one_of_the_old_spec() {
    let mut stage = Stage::serving(2);
    stage.starts = Starts::Silent;
    stage.ask(rolling("second", 1));
    stage.done();
    stage.exits(1, 1, 1);
    stage.seconds(1);
    assert_eq!((stage.spawned(), stage.runs(1).as_str()), (vec![(1, 1)], "first"));
}

#[test]
fn what_failed_is_put_back_make_before_break_and_then_answered() {
    let mut stage = Stage::serving(3);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    let deploy = stage.ask(rolling("second", 1));
    stage.says_online(2, 0);
    stage.exits(1, 0, 0);
    stage.says_online(2, 1);
    stage.exits(1, 1, 0);
    stage.told();
    stage.done();
    stage.exits(2, 2, 1);
    let told = stage.told();
    assert!(told[0].starts_with("deploy 2 failed: worker 2"), "{told:?}");
    assert_eq!(told[1], "deploy 2: generation 1 takes back the slots of 2 workers");
    // One at a time, and the new one is told when the old spec serves again.
    assert_eq!((stage.spawned(), stage.retired()), (vec![(1, 0)], vec![]));
    stage.says_online(1, 0);
    assert_eq!(stage.retired(), [(2, 0, Some(15))]);
    stage.exits(2, 0, 0);
    stage.says_online(1, 1);
    assert_eq!(stage.answer(deploy), "");
    stage.exits(2, 1, 0);
    assert!(stage.answer(deploy).starts_with("failed: deploy 2 failed: worker 2"));
    assert_eq!(stage.online(), [(1, 0), (1, 1), (1, 2)]);
}

#[test]
fn a_slot_whose_new_worker_dies_is_put_back_at_once() {
    let mut stage = Stage::serving(2);
    stage.starts = Starts::Silent;
    let deploy = stage.ask(rolling("second", 1));
    stage.says_online(2, 0);
    stage.done();
    stage.exits(2, 0, 1);
    assert_eq!(stage.spawned(), [(1, 0)]);
    stage.says_online(1, 0);
    assert!(stage.answer(deploy).starts_with("failed: deploy 2 failed: worker 0"));
    assert_eq!(stage.online(), [(1, 0), (1, 1)]);
}

#[test]
fn an_old_spec_that_does_not_come_back_does_not_hold_up_the_answer_for_ever() {
    let mut stage = Stage::serving(2);
    stage.starts = Starts::Silent;
    let deploy = stage.ask(rolling("second", 1));
    stage.says_online(2, 0);
    stage.exits(2, 1, 1);
    assert_eq!(stage.online(), [(1, 1), (2, 0)]);
    stage.seconds(59);
    assert_eq!(stage.online(), [(1, 1), (2, 0)], "the new worker serves meanwhile");
    stage.seconds(60);
    assert!(stage.answer(deploy).starts_with("failed: "));
    assert_eq!(stage.online(), [(1, 1)]);
}

#[test]
fn an_abort_puts_back_too() {
    let mut stage = Stage::serving(2);
    stage.starts = Starts::Silent;
    let deploy = stage.ask(rolling("second", 1));
    stage.says_online(2, 0);
    let abort = stage.ask(Request::Abort);
    stage.says_online(1, 0);
    assert_eq!((stage.answer(deploy).as_str(), stage.answer(abort).as_str()), ("aborted", "done"));
    assert_eq!(stage.online(), [(1, 0), (1, 1)]);
}

#[test]
fn it_is_baked_once_it_has_every_slot() {
    let mut stage = Stage::serving(2);
    let bake = Some(Duration::from_secs(5));
    let deploy = stage.ask(Request::Deploy(Deploy { bake, surge: Some(1), ..Deploy::default() }));
    assert_eq!(
        stage.told().last().unwrap(),
        "deploy 2 has every slot; it is live after 5s without a failure"
    );
    stage.seconds(4);
    assert_eq!(stage.answer(deploy), "");
    stage.seconds(1);
    assert_eq!(stage.answer(deploy), "done");
}

#[test]
fn more_and_fewer_workers_are_slots_too() {
    let mut stage = Stage::serving(2);
    let deploy = stage.ask(Request::Deploy(Deploy { workers: Some(4), surge: Some(1), ..Deploy::default() }));
    assert_eq!((stage.answer(deploy).as_str(), stage.online().len(), stage.count()), ("done", 4, 4));
    let deploy = stage.ask(Request::Deploy(Deploy { workers: Some(1), surge: Some(3), ..Deploy::default() }));
    assert_eq!((stage.answer(deploy).as_str(), stage.online()), ("done", vec![(3, 0)]));
}

#[test]
fn a_stop_ends_both_generations() {
    let mut stage = Stage::serving(3);
    stage.starts = Starts::Silent;
    let deploy = stage.ask(rolling("second", 1));
    stage.says_online(2, 0);
    let stop = stage.ask(Request::Stop { timeout: None });
    assert_eq!((stage.answer(deploy).as_str(), stage.answer(stop).as_str()), ("aborted", "done"));
    assert_eq!(stage.ended, Some(0));
}

#[test]
fn restarts_are_those_of_the_generation_and_deploys_are_none() {
    let mut stage = Stage::serving(1);
    stage.seconds(11);
    stage.exits(1, 0, 1);
    stage.seconds(11);
    stage.exits(1, 0, 1);
    assert_eq!(stage.restarts(), [2]);
    stage.ask(redeploy());
    assert_eq!(stage.restarts(), [0]);
    stage.ask(rolling("third", 1));
    stage.seconds(11);
    stage.exits(3, 0, 1);
    assert_eq!(stage.restarts(), [1]);
}

#[test]
fn a_slot_of_the_old_spec_that_crashes_does_not_hold_up_the_others() {
    let mut stage = Stage::serving(3);
    stage.starts = Starts::Silent;
    stage.ask(rolling("second", 1));
    stage.says_online(2, 0);
    stage.says_online(2, 1);
    // The old worker of the last slot is between two attempts while the two others are put back.
    stage.exits(1, 2, 1);
    stage.ask(Request::Abort);
    stage.says_online(1, 0);
    stage.says_online(1, 1);
    assert_eq!(stage.online(), [(1, 0), (1, 1)]);
}

#[test]
fn slots_that_the_old_generation_does_not_have_are_not_put_back() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    let deploy = Deploy { workers: Some(3), surge: Some(1), ..Deploy::default() };
    let deploy = stage.ask(Request::Deploy(deploy));
    stage.says_online(2, 0);
    stage.says_online(2, 1);
    stage.exits(2, 2, 1);
    assert_eq!(stage.rows("online"), [(2, 0)]);
    stage.says_online(1, 0);
    assert!(stage.answer(deploy).starts_with("failed: "));
    assert_eq!(stage.online(), [(1, 0)]);
}

#[test]
fn a_slot_that_nobody_serves_is_filled_beside_the_one_that_is_put_back() {
    let mut stage = Stage::serving(3);
    stage.starts = Starts::Silent;
    stage.ask(rolling("second", 1));
    stage.says_online(2, 0);
    stage.says_online(2, 1);
    stage.done();
    stage.exits(2, 1, 1);
    assert_eq!(stage.spawned(), [(1, 1), (1, 0)]);
}

#[test]
fn a_new_worker_that_never_served_has_the_short_limit_and_one_that_did_the_whole() {
    let mut stage = Stage::serving(2);
    stage.starts = Starts::Silent;
    stage.ask(rolling("second", 1));
    stage.says_online(2, 0);
    stage.ends = Ends::Never;
    stage.ask(Request::Abort);
    stage.done();
    stage.seconds(5);
    assert_eq!(stage.killed(), [(2, 1)]);
    // Only now is there room for another process.
    stage.says_online(1, 0);
    stage.seconds(29);
    assert_eq!(stage.killed(), [(2, 1)]);
    stage.seconds(1);
    assert_eq!(stage.killed(), [(2, 1), (2, 0)]);
}

#[test]
fn an_old_spec_that_is_never_made_does_not_hold_up_the_answer_either() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    let bake = Some(std::time::Duration::from_secs(600));
    let deploy = stage.ask(Request::Deploy(Deploy { bake, surge: Some(1), ..Deploy::default() }));
    stage.says_online(2, 0);
    stage.forks = Forks::Wait;
    stage.ask(Request::Abort);
    stage.seconds(59);
    assert_eq!((stage.answer(deploy).as_str(), stage.online()), ("", vec![(2, 0)]));
    stage.seconds(1);
    assert_eq!(stage.answer(deploy), "aborted");
}
