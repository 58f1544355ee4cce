//! The report of a check, for people and as JSON.
//!
//! ```text
//!     ok      shutdown           W13 W14  ended with status 0 after 530ms
//!     FAIL    idle               W13      with idle connections open still there after 30s, and killed
//!                                         change: close connections that are idle …
//!                                         it wrote: draining
//! ```
//!
//! What this file does not do: find anything, or write.

use std::ffi::OsString;
use std::fmt::Write;

use serde::Serialize;

use crate::cli::shown;

use super::points::{Finding, Verdict};
use super::seen::{LIVES, NO_LISTENER};

/// What is said before anything is tried.
pub(super) fn head(program: &[OsString], listeners: &[String], path: &str) -> String {
    let words: Vec<String> = program.iter().map(|word| shown(word)).collect();
    let on = if listeners.is_empty() {
        "without a listener".to_string()
    } else {
        format!("on {}, GET {path} over HTTP/1.1", listeners.join(", "))
    };
    format!("srvwrap check: {}\nup to {LIVES} short lives of it, one worker each, {on}\n\n", words.join(" "))
}

const INDENT: usize = 37;

/// A line for each point, and what belongs to it; then how many there are of each verdict, and what more can be tried.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut last_output: &[String] = &[];
    for Finding { point, verdict, seen, change, output } in findings {
        let rules = point.rules().join(" ");
        line(&mut text, &format!("{:<10} {:<17} {rules:<7}", word(*verdict), point.name()), seen);
        if let Some(change) = change {
            line(&mut text, "", &format!("change: {change}"));
        }
        if output == last_output && !output.is_empty() {
            line(&mut text, "", "it wrote: what is above");
            continue;
        }
        for written in output {
            line(&mut text, "", &format!("it wrote: {written}"));
        }
        last_output = if output.is_empty() { last_output } else { output };
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let all = [Verdict::Ok, Verdict::Advice, Verdict::Fail, Verdict::NotTried];
    let counts: Vec<String> =
        all.into_iter().map(|verdict| format!("{} {}", count(verdict), word(verdict))).collect();
    text += &format!("\n{}\n", counts.join(", "));
    let needy = findings.iter().filter(|finding| finding.seen == NO_LISTENER).count();
    if needy > 0 {
        text += &format!("{needy} points need a listener: give one, as in -p 0\n");
    }
    text
}

fn line(text: &mut String, left: &str, right: &str) {
    let width = INDENT;
    writeln!(text, "{left:<width$} {right}").expect("a string takes all that is written to it");
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotTried => "not tried",
        Verdict::Ok => "ok",
        Verdict::Advice => "advice",
        Verdict::Fail => "FAIL",
    }
}

#[derive(Serialize)]
struct Report<'a> {
    program: Vec<String>,
    listeners: &'a [String],
    points: Vec<Row<'a>>,
    verdict: String,
}

#[derive(Serialize)]
struct Row<'a> {
    point: &'static str,
    rules: &'static [&'static str],
    verdict: String,
    seen: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    output: &'a [String],
}

/// One object, and a newline.
pub(super) fn json(
    program: &[OsString],
    listeners: &[String],
    findings: &[Finding],
    verdict: Verdict,
) -> String {
    let points = findings.iter().map(|finding| Row {
        point: finding.point.name(),
        rules: finding.point.rules(),
        verdict: word(finding.verdict).to_lowercase(),
        seen: &finding.seen,
        change: finding.change.as_deref(),
        output: &finding.output,
    });
    let report = Report {
        program: program.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        listeners,
        points: points.collect(),
        verdict: word(verdict).to_lowercase(),
    };
    serde_json::to_string(&report).expect("an object with string keys") + "\n"
}
