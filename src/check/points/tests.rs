//! Tests of the judgement: what is right, with one thing changed, has that fault and no other.

use std::time::Duration;

use super::super::seen::{
    Begun, Behind, ByItself, ENDED, End, Flagged, Holder, Idle, InFlight, Knock, NOT_ONLINE, Orphaned,
    Second, Tried, Voice, Words,
};
use super::*;
use crate::core::Ready;

const MOMENT: Duration = Duration::from_millis(3);
const LONG: Duration = Duration::from_secs(30);

fn whole(closes: bool) -> Answer {
    Answer::Whole { status: 200, after: MOMENT, closes }
}

fn ended() -> End {
    End { after: MOMENT, how: Some(Ended::Exited(0)), killed: Vec::new(), left: Vec::new() }
}

fn killed() -> End {
    End { after: LONG, how: None, killed: vec!["sh (pid 7)".to_string()], left: Vec::new() }
}

fn online() -> Begun {
    Begun::Online { after: MOMENT, voice: Voice::NoticeFd }
}

fn right() -> Seen {
    Seen {
        has_listeners: true,
        begun: online(),
        online_timeout: LONG,
        stop_timeout: LONG,
        path: "/".to_string(),
        runner: None,
        words: Words::default(),
        knocks: vec![Knock { address: "port 8000".to_string(), answer: whole(false) }],
        own_ports: Vec::new(),
        second: Tried::Seen(Second { first_was_answered: true, answer: whole(false) }),
        holders: Tried::Seen(vec![holder(7, 1, &[], &[])]),
        end: Tried::Seen(ended()),
        by_itself: None,
        in_flight: Tried::Seen(InFlight::Asked { before: None, early: false, answer: whole(true) }),
        idle: Tried::Seen(Idle { drained: vec![(MOMENT, whole(true)), (MOMENT, whole(true))], end: ended() }),
        flagged: Tried::Seen(Flagged {
            by_itself: false,
            answers: vec![whole(false); 3],
            taken: 20,
            usual_load: 0,
            load: 0,
            ended: None,
        }),
        behind: Tried::Seen(Behind { begun: online(), answer: Some(whole(false)), cleared: false }),
        eof: Tried::Seen(Orphaned { after: Some(MOMENT), limit: LONG, left: Vec::new() }),
        shut: Vec::new(),
        written: Default::default(),
    }
}

/// Of everything that is tried after the first connections.
fn not_tried_because(because: &'static str, seen: &mut Seen) {
    (seen.second, seen.holders, seen.end) = (Tried::not(because), Tried::not(because), Tried::not(because));
    (seen.in_flight, seen.idle, seen.eof) = (Tried::not(because), Tried::not(because), Tried::not(because));
    (seen.flagged, seen.behind) = (Tried::not(because), Tried::not(because));
}

fn holder(pid: i32, parent: i32, notice: &[i32], listeners: &[i32]) -> Holder {
    let (notice, listeners) = (notice.to_vec(), listeners.to_vec());
    Holder { pid, parent, name: "server".to_string(), notice, listeners }
}

/// The faults of what is right but for this change.
fn faults(change: impl FnOnce(&mut Seen)) -> Vec<(Point, Verdict)> {
    let mut seen = right();
    change(&mut seen);
    let findings = judge(&seen);
    assert!(findings.iter().all(|finding| !finding.seen.is_empty() && !finding.seen.contains('\n')));
    let wants_change = |finding: &Finding| finding.verdict >= Verdict::Advice;
    assert!(findings.iter().all(|finding| finding.change.is_some() == wants_change(finding)));
    findings
        .iter()
        .filter(|finding| wants_change(finding))
        .map(|found| (found.point, found.verdict))
        .collect()
}

/// Of one point.
fn seen_of(point: Point, change: impl FnOnce(&mut Seen)) -> String {
    let mut seen = right();
    change(&mut seen);
    found(point, &seen).seen
}

#[test]
fn what_is_right_is_ok_in_every_point() {
    let findings = judge(&right());
    assert_eq!(findings.iter().map(|finding| finding.point).collect::<Vec<_>>(), Point::ALL);
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Ok), "{findings:?}");
    assert_eq!(worst(&findings), Verdict::Ok);
}

