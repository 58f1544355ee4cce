//! What the log writer does: it waits, writes what the rings hold, and has one archive at a time compressed.
//!
//! ```text
//!   poll ──> packets ──> timeouts ──> each file: write, at most ROUND_BYTES ──> the compressor ──> say it
//!    ^                                                                                                │
//!    └── at once, where some ring holds more than its round; else when woken, or a file is due <──────┘
//! ```
//!
//! Everything that waits for a disk waits here. The files share this one process: a disk that hangs holds up the others
//! too, and their rings and what is behind them take the text meanwhile.
//!
//! What this file does not do: write to a file, or decide anything about one: see `file.rs` and `logs/rotation.rs`.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::core::Time;
use crate::logs::Limits;
use crate::logs::link::{FileId, FromWriter, ToWriter};
use crate::logs::rotation::{Event, Wall};
use crate::sys::compressor::Compressor;
use crate::sys::packet::{PacketSocket, Received};
use crate::sys::ring::RingReader;
use crate::sys::unseen;

use super::file::{File, Progress, Wish};
use super::{monotonic, rounded_up};

/// A file that another srvwrap has locked is waited for that long after the start of this process: one that was killed
/// has left a log writer that is about to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// After the end of srvwrap: it is given up when nothing could be written for so long.
const MOST_STUCK: Duration = Duration::from_secs(10);
/// A compressor has that much time, and [`PER_MEBIBYTE`] for each of its source.
const MOST_COMPRESSING: Duration = Duration::from_secs(600);
const PER_MEBIBYTE: Duration = Duration::from_secs(1);
/// One that has said all is reaped a moment later.
const BETWEEN_REAPS: Duration = Duration::from_millis(20);
/// So many packets in one go may mean that more of them found no room in the socket.
const MANY_PACKETS: usize = 16;

/// Until srvwrap is gone or done, and all is written. Never returns.
pub(super) fn run(link: PacketSocket, limits: Limits) -> ! {
    let mut process = Process {
        link,
        limits,
        origin: monotonic(),
        files: Vec::new(),
        compressing: None,
        to_compress: VecDeque::new(),
        reopening: None,
        closed: None,
    };
    loop {
        process.turn();
        if let Some(code) = process.is_over() {
            unseen::end(code);
        }
    }
}

/// Both clocks, as they are now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) now: Time,
    pub(super) wall: Wall,
}

struct Process {
    link: PacketSocket,
    limits: Limits,
    origin: Instant,
    files: Vec<File>,
    compressing: Option<Compressing>,
    to_compress: VecDeque<(FileId, OsString)>,
    reopening: Option<Reopening>,
    /// When srvwrap had no more to say, or something was written last after that.
    closed: Option<Time>,
}

struct Compressing {
    file: FileId,
    archive: OsString,
    compressor: Compressor,
    until: Time,
}

/// One question, until each file has its answer.
struct Reopening {
    unanswered: usize,
    why: Vec<String>,
    /// How often it was asked for again meanwhile.
    asked_again: u32,
}

impl Process {
    fn turn(&mut self) {
        self.receive();
        let mut busy = self.write();
        self.look_after_compressor();
        self.link.flush();
        // Whoever pushes from here on sees that we sleep; what was there before is seen here.
        busy |= !self.files.iter().all(File::go_to_sleep);
        let timeout = if busy { PollTimeout::ZERO } else { self.timeout() };
        if self.is_over().is_none() {
            self.sleep(timeout);
        }
        self.files.iter().for_each(File::wake);
    }

    fn sleep(&self, timeout: PollTimeout) {
        let out = if self.link.is_waiting() { PollFlags::POLLOUT } else { PollFlags::empty() };
        // At its end the link would be readable for ever.
        let events = if self.closed.is_none() { PollFlags::POLLIN | out } else { PollFlags::empty() };
        let mut watched = Vec::with_capacity(2);
        if self.closed.is_none() {
            watched.push(PollFd::new(self.link.as_fd(), events));
        }
        let report = self.compressing.as_ref().and_then(|compressing| compressing.compressor.descriptor());
        watched.extend(report.map(|report| PollFd::new(report, PollFlags::POLLIN)));
        let _ = poll(&mut watched, timeout);
    }

    fn timeout(&self) -> PollTimeout {
        let clock = self.clock();
        let of_files = self.files.iter().filter_map(|file| file.poll_timeout(clock));
        let of_compressor =
            self.compressing.as_ref().map(|compressing| match compressing.compressor.descriptor() {
                Some(_) => compressing.until,
                None => clock.now + BETWEEN_REAPS,
            });
        let of_end = self.closed.map(|since| since + MOST_STUCK);
        let next = of_files.chain(of_compressor).chain(of_end).min();
        next.map_or(PollTimeout::NONE, |next| rounded_up(next - clock.now))
    }

    fn receive(&mut self) {
        let mut packets = 0;
        while self.closed.is_none() {
            match self.link.receive() {
                Ok(Received::Packet(packet, ring)) => {
                    packets += 1;
                    match (ToWriter::decode(&packet), ring) {
                        (Some(ToWriter::Open { file, path }), ring) => self.open(file, path, ring),
                        (Some(ToWriter::Reopen), _) => self.reopen(),
                        (Some(ToWriter::Look) | None, _) => {}
                    }
                }
                Ok(Received::Nothing) => break,
                Ok(Received::Closed) | Err(_) => self.close(),
            }
        }
        if packets >= MANY_PACKETS {
            self.say(&FromWriter::Room);
        }
    }

