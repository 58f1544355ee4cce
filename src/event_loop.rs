//! THE LOOP: wait, translate, decide, perform. The only clock in the program.
//!
//! ```text
//!   poll ──> what is ready ──> sys: bytes, deaths, signals ──> core::Event ──> Supervisor
//!    ^                                                                             │
//!    └──────────── sys: spawn, signal, listen … <── perform <── core::Effect <─────┘
//! ```
//!
//! `sys` and `core` never see each other: this is the only translator between descriptors, process numbers and errno on
//! one side, and workers, slots and generations on the other. Readiness is a hint: what is ready is read until there is
//! no more, but each worker only so much at a time, so that none starves the rest.
//!
//! `workers.rs` has the processes and what they say, `perform.rs` carries out effects, `listeners.rs` looks after the
//! sockets, `handed_in.rs` takes those that others have made, `notify.rs` hears datagrams, `acks.rs` those who know
//! only einhorn, `upward.rs` tells our own manager, `control.rs` serves those who ask, `places.rs` looks after names in
//! the file system, `report.rs` tells what happens. None of them decides.

mod acks;
mod control;
mod handed_in;
mod listeners;
mod notify;
mod output;
mod perform;
mod places;
mod report;
mod upward;
mod workers;

use std::io;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};

use crate::config::Config;
use crate::core::{Asker, Event, Request, Scale, Spec, Supervisor, Time, WorkerId};
use crate::handover::Handover;
use crate::log::Log;
use crate::logs::{Destination, Own};
use crate::sys::above::Above;
use crate::sys::report::Report;
use crate::sys::signals::{Arrived, Origin, Signals};
use crate::sys::startup::Startup;
use crate::wire::control::json;
use crate::wire::control::message::Deploy;
use crate::wire::control::routes::Door;
use crate::{FAILED, USAGE};

use acks::Acks;
use control::{ConnectionId, Control};
pub(crate) use handed_in::HandedIn;
use listeners::Listeners;
pub(crate) use listeners::{bind, shown};
use notify::Notified;
use output::Output;
use places::Places;
use upward::Upward;
use workers::Workers;

/// Tokens are never used twice, so that a late event finds nobody: the fixed ones, and from [`FIRST_WORKER`] on four
/// for each worker, whose ids are not used twice either. Clients have the upper half.
const SIGNALS: Token = Token(0);
const OWN_STDERR: Token = Token(1);
const HANG_UPS: Token = Token(2);
const CONTROL: Token = Token(3);
const HEALTH: Token = Token(4);
const REPORT: Token = Token(5);
const VANISHED: Token = Token(6);
const LOG_WRITER: Token = Token(7);
const OWN_STDOUT: Token = Token(8);
const NOTIFY: Token = Token(9);
const ACKS: Token = Token(10);
const ABOVE: Token = Token(11);
const FIRST_WORKER: usize = 16;

/// Workers that are made before anything else gets its turn: fork and exec take most of a millisecond each.
const SPAWNS_AT_ONCE: usize = 8;
/// Deaths that are handled before anything else gets its turn.
const DEATHS_AT_ONCE: usize = 256;

/// Everything that srvwrap has while it runs.
pub(crate) struct EventLoop {
    poll: Poll,
    origin: Instant,
    startup: Startup,
    signals: Signals,
    supervisor: Supervisor,
    places: Places,
    listeners: Listeners,
    workers: Workers,
    notified: Notified,
    upward: Upward,
    control: Control,
    acks: Acks,
    log: Log,
    /// For the command that started a daemon.
    report: Option<Report>,
    output: Output,
    /// Why the boot has not come off, once that is said, and what the worker wrote last that is to blame.
    boot_end: Option<(String, Vec<String>)>,
    /// More children may be dead than were handled.
    deaths_left: bool,
    /// More is to be done than was done.
    effects_left: bool,
    /// The exit code, once there is one.
    ended: Option<u8>,
}

/// Why srvwrap does not even begin to take anything, where it was told to write its notices to a file.
pub(crate) fn say_in_file(config: &Config, sentence: &str) {
    if matches!(config.logs.notices, Destination::File(_)) {
        let output = Poll::new().ok().map(|poll| Output::open(&config.logs, config.count, None, &poll));
        if let Some(Ok(mut output)) = output {
            output.say_in_file(sentence);
            output.finish(Time::default());
        }
    }
}

/// What a program is run with, beside what `config` says.
pub(crate) struct Start {
    pub(crate) startup: Startup,
    pub(crate) config: Config,
    pub(crate) spec: Spec,
    pub(crate) handed_in: HandedIn,
    /// Of a srvwrap that is the worker of another one.
    pub(crate) above: Option<Above>,
    /// Of a daemon, to the command that waits for it to be online.
    pub(crate) report: Option<Report>,
    /// What to do where files cannot be written that nobody has named.
    pub(crate) elsewhere: Option<&'static str>,
}

/// Why srvwrap does not run: its exit code, and a sentence.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: u8,
    pub(crate) sentence: String,
}

