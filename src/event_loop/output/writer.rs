//! The log writer, as long as srvwrap runs: one process at a time, made anew where it dies.
//!
//! ```text
//!   start ──> Open each file ──> Opened, or Refused: srvwrap does not start
//!   it dies ──> the next one, at once, or a second later where the one before has not lived long ──> Open each file
//! ```
//!
//! The rings are srvwrap's: the next one reads on where the one before was.
//!
//! What this file does not do: write.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use mio::{Interest, Poll};

use crate::core::{Asker, Time};
use crate::log_writer::{Finished, Heard, LogWriter, monotonic};
use crate::logs::Limits;
use crate::logs::link::FromWriter;

use super::sinks::{Sink, Target};
use super::streams::Streams;
use crate::event_loop::{LOG_WRITER, watch};

/// How long srvwrap waits for its files at the start, and for the last lines at its end.
const PATIENCE: Duration = Duration::from_secs(5);
/// One that dies sooner than this after it was made is not replaced before this has passed.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Who wants files to be opened again has an answer by then.
const REOPEN_LIMIT: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Writer {
    link: Option<LogWriter>,
    made_at: Time,
    restart_at: Option<Time>,
    /// Who waits for files to be opened again, in order, and until when. Nobody: has waited for too long, and what the
    /// log writer says of it, late, is not for the next one.
    reopening: VecDeque<(Option<Asker>, Time)>,
}

/// A file that cannot be opened at the start.
pub(super) struct Refused {
    /// Its sink.
    pub(super) sink: usize,
    pub(super) why: String,
    pub(super) forbidden: bool,
}

/// Why there is no log writer.
pub(super) enum StartError {
    Refused(Refused),
    /// A sentence.
    Other(String),
}

impl Writer {
    /// Makes it, and waits until every file is open. The first file that is refused, in the order of the sinks, is the
    /// error.
    pub(super) fn start(&mut self, limits: &Limits, sinks: &[Sink], poll: &Poll) -> Result<(), StartError> {
        self.make(limits, sinks, poll, Time::default()).map_err(StartError::Other)?;
        let mut open: Vec<Option<Refused>> = Vec::new();
        let files = sinks.iter().filter(|sink| sink.path().is_some()).count();
        while open.len() < files {
            let Some(link) = &mut self.link else { break };
            match link.receive() {
                Some(Heard::Said(FromWriter::Opened { .. })) => open.push(None),
                Some(Heard::Said(FromWriter::Refused { file, why, forbidden })) => {
                    let sink = sinks.iter().position(|sink| sink.is_file(file)).unwrap_or(0);
                    open.push(Some(Refused { sink, why, forbidden }));
                }
                Some(Heard::Said(_)) => {}
                Some(Heard::Died { how }) => {
                    return Err(StartError::Other(format!("the log writer has ended: {how}")));
                }
                None if link.wait(PATIENCE) => {}
                None => {
                    let why = "the log files could not be opened within 5s: the disk does not answer";
                    return Err(StartError::Other(why.to_string()));
                }
            }
        }
        match open.into_iter().flatten().min_by_key(|refused| refused.sink) {
            Some(refused) => Err(StartError::Refused(refused)),
            None => Ok(()),
        }
    }

    /// An error is a sentence.
    fn make(&mut self, limits: &Limits, sinks: &[Sink], poll: &Poll, now: Time) -> Result<(), String> {
        self.made_at = now;
        self.restart_at = Some(now + RESTART_PAUSE);
        let made = LogWriter::start(limits);
        let link = made.map_err(|errno| format!("cannot make the log writer: {}", errno.desc()))?;
        watch(poll, &link.descriptor(), LOG_WRITER, Interest::READABLE)
            .map_err(|error| format!("cannot watch the log writer: {error}"))?;
        self.link = Some(link);
        self.restart_at = None;
        for sink in sinks {
            self.open(sink);
        }
        Ok(())
    }

    /// Gives it the file of this sink, if it has one.
    pub(super) fn open(&mut self, sink: &Sink) {
        if let (Some(link), Target::File { file, path, ring }) = (&mut self.link, &sink.target) {
            link.open(*file, path, ring);
        }
    }

    /// A ring's reader slept.
    pub(super) fn wake(&mut self) {
        if let Some(link) = &mut self.link {
            link.look();
        }
    }

