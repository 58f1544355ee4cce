//! The points of a check: of what was seen, what is right, and what is to be changed.
//!
//! ```text
//!   Seen ──> judge ──> one Finding for each Point: ok, advice, fail, not tried; what was seen; what to change
//! ```
//!
//! A point fails where a worker loses connections, hangs, or never comes online. What harms nobody but in a rare case
//! is advice. What a point asks is in `protocol/worker.md`, by the numbers of its rules.
//!
//! What this file does not do: look at anything but [`Seen`].

use std::time::Duration;

use crate::core::Ready;
use crate::signal_names::signal_name;

use super::seen::{Answer, Begun, End, Ended, Flagged, Holder, Purpose, Seen, Tried, Voice};

/// What is judged, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Online,
    Accepts,
    SecondConnection,
    Shutdown,
    Status,
    InFlight,
    Idle,
    Drain,
    Eof,
    Leaks,
    Words,
    Nonblocking,
    Listener,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    NotTried,
    Ok,
    Advice,
    Fail,
}

/// What was found about one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) point: Point,
    pub(super) verdict: Verdict,
    /// What was seen, or why it was not tried.
    pub(super) seen: String,
    /// Under an advice or a failure.
    pub(super) change: Option<String>,
    /// What the program wrote last, under a failure.
    pub(super) output: Vec<String>,
}

impl Point {
    pub(super) const ALL: [Point; 13] = [
        Point::Online,
        Point::Accepts,
        Point::SecondConnection,
        Point::Shutdown,
        Point::Status,
        Point::InFlight,
        Point::Idle,
        Point::Drain,
        Point::Eof,
        Point::Leaks,
        Point::Words,
        Point::Nonblocking,
        Point::Listener,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Point::Online => "online",
            Point::Accepts => "accepts",
            Point::SecondConnection => "second-connection",
            Point::Shutdown => "shutdown",
            Point::Status => "status",
            Point::InFlight => "in-flight",
            Point::Idle => "idle",
            Point::Drain => "drain",
            Point::Eof => "eof",
            Point::Leaks => "leaks",
            Point::Words => "words",
            Point::Nonblocking => "nonblocking",
            Point::Listener => "listener",
        }
    }

    /// By their numbers in `protocol/worker.md`.
    pub(super) fn rules(self) -> &'static [&'static str] {
        match self {
            Point::Online | Point::SecondConnection => &["W8"],
            Point::Accepts => &["W1", "W17"],
            Point::Shutdown => &["W13", "W14"],
            Point::Status => &["W13", "W15"],
            Point::InFlight | Point::Idle | Point::Drain => &["W13"],
            Point::Eof => &["W16"],
            Point::Leaks => &["W1"],
            Point::Words => &["W4", "W5"],
            Point::Nonblocking | Point::Listener => &["W17"],
        }
    }

    /// The life in which it was seen.
    fn purpose(self, seen: &Seen) -> Purpose {
        match self {
            Point::InFlight => Purpose::InFlight,
            Point::Idle | Point::Drain => Purpose::Idle,
            Point::Eof => Purpose::Orphaned,
            Point::Nonblocking if nonblocking_while_serving(seen).verdict == Verdict::Fail => {
                Purpose::Flagged
            }
            Point::Nonblocking => Purpose::Orphaned,
            Point::Listener => seen.shut.first().map_or(Purpose::Serving, |(_, purpose)| *purpose),
            Point::Online | Point::Accepts | Point::SecondConnection => Purpose::Serving,
            Point::Shutdown | Point::Status | Point::Leaks | Point::Words => Purpose::Serving,
        }
    }
}

/// One finding for each point, in their order.
pub(super) fn judge(seen: &Seen) -> Vec<Finding> {
    Point::ALL.into_iter().map(|point| found(point, seen)).collect()
}

pub(super) fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok).max(Verdict::Ok)
}

fn found(point: Point, seen: &Seen) -> Finding {
    let Judged { verdict, seen: text, change } = match point {
        Point::Online => online(seen),
        Point::Accepts => accepts(seen),
        Point::SecondConnection => second_connection(seen),
        Point::Shutdown => shutdown(seen),
        Point::Status => status(seen),
        Point::InFlight => in_flight(seen),
        Point::Idle => idle(seen),
        Point::Drain => drain(seen),
        Point::Eof => eof(seen),
        Point::Leaks => leaks(seen),
        Point::Words => words(seen),
        Point::Nonblocking => nonblocking(seen),
        Point::Listener => listener(seen),
    };
    let output = if verdict == Verdict::Fail {
        seen.outputs[point.purpose(seen) as usize].clone()
    } else {
        Vec::new()
    };
    Finding { point, verdict, seen: text, change, output }
}