impl From<String> for Refusal {
    fn from(sentence: String) -> Refusal {
        Refusal { code: FAILED, sentence }
    }
}

/// What srvwrap takes from the system at its start, or nothing of it.
struct Parts {
    places: Places,
    control: Control,
    acks: Acks,
    listeners: Listeners,
    signals: Signals,
}

impl Parts {
    fn take(start: &mut Start, poll: &Poll, log: &mut Log) -> Result<Parts, Refusal> {
        let config = &start.config;
        let places = Places::take(config, start.report.is_some(), poll, log)?;
        let control = Control::open(config.health.as_ref(), &places, poll)?;
        let acks = Acks::open(config, poll, log);
        let listeners = Listeners::bind(&config.listeners, &mut start.handed_in, poll)?;
        if let Some(remark) = &start.handed_in.remark {
            log.remark(remark);
        }
        let handover = Handover { protocol: config.policy.protocol, listeners: &listeners.passing() };
        handover
            .check(&start.spec.argv)
            .map_err(|unfit| Refusal { code: USAGE, sentence: unfit.to_string() })?;
        if let Some(doubt) = handover.doubt() {
            log.remark(&doubt);
        }
        let signals =
            Signals::install(&start.startup).map_err(|error| format!("cannot handle signals: {error}"))?;
        watch(poll, &signals.fd(), SIGNALS, Interest::READABLE)
            .map_err(|error| format!("cannot watch signals: {error}"))?;
        Ok(Parts { places, control, acks, listeners, signals })
    }
}

impl EventLoop {
    /// Opens every log, takes every place, binds every address and starts to boot. Where that fails nothing is left
    /// behind but what the logs hold.
    pub(crate) fn new(start: &mut Start) -> Result<EventLoop, Refusal> {
        let poll = Poll::new().map_err(|error| format!("cannot make an epoll instance: {error}"))?;
        let mut output = Output::open(&start.config.logs, start.config.count, start.elsewhere, &poll)?;
        let mut log = Log::new();
        match Parts::take(start, &poll, &mut log) {
            Ok(parts) => Ok(EventLoop::of(start, poll, output, parts, log)),
            Err(error) => {
                output.say(&mut log, Time::default());
                output.say_in_file(&error.sentence);
                output.finish(Time::default());
                Err(error)
            }
        }
    }

    fn of(start: &mut Start, poll: Poll, output: Output, parts: Parts, log: Log) -> EventLoop {
        let config = &start.config;
        #[expect(clippy::disallowed_methods, reason = "this is the only clock")]
        let origin = Instant::now();
        let Parts { places, control, acks, listeners, signals } = parts;
        let supervisor = Supervisor::new(
            config.policy.clone(),
            listeners.addresses(),
            start.spec.clone(),
            config.count,
            seed(),
            Time::default(),
        );
        let workers = Workers::new(config);
        let upward = Upward::from_environment(start.above.take(), &poll);
        EventLoop {
            poll,
            origin,
            startup: start.startup,
            signals,
            supervisor,
            places,
            listeners,
            workers,
            notified: Notified::default(),
            upward,
            control,
            acks,
            log,
            output,
            report: start.report.take(),
            boot_end: None,
            // A child may have died before this program was executed in its parent's place; no signal tells of it.
            deaths_left: true,
            effects_left: true,
            ended: None,
        }
    }

    /// Runs until the end, and returns the exit code.
    pub(crate) fn run(mut self) -> u8 {
        let mut events = Events::with_capacity(256);
        for notice in self.listeners.notices().into_iter().chain(self.control.notice()) {
            self.tell(&notice);
        }
        self.watch_places();
        // What was removed before it was watched.
        self.look_after_places();
        let code = loop {
            if let Some(code) = self.ended {
                break code;
            }
            self.leave_output();
            self.watch_report();
            self.wait(&mut events);
            for event in &events {
                self.ready(event);
            }
            self.handle_deaths();
            self.listen_to_paused();
            self.hear_paused_notified();
            self.look_after_overdue();
            self.look_after_due_places();
            self.handle_timeout();
            self.perform();
            self.serve_output();
            self.tell_remarks();
            self.serve_clients();
            self.tell_upward();
        };
        self.end(code)
    }

    /// Who waits for a boot that has not come off is told when nothing is left of it.
    fn end(mut self, code: u8) -> u8 {
        self.take_leave();
        self.finish_own_output();
        let now = self.now();
        let EventLoop { places, acks, listeners, output, report, boot_end, .. } = self;
        drop((places, acks, listeners));
        output.finish(now);
        if let Some(mut report) = report {
            report.last(&json::write(&report::last_word(boot_end, code)));
            report.finish();
        }
        code
    }

    fn now(&self) -> Time {
        #[expect(clippy::disallowed_methods, reason = "this is the only clock")]
        let now = Instant::now();
        Time(now - self.origin)
    }

