//! How things are, as `GET /status` tells it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::json::{maybe_milliseconds, milliseconds};
use super::text::Text;

/// How things are at one moment. In JSON it also has `"schema": 1`; fields may be added, and none changes its meaning
/// as long as that number stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// srvwrap's own.
    pub(crate) version: String,
    pub(crate) pid: u32,
    #[serde(rename = "uptime_ms", with = "milliseconds")]
    pub(crate) uptime: Duration,
    /// One word: `booting`, `serving`, `deploying`, `scaling`, `stopping`.
    pub(crate) activity: String,
    /// The committed one, after boot.
    pub(crate) generation: Option<u32>,
    /// The target count.
    pub(crate) workers_wanted: u32,
    /// So many slots have a worker that is online.
    pub(crate) workers_online: u32,
    pub(crate) program: Vec<Text>,
    pub(crate) directory: Text,
    /// By slot, then by age, the oldest first; those that are on their way out too.
    pub(crate) workers: Vec<Worker>,
    /// Slots whose next worker is started later, since the last one failed.
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) deploy: Option<Deploying>,
    pub(crate) listeners: Vec<Listener>,
    #[serde(default)]
    pub(crate) logs: Logs,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) slot: u32,
    /// 0 while it is being made.
    pub(crate) pid: u32,
    pub(crate) generation: u32,
    /// One word, as the README explains it: `starting`, `online`, `leaving`, `retiring`, …
    pub(crate) state: String,
    /// Whether a slot counts on it.
    pub(crate) wanted: bool,
    #[serde(rename = "uptime_ms", with = "milliseconds")]
    pub(crate) uptime: Duration,
    /// How often its slot was filled anew since its generation began.
    pub(crate) restarts: u32,
    /// How many workers of its slot failed in a row, none of them online for 10 s; 0 once this one was.
    pub(crate) failures: u32,
    /// How the last one of its slot failed in this generation: `worker 3 (pid 4711) exited with status 1`.
    pub(crate) last_failure: Option<String>,
    /// And when.
    #[serde(rename = "failed_ago_ms", with = "maybe_milliseconds", default)]
    pub(crate) failed_ago: Option<Duration>,
    /// Of its first process; none where it cannot be read.
    pub(crate) rss_bytes: Option<u64>,
    /// Processor time of its first process, user and system.
    #[serde(rename = "cpu_ms", with = "maybe_milliseconds", default)]
    pub(crate) cpu: Option<Duration>,
    /// What it said last with `status`; empty where it never did.
    pub(crate) said: String,
    /// Lines on its notice descriptor that are not known, or too long.
    #[serde(rename = "ignored_lines", default)]
    pub(crate) ignored: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) slot: u32,
    #[serde(rename = "retry_in_ms", with = "milliseconds")]
    pub(crate) retry_in: Duration,
    /// How many workers of it failed in a row.
    pub(crate) failures: u32,
    /// In plain words: `worker 3 (pid 4711) exited with status 1 while starting`.
    pub(crate) message: String,
}

/// The deploy (or boot) under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deploying {
    pub(crate) generation: u32,
    /// One word: `starting`, `baking`, `rolling`, `putting-back`, `draining`, `failing`.
    pub(crate) phase: String,
    pub(crate) by: String,
    pub(crate) online: u32,
    pub(crate) workers: u32,
    /// So many old workers are still there.
    pub(crate) leaving: u32,
    /// Since its beginning.
    #[serde(rename = "elapsed_ms", with = "milliseconds")]
    pub(crate) elapsed: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listener {
    pub(crate) name: Option<String>,
    /// As in `127.0.0.1:8000`.
    pub(crate) address: String,
    /// Connections that no worker has accepted yet; none where the kernel does not tell (unix sockets).
    pub(crate) queued: Option<u32>,
    /// How many can be.
    pub(crate) backlog: Option<u32>,
}

/// Where workers and srvwrap write. Each place is an absolute path, in which `{slot}` stands for the slot's number;
/// `/dev/null`; `-` for srvwrap's own stdout or, for stderr and notices, stderr; or the other of the two,
/// `/dev/stdout`, `/dev/stderr`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Logs {
    pub(crate) stdout: Text,
    pub(crate) stderr: Text,
    pub(crate) notices: Text,
    /// One word: `plain`, `prefix`, `json`.
    pub(crate) format: String,
    /// By path.
    pub(crate) files: Vec<LogFile>,
}

/// One file, since srvwrap began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogFile {
    pub(crate) path: Text,
    /// Of lines for which there was no room.
    pub(crate) dropped_lines: u64,
    pub(crate) dropped_bytes: u64,
    /// What goes wrong with it now: a sentence.
    pub(crate) trouble: Option<String>,
}