/// A finding in the making.
struct Judged {
    verdict: Verdict,
    seen: String,
    change: Option<String>,
}

fn ok(seen: impl Into<String>) -> Judged {
    Judged { verdict: Verdict::Ok, seen: seen.into(), change: None }
}

fn not_tried(because: &str) -> Judged {
    Judged { verdict: Verdict::NotTried, seen: because.to_string(), change: None }
}

fn advice(seen: impl Into<String>, change: &str) -> Judged {
    Judged { verdict: Verdict::Advice, seen: seen.into(), change: Some(change.to_string()) }
}

fn fail(seen: impl Into<String>, change: &str) -> Judged {
    Judged { verdict: Verdict::Fail, seen: seen.into(), change: Some(change.to_string()) }
}

const SAY_ONLINE: &str = "write \"online\" and a newline to the descriptor in NOTIFY_FD once you accept connections, and \
                          flush; or run it with --ready exec or --ready after=DURATION, if it cannot";

fn online(seen: &Seen) -> Judged {
    match &seen.begun {
        Begun::Online { after, voice } => {
            let place = match voice {
                Voice::NoticeFd => "on the notice fd",
                Voice::Datagram => "at NOTIFY_SOCKET",
                Voice::Ack => "at EINHORN_SOCK_PATH",
            };
            ok(format!("after {}, {place}", time(*after)))
        }
        Begun::Unasked(Ready::After(after)) => not_tried(&format!("--ready after={}", time(*after))),
        Begun::Unasked(Ready::Exec | Ready::Notify) => not_tried("--ready exec"),
        Begun::Silent { closed } => {
            let closed = if *closed { ", and has closed the notice fd" } else { "" };
            let text = format!("no such word within {}{closed}", time(seen.online_timeout));
            fail(text, &runner_or(seen, if seen.words.unknown > 0 { SAY_EXACTLY } else { SAY_ONLINE }))
        }
        Begun::Ended { after, how } => {
            let text = format!("ended {} after {}, before it said so", ending(*how), time(*after));
            fail(text, &runner_or(seen, why_it_ended(seen)))
        }
        Begun::Offline { after, why } => {
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            let text = format!("said offline after {}, before it was online{why}", time(*after));
            fail(text, "say online first; offline before it counts as the worker's death")
        }
    }
}

const SAY_EXACTLY: &str = "the words that it wrote are not known (see the point words): write \"online\" and a newline, \
                           in lower case and without blanks";

fn runner_or(seen: &Seen, other: &str) -> String {
    match seen.runner {
        Some(name) => {
            format!("{name} passes no descriptors on: name the program that it starts, as in: node server.js")
        }
        None => other.to_string(),
    }
}

/// What is most often the reason.
fn why_it_ended(seen: &Seen) -> &'static str {
    let output = seen.outputs[Purpose::Serving as usize].join("\n");
    let is_taken =
        ["EADDRINUSE", "ddress already in use", "ddress in use"].iter().any(|text| output.contains(text));
    if is_taken && !seen.has_listeners {
        "the address that it binds is taken; give it to srvwrap with -p, and listen on the descriptor in LISTEN_FD"
    } else if is_taken {
        "it binds an address by itself, which srvwrap holds already: listen on the descriptor in LISTEN_FD"
    } else {
        "see what it wrote; a worker stays until it is told to finish"
    }
}

fn accepts(seen: &Seen) -> Judged {
    if !seen.begun.is_online() {
        return not_tried("it was not online");
    }
    if seen.knocks.is_empty() {
        return not_tried("there is no listener; give one, as in -p 0");
    }
    let ports: Vec<String> = seen.own_ports.iter().map(u16::to_string).collect();
    if let Some(knock) = seen.knocks.iter().find(|knock| !knock.answer.is_accepted()) {
        let ended = crashed(seen).map_or(String::new(), |crashed| format!(", and it has {crashed}"));
        let own = if ports.is_empty() {
            String::new()
        } else {
            format!("; it listens on port {} of its own", ports.join(", "))
        };
        let text = format!("{}: {}{ended}{own}", knock.address, answered(&knock.answer, &seen.path));
        return fail(
            text,
            "accept on the descriptor in LISTEN_FD, or LISTEN_FD_0, LISTEN_FD_1, … for several",
        );
    }
    let each = seen.knocks.iter().map(|knock| {
        let address = if seen.knocks.len() > 1 { format!("{}: ", knock.address) } else { String::new() };
        format!("{address}{}", answered(&knock.answer, &seen.path))
    });
    ok(each.collect::<Vec<_>>().join("; "))
}

