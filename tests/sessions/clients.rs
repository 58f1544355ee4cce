//! The example of every client keeps its part of every session: a test a language.
//!
//! What this file does not do: play them, see `against_workers`.

use std::collections::BTreeSet;

use super::against_workers::{self, Outcome};
use super::page::{self, Session, sessions};
use crate::harness::examples::{self, Language};

#[test]
fn c_keeps_its_part_of_every_session() {
    keeps_its_part(&examples::C);
}

#[test]
fn go_keeps_its_part_of_every_session() {
    keeps_its_part(&examples::GO);
}

#[test]
fn java_keeps_its_part_of_every_session() {
    keeps_its_part(&examples::JAVA);
}

#[test]
fn node_keeps_its_part_of_every_session() {
    keeps_its_part(&examples::NODE);
}

#[test]
fn perl_keeps_its_part_of_every_session() {
    keeps_its_part(&examples::PERL);
}

#[test]
fn php_keeps_its_part_of_every_session() {
    keeps_its_part(&examples::PHP);
}

#[test]
fn python_keeps_its_part_of_every_session() {
    keeps_its_part(&examples::PYTHON);
}

#[test]
fn ruby_keeps_its_part_of_every_session() {
    keeps_its_part(&examples::RUBY);
}

#[test]
fn rust_keeps_its_part_of_every_session() {
    keeps_its_part(&examples::RUST);
}

#[test]
fn sh_keeps_its_part_of_every_session() {
    keeps_its_part(&examples::SH);
}

fn keeps_its_part(language: &Language) {
    let failures = failures(language);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The same for a server that is none of the examples, with the sessions of one rule.
pub(crate) fn keeps_its_part_of(rule: &str, server: &Language) {
    let sessions = sessions().into_iter().filter(|session| session.rules == [rule]);
    let failures = failures_in(&sessions.collect::<Vec<Session>>(), server);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn failures(language: &Language) -> Vec<String> {
    failures_in(&sessions(), language)
}

/// Plays them all, and says which rules were passed.
fn failures_in(sessions: &[Session], language: &Language) -> Vec<String> {
    if language.program().is_none() {
        return Vec::new();
    }
    let (mut passed, mut failed) = (BTreeSet::new(), BTreeSet::new());
    let mut failures = Vec::new();
    for session in sessions.iter().filter(|session| session.is_for_workers()) {
        if !against_workers::is_for(language, session) {
            eprintln!(
                "{}: not for it, as it takes its listener on descriptor 0: {}",
                language.name,
                session.title()
            );
            continue;
        }
        let rules = session.rules.iter().map(String::as_str);
        match played(language, session) {
            Ok(()) => passed.extend(rules),
            Err(why) => {
                failures.push(format!("{}, {}\n  {why}", language.name, session.title()));
                failed.extend(rules);
            }
        }
    }
    eprintln!("{}: passed {}", language.name, page::in_order(&(&passed - &failed)).join(" "));
    failures
}

/// Again where the test was too slow to tell.
fn played(language: &Language, session: &Session) -> Result<(), String> {
    for _ in 0..10 {
        match against_workers::play(session, language) {
            Outcome::Passed => return Ok(()),
            Outcome::Failed(why) => return Err(why),
            Outcome::TooSlow => {}
        }
    }
    Err("ten times this machine was too busy to tell".to_owned())
}
