//! The world that the supervisor acts upon: processes, their deaths, and time that jumps from one happening to the
//! next.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::{
    Answer, Asker, ClientId, Effect, Ending, Event, Mended, Policy, Request, Spec, Supervisor, Time, WorkerId,
};
use crate::sim::{Random, Seed};
use crate::wire::worker::{Readiness, Said};

use super::process::{Behaviour, Temper};
use super::properties::Properties;

/// One run, from its seed.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) supervisor: Supervisor,
    pub(super) policy: Policy,
    pub(super) processes: BTreeMap<WorkerId, Process>,
    happenings: BTreeMap<(Time, u64), Happening>,
    next_happening: u64,
    pub(super) random: Random,
    pub(super) properties: Properties,
    pub(super) faults: Faults,
    pub(super) answers: BTreeMap<ClientId, Answer>,
    pub(super) asked: BTreeMap<ClientId, Question>,
    next_client: u64,
    pub(super) nonblocking: bool,
    pub(super) ended: Option<u8>,
    /// Whether it was told to stop, or its boot failed.
    pub(super) stopping: bool,
    strangers: u32,
    /// What happened and what was done, where a failing seed is run again.
    story: Option<Vec<String>>,
}

/// What goes wrong in the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) fork_fails_one_in: Option<u64>,
    pub(super) fork_is_slow: bool,
    /// Spawning is answered before the next effect is carried out.
    pub(super) fork_is_instant: bool,
}

/// One process, as the world has it.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) life: Life,
    pub(super) behaviour: Option<Behaviour>,
    pub(super) born: Time,
    pub(super) forked_at: Option<Time>,
    pub(super) online_at: Option<Time>,
    pub(super) offline_at: Option<Time>,
    pub(super) hushed_at: Option<Time>,
    pub(super) told_at: Option<Time>,
    /// When it last asked for more time, and until when.
    pub(super) extended: Option<(Time, Time)>,
    /// How long it is to be given from then on, at least and at most.
    pub(super) limits: (Duration, Duration),
    pub(super) killed_at: Option<Time>,
    pub(super) died_at: Option<Time>,
    pub(super) online_under_nonblocking: bool,
}

/// What a client asked, and when; the target count was `count`.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) request: Request,
    pub(super) at: Time,
    pub(super) count: u32,
}

/// How much of a process is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Asked,
    Alive,
    /// The first process is reaped, its group is not empty.
    Remnant,
    Empty,
}

#[derive(Clone, Debug)]
enum Happening {
    Forked(WorkerId, bool),
    Executes(WorkerId),
    SaysOnline(WorkerId),
    SaysOffline(WorkerId),
    SaysNonsense(WorkerId),
    AsksForTime(WorkerId, Duration),
    Hushes(WorkerId),
    Dies(WorkerId, Ending),
    Empties(WorkerId),
    StrangerDies,
}

impl World {
    pub(super) fn new(seed: Seed, policy: Policy, count: u32, temper: Temper, faults: Faults) -> World {
        let Seed { number: seed, telling } = seed;
        let start = Time(Duration::from_secs(1000));
        let listeners = vec!["127.0.0.1:8000".to_string()];
        let supervisor = Supervisor::new(policy.clone(), listeners, spec_of(temper), count, seed, start);
        let mut world = World {
            now: start,
            supervisor,
            policy,
            processes: BTreeMap::new(),
            happenings: BTreeMap::new(),
            next_happening: 0,
            random: Random::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            properties: Properties::default(),
            faults,
            answers: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_client: 1,
            nonblocking: false,
            ended: None,
            stopping: false,
            strangers: 0,
            story: telling.then(Vec::new),
        };
        world.perform();
        world
    }

    /// Asks as a client, whose answer is kept.
    pub(super) fn ask(&mut self, request: Request) -> ClientId {
        let client = ClientId(self.next_client);
        self.next_client += 1;
        if self.ended.is_none() {
            let count = self.supervisor.status(self.now).count;
            let question = Question { request: request.clone(), at: self.now, count };
            self.asked.insert(client, question);
            self.properties.asked(self.now, &request);
        }
        self.event(Event::Requested { asker: Asker::Client { client, uid: 0 }, request });
        client
    }

    pub(super) fn signal(&mut self, name: &'static str, request: Request) {
        self.event(Event::Requested { asker: Asker::Signal(name), request });
    }