fn crashed(seen: &Seen) -> Option<String> {
    seen.crash.map(|(after, how)| format!("ended {} after {}", ending(how), time(after)))
}

fn answered(answer: &Answer, path: &str) -> String {
    match answer {
        Answer::Whole { status, after, .. } => format!("GET {path} answered {status} after {}", time(*after)),
        Answer::Half => "accepted; the answer has no end".to_string(),
        Answer::NotHttp => "accepted; what it answers is not HTTP".to_string(),
        Answer::Silent => format!("accepted; GET {path} not answered"),
        Answer::Cut => "accepted, and closed before the end of an answer".to_string(),
        Answer::Waiting => "not accepted".to_string(),
        Answer::Refused(why) => format!("no connection: {why}"),
    }
}

/// A wait that a client would notice.
const LATE: Duration = Duration::from_secs(2);

fn second_connection(seen: &Seen) -> Judged {
    let second = match &seen.second {
        Tried::Seen(second) => second,
        Tried::Not(because) => return not_tried(because),
    };
    let first =
        if second.first_was_answered { "an idle one is open" } else { "one that sends nothing is open" };
    let text = format!("{}, while {first}", answered(&second.answer, &seen.path));
    let expected = if seen.http().is_some() { second.answer.is_whole() } else { second.answer.is_accepted() };
    let is_late = matches!(second.answer, Answer::Whole { after, .. } if after > LATE);
    match (expected, second.first_was_answered) {
        (true, _) if !is_late => {
            if seen.http().is_some() {
                ok(text)
            } else {
                ok(format!("accepted, while {first}"))
            }
        }
        (false, true) => {
            fail(text, "serve connections side by side: a client that keeps one open must not stop others")
        }
        (true, true) => advice(text, "serve connections side by side, or close them after each answer"),
        (_, false) => advice(
            text,
            "one connection at a time is served: a slow client stops all others. Have as many workers as it takes (-n), or \
             a proxy before them",
        ),
    }
}

fn shutdown(seen: &Seen) -> Judged {
    let end = match &seen.end {
        Tried::Seen(end) => end,
        Tried::Not(because) => {
            // Where it took no connection, that it has ended is told there.
            let crashed = crashed(seen).filter(|_| seen.serves() || seen.knocks.is_empty());
            return crashed.map_or(not_tried(because), |crashed| {
                fail(format!("{crashed}, though nobody had told it to"), "serve until you are told to finish")
            });
        }
    };
    if !end.killed.is_empty() {
        let text = format!("still there after {}, and killed: {}", time(end.after), end.killed.join(", "));
        return fail(text, if end.how.is_some() { END_CHILDREN } else { FINISH });
    }
    let text = format!("ended {} after {}", end.how.map_or(String::new(), ending), time(end.after));
    if end.left.is_empty() {
        ok(text)
    } else {
        let text = format!("{text}, and left behind: {}", end.left.join(", "));
        advice(text, "end what you have started: srvwrap ends such processes only when it ends itself")
    }
}

const FINISH: &str = "on the line \"shutdown\", or on the signal, close the listeners, finish what was accepted, and exit; \
                      --stop-signal sends another signal than TERM";
const END_CHILDREN: &str = "its first process ends and others of its group do not: let it wait for them, or start the \
                            server by exec";

fn status(seen: &Seen) -> Judged {
    match &seen.end {
        Tried::Seen(End { how: Some(Ended::Exited(0)), .. }) => ok("0"),
        Tried::Seen(End { how: Some(how), .. }) => advice(
            ending(*how),
            "handle the signal, and exit with 0 where all went well: anything else looks like a fault",
        ),
        Tried::Seen(End { how: None, .. }) => not_tried("it was killed"),
        Tried::Not(because) => not_tried(because),
    }
}

