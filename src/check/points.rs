//! The points of a check: of what was seen, what is right, and what is to be changed.
//!
//! ```text
//!   Seen ──> judge ──> one Finding for each Point: ok, advice, fail, not tried; what was seen; what to change
//! ```
//!
//! A point fails where a worker loses connections, hangs, or never comes online. What harms nobody but in a rare case
//! is advice. What a point asks is in `protocol/worker.md`, by the numbers of its rules.
//!
//! What this file does not do: look at anything but [`Seen`].

mod beginning;
mod finishing;
mod sharing;

use std::time::Duration;

use crate::signal_names::signal_name;

use super::connection::ANSWER_LIMIT;
use super::seen::{Answer, ENDED, Ended, NO_LISTENER, Purpose, Seen};
use beginning::{accepts, online, second_connection};
use finishing::{drain, eof, idle, in_flight, shutdown, status};
pub(super) use sharing::is_busy;
use sharing::{leaks, listener, nonblocking, nonblocking_while_serving, words};

/// What is judged, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Online,
    Accepts,
    SecondConnection,
    Shutdown,
    Status,
    InFlight,
    Idle,
    Drain,
    Eof,
    Leaks,
    Words,
    Nonblocking,
    Listener,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    NotTried,
    Ok,
    Advice,
    Fail,
}

/// What was found about one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) point: Point,
    pub(super) verdict: Verdict,
    /// What was seen, or why it was not tried.
    pub(super) seen: String,
    /// Under an advice or a failure.
    pub(super) change: Option<String>,
    /// What the program wrote last, under a failure.
    pub(super) output: Vec<String>,
}

impl Point {
    pub(super) const ALL: [Point; 13] = [
        Point::Online,
        Point::Accepts,
        Point::SecondConnection,
        Point::Shutdown,
        Point::Status,
        Point::InFlight,
        Point::Idle,
        Point::Drain,
        Point::Eof,
        Point::Leaks,
        Point::Words,
        Point::Nonblocking,
        Point::Listener,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Point::Online => "online",
            Point::Accepts => "accepts",
            Point::SecondConnection => "second-connection",
            Point::Shutdown => "shutdown",
            Point::Status => "status",
            Point::InFlight => "in-flight",
            Point::Idle => "idle",
            Point::Drain => "drain",
            Point::Eof => "eof",
            Point::Leaks => "leaks",
            Point::Words => "words",
            Point::Nonblocking => "nonblocking",
            Point::Listener => "listener",
        }
    }

    /// By their numbers in `protocol/worker.md`.
    pub(super) fn rules(self) -> &'static [&'static str] {
        match self {
            Point::Online | Point::SecondConnection => &["W8"],
            Point::Accepts => &["W1", "W17"],
            Point::Shutdown => &["W13", "W14"],
            Point::Status => &["W13", "W15"],
            Point::InFlight | Point::Idle | Point::Drain => &["W13"],
            Point::Eof => &["W16"],
            Point::Leaks => &["W1"],
            Point::Words => &["W4", "W5"],
            Point::Nonblocking | Point::Listener => &["W17"],
        }
    }

    /// Whether what ends by itself may fail here because of that alone.
    fn needs_life(self) -> bool {
        !matches!(self, Point::Online | Point::Shutdown | Point::Leaks | Point::Words | Point::Listener)
    }

    /// The life in which it was seen.
    fn purpose(self, seen: &Seen) -> Purpose {
        match self {
            Point::InFlight => Purpose::InFlight,
            Point::Idle | Point::Drain => Purpose::Idle,
            Point::Eof => Purpose::Orphaned,
            Point::Nonblocking if nonblocking_while_serving(seen).verdict == Verdict::Fail => {
                Purpose::Flagged
            }
            Point::Nonblocking => Purpose::Orphaned,
            Point::Listener => seen.shut.first().map_or(Purpose::Serving, |(_, purpose)| *purpose),
            Point::Shutdown => seen.by_itself.map_or(Purpose::Serving, |end| end.purpose),
            Point::Online | Point::Accepts | Point::SecondConnection => Purpose::Serving,
            Point::Status | Point::Leaks | Point::Words => Purpose::Serving,
        }
    }
}

