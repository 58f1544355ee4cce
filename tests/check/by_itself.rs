//! Programs that end though nobody has told them to: that is said, and nothing that follows from it.

use super::{Checked, checked, with};

const ONLINE: &str = r#"notice.send(b"online\n")"#;
const ANSWERED: &str = "            if last:";

fn ended(checked: &Checked, text: &str) {
    assert!(checked.seen("shutdown").starts_with(text), "{:#}", checked.report);
    assert!(checked.seen("shutdown").ends_with("though nobody had told it to"), "{:#}", checked.report);
    for point in checked.not_tried() {
        assert_eq!(checked.seen(point), "it had ended by itself", "{point}");
    }
}

#[test]
fn an_end_within_two_seconds_is_seen_whatever_its_status() {
    for (after, status) in [("0.2", 3), ("1.2", 0)] {
        // At that moment, however little of the processor it gets.
        let end = format!("signal.signal(signal.SIGALRM, lambda *_: os._exit({status}))");
        let bad = format!("print('the cause', flush=True); {end}; signal.setitimer(0, {after}); {ONLINE}");
        let Some(checked) = with(ONLINE, &bad, &[], &["shutdown: fail"]) else { return };
        ended(&checked, &format!("ended with status {status}, "));
        assert_eq!(checked.point("shutdown")["output"][0], "the cause");
    }
}

#[test]
fn an_end_after_an_answer_is_the_only_fault() {
    let bad = format!("            os._exit(7)\n{ANSWERED}");
    let Some(checked) = with(ANSWERED, &bad, &[], &["shutdown: fail"]) else { return };
    ended(&checked, "ended with status 7, ");
    assert!(checked.not_tried().contains(&"second-connection"), "{:#}", checked.report);
}

/// Before the moment in which online has been heard, there may be nothing left to be tried.
#[test]
fn an_end_right_behind_the_word_is_one_of_a_worker_that_was_online() {
    let Some(checked) = with(ONLINE, &format!("{ONLINE}; os._exit(3)"), &[], &["shutdown: fail"]) else {
        return;
    };
    ended(&checked, "ended with status 3, ");
    assert_eq!(checked.point("online")["verdict"], "ok");
}

/// The number of a life is its generation.
#[test]
fn an_end_is_seen_in_every_life_and_no_other_is_tried_then() {
    let only_in = |life: u32| format!("if os.environ['SRVWRAP_GENERATION'] == '{life}':");
    let again = format!("{} os._exit(9)\n{ONLINE}", only_in(2));
    let Some(checked) = with(ONLINE, &again, &[], &["shutdown: fail"]) else { return };
    assert!(checked.seen("shutdown").contains("after it was started again"), "{:#}", checked.report);
    for (life, not_tried) in
        [(3, ["idle", "drain", "eof", "nonblocking"].as_slice()), (4, &["eof", "nonblocking"])]
    {
        let bad = format!("            {} os._exit(9)\n{ANSWERED}", only_in(life));
        let checked = with(ANSWERED, &bad, &[], &["shutdown: fail"]).expect("as before");
        ended(&checked, "ended with status 9, ");
        assert!(checked.seen("shutdown").contains("after it was online again"), "{:#}", checked.report);
        assert_eq!(checked.not_tried(), not_tried);
    }
}

#[test]
fn an_end_of_a_program_that_says_no_word_is_seen_too() {
    let Some(checked) = checked("raise SystemExit(4)", &["--ready", "exec"]) else { return };
    assert_eq!(
        (checked.faults(), checked.code),
        (vec!["shutdown: fail".to_string()], 1),
        "{:#}",
        checked.report
    );
    assert!(checked.seen("shutdown").contains("after it was started, though"), "{:#}", checked.report);
    assert_eq!(checked.not_tried()[1], "accepts");
}

#[test]
fn an_end_that_was_announced_is_no_fault() {
    let bad = format!("            notice.send(b'offline\\n'); os._exit(0)\n{ANSWERED}");
    let Some(checked) = with(ANSWERED, &bad, &[], &[]) else { return };
    assert!(checked.seen("shutdown").ends_with("and had said offline before"), "{:#}", checked.report);
    assert!(checked.not_tried().contains(&"shutdown"), "{:#}", checked.report);
}
