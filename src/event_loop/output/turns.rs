//! What the loop does about output: streams that are ready, room that was made, what the log writer says.
//!
//! What this file does not do: wait.

use std::time::Duration;

use crate::core::{Asker, Time, WorkerId};
use crate::event_loop::EventLoop;
use crate::log_writer::Heard;
use crate::logs::link::{FileId, FromWriter};
use crate::logs::{Full, Own};
use crate::wire::control::message::Outcome;

use super::sinks::Sink;

impl EventLoop {
    /// There is something to read, or nobody has the writing end any more.
    pub(in crate::event_loop) fn output_ready(&mut self, worker: WorkerId, own: Own) {
        self.output.streams.set_ready((worker, own));
    }

    /// Our own stdout or stderr has room.
    pub(in crate::event_loop) fn pump_output(&mut self) {
        self.output.pump(self.now());
    }

    /// What workers write, as far as it goes in one turn, and what is due.
    pub(in crate::event_loop) fn serve_output(&mut self) {
        let now = self.now();
        self.output.streams.wake_paused(now);
        if self.output.sinks.iter().filter_map(Sink::retry_at).any(|at| at <= now) {
            self.output.pump(now);
        }
        if std::mem::take(&mut self.output.has_answered) {
            self.hear_log_writer();
        }
        self.look_after_log_writer(now);
        for pumped in self.output.streams.read_ready(&mut self.output.sinks, now, &self.poll) {
            self.output.take(pumped);
        }
    }

    /// Before the loop waits: whoever is to go on with what was written is told.
    pub(in crate::event_loop) fn leave_output(&mut self) {
        self.output.let_go();
        self.output.watch_own(&self.poll);
        self.output.wake_writer();
    }

    /// The end: what workers have left is read, and a slow reader of our own streams is waited for, but no longer than
    /// 2 s.
    pub(in crate::event_loop) fn finish_own_output(&mut self) {
        const LIMIT: Duration = Duration::from_secs(2);
        let until = self.now() + LIMIT;
        loop {
            // Each time: what found no room may find some now.
            self.output.read_last(self.now());
            self.tell_remarks();
            if !self.output.flush_own(self.now()) || self.now() >= until {
                break;
            }
        }
        self.tell_remarks();
        for sentence in self.output.give_up_own() {
            self.remark(&sentence);
        }
    }

    /// A worker is dead.
    pub(in crate::event_loop) fn read_last_words(&mut self, worker: WorkerId) {
        let now = self.now();
        for pumped in self.output.streams.bury(worker, &mut self.output.sinks, now, &self.poll) {
            self.output.take(pumped);
        }
    }

    fn look_after_log_writer(&mut self, now: Time) {
        while let Some(asker) = self.output.writer.late(now) {
            self.answer_reopening(asker, Err("the disk does not answer".to_string()));
        }
        let output = &mut self.output;
        match output.writer.restart_due(&output.logs.limits, &output.sinks, &self.poll, now) {
            None => {}
            Some(Ok(())) => self.output.pump(now),
            Some(Err(error)) => self.remark(&format_args!("{error}; trying again")),
        }
    }

    pub(in crate::event_loop) fn hear_log_writer(&mut self) {
        while let Some(heard) = self.output.writer.receive() {
            match heard {
                Heard::Said(FromWriter::Room) => self.pump_output(),
                Heard::Said(FromWriter::Opened { file } | FromWriter::Recovered { file }) => {
                    self.end_trouble(file);
                }
                Heard::Said(
                    FromWriter::Refused { file, why, .. } | FromWriter::Trouble { file, why, writing: true },
                ) => self.begin_trouble(file, &why),
                Heard::Said(FromWriter::Trouble { why, writing: false, .. }) => self.remark(&why),
                Heard::Said(FromWriter::Reopened { why }) => {
                    let outcome = if why.is_empty() { Ok(()) } else { Err(why.join("; ")) };
                    if let Some(asker) = self.output.writer.reopened() {
                        self.answer_reopening(asker, outcome);
                    }
                }
                Heard::Died { how } => self.bury_log_writer(&how),
            }
        }
    }

    fn begin_trouble(&mut self, file: FileId, why: &str) {
        let waits = match self.output.logs.full {
            Full::Block => "lines wait in memory, and with them their writers",
            Full::DropNew | Full::DropOld => "lines that find no room in memory are dropped",
        };
        if let Some(sink) = self.output.sinks.iter_mut().find(|sink| sink.is_file(file)) {
            sink.begin_trouble(why.to_string());
        }
        self.remark(&format_args!("{why}; {waits}"));
    }

    fn end_trouble(&mut self, file: FileId) {
        let mut sinks = self.output.sinks.iter_mut();
        let Some(sink) = sinks.find(|sink| sink.is_file(file)) else { return };
        let (Some(dropped), Some(path)) = (sink.end_trouble(), sink.path()) else { return };
        let mut sentence = format!("{} is written again", path.display());
        if dropped > 0 {
            let (lines, were) = if dropped == 1 { ("line", "was") } else { ("lines", "were") };
            sentence += &format!("; {dropped} {lines} {were} dropped");
        }
        self.remark(&sentence);
    }

    fn bury_log_writer(&mut self, how: &str) {
        let now = self.now();
        let askers = self.output.writer.died(now, &self.poll);
        self.remark(&format_args!("the log writer has ended: {how}; another one goes on where it was"));
        for asker in askers {
            self.answer_reopening(asker, Ok(()));
        }
        self.look_after_log_writer(now);
    }

    /// Somebody has moved the log files away, and wants new ones.
    pub(in crate::event_loop) fn reopen_logs(&mut self, asker: Asker) {
        let now = self.now();
        if !self.output.has_files() {
            self.tell_reopening(asker, Outcome::Done, "there is no log file");
        } else if !self.output.writer.reopen(asker, now) {
            self.answer_reopening(asker, Ok(()));
        }
    }

    fn answer_reopening(&mut self, asker: Asker, reopened: Result<(), String>) {
        match reopened {
            Ok(()) => self.tell_reopening(asker, Outcome::Done, "logs reopened"),
            Err(why) => {
                self.tell_reopening(asker, Outcome::Failed, &format!("cannot reopen the logs: {why}"));
            }
        }
    }

    fn tell_reopening(&mut self, asker: Asker, outcome: Outcome, message: &str) {
        self.remark(&format_args!("{asker}: {message}"));
        if let Asker::Client { client, .. } = asker {
            self.reply_with(client, outcome, message.to_string());
        }
    }
}