    fn wait(&mut self, events: &mut Events) {
        let turns = [
            self.workers.next_turn(),
            self.notified.next_turn(),
            self.upward.next_turn(),
            self.listeners.next_turn(),
            self.control.next_turn(),
            self.places.next_turn(),
            self.output.next_turn(),
        ];
        let deadline = [self.supervisor.poll_timeout()].into_iter().chain(turns).flatten().min();
        let timeout =
            if self.deaths_left || self.effects_left || self.control.has_more() || self.output.has_more() {
                Some(Duration::ZERO)
            } else {
                deadline.map(|at| at - self.now())
            };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            // A signal came: its byte is in the pipe, and the next round finds it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) => panic!("an epoll instance that was made can be waited on: {error}"),
        }
    }

    /// Something is ready. What it belonged to may be gone.
    fn ready(&mut self, event: &mio::event::Event) {
        if let Some(client) = ConnectionId::of(event.token()) {
            return self.control.client_ready(client, event.is_write_closed() || event.is_error());
        }
        match event.token() {
            SIGNALS => self.handle_signals(),
            OWN_STDOUT | OWN_STDERR => self.pump_output(),
            LOG_WRITER => self.hear_log_writer(),
            HANG_UPS => self.handle_hang_ups(),
            ACKS => self.hear_acks(),
            ABOVE => self.hear_above(),
            CONTROL => self.control.knocked(Door::Control),
            HEALTH => self.control.knocked(Door::Health),
            REPORT => self.report.iter_mut().for_each(Report::flush),
            VANISHED => self.handle_vanished(),
            NOTIFY => self.hear_notified(),
            Token(number) => {
                let worker = WorkerId((number - FIRST_WORKER) as u64 / 4);
                match number % 4 {
                    0 => self.hear(worker, workers::TURN_BYTES),
                    1 => self.see_execution(worker),
                    2 => self.output_ready(worker, Own::Stdout),
                    _ => self.output_ready(worker, Own::Stderr),
                }
            }
        }
    }

    /// Tells the core what happened, and does what it says.
    fn handle(&mut self, event: Event) {
        self.supervisor.handle_event(self.now(), event);
        self.perform();
    }

    fn handle_timeout(&mut self) {
        let now = self.now();
        if self.supervisor.poll_timeout().is_some_and(|at| at <= now) {
            // Who is dead is not late. A debugger that lets go of us may have taken the signal that told of it.
            self.deaths_left = true;
            self.handle_deaths();
            self.look_at_remnants();
            self.supervisor.handle_timeout(now);
        }
    }

    fn handle_signals(&mut self) {
        for arrived in self.signals.drain() {
            match meaning(arrived) {
                Meaning::Death => self.deaths_left = true,
                Meaning::Request(name, request) => {
                    self.look_after_places();
                    self.handle(Event::Requested { asker: Asker::Signal(name), request });
                }
                Meaning::Reopen(name) => self.reopen_logs(Asker::Signal(name)),
                Meaning::Remark(remark) => self.remark(&remark),
                Meaning::Nothing => {}
            }
        }
    }
}

/// What a signal means.
enum Meaning {
    Death,
    Request(&'static str, Request),
    /// Open the log files again.
    Reopen(&'static str),
    Remark(&'static str),
    Nothing,
}

/// Three of them count only when a process sent them: the kernel's own TTIN and TTOU are about a terminal, and its
/// HUP says that the terminal is gone.
fn meaning(arrived: Arrived) -> Meaning {
    let more = i32::try_from(arrived.count).unwrap_or(i32::MAX);
    match (arrived.signal, arrived.origin) {
        (SIGCHLD, _) => Meaning::Death,
        (SIGTERM, _) => Meaning::Request("TERM", Request::Stop { timeout: None }),
        (SIGINT, _) => Meaning::Request("INT", Request::Interrupt),
        (SIGQUIT, _) => Meaning::Request("QUIT", Request::Kill),
        (SIGHUP, Origin::Process) => Meaning::Request("HUP", Request::Deploy(Deploy::default())),
        (SIGHUP, Origin::Kernel) => {
            Meaning::Request("the terminal's hang-up", Request::Stop { timeout: None })
        }
        (SIGTTIN, Origin::Process) => Meaning::Request("TTIN", Request::Scale(Scale::By(more))),
        (SIGTTOU, Origin::Process) => Meaning::Request("TTOU", Request::Scale(Scale::By(-more))),
        (SIGUSR1, _) => Meaning::Reopen("USR1"),
        (SIGUSR2, _) => Meaning::Remark("USR2 ignored: this version cannot upgrade itself in place"),
        (_, Origin::Process | Origin::Kernel) => Meaning::Nothing,
    }
}

/// Edge-triggered, as everything here is: read until there is no more.
fn watch(poll: &Poll, fd: &impl std::os::fd::AsRawFd, token: Token, interest: Interest) -> io::Result<()> {
    poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, interest)
}

/// Spreads the retries of several instances that failed together. Not a secret.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