/// One finding for each point, in their order.
pub(super) fn judge(seen: &Seen) -> Vec<Finding> {
    Point::ALL.into_iter().map(|point| found(point, seen)).collect()
}

pub(super) fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok).max(Verdict::Ok)
}

fn found(point: Point, seen: &Seen) -> Finding {
    let Judged { verdict, seen: text, change } = judged(point, seen);
    let output = if verdict == Verdict::Fail {
        seen.written[point.purpose(seen) as usize].lines.clone()
    } else {
        Vec::new()
    };
    Finding { point, verdict, seen: text, change, output }
}

fn judged(point: Point, seen: &Seen) -> Judged {
    let judged = match point {
        Point::Online => online(seen),
        Point::Accepts => accepts(seen),
        Point::SecondConnection => second_connection(seen),
        Point::Shutdown => shutdown(seen),
        Point::Status => status(seen),
        Point::InFlight => in_flight(seen),
        Point::Idle => idle(seen),
        Point::Drain => drain(seen),
        Point::Eof => eof(seen),
        Point::Leaks => leaks(seen),
        Point::Words => words(seen),
        Point::Nonblocking => nonblocking(seen),
        Point::Listener => listener(seen),
    };
    let is_due_to_end = seen.by_itself.is_some() && point.needs_life();
    if is_due_to_end && judged.verdict != Verdict::Ok && judged.seen != NO_LISTENER {
        return not_tried(ENDED);
    }
    judged
}

/// A finding in the making.
struct Judged {
    verdict: Verdict,
    seen: String,
    change: Option<String>,
}

fn ok(seen: impl Into<String>) -> Judged {
    Judged { verdict: Verdict::Ok, seen: seen.into(), change: None }
}

fn not_tried(because: &str) -> Judged {
    Judged { verdict: Verdict::NotTried, seen: because.to_string(), change: None }
}

fn advice(seen: impl Into<String>, change: &str) -> Judged {
    Judged { verdict: Verdict::Advice, seen: seen.into(), change: Some(change.to_string()) }
}

fn fail(seen: impl Into<String>, change: &str) -> Judged {
    Judged { verdict: Verdict::Fail, seen: seen.into(), change: Some(change.to_string()) }
}

fn answered(answer: &Answer, path: &str) -> String {
    match answer {
        Answer::Whole { status, after, .. } => format!("GET {path} answered {status} after {}", time(*after)),
        Answer::Half => {
            format!("accepted; the answer to GET {path} had no end within {}", time(ANSWER_LIMIT))
        }
        Answer::NotHttp => "accepted; what it answers is not HTTP".to_string(),
        Answer::Silent => format!("accepted; GET {path} was not answered within {}", time(ANSWER_LIMIT)),
        Answer::Cut => "accepted, and closed before the end of an answer".to_string(),
        Answer::Waiting => "not accepted".to_string(),
        Answer::Refused(why) => format!("no connection: {why}"),
    }
}

fn ending(how: Ended) -> String {
    match how {
        Ended::Exited(status) => format!("with status {status}"),
        Ended::Signaled(number) => {
            format!("by {}", signal_name(number).map_or_else(|| format!("signal {number}"), str::to_string))
        }
    }
}

/// As in 3ms, 250ms, 1.2s, 30s.
pub(super) fn time(duration: Duration) -> String {
    let millis = duration.as_millis();
    match (millis / 1000, millis % 1000 / 100) {
        (0, _) if millis == 0 => "less than 1ms".to_string(),
        (0, _) => format!("{millis}ms"),
        (seconds, 0) => format!("{seconds}s"),
        (seconds, tenths) => format!("{seconds}.{tenths}s"),
    }
}

#[cfg(test)]
mod tests;