fn in_flight(seen: &Seen) -> Judged {
    let tried = match &seen.in_flight {
        Tried::Seen(tried) => tried,
        Tried::Not(because) => return not_tried(because),
    };
    let when = tried.before.map_or("that had come just before the shutdown".to_string(), |before| {
        format!("that had come {} before the shutdown", time(before))
    });
    let text = match &tried.answer {
        Answer::Whole { status, .. } => format!("a request {when}: answered {status}"),
        Answer::Cut => format!("a request {when}: its connection was closed without a whole answer"),
        Answer::Half => format!("a request {when}: its answer began, and did not end"),
        Answer::NotHttp => format!("a request {when}: its answer was not HTTP"),
        Answer::Silent | Answer::Waiting | Answer::Refused(_) => format!("a request {when}: no answer"),
    };
    match tried.answer {
        Answer::Whole { .. } if tried.early => {
            ok(format!("{text}, before that; --path PATH with a slow one shows more"))
        }
        Answer::Whole { .. } => ok(text),
        _ => fail(
            text,
            "finish what was accepted before you exit: on the signal, stop accepting, and wait for answers",
        ),
    }
}

fn idle(seen: &Seen) -> Judged {
    let end = match &seen.idle {
        Tried::Seen(idle) => &idle.end,
        Tried::Not(because) => return not_tried(because),
    };
    if end.killed.is_empty() {
        return ok(format!(
            "ended {} after {}, with an idle connection open",
            end.how.map_or(String::new(), ending),
            time(end.after)
        ));
    }
    let text = format!("with an idle connection open still there after {}, and killed", time(end.after));
    fail(
        text,
        "close connections that are idle half a second after the shutdown: their clients may never do so",
    )
}

fn drain(seen: &Seen) -> Judged {
    let idle = match &seen.idle {
        Tried::Seen(idle) => idle,
        Tried::Not(because) => return not_tried(because),
    };
    const CHANGE: &str = "for half a second after the shutdown go on answering, each answer with Connection: close, and \
                          only then close idle connections: a request that a client had sent by then is lost otherwise";
    for (after, answer) in &idle.drained {
        let on = format!("a request on a kept-alive connection, {} after the shutdown", time(*after));
        match answer {
            Answer::Whole { closes: true, .. } => {}
            Answer::Whole { closes: false, .. } => {
                return advice(format!("{on}: answered without Connection: close"), CHANGE);
            }
            _ => return advice(format!("{on}: the connection was closed without an answer"), CHANGE),
        }
    }
    let times: Vec<String> = idle.drained.iter().map(|(after, _)| time(*after)).collect();
    ok(format!("requests {} after the shutdown answered, with Connection: close", times.join(" and ")))
}

fn eof(seen: &Seen) -> Judged {
    match &seen.eof {
        Tried::Seen(orphaned) => match orphaned.after {
            Some(after) => ok(format!("ended {} after srvwrap was gone", time(after))),
            None => advice(
                format!(
                    "still there {} after srvwrap was gone: {}",
                    time(orphaned.limit),
                    orphaned.left.join(", ")
                ),
                "read the notice fd, and finish at its end: the kernel kills the first process only, and its children go on",
            ),
        },
        Tried::Not(because) => not_tried(because),
    }
}

fn leaks(seen: &Seen) -> Judged {
    let holders = match &seen.holders {
        Tried::Seen(holders) => holders,
        Tried::Not(because) => return not_tried(because),
    };
    if holders.is_empty() {
        return not_tried("/proc does not tell");
    }
    // Who has started what holds it has passed it on, as a shell has to: who has it last is asked.
    let is_last = |holder: &&Holder, of: fn(&Holder) -> &[i32]| {
        !of(holder).is_empty() && !holders.iter().any(|child| child.parent == holder.pid)
    };
    let mut found = Vec::new();
    for holder in holders {
        let mut what = Vec::new();
        if is_last(&holder, |holder| &holder.notice) {
            what.push(format!("the notice fd ({})", numbers(&holder.notice)));
        }
        if is_last(&holder, |holder| &holder.listeners) {
            what.push(format!("the listener ({})", numbers(&holder.listeners)));
        }
        if !what.is_empty() {
            found.push(format!("{} (pid {}) has {}", holder.name, holder.pid, what.join(" and ")));
        }
    }
    if found.is_empty() {
        return ok("notice fd and listeners are close-on-exec");
    }
    let text = format!("not close-on-exec: {}", found.join("; "));
    advice(
        text,
        "set FD_CLOEXEC on them: a child that lives on keeps the port taken, and one in Node may abort",
    )
}

fn numbers(numbers: &[i32]) -> String {
    numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
}

fn words(seen: &Seen) -> Judged {
    let words = &seen.words;
    let mut found = Vec::new();
    if words.unknown > 0 {
        let first = words.first.as_ref().map_or(String::new(), |first| format!(", as {first:?}"));
        found.push(format!("{} not known{first}", lines(words.unknown)));
    }
    if words.overlong > 0 {
        found.push(format!("{} of more than 4096 bytes", lines(words.overlong)));
    }
    if words.unfit > 0 {
        found.push(format!("datagrams that are too long, or have a zero byte inside: {}", words.unfit));
    }
    if found.is_empty() {
        return ok("nothing but what is known");
    }
    advice(found.join(", "), "they are ignored; write one of the words of W8 to W12, and a newline")
}

