//! What workers write and what srvwrap says, on its way from their pipes to where the user wants it.
//!
//! ```text
//!   worker's pipe ──> streams.rs ──> lines ──┐              ┌──> ring ──> the log writer ──> file     writer.rs
//!                                            ├──> sinks.rs ─┤
//!   notice, remark ── Log ───────────────────┘              └──> srvwrap's own stdout or stderr
//! ```
//!
//! Nothing is read that need not be: a stream that goes as it is to where srvwrap's own goes is inherited, and one that
//! goes nowhere is /dev/null. Where nothing is read and nothing goes to a file, nothing here has any memory.
//!
//! Nothing here waits either, but at the start, until each file is open, and at the end, until the last line is
//! written; both for so long at most.
//!
//! `turns.rs` has what the loop does about all this, and `words.rs` what a worker that failed wrote last.
//!
//! What this file does not do: write to a file. The log writer does.

mod sinks;
mod streams;
mod turns;
mod words;
mod writer;

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use crate::core::{Severity, Time, WorkerId};
use crate::log::{Log, Said};
use crate::log_writer::Finished;
use crate::logs::form::{Form, Source};
use crate::logs::link::FileId;
use crate::logs::{Destination, Format, Full, Logs, Own};
use crate::sys::output_pipe::output_pipe;
use crate::sys::own_output::OwnOutput;
use crate::sys::process;
use crate::wire::control::status::LogFile;

use super::{OWN_STDERR, OWN_STDOUT, watch};
use sinks::{Pumped, Sink};
use streams::{Stream, Streams};
use words::Words;
use writer::{StartError, Writer};

/// For srvwrap's end.
const LAST_WAIT_MS: u8 = 100;

pub(super) struct Output {
    logs: Logs,
    /// What JOURNAL_STREAM says.
    journal: String,
    /// A prefix has no colours, whatever it goes to.
    no_color: bool,
    sinks: Vec<Sink>,
    /// That of notices; none: nowhere.
    notices: Option<usize>,
    streams: Streams,
    writer: Writer,
    pub(super) words: Words,
    /// The log writer is to look at its rings.
    wake: bool,
    /// It may have answered before it was asked: nothing went out.
    has_answered: bool,
    /// To be said.
    remarks: Vec<String>,
}

/// What one of a worker's streams is made to be.
pub(super) enum Made {
    Inherited,
    Null,
    /// The other one of srvwrap's own.
    Own(Own),
    /// A pipe: its writing end.
    Pipe(OwnedFd),
}

/// srvwrap's own, for as long as a worker is made.
pub(super) struct OwnStreams {
    stdout: std::io::Stdout,
    stderr: std::io::Stderr,
}

impl OwnStreams {
    pub(super) fn of_this_process() -> OwnStreams {
        OwnStreams { stdout: std::io::stdout(), stderr: std::io::stderr() }
    }
}

impl Made {
    pub(super) fn as_output<'a>(&'a self, own: &'a OwnStreams) -> process::Output<'a> {
        match self {
            Made::Inherited => process::Output::Inherit,
            Made::Null => process::Output::Null,
            Made::Own(Own::Stdout) => process::Output::To(own.stdout.as_fd()),
            Made::Own(Own::Stderr) => process::Output::To(own.stderr.as_fd()),
            Made::Pipe(writer) => process::Output::To(writer.as_fd()),
        }
    }
}

/// The worker whose streams are made.
#[derive(Clone, Copy)]
pub(super) struct Writes<'a> {
    pub(super) worker: WorkerId,
    pub(super) slot: u32,
    pub(super) generation: u32,
    /// The program as typed.
    pub(super) program: &'a OsStr,
}

/// Where a stream goes.
enum Route {
    Made(Made),
    Sink(usize),
}

