//! What a long command says while it runs and at its end, in the form that was asked for.
//!
//! ```text
//!             on a terminal       elsewhere         --quiet    --json
//!   a fact    drawn over          its sentence      -          as it came
//!   a remark  stays above that    its sentence      -          as it came
//!   the end   its sentence        its sentence      -          as it came
//!   no end    why, on stderr, in each of them
//! ```
//!
//! An end that is no good one is told by an event first: it is held back until the answer, and said once, on stderr.
//!
//! What this file does not do: wait for any of it (`follow.rs`).

use std::env;
use std::io::{self, IsTerminal};
use std::time::Duration;

use crate::config::Display;
use crate::sys::screen;
use crate::wire::control::json;
use crate::wire::control::message::{Answer, Event, Outcome};
use crate::wire::control::status::Status;

use super::block::{Block, Screen};
use super::cells::clean;
use super::display::{self, Aim, Scene};
use super::output::{Output, complain};

pub(super) struct View {
    form: Form,
    pub(super) output: Output,
    aim: Option<Aim>,
    /// The sentence of the last fact.
    latest: String,
    /// That of a fact that is expected to be the answer too.
    held: Option<String>,
    /// Whether what a worker wrote last was among the facts.
    has_told_words: bool,
}

/// Events that are worth to stay on a terminal: what was opened, and what is not as it should be.
const REMARKS: [&str; 14] = [
    "listening",
    "health-listening",
    "remark",
    "backlog-clamped",
    "passes-nothing-on",
    "listener-shut",
    "listener-shut-by",
    "worker-failed",
    "worker-wrote",
    "worker-hushed",
    "worker-killed",
    "worker-remnant-killed",
    "worker-stuck",
    "worker-impossible",
];

/// How an order ends that does not come off.
const BAD_ENDS: [&str; 7] = [
    "boot-failed",
    "deploy-failed",
    "deploy-aborted",
    "deploy-timed-out",
    "deploy-cut-live",
    "scale-failed",
    "cut-short",
];

enum Form {
    Drawn(Box<Drawn>),
    Plain,
    Quiet,
    Json,
}

struct Drawn {
    aim: Aim,
    block: Block,
    status: Option<Status>,
    most_workers: usize,
}

impl View {
    /// Without an aim nothing is shown but the end.
    pub(super) fn new(display: Display, aim: Option<Aim>) -> View {
        let drawn = |aim| Drawn { aim, block: Block::default(), status: None, most_workers: 0 };
        let form = match (display, aim) {
            (Display::Quiet, _) => Form::Quiet,
            (Display::Json, _) => Form::Json,
            (Display::Progress, Some(aim)) if can_be_drawn_on() => Form::Drawn(Box::new(drawn(aim))),
            (Display::Progress, _) => Form::Plain,
        };
        View {
            form,
            output: Output::default(),
            aim,
            latest: String::new(),
            held: None,
            has_told_words: false,
        }
    }

    /// Whether facts are of any use.
    pub(super) fn shows_facts(&self) -> bool {
        !matches!(self.form, Form::Quiet)
    }

    /// Whether it is to be told again and again how things are.
    pub(super) fn is_drawn(&self) -> bool {
        matches!(self.form, Form::Drawn(_))
    }

    /// One line of `GET /events`.
    pub(super) fn fact(&mut self, line: &[u8]) {
        let (name, sentence) = told(line);
        self.has_told_words |= name == "worker-wrote" && !matches!(self.form, Form::Quiet);
        match self.form {
            Form::Quiet => {}
            Form::Json => self.output.bytes(&[line, b"\n"].concat()),
            Form::Drawn(_) if REMARKS.contains(&name.as_str()) => {
                self.erase();
                self.output.line(&sentence);
            }
            Form::Drawn(_) => self.latest = sentence,
            // The deploy that a stop ends is another's.
            Form::Plain if self.aim != Some(Aim::Stop) && BAD_ENDS.contains(&name.as_str()) => {
                self.tell_held();
                self.held = Some(sentence);
            }
            Form::Plain => {
                self.output.line(&sentence);
                self.latest = sentence;
            }
        }
    }