    /// A descriptor for which there was no number has not come.
    fn open(&mut self, id: FileId, path: PathBuf, ring: Option<OwnedFd>) {
        match ring.ok_or(Errno::EMFILE).and_then(|ring| RingReader::open(ring.as_fd())) {
            Ok(ring) => self.files.push(File::new(id, path, ring, self.limits.clone())),
            Err(errno) => {
                let why = format!("cannot open {}: its text cannot be had: {}", path.display(), errno.desc());
                self.say(&FromWriter::Refused { file: id, why, forbidden: false });
            }
        }
    }

    /// What is being compressed is compressed at the next start. The compressor leaves nothing once it is reaped.
    fn close(&mut self) {
        self.closed = Some(self.clock().now);
        self.to_compress.clear();
        if let Some(compressing) = &mut self.compressing {
            compressing.compressor.kill();
        }
    }

    fn reopen(&mut self) {
        if let Some(reopening) = &mut self.reopening {
            reopening.asked_again += 1;
            return;
        }
        self.reopening = Some(Reopening { unanswered: self.files.len(), why: Vec::new(), asked_again: 0 });
        let clock = self.clock();
        for file in &mut self.files {
            file.tell(clock, Event::ReopenAsked);
        }
        self.answer_reopened();
    }

    fn answer_reopened(&mut self) {
        if self.reopening.as_ref().is_some_and(|reopening| reopening.unanswered == 0) {
            let reopening = self.reopening.take().expect("it was just looked at");
            self.say(&FromWriter::Reopened { why: reopening.why });
            // Who has asked meanwhile is answered by one round, that begins now.
            if reopening.asked_again > 0 {
                self.reopen();
                if let Some(next) = &mut self.reopening {
                    next.asked_again += reopening.asked_again - 1;
                }
            }
        }
    }

    /// True where there is more to be written at once.
    fn write(&mut self) -> bool {
        let mut busy = false;
        for at in 0..self.files.len() {
            let clock = self.clock();
            let patience = Time(PATIENCE) - clock.now;
            let file = &mut self.files[at];
            let id = file.id;
            let progress = file.turn(clock, patience);
            let wishes: Vec<Wish> = file.wishes.drain(..).collect();
            busy |= progress == Progress::More;
            if self.closed.is_some() {
                file.end_last_line(clock);
                if file.take_progress() {
                    self.closed = Some(clock.now);
                }
            }
            wishes.into_iter().for_each(|wish| self.grant(id, wish));
        }
        busy
    }

    fn grant(&mut self, file: FileId, wish: Wish) {
        match wish {
            Wish::Say(said) => self.say(&said),
            Wish::Compress(_) if self.closed.is_some() => {}
            Wish::Compress(archive) => self.to_compress.push_back((file, archive)),
            Wish::Reopened(why) => {
                if let Some(reopening) = &mut self.reopening {
                    reopening.unanswered = reopening.unanswered.saturating_sub(1);
                    reopening.why.extend(why);
                }
                self.answer_reopened();
            }
        }
    }

    fn say(&mut self, said: &FromWriter) {
        self.link.send(said.encode(), None).expect("nothing is copied for a packet without a descriptor");
    }

    fn look_after_compressor(&mut self) {
        let clock = self.clock();
        if let Some(compressing) = &mut self.compressing {
            if clock.now >= compressing.until {
                compressing.compressor.kill();
                compressing.until = clock.now + BETWEEN_REAPS;
            }
            let Some(outcome) = compressing.compressor.outcome() else { return };
            let Compressing { file, archive, .. } = self.compressing.take().expect("it was just looked at");
            let event = match outcome {
                Ok(bytes) => Event::Compressed { archive, bytes },
                Err(why) => Event::CompressFailed { archive, why },
            };
            self.tell(file, event);
        }
        while self.compressing.is_none() {
            let Some((file, archive)) = self.to_compress.pop_front() else { return };
            self.compress(file, archive);
        }
    }

    fn compress(&mut self, file: FileId, archive: OsString) {
        let Some(source) = self.file(file).map(|known| known.beside(&archive)) else { return };
        let mebibytes = source.metadata().map_or(0, |found| found.len() >> 20);
        let time = MOST_COMPRESSING + PER_MEBIBYTE * u32::try_from(mebibytes).unwrap_or(u32::MAX);
        match Compressor::start(&source) {
            Ok(compressor) => {
                let until = self.clock().now + time;
                self.compressing = Some(Compressing { file, archive, compressor, until });
            }
            Err(why) => self.tell(file, Event::CompressFailed { archive, why }),
        }
    }

    fn tell(&mut self, file: FileId, event: Event) {
        let clock = self.clock();
        if let Some(known) = self.file(file) {
            known.tell(clock, event);
        }
    }

    fn file(&mut self, id: FileId) -> Option<&mut File> {
        self.files.iter_mut().find(|file| file.id == id)
    }

    /// The exit status, once srvwrap has no more to say, and all is written or nothing more can be.
    fn is_over(&self) -> Option<i32> {
        let since = self.closed?;
        let is_written = self.files.iter().all(File::is_written);
        // A compressor that was killed has to be reaped, for what it leaves.
        let is_over = is_written && self.compressing.is_none();
        (is_over || self.clock().now - since >= MOST_STUCK).then_some(i32::from(!is_written))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the log writer is a loop of its own; names have the wall clock's time"
    )]
    fn clock(&self) -> Clock {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Clock {
            now: Time(monotonic().duration_since(self.origin)),
            wall: Wall(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}
