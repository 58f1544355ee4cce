//! The life of one process, from the order to make it until nothing of it is left.
//!
//! ```text
//!   Spawning ──> Starting ──> Online ──> Leaving            (it said that it ends by itself)
//!      │            │           │           │
//!   Unwanted ──> Retiring <─────┴───────────┤               (told to stop; the stop ladder runs)
//!                   │  │                    │
//!                   │  └──> Killed ──> Stuck│               (KILL was sent; it survived even that)
//!                   v          │            │
//!                Remnant <─────│────────────┘               (first process dead, its group is not)
//!                   └──────> Gone <─── from Killed, Stuck too
//! ```
//!
//! [`Worker::step`] is the whole machine: each cell of (state x input) is written down, and the printed table
//! `transitions.txt` beside this file is compared by a test. It does not know slots, generations or backoff: what a
//! change means to them is the [`Turn`] that it returns.

use std::collections::VecDeque;
use std::time::Duration;

use crate::wire::worker::Readiness;

use super::limit::{self, Deadline, LONGEST, Limit};
use super::policy::SHORT_LIMIT;
use super::{Effect, Policy, Ready, Time, WorkerId};

/// After KILL: so long until the operator is told that it did not help.
const SURVIVAL: Duration = Duration::from_secs(5);
/// A process that dies closes its notice descriptor first. So long it has to die before the end of the descriptor is
/// news of its own.
const DYING: Duration = Duration::from_secs(1);
/// Programs that say nothing call listen(2) after they count as online, and so reset the backlog once more.
const LATE_LISTEN: Duration = Duration::from_secs(1);

/// One process, one life. Never restarted; it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) slot: u32,
    pub(super) generation: u32,
    /// 0 until there is a process.
    pub(super) pid: u32,
    pub(super) born: Time,
    /// What its notice descriptor has brought, for the sentence that says why it failed.
    pub(super) heard: Heard,
    /// The form of its first readiness word, which tells how its program wants to be stopped.
    pub(super) readiness: Option<Readiness>,
    /// What it last said of itself, for `status`.
    pub(super) said: String,
    /// From spawn to online, at most: its deploy may have one of its own.
    pub(super) online_timeout: Duration,
    pub(super) state: State,
}

/// What a worker has made of its notice descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is open, and nothing came.
    Nothing,
    /// A message, which need not be one that means anything.
    Words,
    /// It was closed without a word.
    End,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The operating system has been asked for a process and has not answered.
    Spawning,
    /// As `Spawning`, but nobody wants it any more: it gets the stop ladder with this limit.
    Unwanted { limit: Limit },
    /// It has a process, and is not online. `tell_at`: it closed its notice descriptor, and if it still lives by then
    /// the operator hears of it.
    Starting { late_at: Time, ready_at: Option<Time>, tell_at: Option<Time> },
    /// It serves.
    Online { since: Time, listen_at: Option<Time> },
    /// It said that it ends by itself. It was told nothing.
    Leaving { deadline: Deadline },
    /// It was told to stop.
    Retiring { deadline: Deadline },
    /// Its group was sent KILL.
    Killed { give_up_at: Time },
    /// Its first process is dead, others of its group are not.
    Remnant { deadline: Deadline },
    /// It has survived KILL. Nobody waits for it any more.
    Stuck,
    /// No process of it is left.
    Gone,
}

/// What happens to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Spawned {
        pid: u32,
    },
    SpawnFailed,
    Executed,
    SaidOnline(Readiness),
    SaidOffline,
    /// Its notice descriptor came to an end.
    Hushed,
    Died,
    Emptied,
    /// The deadline of its state has passed.
    Expired,
    /// It asks for so much time, counted from now, to come online or to end.
    Extended {
        time: Duration,
    },
    /// It is wanted no longer; it may finish within the limit.
    Retire {
        limit: Limit,
    },
    /// It is to end at once.
    Kill,
    /// The worker that replaces it is online.
    Replaced,
}