    fn tell_held(&mut self) {
        if let Some(sentence) = self.held.take() {
            self.output.line(&sentence);
        }
    }

    /// How things are.
    pub(super) fn status(&mut self, status: Status) {
        if let Form::Drawn(drawn) = &mut self.form {
            drawn.most_workers = drawn.most_workers.max(status.workers.len());
            drawn.status = Some(status);
        }
    }

    /// What the user is to know of what the user did.
    pub(super) fn remark(&mut self, sentence: &str) {
        if self.is_drawn() {
            self.latest = sentence.to_owned();
        } else {
            complain(&sentence);
        }
    }

    /// To be called when something has come, and from time to time.
    pub(super) fn redraw(&mut self, elapsed: Duration) {
        let Form::Drawn(drawn) = &mut self.form else { return };
        let screen = screen_of_stdout();
        let scene = Scene {
            aim: drawn.aim,
            status: drawn.status.as_ref(),
            most_workers: drawn.most_workers,
            latest: &self.latest,
            elapsed,
        };
        let bytes = drawn.block.draw(&display::lines(&scene, screen), screen);
        self.output.bytes(bytes.as_bytes());
    }

    /// Takes away what is drawn, and says what was held back: something else is said now.
    pub(super) fn erase(&mut self) {
        self.tell_held();
        if let Form::Drawn(drawn) = &mut self.form {
            let bytes = drawn.block.erase(screen_of_stdout());
            self.output.bytes(bytes.as_bytes());
        }
    }

    /// The end, as it came and as it was understood.
    pub(super) fn answer(&mut self, answer: &Answer, line: &[u8]) {
        // It may say more than the event did: where to look.
        self.held.take_if(|held| clean(&answer.message).starts_with(held.as_str()));
        self.erase();
        match (&self.form, answer.outcome) {
            (Form::Json, _) => self.output.bytes(&[line.trim_ascii_end(), b"\n"].concat()),
            (_, Outcome::Failed | Outcome::Refused | Outcome::Aborted | Outcome::TimedOut) => {
                complain(&answer.message);
                // A plain line has told them already, but not where they are the same as those of the last failure.
                for line in answer.stderr.iter().filter(|_| !self.has_told_words) {
                    complain(&format_args!("it wrote: {line}"));
                }
            }
            // A plain line has told it already.
            (Form::Plain, Outcome::Done) if self.latest == clean(&answer.message) => {}
            (Form::Plain | Form::Drawn(_), Outcome::Done) => self.output.line(&clean(&answer.message)),
            (Form::Quiet, Outcome::Done) => {}
        }
    }

    /// What is answered where there is nobody to ask.
    pub(super) fn answer_of_nobody(&mut self, answer: &Answer) {
        self.answer(answer, &json::write(answer));
    }
}

/// The name of an event and its sentence. What cannot be read as one is shown as it came.
fn told(line: &[u8]) -> (String, String) {
    match Event::read(line) {
        Ok(event) => (event.event, clean(&event.message)),
        Err(_) => (String::new(), clean(&String::from_utf8_lossy(line))),
    }
}

/// Whether stdout can move its cursor.
pub(super) fn can_be_drawn_on() -> bool {
    let term = env::var_os("TERM").unwrap_or_default();
    io::stdout().is_terminal() && !term.is_empty() && term != "dumb"
}

pub(super) fn screen_of_stdout() -> Screen {
    let (columns, rows) = screen::size(&io::stdout()).unwrap_or((80, 24));
    Screen { columns: columns.into(), rows: rows.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_that_of_an_event() {
        let beside = include_str!("../event_loop/control/tell.rs");
        let events = [include_str!("../core/notice/event.rs"), beside].concat();
        for name in REMARKS.iter().chain(&BAD_ENDS) {
            assert!(events.contains(&format!("{name:?}")), "{name}");
        }
    }
}
