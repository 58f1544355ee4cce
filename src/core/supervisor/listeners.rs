//! What workers do to the listeners that they share, and how it is put right.
//!
//! A worker's shutdown(2) stops a listener for all, and O_NONBLOCK set by one is set for all. This decides what
//! follows; mending a socket is done elsewhere, and told here as [`Event::ListenerShut`](crate::core::Event).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::core::limit::Limit;
use crate::core::notice::{DeployNews, Fault, Notice, Who};
use crate::core::worker::{Input, State};
use crate::core::{Effect, Mended, Ready, Time, WorkerId};

use super::Supervisor;
use super::deploy::BOOT_FAILED;

/// After a listener was bound anew for the second time in this time, its workers are not replaced at once.
const REBOUND_EVERY: Duration = Duration::from_secs(10);
/// How long they then wait.
const REBOUND_DELAY: Duration = Duration::from_secs(5);
/// A worker that dies so soon after a listener was shut down may be the one that did it.
const SUSPECT: Duration = Duration::from_secs(2);
/// A listener that is shut down again and again by the same is told so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What was told of one listener that was shut down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    at: Time,
    suspects: Vec<Who>,
    /// So many times it happened since then.
    untold: u32,
}

impl Supervisor {
    /// Workers of this generation now live with these flags, which are never cleared under them. Where somebody else
    /// has cleared them, they are set again.
    pub(super) fn listened(&mut self, generation: u32, nonblocking: &[usize]) {
        let known = [self.serving.as_mut(), self.activity.next_generation_mut()];
        let mut cleared = BTreeSet::new();
        for known in known.into_iter().flatten() {
            cleared.extend(known.nonblocking.iter().copied().filter(|index| !nonblocking.contains(index)));
            if known.number == generation {
                known.nonblocking.extend(nonblocking.iter().copied());
            }
        }
        if !cleared.is_empty() && !self.activity.is_ending() {
            let nonblocking = cleared.into_iter().collect();
            self.effects.push_back(Effect::RestoreFlags { nonblocking, clear_others: false });
        }
    }

    /// With the last worker of another generation go the reasons for the flags that it had set or cleared.
    ///
    /// A flag is cleared only after a failed deploy, whose program has set it. After any other, a worker that serves
    /// may have set it since; and of programs that say nothing it is never known whether they have.
    pub(super) fn restore_flags(&mut self, gone_from: u32) {
        let Some(serving) = &self.serving else { return };
        // The last condition looks at every worker.
        let alone = || self.workers.values().all(|other| other.generation == serving.number);
        if gone_from != serving.number && !self.activity.is_ending() && alone() {
            let nonblocking = serving.nonblocking.iter().copied().collect();
            let clear_others = gone_from > serving.number && self.policy.ready == Ready::Notify;
            self.effects.push_back(Effect::RestoreFlags { nonblocking, clear_others });
        }
    }

    pub(super) fn listener_shut(&mut self, now: Time, listener: usize, outcome: Mended) {
        if self.activity.is_ending() {
            return;
        }
        let address = self.listeners.get(listener).cloned().unwrap_or_default();
        self.tell_shut(now, listener, &address, outcome);
        match outcome {
            Mended::Healed => {}
            Mended::Rebound | Mended::Renewed => self.renew_workers(now, address),
            Mended::Lost => self.begin_stop(now, None, Limit::Usual, 1),
        }
    }

    fn tell_shut(&mut self, now: Time, listener: usize, address: &str, outcome: Mended) {
        let suspects = if outcome == Mended::Renewed { Vec::new() } else { self.suspects() };
        if suspects.is_empty() && outcome != Mended::Renewed {
            self.unnamed_shut = Some((now, address.to_string()));
        }
        let told = self.told_shut.get_mut(&listener).filter(|told| {
            let known = suspects.iter().all(|suspect| told.suspects.contains(suspect));
            let unnamed = suspects.is_empty() && !told.suspects.is_empty();
            known && !unnamed && now - told.at < TELL_EVERY && outcome == Mended::Healed
        });
        if let Some(told) = told {
            told.untold += 1;
            return;
        }
        let told = Told { at: now, suspects: suspects.clone(), untold: 0 };
        let before = self.told_shut.insert(listener, told).map_or(0, |last| last.untold);
        self.notice(Notice::ListenerShut { address: address.to_string(), suspects, before, outcome });
    }

    /// The workers that are on their way out: servers shut their listener down when they stop. Where there is none of
    /// them and one worker in all, that one. The dead are none, because a hang-up is told before the death after it.
    fn suspects(&self) -> Vec<Who> {
        let departs = |state: State| match state {
            State::Leaving { .. } | State::Retiring { .. } => true,
            State::Spawning | State::Unwanted { .. } | State::Starting { .. } | State::Online { .. } => false,
            State::Killed { .. } | State::Remnant { .. } | State::Stuck | State::Gone => false,
        };
        let departing = self.workers.values().filter(|worker| departs(worker.state));
        let mut suspects: Vec<Who> = departing.map(Who::of).collect();
        if suspects.is_empty() && self.workers.len() == 1 {
            suspects.extend(self.workers.values().map(Who::of));
        }
        suspects
    }

    /// A server that ends unasked shuts its listener down first, and can be named only now.
    pub(super) fn suspect_dead(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let who = Who::of(worker);
        if let Some((at, address)) = self.unnamed_shut.take().filter(|(at, _)| now - *at <= SUSPECT) {
            self.notice(Notice::ListenerShutBy { address, who, after: now - at });
        }
    }

    /// Every worker holds a dead socket: a deploy in progress fails, and the others are recycled.
    fn renew_workers(&mut self, now: Time, address: String) {
        let again = self.rebound_at.is_some_and(|last| now - last < REBOUND_EVERY);
        self.rebound_at = Some(now);
        let retry_at = if again { now + REBOUND_DELAY } else { now };
        if let Some(next) = self.activity.next_generation() {
            let generation = next.number;
            let keeps = self.serving.as_ref().map(|serving| serving.number);
            let news = DeployNews::Cut { fault: Fault::Rebound(address), keeps };
            self.fail_with(now, Notice::Deploy { generation, news }, BOOT_FAILED);
        }
        let slots = self.serving.iter_mut().flat_map(|serving| &mut serving.slots);
        let useless: Vec<WorkerId> = slots.filter_map(|slot| slot.renew(retry_at)).collect();
        self.step_all(now, useless, Input::Retire { limit: self.policy.short() });
    }
}
