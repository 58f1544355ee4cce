//! What is told, and to whom: every notice goes to the log, and while a daemon boots to the command that started it.
//!
//! ```text
//!   Notice, remark
//!          ├─> log ──> output.rs
//!          ├─> those who follow events (`control.rs`)
//!          └─> report: {"event": …} a line for each, then {"outcome": …} when the boot has come off or srvwrap ends
//! ```
//!
//! What this file does not do: find the words; `core/notice` has them.

use std::fmt::Display;

use mio::Interest;
use mio::unix::SourceFd;

use crate::core::Notice;
use crate::wire::control::json;
use crate::wire::control::message::{Answer, Outcome};

use super::{EventLoop, REPORT};

impl EventLoop {
    pub(super) fn tell(&mut self, notice: &Notice) {
        if matches!(notice, Notice::Booted { .. }) {
            // Who reads that all are online may look for the pid.
            self.places.write_pid(&mut self.log);
        }
        self.tell_remarks();
        self.log.say(notice.severity(), notice);
        self.write_log();
        self.spread_notice(notice);
        if let Some(who) = notice.failed_program() {
            self.tell_last_lines(who);
        }
        if matches!(notice, Notice::BootFailed { .. } | Notice::Deploy { .. }) && self.caller_waits() {
            let told = self.failure_told(notice);
            self.boot_end.get_or_insert(told);
        }
        if matches!(notice, Notice::Booted { .. }) {
            self.end_boot(notice);
        }
    }

    /// What no worker has done and nobody has asked for.
    pub(super) fn remark(&mut self, sentence: &dyn Display) {
        self.log.remark(sentence);
        self.tell_remarks();
    }

    /// What srvwrap has said goes where notices go.
    pub(super) fn write_log(&mut self) {
        let now = self.now();
        self.output.say(&mut self.log, now);
    }

    /// A notice as an event, for whoever wants those.
    pub(super) fn spread_notice(&mut self, notice: &Notice) {
        if self.somebody_listens() {
            let line = self.event_told(notice);
            self.spread(line);
        }
    }

    /// Those that only the log has heard.
    pub(super) fn tell_remarks(&mut self) {
        for sentence in self.output.take_remarks() {
            self.log.remark(&sentence);
        }
        self.write_log();
        for sentence in self.log.take_remarks() {
            if self.somebody_listens() {
                let line = self.remark_told(sentence);
                self.spread(line);
            }
        }
    }

    fn caller_waits(&self) -> bool {
        self.report.as_ref().is_some_and(|report| !report.has_ended())
    }

    fn somebody_listens(&self) -> bool {
        self.caller_waits() || self.has_followers()
    }

    /// One event.
    fn spread(&mut self, line: Vec<u8>) {
        if let Some(report) = &mut self.report {
            report.line(&line);
        }
        self.publish(line);
    }

    /// All workers are online: who waits for that may go on.
    fn end_boot(&mut self, notice: &Notice) {
        if let Some(report) = &mut self.report {
            report.last(&json::write(&Answer {
                outcome: Outcome::Done,
                exit_code: Outcome::Done.exit_code(),
                message: notice.to_string(),
                generation: self.supervisor.committed(),
                stderr: Vec::new(),
            }));
        }
    }

    /// Only while something waits to be written: else each read of what we write would wake us.
    pub(super) fn watch_report(&mut self) {
        if let Some(fd) = self.report.as_ref().and_then(|report| report.fd()) {
            // It stays registered from the first time on, and a second registration says so.
            let registry = self.poll.registry();
            if registry.register(&mut SourceFd(&fd), REPORT, Interest::WRITABLE).is_err() {
                let _ = registry.reregister(&mut SourceFd(&fd), REPORT, Interest::WRITABLE);
            }
        }
    }
}

/// For the end of a daemon that was not online before: what its caller is told when nothing of it is left.
pub(super) fn last_word(boot_end: Option<(String, Vec<String>)>, code: u8) -> Answer {
    let ended = || ("ended by a stop before all workers were online".to_string(), Vec::new());
    let (message, stderr) = boot_end.unwrap_or_else(ended);
    let outcome = outcome_of(code);
    let exit_code = if outcome == Outcome::Failed { code } else { outcome.exit_code() };
    Answer { outcome, exit_code, message, generation: None, stderr }
}

/// By the exit code of a boot that has not come off.
fn outcome_of(code: u8) -> Outcome {
    match code {
        0 => Outcome::Aborted,
        code if code == Outcome::Aborted.exit_code() => Outcome::Aborted,
        code if code == Outcome::TimedOut.exit_code() => Outcome::TimedOut,
        _ => Outcome::Failed,
    }
}