    pub(super) fn event(&mut self, event: Event) {
        if self.ended.is_some() {
            return;
        }
        self.tell_story(&event);
        self.supervisor.handle_event(self.now, event);
        self.perform();
    }

    /// Lets time pass until `until`, one happening or deadline after the other.
    pub(super) fn run_until(&mut self, until: Time) {
        while self.ended.is_none() {
            let happening = self.happenings.keys().next().map(|(at, _)| *at);
            let deadline = self.supervisor.poll_timeout();
            let Some(next) = [happening, deadline].into_iter().flatten().min().filter(|at| *at <= until)
            else {
                break;
            };
            self.now = self.now.max(next);
            // Both orders are possible where a deadline and a happening fall together.
            let deadline_first = deadline == Some(next) && self.random.one_in(2);
            if happening == Some(next) && !deadline_first {
                let (_, happening) = self.happenings.pop_first().expect("it is the next");
                self.happen(happening);
            } else {
                self.time_out();
            }
        }
        if self.ended.is_none() {
            self.now = self.now.max(until);
        }
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    fn time_out(&mut self) {
        if self.supervisor.poll_timeout().is_none_or(|at| at > self.now) {
            return;
        }
        self.supervisor.handle_timeout(self.now);
        let next = self.supervisor.poll_timeout();
        assert!(
            next.is_none_or(|at| at > self.now),
            "the next deadline {next:?} is not after {:?}",
            self.now
        );
        self.perform();
    }

    fn later(&mut self, after: Duration, happening: Happening) {
        self.next_happening += 1;
        self.happenings.insert((self.now + after, self.next_happening), happening);
    }

    fn perform(&mut self) {
        while let Some(effect) = self.supervisor.poll_effect() {
            self.tell_story(&effect);
            assert!(self.ended.is_none(), "{effect:?} after the end");
            Properties::check_effect(self, &effect);
            self.carry_out(effect);
        }
        Properties::check(self);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn { worker, slot, generation } => self.spawn(worker, slot, generation),
            Effect::Retire { worker, signal: _ } => self.tell(worker),
            Effect::Terminate { worker } => self.terminate(worker),
            Effect::Kill { worker } => self.kill(worker),
            Effect::Forget { worker } => {
                self.processes.remove(&worker);
            }
            Effect::Listen { generation } => {
                let nonblocking = if self.nonblocking { vec![0] } else { Vec::new() };
                self.supervisor.handle_event(self.now, Event::Listened { generation, nonblocking });
            }
            Effect::RestoreFlags { nonblocking, clear_others } => {
                self.nonblocking = !nonblocking.is_empty() || (self.nonblocking && !clear_others);
            }
            Effect::Sweep { kill } => self.sweep(kill),
            Effect::Reply { client, answer } => {
                self.answers.insert(client, answer);
            }
            Effect::End { code } => self.ended = Some(code),
            Effect::CloseListeners => self.stopping = true,
            Effect::Notice(_) | Effect::Signal { .. } => {}
        }
    }

    fn spawn(&mut self, worker: WorkerId, slot: u32, generation: u32) {
        let process = Process {
            slot,
            generation,
            life: Life::Asked,
            behaviour: None,
            born: self.now,
            forked_at: None,
            online_at: None,
            offline_at: None,
            hushed_at: None,
            told_at: None,
            extended: None,
            limits: Default::default(),
            killed_at: None,
            died_at: None,
            online_under_nonblocking: false,
        };
        self.processes.insert(worker, process);
        let works = self.faults.fork_fails_one_in.is_none_or(|n| !self.random.one_in(n));
        if self.faults.fork_is_instant {
            let event = self.fork(worker, works);
            self.tell_story(&event);
            self.supervisor.handle_event(self.now, event);
            return;
        }
        let slow = self.faults.fork_is_slow && self.random.one_in(3);
        let after = if slow { self.random.milliseconds(0, 4000) } else { Duration::ZERO };
        self.later(after, Happening::Forked(worker, works));
    }

    fn tell(&mut self, worker: WorkerId) {
        let limits = Properties::limits_of(self, worker);
        let process = self.processes.get_mut(&worker).expect("checked");
        process.told_at.get_or_insert(self.now);
        process.limits = limits;
        let Some(behaviour) = process.behaviour else { return };
        if let Some((after, time)) = behaviour.extends {
            self.later(after, Happening::AsksForTime(worker, time));
        }
        let Some(drains_for) = behaviour.drains_for else { return };
        self.later(drains_for, Happening::Dies(worker, Ending::Exited(0)));
    }

