//! Boot: the first worker that fails ends srvwrap, and says why.

use crate::core::sim::stage::{Ends, Forks, Stage, Starts, policy, redeploy};
use crate::core::{Effect, Ending, Event, OnCrash, Policy, Ready, Request};
use crate::wire::worker::Said;

fn booting(count: u32) -> Stage {
    Stage::booting(policy(), count, Starts::Silent)
}

#[test]
fn a_boot_is_told_when_all_workers_are_online() {
    let mut stage = booting(2);
    stage.seconds(1);
    stage.says_online(1, 0);
    assert_eq!(stage.told(), ["worker 0 (pid 101) online after 1s"]);
    stage.says_online(1, 1);
    assert_eq!(stage.told(), ["worker 1 (pid 102) online after 1s", "workers online: 2, after 1s"]);
    assert_eq!(stage.retired(), []);
}

#[test]
fn a_worker_that_exits_ends_the_boot_with_1_and_takes_the_others_along() {
    let mut stage = booting(2);
    stage.says_online(1, 1);
    stage.told();
    stage.exits(1, 0, 3);
    assert_eq!(
        stage.told(),
        ["cannot start: worker 0 (pid 101) exited with status 3 while starting \
            (if the address was in use: srvwrap holds [::]:8000: listen on the descriptor in LISTEN_FD, do not bind it)"]
    );
    assert_eq!(stage.retired(), [(1, 1, Some(15))]);
    assert_eq!(stage.ended, Some(1));
}

#[test]
fn a_worker_that_was_online_and_dies_before_the_others_are_fails_the_boot_too() {
    let mut stage = booting(2);
    stage.says_online(1, 0);
    stage.seconds(2);
    stage.told();
    stage.dies(stage.worker(1, 0), Ending::Signaled(11));
    assert_eq!(
        stage.told(),
        ["cannot start: worker 0 (pid 101) was killed by signal 11 (SEGV) after 2s online"]
    );
    assert_eq!(stage.ended, Some(1));
}

#[test]
fn a_boot_in_which_nothing_is_said_ends_with_1_after_the_online_timeout() {
    let mut stage = booting(3);
    stage.ends = Ends::Never;
    stage.seconds(59);
    assert!(stage.told().is_empty());
    stage.seconds(1);
    // All three are late at once: one of them fails the boot, and none is killed before its limit.
    assert_eq!(
        stage.told(),
        [
            "cannot start: worker 0 (pid 101) said nothing on its notice fd within 60s (srvwrap holds [::]:8000: \
            listen on the descriptor in LISTEN_FD, then write the line online to that in NOTIFY_FD, or use --ready \
            after=2s; see srvwrap check)"
        ]
    );
    assert_eq!(stage.retired().len(), 3);
    stage.seconds(4);
    assert_eq!((stage.killed(), stage.ended), (vec![], None));
    stage.seconds(1);
    assert_eq!(stage.killed(), [(1, 0), (1, 1), (1, 2)]);
    assert_eq!(stage.ended, Some(1));
}

#[test]
fn what_cannot_be_executed_ends_the_boot_with_the_code_of_a_shell() {
    for exit_code in [126, 127] {
        let mut stage = booting(1);
        let why = "cannot execute ./server: No such file or directory".to_string();
        stage.dies(stage.worker(1, 0), Ending::NotExecuted { why, exit_code });
        assert_eq!(
            stage.told(),
            ["cannot start: worker 0: cannot execute ./server: No such file or directory"]
        );
        assert_eq!(stage.ended, Some(exit_code));
    }
}

#[test]
fn a_program_that_itself_exits_with_127_ends_the_boot_with_1() {
    let mut stage = booting(1);
    stage.exits(1, 0, 127);
    assert_eq!(stage.ended, Some(1));
}

#[test]
fn a_failing_fork_ends_the_boot() {
    let mut stage = Stage::with(policy(), 2, Forks::Fail, Starts::Silent);
    assert_eq!(stage.told(), ["cannot start: worker 0: cannot fork: Resource temporarily unavailable"]);
    assert_eq!(stage.ended, Some(1));
}

#[test]
fn a_program_that_goes_into_the_background_is_told_not_to() {
    let mut stage = booting(1);
    stage.exits(1, 0, 0);
    assert_eq!(
        stage.told(),
        ["cannot start: worker 0 (pid 101) exited with status 0 while starting (it must stay in the \
            foreground; for a program that is to end, use --ready exec --on-crash exit)"]
    );
    assert_eq!(stage.ended, Some(1));
}

