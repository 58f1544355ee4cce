//! Every sentence about running workers that an operator reads.
//!
//! Lower case, the object named, the cause last, the next step if there is one, no period. In a notice the number of a
//! worker is its slot. These are the facts; `words.rs` has their sentences and `event.rs` their form for programs. It
//! decides nothing, and who prints them is `log.rs`.

mod event;
mod words;

use std::time::Duration;

use crate::wire::control::message::Outcome;

use super::worker::{Asked, Heard, Worker};
use super::{Asker, Ending, Mended, Protocol};

/// One fact that an operator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Listening {
        name: Option<String>,
        address: String,
    },
    /// Where the health routes are served.
    HealthListening {
        address: String,
    },
    BacklogClamped {
        limit: u32,
        wanted: u32,
    },
    /// This program does not pass descriptors on to the server that it starts.
    PassesNothingOn {
        program: String,
    },
    Worker {
        who: Who,
        news: WorkerNews,
    },
    /// A worker that is wanted failed; so did `untold` ones of its slot that nobody was told of.
    WorkerFailed {
        failure: Failure,
        next: Next,
        untold: u32,
    },
    BootFailed {
        failure: Failure,
        heard: Heard,
        protocol: Protocol,
        listeners: Vec<String>,
    },
    Booted {
        count: u32,
        after: Duration,
    },
    Deploy {
        generation: u32,
        news: DeployNews,
    },
    Refused {
        asker: Asker,
        why: Refusal,
    },
    Scale(ScaleNews),
    ListenerShut {
        address: String,
        suspects: Vec<Who>,
        /// It was, so often before that was not told.
        before: u32,
        outcome: Mended,
    },
    /// A listener had been shut down, and now a worker is dead that was not told to end.
    ListenerShutBy {
        address: String,
        who: Who,
        after: Duration,
    },
    Stopping {
        asker: Asker,
        workers: usize,
        limit: Duration,
    },
    Killing {
        asker: Asker,
        workers: usize,
    },
    Stopped {
        killed: u32,
    },
    /// What somebody had asked for is not finished, because srvwrap stops.
    CutShort,
    Signalled {
        asker: Asker,
        signal: i32,
        slot: Option<u32>,
        workers: usize,
    },
}

/// A worker as the operator knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) slot: u32,
    /// 0 where there is no process.
    pub(crate) pid: u32,
    pub(crate) generation: u32,
}

impl Who {
    pub(super) fn of(worker: &Worker) -> Who {
        Who { slot: worker.slot, pid: worker.pid, generation: worker.generation }
    }
}

/// Which worker failed, how, and after how long online (none: it never was).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) who: Who,
    pub(crate) fault: Fault,
    pub(crate) served: Option<Duration>,
}

/// What was wrong with a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: what it stands beside has no reason to give.
    None,
    Ended(Ending),
    /// There is no process, because of this.
    NotSpawned(String),
    /// It was not online within this time.
    Late(Duration),
    /// The same of one that was to say so as to systemd.
    Mute(Duration),
    /// It said offline, with this reason or an empty one.
    GaveUp(String),
    /// The listener at this address had to be bound anew.
    Rebound(String),
}

/// What one worker did, or what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WorkerNews {
    Online {
        after: Duration,
    },
    /// Its notice descriptor came to an end before it said online, for which it has this long in all.
    HushedEarly {
        limit: Duration,
    },
    Offline {
        why: String,
    },
    Left,
    Overran {
        asked: Asked,
    },
    RemnantOverran,
    Survived,
    Impossible,
    /// One of the last lines that it wrote to its stderr before it failed.
    Wrote {
        line: String,
    },
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    RetryIn(Duration),
    /// A replacement is starting already.
    UnderWay,
    /// srvwrap stops with this exit code.
    Exit(u8),
}

/// How a deploy goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeployNews {
    Began {
        count: u32,
        asker: Asker,
        surge: Option<u32>,
    },
    Failed {
        failure: Failure,
        keeps: u32,
    },
    /// It failed for a reason that is no worker's of it. At boot there is no generation to keep.
    Cut {
        fault: Fault,
        keeps: Option<u32>,
    },
    Aborted {
        by: Asker,
        keeps: Option<u32>,
    },
    AbortedLate {
        by: Asker,
        killed: usize,
    },
    /// Its whole time was over.
    TimedOut {
        limit: Duration,
        keeps: Option<u32>,
    },
    TimedOutLate {
        limit: Duration,
        killed: usize,
    },
    /// A rolling one has failed, and so many of its workers serve until the old spec does in their place.
    PuttingBack {
        slots: usize,
        old: u32,
    },
    Baking {
        time: Duration,
    },
    /// As `Baking`, but the old generation has gone already.
    BakingAlone {
        time: Duration,
    },
    Flipped {
        old: u32,
        leaving: usize,
    },
    /// As `Flipped`, but most of the old generation has gone already.
    FlippedLast {
        old: u32,
        leaving: usize,
    },
    Done {
        count: u32,
        after: Duration,
    },
    /// It is live, but was aborted or timed out while the old generation retired.
    DoneLate {
        outcome: Outcome,
        count: u32,
        after: Duration,
    },
}

/// Why nothing is done, or not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It will be done later.
    Remembered,
    /// The count will change by so much later.
    Summed {
        more: i32,
    },
    Stopping,
    Busy(Busy),
    Count {
        least: u32,
        most: u32,
    },
    NothingToAbort,
    NothingBefore,
    OnlyFilesChanged,
    /// Somebody has deployed since.
    OtherGeneration {
        is: u32,
        wanted: u32,
    },
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    Boot,
    Deploy { generation: u32, asker: Asker },
    Scale,
}

