//! What workers do to the listeners that they share, and how it is put right.
//!
//! A worker's shutdown(2) stops a listener for all, and O_NONBLOCK set by one is set for all. This decides what follows;
//! mending a socket is done elsewhere, and told here as [`Event::ListenerShut`](crate::core::Event).

use std::time::Duration;

use crate::core::notice::{DeployNews, Fault, Notice, Who};
use crate::core::worker::{Input, State};
use crate::core::{Effect, Mended, Ready, Time, WorkerId};

use super::Supervisor;
use super::deploy::BOOT_FAILED;

/// After a listener was bound anew for the second time in this time, its workers are not replaced at once.
const REBOUND_EVERY: Duration = Duration::from_secs(10);
/// How long they then wait.
const REBOUND_DELAY: Duration = Duration::from_secs(5);
/// A worker that died so recently may be the one that shut a listener down.
const SUSPECT: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Workers of this generation now live with these flags, which are never cleared under them.
    pub(super) fn listened(&mut self, generation: u32, nonblocking: Vec<usize>) {
        let known = [self.serving.as_mut(), self.activity.next_generation_mut()];
        if let Some(known) = known.into_iter().flatten().find(|known| known.number == generation) {
            known.nonblocking.extend(nonblocking);
        }
    }

    /// With the last worker of another generation go the reasons for the flags that it had set or cleared.
    ///
    /// A flag is cleared only after a failed deploy, whose program has set it. After any other, a worker that serves
    /// may have set it since; and of programs that say nothing it is never known whether they have.
    pub(super) fn restore_flags(&mut self, gone_from: u32) {
        let Some(serving) = &self.serving else { return };
        let alone = self.workers.values().all(|other| other.generation == serving.number);
        if gone_from != serving.number && alone && !self.activity.is_ending() {
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
        let suspects = self.suspects(now);
        self.notice(Notice::ListenerShut { address: address.clone(), suspects, outcome });
        match outcome {
            Mended::Healed => {}
            Mended::Rebound => self.renew_workers(now, address),
            Mended::Lost => self.begin_stop(now, None, self.policy.stop_timeout, 1),
        }
    }

    /// The workers that are on their way out, and the one that died last: servers shut their listener down when they
    /// stop.
    fn suspects(&self, now: Time) -> Vec<Who> {
        let departs = |state: State| match state {
            State::Leaving { .. } | State::Retiring { .. } => true,
            State::Spawning | State::Unwanted { .. } | State::Starting { .. } | State::Online { .. } => false,
            State::Killed { .. } | State::Remnant { .. } | State::Stuck | State::Gone => false,
        };
        let departing = self.workers.values().filter(|worker| departs(worker.state));
        let mut suspects: Vec<Who> =
            departing.map(|worker| Who { slot: worker.slot, pid: worker.pid }).collect();
        let dead = self.last_dead.filter(|(at, _)| now - *at <= SUSPECT);
        suspects.extend(dead.map(|(_, who)| who));
        suspects
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
        self.step_all(now, useless, Input::Retire { limit: self.policy.short_limit() });
    }
}