#[test]
fn names_are_used_once_and_rules_are_those_of_the_protocol() {
    let protocol = include_str!("../../../protocol/worker.md");
    for (index, point) in Point::ALL.into_iter().enumerate() {
        assert!(Point::ALL[index + 1..].iter().all(|other| other.name() != point.name()));
        assert!(point.rules().iter().all(|rule| protocol.contains(&format!("### {rule} "))), "{point:?}");
    }
}

#[test]
fn who_is_not_online_fails_there_and_the_rest_is_not_tried() {
    let crashed = Begun::Ended { after: MOMENT, how: Ended::Signaled(libc::SIGSEGV) };
    for begun in [
        Begun::Silent { closed: true },
        crashed,
        Begun::Offline { after: MOMENT, why: "no database".to_string() },
    ] {
        assert_eq!(
            faults(|seen| {
                seen.begun = begun;
                seen.knocks.clear();
                not_tried_because(NOT_ONLINE, seen);
            }),
            [(Point::Online, Verdict::Fail)]
        );
    }
    let unasked = seen_of(Point::Online, |seen| seen.begun = Begun::Unasked(Ready::Exec));
    assert_eq!(unasked, "--ready exec");
}

#[test]
fn what_to_change_is_what_is_most_often_the_reason() {
    let change = |change: fn(&mut Seen)| {
        let mut seen = right();
        seen.begun = Begun::Ended { after: MOMENT, how: Ended::Exited(1) };
        change(&mut seen);
        found(Point::Online, &seen).change.expect("it fails")
    };
    assert!(change(|_| {}).starts_with("see what it wrote"));
    assert!(change(|seen| seen.runner = Some("npm")).starts_with("npm passes no descriptors on"));
    let taken = |seen: &mut Seen| seen.written[0].address_in_use = true;
    assert!(change(taken).contains("which srvwrap holds already"));
    let free = |seen: &mut Seen| {
        seen.written[0].address_in_use = true;
        seen.has_listeners = false;
    };
    assert!(change(free).contains("give it to srvwrap with -p"));
}

#[test]
fn a_connection_that_waits_fails_and_what_listens_elsewhere_is_named() {
    let waiting = |seen: &mut Seen| {
        seen.knocks[0].answer = Answer::Waiting;
        seen.own_ports = vec![3000];
        seen.second = Tried::not("it takes no connection");
    };
    assert_eq!(faults(waiting), [(Point::Accepts, Verdict::Fail)]);
    let text = seen_of(Point::Accepts, waiting);
    assert_eq!(text, "port 8000: not accepted; it listens on port 3000 of its own");
    let mut npm = right();
    waiting(&mut npm);
    npm.runner = Some("npm");
    assert!(found(Point::Accepts, &npm).change.unwrap().starts_with("npm passes no descriptors on"));
}

fn by_itself(purpose: Purpose) -> ByItself {
    ByItself { purpose, how: Ended::Exited(1), after: MOMENT, was_online: true, said_offline: false }
}

#[test]
fn an_end_that_nobody_asked_for_is_the_only_fault_whatever_else_went_wrong_by_it() {
    for answer in [Answer::Waiting, Answer::Cut, Answer::Silent, Answer::Half] {
        let ended = |seen: &mut Seen| {
            seen.knocks[0].answer = answer.clone();
            not_tried_because(ENDED, seen);
            seen.by_itself = Some(by_itself(Purpose::Serving));
        };
        assert_eq!(faults(ended), [(Point::Shutdown, Verdict::Fail)]);
        let accepts = seen_of(Point::Accepts, ended);
        assert!(accepts == ENDED || answer == Answer::Cut, "{accepts}");
        let text = "ended with status 1, 3ms after it was online, though nobody had told it to";
        assert_eq!(seen_of(Point::Shutdown, ended), text);
    }
}

