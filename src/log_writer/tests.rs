//! A real log writer: each test starts one, as a child of a process of its own.

use super::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, fork};

use crate::sys::apart::{Apart, run_apart};
use crate::sys::children::no_children_left;
use crate::sys::observed::names;
use crate::sys::ring::{Begun, RingReader};
use crate::sys::startup::Startup;

const FILE: FileId = FileId(1);

/// A directory, a log writer, and the ring of `app.log` in the directory.
struct Bench {
    directory: tempfile::TempDir,
    writer: LogWriter,
    ring: Ring,
    /// What was heard and not asked for yet.
    heard: Vec<FromWriter>,
}

fn limits(max_size: Option<u64>) -> Limits {
    Limits { max_size, every: None, keep: 1000, total: None }
}

impl Bench {
    fn new(max_size: Option<u64>) -> Bench {
        Bench::at(tempfile::tempdir().unwrap(), max_size)
    }

    fn at(directory: tempfile::TempDir, max_size: Option<u64>) -> Bench {
        let writer = LogWriter::start(&limits(max_size)).unwrap();
        let mut bench = Bench { directory, writer, ring: Ring::new().unwrap(), heard: Vec::new() };
        bench.open();
        bench
    }

    /// Its file is open, and that was said.
    fn opened(max_size: Option<u64>) -> Bench {
        let mut bench = Bench::new(max_size);
        bench.hear(|said| *said == FromWriter::Opened { file: FILE });
        bench
    }

    /// There is a line in its file, and nothing in the ring.
    fn begun() -> Bench {
        let mut bench = Bench::new(None);
        bench.push("before\n");
        bench.until("written", |bench| bench.read() == "before\n" && bench.ring.is_empty());
        bench
    }

    fn open(&mut self) {
        self.writer.open(FILE, &self.path(), &self.ring);
    }

    /// The next log writer, with the same ring. The one before is dead, or given back to see to its end.
    fn start_next(&mut self, max_size: Option<u64>) -> LogWriter {
        let next = LogWriter::start(&limits(max_size)).unwrap();
        let before = std::mem::replace(&mut self.writer, next);
        self.open();
        before
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("app.log")
    }

    fn read(&self) -> String {
        fs::read_to_string(self.path()).unwrap_or_default()
    }

    /// The names in the directory, sorted.
    fn names(&self) -> Vec<String> {
        names(self.directory.path())
    }

    /// Puts in what there is room for, and returns the rest.
    fn offer<'t>(&mut self, text: &'t str) -> &'t str {
        let pushed = self.ring.push(text.as_bytes());
        if pushed.reader_sleeps {
            self.writer.look();
        }
        &text[pushed.taken..]
    }

    fn push(&mut self, text: &str) {
        let mut rest = text;
        loop {
            rest = self.offer(rest);
            if rest.is_empty() {
                return;
            }
            if self.ring.ask_for_room(1) {
                self.hear(|said| *said == FromWriter::Room);
            }
        }
    }

    /// Waits until it says that.
    fn hear(&mut self, wanted: impl Fn(&FromWriter) -> bool) -> FromWriter {
        loop {
            if let Some(at) = self.heard.iter().position(&wanted) {
                return self.heard.remove(at);
            }
            assert!(self.writer.wait(Duration::from_secs(20)), "nothing but {:?} was said", self.heard);
            match self.writer.receive() {
                Some(Heard::Said(said)) => self.heard.push(said),
                Some(Heard::Died { how }) => panic!("{how}"),
                None => {}
            }
        }
    }

    /// Waits until it is so.
    fn until(&self, what: &str, so: impl Fn(&Bench) -> bool) {
        let end = monotonic() + Duration::from_secs(20);
        while !so(self) {
            assert!(monotonic() < end, "not {what}: {:?}, {} bytes", self.names(), self.read().len());
            poll(&mut [], PollTimeout::from(2u8)).unwrap();
        }
    }

    fn signal(&self, signal: Signal) {
        kill(nix::unistd::Pid::from_raw(self.writer.pid.number()), signal).unwrap();
    }

    fn finish(self) -> (tempfile::TempDir, Finished) {
        let Bench { directory, writer, .. } = self;
        (directory, writer.finish(Duration::from_secs(20)))
    }

    /// No line lies in two files.
    fn assert_whole_lines(&self) {
        for name in self.names() {
            let text = unpacked(&self.directory.path().join(&name));
            assert!(text.is_empty() || text.ends_with('\n'), "{name} ends within a line");
        }
    }

    /// All archives as they sort, then the file.
    fn whole(&self) -> String {
        let mut whole = String::new();
        for name in self.names().iter().filter(|name| *name != "app.log") {
            whole.push_str(&unpacked(&self.directory.path().join(name)));
        }
        whole + &self.read()
    }
}