impl Output {
    /// Opens each file that is known. An error is a sentence, with what to do where there is something; `elsewhere` is
    /// that for what workers write.
    pub(super) fn open(
        logs: &Logs,
        slots: u32,
        elsewhere: Option<&str>,
        poll: &Poll,
    ) -> Result<Output, String> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let mut output = Output {
            logs: logs.clone(),
            journal: variable("JOURNAL_STREAM"),
            no_color: !variable("NO_COLOR").is_empty() || variable("TERM") == "dumb",
            sinks: Vec::new(),
            notices: None,
            streams: Streams::default(),
            writer: Writer::default(),
            words: Words::default(),
            wake: false,
            has_answered: false,
            remarks: Vec::new(),
        };
        for own in [Own::Stdout, Own::Stderr] {
            // Of a scale, those of slots that are new are made with the first worker of each.
            let slots = if is_per_slot(output.destination(own)) { slots } else { 1 };
            for slot in 0..slots {
                output.route(own, slot)?;
            }
        }
        output.notices = match logs.notices.clone() {
            Destination::Null => None,
            Destination::Own(own) => Some(output.own_sink(own, false)),
            Destination::File(path) => Some(output.file_sink(path.of_slot(0), false)?),
        };
        if output.has_files() {
            let started = output.writer.start(&logs.limits, &output.sinks, poll);
            started.map_err(|error| output.refused(error, elsewhere))?;
        }
        Ok(output)
    }

    fn refused(&self, error: StartError, elsewhere: Option<&str>) -> String {
        let refused = match error {
            StartError::Other(sentence) => return sentence,
            StartError::Refused(refused) => refused,
        };
        let path = self.sinks[refused.sink].path();
        let is_for = |destination: &Destination| match destination {
            Destination::File(file) => Some(file.as_given()) == path,
            Destination::Own(_) | Destination::Null => false,
        };
        let option = match elsewhere {
            _ if !refused.forbidden => return refused.why,
            Some(elsewhere) if is_for(&self.logs.stdout) || is_for(&self.logs.stderr) => {
                elsewhere.to_string()
            }
            _ if is_for(&self.logs.stdout) => "--stdout names another file".to_string(),
            _ if is_for(&self.logs.stderr) => "--stderr names another file".to_string(),
            _ => "--log names another file".to_string(),
        };
        format!("{} ({option})", refused.why)
    }

    pub(super) fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Every file, by path.
    pub(super) fn files(&self) -> Vec<LogFile> {
        let mut files: Vec<LogFile> = self.sinks.iter().filter_map(Sink::as_told).collect();
        files.sort_by(|a, b| a.path.0.cmp(&b.path.0));
        files
    }

    fn destination(&self, own: Own) -> &Destination {
        match own {
            Own::Stdout => &self.logs.stdout,
            Own::Stderr => &self.logs.stderr,
        }
    }

    fn has_files(&self) -> bool {
        self.sinks.iter().any(|sink| sink.path().is_some())
    }

    /// Where a stream of this slot's worker goes. A sink that is not there yet is made. An error is a sentence.
    fn route(&mut self, own: Own, slot: u32) -> Result<Route, String> {
        let is_untouched = self.is_untouched();
        Ok(match self.destination(own).clone() {
            Destination::Null => Route::Made(Made::Null),
            Destination::Own(to) if is_untouched && to == own => Route::Made(Made::Inherited),
            Destination::Own(to) if is_untouched => Route::Made(Made::Own(to)),
            Destination::Own(to) => Route::Sink(self.own_sink(to, true)),
            Destination::File(path) => Route::Sink(self.file_sink(path.of_slot(slot), true)?),
        })
    }

    /// What is to have a form, or may be dropped, has to be read.
    fn is_untouched(&self) -> bool {
        self.logs.format == Format::Plain && self.logs.full == Full::Block
    }

    /// Where stdout and stderr are one, so is their sink: two would mix what they write.
    fn own_sink(&mut self, own: Own, serves_workers: bool) -> usize {
        let (stdout, stderr) = (OwnOutput::stdout(), OwnOutput::stderr());
        let is_one =
            stdout.as_ref().zip(stderr.as_ref()).is_some_and(|(stdout, stderr)| stdout.is_same_as(stderr));
        let own = if is_one { Own::Stderr } else { own };
        if let Some(found) = self.sinks.iter().position(|sink| sink.is_own(own)) {
            return found;
        }
        let stream = if own == Own::Stdout { stdout } else { stderr };
        self.sinks.push(Sink::own(own, stream, &self.logs, serves_workers, &self.journal));
        self.sinks.len() - 1
    }

    fn file_sink(&mut self, path: PathBuf, serves_workers: bool) -> Result<usize, String> {
        if let Some(found) = self.sinks.iter().position(|sink| sink.path() == Some(&path)) {
            return Ok(found);
        }
        let file = FileId(u32::try_from(self.sinks.len()).unwrap_or(u32::MAX));
        let made = Sink::file(file, path, &self.logs, serves_workers);
        self.sinks.push(made.map_err(|errno| format!("cannot make memory for logs: {}", errno.desc()))?);
        Ok(self.sinks.len() - 1)
    }

    /// Makes both streams of a worker, and watches what is to be read. An error is a sentence, and what was made
    /// remains until [`Output::drop_streams`].
    pub(super) fn make_streams(
        &mut self,
        writes: Writes<'_>,
        tokens: [Token; 2],
        poll: &Poll,
    ) -> Result<[Made; 2], String> {
        let stdout = self.make_stream(writes, Own::Stdout, tokens[0], poll)?;
        let stderr = self.make_stream(writes, Own::Stderr, tokens[1], poll)?;
        Ok([stdout, stderr])
    }

    fn make_stream(
        &mut self,
        writes: Writes<'_>,
        own: Own,
        token: Token,
        poll: &Poll,
    ) -> Result<Made, String> {
        let files = self.sinks.len();
        let sink = match self.route(own, writes.slot)? {
            Route::Made(made) => return Ok(made),
            Route::Sink(sink) => sink,
        };
        if self.sinks.len() > files {
            self.writer.open(&self.sinks[sink]);
            self.has_answered = true;
        }
        let (reader, writer) =
            output_pipe().map_err(|errno| format!("cannot make a pipe for its output: {}", errno.desc()))?;
        watch(poll, &reader, token, Interest::READABLE)
            .map_err(|error| format!("cannot watch its output: {error}"))?;
        let Writes { worker, slot, generation, program } = writes;
        let source = Source { slot, pid: 0, generation, stream: own };
        let coloured = !self.no_color && self.sinks[sink].is_terminal();
        let form = Form::new(self.logs.format, &name_of(program), coloured);
        self.streams.add((worker, own), Stream::new(reader, sink, source, form));
        Ok(Made::Pipe(writer))
    }

    /// A worker that was not made after all.
    pub(super) fn drop_streams(&mut self, worker: WorkerId, poll: &Poll) {
        self.streams.remove_both(worker, poll);
    }

    pub(super) fn set_pid(&mut self, worker: WorkerId, pid: u32) {
        self.streams.set_pid(worker, pid);
    }

    /// Writes what srvwrap has to say.
    pub(super) fn say(&mut self, log: &mut Log, now: Time) {
        for said in log.take_said() {
            self.say_one(&said, now);
        }
    }

    /// As a notice, where nobody sees it unless it is in a file.
    pub(super) fn say_in_file(&mut self, sentence: &str) {
        let is_file = self.notices.is_some_and(|notices| self.sinks[notices].path().is_some());
        let mut log = Log::new();
        log.say(Severity::Error, &sentence);
        if is_file {
            self.say(&mut log, Time::default());
        }
    }

    pub(super) fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    fn say_one(&mut self, said: &Said, now: Time) {
        if let Some(sink) = self.notices {
            let pumped = self.sinks[sink].say(said, now);
            self.take(pumped);
        }
    }

    /// Whether notices go where a worker's stderr goes.
    fn says_among_stderr_of(&self, slot: u32) -> bool {
        let Some(notices) = self.notices.map(|notices| &self.sinks[notices]) else { return false };
        match &self.logs.stderr {
            Destination::Null => false,
            Destination::Own(own) => notices.is_own(*own),
            Destination::File(path) => notices.path() == Some(&path.of_slot(slot)),
        }
    }

    /// Where this slot's worker writes its errors, if that is a file.
    pub(super) fn stderr_path(&self, slot: u32) -> Option<PathBuf> {
        match &self.logs.stderr {
            Destination::File(path) => Some(path.of_slot(slot)),
            Destination::Own(_) | Destination::Null => None,
        }
    }

    /// Whether a worker has a stdout or stderr of srvwrap's own.
    pub(super) fn passes_own_on(&self) -> bool {
        let is_own = |to: &Destination| matches!(to, Destination::Own(_));
        self.is_untouched() && (is_own(&self.logs.stdout) || is_own(&self.logs.stderr))
    }

    fn take(&mut self, pumped: Pumped) {
        self.wake |= pumped.wake;
        self.remarks.extend(pumped.broke);
    }

    /// What was held is read again where there is room for it: that may have been made by what was said meanwhile.
    fn let_go(&mut self) {
        for (index, sink) in self.sinks.iter().enumerate() {
            if !sink.is_full(sinks::Room::Usual) {
                self.streams.let_go(index);
            }
        }
    }

    /// Writes what waits, in every sink that has room again.
    fn pump(&mut self, now: Time) {
        for index in 0..self.sinks.len() {
            let pumped = self.sinks[index].pump(now);
            self.take(pumped);
        }
        self.let_go();
    }

    pub(super) fn next_turn(&self) -> Option<Time> {
        let retry = self.sinks.iter().filter_map(Sink::retry_at).min();
        [self.streams.next_turn(), self.writer.next_turn(), retry].into_iter().flatten().min()
    }

    pub(super) fn has_more(&self) -> bool {
        self.streams.has_ready()
    }

    /// This worker will not be asked for any more, but perhaps what it wrote last.
    pub(super) fn forget(&mut self, worker: WorkerId, pid: Option<i32>) {
        if let Some((pid, tail)) = pid.zip(self.streams.take_tail(worker)) {
            self.words.keep(pid, tail.lines());
        }
    }

    /// Only while something waits to be written: else each read of what we write would wake us.
    fn watch_own(&self, poll: &Poll) {
        for sink in &self.sinks {
            let Some(fd) = sink.fd() else { continue };
            let token = if sink.is_own(Own::Stdout) { OWN_STDOUT } else { OWN_STDERR };
            // It stays registered from the first time on, and a second registration says so.
            if poll.registry().register(&mut SourceFd(&fd), token, Interest::WRITABLE).is_err() {
                let _ = poll.registry().reregister(&mut SourceFd(&fd), token, Interest::WRITABLE);
            }
        }
    }

    /// The end: what workers have left in their pipes is read, as far as there is room for it. Whether there is more is
    /// known by the sinks: those that are full.
    fn read_last(&mut self, now: Time) {
        let (read, _) = self.streams.read_last(&mut self.sinks, now);
        read.into_iter().for_each(|pumped| self.take(pumped));
    }

    /// The log writer looks at its rings, if it slept where something came.
    fn wake_writer(&mut self) {
        if std::mem::take(&mut self.wake) {
            self.writer.wake();
        }
    }

    /// Writes what waits for srvwrap's own streams, and waits a moment for room. False where nothing is left, neither
    /// here nor, for want of room, in a worker's pipe.
    fn flush_own(&mut self, now: Time) -> bool {
        let mut waits = false;
        for index in 0..self.sinks.len() {
            let sink = &mut self.sinks[index];
            if sink.path().is_some() {
                continue;
            }
            let was_full = sink.is_full(sinks::Room::Last);
            let pumped = sink.pump(now);
            // One that was full and is not has room for what was held.
            waits |= sink.wait_for_room(LAST_WAIT_MS) || (was_full && !sink.is_full(sinks::Room::Last));
            self.take(pumped);
        }
        waits
    }

    /// What of srvwrap's own streams could not be written by then is lost: how much, in a sentence for each.
    fn give_up_own(&mut self) -> Vec<String> {
        let own = self.sinks.iter_mut().filter(|sink| sink.path().is_none());
        own.filter_map(Sink::give_up).collect()
    }

    /// The very end: what is left goes to the files.
    pub(super) fn finish(mut self, now: Time) {
        self.wake_writer();
        let Output { writer, logs, sinks, streams, .. } = &mut self;
        writer.take_all(&logs.limits, sinks, streams, now);
        let lost: Vec<String> = self.sinks.iter_mut().filter_map(Sink::give_up).collect();
        for sentence in lost {
            self.say_last(sentence, now);
        }
        self.wake_writer();
        let sentence = match std::mem::take(&mut self.writer).finish(&self.logs.limits, &self.sinks) {
            Finished::Ended => return,
            Finished::Left { pid } => {
                let left: Vec<String> = self.sinks.iter().filter_map(Sink::unwritten).collect();
                format!(
                    "{}; the log writer (pid {pid}) goes on until all is written, or for 10s in which nothing can be",
                    left.join("; ")
                )
            }
            Finished::Failed { how } => format!("the log writer has ended: {how}; not every line is written"),
        };
        // Where notices go to a file this lies in its ring: one that is left writes it, and of one that failed nobody
        // hears.
        self.say_last(sentence, now);
    }

    fn say_last(&mut self, sentence: String, now: Time) {
        self.say_one(&Said { sentence, severity: Severity::Warning }, now);
    }
}

fn is_per_slot(destination: &Destination) -> bool {
    match destination {
        Destination::File(path) => path.is_per_slot(),
        Destination::Own(_) | Destination::Null => false,
    }
}

/// As it stands before a line.
fn name_of(program: &OsStr) -> String {
    Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned()
}
