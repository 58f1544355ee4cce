//! What a client asks for, and how it is answered.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::json::{self, maybe_milliseconds, milliseconds};
use super::text::Text;

/// What a client asks for: one for each route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// `GET /status`
    Status,
    /// `GET /events`: never ends by itself.
    Events,
    /// `GET /history`
    History,
    /// `GET /livez`
    Livez,
    /// `GET /readyz`
    Readyz,
    /// A `POST`.
    Order(Order),
}

/// What changes something. Each has exactly one [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// `POST /deploy`
    Deploy(Deploy),
    /// `POST /rollback`: as a deploy, of the spec before this one; without `program`, `directory` and `environment`.
    Rollback(Deploy),
    /// `POST /abort`
    Abort,
    /// `POST /scale`
    Scale(Scale),
    /// `POST /stop`
    Stop(Stop),
    /// `POST /signal`
    Signal(Signal),
    /// `POST /reopen`
    Reopen,
}

/// A deploy: what is to differ from the committed spec, and on which terms. What is not given stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Deploy {
    /// The program and its arguments; at least one word, of which the first is not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program: Option<Vec<Text>>,
    /// Absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) directory: Option<Text>,
    /// Variables to set, or (`None`) to unset, in this order. In JSON an object, or an array of pairs where a name is
    /// not UTF-8.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "write_environment")]
    pub(crate) environment: Vec<(Text, Option<Text>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workers: Option<u32>,
    /// For the whole deploy. Afterwards it is aborted.
    #[serde(rename = "timeout_ms", with = "maybe_milliseconds", skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Duration>,
    /// For each worker of it.
    #[serde(
        rename = "online_timeout_ms",
        with = "maybe_milliseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) online_timeout: Option<Duration>,
    #[serde(rename = "bake_ms", with = "maybe_milliseconds", skip_serializing_if = "Option::is_none")]
    pub(crate) bake: Option<Duration>,
    /// Replace so many slots at a time, and not all at once. From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) surge: Option<u32>,
    /// Answer when the old generation is gone, and not already when the new one is committed.
    pub(crate) wait: bool,
    /// Refuse where the committed generation is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) if_generation: Option<u32>,
}

impl Default for Deploy {
    fn default() -> Deploy {
        Deploy {
            program: None,
            directory: None,
            environment: Vec::new(),
            workers: None,
            timeout: None,
            online_timeout: None,
            bake: None,
            surge: None,
            wait: true,
            if_generation: None,
        }
    }
}

/// A new target count. In JSON `{"to": 8}` or `{"by": -1}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scale {
    /// So many.
    To(u32),
    /// So many more, or less.
    By(i32),
}

/// Tell all workers to stop, then end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Stop {
    /// In the place of `--stop-timeout`.
    #[serde(rename = "timeout_ms", with = "maybe_milliseconds", skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Duration>,
    /// Kill at once.
    pub(crate) now: bool,
}

/// Send a signal to the first process of each worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Signal {
    /// As in `USR2`, `SIGUSR2` or `12`.
    pub(crate) signal: String,
    /// Only to the worker of this slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<u32>,
}

/// How an order was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It was done.
    Done,
    /// It was tried and did not come off.
    Failed,
    /// It was not tried.
    Refused,
    /// It was ended, by an abort or by a stop.
    Aborted,
    /// Its time was over.
    TimedOut,
}

impl Outcome {
    /// What a command that asked for it exits with.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Failed | Outcome::Refused => 1,
            Outcome::TimedOut => 4,
            Outcome::Aborted => 5,
        }
    }
}

/// The one answer to an order; also what a request gets that is no question at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// That of the outcome; 2 for what is no question.
    pub(crate) exit_code: u8,
    /// A sentence.
    pub(crate) message: String,
    /// The committed generation, after boot.
    pub(crate) generation: Option<u32>,
    /// Where a worker failed whose stderr srvwrap reads: the last lines that it wrote there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stderr: Vec<String>,
}

/// One notice, as `GET /events` tells it: one line of JSON, `{"event": …, "time": …, "message": …, "counts": …}` and
/// what is particular to this event beside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// A stable name, as in `worker-online`.
    pub(crate) event: String,
    /// RFC 3339 with milliseconds, UTC.
    pub(crate) time: String,
    /// The sentence.
    pub(crate) message: String,
    pub(crate) counts: Counts,
    /// As in `{"slot": 3, "pid": 4711, "generation": 7}`.
    #[serde(flatten)]
    pub(crate) fields: serde_json::Map<String, serde_json::Value>,
}

impl Event {
    /// One line of `GET /events`. An error is a sentence.
    pub(crate) fn read(line: &[u8]) -> Result<Event, String> {
        let mut event: Event = json::read(line)?;
        event.fields.remove("schema");
        Ok(event)
    }
}

/// How many workers there are of each kind after an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// The target count.
    pub(crate) workers: u32,
    pub(crate) starting: u32,
    pub(crate) online: u32,
    /// Told to stop, or ending by themselves.
    pub(crate) retiring: u32,
}

/// What `GET /history` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct History {
    /// The newest last.
    pub(crate) deploys: Vec<Deployed>,
}

/// One deploy of the past, or the one under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deployed {
    pub(crate) generation: u32,
    /// When it began: RFC 3339 with milliseconds, UTC.
    pub(crate) time: String,
    /// As in `boot`, `HUP` or `client (uid 1000)`.
    pub(crate) by: String,
    /// As in `program`, `directory`, `environment: +A ~B -C`, `workers 2 -> 4`. Never a value of the environment.
    pub(crate) changed: Vec<String>,
    /// None while it is under way.
    pub(crate) outcome: Option<Outcome>,
    /// Whether its generation was committed: also an aborted or timed-out deploy may have gone live.
    pub(crate) live: bool,
    /// The sentence of its end; empty while it is under way.
    pub(crate) message: String,
    #[serde(rename = "took_ms", with = "milliseconds")]
    pub(crate) took: Duration,
}

/// An object, which is what people write; an array of pairs where a name is not UTF-8 or comes twice.
fn write_environment<S: Serializer>(
    environment: &[(Text, Option<Text>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let names: BTreeSet<&str> = environment.iter().filter_map(|(name, _)| name.0.to_str()).collect();
    if names.len() < environment.len() {
        return serializer.collect_seq(environment);
    }
    let mut object = serializer.serialize_map(Some(environment.len()))?;
    for (name, value) in environment {
        object.serialize_entry(name, value)?;
    }
    object.end()
}
