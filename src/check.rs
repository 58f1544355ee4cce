//! `srvwrap check`: does this program keep the worker protocol?
//!
//! ```text
//!   Typed ──> Check ──> Bench::set_up ──> lives ──> Seen ──> points ──> report
//!                       listeners, names  the OS    facts    judged     text, or JSON
//! ```
//!
//! The program is made as a worker is, with the same descriptors, variables and options, in five short lives one after
//! the other: each ends in another way, and what was asked of one says nothing of the next. The listeners stay.
//! Whatever the program does, each wait has a deadline, and at the end of a life no process of it is left.
//!
//! What this module does not do: run a server. There is no event loop, no control socket and no log: a life waits for
//! one thing at a time.

mod bench;
mod connection;
mod life;
mod lives;
mod points;
mod report;
mod seen;

use std::time::Instant;

use crate::cli::{Typed, UsageError};
use crate::client::output::Output;
use crate::config::{Config, Surroundings};
use crate::core::Spec;
use crate::event_loop::Refusal;
use crate::sys::startup::Startup;
use crate::{FAILED, complain};

use bench::Bench;
use points::Verdict;

/// Ended by a signal, before there was a report.
const ABORTED: u8 = 5;

/// What is to be checked, and how.
#[derive(Debug)]
pub(crate) struct Check {
    config: Config,
    /// What is asked for over HTTP.
    path: String,
    /// The report is for a program.
    json: bool,
}

/// Why there is no report.
#[derive(Debug)]
enum Cut {
    /// A signal has come.
    Aborted,
    Refused(Refusal),
}

impl Check {
    pub(crate) fn from_typed(typed: &Typed, surroundings: &Surroundings) -> Result<Check, UsageError> {
        let config = Config::from_typed(typed, surroundings)?;
        let options = &typed.options;
        if config.policy.stop_timeout.is_zero() {
            let because = "that kills at once, so that nothing is seen; give a longer one";
            return Err(options.stop_timeout.refused_with(because));
        }
        let path = options.path.text();
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(options.path.refused("not what a request can ask for"));
        }
        Ok(Check { config, path: path.to_string(), json: options.json })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }
}

/// Returns the exit code.
pub(crate) fn run(check: Check, spec: Spec, startup: Startup) -> u8 {
    let json = check.json;
    let mut output = Output::default();
    let mut bench = match Bench::set_up(check, spec, startup) {
        Ok(bench) => bench,
        Err(refusal) => return refused(&refusal),
    };
    let addresses = bench.addresses();
    if !json {
        output.bytes(report::head(&bench.spec.argv, &addresses, &bench.check.path).as_bytes());
    }
    let seen = match lives::all(&mut bench) {
        Ok(seen) => seen,
        Err(Cut::Refused(refusal)) => return refused(&refusal),
        Err(Cut::Aborted) => {
            complain(&"aborted; nothing of the program is left");
            return ABORTED;
        }
    };
    let findings = points::judge(&seen);
    let verdict = points::worst(&findings);
    let text = if json {
        report::json(&bench.spec.argv, &addresses, &findings, verdict)
    } else {
        report::text(&findings)
    };
    output.bytes(text.as_bytes());
    output.exit_code(if verdict == Verdict::Fail { FAILED } else { 0 })
}

fn refused(refusal: &Refusal) -> u8 {
    complain(&refusal.sentence);
    refusal.code
}

impl From<String> for Cut {
    fn from(sentence: String) -> Cut {
        Cut::Refused(sentence.into())
    }
}

#[expect(clippy::disallowed_methods, reason = "the only clock of a check, which has no event loop")]
fn now() -> Instant {
    Instant::now()
}
