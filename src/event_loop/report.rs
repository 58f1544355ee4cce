//! What is told, and to whom: every notice goes to the log, and while a daemon boots to the command that started it.
//!
//! ```text
//!   Notice ──> log
//!          ├─> those who follow events (`control.rs`)
//!          └─> report: {"event": …} a line for each, then {"outcome": …} when the boot has come off or srvwrap ends
//! ```
//!
//! What this file does not do: find the words; `core/notice` has them.

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
        self.log.say(notice);
        self.publish(notice);
        if self.report.as_ref().is_some_and(|report| !report.has_ended()) {
            let line = self.event_told(notice);
            self.tell_caller(&line);
            if matches!(notice, Notice::BootFailed { .. } | Notice::Deploy { .. }) {
                self.boot_end.get_or_insert(notice.to_string());
            }
        }
        if matches!(notice, Notice::Booted { .. }) {
            self.end_boot(notice);
        }
    }

    fn tell_caller(&mut self, line: &[u8]) {
        if let Some(report) = &mut self.report {
            report.line(line);
        }
    }

    /// All workers are online: who waits for that may go on.
    fn end_boot(&mut self, notice: &Notice) {
        if let Some(report) = &mut self.report {
            report.last(&json::write(&Answer {
                outcome: Outcome::Done,
                exit_code: Outcome::Done.exit_code(),
                message: notice.to_string(),
                generation: self.supervisor.committed(),
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
pub(super) fn last_word(boot_end: Option<String>, code: u8) -> Answer {
    let ended = "ended by a stop before all workers were online".to_string();
    let outcome = outcome_of(code);
    let exit_code = if outcome == Outcome::Failed { code } else { outcome.exit_code() };
    Answer { outcome, exit_code, message: boot_end.unwrap_or(ended), generation: None }
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