#[test]
fn offline_before_online_ends_the_boot() {
    let mut stage = booting(1);
    stage.says(1, 0, Said::Offline { why: "no licence".to_string() });
    assert_eq!(stage.told(), ["cannot start: worker 0 (pid 101) said offline (no licence) while starting"]);
    assert_eq!(stage.ended, Some(1));
}

#[test]
fn the_status_of_a_worker_is_the_exit_code_where_a_crash_is_to_end_srvwrap() {
    for (ending, code) in [(Ending::Exited(0), 0), (Ending::Exited(7), 7), (Ending::Signaled(9), 137)] {
        let policy = Policy { on_crash: OnCrash::Exit, ..policy() };
        let mut stage = Stage::booting(policy, 2, Starts::Silent);
        stage.dies(stage.worker(1, 0), ending);
        assert_eq!(stage.ended, Some(code));
    }
}

#[test]
fn an_aborted_boot_ends_with_5() {
    let mut stage = booting(2);
    let abort = stage.ask(Request::Abort);
    assert_eq!(stage.told(), ["start aborted by client of uid 0"]);
    assert_eq!((stage.answer(abort).as_str(), stage.ended), ("done", Some(5)));
}

#[test]
fn a_stop_while_booting_ends_with_0_but_a_boot_that_had_failed_keeps_its_code() {
    let mut stage = booting(2);
    stage.signal("TERM");
    assert_eq!(stage.told(), ["TERM: stopping 2 workers within 30s", "stopped"]);
    assert_eq!(stage.ended, Some(0));

    let mut stage = booting(2);
    stage.ends = Ends::Never;
    stage.exits(1, 0, 1);
    stage.signal("TERM");
    stage.seconds(30);
    assert_eq!(stage.ended, Some(1));
}

#[test]
fn a_stop_while_the_first_process_is_being_made_ends_it_once_it_is_there() {
    let mut stage = Stage::serving(1);
    stage.forks = Forks::Wait;
    let deploy = stage.ask(redeploy());
    stage.signal("TERM");
    assert_eq!((stage.answer(deploy).as_str(), stage.ended), ("aborted", None));
    stage.done();
    stage.forks = Forks::Fail;
    stage.finish_forks();
    assert_eq!(stage.ended, Some(0));
}

#[test]
fn hangups_while_booting_are_one_deploy_after_it() {
    let mut stage = booting(1);
    stage.signal("HUP");
    stage.signal("HUP");
    assert_eq!(stage.told(), ["HUP: will deploy once what is under way is done"]);
    stage.says_online(1, 0);
    stage.says_online(2, 0);
    assert_eq!(stage.online(), [(2, 0)]);
    stage.seconds(100);
    assert_eq!(stage.online(), [(2, 0)]);
}

#[test]
fn programs_that_say_nothing_are_online_when_executed_or_after_a_time() {
    let stage = Stage::booting(Policy { ready: Ready::Exec, ..policy() }, 1, Starts::Silent);
    assert_eq!(stage.online(), [(1, 0)]);

    let after = Ready::After(std::time::Duration::from_secs(2));
    let mut stage = Stage::booting(Policy { ready: after, ..policy() }, 1, Starts::Silent);
    stage.done();
    stage.pass(std::time::Duration::from_millis(1999));
    assert_eq!(stage.online(), []);
    stage.pass(std::time::Duration::from_millis(1));
    assert_eq!(stage.online(), [(1, 0)]);
    // They call listen later: once more a second after.
    assert_eq!(stage.done(), [Effect::Listen { generation: 1 }]);
    stage.seconds(1);
    assert_eq!(stage.done(), [Effect::Listen { generation: 1 }]);
    stage.seconds(100);
    assert_eq!(stage.done(), []);
}

#[test]
fn who_closes_the_descriptor_without_a_word_is_told_of_once_and_not_where_it_dies() {
    let mut stage = booting(2);
    let (first, second) = (stage.worker(1, 0), stage.worker(1, 1));
    stage.event(Event::Hushed { worker: first });
    assert!(stage.told().is_empty());
    stage.seconds(1);
    assert_eq!(
        stage.told(),
        ["worker 0 (pid 101) closed its notice fd without saying online; it counts as late after 60s"]
    );
    stage.event(Event::Hushed { worker: second });
    stage.pass(std::time::Duration::from_millis(999));
    stage.exits(1, 1, 1);
    assert_eq!(stage.told().len(), 1);

    let mut stage = booting(1);
    stage.event(Event::Hushed { worker: stage.worker(1, 0) });
    stage.seconds(60);
    assert_eq!(
        stage.told()[1],
        "cannot start: worker 0 (pid 101) closed its notice fd without a word, and was not online within 60s \
            (was it a wrapper that closed it? or use --ready after=2s)"
    );
}
