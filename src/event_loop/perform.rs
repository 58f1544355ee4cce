//! Carries out what the core says. What that teaches is an event again.

use std::collections::BTreeSet;
use std::io;

use signal_hook::consts::{SIGCONT, SIGKILL, SIGTERM};

use crate::core::{Effect, Event, WorkerId};
use crate::sys::children::{self, Pid};
use crate::sys::notice_fd;
use crate::wire::worker::SHUTDOWN;

use super::{EventLoop, SPAWNS_AT_ONCE};

impl EventLoop {
    /// What is to be done now, in order; but only so many workers are made at a time.
    pub(super) fn perform(&mut self) {
        let mut spawns = 0;
        self.effects_left = false;
        while let Some(effect) = self.supervisor.poll_effect() {
            match effect {
                Effect::Spawn { worker, slot, generation } => {
                    self.spawn(worker, slot, generation);
                    spawns += 1;
                    if spawns == SPAWNS_AT_ONCE {
                        self.effects_left = true;
                        return;
                    }
                }
                Effect::Retire { worker, signal } => self.retire(worker, signal),
                Effect::Terminate { worker } => {
                    self.signal_worker(worker, SIGTERM);
                    // A stopped process takes it only when it is continued.
                    self.signal_worker(worker, SIGCONT);
                }
                Effect::Kill { worker } => self.signal_worker(worker, SIGKILL),
                Effect::Signal { worker, signal } => self.signal_leader(worker, signal),
                Effect::Forget { worker } => {
                    let pid = self.workers.find(worker).map(|process| process.pid().number());
                    self.output.forget(worker, pid);
                    self.workers.forget(worker, &self.poll);
                }
                Effect::Listen { generation } => self.listen_again(generation),
                Effect::RestoreFlags { nonblocking, clear_others } => {
                    self.restore_flags(&nonblocking, clear_others);
                }
                Effect::CloseListeners => self.listeners.close(),
                Effect::Sweep { kill } => self.sweep(kill),
                Effect::Reply { client, answer } => self.reply(client, &answer),
                Effect::Notice(notice) => self.tell(&notice),
                Effect::End { code } => self.ended = Some(code),
            }
        }
    }

    fn retire(&mut self, id: WorkerId, signal: Option<i32>) {
        // The signal first: one that comes after the line may hit a program that has finished already and, on its way
        // out, has put its handlers away. A line that comes late is read by nobody.
        match signal {
            Some(signal) if self.workers.stop_leader_only() => self.signal_leader(id, signal),
            Some(signal) => self.signal_worker(id, signal),
            None => {}
        }
        if let Some(worker) = self.workers.find(id) {
            // Where it does not go out, the worker has closed its end: the signal, or KILL at the limit, remains.
            let _ = notice_fd::send_line(worker.notice(), SHUTDOWN);
        }
        // A stopped process takes a signal, and reads a line, only when it is continued.
        self.signal_worker(id, SIGCONT);
    }

    /// The order may have waited behind others while the worker died. Once its first process is reaped, a signal goes
    /// only to a group that is certainly still the worker's.
    fn signal_worker(&mut self, id: WorkerId, signal: i32) {
        let Some(pid) = self.workers.find(id).map(|worker| worker.pid()) else { return };
        if !self.workers.is_reaped(id) {
            self.tell_failure(pid, children::signal_leader_and_group(pid, signal));
        } else if children::group_has_child_of_ours(pid) {
            self.tell_failure(pid, children::signal_group(pid, signal));
        }
    }

    fn signal_leader(&mut self, id: WorkerId, signal: i32) {
        let Some(pid) = self.workers.find(id).map(|worker| worker.pid()) else { return };
        if !self.workers.is_reaped(id) {
            self.tell_failure(pid, children::signal(pid, signal));
        }
    }

    /// A process that has become another user's cannot be signalled; that it will not end is to be known.
    fn tell_failure(&mut self, pid: Pid, sent: io::Result<bool>) {
        if let Err(error) = sent {
            self.remark(&format_args!("cannot signal process group {pid}: {error}"));
        }
    }

    fn restore_flags(&mut self, nonblocking: &[usize], clear_others: bool) {
        for index in 0..self.listeners.held().len() {
            if nonblocking.contains(&index) {
                self.listeners.set_nonblocking(index, true);
            } else if clear_others {
                self.listeners.set_nonblocking(index, false);
            }
        }
    }

    /// Children that are nobody's worker: what workers have started and left behind.
    fn sweep(&mut self, kill: bool) {
        if children::no_children_left() {
            self.supervisor.handle_event(self.now(), Event::Childless);
            return;
        }
        let workers: BTreeSet<Pid> = self.workers.pids().collect();
        for pid in children::children().into_iter().filter(|pid| !workers.contains(pid)) {
            // TERM once each: some programs take the second for "at once".
            if kill {
                self.tell_failure(pid, children::signal(pid, SIGKILL));
            } else if self.workers.swept.insert(pid) {
                self.tell_failure(pid, children::signal(pid, SIGTERM));
                self.tell_failure(pid, children::signal(pid, SIGCONT));
            }
        }
    }
}
