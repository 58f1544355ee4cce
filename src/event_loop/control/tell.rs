//! What the core knows, as clients are told it: status, history, events and answers.
//!
//! What the core does not know is added here: the time of day, what a process uses, what waits in a listener.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::core::{Answer, Deployed, Notice, Status, Time};
use crate::event_loop::EventLoop;
use crate::event_loop::workers::Process;
use crate::sys::children::Pid;
use crate::sys::measure;
use crate::wire::control::message::{self, Event, History, Outcome};
use crate::wire::control::status::{self, Deploying, Listener, Waiting, Worker};
use crate::wire::control::{json, text::Text};

impl EventLoop {
    /// How things are, as JSON.
    pub(in crate::event_loop) fn status_told(&self) -> Vec<u8> {
        let now = self.now();
        let Status { activity, generation, count, online, spec, deploy, workers, waiting } =
            self.supervisor.status(now);
        let deploy = deploy.map(|deploy| Deploying {
            generation: deploy.generation,
            phase: deploy.phase.to_string(),
            by: deploy.asker.to_string(),
            online: deploy.online,
            workers: deploy.count,
            leaving: deploy.leaving,
            elapsed: now - deploy.since,
        });
        let waiting = waiting.into_iter().map(|waiting| Waiting {
            slot: waiting.slot,
            retry_in: waiting.retry_in,
            failures: waiting.failures,
            message: waiting
                .failure
                .map_or_else(|| "its worker is to be replaced".into(), |failure| failure.to_string()),
        });
        let workers = workers.into_iter().map(|worker| {
            let process = self.workers.find(worker.worker);
            let usage = i32::try_from(worker.pid).ok().and_then(Pid::new).and_then(measure::usage);
            Worker {
                slot: worker.slot,
                pid: worker.pid,
                generation: worker.generation,
                state: worker.state.to_string(),
                wanted: worker.seated,
                uptime: worker.age,
                restarts: worker.restarts,
                failures: worker.failures,
                last_failure: worker.last_failure.as_ref().map(|(_, failure)| failure.to_string()),
                failed_ago: worker.last_failure.as_ref().map(|(at, _)| now - *at),
                rss_bytes: usage.map(|usage| usage.rss_bytes),
                cpu: usage.map(|usage| usage.cpu),
                said: worker.said,
                ignored: process.map_or(0, Process::ignored_lines),
            }
        });
        json::write(&status::Status {
            version: env!("CARGO_PKG_VERSION").to_string(),
            pid: std::process::id(),
            uptime: now - Time::default(),
            activity: activity.to_string(),
            generation,
            workers_wanted: count,
            workers_online: online,
            program: spec.argv.iter().map(|word| Text::from(word.as_os_str())).collect(),
            directory: spec.directory.as_os_str().into(),
            workers: workers.collect(),
            waiting: waiting.collect(),
            deploy,
            listeners: self.listeners_told(),
            logs: self.log_places(),
        })
    }

    fn listeners_told(&self) -> Vec<Listener> {
        let told = |held: &crate::event_loop::listeners::Held| {
            let queue = held.queue();
            Listener {
                name: held.name.clone(),
                address: held.address.clone(),
                queued: queue.map(|queue| queue.queued),
                backlog: queue.map(|queue| queue.backlog),
            }
        };
        self.listeners.held().iter().map(told).collect()
    }

    /// The deploys, as JSON.
    pub(in crate::event_loop) fn history_told(&self) -> Vec<u8> {
        let deploys = self.supervisor.history().map(|deployed| self.deploy_told(deployed)).collect();
        json::write(&History { deploys })
    }

    fn deploy_told(&self, deployed: &Deployed) -> message::Deployed {
        let now = self.now();
        let end = deployed.end.as_ref();
        message::Deployed {
            generation: deployed.generation,
            time: stamp(now - deployed.at),
            by: deployed.asker.to_string(),
            changed: deployed.changed.clone(),
            outcome: end.map(|end| end.outcome),
            live: deployed.live,
            message: end.map(|end| end.notice.to_string()).unwrap_or_default(),
            took: end.map_or(now - deployed.at, |end| end.took),
        }
    }

    /// A notice as one line of `GET /events`, without its newline.
    pub(in crate::event_loop) fn event_told(&self, notice: &Notice) -> Vec<u8> {
        let (event, fields) = notice.event();
        self.line_told(event, notice.to_string(), fields)
    }

    /// The same of what is no notice of the core.
    pub(in crate::event_loop) fn remark_told(&self, sentence: String) -> Vec<u8> {
        self.line_told("remark", sentence, Map::new())
    }

    fn line_told(&self, event: &str, message: String, fields: Map<String, Value>) -> Vec<u8> {
        let (event, time) = (event.to_string(), stamp(Duration::ZERO));
        json::write(&Event { event, time, message, counts: self.supervisor.counts(), fields })
    }

    /// The sentence of a failure, with where the program's own words are, and the last of them.
    pub(in crate::event_loop) fn failure_told(&self, notice: &Notice) -> (String, Vec<String>) {
        let Some(who) = notice.failed_program() else { return (notice.to_string(), Vec::new()) };
        let sentence = match self.output.stderr_path(who.slot) {
            Some(stderr) => format!("{notice} (see {})", stderr.display()),
            None => notice.to_string(),
        };
        (sentence, self.last_lines(who))
    }

    pub(super) fn answer_told(&self, answer: &Answer) -> message::Answer {
        let (message, stderr) = match answer.outcome {
            Outcome::Failed => self.failure_told(&answer.notice),
            Outcome::Done | Outcome::Refused | Outcome::Aborted | Outcome::TimedOut => {
                (answer.notice.to_string(), Vec::new())
            }
        };
        message::Answer {
            outcome: answer.outcome,
            exit_code: answer.outcome.exit_code(),
            message,
            generation: self.supervisor.committed(),
            stderr,
        }
    }
}

/// The time of day that was `ago`.
fn stamp(ago: Duration) -> String {
    #[expect(clippy::disallowed_methods, reason = "a stamp, from which nothing is reckoned")]
    let now = SystemTime::now();
    humantime::format_rfc3339_millis(now.checked_sub(ago).unwrap_or(now)).to_string()
}
