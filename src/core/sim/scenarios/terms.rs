//! What a client may ask of a deploy, a rollback, a stop or a signal, and how it is answered.

use std::time::Duration;

use crate::core::sim::stage::{Ends, Stage, Starts, deploy_of, redeploy};
use crate::core::{Effect, Request};
use crate::wire::control::message::Deploy;

fn within(seconds: u64) -> Request {
    Request::Deploy(Deploy { timeout: Some(Duration::from_secs(seconds)), ..Deploy::default() })
}

fn rollback() -> Request {
    Request::Rollback(Deploy::default())
}

#[test]
fn a_deploy_whose_time_is_over_before_the_flip_ends_as_an_abort_does() {
    let mut stage = Stage::serving(2);
    stage.starts = Starts::Silent;
    let deploy = stage.ask(within(10));
    stage.says_online(2, 0);
    stage.seconds(9);
    assert_eq!(stage.answer(deploy), "");
    stage.seconds(1);
    assert_eq!(stage.answer(deploy), "timed out");
    assert_eq!(stage.answer_text(deploy), "deploy 2 was not done within 10s; generation 1 keeps serving");
    assert_eq!(stage.online(), [(1, 0), (1, 1)]);
}

#[test]
fn a_deploy_whose_time_is_over_after_the_flip_is_live_and_the_old_workers_are_killed() {
    let mut stage = Stage::serving(2);
    stage.ends = Ends::Never;
    let deploy = stage.ask(within(10));
    stage.seconds(10);
    assert_eq!(stage.killed(), [(1, 0), (1, 1)]);
    assert_eq!(stage.answer(deploy), "timed out");
    assert_eq!(
        stage.answer_text(deploy),
        "deploy 2 is live after 10s with 2 workers; the old ones were killed, because its time was over"
    );
    assert_eq!(stage.online(), [(2, 0), (2, 1)]);
}

#[test]
fn a_deploy_with_an_online_timeout_of_its_own_leaves_that_of_later_workers_as_it_was() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    let online_timeout = Some(Duration::from_secs(3));
    let deploy = stage.ask(Request::Deploy(Deploy { online_timeout, ..Deploy::default() }));
    stage.seconds(3);
    assert_eq!(
        stage.answer(deploy),
        "failed: deploy 2 failed: worker 0 (pid 102) was not online within 3s; generation 1 keeps serving"
    );
    let deploy = stage.ask(Request::Deploy(Deploy { online_timeout, ..Deploy::default() }));
    stage.says_online(3, 0);
    assert_eq!(stage.answer(deploy), "done");
    stage.seconds(2);
    stage.exits(3, 0, 1);
    stage.told();
    stage.seconds(59);
    assert_eq!(stage.told(), [""; 0]);
    stage.seconds(1);
    let told = stage.told();
    assert!(told[0].starts_with("worker 0 (pid 104) was not online within 60s; retrying in"), "{told:?}");
}

#[test]
fn who_does_not_want_to_wait_is_answered_at_the_flip() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    let deploy = stage.ask(Request::Deploy(Deploy { wait: false, ..Deploy::default() }));
    assert_eq!(stage.answer(deploy), "done");
    assert_eq!(stage.answer_text(deploy), "deploy 2 is live; retiring 1 worker of generation 1");
    let other = stage.ask(redeploy());
    assert_eq!(
        stage.answer(other),
        "refused, because deploy 2 (client of uid 0) is under way; srvwrap abort ends it"
    );
}

#[test]
fn a_deploy_for_another_generation_is_refused() {
    let mut stage = Stage::serving(1);
    let deploy =
        |generation| Request::Deploy(Deploy { if_generation: Some(generation), ..Deploy::default() });
    let right = stage.ask(deploy(1));
    assert_eq!(stage.answer(right), "done");
    let wrong = stage.ask(deploy(1));
    assert_eq!(
        stage.answer(wrong),
        "refused, because generation 2 serves, and not 1: somebody has deployed since"
    );
}

#[test]
fn a_rollback_runs_what_the_generation_before_ran_and_keeps_the_count() {
    let mut stage = Stage::serving(1);
    let none = stage.ask(rollback());
    assert_eq!(stage.answer(none), "refused, because there was no deploy before this one");
    stage.ask(deploy_of(Some("second"), None));
    stage.scale(3);
    let back = stage.ask(rollback());
    assert_eq!((stage.answer(back).as_str(), stage.runs(3).as_str(), stage.count()), ("done", "first", 3));
    // And forth again.
    stage.ask(rollback());
    assert_eq!(stage.runs(4), "second");
}