/// By the program that everybody will read them with.
#[expect(clippy::disallowed_methods, reason = "it is not a worker")]
fn unpacked(path: &Path) -> String {
    if path.extension().is_none_or(|extension| extension != "gz") {
        return fs::read_to_string(path).unwrap();
    }
    let output = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| format!("{number:06} {}\n", "x".repeat(number as usize % 120))).collect()
}

/// Whether the test has run elsewhere, and passed.
fn done_apart(test: &str) -> bool {
    run_apart(&format!("log_writer::tests::{test}"), &Startup::plain()) == Apart::Done
}

#[test]
fn what_is_pushed_is_in_the_file_and_in_archives_that_are_compressed() {
    if done_apart("what_is_pushed_is_in_the_file_and_in_archives_that_are_compressed") {
        return;
    }
    const MAX_SIZE: u64 = 100_000;
    let mut bench = Bench::opened(Some(MAX_SIZE));
    let text = lines(0..12_000);
    bench.push(&text);
    bench.until("all archives compressed", |bench| {
        let names = bench.names();
        let whole = names.iter().skip(1).all(|name| name.ends_with(".gz"));
        bench.ring.is_empty() && whole && names.len() as u64 > text.len() as u64 / MAX_SIZE
    });
    assert!(bench.whole() == text, "it differs");
    assert!(fs::metadata(bench.path()).unwrap().len() <= MAX_SIZE);
    assert_eq!(bench.heard, []);
    let (directory, finished) = bench.finish();
    assert_eq!(finished, Finished::Ended);
    drop(directory);
}

#[test]
fn two_files_have_each_its_own_text() {
    if done_apart("two_files_have_each_its_own_text") {
        return;
    }
    let mut bench = Bench::new(None);
    let mut other = Ring::new().unwrap();
    let path = bench.directory.path().join("made/other.log");
    bench.writer.open(FileId(2), &path, &other);
    bench.hear(|said| *said == FromWriter::Opened { file: FILE });
    bench.hear(|said| *said == FromWriter::Opened { file: FileId(2) });
    bench.push("one\n");
    if other.push(b"two\n").reader_sleeps {
        bench.writer.look();
    }
    bench.until("both written", |bench| bench.read() == "one\n" && fs::read(&path).unwrap() == b"two\n");
    assert_eq!(bench.finish().1, Finished::Ended);
}

#[test]
fn one_that_is_killed_loses_doubles_and_tears_nothing() {
    if done_apart("one_that_is_killed_loses_doubles_and_tears_nothing") {
        return;
    }
    let mut bench = Bench::new(Some(300_000));
    let text = lines(0..30_000);
    let mut rest = text.as_str();
    for _ in 0..8 {
        // In the middle of its work, or not: where the ring has taken so much.
        for _ in 0..6 {
            let (piece, later) = rest.split_at(rest.len().min(50_000));
            let left = bench.offer(piece).len();
            rest = &rest[rest.len() - later.len() - left..];
        }
        bench.signal(Signal::SIGKILL);
        let how = loop {
            assert!(bench.writer.wait(Duration::from_secs(20)));
            if let Some(Heard::Died { how }) = bench.writer.receive() {
                break how;
            }
        };
        assert_eq!(how, "it was killed by SIGKILL");
        bench.start_next(Some(300_000));
    }
    bench.push(rest);
    bench.until("all written", |bench| bench.ring.is_empty());
    bench.until("all compressed", |bench| bench.names().iter().skip(1).all(|name| name.ends_with(".gz")));
    bench.assert_whole_lines();
    assert!(bench.whole() == text, "something was lost, doubled or torn");
}

