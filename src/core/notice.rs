//! Every sentence about running workers that an operator reads.
//!
//! Lower case, the object named, the cause last, the next step if there is one, no period. In a notice the number of a
//! worker is its slot. This file words facts; it decides nothing, and who prints them is `log.rs`.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::worker::Asked;
use super::{Asker, Ending, Mended};

/// One fact that an operator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Listening {
        name: Option<String>,
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
    BootFailed {
        who: Who,
        fault: Fault,
        spoke: bool,
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
    },
    Killing {
        asker: Asker,
        workers: usize,
    },
    Stopped {
        killed: u32,
    },
}

/// A worker as the operator knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) slot: u32,
    /// 0 where there is no process.
    pub(crate) pid: u32,
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
    /// It failed, after so long online; `before` failures of its slot were not told.
    Failed {
        fault: Fault,
        served: Option<Duration>,
        next: Next,
        before: u32,
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
    },
    Failed {
        who: Who,
        fault: Fault,
        keeps: u32,
    },
    /// It failed for a reason that is no worker's of it. At boot there is no generation to keep.
    Cut {
        fault: Fault,
        keeps: Option<u32>,
    },
    Aborted {
        keeps: Option<u32>,
    },
    AbortedLate {
        killed: usize,
    },
    Baking {
        time: Duration,
    },
    Flipped {
        old: u32,
        leaving: usize,
    },
    Done {
        count: u32,
        after: Duration,
    },
}

/// Why nothing is done, or not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It will be done later.
    Remembered,
    Stopping,
    Busy,
    Count {
        least: u32,
        most: u32,
    },
    NothingToAbort,
}

/// How a change of the target count goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScaleNews {
    Began { from: u32, to: u32 },
    Grown { count: u32, after: Duration },
    Failed { who: Who, fault: Fault, count: u32 },
}

impl Display for Notice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Listening { name: Some(name), address } => write!(f, "listening on {address} ({name})"),
            Notice::Listening { name: None, address } => write!(f, "listening on {address}"),
            Notice::BacklogClamped { limit, wanted } => write!(
                f,
                "the kernel limits the backlog to {limit} of {wanted} connections (net.core.somaxconn)"
            ),
            Notice::PassesNothingOn { program } => write!(
                f,
                "{program} passes no descriptors on to the program that it starts: give that program itself, as in \
                 srvwrap node server.js"
            ),
            Notice::Worker { who, news } => write!(f, "{who} {news}"),
            Notice::BootFailed { who, fault, spoke, listeners } => {
                boot_failed(f, *who, fault, *spoke, listeners)
            }
            Notice::Booted { count, after } => {
                write!(f, "workers online: {count}, after {}", Seconds(*after))
            }
            Notice::Deploy { generation, news } => write!(f, "deploy {generation} {news}"),
            Notice::Refused { asker, why } => write!(f, "{asker}: {why}"),
            Notice::Scale(news) => write!(f, "{news}"),
            Notice::ListenerShut { address, suspects, before, outcome } => {
                listener_shut(f, address, suspects, *before, *outcome)
            }
            Notice::ListenerShutBy { address, who, after } => {
                let after = Seconds(*after);
                write!(f, "{address} was shut down, it seems by {who}, which ended {after} after it")
            }
            Notice::Stopping { asker, workers } => write!(f, "{asker}: stopping {}", Workers(*workers)),
            Notice::Killing { asker, workers } => write!(f, "{asker}: killing {}", Workers(*workers)),
            Notice::Stopped { killed: 0 } => write!(f, "stopped"),
            Notice::Stopped { killed } => {
                write!(f, "stopped; {} had to be killed", Workers(*killed as usize))
            }
        }
    }
}

impl Display for WorkerNews {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            WorkerNews::Online { after } => write!(f, "online after {}", Seconds(*after)),
            WorkerNews::HushedEarly { limit } => {
                let limit = Seconds(*limit);
                write!(
                    f,
                    "closed its notice descriptor before it said online, for which it has {limit} in all"
                )
            }
            WorkerNews::Failed { fault, served, next, before } => {
                write!(f, "{fault}")?;
                served_for(f, fault, *served)?;
                match before {
                    0 => write!(f, "; {next}"),
                    before => write!(f, ", as {before} before it; {next}"),
                }
            }
            WorkerNews::Offline { why } if why.is_empty() => write!(f, "said offline; replacing it"),
            WorkerNews::Offline { why } => write!(f, "said offline: {why}; replacing it"),
            WorkerNews::Left => write!(f, "ended, as it had said"),
            WorkerNews::Overran { asked } => overran(f, *asked),
            WorkerNews::RemnantOverran => write!(
                f,
                "ended, but not all that it had started; killed the rest (where a shell starts the server, let it use exec)"
            ),
            WorkerNews::Survived => {
                write!(f, "is still there 5s after KILL, held by the kernel; not waiting for it any longer")
            }
            WorkerNews::Impossible => {
                write!(f, "did what no process can do: this is a fault of srvwrap, please report it")
            }
        }
    }
}

