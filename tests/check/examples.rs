//! What `clients/` shows has no fault: a test a language.

use std::ffi::OsString;

use super::report;
use crate::harness::command;
use crate::harness::examples::{self, Language};

#[test]
fn c_has_no_fault() {
    has_no_fault(&examples::C);
}

#[test]
fn go_has_no_fault() {
    has_no_fault(&examples::GO);
}

#[test]
fn java_has_no_fault() {
    has_no_fault(&examples::JAVA);
}

#[test]
fn node_has_no_fault() {
    has_no_fault(&examples::NODE);
}

#[test]
fn perl_has_no_fault() {
    has_no_fault(&examples::PERL);
}

#[test]
fn php_has_no_fault() {
    has_no_fault(&examples::PHP);
}

#[test]
fn python_has_no_fault() {
    has_no_fault(&examples::PYTHON);
}

#[test]
fn ruby_has_no_fault() {
    has_no_fault(&examples::RUBY);
}

#[test]
fn rust_has_no_fault() {
    has_no_fault(&examples::RUST);
}

#[test]
fn sh_has_no_fault() {
    has_no_fault(&examples::SH);
}

/// None but what the language has no way to follow, and every point is tried.
fn has_no_fault(language: &Language) {
    let Some(words) = language.with(&["--json", "--path", "/slow", "-p", "127.0.0.1:0", "--"]) else {
        return;
    };
    let words: Vec<OsString> = [OsString::from("check")].into_iter().chain(words).collect();
    let words: Vec<&str> = words.iter().map(|word| word.to_str().expect("a text")).collect();
    let directory = tempfile::tempdir().unwrap();
    let checked = report(&command::told(directory.path(), &words));
    assert_eq!(
        (checked.faults(), checked.not_tried()),
        (language.advice.iter().map(ToString::to_string).collect(), Vec::new()),
        "{:#}",
        checked.report
    );
}
