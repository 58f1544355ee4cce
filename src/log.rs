//! srvwrap's own voice: one line on stderr, or in a file, for each notice, and never a wait for who reads it.
//!
//! ```text
//!    say("worker 3 online") ─> "srvwrap: worker 3 online\n" ─┬─> stderr, in one write
//!                                                            └─> the queue, while stderr is full ─> flush()
//!    remark(…)  ── as well, and kept for those who follow events: take_remarks()
//! ```
//!
//! A pipe that nobody reads or a terminal that was stopped fills the queue. Once that is full, notices are counted
//! instead, and the count is said when stderr is read again. Where stderr is broken the log is silent, and tries
//! again with each notice. In a file each line begins with the time of day; who reads stderr keeps its own.
//!
//! What this file does not do: write what workers say.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::os::fd::{AsFd, RawFd};
use std::path::Path;
use std::time::SystemTime;

use crate::sys::logfile;
use crate::sys::own_file::FileError;
use crate::sys::stderr::{Stderr, WRITE_LIMIT, WriteError};

/// Bytes that may wait for a reader. As much as a pipe holds: about a thousand notices.
const QUEUE_LIMIT: usize = 64 * 1024;
/// Remarks that may wait to be taken, which is done at every turn of the loop.
const REMARKS_LIMIT: usize = 64;

#[derive(Debug)]
pub(crate) struct Log {
    stderr: Option<Stderr>,
    /// Whole lines, of which the first may have been written in part.
    queue: VecDeque<Vec<u8>>,
    queued_bytes: usize,
    /// Notices that were lost since the last time that their number was said.
    dropped: u64,
    /// The last write found nobody, and never will: there is nothing to wait for.
    broken: bool,
    /// Why notices are lost where they are.
    loss: &'static str,
    /// Whether each line begins with the time of day.
    stamped: bool,
    /// What was said beside the notices of the core, and nobody but the log knows yet.
    remarks: Vec<String>,
}

impl Log {
    pub(crate) fn new() -> Log {
        Log::to(Stderr::of_this_process())
    }

    /// To a file that notices are appended to, made where there is none.
    pub(crate) fn to_file(path: &Path) -> Result<Log, FileError> {
        let file = logfile::open(path)?;
        let stderr = Stderr::of(file.as_fd()).ok();
        Ok(Log { loss: "the log could not be written", stamped: true, ..Log::to(stderr) })
    }

    fn to(stderr: Option<Stderr>) -> Log {
        Log {
            stderr,
            queue: VecDeque::new(),
            queued_bytes: 0,
            dropped: 0,
            broken: false,
            loss: "stderr was not read",
            stamped: false,
            remarks: Vec::new(),
        }
    }

    /// One notice: a sentence without its period, in one line whatever it holds, cut after 4096 bytes.
    pub(crate) fn say(&mut self, sentence: &dyn fmt::Display) {
        let line = self.line(sentence);
        self.flush();
        // After a gap its size comes first, so that nothing is said while that cannot be.
        if self.dropped > 0 || self.queued_bytes + line.len() > QUEUE_LIMIT {
            self.dropped += 1;
            return;
        }
        self.queued_bytes += line.len();
        self.queue.push_back(line);
        self.flush();
    }

    /// As [`Log::say`], of what is no notice of the core: those who follow events are to be told of it too.
    pub(crate) fn remark(&mut self, sentence: &dyn fmt::Display) {
        self.say(sentence);
        if self.remarks.len() < REMARKS_LIMIT {
            self.remarks.push(sentence.to_string());
        }
    }

    /// The remarks since the last time, the first of them where there were very many.
    pub(crate) fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    fn line(&self, sentence: &dyn fmt::Display) -> Vec<u8> {
        if self.stamped {
            return line_of(&format!("{} srvwrap: ", stamp()), sentence);
        }
        line_of("srvwrap: ", sentence)
    }