#[test]
fn half_a_line_that_the_dead_one_has_written_is_made_whole_by_the_next() {
    if done_apart("half_a_line_that_the_dead_one_has_written_is_made_whole_by_the_next") {
        return;
    }
    let mut bench = Bench::new(None);
    bench.push("one\nhalf");
    bench.until("written", |bench| bench.read() == "one\nhalf" && bench.ring.is_empty());
    bench.signal(Signal::SIGKILL);
    bench.start_next(None);
    bench.push(" a line\ntwo\n");
    bench.until("written", |bench| bench.read() == "one\nhalf a line\ntwo\n");
}

/// Whatever a write has come to when its process dies in it, and wherever the file is by then.
#[test]
fn what_has_arrived_of_the_write_that_the_dead_one_died_in_is_not_written_again() {
    if done_apart("what_has_arrived_of_the_write_that_the_dead_one_died_in_is_not_written_again") {
        return;
    }
    for (arrived, moved) in
        [("", false), ("on", false), ("one\n", false), ("one\ntw", true), ("one\ntwo\n", true)]
    {
        let mut bench = Bench::begun();
        bench.signal(Signal::SIGKILL);
        let found = fs::metadata(bench.path()).unwrap();
        let reader = RingReader::open(bench.ring.descriptor()).unwrap();
        bench.ring.push(b"one\ntwo\nthree\n");
        reader.begin(Begun { file: (found.dev(), found.ino()), size: 7, bytes: 8 });
        let mut file = fs::OpenOptions::new().append(true).open(bench.path()).unwrap();
        file.write_all(arrived.as_bytes()).unwrap();
        let moved_to = bench.directory.path().join("moved");
        if moved {
            fs::rename(bench.path(), &moved_to).unwrap();
        }
        bench.start_next(None);
        let whole = || fs::read_to_string(&moved_to).unwrap_or_default();
        let all = "before\none\ntwo\nthree\n";
        bench.until("written", |bench| whole() + &bench.read() == all && bench.ring.is_empty());
        assert_eq!(bench.finish().1, Finished::Ended);
    }
}

#[test]
fn a_file_that_was_moved_is_left_and_made_anew() {
    if done_apart("a_file_that_was_moved_is_left_and_made_anew") {
        return;
    }
    let mut bench = Bench::begun();
    let moved = bench.directory.path().join("moved");
    fs::rename(bench.path(), &moved).unwrap();
    let mut pushed = 0;
    while !bench.path().exists() {
        bench.push(&format!("{pushed}\n"));
        pushed += 1;
        poll(&mut [], PollTimeout::from(10u8)).unwrap();
        assert!(pushed < 2000);
    }
    bench.push("after\n");
    bench.until("written", |bench| bench.read().ends_with("after\n"));
    let numbers: String = (0..pushed).map(|number| format!("{number}\n")).collect();
    let whole = fs::read_to_string(moved).unwrap() + &bench.read();
    assert_eq!(whole, format!("before\n{numbers}after\n"));
}

#[test]
fn a_reopen_is_answered_when_the_new_file_is_there() {
    if done_apart("a_reopen_is_answered_when_the_new_file_is_there") {
        return;
    }
    let mut bench = Bench::begun();
    let moved = bench.directory.path().join("moved");
    fs::rename(bench.path(), &moved).unwrap();
    for _ in 0..3 {
        bench.writer.reopen();
    }
    for _ in 0..3 {
        let said = bench.hear(|said| matches!(said, FromWriter::Reopened { .. }));
        assert_eq!(said, FromWriter::Reopened { why: Vec::new() });
        assert!(bench.path().exists());
    }
    bench.push("after\n");
    bench.until("written", |bench| bench.read() == "after\n");
    assert_eq!(fs::read_to_string(&moved).unwrap(), "before\n");
    fs::remove_file(bench.path()).unwrap();
    fs::create_dir(bench.path()).unwrap();
    bench.writer.reopen();
    let path = bench.path().display().to_string();
    let why = vec![format!("cannot open {path}: it is a directory and not a file; it is left alone")];
    assert_eq!(bench.hear(|said| matches!(said, FromWriter::Reopened { .. })), FromWriter::Reopened { why });
}

