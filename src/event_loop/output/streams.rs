//! The pipes that workers write to: read a share at a time, cut into lines, and handed on.
//!
//! ```text
//!   readable ──> ready ──┬─ a share is read ──> lines ──> sink ──> ready, or drained
//!                        ├─ the sink is full ──> held, until there is room
//!                        └─ its worker is dead, and what that started writes on ──> paused, every 64 KiB
//! ```
//!
//! A stream lives until nobody has its writing end any more. What comes by it is its worker's, also after that is dead.
//!
//! What this file does not do: write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Duration;

use mio::Poll;

use crate::core::{Time, WorkerId};
use crate::log::stamp;
use crate::logs::Own;
use crate::logs::block::{Block, Ends, Splitter};
use crate::logs::form::{Form, Source};
use crate::logs::tail::Tail;
use crate::sys::output_pipe::{self, Found, USUAL_BYTES};

use super::sinks::{Pumped, Room, Sink};
use crate::event_loop::workers::ignore;

/// One stream's share of a turn.
const SHARE_BYTES: usize = USUAL_BYTES;
/// All streams' together, before everything else gets its turn.
const TURN_BYTES: usize = 1024 * 1024;
/// Of a dead worker's stream one share in this time.
const PAUSE: Duration = Duration::from_millis(100);
/// What a worker may have left in its pipe when it died.
const LAST_BYTES: usize = 1024 * 1024;
/// Streams of dead workers. Of more the oldest are let go of: descriptors are for the living.
const MOST_ORPHANED: usize = 128;

/// A worker, and which of its two.
pub(super) type StreamId = (WorkerId, Own);

#[derive(Default)]
pub(super) struct Streams {
    table: BTreeMap<StreamId, Stream>,
    /// There may be something to read.
    ready: VecDeque<StreamId>,
    /// There is something to read, and no room for it.
    held: BTreeSet<StreamId>,
    /// Are read again then.
    paused: BTreeMap<StreamId, Time>,
    /// Of dead workers, the oldest first.
    orphaned: VecDeque<StreamId>,
    /// Of each worker's stderr.
    tails: BTreeMap<WorkerId, Tail>,
    /// What was read last. Made when it is first needed.
    buffer: Vec<u8>,
    /// The lines of that in their form.
    text: Vec<u8>,
}

pub(super) struct Stream {
    pub(super) fd: OwnedFd,
    pub(super) sink: usize,
    pub(super) source: Source,
    pub(super) form: Form,
    splitter: Splitter,
    /// Its worker is dead.
    is_orphaned: bool,
    /// Its pipe was full once, and is larger since then.
    has_grown: bool,
}

/// How far it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// There may be more.
    More,
    Drained,
    /// There is more, and no room for it.
    Held,
    Ended,
}

impl Stream {
    pub(super) fn new(fd: OwnedFd, sink: usize, source: Source, form: Form) -> Stream {
        let splitter = Splitter::new();
        Stream { fd, sink, source, form, splitter, is_orphaned: false, has_grown: false }
    }
}

impl Streams {
    pub(super) fn add(&mut self, id: StreamId, stream: Stream) {
        if id.1 == Own::Stderr {
            self.tails.insert(id.0, Tail::default());
        }
        self.table.insert(id, stream);
    }

    /// The pid of a worker is known once it is made.
    pub(super) fn set_pid(&mut self, worker: WorkerId, pid: u32) {
        for own in [Own::Stdout, Own::Stderr] {
            if let Some(stream) = self.table.get_mut(&(worker, own)) {
                stream.source.pid = pid;
            }
        }
    }

    /// A worker that was not made after all.
    pub(super) fn remove_both(&mut self, worker: WorkerId, poll: &Poll) {
        for own in [Own::Stdout, Own::Stderr] {
            self.remove((worker, own), poll);
        }
        self.tails.remove(&worker);
    }

    pub(super) fn tail(&self, worker: WorkerId) -> Option<&Tail> {
        self.tails.get(&worker)
    }

    pub(super) fn take_tail(&mut self, worker: WorkerId) -> Option<Tail> {
        self.tails.remove(&worker)
    }