#[test]
fn an_end_in_a_later_life_has_what_was_written_there_and_one_that_was_announced_is_none() {
    let mut seen = right();
    seen.by_itself = Some(ByItself { was_online: false, ..by_itself(Purpose::Idle) });
    seen.written[Purpose::Idle as usize].lines = vec!["third".to_string()];
    let found = found(Point::Shutdown, &seen);
    assert!(found.seen.starts_with("ended with status 1, 3ms after it was started again"), "{}", found.seen);
    assert!(found.change.unwrap().starts_with("see what it wrote"));
    assert_eq!(found.output, ["third"]);
    let announced = |seen: &mut Seen| {
        not_tried_because(ENDED, seen);
        seen.by_itself = Some(ByItself { said_offline: true, ..by_itself(Purpose::Serving) });
    };
    assert_eq!(faults(announced), []);
    assert!(
        seen_of(Point::Shutdown, announced).ends_with("after it was online, and had said offline before")
    );
}

#[test]
fn who_is_not_answered_in_time_is_advised_to_another_path_and_who_speaks_otherwise_is_not() {
    for answer in [Answer::Silent, Answer::Half] {
        let late = |seen: &mut Seen| seen.knocks[0].answer = answer.clone();
        assert_eq!(faults(late), [(Point::Accepts, Verdict::Advice)]);
        assert!(seen_of(Point::Accepts, late).ends_with("within 10s"));
    }
    for answer in [Answer::NotHttp, Answer::Cut] {
        assert_eq!(faults(|seen| seen.knocks[0].answer = answer), []);
    }
}

#[test]
fn a_second_connection_is_judged_by_what_the_first_has_done() {
    let second = |first_was_answered, answer| {
        faults(move |seen| seen.second = Tried::Seen(Second { first_was_answered, answer }))
    };
    let late = Answer::Whole { status: 200, after: LONG, closes: false };
    let with = |verdict| vec![(Point::SecondConnection, verdict)];
    assert_eq!(second(true, Answer::Waiting), with(Verdict::Fail));
    assert_eq!(second(true, Answer::Silent), with(Verdict::Fail));
    assert_eq!(second(true, late.clone()), with(Verdict::Advice));
    assert_eq!(second(false, Answer::Waiting), with(Verdict::Advice));
    assert_eq!(second(false, late), with(Verdict::Advice));
    assert_eq!(second(false, whole(true)), []);
}

#[test]
fn a_shutdown_is_judged_by_what_is_left() {
    let end = |end: End| faults(|seen| seen.end = Tried::Seen(end));
    assert_eq!(end(killed()), [(Point::Shutdown, Verdict::Fail)]);
    let remnant = End { how: Some(Ended::Exited(0)), ..killed() };
    assert_eq!(end(remnant), [(Point::Shutdown, Verdict::Fail)]);
    assert_eq!(
        end(End { left: vec!["sleep (pid 9)".to_string()], ..ended() }),
        [(Point::Shutdown, Verdict::Advice)]
    );
    let by_term = End { how: Some(Ended::Signaled(libc::SIGTERM)), ..ended() };
    assert_eq!(end(by_term), [(Point::Status, Verdict::Advice)]);
}

#[test]
fn what_is_lost_at_the_end_fails_and_what_may_be_is_advice() {
    let in_flight = |answer| {
        faults(|seen| {
            seen.in_flight = Tried::Seen(InFlight::Asked { before: Some(MOMENT), early: false, answer });
        })
    };
    for answer in [Answer::Cut, Answer::Half, Answer::Silent, Answer::NotHttp] {
        assert_eq!(in_flight(answer), [(Point::InFlight, Verdict::Fail)]);
    }
    assert_eq!(in_flight(whole(false)), []);
    let too_long = |seen: &mut Seen| {
        seen.stop_timeout = MOMENT;
        seen.in_flight = Tried::Seen(InFlight::TooLong);
    };
    assert_eq!(faults(too_long), [(Point::InFlight, Verdict::Fail)]);
    let text = "GET / takes 3ms, and is cut after --stop-timeout 3ms";
    assert_eq!(seen_of(Point::InFlight, too_long), text);
    let idle = |drained: Answer, end: End| {
        faults(|seen| seen.idle = Tried::Seen(Idle { drained: vec![(MOMENT, drained)], end }))
    };
    assert_eq!(idle(whole(true), killed()), [(Point::Idle, Verdict::Fail)]);
    assert_eq!(idle(Answer::Cut, ended()), [(Point::Drain, Verdict::Advice)]);
    assert_eq!(idle(whole(false), ended()), [(Point::Drain, Verdict::Advice)]);
    let left = vec!["server (pid 7)".to_string()];
    let orphaned = Orphaned { after: None, limit: LONG, left };
    assert_eq!(faults(|seen| seen.eof = Tried::Seen(orphaned)), [(Point::Eof, Verdict::Advice)]);
}