impl Display for DeployNews {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            DeployNews::Began { count, asker } => {
                write!(f, "began ({asker}): starting {}", Workers(*count as usize))
            }
            DeployNews::Failed { who, fault, keeps } => {
                write!(f, "failed: {who} {fault}; generation {keeps} keeps serving")
            }
            DeployNews::Cut { fault, keeps } => {
                write!(f, "failed: {fault}{}", Keeps(*keeps))
            }
            DeployNews::Aborted { keeps } => write!(f, "aborted{}", Keeps(*keeps)),
            DeployNews::AbortedLate { killed } => {
                write!(f, "is live; aborted, so the {killed} old workers that are left are killed")
            }
            DeployNews::Baking { time } => {
                write!(f, "is online; both generations serve for {}", Seconds(*time))
            }
            DeployNews::Flipped { old, leaving } => {
                write!(f, "is live; {} of generation {old} retire", Workers(*leaving))
            }
            DeployNews::Done { count, after } => {
                write!(f, "done after {}; workers online: {count}", Seconds(*after))
            }
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Remembered => write!(f, "will deploy when what is under way is done"),
            Refusal::Stopping => write!(f, "refused, because srvwrap is stopping"),
            Refusal::Busy => write!(f, "refused, because a boot, deploy or scale is under way"),
            Refusal::Count { least, most } => {
                write!(f, "refused, because the number of workers can be {least} to {most}")
            }
            Refusal::NothingToAbort => write!(f, "refused, because no deploy is under way"),
        }
    }
}

impl Display for ScaleNews {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ScaleNews::Began { from, to } => write!(f, "scaling from {from} to {}", Workers(*to as usize)),
            ScaleNews::Grown { count, after } => {
                write!(f, "scaled after {}; workers online: {count}", Seconds(*after))
            }
            ScaleNews::Failed { who, fault, count } => {
                write!(f, "scaling failed: {who} {fault}; back to {}", Workers(*count as usize))
            }
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Fault::None => write!(f, "failed"),
            Fault::Ended(Ending::Exited(status)) => write!(f, "exited with status {status}"),
            Fault::Ended(Ending::Signaled(number)) => write!(f, "was killed by {}", Signal(*number)),
            Fault::Ended(Ending::NotExecuted { why, .. }) => write!(f, "did not start: {why}"),
            Fault::NotSpawned(why) => write!(f, "did not start: {why}"),
            Fault::Late(limit) => write!(f, "was not online within {}", Seconds(*limit)),
            Fault::GaveUp(why) if why.is_empty() => write!(f, "said offline"),
            Fault::GaveUp(why) => write!(f, "said offline: {why}"),
            Fault::Rebound(address) => write!(f, "{address} was shut down under its workers"),
        }
    }
}

impl Fault {
    /// The exit code that `--on-crash exit` passes on.
    pub(super) fn exit_code(&self) -> Option<u8> {
        match self {
            Fault::Ended(Ending::Exited(status)) => Some(u8::try_from(*status).unwrap_or(1)),
            Fault::Ended(Ending::Signaled(number)) => Some(u8::try_from(128 + *number).unwrap_or(1)),
            Fault::Ended(Ending::NotExecuted { exit_code, .. }) => Some(*exit_code),
            Fault::None | Fault::NotSpawned(_) | Fault::Late(_) | Fault::GaveUp(_) | Fault::Rebound(_) => {
                None
            }
        }
    }

    /// The exit code of a first boot that could not execute the program.
    pub(super) fn exec_code(&self) -> Option<u8> {
        match self {
            Fault::Ended(Ending::NotExecuted { exit_code, .. }) => Some(*exit_code),
            Fault::Ended(Ending::Exited(_) | Ending::Signaled(_)) | Fault::None | Fault::NotSpawned(_) => {
                None
            }
            Fault::Late(_) | Fault::GaveUp(_) | Fault::Rebound(_) => None,
        }
    }

    fn is_end(&self) -> bool {
        matches!(self, Fault::Ended(Ending::Exited(_) | Ending::Signaled(_)))
    }
}

impl Display for Next {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Next::RetryIn(time) if time.is_zero() => write!(f, "replacing it"),
            Next::RetryIn(time) => write!(f, "retrying in {}", Seconds(*time)),
            Next::UnderWay => write!(f, "its replacement is starting already"),
            Next::Exit(code) => write!(f, "stopping with exit code {code}, as --on-crash exit asks"),
        }
    }
}

fn served_for(f: &mut Formatter<'_>, fault: &Fault, served: Option<Duration>) -> fmt::Result {
    match served {
        Some(served) => write!(f, " after {} online", Seconds(served)),
        None if fault.is_end() => write!(f, " before it was online"),
        None => Ok(()),
    }
}

