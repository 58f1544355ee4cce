//! Scales: the target count, up and down.

use std::time::Duration;

use crate::core::sim::stage::{Ends, Forks, Stage, Starts, redeploy};
use crate::core::{Ending, Request, Scale};

#[test]
fn up_waits_for_online_and_down_takes_the_highest_slots() {
    let mut stage = Stage::serving(2);
    stage.starts = Starts::Silent;
    let up = stage.scale(4);
    stage.says_online(1, 3);
    assert_eq!(stage.answer(up), "");
    stage.says_online(1, 2);
    assert_eq!((stage.answer(up).as_str(), stage.count()), ("done", 4));
    stage.ends = Ends::Never;
    let down = stage.scale(1);
    assert_eq!(stage.retired(), [(1, 1, Some(15)), (1, 2, Some(15)), (1, 3, Some(15))]);
    assert_eq!((stage.answer(down).as_str(), stage.count()), ("", 1));
    stage.seconds(29);
    assert_eq!(stage.killed(), []);
    stage.seconds(1);
    assert_eq!(stage.killed().len(), 3);
    assert_eq!((stage.answer(down).as_str(), stage.online()), ("done", vec![(1, 0)]));
}

#[test]
fn an_up_that_fails_puts_the_count_back_and_is_answered_when_its_workers_are_gone() {
    let mut stage = Stage::serving(1);
    (stage.starts, stage.ends) = (Starts::Silent, Ends::Never);
    let up = stage.scale(3);
    stage.says_online(1, 1);
    stage.exits(1, 2, 1);
    assert_eq!((stage.answer(up).as_str(), stage.count()), ("", 1));
    assert_eq!(stage.retired(), [(1, 1, Some(15))]);
    // Meanwhile other things are possible again.
    let other = stage.scale(1);
    assert_eq!(stage.answer(other), "");
    stage.seconds(5);
    assert_eq!(stage.killed(), [(1, 1)]);
    assert_eq!(
        stage.answer(up),
        "failed: scaling failed: worker 2 (pid 103) exited with status 1 while starting; back to 1 worker"
    );
    stage.seconds(100);
    assert_eq!((stage.online(), stage.count()), (vec![(1, 0)], 1));
}

#[test]
fn a_new_worker_that_comes_online_and_crashes_or_leaves_before_the_others_are_fails_the_up() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    for offline in [false, true] {
        let up = stage.scale(3);
        stage.says_online(1, 1);
        stage.seconds(3);
        if offline {
            stage.says_offline(1, 1);
        } else {
            stage.dies(stage.worker(1, 1), Ending::Signaled(11));
        }
        assert!(stage.answer(up).starts_with("failed: scaling failed: worker 1"), "{}", stage.answer(up));
        assert_eq!((stage.count(), stage.online()), (1, vec![(1, 0)]));
    }
}

#[test]
fn an_up_does_not_wait_for_an_old_slot_in_a_crash_loop_and_one_that_cannot_fork_fails() {
    let mut stage = Stage::serving(2);
    stage.starts = Starts::Silent;
    stage.exits(1, 0, 1);
    let up = stage.scale(3);
    stage.says_online(1, 2);
    assert_eq!((stage.answer(up).as_str(), stage.count()), ("done", 3));
    stage.forks = Forks::Fail;
    let up = stage.scale(5);
    assert!(stage.answer(up).starts_with("failed: scaling failed: worker 3: cannot fork"));
    assert_eq!(stage.count(), 3);
}

#[test]
fn a_slot_that_is_given_up_while_it_backs_off_stays_given_up() {
    let mut stage = Stage::serving(2);
    stage.exits(1, 1, 1);
    let down = stage.scale(1);
    assert_eq!(stage.answer(down), "done");
    stage.done();
    stage.seconds(100);
    assert_eq!((stage.spawned(), stage.online()), (vec![], vec![(1, 0)]));
}

#[test]
fn the_count_is_1_to_65535_and_a_scale_to_what_there_is_is_done() {
    let mut stage = Stage::serving(2);
    for count in [0, 65_536, u32::MAX] {
        let refused = stage.scale(count);
        assert_eq!(
            stage.answer(refused),
            "refused, because there can be no fewer than 1 and no more than 65535 workers"
        );
    }
    let less = stage.ask(Request::Scale(Scale::By(-2)));
    assert_eq!(
        stage.answer(less),
        "refused, because there can be no fewer than 1 and no more than 65535 workers"
    );
    let same = stage.scale(2);
    assert_eq!(stage.answer(same), "done");
    assert_eq!((stage.online().len(), stage.told()), (2, vec!["scaled to 2 workers".to_string()]));
    stage.signal("TTOU");
    stage.signal("TTOU");
    assert_eq!(
        stage.told()[2],
        "TTOU: refused, because there can be no fewer than 1 and no more than 65535 workers"
    );
    assert_eq!(stage.online(), [(1, 0)]);
}

#[test]
fn a_scale_is_refused_in_a_deploy_but_signals_are_summed_and_run_after_it() {
    let mut stage = Stage::serving(2);
    stage.starts = Starts::Silent;
    stage.ask(redeploy());
    let refused = stage.scale(5);
    assert_eq!(
        stage.answer(refused),
        "refused, because deploy 2 (client of uid 0) is under way; srvwrap abort ends it"
    );
    for name in ["TTIN", "TTIN", "TTIN", "TTOU"] {
        stage.signal(name);
    }
    assert_eq!(stage.count(), 2);
    stage.starts = Starts::Online;
    stage.says_online(2, 0);
    stage.says_online(2, 1);
    assert_eq!(stage.online(), [(2, 0), (2, 1), (2, 2), (2, 3)]);
}

#[test]
fn a_sum_that_goes_below_one_worker_goes_as_far_as_it_can() {
    let mut stage = Stage::serving(3);
    stage.starts = Starts::Silent;
    stage.ask(redeploy());
    for _ in 0..9 {
        stage.signal("TTOU");
    }
    for slot in 0..3 {
        stage.says_online(2, slot);
    }
    assert_eq!((stage.online(), stage.count()), (vec![(2, 0)], 1));
}

#[test]
fn a_hangup_during_a_scale_up_deploys_the_new_count() {
    let mut stage = Stage::serving(1);
    stage.starts = Starts::Silent;
    stage.signal("TTIN");
    stage.signal("HUP");
    stage.starts = Starts::Online;
    stage.says_online(1, 1);
    assert_eq!(stage.online(), [(2, 0), (2, 1)]);
}

#[test]
fn what_lingers_in_a_slot_that_is_given_up_is_told_too() {
    let mut stage = Stage::serving(2);
    stage.seconds(5);
    stage.ends = Ends::Never;
    stage.says_offline(1, 1);
    stage.done();
    let down = stage.scale(1);
    assert_eq!(stage.retired(), [(1, 1, Some(15)), (1, 1, Some(15))]);
    stage.pass(Duration::from_secs(30));
    assert_eq!(stage.answer(down), "done");
}