/// What a step means to the slot and the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    CameOnline,
    /// It will end by itself; it has been online since then.
    SaidOffline {
        since: Time,
    },
    /// It said so before it was online.
    GaveUp,
    /// It has closed its notice descriptor and so will never say that it is online.
    Hushed,
    /// It was not online in time.
    WasLate,
    /// There is no process at all.
    NeverSpawned,
    /// Its first process died while starting.
    DiedStarting,
    /// Its first process died unasked, after so long online.
    Crashed {
        served: Duration,
    },
    /// Its first process died as it had announced.
    Left,
    /// Its first process died after it was told to stop, or killed.
    Stopped,
    /// It is sent KILL, because its limit is over.
    Overran {
        asked: Asked,
    },
    /// The rest of its group is sent KILL, because its limit is over.
    RemnantOverran,
    /// KILL did not help.
    Survived,
    /// The operating system layer broke its promise about what can follow what.
    Impossible,
}

/// How a worker that overran its limit had been asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It had said by itself that it would end.
    Offline,
    /// By the line and this signal.
    Signal(i32),
    /// By the line alone.
    Line,
}

impl Worker {
    pub(super) fn new(
        id: WorkerId,
        slot: u32,
        generation: u32,
        now: Time,
        online_timeout: Duration,
    ) -> Worker {
        Worker {
            id,
            slot,
            generation,
            pid: 0,
            born: now,
            heard: Heard::Nothing,
            readiness: None,
            said: String::new(),
            online_timeout,
            state: State::Spawning,
        }
    }