#[test]
fn at_its_end_all_is_written_and_the_last_line_has_an_end() {
    if done_apart("at_its_end_all_is_written_and_the_last_line_has_an_end") {
        return;
    }
    let mut bench = Bench::new(Some(1000));
    let text = lines(0..2000);
    assert_eq!(bench.offer(&text), "");
    assert_eq!(bench.offer("half"), "");
    let Bench { directory, writer, ring, .. } = bench;
    assert_eq!(writer.finish(Duration::from_secs(20)), Finished::Ended);
    assert!(ring.is_empty());
    let bench =
        Bench { directory, writer: LogWriter::start(&limits(None)).unwrap(), ring, heard: Vec::new() };
    assert_eq!(bench.whole().strip_prefix(text.as_str()), Some("half\n"));
}

#[test]
fn where_srvwrap_dies_what_it_has_said_is_written() {
    if done_apart("where_srvwrap_dies_what_it_has_said_is_written") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.log");
    let text = lines(0..2000);
    // SAFETY: a child, which ends without its parent's farewells.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let mut writer = LogWriter::start(&limits(None)).unwrap();
            let mut ring = Ring::new().unwrap();
            assert_eq!(ring.push(text.as_bytes()).taken, text.len());
            writer.open(FILE, &path, &ring);
            unseen::end(0);
        }
        ForkResult::Parent { child } => {
            nix::sys::wait::waitpid(child, None).unwrap();
        }
    }
    let end = monotonic() + Duration::from_secs(20);
    while fs::read_to_string(&path).unwrap_or_default() != text {
        assert!(monotonic() < end);
        poll(&mut [], PollTimeout::from(2u8)).unwrap();
    }
}

#[test]
fn where_nothing_can_be_written_it_is_told_once_and_waits_in_the_ring() {
    if done_apart("where_nothing_can_be_written_it_is_told_once_and_waits_in_the_ring") {
        return;
    }
    let mut bench = Bench::begun();
    bench.limit_files_to(10);
    assert_eq!(bench.offer("after\n"), "");
    let path = bench.path().display().to_string();
    let why = format!("cannot write {path}: File too large");
    let trouble = FromWriter::Trouble { file: FILE, why, writing: true };
    assert_eq!(bench.hear(|said| matches!(said, FromWriter::Trouble { .. })), trouble);
    assert_eq!(bench.read(), "before\naft");
    bench.limit_files_to(libc::RLIM_INFINITY);
    bench.hear(|said| *said == FromWriter::Recovered { file: FILE });
    bench.until("written", |bench| bench.read() == "before\nafter\n");
    assert_eq!(bench.heard, [FromWriter::Opened { file: FILE }]);
}

impl Bench {
    /// Of the log writer, in bytes.
    fn limit_files_to(&self, bytes: libc::rlim_t) {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the pointer is to a value that lives through the call, and null is allowed for the other.
        let done = unsafe {
            let pid = self.writer.pid.number();
            libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut())
        };
        assert_eq!(done, 0);
    }
}

#[test]
fn what_cannot_be_opened_is_refused_in_a_sentence_and_tried_again() {
    if done_apart("what_cannot_be_opened_is_refused_in_a_sentence_and_tried_again") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.log");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut bench = Bench::at(directory, None);
    let why = format!("cannot open {}: it is a FIFO and not a file; it is left alone", path.display());
    let said = bench.hear(|_| true);
    assert_eq!(said, FromWriter::Refused { file: FILE, why, forbidden: false });
    bench.push("text\n");
    fs::remove_file(&path).unwrap();
    assert_eq!(bench.hear(|_| true), FromWriter::Opened { file: FILE });
    bench.until("written", |bench| bench.read() == "text\n");
    assert_eq!(bench.heard, []);
}

