//! The sentences: lower case, the object named, the cause last, the next step if there is one, no period.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::signal_names::signal_name;
use crate::wire::control::message::Outcome;

use super::{Busy, DeployNews, Failure, Fault, Next, Notice, Refusal, ScaleNews, Who, WorkerNews};
use crate::core::worker::{Asked, Heard};
use crate::core::{Asker, Ending, Mended, Protocol};

impl Display for Notice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Listening { name: Some(name), address } => write!(f, "listening on {address} ({name})"),
            Notice::Listening { name: None, address } => write!(f, "listening on {address}"),
            Notice::HealthListening { address } => write!(f, "health routes on {address}"),
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
            Notice::WorkerFailed { failure, next, untold: 0 } => write!(f, "{failure}; {next}"),
            Notice::WorkerFailed { failure, next, untold } => {
                write!(f, "{failure}, as {untold} before it; {next}")
            }
            Notice::BootFailed { failure, heard, protocol, listeners } => {
                boot_failed(f, failure, *heard, Holds { protocol: *protocol, listeners })
            }
            Notice::Booted { count, after } => {
                write!(f, "workers online: {count}, after {}", Seconds(*after))
            }
            Notice::Deploy { generation, news } => deploy(f, *generation, news),
            Notice::Refused { asker: Asker::Client { .. }, why } => write!(f, "{why}"),
            Notice::Refused { asker, why } => write!(f, "{asker}: {why}"),
            Notice::Scale(news) => write!(f, "{news}"),
            Notice::ListenerShut { address, suspects, before, outcome } => {
                listener_shut(f, address, suspects, *before, *outcome)
            }
            Notice::ListenerShutBy { address, who, after } => {
                let after = Seconds(*after);
                write!(f, "{address} was shut down, it seems by {who}, which ended {after} after it")
            }
            Notice::Stopping { asker, workers: 0, .. } => write!(f, "{asker}: stopping"),
            Notice::Stopping { asker, workers, limit } => {
                write!(f, "{asker}: stopping {} within {}", Workers(*workers), Seconds(*limit))
            }
            Notice::Killing { asker, workers } => write!(f, "{asker}: killing {}", Workers(*workers)),
            Notice::Stopped { killed: 0 } => write!(f, "stopped"),
            Notice::Stopped { killed: 1 } => write!(f, "stopped; 1 worker was killed"),
            Notice::Stopped { killed } => write!(f, "stopped; {killed} workers were killed"),
            Notice::CutShort => write!(f, "cut short, because srvwrap stops"),
            Notice::Signalled { asker, signal, slot, workers } => {
                signalled(f, *asker, *signal, *slot, *workers)
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
                write!(f, "closed its notice fd without saying online; it counts as late after {limit}")
            }
            WorkerNews::Offline { why } if why.is_empty() => write!(f, "said offline; replacing it"),
            WorkerNews::Offline { why } => write!(f, "said offline: {why}; replacing it"),
            WorkerNews::Left => write!(f, "ended, as it had said"),
            WorkerNews::Overran { asked } => overran(f, *asked),
            WorkerNews::RemnantOverran => write!(
                f,
                "ended, but what it had started did not: killed (a shell that starts the server should exec it)"
            ),
            WorkerNews::Survived => {
                write!(f, "is still there 5s after KILL, held by the kernel: no longer waited for")
            }
            WorkerNews::Wrote { line } => write!(f, "wrote: {line}"),
            WorkerNews::Impossible => {
                write!(f, "did what no process can do: this is a fault of srvwrap, please report it")
            }
        }
    }
}