    /// Something has happened to this one.
    pub(super) fn set_ready(&mut self, id: StreamId) {
        let is_waiting = self.held.contains(&id) || self.paused.contains_key(&id) || self.ready.contains(&id);
        if !is_waiting && self.table.contains_key(&id) {
            self.ready.push_back(id);
        }
    }

    /// There is room in this sink again.
    pub(super) fn let_go(&mut self, sink: usize) {
        if self.held.is_empty() {
            return;
        }
        let table = &self.table;
        let is_of_it = |id: &StreamId| table.get(id).is_none_or(|stream| stream.sink == sink);
        let free: Vec<StreamId> = self.held.iter().copied().filter(is_of_it).collect();
        for id in free {
            self.held.remove(&id);
            self.set_ready(id);
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn next_turn(&self) -> Option<Time> {
        self.paused.values().copied().min()
    }

    pub(super) fn wake_paused(&mut self, now: Time) {
        if self.paused.is_empty() {
            return;
        }
        let due = self.paused.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id);
        for id in due.collect::<Vec<_>>() {
            self.paused.remove(&id);
            self.set_ready(id);
        }
    }

    /// A share of each that is ready, as far as it goes in one turn.
    pub(super) fn read_ready(&mut self, sinks: &mut [Sink], now: Time, poll: &Poll) -> Vec<Pumped> {
        let mut pumped = Vec::new();
        let mut left = TURN_BYTES;
        for _ in 0..self.ready.len() {
            if left == 0 {
                break;
            }
            let Some(id) = self.ready.pop_front() else { break };
            let (outcome, count) = self.read(id, SHARE_BYTES.min(left), sinks, Room::Usual, now, &mut pumped);
            left -= count;
            match outcome {
                Outcome::Ended => self.remove(id, poll),
                Outcome::Held => _ = self.held.insert(id),
                // Also where there is no more: who writes no faster than it is read would be read all the time.
                Outcome::More | Outcome::Drained if count > 0 && self.is_orphaned(id) => {
                    self.paused.insert(id, now + PAUSE);
                }
                Outcome::More => self.ready.push_back(id),
                Outcome::Drained => {}
            }
        }
        pumped
    }

    /// A worker is dead: what it has left is read, also where the living would wait, and its last line ends.
    pub(super) fn bury(
        &mut self,
        worker: WorkerId,
        sinks: &mut [Sink],
        now: Time,
        poll: &Poll,
    ) -> Vec<Pumped> {
        let mut pumped = Vec::new();
        for id in [(worker, Own::Stdout), (worker, Own::Stderr)] {
            let (outcome, _) = self.read(id, LAST_BYTES, sinks, Room::Last, now, &mut pumped);
            match outcome {
                Outcome::Ended => self.remove(id, poll),
                Outcome::Drained => self.end_line(id, sinks, now, &mut pumped),
                // Its last line is among what is left.
                Outcome::Held => _ = self.held.insert(id),
                Outcome::More => self.set_ready(id),
            }
            if let Some(stream) = self.table.get_mut(&id) {
                stream.is_orphaned = true;
                self.orphaned.push_back(id);
            }
        }
        while self.orphaned.len() > MOST_ORPHANED {
            pumped.extend(self.let_go_of_oldest(poll));
        }
        pumped
    }

    fn is_orphaned(&self, id: StreamId) -> bool {
        self.table.get(&id).is_some_and(|stream| stream.is_orphaned)
    }

    /// Who still writes there will have an error, and most will end by it.
    fn let_go_of_oldest(&mut self, poll: &Poll) -> Option<Pumped> {
        let id = self.orphaned.pop_front()?;
        let Source { slot, pid, .. } = self.table.get(&id)?.source;
        self.remove((id.0, Own::Stdout), poll);
        self.remove((id.0, Own::Stderr), poll);
        let sentence = format!(
            "what worker {slot} (pid {pid}) has left running can write no more: others have left more, and \
             {MOST_ORPHANED} such streams are open"
        );
        Some(Pumped { wake: false, broke: Some(sentence) })
    }

    /// The end of srvwrap: what is there now is read, as far as there is room for it. What came of it, and whether
    /// there is more for which there was none.
    pub(super) fn read_last(&mut self, sinks: &mut [Sink], now: Time) -> (Vec<Pumped>, bool) {
        let (mut pumped, mut is_held) = (Vec::new(), false);
        for id in self.table.keys().copied().collect::<Vec<_>>() {
            match self.read(id, LAST_BYTES, sinks, Room::Last, now, &mut pumped).0 {
                Outcome::Held => is_held = true,
                Outcome::More | Outcome::Drained | Outcome::Ended => {
                    self.end_line(id, sinks, now, &mut pumped);
                }
            }
        }
        (pumped, is_held)
    }

    /// How far it went, and how many bytes were read.
    fn read(
        &mut self,
        id: StreamId,
        limit: usize,
        sinks: &mut [Sink],
        room: Room,
        now: Time,
        pumped: &mut Vec<Pumped>,
    ) -> (Outcome, usize) {
        self.buffer.resize(SHARE_BYTES, 0);
        let mut count = 0;
        let (mut buffer, mut text) = (std::mem::take(&mut self.buffer), std::mem::take(&mut self.text));
        let outcome = loop {
            let Some(stream) = self.table.get_mut(&id) else { break Outcome::Drained };
            let sink = &mut sinks[stream.sink];
            if sink.is_full(room) {
                break Outcome::Held;
            }
            if count >= limit {
                break Outcome::More;
            }
            let share = SHARE_BYTES.min(limit - count);
            match output_pipe::read_some(&stream.fd, &mut buffer[..share]) {
                Found::Nothing => break Outcome::Drained,
                Found::End => {
                    self.end_line(id, sinks, now, pumped);
                    break Outcome::Ended;
                }
                Found::Bytes(read) => {
                    count += read;
                    if read == USUAL_BYTES && !std::mem::replace(&mut stream.has_grown, true) {
                        output_pipe::grow(&stream.fd);
                    }
                    let tail = self.tails.get_mut(&id.0).filter(|_| id.1 == Own::Stderr);
                    pumped.push(stream.hand_on(&buffer[..read], tail, sink, now, &mut text));
                }
            }
        };
        (self.buffer, self.text) = (buffer, text);
        (outcome, count)
    }

    /// What has begun of a line that nobody will go on with.
    fn end_line(&mut self, id: StreamId, sinks: &mut [Sink], now: Time, pumped: &mut Vec<Pumped>) {
        let Some(stream) = self.table.get_mut(&id) else { return };
        let Some(block) = stream.splitter.end() else { return };
        if let Some(tail) = self.tails.get_mut(&id.0).filter(|_| id.1 == Own::Stderr) {
            tail.add(&block.bytes);
        }
        let mut text = Vec::new();
        stream.form.lines(&block, &stamp(), &stream.source, &mut text);
        pumped.push(sinks[stream.sink].take(&text, now));
    }

    fn remove(&mut self, id: StreamId, poll: &Poll) {
        if let Some(stream) = self.table.remove(&id) {
            ignore(poll, &stream.fd);
        }
        self.held.remove(&id);
        self.paused.remove(&id);
        self.orphaned.retain(|other| *other != id);
    }
}

impl Stream {
    fn hand_on(
        &mut self,
        mut bytes: &[u8],
        mut tail: Option<&mut Tail>,
        sink: &mut Sink,
        now: Time,
        text: &mut Vec<u8>,
    ) -> Pumped {
        let mut pumped = Pumped::default();
        let stamp = if self.form.is_plain() { String::new() } else { stamp() };
        while let Some(block) = self.splitter.next_block(&mut bytes) {
            if let Some(tail) = tail.as_deref_mut() {
                tail.add(&block.bytes);
            }
            pumped.join(self.write(&block, &stamp, sink, now, text));
        }
        pumped
    }

    /// Whole lines that are to be written as they are go to the sink without a copy.
    fn write(
        &self,
        block: &Block<'_>,
        stamp: &str,
        sink: &mut Sink,
        now: Time,
        text: &mut Vec<u8>,
    ) -> Pumped {
        if self.form.is_plain() && block.ends == Ends::Line {
            return sink.take(&block.bytes, now);
        }
        text.clear();
        self.form.lines(block, stamp, &self.source, text);
        sink.take(text, now)
    }
}