#[test]
fn a_file_that_another_writes_to_is_refused_and_had_once_that_one_is_gone() {
    if done_apart("a_file_that_another_writes_to_is_refused_and_had_once_that_one_is_gone") {
        return;
    }
    let mut bench = Bench::opened(None);
    let first = bench.start_next(None);
    let said = bench.hear(|_| true);
    let FromWriter::Refused { why, forbidden: false, .. } = said else { panic!("{said:?}") };
    let (path, pid) = (bench.path().display().to_string(), first.pid());
    // Who it is cannot be known everywhere.
    let by = [format!(" (by its process {pid})"), String::new()];
    let sentences =
        by.map(|by| format!("cannot open {path}: another srvwrap writes to it{by}; give another path"));
    assert!(sentences.contains(&why), "{why}");
    assert_eq!(first.finish(Duration::from_secs(20)), Finished::Ended);
    assert_eq!(bench.hear(|_| true), FromWriter::Opened { file: FILE });
}

#[test]
fn nobody_waits_for_it_no_signal_of_an_operator_ends_it_and_it_holds_nothing_of_ours() {
    if done_apart("nobody_waits_for_it_no_signal_of_an_operator_ends_it_and_it_holds_nothing_of_ours") {
        return;
    }
    let mut bench = Bench::opened(None);
    assert!(no_children_left());
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGPIPE,
    ] {
        bench.signal(signal);
    }
    bench.push("text\n");
    bench.until("written", |bench| bench.read() == "text\n");
    let proc = PathBuf::from(format!("/proc/{}", bench.writer.pid()));
    assert_eq!(fs::read_to_string(proc.join("comm")).unwrap(), "srvwrap-log\n");
    assert_eq!(fs::read_link(proc.join("cwd")).unwrap(), PathBuf::from("/"));
    let held = fs::read_dir(proc.join("fd")).unwrap().map(|fd| fs::read_link(fd.unwrap().path()).unwrap());
    let mut held: Vec<String> = held.map(|path| path.to_string_lossy().into_owned()).collect();
    held.retain(|path| !path.starts_with("pipe:"));
    held.sort();
    assert_eq!(held.len(), 2, "{held:?}");
    assert_eq!(held[0], bench.path().display().to_string());
    assert!(held[1].starts_with("socket:"));
    assert_eq!(bench.finish().1, Finished::Ended);
    assert!(!proc.exists(), "it was reaped");
}

#[test]
fn one_that_hangs_is_left_and_one_that_fails_is_told_of_at_the_end() {
    if done_apart("one_that_hangs_is_left_and_one_that_fails_is_told_of_at_the_end") {
        return;
    }
    let mut bench = Bench::opened(None);
    bench.signal(Signal::SIGSTOP);
    assert_eq!(bench.offer("text\n"), "");
    let pid = bench.writer.pid;
    let Bench { directory, writer, .. } = bench;
    assert_eq!(writer.finish(Duration::from_millis(50)), Finished::Left { pid: pid.number().unsigned_abs() });
    kill(nix::unistd::Pid::from_raw(pid.number()), Signal::SIGCONT).unwrap();
    let writer = LogWriter::start(&limits(None)).unwrap();
    let bench = Bench { directory, writer, ring: Ring::new().unwrap(), heard: Vec::new() };
    bench.until("written all the same", |bench| bench.read() == "text\n");
    bench.signal(Signal::SIGKILL);
    assert_eq!(bench.finish().1, Finished::Failed { how: "it was killed by SIGKILL".to_string() });
}

#[test]
fn what_finds_no_room_in_the_link_is_said_later() {
    if done_apart("what_finds_no_room_in_the_link_is_said_later") {
        return;
    }
    const FILES: u32 = 700;
    let mut bench = Bench::opened(None);
    bench.signal(Signal::SIGSTOP);
    let ring = Ring::new().unwrap();
    for number in 0..FILES {
        let path = bench.directory.path().join(format!("other.{number}"));
        bench.writer.open(FileId(100 + number), &path, &ring);
    }
    assert!(bench.writer.link.is_waiting(), "the socket has taken all of them");
    bench.signal(Signal::SIGCONT);
    for number in 0..FILES {
        bench.hear(|said| *said == FromWriter::Opened { file: FileId(100 + number) });
    }
    bench.push("text\n");
    bench.until("written", |bench| bench.read() == "text\n");
}