fn deploy(f: &mut Formatter<'_>, generation: u32, news: &DeployNews) -> fmt::Result {
    match news {
        DeployNews::Cut { fault, keeps: None } => write!(f, "cannot start: {fault}"),
        DeployNews::Aborted { by, keeps: None } => write!(f, "start aborted by {by}"),
        DeployNews::TimedOut { limit, keeps: None } => {
            write!(f, "cannot start: not done within {}", Seconds(*limit))
        }
        DeployNews::Began { count, asker, surge: None } => {
            write!(f, "deploy {generation} began ({asker}): starting {}", Workers(*count as usize))
        }
        DeployNews::Began { count, asker, surge: Some(surge) } => {
            let workers = Workers(*count as usize);
            write!(f, "deploy {generation} began ({asker}): starting {workers}, {surge} at a time")
        }
        DeployNews::Failed { failure, keeps } => {
            write!(f, "deploy {generation} failed: {failure}; generation {keeps} keeps serving")
        }
        DeployNews::Cut { fault, keeps: Some(keeps) } => {
            write!(f, "deploy {generation} failed: {fault}; generation {keeps} keeps serving")
        }
        DeployNews::Aborted { by, keeps: Some(keeps) } => {
            write!(f, "deploy {generation} aborted by {by}; generation {keeps} keeps serving")
        }
        DeployNews::AbortedLate { by, killed } => {
            let workers = Workers(*killed);
            write!(
                f,
                "deploy {generation} is live, though aborted by {by}; killing {workers} of the old generation"
            )
        }
        DeployNews::TimedOut { limit, keeps: Some(keeps) } => {
            let limit = Seconds(*limit);
            write!(f, "deploy {generation} was not done within {limit}; generation {keeps} keeps serving")
        }
        DeployNews::TimedOutLate { limit, killed } => {
            let (limit, workers) = (Seconds(*limit), Workers(*killed));
            write!(
                f,
                "deploy {generation} is live, but was not done within {limit}; killing {workers} of the old generation"
            )
        }
        DeployNews::PuttingBack { slots, old } => {
            let workers = Workers(*slots);
            write!(f, "deploy {generation}: generation {old} takes back the slots of {workers}")
        }
        DeployNews::BakingAlone { time } => {
            write!(
                f,
                "deploy {generation} has every slot; it is live after {} without a failure",
                Seconds(*time)
            )
        }
        DeployNews::DoneLate { outcome, count, after } => done_late(f, generation, *outcome, *count, *after),
        DeployNews::Baking { time } => {
            write!(f, "deploy {generation} is online; both generations serve for {}", Seconds(*time))
        }
        DeployNews::FlippedLast { old, leaving } => {
            let left = Workers(*leaving);
            write!(f, "deploy {generation} is live in every slot; {left} of generation {old} left to retire")
        }
        DeployNews::Flipped { old, leaving } => {
            write!(f, "deploy {generation} is live; retiring {} of generation {old}", Workers(*leaving))
        }
        DeployNews::Done { count, after } => {
            let workers = Workers(*count as usize);
            write!(f, "deploy {generation} done after {} with {workers}", Seconds(*after))
        }
    }
}

fn done_late(
    f: &mut Formatter<'_>,
    generation: u32,
    outcome: Outcome,
    count: u32,
    after: Duration,
) -> fmt::Result {
    let (workers, after) = (Workers(count as usize), Seconds(after));
    let why = if outcome == Outcome::TimedOut { "its time was over" } else { "it was aborted" };
    write!(
        f,
        "deploy {generation} is live after {after} with {workers}; the old ones were killed, because {why}"
    )
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Summed { more: 0 } => write!(f, "what was to be scaled is taken back"),
            Refusal::Summed { more } => {
                write!(f, "will scale by {more:+} once what is under way is done")
            }
            Refusal::Remembered => write!(f, "will deploy once what is under way is done"),
            Refusal::Stopping => write!(f, "refused, because srvwrap is stopping"),
            Refusal::Busy(Busy::Boot) => write!(f, "refused, because the first start is under way"),
            Refusal::Busy(Busy::Scale) => write!(f, "refused, because a scale is under way"),
            Refusal::Busy(Busy::Deploy { generation, asker }) => {
                write!(
                    f,
                    "refused, because deploy {generation} ({asker}) is under way; srvwrap abort ends it"
                )
            }
            Refusal::Count { least, most } => {
                write!(
                    f,
                    "refused, because there can be no fewer than {least} and no more than {most} workers"
                )
            }
            Refusal::NothingToAbort => write!(f, "refused, because no deploy is under way"),
            Refusal::NothingBefore => write!(f, "refused, because there was no deploy before this one"),
            Refusal::OnlyFilesChanged => write!(
                f,
                "refused, because the generation before ran the same program, environment and directory: put the old files back and deploy"
            ),
            Refusal::OtherGeneration { is, wanted } => {
                write!(
                    f,
                    "refused, because generation {is} serves, and not {wanted}: somebody has deployed since"
                )
            }
        }
    }
}