/// How a change of the target count goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScaleNews {
    Began { from: u32, to: u32 },
    Grown { count: u32, after: Duration },
    Shrunk { count: u32 },
    Failed { failure: Failure, count: u32 },
}

impl Fault {
    /// The exit code that `--on-crash exit` passes on.
    pub(super) fn exit_code(&self) -> Option<u8> {
        match self {
            Fault::Ended(Ending::Exited(status)) => Some(u8::try_from(*status).unwrap_or(1)),
            Fault::Ended(Ending::Signaled(number)) => Some(u8::try_from(128 + *number).unwrap_or(1)),
            Fault::Ended(Ending::NotExecuted { exit_code, .. }) => Some(*exit_code),
            Fault::None | Fault::NotSpawned(_) | Fault::Late(_) | Fault::Mute(_) => None,
            Fault::GaveUp(_) | Fault::Rebound(_) => None,
        }
    }

    /// The exit code of a first boot that could not execute the program.
    pub(super) fn exec_code(&self) -> Option<u8> {
        match self {
            Fault::Ended(Ending::NotExecuted { exit_code, .. }) => Some(*exit_code),
            Fault::Ended(Ending::Exited(_) | Ending::Signaled(_)) | Fault::None | Fault::NotSpawned(_) => {
                None
            }
            Fault::Late(_) | Fault::Mute(_) | Fault::GaveUp(_) | Fault::Rebound(_) => None,
        }
    }

    /// Whether the program ran, and ended or was late; one that said offline has given its reason.
    fn is_of_the_program(&self) -> bool {
        match self {
            Fault::Ended(Ending::Exited(_) | Ending::Signaled(_)) | Fault::Late(_) | Fault::Mute(_) => true,
            Fault::Ended(Ending::NotExecuted { .. }) | Fault::NotSpawned(_) => false,
            Fault::None | Fault::GaveUp(_) | Fault::Rebound(_) => false,
        }
    }
}

/// How urgent a notice is, as syslog(3) numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error = 3,
    Warning = 4,
    Information = 6,
}

impl Notice {
    pub(crate) fn severity(&self) -> Severity {
        match self {
            Notice::BootFailed { .. } | Notice::WorkerFailed { .. } => Severity::Error,
            Notice::Scale(ScaleNews::Failed { .. }) => Severity::Error,
            Notice::Scale(ScaleNews::Began { .. } | ScaleNews::Grown { .. } | ScaleNews::Shrunk { .. }) => {
                Severity::Information
            }
            Notice::Deploy { news, .. } => news.severity(),
            Notice::Worker { news, .. } => news.severity(),
            Notice::BacklogClamped { .. } | Notice::PassesNothingOn { .. } => Severity::Warning,
            Notice::ListenerShut { .. } | Notice::ListenerShutBy { .. } => Severity::Warning,
            Notice::Refused { .. } | Notice::CutShort | Notice::Killing { .. } => Severity::Warning,
            Notice::Stopped { killed: 1.. } => Severity::Warning,
            Notice::Stopped { killed: 0 } | Notice::Stopping { .. } | Notice::Signalled { .. } => {
                Severity::Information
            }
            Notice::Listening { .. } | Notice::HealthListening { .. } | Notice::Booted { .. } => {
                Severity::Information
            }
        }
    }

    /// The worker that failed by itself, so that it may have written down why.
    pub(crate) fn failed_program(&self) -> Option<Who> {
        let failure = match self {
            Notice::BootFailed { failure, .. } | Notice::WorkerFailed { failure, .. } => failure,
            Notice::Deploy { news: DeployNews::Failed { failure, .. }, .. } => failure,
            Notice::Scale(ScaleNews::Failed { failure, .. }) => failure,
            Notice::Listening { .. }
            | Notice::HealthListening { .. }
            | Notice::BacklogClamped { .. }
            | Notice::PassesNothingOn { .. }
            | Notice::Worker { .. }
            | Notice::Booted { .. }
            | Notice::Deploy { .. }
            | Notice::Refused { .. }
            | Notice::Scale(_)
            | Notice::ListenerShut { .. }
            | Notice::ListenerShutBy { .. }
            | Notice::Stopping { .. }
            | Notice::Killing { .. }
            | Notice::Stopped { .. }
            | Notice::CutShort
            | Notice::Signalled { .. } => return None,
        };
        failure.fault.is_of_the_program().then_some(failure.who)
    }
}

impl DeployNews {
    fn severity(&self) -> Severity {
        match self {
            DeployNews::Failed { .. } | DeployNews::Cut { .. } => Severity::Error,
            DeployNews::Aborted { .. }
            | DeployNews::AbortedLate { .. }
            | DeployNews::TimedOut { .. }
            | DeployNews::TimedOutLate { .. }
            | DeployNews::PuttingBack { .. }
            | DeployNews::DoneLate { .. } => Severity::Warning,
            DeployNews::Began { .. }
            | DeployNews::Baking { .. }
            | DeployNews::BakingAlone { .. }
            | DeployNews::Flipped { .. }
            | DeployNews::FlippedLast { .. }
            | DeployNews::Done { .. } => Severity::Information,
        }
    }
}

impl WorkerNews {
    fn severity(&self) -> Severity {
        match self {
            WorkerNews::Online { .. } | WorkerNews::Left => Severity::Information,
            WorkerNews::HushedEarly { .. } | WorkerNews::Offline { .. } | WorkerNews::Wrote { .. } => {
                Severity::Warning
            }
            WorkerNews::Overran { .. } | WorkerNews::RemnantOverran | WorkerNews::Survived => {
                Severity::Warning
            }
            WorkerNews::Impossible => Severity::Error,
        }
    }
}

#[cfg(test)]
mod tests;