    /// When [`Input::Expired`] is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Spawning | State::Unwanted { .. } | State::Stuck | State::Gone => None,
            State::Starting { late_at, ready_at, tell_at } => {
                [Some(late_at), ready_at, tell_at].into_iter().flatten().min()
            }
            State::Online { listen_at, .. } => listen_at,
            State::Leaving { deadline } | State::Retiring { deadline } | State::Remnant { deadline } => {
                Some(deadline.kill_at)
            }
            State::Killed { give_up_at } => Some(give_up_at),
        }
    }

    /// Whether its first process lives, or is still to be made, and was not sent KILL.
    pub(super) fn is_alive(&self) -> bool {
        match self.state {
            State::Spawning | State::Unwanted { .. } | State::Starting { .. } | State::Online { .. } => true,
            State::Leaving { .. } | State::Retiring { .. } => true,
            State::Killed { .. } | State::Remnant { .. } | State::Stuck | State::Gone => false,
        }
    }

    /// Whether its end is still waited for.
    pub(super) fn is_awaited(&self) -> bool {
        !matches!(self.state, State::Stuck | State::Gone)
    }

    /// One step of its life. Appends what is to be done to `effects`.
    pub(super) fn step(
        &mut self,
        now: Time,
        input: Input,
        policy: &Policy,
        effects: &mut VecDeque<Effect>,
    ) -> Option<Turn> {
        match self.state {
            State::Spawning => match input {
                Input::Spawned { pid } => self.start(pid),
                Input::SpawnFailed => self.vanish(effects, Some(Turn::NeverSpawned)),
                Input::Retire { limit } => self.unwanted(limit),
                Input::Kill => self.unwanted(Limit::Firm(Duration::ZERO)),
                Input::Replaced | Input::Expired => None,
                Input::Executed | Input::SaidOnline(_) | Input::SaidOffline => Some(Turn::Impossible),
                Input::Extended { .. } | Input::Hushed => Some(Turn::Impossible),
                Input::Died | Input::Emptied => Some(Turn::Impossible),
            },
            State::Unwanted { limit } => match input {
                Input::Spawned { pid } => {
                    self.pid = pid;
                    self.retire(now, limit, policy, effects)
                }
                Input::SpawnFailed => self.vanish(effects, None),
                Input::Retire { limit: other } => self.unwanted(limit.and(other, policy)),
                Input::Kill => self.unwanted(Limit::Firm(Duration::ZERO)),
                Input::Replaced | Input::Expired => None,
                Input::Executed | Input::SaidOnline(_) | Input::SaidOffline => Some(Turn::Impossible),
                Input::Extended { .. } | Input::Hushed => Some(Turn::Impossible),
                Input::Died | Input::Emptied => Some(Turn::Impossible),
            },
            State::Starting { late_at, ready_at, tell_at } => match input {
                Input::Executed => self.executed(now, late_at, policy, effects),
                Input::SaidOnline(readiness) => {
                    self.note_readiness(readiness);
                    match policy.ready {
                        Ready::Notify | Ready::After(_) => self.come_online(now, policy, effects),
                        Ready::Exec => None,
                    }
                }
                Input::Hushed => {
                    let tell_at = (policy.ready == Ready::Notify).then(|| now + DYING);
                    self.state = State::Starting { late_at, ready_at, tell_at };
                    self.hush()
                }
                Input::SaidOffline => {
                    self.retire(now, policy.short(), policy, effects);
                    Some(Turn::GaveUp)
                }
                Input::Extended { time } => {
                    let late_at = late_at.max(self.latest_start(now, time));
                    self.online_timeout = late_at - self.born;
                    self.state = State::Starting { late_at, ready_at, tell_at };
                    None
                }
                Input::Expired if ready_at.is_some_and(|at| at <= now) => {
                    self.come_online(now, policy, effects)
                }
                Input::Expired if late_at <= now => {
                    self.retire(now, policy.short(), policy, effects);
                    Some(Turn::WasLate)
                }
                Input::Expired => {
                    self.state = State::Starting { late_at, ready_at, tell_at: None };
                    Some(Turn::Hushed)
                }
                Input::Died => {
                    self.leave_remnant(now, effects);
                    Some(Turn::DiedStarting)
                }
                Input::Retire { limit } => self.retire(now, limit, policy, effects),
                Input::Kill => self.kill(now, effects, None),
                Input::Replaced => None,
                Input::Spawned { .. } | Input::SpawnFailed | Input::Emptied => Some(Turn::Impossible),
            },
            State::Online { since, listen_at: _ } => match input {
                Input::Executed | Input::Extended { .. } => None,
                Input::SaidOnline(readiness) => self.note_readiness(readiness),
                Input::SaidOffline => self.leave(now, since, policy),
                Input::Hushed => self.hush(),
                Input::Expired => {
                    self.state = State::Online { since, listen_at: None };
                    effects.push_back(Effect::Listen { generation: self.generation });
                    None
                }
                Input::Died => {
                    self.leave_remnant(now, effects);
                    Some(Turn::Crashed { served: now - since })
                }
                Input::Retire { limit } => self.retire(now, limit, policy, effects),
                Input::Replaced => self.retire(now, Limit::Usual, policy, effects),
                Input::Kill => self.kill(now, effects, None),
                Input::Spawned { .. } | Input::SpawnFailed | Input::Emptied => Some(Turn::Impossible),
            },
            State::Leaving { deadline } => match input {
                Input::Executed | Input::SaidOffline => None,
                Input::SaidOnline(readiness) => self.note_readiness(readiness),
                Input::Hushed => self.hush(),
                Input::Died => {
                    self.leave_remnant(now, effects);
                    Some(Turn::Left)
                }
                Input::Expired => self.kill(now, effects, Some(Turn::Overran { asked: Asked::Offline })),
                Input::Extended { time } => {
                    self.state = State::Leaving { deadline: deadline.extended(now, time) };
                    None
                }
                Input::Replaced => {
                    self.state = State::Leaving { deadline: deadline.limited(now, Limit::Usual, policy) };
                    None
                }
                Input::Retire { limit } => {
                    self.retire_by(now, deadline.limited(now, limit, policy), policy, effects)
                }
                Input::Kill => self.kill(now, effects, None),
                Input::Spawned { .. } | Input::SpawnFailed | Input::Emptied => Some(Turn::Impossible),
            },
            State::Retiring { deadline } => match input {
                Input::Executed | Input::SaidOnline(_) | Input::SaidOffline => None,
                Input::Hushed | Input::Replaced => None,
                Input::Extended { time } => {
                    self.state = State::Retiring { deadline: deadline.extended(now, time) };
                    None
                }
                Input::Died => {
                    self.state = State::Remnant { deadline };
                    Some(Turn::Stopped)
                }
                Input::Expired => {
                    let asked = self.stop_signal(policy).map_or(Asked::Line, Asked::Signal);
                    self.kill(now, effects, Some(Turn::Overran { asked }))
                }
                Input::Retire { limit } if limit.time(policy).is_zero() => self.kill(now, effects, None),
                Input::Retire { limit } => {
                    self.state = State::Retiring { deadline: deadline.limited(now, limit, policy) };
                    None
                }
                Input::Kill => self.kill(now, effects, None),
                Input::Spawned { .. } | Input::SpawnFailed | Input::Emptied => Some(Turn::Impossible),
            },
            State::Killed { give_up_at: _ } => match input {
                Input::Executed | Input::SaidOnline(_) | Input::SaidOffline => None,
                Input::Extended { .. } | Input::Hushed | Input::Replaced => None,
                Input::Retire { .. } | Input::Kill => None,
                Input::Died => Some(Turn::Stopped),
                Input::Emptied => self.vanish(effects, None),
                Input::Expired => {
                    self.state = State::Stuck;
                    Some(Turn::Survived)
                }
                Input::Spawned { .. } | Input::SpawnFailed => Some(Turn::Impossible),
            },
            State::Remnant { deadline } => match input {
                Input::Executed | Input::SaidOnline(_) | Input::SaidOffline => None,
                Input::Hushed | Input::Replaced => None,
                Input::Extended { time } => {
                    self.state = State::Remnant { deadline: deadline.extended(now, time) };
                    None
                }
                Input::Emptied => self.vanish(effects, None),
                Input::Expired => self.kill(now, effects, Some(Turn::RemnantOverran)),
                Input::Retire { limit } if limit.time(policy).is_zero() => self.kill(now, effects, None),
                Input::Retire { limit } => {
                    self.state = State::Remnant { deadline: deadline.limited(now, limit, policy) };
                    None
                }
                Input::Kill => self.kill(now, effects, None),
                Input::Spawned { .. } | Input::SpawnFailed | Input::Died => Some(Turn::Impossible),
            },
            State::Stuck => match input {
                Input::Executed | Input::SaidOnline(_) | Input::SaidOffline => None,
                Input::Extended { .. } | Input::Hushed | Input::Replaced => None,
                Input::Retire { .. } | Input::Kill | Input::Expired => None,
                Input::Died => Some(Turn::Stopped),
                Input::Emptied => self.vanish(effects, None),
                Input::Spawned { .. } | Input::SpawnFailed => Some(Turn::Impossible),
            },
            State::Gone => match input {
                Input::Retire { .. } | Input::Kill | Input::Expired | Input::Replaced => None,
                Input::Spawned { .. } | Input::SpawnFailed | Input::Executed => Some(Turn::Impossible),
                Input::SaidOnline(_) | Input::SaidOffline | Input::Hushed => Some(Turn::Impossible),
                Input::Extended { .. } | Input::Died | Input::Emptied => Some(Turn::Impossible),
            },
        }
    }

    fn unwanted(&mut self, limit: Limit) -> Option<Turn> {
        self.state = State::Unwanted { limit };
        None
    }

    fn start(&mut self, pid: u32) -> Option<Turn> {
        self.pid = pid;
        let late_at = self.born + self.online_timeout;
        self.state = State::Starting { late_at, ready_at: None, tell_at: None };
        None
    }

    /// The deadline that its wish for more time comes to.
    fn latest_start(&self, now: Time, time: Duration) -> Time {
        limit::until(now, time).min(self.born + LONGEST)
    }

    fn executed(
        &mut self,
        now: Time,
        late_at: Time,
        policy: &Policy,
        effects: &mut VecDeque<Effect>,
    ) -> Option<Turn> {
        match policy.ready {
            Ready::Notify => None,
            Ready::Exec => self.come_online(now, policy, effects),
            Ready::After(time) => {
                self.state = State::Starting { late_at, ready_at: Some(now + time), tell_at: None };
                None
            }
        }
    }

    fn come_online(&mut self, now: Time, policy: &Policy, effects: &mut VecDeque<Effect>) -> Option<Turn> {
        let listen_at = match policy.ready {
            Ready::Notify => None,
            Ready::Exec | Ready::After(_) => Some(now + LATE_LISTEN),
        };
        self.state = State::Online { since: now, listen_at };
        effects.push_back(Effect::Listen { generation: self.generation });
        Some(Turn::CameOnline)
    }

    /// Only the first readiness word counts, even where it comes after the worker was taken to be online.
    fn note_readiness(&mut self, readiness: Readiness) -> Option<Turn> {
        self.readiness.get_or_insert(readiness);
        None
    }

    /// Who has closed the channel cannot be told to stop by the line alone.
    fn hush(&mut self) -> Option<Turn> {
        if self.readiness == Some(Readiness::JsonOnline) {
            self.readiness = Some(Readiness::Plain);
        }
        None
    }

    /// The stop limit runs from when its replacement is online, and at the latest from one online timeout after
    /// its notice.
    fn leave(&mut self, now: Time, since: Time, policy: &Policy) -> Option<Turn> {
        let deadline = Deadline::movable(now, policy.online_timeout + policy.stop_timeout);
        self.state = State::Leaving { deadline };
        Some(Turn::SaidOffline { since })
    }

    fn retire(
        &mut self,
        now: Time,
        limit: Limit,
        policy: &Policy,
        effects: &mut VecDeque<Effect>,
    ) -> Option<Turn> {
        self.retire_by(now, Deadline::new(now, limit, policy), policy, effects)
    }

    fn retire_by(
        &mut self,
        now: Time,
        deadline: Deadline,
        policy: &Policy,
        effects: &mut VecDeque<Effect>,
    ) -> Option<Turn> {
        if deadline.kill_at <= now {
            return self.kill(now, effects, None);
        }
        self.state = State::Retiring { deadline };
        effects.push_back(Effect::Retire { worker: self.id, signal: self.stop_signal(policy) });
        None
    }

    fn stop_signal(&self, policy: &Policy) -> Option<i32> {
        policy.stop_signal.number(self.readiness)
    }

    fn kill(&mut self, now: Time, effects: &mut VecDeque<Effect>, turn: Option<Turn>) -> Option<Turn> {
        self.state = State::Killed { give_up_at: now + SURVIVAL };
        effects.push_back(Effect::Kill { worker: self.id });
        turn
    }

    /// Its first process died unasked: what it leaves behind has nobody to tell it to stop.
    fn leave_remnant(&mut self, now: Time, effects: &mut VecDeque<Effect>) {
        self.state = State::Remnant { deadline: Deadline::firm(now + SHORT_LIMIT) };
        effects.push_back(Effect::Terminate { worker: self.id });
    }

    fn vanish(&mut self, effects: &mut VecDeque<Effect>, turn: Option<Turn>) -> Option<Turn> {
        self.state = State::Gone;
        effects.push_back(Effect::Forget { worker: self.id });
        turn
    }
}

impl State {
    /// The word that `status` and the README have for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Spawning => "spawning",
            State::Unwanted { .. } => "unwanted",
            State::Starting { .. } => "starting",
            State::Online { .. } => "online",
            State::Leaving { .. } => "leaving",
            State::Retiring { .. } => "retiring",
            State::Killed { .. } => "killed",
            State::Remnant { .. } => "remnant",
            State::Stuck => "stuck",
            State::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests;
