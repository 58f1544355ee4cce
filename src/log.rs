//! srvwrap's own voice: one line for each notice, whatever it holds.
//!
//! ```text
//!    say("worker 3 online") ─> one line, cut, nothing that speaks to a terminal ─> take_said() ─> event_loop/output.rs
//!    remark(…)  ── as well, and kept for those who follow events: take_remarks()
//! ```
//!
//! What this file does not do: write. Notices go the way of what workers write, because a stderr that had two writers
//! would mix what they say.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use crate::core::Severity;

/// One notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Without what begins and what ends a line.
    pub(crate) sentence: String,
    pub(crate) severity: Severity,
}

/// Bytes of a sentence: with a time of day and our name before it a pipe still takes it whole.
const LONGEST: usize = 4096 - 64;
/// Remarks that may wait to be taken, which is done at every turn of the loop.
const REMARKS_LIMIT: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Log {
    said: Vec<Said>,
    /// What was said beside the notices of the core, and nobody but the log knows yet.
    remarks: Vec<String>,
}

impl Log {
    pub(crate) fn new() -> Log {
        Log::default()
    }

    /// One notice: a sentence without its period, in one line whatever it holds, cut after 4032 bytes.
    pub(crate) fn say(&mut self, severity: Severity, sentence: &dyn fmt::Display) {
        self.said.push(Said { sentence: one_line(sentence), severity });
    }

    /// As [`Log::say`], of what is no notice of the core: those who follow events are to be told of it too.
    pub(crate) fn remark(&mut self, sentence: &dyn fmt::Display) {
        self.say(Severity::Warning, sentence);
        if self.remarks.len() < REMARKS_LIMIT {
            self.remarks.push(sentence.to_string());
        }
    }

    /// What is to be written, in its order.
    pub(crate) fn take_said(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.said)
    }

    /// The remarks since the last time, the first of them where there were very many.
    pub(crate) fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }
}

/// RFC 3339 with milliseconds, UTC.
pub(crate) fn stamp() -> String {
    #[expect(clippy::disallowed_methods, reason = "a stamp, from which nothing is reckoned")]
    let now = SystemTime::now();
    humantime::format_rfc3339_millis(now).to_string()
}

fn one_line(sentence: &dyn fmt::Display) -> String {
    const CUT: &str = "…";
    let mut line = OneLine(String::new());
    // An error means that the line is full, or that a `Display` failed: what there is of the sentence is said.
    let _ = write!(line, "{sentence}");
    let mut line = line.0;
    if line.len() > LONGEST {
        let mut end = LONGEST - CUT.len();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push_str(CUT);
    }
    line
}

/// Text that holds no control character: what would start another line, or speak to the terminal, is spelled out.
/// It refuses more once it is too long.
struct OneLine(String);

impl fmt::Write for OneLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.0.len() > LONGEST {
                return Err(fmt::Error);
            }
            if character.is_control() {
                self.0.extend(character.escape_debug());
            } else {
                self.0.push(character);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_said_and_kept_until_they_are_taken_but_not_without_end() {
        let mut log = Log::new();
        log.say(Severity::Error, &"a notice");
        log.remark(&"a remark");
        assert_eq!(log.take_remarks(), ["a remark"]);
        assert!(log.take_remarks().is_empty());
        let said = |sentence: &str, severity| Said { sentence: sentence.into(), severity };
        assert_eq!(log.take_said(), [said("a notice", Severity::Error), said("a remark", Severity::Warning)]);
        for number in 0..200 {
            log.remark(&number);
        }
        assert_eq!(log.take_remarks().len(), REMARKS_LIMIT);
        assert_eq!(log.take_said().len(), 200);
    }

    #[test]
    fn what_would_start_another_line_or_speak_to_the_terminal_is_spelled_out() {
        let said = one_line(&"status a\nsrvwrap: b\r\u{1b}[2J\u{7f}\u{9b}é\t\"\\");
        assert_eq!(said, "status a\\nsrvwrap: b\\r\\u{1b}[2J\\u{7f}\\u{9b}é\\t\"\\");
    }

    #[test]
    fn a_long_notice_is_cut_between_characters() {
        for letter in ["x", "é", "€", "🐎", "\n"] {
            let line = one_line(&letter.repeat(5000));
            assert!((LONGEST - 8..=LONGEST).contains(&line.len()), "{}", line.len());
            assert!(line.ends_with('…'));
        }
        let longest = "x".repeat(LONGEST);
        assert_eq!(one_line(&longest), longest);
    }
}