    pub(super) fn receive(&mut self) -> Option<Heard> {
        self.link.as_mut()?.receive()
    }

    /// It is dead: the next one is made at once, or a little later. Who waited for files to be opened again has what it
    /// wants, since the next one opens each.
    pub(super) fn died(&mut self, now: Time, poll: &Poll) -> Vec<Asker> {
        if let Some(link) = self.link.take() {
            use std::os::fd::AsRawFd;
            let fd = link.descriptor().as_fd().as_raw_fd();
            let _ = poll.registry().deregister(&mut mio::unix::SourceFd(&fd));
        }
        self.restart_at = Some(now.max(self.made_at + RESTART_PAUSE));
        self.reopening.drain(..).filter_map(|(asker, _)| asker).collect()
    }

    /// Makes the next one where that is due. An error is a sentence, and it is tried again.
    pub(super) fn restart_due(
        &mut self,
        limits: &Limits,
        sinks: &[Sink],
        poll: &Poll,
        now: Time,
    ) -> Option<Result<(), String>> {
        self.restart_at.filter(|at| *at <= now)?;
        Some(self.make(limits, sinks, poll, now))
    }

    /// Every file is to be opened again. False where there is nobody to do it: the next one opens each.
    pub(super) fn reopen(&mut self, asker: Asker, now: Time) -> bool {
        let Some(link) = &mut self.link else { return false };
        link.reopen();
        self.reopening.push_back((Some(asker), now + REOPEN_LIMIT));
        true
    }

    /// Who asked for what was done now.
    pub(super) fn reopened(&mut self) -> Option<Asker> {
        self.reopening.pop_front()?.0
    }

    /// Who has waited for too long for that.
    pub(super) fn late(&mut self, now: Time) -> Option<Asker> {
        let late = |(asker, limit): &&mut (Option<Asker>, Time)| asker.is_some() && *limit <= now;
        self.reopening.iter_mut().find(late)?.0.take()
    }

    pub(super) fn next_turn(&self) -> Option<Time> {
        let late = self.reopening.iter().find(|(asker, _)| asker.is_some()).map(|(_, limit)| *limit);
        [self.restart_at, late].into_iter().flatten().min()
    }

    /// Waits until what is left for files is in their rings, so long at most; what is left in pipes as well.
    pub(super) fn take_all(&mut self, limits: &Limits, sinks: &mut [Sink], streams: &mut Streams, now: Time) {
        const WAIT: Duration = Duration::from_millis(100);
        if self.link.is_none() && sinks.iter().any(|sink| sink.path().is_some()) {
            // The one before has died just now: there is no time for a pause.
            self.link = LogWriter::start(limits).ok();
            sinks.iter().for_each(|sink| self.open(sink));
        }
        // By the clock: a log writer that says often that there is a little room is not one that says nothing.
        let until = monotonic() + PATIENCE;
        while monotonic() < until {
            let (read, is_held) = streams.read_last(sinks, now);
            let mut wakes = read.iter().any(|pumped| pumped.wake);
            for sink in sinks.iter_mut().filter(|sink| sink.path().is_some()) {
                wakes |= sink.pump(now).wake;
            }
            if wakes {
                self.wake();
            }
            if !is_held && !sinks.iter().any(Sink::has_left_for_ring) {
                return;
            }
            let Some(link) = &mut self.link else { return };
            link.wait(WAIT);
            while let Some(heard) = link.receive() {
                if matches!(heard, Heard::Died { .. }) {
                    self.link = LogWriter::start(limits).ok();
                    sinks.iter().for_each(|sink| self.open(sink));
                    break;
                }
            }
        }
    }

    /// The end. Where the log writer dies in it another one goes on, once.
    pub(super) fn finish(mut self, limits: &Limits, sinks: &[Sink]) -> Finished {
        let finished = self.link.take().map_or(Finished::Ended, |link| link.finish(PATIENCE));
        if !matches!(finished, Finished::Failed { .. }) {
            return finished;
        }
        let Ok(link) = LogWriter::start(limits) else { return finished };
        self.link = Some(link);
        sinks.iter().for_each(|sink| self.open(sink));
        self.link.take().map_or(finished, |link| link.finish(PATIENCE))
    }
}
