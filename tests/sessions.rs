//! The sessions of `protocol/worker.md`, played: against srvwrap, and against the example of every client.
//!
//! ```text
//!   page ── sessions ──┬── against_srvwrap:  the test is the workers     (puppet)
//!                      └── against_workers:  the test is srvwrap         (acted), for each of clients
//! ```
//!
//! What a session does not show is in the modules about one promise each; the bytes of messages are in
//! `protocol/vectors`, which srvwrap's own reader plays. How to write such players is in `protocol/vectors/README.md`.

mod acted;
mod against_srvwrap;
mod against_workers;
mod clients;
mod lines;
mod page;
mod puppet;
mod table;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use against_workers::Outcome;
use page::{Session, sessions};

use crate::harness::{PATIENCE, examples, require};

pub(crate) use clients::keeps_its_part_of;

/// A limit of the page is what a machine takes that has nothing else to do.
const SLACK: u32 = 12;

fn limit_of(limit: Option<Duration>) -> Duration {
    limit.map_or(PATIENCE, |limit| limit * SLACK)
}

/// Whether the fact comes in this time.
fn within(limit: Duration, mut fact: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if fact() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_rule_has_a_vector_or_a_session() {
    let rules = page::rules();
    let numbers: Vec<String> = rules.iter().map(|(number, _)| number.clone()).collect();
    let in_order: Vec<String> = (1..=numbers.len()).map(|number| format!("W{number}")).collect();
    assert_eq!(numbers, in_order, "rules are numbered in the order of the page, each number once");

    let mut shown: BTreeSet<String> = sessions().into_iter().flat_map(|session| session.rules).collect();
    let all: BTreeSet<String> = numbers.iter().cloned().collect();
    assert!(shown.is_subset(&all), "a session names a rule that is not there: {:?}", &shown - &all);
    let vectors: BTreeSet<String> = vectors().into_iter().collect();
    assert!(vectors.is_subset(&all), "a vector names a rule that is not there: {:?}", &vectors - &all);
    let marked: BTreeSet<String> =
        rules.into_iter().filter(|(_, marked)| *marked).map(|(number, _)| number).collect();
    assert_eq!(marked, vectors, "what is marked *(vectors)* has some, and nothing else has");
    shown.extend(vectors);
    assert_eq!(shown, all, "a rule has neither a vector nor a session: {:?}", &all - &shown);
}

/// The rule of every vector.
fn vectors() -> Vec<String> {
    const FILES: [&str; 2] =
        [include_str!("../protocol/vectors/worker.json"), include_str!("../protocol/vectors/datagrams.json")];
    let vectors = FILES.iter().flat_map(|text| {
        let vectors: Vec<serde_json::Value> = serde_json::from_str(text).expect("JSON");
        vectors
    });
    vectors.map(|vector| vector["rule"].as_str().expect("each has its rule").to_owned()).collect()
}

#[test]
fn no_two_sessions_have_the_same_name() {
    let sessions = sessions();
    let names: BTreeSet<&str> = sessions.iter().map(|session| session.name.as_str()).collect();
    assert_eq!(names.len(), sessions.len());
}

/// The other page that speaks of rules by their number.
#[test]
fn what_check_shows_are_rules() {
    let page = include_str!("../protocol/check.md");
    let all: BTreeSet<String> = page::rules().into_iter().map(|(number, _)| number).collect();
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 5);
    let named: Vec<&str> =
        rows.filter_map(|row| row.split('|').nth(2)).flat_map(str::split_whitespace).collect();
    assert!(named.len() > 10, "a table was found");
    assert!(named.iter().all(|number| all.contains(*number)), "{named:?}");
}

#[test]
fn no_player_takes_a_line_that_it_does_not_know() {
    let lines = [
        "",
        "W online",
        "X: online",
        "(W dances)",
        "(W exits)",
        "(W exits 0",
        "(W gets NOTHING)",
        "(W gets nothing)",
        "(W is killed within 5)",
        "(S writes shutdown)",
        "(S writes hex 0g)",
        "(a client sings)",
        "(client AB is answered)",
        "(O_NONBLOCK)",
    ];
    for line in lines {
        assert_eq!(page::step(line), None, "{line}");
    }
}

/// Each of these is not so, and ends soon.
#[test]
fn a_session_that_srvwrap_does_not_keep_is_noticed() {
    let Some(python) = require::python() else { return };
    let broken = [
        "(W has descriptors 0 1 2 3)",
        "(W has NOTIFY_FD=4)",
        "(W has NOTIFY_SOCKET=/somewhere)",
        "W: online\n(S gets TERM)\nS: \"later\"",
        "W: online\n(S gets TERM)\n(W gets nothing within 1s)",
        "W: online\n(S gets TERM)\nS: \"shutdown\"\n(W gets no signal within 1s)",
        "W: online\n(S gets TERM)\n(W gets TERM)\n(W gets no signal within 1s)\n(W exits 0)\n(S exits 0)",
        "W: online\n(S gets TERM)\n(W exits 0)\n(S exits 1)",
        "W: online\n(S is killed)\n(W is killed)\n(W exits 0)",
        "W: online\n(W exits 0)\n(W is killed)",
        "(V gets TERM)",
        "(a client is answered)",
    ];
    let passes = |steps: &str| against_srvwrap::play(&broken_session(steps), &python).is_ok();
    thread::scope(|scope| {
        for steps in broken {
            let passes = &passes;
            scope.spawn(move || assert!(!passes(steps), "this has passed:\n{steps}"));
        }
    });
}

/// As above.
#[test]
fn a_session_that_a_worker_does_not_keep_is_noticed() {
    let Some(language) = examples::ALL.into_iter().find(|language| language.program().is_some()) else {
        return;
    };
    let broken = [
        "(W has descriptors 0 1 2 3)",
        "W: ready",
        "W: online\nS: \"shutdown\"\n(W exits 3)",
        "W: online\n(a client is answered)\n(W gets KILL)\n(W exits 0)",
        "W: online\n(a client is answered)\n(S closes NOTIFY_FD)\n(W serves for 5s)",
        "W: online\n(S exits 0)",
        "W: online\n(a client of LISTEN_FD_7 is answered)",
        "W: online\n(client A is answered)",
        "W: online\n(client A asks for /offline)\n(client A is answered)\n(W exits 0)",
        "W: online\nS: \"shutdown\"\n(W exits 0)\n(a client is answered)",
        "W: online\nS: \"shutdown\"\n(W complains of NOTIFY_FD)",
        "(W has NOTIFY_FD=9 and nothing behind it)\n(W complains of LISTEN_FD)",
        "(W shuts LISTEN_FD down)",
    ];
    thread::scope(|scope| {
        for steps in broken {
            scope.spawn(move || {
                let outcome = against_workers::play(&broken_session(steps), language);
                assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}:\n{steps}");
            });
        }
    });
}

fn broken_session(steps: &str) -> Session {
    page::session(&format!("W1: not so\n{steps}"))
}

#[test]
fn srvwrap_keeps_its_part_of_every_session() {
    let Some(python) = require::python() else { return };
    let sessions: Vec<Session> = sessions().into_iter().filter(Session::is_for_srvwrap).collect();
    let failed: Vec<String> = thread::scope(|scope| {
        let play = |session| {
            let python = python.as_str();
            scope.spawn(move || against_srvwrap::play(session, python).map_err(|why| (session.title(), why)))
        };
        let players: Vec<_> = sessions.iter().map(play).collect();
        let outcomes = players.into_iter().map(|player| player.join().expect("it says what fails"));
        outcomes.filter_map(Result::err).map(|(title, why)| format!("{title}\n  {why}")).collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
