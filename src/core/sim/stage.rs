//! A world without chance, for short lives told in a few lines each: what workers do, a test says.
//!
//! ```text
//!   let mut stage = Stage::serving(2);       two workers online; times count from here
//!   stage.starts = Starts::Silent;           what is spawned from now on does not say online by itself
//!   let deploy = stage.ask(DEPLOY);
//!   stage.exits(2, 0, 1);                    generation 2, slot 0, status 1
//!   assert_eq!(stage.answer(deploy), "failed: …");
//! ```
//!
//! What is asked of the operating system is done at once. It checks nothing by itself: `properties.rs` does that, in
//! worlds of chance.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::core::{
    Answer, Asker, ClientId, Effect, Ending, Event, OnCrash, Policy, Ready, Request, Scale, Spec, StopSignal,
    Supervisor, Time, WorkerId,
};
use crate::wire::control::message::{Deploy, Outcome};
use crate::wire::worker::{Readiness, Said};

/// A deploy of what there is.
pub(super) fn redeploy() -> Request {
    Request::Deploy(Deploy::default())
}

/// A deploy of another program, or of another number of workers.
pub(super) fn deploy_of(word: Option<&str>, count: Option<u32>) -> Request {
    let program = word.map(|word| vec![word.into()]);
    Request::Deploy(Deploy { program, workers: count, ..Deploy::default() })
}

/// What becomes of a spawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Forks {
    Work,
    Fail,
    /// They wait until [`Stage::finish_forks`].
    Wait,
}

/// What a program does at its start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Starts {
    Online,
    Silent,
}

/// What a worker does when it is told to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    AtOnce,
    Never,
    /// Not even when it is killed.
    Immortal,
}

pub(super) struct Stage {
    pub(super) supervisor: Supervisor,
    pub(super) forks: Forks,
    pub(super) starts: Starts,
    pub(super) ends: Ends,
    /// Whether a dead first process leaves others behind.
    pub(super) leaves_remnants: bool,
    /// What Listen finds set.
    pub(super) nonblocking: bool,
    /// Whether there are processes that are nobody's worker.
    pub(super) strangers: bool,
    pub(super) ended: Option<u8>,
    pub(super) now: Time,
    start: Time,
    /// The newest worker of each generation and slot.
    newest: BTreeMap<(u32, u32), WorkerId>,
    seats: BTreeMap<WorkerId, (u32, u32)>,
    dead: Vec<WorkerId>,
    waiting_forks: Vec<WorkerId>,
    told: Vec<String>,
    done: Vec<Effect>,
    events: VecDeque<Event>,
    answers: BTreeMap<ClientId, Answer>,
    next_client: u64,
}

pub(super) fn policy() -> Policy {
    Policy {
        ready: Ready::Notify,
        protocol: crate::core::Protocol::Srvwrap,
        on_crash: OnCrash::Respawn,
        stop_signal: StopSignal::Auto,
        online_timeout: Duration::from_secs(60),
        stop_timeout: Duration::from_secs(30),
        bake: Duration::ZERO,
    }
}

pub(super) fn spec(word: &str) -> Spec {
    Spec { argv: vec![word.into()], ..Spec::default() }
}

impl Stage {
    /// A boot that has just begun: its workers have been asked for.
    pub(super) fn booting(policy: Policy, count: u32, starts: Starts) -> Stage {
        Stage::with(policy, count, Forks::Work, starts)
    }

    pub(super) fn with(policy: Policy, count: u32, forks: Forks, starts: Starts) -> Stage {
        let start = Time(Duration::from_secs(1000));
        let listeners = vec!["[::]:8000".to_string()];
        let mut stage = Stage {
            supervisor: Supervisor::new(policy, listeners, spec("first"), count, 7, start),
            forks,
            starts,
            ends: Ends::AtOnce,
            leaves_remnants: false,
            nonblocking: false,
            strangers: false,
            ended: None,
            now: start,
            start,
            newest: BTreeMap::new(),
            seats: BTreeMap::new(),
            dead: Vec::new(),
            waiting_forks: Vec::new(),
            told: Vec::new(),
            done: Vec::new(),
            events: VecDeque::new(),
            answers: BTreeMap::new(),
            next_client: 1,
        };
        stage.run();
        stage
    }

    /// Booted, with nothing told and nothing done yet.
    pub(super) fn serving(count: u32) -> Stage {
        Stage::serving_with(policy(), count)
    }

    pub(super) fn serving_with(policy: Policy, count: u32) -> Stage {
        let mut stage = Stage::booting(policy, count, Starts::Online);
        assert_eq!(stage.online().len(), count as usize, "it did not boot: {:?}", stage.told());
        stage.told();
        stage.done();
        stage
    }