impl Display for ScaleNews {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ScaleNews::Began { from, to } => write!(f, "scaling from {from} to {}", Workers(*to as usize)),
            ScaleNews::Grown { count, after } => {
                write!(f, "scaled to {} after {}", Workers(*count as usize), Seconds(*after))
            }
            ScaleNews::Shrunk { count } => write!(f, "scaled to {}", Workers(*count as usize)),
            ScaleNews::Failed { failure, count } => {
                write!(f, "scaling failed: {failure}; back to {}", Workers(*count as usize))
            }
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Failure { who, fault, served } = self;
        match fault {
            // What has not become a program has done nothing, and its pid means nothing to anybody.
            Fault::Ended(Ending::NotExecuted { why, .. }) | Fault::NotSpawned(why) => {
                return write!(f, "worker {}: {why}", who.slot);
            }
            Fault::Ended(Ending::Exited(_) | Ending::Signaled(_)) | Fault::GaveUp(_) => {
                write!(f, "{who} {fault}")?;
            }
            Fault::None | Fault::Late(_) | Fault::Mute(_) | Fault::Rebound(_) => {
                return write!(f, "{who} {fault}");
            }
        }
        match served {
            Some(served) => write!(f, " after {} online", Seconds(*served)),
            None => write!(f, " while starting"),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Fault::None => write!(f, "failed"),
            Fault::Ended(Ending::Exited(status)) => write!(f, "exited with status {status}"),
            Fault::Ended(Ending::Signaled(number)) => write!(f, "was killed by {}", Signal(*number)),
            Fault::Ended(Ending::NotExecuted { why, .. }) | Fault::NotSpawned(why) => write!(f, "{why}"),
            Fault::Late(limit) => write!(f, "was not online within {}", Seconds(*limit)),
            Fault::Mute(limit) => {
                write!(f, "did not say READY=1 on NOTIFY_SOCKET within {}", Seconds(*limit))
            }
            Fault::GaveUp(why) if why.is_empty() => write!(f, "said offline"),
            Fault::GaveUp(why) => write!(f, "said offline ({why})"),
            Fault::Rebound(address) => write!(f, "{address} was shut down under its workers"),
        }
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

fn overran(f: &mut Formatter<'_>, asked: Asked) -> fmt::Result {
    match asked {
        Asked::Offline => write!(f, "said offline, but did not end within its limit: killed"),
        Asked::Signal(number) => {
            let signal = Signal(number);
            write!(
                f,
                "did not end within its limit after {signal}: killed (an open connection may hold it; --stop-timeout gives more time, --stop-signal another signal)"
            )
        }
        Asked::Line => write!(
            f,
            "did not end within its limit after the \"shutdown\" line: killed (--stop-signal TERM sends a signal too)"
        ),
    }
}

/// The first thing that most users will ever read: what the program did, and what to try.
fn boot_failed(f: &mut Formatter<'_>, failure: &Failure, heard: Heard, holds: Holds<'_>) -> fmt::Result {
    let Failure { who, fault, served } = failure;
    match (fault, heard) {
        (Fault::Late(limit), Heard::Nothing) => {
            let limit = Seconds(*limit);
            write!(f, "cannot start: {who} said nothing on its notice fd within {limit} (")?;
            match holds.listeners {
                [] => write!(f, "write online to it when ready, or use --ready exec)"),
                _ => write!(
                    f,
                    "{holds}, then write the line online to that in NOTIFY_FD, or use --ready after=2s; see srvwrap check)"
                ),
            }
        }
        // What it has to do with its notice fd is of no interest to anybody.
        (Fault::Mute(_), _) => match holds.listeners {
            [] => {
                write!(f, "cannot start: {failure} (say it with sd_notify when ready, or use --ready exec)")
            }
            _ => write!(
                f,
                "cannot start: {failure} ({holds}, then say it with sd_notify, or use --ready after=2s; see srvwrap check)"
            ),
        },
        (Fault::Late(limit), Heard::Words) => write!(
            f,
            "cannot start: {who} was not online within {}: what it wrote to its notice fd was none of online, ready and READY=1",
            Seconds(*limit)
        ),
        (Fault::Late(limit), Heard::End) => write!(
            f,
            "cannot start: {who} closed its notice fd without a word, and was not online within {} (was it a wrapper that closed it? or use --ready after=2s)",
            Seconds(*limit)
        ),
        (Fault::Ended(Ending::Exited(0)), Heard::Nothing | Heard::End) if served.is_none() => write!(
            f,
            "cannot start: {failure} (it must stay in the foreground; for a program that is to end, use --ready exec --on-crash exit)"
        ),
        (Fault::Ended(Ending::Exited(126 | 127)), Heard::Nothing | Heard::End) if served.is_none() => {
            write!(f, "cannot start: {failure} (a shell exits so where it cannot execute or find a command)")
        }
        (Fault::Ended(Ending::Exited(_)), Heard::Nothing | Heard::End)
            if served.is_none() && !holds.listeners.is_empty() =>
        {
            let them = if holds.listeners.len() == 1 { "it" } else { "them" };
            write!(f, "cannot start: {failure} (if the address was in use: {holds}, do not bind {them})")
        }
        (_, _) => write!(f, "cannot start: {failure}"),
    }
}

/// "srvwrap holds [::]:8000: listen on the descriptor in LISTEN_FD", or how else the program is given it.
#[derive(Clone, Copy)]
struct Holds<'a> {
    protocol: Protocol,
    listeners: &'a [String],
}