    fn terminate(&mut self, worker: WorkerId) {
        if self.random.one_in(2) {
            let after = self.random.milliseconds(0, 2000);
            self.later(after, Happening::Empties(worker));
        }
    }

    fn kill(&mut self, worker: WorkerId) {
        let process = self.processes.get_mut(&worker).expect("checked");
        process.killed_at = Some(self.now);
        if process.behaviour.as_ref().is_some_and(|behaviour| behaviour.survives_kill) {
            return;
        }
        let after = self.random.milliseconds(0, 10).saturating_sub(Duration::from_millis(5));
        self.later(after, Happening::Dies(worker, Ending::Signaled(9)));
        self.later(after, Happening::Empties(worker));
    }

    fn sweep(&mut self, kill: bool) {
        if self.strangers == 0 {
            self.strangers = if self.random.one_in(3) { 2 } else { 0 };
        }
        if self.strangers == 0 {
            let all_gone = self.processes.values().all(|process| process.life == Life::Empty);
            if all_gone {
                self.tell_story(&Event::Childless);
                self.supervisor.handle_event(self.now, Event::Childless);
            }
        } else if kill || self.random.one_in(2) {
            let after = self.random.milliseconds(0, 100);
            self.later(after, Happening::StrangerDies);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Forked(worker, works) => {
                let event = self.fork(worker, works);
                self.event(event);
            }
            Happening::Executes(worker) => {
                if self.is(worker, Life::Alive) {
                    self.event(Event::Executed { worker });
                }
            }
            Happening::SaysOnline(worker) => self.says_online(worker),
            Happening::SaysOffline(worker) => self.says_offline(worker),
            Happening::SaysNonsense(worker) => self.event(Event::Said { worker, said: Said::Unknown }),
            Happening::AsksForTime(worker, time) => self.asks_for_time(worker, time),
            Happening::Hushes(worker) => self.hushes(worker),
            Happening::Dies(worker, ending) => self.dies(worker, ending),
            Happening::Empties(worker) => self.empties(worker),
            Happening::StrangerDies => {
                self.strangers = self.strangers.saturating_sub(1);
                self.event(Event::StrangerDied);
                if self.strangers == 0 && self.processes.values().all(|process| process.life == Life::Empty) {
                    self.event(Event::Childless);
                }
            }
        }
    }

    fn is(&self, worker: WorkerId, life: Life) -> bool {
        self.processes.get(&worker).is_some_and(|process| process.life == life)
    }

    /// Makes the process, as the event loop would: not for a generation that is wanted no longer.
    fn fork(&mut self, worker: WorkerId, works: bool) -> Event {
        let process = self.processes.get_mut(&worker).expect("it is being spawned");
        let generation = process.generation;
        let spec = self.supervisor.spec(generation).filter(|_| works);
        let Some(spec) = spec else {
            process.life = Life::Empty;
            return Event::SpawnFailed { worker, why: "cannot fork".to_string() };
        };
        self.properties.runs_its_spec(generation, spec);
        process.life = Life::Alive;
        process.forked_at = Some(self.now);
        let temper = Temper::from_word(spec.argv[0].to_str().expect("a word"));
        let behaviour = Behaviour::of(temper, generation % 2 == 0, &mut self.random);
        self.schedule(worker, &behaviour);
        self.processes.get_mut(&worker).expect("just seen").behaviour = Some(behaviour);
        let pid = u32::try_from(worker.0).expect("small") + 100;
        Event::Spawned { worker, pid }
    }

    fn schedule(&mut self, worker: WorkerId, behaviour: &Behaviour) {
        if !behaviour.executes {
            let ending = Ending::NotExecuted { why: "cannot execute".to_string(), exit_code: 127 };
            self.later(Duration::ZERO, Happening::Dies(worker, ending));
            return;
        }
        self.later(Duration::from_millis(1), Happening::Executes(worker));
        if let Some(after) = behaviour.online_after {
            self.later(after, Happening::SaysOnline(worker));
            if behaviour.says_online_twice {
                self.later(after, Happening::SaysNonsense(worker));
                self.later(after + after, Happening::SaysOnline(worker));
            }
        }
        if let Some(after) = behaviour.hushes_after {
            self.later(after, Happening::Hushes(worker));
        }
        if let Some((after, time)) = behaviour.extends {
            self.later(after, Happening::AsksForTime(worker, time));
        }
        if let Some(after) = behaviour.offline_after {
            self.later(after, Happening::SaysOffline(worker));
        }
        if let Some(after) = behaviour.dies_after {
            let ending = if self.random.one_in(2) { Ending::Exited(1) } else { Ending::Signaled(11) };
            self.later(after, Happening::Dies(worker, ending));
        }
    }