#[test]
fn who_has_a_descriptor_last_is_named_and_who_had_to_pass_it_on_is_not() {
    let leaks = |holders: Vec<Holder>| seen_of(Point::Leaks, |seen| seen.holders = Tried::Seen(holders));
    let shell = holder(7, 1, &[3], &[4]);
    let closed = "notice fd and listeners are close-on-exec";
    assert_eq!(leaks(vec![shell.clone(), holder(8, 7, &[], &[])]), closed);
    assert_eq!(
        leaks(vec![shell.clone(), holder(8, 7, &[3], &[])]),
        "not close-on-exec: server (pid 8) has the notice fd (3)"
    );
    assert_eq!(
        leaks(vec![shell]),
        "not close-on-exec: server (pid 7) has the notice fd (3) and the listener (4)"
    );
    assert_eq!(
        faults(|seen| seen.holders = Tried::Seen(vec![holder(7, 1, &[3], &[])])),
        [(Point::Leaks, Verdict::Advice)]
    );
    assert_eq!(faults(|seen| seen.holders = Tried::Seen(Vec::new())), []);
}

#[test]
fn words_that_are_not_known_are_shown_as_they_were() {
    let words = Words { unknown: 2, first: Some("he\"llo".to_string()), overlong: 1, unfit: 0 };
    let change = |seen: &mut Seen| seen.words = words;
    let text = seen_of(Point::Words, change.clone());
    assert_eq!(text, "2 lines not known, as \"he\\\"llo\", 1 line of more than 4096 bytes");
    assert_eq!(faults(change), [(Point::Words, Verdict::Advice)]);
}

#[test]
fn of_two_lives_under_the_flag_the_worse_one_is_told() {
    let flagged = |change: fn(&mut Flagged, &mut Behind)| {
        faults(|seen| {
            if let (Tried::Seen(flagged), Tried::Seen(behind)) = (&mut seen.flagged, &mut seen.behind) {
                change(flagged, behind);
            }
        })
    };
    let with = |verdict| vec![(Point::Nonblocking, verdict)];
    assert_eq!(flagged(|flagged, _| flagged.ended = Some(Ended::Exited(1))), with(Verdict::Fail));
    assert_eq!(flagged(|flagged, _| flagged.answers.push(Answer::Waiting)), with(Verdict::Fail));
    assert_eq!(flagged(|flagged, _| flagged.load = 99), with(Verdict::Advice));
    assert_eq!(flagged(|flagged, _| (flagged.usual_load, flagged.load) = (95, 99)), []);
    assert_eq!(flagged(|_, behind| behind.cleared = true), with(Verdict::Advice));
    assert_eq!(flagged(|_, behind| behind.answer = None), with(Verdict::Fail));
    assert_eq!(
        flagged(|flagged, behind| {
            flagged.load = 99;
            behind.answer = Some(Answer::Cut);
        }),
        with(Verdict::Fail)
    );
}

#[test]
fn a_failure_has_the_last_lines_of_its_own_life() {
    let mut seen = right();
    seen.shut = vec![("port 8000".to_string(), Purpose::Idle)];
    seen.written[Purpose::Serving as usize].lines = vec!["first".to_string()];
    seen.written[Purpose::Idle as usize].lines = vec!["third".to_string()];
    assert_eq!(found(Point::Listener, &seen).output, ["third"]);
    assert_eq!(found(Point::Online, &seen).output, [""; 0]);
    assert_eq!(worst(&judge(&seen)), Verdict::Fail);
}

#[test]
fn times_are_short() {
    let times =
        [(0, "less than 1ms"), (3, "3ms"), (999, "999ms"), (1000, "1s"), (1250, "1.2s"), (30_000, "30s")];
    for (millis, shown) in times {
        assert_eq!(time(Duration::from_millis(millis)), shown);
    }
}
