//! Workers that ask for more time: believed in what is usual, not where somebody wanted it short, and not for ever.

use std::time::Duration;

use crate::core::Request;
use crate::core::sim::stage::{Ends, Stage, Starts, deploy_of, policy, redeploy};
use crate::wire::worker::Said;

fn asks(stage: &mut Stage, generation: u32, slot: u32, seconds: u64) {
    stage.says(generation, slot, Said::Extend(Duration::from_secs(seconds)));
}

/// Seconds until the first KILL.
fn killed_after(stage: &mut Stage) -> u64 {
    let before = stage.at();
    while stage.killed().is_empty() {
        stage.seconds(1);
    }
    u64::try_from(stage.at() - before).unwrap() / 1000
}

#[test]
fn a_worker_that_starts_and_asks_for_time_is_late_when_that_is_over_and_the_sentence_has_the_whole_time() {
    let mut stage = Stage::booting(policy(), 1, Starts::Silent);
    stage.seconds(50);
    asks(&mut stage, 1, 0, 20);
    stage.seconds(19);
    assert_eq!(stage.ended, None);
    asks(&mut stage, 1, 0, 5);
    stage.seconds(4);
    assert_eq!(stage.ended, None);
    stage.seconds(1);
    assert_eq!(stage.ended, Some(1));
    assert!(stage.told()[0].contains(" within 74s"), "it was told of another time");
}

#[test]
fn who_asks_for_less_than_it_has_loses_nothing() {
    let mut stage = Stage::booting(policy(), 1, Starts::Silent);
    asks(&mut stage, 1, 0, 1);
    stage.seconds(59);
    assert_eq!(stage.ended, None);
    stage.seconds(1);
    assert_eq!(stage.ended, Some(1));
}

#[test]
fn one_message_is_good_for_an_hour_and_all_of_them_for_a_day() {
    let mut stage = Stage::booting(policy(), 1, Starts::Silent);
    stage.says(1, 0, Said::Extend(Duration::MAX));
    stage.seconds(3600);
    assert_eq!(stage.ended, Some(1));

    let mut stage = Stage::booting(policy(), 1, Starts::Silent);
    stage.says(1, 0, Said::Extend(Duration::MAX));
    stage.seconds(3599);
    assert_eq!(stage.ended, None);
    for _ in 0..46 {
        stage.says(1, 0, Said::Extend(Duration::MAX));
        stage.seconds(1800);
    }
    assert_eq!((stage.ended, stage.at() / 1000), (None, 86_399));
    stage.says(1, 0, Said::Extend(Duration::MAX));
    stage.seconds(1);
    assert_eq!(stage.ended, Some(1));
}

#[test]
fn a_worker_that_drains_and_asks_for_time_has_it_in_a_deploy_a_scale_and_a_stop() {
    for what in ["deploy", "scale", "stop"] {
        let mut stage = Stage::serving(2);
        stage.ends = Ends::Never;
        match what {
            "deploy" => stage.ask(redeploy()),
            "scale" => stage.scale(1),
            _ => stage.ask(Request::Stop { timeout: None }),
        };
        stage.seconds(29);
        asks(&mut stage, 1, 1, 100);
        stage.seconds(1);
        assert!(!stage.killed().contains(&(1, 1)), "{what}");
        stage.seconds(98);
        assert!(!stage.killed().contains(&(1, 1)), "{what}");
        stage.seconds(1);
        assert!(stage.killed().contains(&(1, 1)), "{what}");
    }
}

#[test]
fn a_drain_lasts_a_day_at_most() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    stage.signal("TERM");
    for _ in 0..50 {
        stage.says(1, 0, Said::Extend(Duration::MAX));
        stage.seconds(1700);
    }
    assert_eq!(stage.killed(), []);
    stage.says(1, 0, Said::Extend(Duration::MAX));
    assert_eq!(killed_after(&mut stage), 86_400 - 50 * 1700);
}

#[test]
fn what_a_dead_first_process_has_left_to_drain_may_ask_as_well() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    stage.leaves_remnants = true;
    stage.signal("TERM");
    stage.exits(1, 0, 0);
    asks(&mut stage, 1, 0, 50);
    assert_eq!(killed_after(&mut stage), 50);
}

#[test]
fn nobody_asks_for_time_that_somebody_wanted_to_be_short() {
    // A deploy that has failed.
    let mut stage = Stage::serving(2);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    stage.ask(deploy_of(Some("bad"), None));
    stage.exits(2, 0, 1);
    asks(&mut stage, 2, 1, 100);
    assert_eq!(killed_after(&mut stage), 5);

    // A stop with a time of its own, and one that is made shorter.
    for (first, after) in [(Some(40), 40), (Some(3), 3), (None, 4)] {
        let mut stage = Stage::serving(1);
        stage.ends = Ends::Never;
        stage.ask(Request::Stop { timeout: first.map(Duration::from_secs) });
        asks(&mut stage, 1, 0, 100);
        if first.is_none() {
            stage.ask(Request::Stop { timeout: Some(Duration::from_secs(4)) });
            asks(&mut stage, 1, 0, 100);
        }
        assert_eq!(killed_after(&mut stage), after);
    }

    // What crashed leaves something behind.
    let mut stage = Stage::serving(1);
    stage.leaves_remnants = true;
    let crashed = stage.worker(1, 0);
    stage.exits(1, 0, 1);
    stage.event(crate::core::Event::Said { worker: crashed, said: Said::Extend(Duration::from_secs(100)) });
    assert_eq!(killed_after(&mut stage), 5);
}

#[test]
fn an_abort_and_a_second_interrupt_wait_for_nobody() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    stage.ask(redeploy());
    asks(&mut stage, 1, 0, 100);
    stage.ask(Request::Abort);
    assert_eq!(stage.killed(), [(1, 0)]);

    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    stage.signal("INT");
    asks(&mut stage, 1, 0, 100);
    stage.seconds(2);
    stage.signal("INT");
    assert_eq!(stage.killed(), [(1, 0)]);
}

#[test]
fn the_whole_time_of_a_deploy_is_not_longer_because_a_worker_asks() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    let deploy = stage.ask(Request::Deploy(crate::wire::control::message::Deploy {
        timeout: Some(Duration::from_secs(20)),
        ..Default::default()
    }));
    asks(&mut stage, 2, 0, 500);
    stage.seconds(20);
    assert_eq!(stage.answer(deploy), "timed out");
}

#[test]
fn who_says_offline_and_asks_for_time_keeps_it_when_it_is_replaced_and_when_a_stop_comes() {
    let mut stage = Stage::serving(1);
    stage.ends = Ends::Never;
    stage.seconds(5);
    let leaving = stage.worker(1, 0);
    stage.event(crate::core::Event::Said { worker: leaving, said: Said::Offline { why: String::new() } });
    stage.event(crate::core::Event::Said { worker: leaving, said: Said::Extend(Duration::from_secs(80)) });
    stage.seconds(10);
    assert_eq!(stage.online(), [(1, 0)], "it is replaced");
    stage.signal("TERM");
    stage.done();
    stage.seconds(30);
    assert_eq!(stage.killed().len(), 1, "its successor, which has asked for nothing");
    stage.done();
    assert_eq!(killed_after(&mut stage), 40);
}

#[test]
fn who_serves_asks_in_vain() {
    let mut stage = Stage::serving(1);
    asks(&mut stage, 1, 0, 500);
    stage.ends = Ends::Never;
    stage.signal("TERM");
    assert_eq!(killed_after(&mut stage), 30);
}