    fn says_online(&mut self, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker).filter(|process| process.life == Life::Alive)
        else {
            // Its message was read late: nobody may be confused by it.
            return self.event(Event::Said { worker, said: Said::Online(Readiness::Plain) });
        };
        if process.hushed_at.is_some() {
            return;
        }
        let behaviour = process.behaviour.as_ref().expect("it is alive");
        self.nonblocking |= behaviour.sets_nonblocking;
        // A second word says something else: it does not count.
        let mut readiness = behaviour.readiness;
        if process.online_at.is_none() && process.told_at.is_none() {
            process.online_at = Some(self.now);
            process.online_under_nonblocking = self.nonblocking;
        } else {
            readiness = Readiness::Plain;
        }
        self.event(Event::Said { worker, said: Said::Online(readiness) });
    }

    /// Whoever is left of it asks: a wish that came before another one for longer is none.
    fn asks_for_time(&mut self, worker: WorkerId, time: Duration) {
        let there = |process: &&mut Process| matches!(process.life, Life::Alive | Life::Remnant);
        if let Some(process) = self.processes.get_mut(&worker).filter(there) {
            let until = self.now + time;
            let longer = process.extended.is_none_or(|(_, before)| before <= until);
            process.extended = if longer { Some((self.now, until)) } else { process.extended };
            self.event(Event::Said { worker, said: Said::Extend(time) });
        }
    }

    fn hushes(&mut self, worker: WorkerId) {
        if let Some(process) = self.processes.get_mut(&worker).filter(|process| process.life == Life::Alive) {
            process.hushed_at.get_or_insert(self.now);
        }
        self.event(Event::Hushed { worker });
    }

    fn says_offline(&mut self, worker: WorkerId) {
        if let Some(process) = self.processes.get_mut(&worker).filter(|process| process.life == Life::Alive) {
            if process.hushed_at.is_some() {
                return;
            }
            process.offline_at.get_or_insert(self.now);
            if let Some(after) = process.behaviour.as_ref().and_then(|behaviour| behaviour.leaves_after) {
                self.later(after, Happening::Dies(worker, Ending::Exited(0)));
            }
        }
        self.event(Event::Said { worker, said: Said::Offline { why: String::new() } });
    }

    fn dies(&mut self, worker: WorkerId, ending: Ending) {
        let Some(process) = self.processes.get_mut(&worker).filter(|process| process.life == Life::Alive)
        else {
            return;
        };
        let killed = process.killed_at.is_some();
        let remnant = process.behaviour.as_ref().and_then(|behaviour| behaviour.remnant);
        process.life = Life::Remnant;
        process.died_at = Some(self.now);
        self.event(Event::Died { worker, ending });
        match remnant {
            _ if killed => self.empties(worker),
            Some(after) if after.is_zero() => self.empties(worker),
            Some(after) => self.later(after, Happening::Empties(worker)),
            None => {}
        }
    }

    fn empties(&mut self, worker: WorkerId) {
        if let Some(process) = self.processes.get_mut(&worker).filter(|process| process.life == Life::Remnant)
        {
            process.life = Life::Empty;
            self.event(Event::Emptied { worker });
        }
    }

    fn tell_story(&mut self, line: &impl std::fmt::Debug) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:?} {line:?}", self.now.0));
        }
    }

    /// Something that workers do to the listener.
    pub(super) fn shut_listener(&mut self, outcome: Mended) {
        self.event(Event::ListenerShut { listener: 0, outcome });
    }
}

/// A failing seed prints the end of its story.
impl Drop for World {
    fn drop(&mut self) {
        if let Some(story) = self.story.as_ref().filter(|_| std::thread::panicking()) {
            for line in story.iter().rev().take(80).rev() {
                eprintln!("{line}");
            }
        }
    }
}

pub(super) fn spec_of(temper: Temper) -> Spec {
    Spec { argv: vec![temper.word().into()], ..Spec::default() }
}