#[test]
fn a_rollback_cannot_help_where_only_files_changed() {
    let mut stage = Stage::serving(1);
    stage.ask(redeploy());
    let back = stage.ask(rollback());
    assert_eq!(
        stage.answer(back),
        "refused, because the generation before ran the same program, environment and directory: \
         put the old files back and deploy"
    );
}

#[test]
fn a_failed_deploy_is_nothing_to_roll_back() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    stage.ask(deploy_of(Some("bad"), None));
    stage.exits(2, 0, 1);
    let back = stage.ask(rollback());
    assert_eq!(stage.answer(back), "refused, because there was no deploy before this one");
}

#[test]
fn a_stop_with_a_limit_of_its_own_takes_no_longer() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    let stop = stage.ask(Request::Stop { timeout: Some(Duration::from_secs(2)) });
    stage.seconds(2);
    assert_eq!((stage.killed(), stage.answer(stop).as_str()), (vec![(1, 0)], "done"));
}

#[test]
fn a_second_stop_may_be_in_more_of_a_hurry_but_never_in_less() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    let first = stage.ask(Request::Stop { timeout: None });
    stage.ask(Request::Stop { timeout: Some(Duration::from_secs(100)) });
    stage.seconds(5);
    let second = stage.ask(Request::Stop { timeout: Some(Duration::from_secs(1)) });
    stage.seconds(1);
    assert_eq!(stage.killed(), [(1, 0)]);
    assert_eq!((stage.answer(first).as_str(), stage.answer(second).as_str()), ("done", "done"));
}

#[test]
fn a_signal_goes_to_the_workers_that_serve_or_to_that_of_one_slot() {
    let mut stage = Stage::serving(2);
    let signalled = |stage: &mut Stage| -> usize {
        stage.done().iter().filter(|effect| matches!(effect, Effect::Signal { signal: 12, .. })).count()
    };
    let all = stage.ask(Request::Signal { signal: 12, slot: None });
    assert_eq!((signalled(&mut stage), stage.answer(all).as_str()), (2, "done"));
    assert_eq!(stage.answer_text(all), "client of uid 0: signal 12 (USR2) sent to 2 workers");
    stage.ask(Request::Signal { signal: 12, slot: Some(1) });
    assert_eq!(signalled(&mut stage), 1);
    let nobody = stage.ask(Request::Signal { signal: 12, slot: Some(2) });
    assert_eq!(
        (signalled(&mut stage), stage.answer(nobody)),
        (
            0,
            "failed: client of uid 0: signal 12 (USR2) not sent, because no worker of slot 2 is online"
                .to_string()
        )
    );
}

#[test]
fn the_history_tells_who_deployed_what_and_how_it_ended() {
    let mut stage = Stage::serving(1);
    stage.ask(deploy_of(Some("second"), Some(2)));
    stage.starts = Starts::Silent;
    stage.signal("HUP");
    stage.exits(3, 0, 1);
    stage.ask(within(5));
    stage.seconds(5);
    stage.ask(redeploy());
    let told: Vec<String> = stage
        .supervisor
        .history()
        .map(|deploy| {
            let outcome = deploy.end.as_ref().map(|end| end.outcome);
            let (number, by, live) = (deploy.generation, deploy.asker, deploy.live);
            format!("{number} by {by}: {:?}, live {live}, {outcome:?}", deploy.changed)
        })
        .collect();
    assert_eq!(
        told,
        [
            "1 by boot: [], live true, Some(Done)",
            r#"2 by client of uid 0: ["program", "workers 1 -> 2"], live true, Some(Done)"#,
            "3 by HUP: [], live false, Some(Failed)",
            "4 by client of uid 0: [], live false, Some(TimedOut)",
            "5 by client of uid 0: [], live false, None",
        ]
    );
}

#[test]
fn a_second_stop_in_less_of_a_hurry_gives_strangers_no_more_time() {
    let mut stage = Stage::serving(1);
    stage.strangers = true;
    stage.ask(Request::Stop { timeout: Some(Duration::from_secs(3)) });
    stage.ask(Request::Stop { timeout: Some(Duration::from_secs(100)) });
    stage.seconds(3);
    assert_eq!(stage.ended, Some(0));
}