fn overran(f: &mut Formatter<'_>, asked: Asked) -> fmt::Result {
    match asked {
        Asked::Offline => write!(f, "had said offline and did not end within the stop limit; killed"),
        Asked::Signal(number) => {
            let signal = Signal(number);
            write!(
                f,
                "did not end within the stop limit after {signal}; killed (see --stop-timeout, --stop-signal)"
            )
        }
        Asked::Line => write!(
            f,
            "did not end within the stop limit after the \"shutdown\" line; killed (--stop-signal TERM sends a signal too)"
        ),
    }
}

/// The first thing that most users will ever read: what the program did, and what to try.
fn boot_failed(
    f: &mut Formatter<'_>,
    who: Who,
    fault: &Fault,
    spoke: bool,
    listeners: &[String],
) -> fmt::Result {
    let holds = match listeners {
        [] => "nothing is listened on: see -p".to_string(),
        [one] => format!("srvwrap holds {one}: listen on the descriptor in LISTEN_FD"),
        many => format!("srvwrap holds {}: listen on the descriptors in LISTEN_FD_0, …", many.join(", ")),
    };
    write!(f, "cannot start: {who} {fault}")?;
    match (fault, spoke) {
        (Fault::Late(_), false) => {
            write!(
                f,
                ": the program said nothing on fd 3 ({holds} and write online to fd 3, or use --ready after=2s)"
            )
        }
        (Fault::Late(_), true) => write!(f, ": it wrote to fd 3, but none of online, ready and READY=1"),
        (Fault::Ended(Ending::Exited(0)), false) => {
            write!(
                f,
                " before it was online (a program that goes into the background by itself must stay in the \
                foreground; one that is to end uses --ready exec)"
            )
        }
        (Fault::Ended(Ending::Exited(_)), false) if !listeners.is_empty() => {
            write!(f, " before it was online ({holds}; a program that binds the address itself fails)")
        }
        (Fault::Ended(Ending::Exited(_) | Ending::Signaled(_)), _) => write!(f, " before it was online"),
        (Fault::Ended(Ending::NotExecuted { .. }) | Fault::NotSpawned(_), _) => Ok(()),
        (Fault::GaveUp(_), _) => write!(f, " before it was online"),
        (Fault::None | Fault::Rebound(_), _) => Ok(()),
    }
}

fn listener_shut(
    f: &mut Formatter<'_>,
    address: &str,
    suspects: &[Who],
    before: u32,
    outcome: Mended,
) -> fmt::Result {
    write!(f, "{address} was shut down ")?;
    match suspects {
        [] => write!(f, "by one of the workers")?,
        [one] => write!(f, "by {one}, it seems")?,
        [one, other] => write!(f, "by {one} or {other}")?,
        [one, other, more @ ..] => write!(f, "by {one}, {other} or one of {} more", more.len())?,
    }
    match before {
        0 => {}
        1 => write!(f, ", and once more since this was last said")?,
        before => write!(f, ", and {before} times more since this was last said")?,
    }
    match outcome {
        Mended::Healed => write!(f, "; listening again"),
        Mended::Rebound => write!(f, "; bound it anew, and replacing the workers"),
        Mended::Lost => write!(f, "; it cannot be bound anew, so srvwrap stops"),
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Who { slot, pid: 0 } => write!(f, "worker {slot}"),
            Who { slot, pid } => write!(f, "worker {slot} (pid {pid})"),
        }
    }
}

impl Display for Asker {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Asker::Boot => write!(f, "boot"),
            Asker::Signal(name) => write!(f, "{name}"),
            Asker::Client(_) => write!(f, "client"),
        }
    }
}

/// "1 worker", "4 workers".
struct Workers(usize);

impl Display for Workers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => write!(f, "1 worker"),
            count => write!(f, "{count} workers"),
        }
    }
}

/// "; generation 7 keeps serving", or nothing at boot.
struct Keeps(Option<u32>);

impl Display for Keeps {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |generation| write!(f, "; generation {generation} keeps serving"))
    }
}

/// A time as an operator writes it: 250ms, 1.2s, 30s.
pub(crate) struct Seconds(pub(crate) Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tenths = self.0.as_millis() / 100;
        match (self.0.as_millis(), tenths % 10) {
            (0..1000, _) => write!(f, "{}ms", self.0.as_millis()),
            (_, 0) => write!(f, "{}s", tenths / 10),
            (_, rest) => write!(f, "{}.{rest}s", tenths / 10),
        }
    }
}

/// "signal 9 (KILL)": the names that are the same on every Linux.
struct Signal(i32);

impl Display for Signal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let known = usize::try_from(self.0).ok().and_then(|number| SIGNALS.get(number));
        match known {
            Some(name) => write!(f, "signal {} ({name})", self.0),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// From signal(7), by number.
const SIGNALS: [&str; 32] = [
    "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

#[cfg(test)]
mod tests;
