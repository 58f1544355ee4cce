//! What workers say in datagrams: NOTIFY_SOCKET, served as systemd does (`--protocol systemd`).
//!
//! ```text
//!   datagram ──> who sent it? ──┬─ a process of a worker, of a user that may ──> wire: what it says ──> core
//!                               └─ anybody else ──> nothing, and a remark now and then
//! ```
//!
//! Who sent it is asked while it is read. So whatever has come is read before a death is handled: of a program that
//! says that it is ready and ends at once, the number is known until then.
//!
//! What this file does not do: make the socket (`places.rs`), or know what a word leads to.

use std::time::Duration;

use crate::core::{Event, Time, WorkerId};
use crate::sys::children::{self, Pid};
use crate::sys::notify_socket::Sender;
use crate::wire::sd_notify::{self, DATAGRAM_LIMIT};

use super::EventLoop;

/// So much is read at a time, and then not before [`TURN_EVERY`] has passed. Who has more to say waits until there is
/// room in the queue: a flood slows itself down.
const TURN_BYTES: usize = 8192;
/// Counted for each datagram beside its bytes, since an empty one costs as well.
const DATAGRAM_COST: usize = 128;
const TURN_EVERY: Duration = Duration::from_millis(20);
/// What can have been written before a death that is handled now: more than the queue holds.
const LAST_BYTES: usize = 1 << 20;
/// Strangers are named once in so long a time, and so are workers that are not understood.
const REMARK_EVERY: Duration = Duration::from_secs(60);
/// From a process up to the worker that it belongs to, at most.
const GENERATIONS: usize = 64;

/// How the notify socket is listened to.
#[derive(Default)]
pub(super) struct Notified {
    /// Enough was said for now, and it is listened to again then.
    paused: Option<Time>,
    /// When a stranger was named.
    told: Option<Time>,
    /// When a worker was named that said what cannot have been meant.
    told_unfit: Option<Time>,
}

impl Notified {
    pub(super) fn next_turn(&self) -> Option<Time> {
        self.paused
    }
}

impl EventLoop {
    /// Something was said, if it is not too early to listen again.
    pub(super) fn hear_notified(&mut self) {
        if self.notified.paused.is_none() {
            self.hear_datagrams(TURN_BYTES);
        }
    }

    pub(super) fn hear_paused_notified(&mut self) {
        if self.notified.paused.is_some_and(|at| at <= self.now()) {
            self.notified.paused = None;
            self.hear_datagrams(TURN_BYTES);
        }
    }

    /// Everything that was said up to now, for a death that is about to be handled.
    pub(super) fn hear_last_notified(&mut self) {
        self.hear_datagrams(LAST_BYTES);
    }

    fn hear_datagrams(&mut self, limit: usize) {
        let mut buffer = [0; DATAGRAM_LIMIT];
        let mut heard = 0;
        while heard < limit {
            let Some(socket) = &self.places.notify else { return };
            let Some(datagram) = socket.receive(&mut buffer) else { return };
            heard += datagram.length + DATAGRAM_COST;
            match self.speaker(datagram.sender) {
                Ok(worker) => {
                    let bytes = &buffer[..datagram.length];
                    let cut = datagram.is_cut.then_some(sd_notify::TOO_LONG);
                    match cut.or_else(|| sd_notify::unfit(bytes)) {
                        Some(why) => self.tell_unfit(worker, why),
                        None => {
                            for said in sd_notify::read(bytes) {
                                self.handle(Event::Said { worker, said });
                            }
                        }
                    }
                }
                Err(why) => self.tell_stranger(&why),
            }
        }
        self.notified.paused = Some(self.now() + TURN_EVERY);
    }

    /// The worker that a sender speaks for; an error says why it does not speak for any.
    fn speaker(&self, sender: Option<Sender>) -> Result<WorkerId, String> {
        let sender = sender.ok_or("somebody: its process is in another pid namespace")?;
        let Sender { pid, uid } = sender;
        let worker = self.worker_of(pid).ok_or_else(|| format!("pid {pid}: it is no worker's process"))?;
        let leader = self.workers.find(worker).and_then(|process| children::user_of(process.pid()));
        if sender.is_root_or_us() || Some(uid) == leader {
            return Ok(worker);
        }
        Err(format!("pid {pid}: it runs as user {uid}, and its worker as another one"))
    }

    /// The worker that a process belongs to: by its group, or by that of one that it descends from.
    pub(super) fn worker_of(&self, pid: Pid) -> Option<WorkerId> {
        let mut next = Some(pid);
        for _ in 0..GENERATIONS {
            let process = next?;
            let by_group = || self.workers.of_group(children::group_of(process)?);
            if let Some(worker) = self.workers.of_leader(process).or_else(by_group) {
                return Some(worker);
            }
            next = children::parent_of(process);
        }
        None
    }

    /// Its program may wait for an answer to what was never heard.
    fn tell_unfit(&mut self, worker: WorkerId, why: &str) {
        let now = self.now();
        if self.notified.told_unfit.is_none_or(|told| now - told >= REMARK_EVERY) {
            self.notified.told_unfit = Some(now);
            let pid = self.workers.find(worker).map_or(0, |process| process.pid().number());
            self.remark(&format_args!("a datagram of the worker with pid {pid} is ignored: {why}"));
        }
    }

    fn tell_stranger(&mut self, who: &str) {
        let now = self.now();
        if self.notified.told.is_none_or(|told| now - told >= REMARK_EVERY) {
            self.notified.told = Some(now);
            self.remark(&format_args!("what is said on the notify socket is ignored, from {who}"));
        }
    }
}
