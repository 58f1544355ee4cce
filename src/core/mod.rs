//! Decides. What happened goes in as an [`Event`], what to do about it comes out as an [`Effect`].
//!
//! ```text
//!    Event ──> Supervisor::handle_event(now, event) ─┐
//!                                                    ├─> Worker::step ──> settle ──> poll_effect() ──> Effect
//!    time  ──> Supervisor::handle_timeout(now) ──────┘
//! ```
//!
//! The rules of the house:
//! - No operating system, no clock, no I/O: `now` is an argument, and the next deadline is
//!   [`Supervisor::poll_timeout`].
//! - Events are named in the past tense, effects in the imperative. What carrying out an effect teaches is an
//!   event again.
//! - State lives in the variant of an enum, never beside it as a flag. Deadlines are fields of states.
//! - State is plain data: no closures, no handles, because one day it crosses an exec.
//! - Ids are never used again: a late event finds nobody, not a stranger.
//! - What an operator reads about running workers is a [`Notice`], and its words are in `notice.rs`.
//!
//! What this module does not do: know a file descriptor, a signal mask or a byte of the worker protocol.
#![forbid(unsafe_code)]

mod backoff;
mod generation;
mod limit;
mod notice;
mod policy;
#[cfg(test)]
mod sim;
mod spec;
mod supervisor;
mod worker;

use std::ops::{Add, Sub};
use std::time::Duration;

use crate::wire::control::message::{Deploy, Outcome};
use crate::wire::worker::Said;

#[cfg(test)]
pub(crate) use backoff::Random;
#[cfg(test)]
pub(crate) use notice::{DeployNews, Fault};
pub(crate) use notice::{Notice, Severity, Who, WorkerNews};
pub(crate) use policy::{OnCrash, Policy, Protocol, Ready, StopSignal};
pub(crate) use spec::Spec;
pub(crate) use supervisor::{Deployed, Outlook, Phase, Status, Supervisor};

pub(crate) use crate::wire::control::message::Scale;

/// A moment on the monotonic clock, as the time since some fixed moment before the program's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Duration);

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, rhs: Duration) -> Time {
        Time(self.0.saturating_add(rhs))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;
    /// The time from `rhs` to `self`; zero where `rhs` is the later one.
    fn sub(self, rhs: Time) -> Duration {
        self.0.saturating_sub(rhs.0)
    }
}

/// One worker, over all generations: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkerId(pub(crate) u64);

/// One question of one client of the control socket: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) u64);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// [`Effect::Spawn`] made a process, which has not necessarily executed the program yet.
    Spawned { worker: WorkerId, pid: u32 },
    /// [`Effect::Spawn`] made no process, because of `why`.
    SpawnFailed { worker: WorkerId, why: String },
    /// The worker's process now runs the program.
    Executed { worker: WorkerId },
    /// The worker wrote a message.
    Said { worker: WorkerId, said: Said },
    /// The notice descriptor came to its end: the worker has nothing more to say.
    Hushed { worker: WorkerId },
    /// The worker's first process is dead, and not reaped yet.
    Died { worker: WorkerId, ending: Ending },
    /// The worker's first process is reaped and nobody is left in its process group.
    Emptied { worker: WorkerId },
    /// Somebody wants something.
    Requested { asker: Asker, request: Request },
    /// [`Effect::Listen`] was carried out; `nonblocking` are the listeners that had O_NONBLOCK set.
    Listened { generation: u32, nonblocking: Vec<usize> },
    /// A listener was shut down by one of its holders.
    ListenerShut { listener: usize, outcome: Mended },
    /// A process died that is no worker's first one.
    StrangerDied,
    /// No child is left, in answer to [`Effect::Sweep`].
    Childless,
}

/// How a worker's first process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With this exit status, 0 to 255.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Before the program was executed. `exit_code` is what srvwrap's exit code becomes where this is the first boot.
    NotExecuted { why: String, exit_code: u8 },
}

/// What could be done about a listener that was shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mended {
    /// It listens again.
    Healed,
    /// A new socket is bound at its address; workers that live hold the dead one.
    Rebound,
    /// The same, of one that still listened, but whose path somebody had removed.
    Renewed,
    /// Nothing.
    Lost,
}

/// Who wants something, and so who gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// srvwrap's own start.
    Boot,
    /// A signal, by its name. Its answer is a notice.
    Signal(&'static str),
    /// A client of the control socket, and the user that it runs as.
    Client { client: ClientId, uid: u32 },
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Replace the generation by one of a spec that is changed so.
    Deploy(Deploy),
    /// Replace the generation by one of the spec before.
    Rollback(Deploy),
    /// End the deploy in progress.
    Abort,
    /// Change the target count.
    Scale(Scale),
    /// Tell all workers to stop, then end. `timeout` is in the place of the policy's.
    Stop { timeout: Option<Duration> },
    /// As [`Request::Stop`]; but the second one, a second or more after the first, kills.
    Interrupt,
    /// Kill all workers, then end.
    Kill,
    /// Send a signal, by its number, to each worker that serves, or to that of one slot.
    Signal { signal: i32, slot: Option<u32> },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Make a process for this worker; answered by [`Event::Spawned`] or [`Event::SpawnFailed`].
    Spawn { worker: WorkerId, slot: u32, generation: u32 },
    /// Write the `"shutdown"` line, send `signal` to the worker (its group, or its first process), continue the
    /// stopped.
    Retire { worker: WorkerId, signal: Option<i32> },
    /// Send TERM to what is left of the worker's process group.
    Terminate { worker: WorkerId },
    /// Send KILL to the worker's process group.
    Kill { worker: WorkerId },
    /// Send this signal, which an operator wants it to have, to the worker's first process.
    Signal { worker: WorkerId, signal: i32 },
    /// Forget the worker: no process of it is left.
    Forget { worker: WorkerId },
    /// Call listen(2) again on every listener, and look at its flags; answered by [`Event::Listened`].
    Listen { generation: u32 },
    /// Set O_NONBLOCK on these listeners, and perhaps clear it on the others.
    RestoreFlags { nonblocking: Vec<usize>, clear_others: bool },
    /// Close every listener.
    CloseListeners,
    /// End the children that are nobody's worker, by TERM (those not told before) or by KILL; answered by
    /// [`Event::Childless`] where there are none.
    Sweep { kill: bool },
    /// The one answer to a question.
    Reply { client: ClientId, answer: Answer },
    /// Tell the operator.
    Notice(Notice),
    /// The last effect: end with this exit code.
    End { code: u8 },
}

/// How a question was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// What became of it, in a sentence.
    pub(crate) notice: Notice,
}