    pub(super) fn event(&mut self, event: Event) {
        self.events.push_back(event);
        self.run();
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(next) = self.supervisor.poll_timeout().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.supervisor.handle_timeout(self.now);
            self.run();
        }
        self.now = until;
    }

    pub(super) fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// Milliseconds since it began.
    pub(super) fn at(&self) -> u128 {
        (self.now - self.start).as_millis()
    }

    /// Lets time pass until a worker is asked for, at most `most` seconds. Returns how many milliseconds passed.
    pub(super) fn until_spawn(&mut self, most: u64) -> u128 {
        let before = self.at();
        self.done();
        for _ in 0..most * 1000 {
            self.pass(Duration::from_millis(1));
            if self.done.iter().any(|effect| matches!(effect, Effect::Spawn { .. })) {
                break;
            }
        }
        self.at() - before
    }

    pub(super) fn ask(&mut self, request: Request) -> ClientId {
        let client = ClientId(self.next_client);
        self.next_client += 1;
        self.event(Event::Requested { asker: Asker::Client { client, uid: 0 }, request });
        client
    }

    pub(super) fn signal(&mut self, name: &'static str) {
        let request = match name {
            "HUP" => redeploy(),
            "TTIN" => Request::Scale(Scale::By(1)),
            "TTOU" => Request::Scale(Scale::By(-1)),
            "TERM" => Request::Stop { timeout: None },
            "INT" => Request::Interrupt,
            "QUIT" => Request::Kill,
            other => panic!("no such signal: {other}"),
        };
        self.event(Event::Requested { asker: Asker::Signal(name), request });
    }

    pub(super) fn scale(&mut self, count: u32) -> ClientId {
        self.ask(Request::Scale(Scale::To(count)))
    }

    /// The answer in one line; empty where there is none yet.
    pub(super) fn answer(&self, client: ClientId) -> String {
        let Some(Answer { outcome, notice }) = self.answers.get(&client) else { return String::new() };
        match outcome {
            Outcome::Done => "done".to_string(),
            Outcome::Aborted => "aborted".to_string(),
            Outcome::TimedOut => "timed out".to_string(),
            Outcome::Failed => format!("failed: {notice}"),
            Outcome::Refused => notice.to_string(),
        }
    }

    /// The sentence of the answer.
    pub(super) fn answer_text(&self, client: ClientId) -> String {
        self.answers.get(&client).map_or(String::new(), |answer| answer.notice.to_string())
    }

    /// The newest worker of a slot.
    pub(super) fn worker(&self, generation: u32, slot: u32) -> WorkerId {
        self.newest[&(generation, slot)]
    }

    pub(super) fn says_online(&mut self, generation: u32, slot: u32) {
        self.says(generation, slot, Said::Online(Readiness::Plain));
    }

    pub(super) fn says_offline(&mut self, generation: u32, slot: u32) {
        self.says(generation, slot, Said::Offline { why: String::new() });
    }

    pub(super) fn says(&mut self, generation: u32, slot: u32, said: Said) {
        let worker = self.worker(generation, slot);
        self.event(Event::Said { worker, said });
    }

    pub(super) fn exits(&mut self, generation: u32, slot: u32, status: i32) {
        self.dies(self.worker(generation, slot), Ending::Exited(status));
    }

    pub(super) fn dies(&mut self, worker: WorkerId, ending: Ending) {
        self.dead.push(worker);
        self.events.push_back(Event::Died { worker, ending });
        if !self.leaves_remnants {
            self.events.push_back(Event::Emptied { worker });
        }
        self.run();
    }

    pub(super) fn finish_forks(&mut self) {
        for worker in std::mem::take(&mut self.waiting_forks) {
            self.fork(worker);
        }
        self.run();
    }

    /// What was told since this was last asked.
    pub(super) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// What was done since this was last asked, but for notices and answers.
    pub(super) fn done(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.done)
    }

    /// Generation, slot and signal of those told to stop since [`Self::done`] was last asked.
    pub(super) fn retired(&self) -> Vec<(u32, u32, Option<i32>)> {
        let retired = |effect: &Effect| {
            let Effect::Retire { worker, signal } = effect else { return None };
            let (generation, slot) = self.seats[worker];
            Some((generation, slot, *signal))
        };
        self.done.iter().filter_map(retired).collect()
    }

    /// Generation and slot of those killed since [`Self::done`] was last asked.
    pub(super) fn killed(&self) -> Vec<(u32, u32)> {
        let killed = |effect: &Effect| {
            let Effect::Kill { worker } = effect else { return None };
            Some(self.seats[worker])
        };
        self.done.iter().filter_map(killed).collect()
    }

    /// Generation and slot of those spawned since [`Self::done`] was last asked.
    pub(super) fn spawned(&self) -> Vec<(u32, u32)> {
        let spawned = |effect: &Effect| {
            let Effect::Spawn { slot, generation, .. } = effect else { return None };
            Some((*generation, *slot))
        };
        self.done.iter().filter_map(spawned).collect()
    }

    /// Generation and slot of those that serve.
    pub(super) fn online(&self) -> Vec<(u32, u32)> {
        self.rows("online")
    }

    pub(super) fn rows(&self, state: &str) -> Vec<(u32, u32)> {
        let rows = self.supervisor.status(self.now).workers;
        let mut seats: Vec<(u32, u32)> =
            rows.iter().filter(|row| row.state == state).map(|row| (row.generation, row.slot)).collect();
        seats.sort_unstable();
        seats
    }

    /// How many that a slot counts on are in this state.
    pub(super) fn seated(&self, state: &str) -> usize {
        let rows = self.supervisor.status(self.now).workers;
        rows.iter().filter(|row| row.seated && row.state == state).count()
    }

    /// How often each slot was filled anew.
    pub(super) fn restarts(&self) -> Vec<u32> {
        let rows = self.supervisor.status(self.now).workers;
        rows.iter().filter(|row| row.seated).map(|row| row.restarts).collect()
    }

    pub(super) fn count(&self) -> u32 {
        self.supervisor.status(self.now).count
    }

    /// The first word of what a generation runs.
    pub(super) fn runs(&self, generation: u32) -> String {
        let spec = self.supervisor.spec(generation).expect("it is there");
        spec.argv[0].to_string_lossy().into_owned()
    }

    fn run(&mut self) {
        loop {
            while let Some(effect) = self.supervisor.poll_effect() {
                assert_eq!(self.ended, None, "{effect:?} after the end");
                self.carry_out(effect);
            }
            let Some(event) = self.events.pop_front() else { return };
            self.supervisor.handle_event(self.now, event);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match &effect {
            Effect::Notice(notice) => {
                self.told.push(notice.to_string());
                return;
            }
            Effect::Reply { client, answer } => {
                let before = self.answers.insert(*client, answer.clone());
                assert_eq!(before, None, "{client:?} is answered twice");
                return;
            }
            Effect::Spawn { worker, slot, generation } => {
                self.newest.insert((*generation, *slot), *worker);
                self.seats.insert(*worker, (*generation, *slot));
                match self.forks {
                    Forks::Wait => self.waiting_forks.push(*worker),
                    Forks::Work | Forks::Fail => self.fork(*worker),
                }
            }
            Effect::Retire { worker, .. } if self.ends == Ends::AtOnce => {
                self.dead.push(*worker);
                self.events.push_back(Event::Died { worker: *worker, ending: Ending::Exited(0) });
                self.events.push_back(Event::Emptied { worker: *worker });
            }
            Effect::Kill { worker } if self.ends != Ends::Immortal => {
                if !self.dead.contains(worker) {
                    self.events.push_back(Event::Died { worker: *worker, ending: Ending::Signaled(9) });
                }
                self.dead.push(*worker);
                self.events.push_back(Event::Emptied { worker: *worker });
            }
            Effect::Listen { generation } => {
                let nonblocking = if self.nonblocking { vec![0] } else { Vec::new() };
                self.events.push_back(Event::Listened { generation: *generation, nonblocking });
            }
            Effect::Sweep { kill } if !self.strangers || *kill => self.events.push_back(Event::Childless),
            Effect::End { code } => self.ended = Some(*code),
            Effect::Retire { .. } | Effect::Kill { .. } | Effect::Sweep { .. } => {}
            Effect::Terminate { .. } | Effect::Forget { .. } | Effect::Signal { .. } => {}
            Effect::RestoreFlags { .. } | Effect::CloseListeners => {}
        }
        self.done.push(effect);
    }

    fn fork(&mut self, worker: WorkerId) {
        let (generation, _) = self.seats[&worker];
        if self.forks == Forks::Fail || self.supervisor.spec(generation).is_none() {
            let why = "cannot fork: Resource temporarily unavailable".to_string();
            self.events.push_back(Event::SpawnFailed { worker, why });
            return;
        }
        let pid = u32::try_from(worker.0).expect("small") + 100;
        self.events.push_back(Event::Spawned { worker, pid });
        self.events.push_back(Event::Executed { worker });
        if self.starts == Starts::Online {
            self.events.push_back(Event::Said { worker, said: Said::Online(Readiness::Plain) });
        }
    }
}