fn lines(count: u64) -> String {
    if count == 1 { "1 line".to_string() } else { format!("{count} lines") }
}

/// In percent of one processor, got or waited for. Above, a worker with nothing to do asks again and again.
pub(super) const BUSY: u32 = 50;

fn nonblocking(seen: &Seen) -> Judged {
    let (serving, behind) = (nonblocking_while_serving(seen), nonblocking_from_the_start(seen));
    // The worse one is told.
    if behind.verdict > serving.verdict { behind } else { serving }
}

const TAKE_EAGAIN: &str = "wait with poll before you accept, and take EAGAIN from accept as \"try again\": the flag is the \
                           socket's, and another worker may set it at any time";

fn nonblocking_while_serving(seen: &Seen) -> Judged {
    let Flagged { by_itself, answers, taken, load, ended } = match &seen.flagged {
        Tried::Seen(flagged) => flagged,
        Tried::Not(because) => return not_tried(because),
    };
    let set = if *by_itself { "it has set O_NONBLOCK itself" } else { "with O_NONBLOCK set while it served" };
    if let Some(how) = ended {
        return fail(format!("{set}: ended {}", ending(*how)), TAKE_EAGAIN);
    }
    let is_served =
        |answer: &&Answer| if seen.http().is_some() { answer.is_whole() } else { answer.is_accepted() };
    if let Some(answer) = answers.iter().find(|answer| !is_served(answer)) {
        return fail(format!("{set}: {}", answered(answer, &seen.path)), TAKE_EAGAIN);
    }
    if *load > BUSY {
        let text = format!("{set}: with nothing to do it wants {load}% of a processor");
        return advice(text, "wait with poll before you accept: accept does not wait any more");
    }
    ok(format!("{set}: serves on; also after others took {taken} connections"))
}

fn nonblocking_from_the_start(seen: &Seen) -> Judged {
    let behind = match &seen.behind {
        Tried::Seen(behind) => behind,
        Tried::Not(because) => return not_tried(because),
    };
    const SET: &str = "started with O_NONBLOCK set";
    if let Begun::Ended { after, how } = &behind.begun {
        return fail(format!("{SET}: ended {} after {}", ending(*how), time(*after)), TAKE_EAGAIN);
    }
    let Some(answer) = &behind.answer else { return fail(format!("{SET}: not online"), TAKE_EAGAIN) };
    let is_served = if seen.http().is_some() { answer.is_whole() } else { answer.is_accepted() };
    if !is_served {
        return fail(format!("{SET}: {}", answered(answer, &seen.path)), TAKE_EAGAIN);
    }
    if behind.cleared {
        let text = format!("{SET}: it has cleared it");
        return advice(text, "leave the flag as it is: workers beside you, of another program, may need it");
    }
    ok(format!("{SET}: serves"))
}

fn listener(seen: &Seen) -> Judged {
    if !seen.begun.is_online() {
        return not_tried("it was not online");
    }
    if seen.knocks.is_empty() {
        return not_tried("there is no listener");
    }
    let Some((address, purpose)) = seen.shut.first() else { return ok("none was shut down") };
    let when = match purpose {
        Purpose::Serving | Purpose::InFlight | Purpose::Idle => "by its end",
        Purpose::Flagged | Purpose::Orphaned => "while it served, or at its end",
    };
    let text = format!("{address} was shut down for all workers {when}");
    fail(
        text,
        "call close on it, never shutdown: that stops the socket for every worker, and resets what waits in it",
    )
}

fn ending(how: Ended) -> String {
    match how {
        Ended::Exited(status) => format!("with status {status}"),
        Ended::Signaled(number) => {
            format!("by {}", signal_name(number).map_or_else(|| format!("signal {number}"), str::to_string))
        }
    }
}

/// As in 3ms, 250ms, 1.2s, 30s.
pub(super) fn time(duration: Duration) -> String {
    let millis = duration.as_millis();
    match (millis / 1000, millis % 1000 / 100) {
        (0, _) if millis == 0 => "less than 1ms".to_string(),
        (0, _) => format!("{millis}ms"),
        (seconds, 0) => format!("{seconds}s"),
        (seconds, tenths) => format!("{seconds}.{tenths}s"),
    }
}