    /// Writes what waits, as far as it goes without waiting. For the moment at which [`Log::fd`] is writable.
    pub(crate) fn flush(&mut self) {
        if self.write_queue() && self.dropped > 0 {
            self.say_how_many_were_dropped();
        }
    }

    /// What to watch for room, edge-triggered, and only for as long as this is not `None`, that is while something
    /// waits to be said: else each read of a pipe's reader would wake us. Nothing where stderr is broken: what nobody
    /// reads is ready all the time, and would keep us busy.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.stderr.as_ref().filter(|_| self.waits()).and_then(Stderr::fd)
    }

    fn waits(&self) -> bool {
        !self.broken && (!self.queue.is_empty() || self.dropped > 0)
    }

    /// The last flush: waits for a slow reader, but no longer than 2 s in all.
    pub(crate) fn finish(mut self) {
        const WAITS: u8 = 20;
        const WAIT_MS: u8 = 100;
        for _ in 0..WAITS {
            self.flush();
            let Some(stderr) = self.stderr.as_ref().filter(|_| self.waits()) else { return };
            let _ = stderr.has_room_within(WAIT_MS);
        }
        self.flush();
    }

    /// Whether nothing waits any more.
    fn write_queue(&mut self) -> bool {
        while let Some(line) = self.queue.front_mut() {
            match write(self.stderr.as_ref(), line) {
                Ok(written) => {
                    self.broken = false;
                    self.queued_bytes -= written;
                    line.drain(..written);
                    if line.is_empty() {
                        self.queue.pop_front();
                    }
                }
                Err(WriteError::Full) => {
                    self.broken = false;
                    return false;
                }
                Err(WriteError::Lost(_)) => self.lose_queue(),
            }
        }
        true
    }

    fn lose_queue(&mut self) {
        self.dropped += self.queue.len() as u64;
        self.queue.clear();
        self.queued_bytes = 0;
        self.broken = true;
    }

    /// For an empty queue: the count takes its place in the order of the lines.
    fn say_how_many_were_dropped(&mut self) {
        let (notices, were) = if self.dropped == 1 { ("notice", "was") } else { ("notices", "were") };
        let count = self.dropped;
        let mut line = self.line(&format_args!("{count} {notices} {were} dropped because {}", self.loss));
        let result = write(self.stderr.as_ref(), &line);
        self.broken = matches!(result, Err(WriteError::Lost(_)));
        if let Ok(written) = result {
            self.dropped = 0;
            line.drain(..written);
            self.queued_bytes = line.len();
            self.queue.extend((!line.is_empty()).then_some(line));
        }
    }
}

fn write(stderr: Option<&Stderr>, line: &[u8]) -> Result<usize, WriteError> {
    stderr.map_or(Err(WriteError::Lost(nix::errno::Errno::EBADF)), |stderr| stderr.write(line))
}

/// RFC 3339, UTC.
fn stamp() -> humantime::Rfc3339Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a stamp, from which nothing is reckoned")]
    let now = SystemTime::now();
    humantime::format_rfc3339_millis(now)
}

fn line_of(opening: &str, sentence: &dyn fmt::Display) -> Vec<u8> {
    const CUT: &str = "…";
    let mut line = OneLine(opening.to_owned());
    // An error means that the line is full, or that a `Display` failed: what there is of the sentence is said.
    let _ = write!(line, "{sentence}");
    let mut line = line.0;
    if line.len() >= WRITE_LIMIT {
        let mut end = WRITE_LIMIT - 1 - CUT.len();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push_str(CUT);
    }
    line.push('\n');
    line.into_bytes()
}

/// Text that holds no control character: what would start another line, or speak to the terminal, is spelled out.
/// It refuses more once it is too long for one write.
struct OneLine(String);