impl Display for Holds<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (first, all) = match self.protocol {
            Protocol::Srvwrap => (
                "listen on the descriptor in LISTEN_FD",
                "listen on the descriptors in LISTEN_FD_0 and so on",
            ),
            Protocol::Systemd => ("take it over by LISTEN_FDS", "take them over by LISTEN_FDS"),
            Protocol::ServerStarter => {
                ("take it over by SERVER_STARTER_PORT", "take them over by SERVER_STARTER_PORT")
            }
            Protocol::Einhorn => (
                "listen on the descriptor in EINHORN_FD_0",
                "listen on the descriptors in EINHORN_FD_0 and so on",
            ),
            Protocol::Stdin => ("listen on descriptor 0, its stdin", "listen on descriptor 0, its stdin"),
        };
        let take = if self.listeners.len() > 1 { all } else { first };
        // What a program tries to bind is more often one of them.
        let whole = |address: &String| {
            let of_all = if address.starts_with("port ") { " of every address" } else { "" };
            format!("{address}{of_all}")
        };
        let held: Vec<String> = self.listeners.iter().map(whole).collect();
        write!(f, "srvwrap holds {}: {take}", held.join(", "))
    }
}

fn listener_shut(
    f: &mut Formatter<'_>,
    address: &str,
    suspects: &[Who],
    before: u32,
    outcome: Mended,
) -> fmt::Result {
    if outcome == Mended::Renewed {
        return write!(f, "{address} was removed; bound it anew, and replacing the workers");
    }
    write!(f, "{address} was shut down ")?;
    match suspects {
        [] => write!(f, "by one of the workers")?,
        [one] => write!(f, "by {one}, it seems")?,
        [one, other] => write!(f, "by {one} or {other}, it seems")?,
        [one, more @ ..] => write!(f, "by {one} or one of {} others, it seems", more.len())?,
    }
    match before {
        0 => {}
        1 => write!(f, ", and once more since this was last said")?,
        before => write!(f, ", and {before} times more since this was last said")?,
    }
    match outcome {
        Mended::Healed => write!(f, "; listening again"),
        Mended::Rebound | Mended::Renewed => write!(f, "; bound it anew, and replacing the workers"),
        Mended::Lost => write!(f, "; it cannot be bound anew, so srvwrap stops"),
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Who { slot, pid: 0, .. } => write!(f, "worker {slot}"),
            Who { slot, pid, .. } => write!(f, "worker {slot} (pid {pid})"),
        }
    }
}

impl Display for Asker {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Asker::Boot => write!(f, "boot"),
            Asker::Signal(name) => write!(f, "{name}"),
            Asker::Client { uid, .. } => write!(f, "client of uid {uid}"),
        }
    }
}

fn signalled(
    f: &mut Formatter<'_>,
    asker: Asker,
    signal: i32,
    slot: Option<u32>,
    workers: usize,
) -> fmt::Result {
    let signal = Signal(signal);
    match (workers, slot) {
        (0, Some(slot)) => {
            write!(f, "{asker}: {signal} not sent, because no worker of slot {slot} is online")
        }
        (0, None) => write!(f, "{asker}: {signal} not sent, because no worker is online"),
        (_, Some(slot)) => write!(f, "{asker}: {signal} sent to worker {slot}"),
        (count, None) => write!(f, "{asker}: {signal} sent to {}", Workers(count)),
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

/// A time as an operator writes it: 250ms, 1.2s, 30s.
pub(super) struct Seconds(pub(super) Duration);

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
        match signal_name(self.0) {
            Some(name) => write!(f, "signal {} ({name})", self.0),
            None => write!(f, "signal {}", self.0),
        }
    }
}