impl fmt::Write for OneLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.0.len() >= WRITE_LIMIT {
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
    use std::io::{PipeReader, Read, pipe};
    use std::os::fd::AsFd;
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token};

    fn log_and_reader() -> (Log, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        (Log::to(Some(Stderr::of(writer.as_fd()).unwrap())), reader)
    }

    fn rest(log: Log, mut reader: PipeReader) -> String {
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    fn read_some(reader: &mut PipeReader, bytes: usize) -> String {
        let mut text = vec![0; bytes];
        reader.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    const NAME: &str = "srvwrap: ";

    /// A sentence that makes a line of 64 bytes.
    fn numbered(number: u32) -> String {
        format!("notice {number:07} {}", "x".repeat(39))
    }

    #[test]
    fn a_notice_is_one_line_with_our_name() {
        let (mut log, reader) = log_and_reader();
        log.say(&"worker 3 (pid 4711) online after 1.2s");
        assert_eq!(log.fd(), None);
        assert_eq!(rest(log, reader), "srvwrap: worker 3 (pid 4711) online after 1.2s\n");
    }

    #[test]
    fn in_a_file_each_line_begins_with_the_time_of_day_and_is_no_longer_for_that() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("srvwrap.log");
        let mut log = Log::to_file(&path).unwrap();
        log.say(&"worker 3 (pid 4711) online after 1.2s");
        log.say(&"x".repeat(5000));
        log.dropped = 1;
        log.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<(&str, &str)> = text.lines().map(|line| line.split_once(' ').unwrap()).collect();
        assert!(lines.iter().all(|(time, _)| time.len() == "2026-11-21T10:26:52.921Z".len()), "{text}");
        let times: Result<Vec<SystemTime>, _> =
            lines.iter().map(|(time, _)| humantime::parse_rfc3339(time)).collect();
        assert!(times.unwrap().is_sorted(), "{text}");
        assert_eq!(lines[0].1, "srvwrap: worker 3 (pid 4711) online after 1.2s");
        assert_eq!(text.lines().nth(1).unwrap().len() + 1, WRITE_LIMIT);
        assert_eq!(lines[2].1, "srvwrap: 1 notice was dropped because the log could not be written");
    }

    #[test]
    fn remarks_are_said_and_kept_until_they_are_taken_but_not_without_end() {
        let (mut log, reader) = log_and_reader();
        log.say(&"a notice");
        log.remark(&"a remark");
        assert_eq!(log.take_remarks(), ["a remark"]);
        assert!(log.take_remarks().is_empty());
        for number in 0..200 {
            log.remark(&number);
        }
        assert_eq!(log.take_remarks().len(), REMARKS_LIMIT);
        let text = rest(log, reader);
        assert!(text.starts_with("srvwrap: a notice\nsrvwrap: a remark\nsrvwrap: 0\n"), "{text}");
        assert_eq!(text.lines().count(), 202);
    }

    #[test]
    fn what_would_start_another_line_or_speak_to_the_terminal_is_spelled_out() {
        let (mut log, reader) = log_and_reader();
        log.say(&"status a\nsrvwrap: b\r\u{1b}[2J\u{7f}\u{9b}é\t\"\\");
        let said = "srvwrap: status a\\nsrvwrap: b\\r\\u{1b}[2J\\u{7f}\\u{9b}é\\t\"\\\n";
        assert_eq!(rest(log, reader), said);
    }

    #[test]
    fn a_notice_longer_than_one_write_is_cut_between_characters() {
        for letter in ["x", "é", "€", "🐎", "\n"] {
            let line = line_of(NAME, &letter.repeat(5000));
            assert!((WRITE_LIMIT - 8..=WRITE_LIMIT).contains(&line.len()), "{}", line.len());
            assert!(String::from_utf8(line).unwrap().ends_with("…\n"));
        }
        let longest = "x".repeat(WRITE_LIMIT - "srvwrap: \n".len());
        assert_eq!(line_of(NAME, &longest), format!("srvwrap: {longest}\n").into_bytes());
    }

    #[test]
    fn a_pipe_that_nobody_reads_stops_nobody_and_its_reader_learns_what_is_missing() {
        let (mut log, mut reader) = log_and_reader();
        for number in 0..10_000 {
            log.say(&numbered(number));
        }
        let kept = log.queue.len();
        assert_eq!(kept * 64, QUEUE_LIMIT);
        let in_pipe = 10_000 - kept - log.dropped as usize;
        let first = read_some(&mut reader, in_pipe * 64 / 2);
        log.say(&"in the gap, though there is room again");
        let dropped = log.dropped;
        let second = read_some(&mut reader, in_pipe * 64 / 2);
        log.flush();
        assert!(log.queue.is_empty() && log.fd().is_some(), "the count waits");
        let text = first + &second + &read_some(&mut reader, kept * 64 / 2);
        log.say(&"after the gap");
        let text = text + &rest(log, reader);

        let lines: Vec<&str> = text.lines().collect();
        let (gap, whole) = (lines.len() - 2, in_pipe + kept);
        assert_eq!(gap, whole);
        for (number, line) in lines[..gap].iter().enumerate() {
            assert_eq!(*line, format!("srvwrap: {}", numbered(number as u32)));
        }
        let count = format!("srvwrap: {dropped} notices were dropped because stderr was not read");
        assert_eq!(lines[gap..], [count.as_str(), "srvwrap: after the gap"]);
    }

    #[test]
    fn room_in_stderr_wakes_who_watches_it_and_only_while_something_waits() {
        let (mut log, mut reader) = log_and_reader();
        let mut said = 0;
        while log.fd().is_none() {
            log.say(&numbered(0));
            said += 1;
        }
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
        poll.registry().register(&mut SourceFd(&log.fd().unwrap()), Token(0), Interest::WRITABLE).unwrap();
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());

        read_some(&mut reader, (said - 1) * 64);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert!(!events.is_empty());
        log.flush();
        assert_eq!(log.fd(), None);
        assert_eq!(read_some(&mut reader, 64), format!("srvwrap: {}\n", numbered(0)));
    }

    #[test]
    fn one_notice_that_was_dropped_is_counted_in_the_singular() {
        let (mut log, reader) = log_and_reader();
        log.dropped = 1;
        log.flush();
        assert_eq!(rest(log, reader), "srvwrap: 1 notice was dropped because stderr was not read\n");
    }

    #[test]
    fn a_reader_that_is_gone_keeps_nothing_waiting_and_one_that_comes_learns_the_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let first = open_fifo(&path);
        let writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let mut log = Log::to(Some(Stderr::of(writer.as_fd()).unwrap()));
        drop(first);
        for number in 0..3 {
            log.say(&numbered(number));
        }
        assert_eq!((log.queue.len(), log.queued_bytes, log.dropped), (0, 0, 3));
        assert_eq!(log.fd(), None, "what nobody reads is always ready: it would be woken for ever");

        let mut second = open_fifo(&path);
        log.say(&"back");
        drop((log, writer));
        let mut text = String::new();
        second.read_to_string(&mut text).unwrap();
        let count = "srvwrap: 3 notices were dropped because stderr was not read\n";
        assert_eq!(text, format!("{count}srvwrap: back\n"));
    }

    fn open_fifo(path: &std::path::Path) -> std::fs::File {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap()
    }

    #[test]
    fn a_log_without_stderr_is_silent() {
        let mut log = Log::to(None);
        log.say(&"nobody hears this");
        assert_eq!(log.fd(), None);
        log.finish();
    }

    #[test]
    fn the_last_flush_waits_for_a_reader_that_reads() {
        let (mut log, mut reader) = log_and_reader();
        while log.dropped == 0 {
            log.say(&numbered(7));
        }
        #[expect(clippy::disallowed_methods, reason = "a reader in its own time")]
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        log.finish();
        let text = reading.join().unwrap().unwrap();
        assert!(text.ends_with("\nsrvwrap: 1 notice was dropped because stderr was not read\n"));
    }

    #[test]
    fn the_last_flush_does_not_wait_for_ever() {
        let (mut log, reader) = log_and_reader();
        while log.dropped == 0 {
            log.say(&numbered(7));
        }
        log.finish();
        drop(reader);
    }
}
