//! How it ends: when it is told to, whatever it has in its hands, and when srvwrap is gone.

use super::super::seen::{Answer, ByItself, End, Ended, InFlight, Purpose, Seen, Tried};
use super::beginning::why_it_ended;
use super::{Judged, advice, ending, fail, not_tried, ok, time};

pub(super) fn shutdown(seen: &Seen) -> Judged {
    if let Some(by_itself) = seen.by_itself.filter(|end| !end.said_offline) {
        let text = format!("{}, though nobody had told it to", unasked(by_itself));
        return fail(text, &why_it_ended(seen, by_itself.purpose));
    }
    let end = match (&seen.end, seen.by_itself) {
        (Tried::Seen(end), _) => end,
        (Tried::Not(_), Some(by_itself)) => {
            return not_tried(&format!("{}, and had said offline before", unasked(by_itself)));
        }
        (Tried::Not(because), None) => return not_tried(because),
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

fn unasked(ByItself { purpose, how, after, was_online, .. }: ByItself) -> String {
    let (how, after) = (ending(how), time(after));
    let since = if was_online { "online" } else { "started" };
    let again = if purpose == Purpose::Serving { "" } else { " again" };
    format!("ended {how}, {after} after it was {since}{again}")
}

const FINISH: &str = "on the line \"shutdown\", or on the signal, close the listeners, finish what was accepted, and exit; \
                      --stop-signal sends another signal than TERM";
const END_CHILDREN: &str = "its first process ends and others of its group do not: let it wait for them, or start the \
                            server by exec";

pub(super) fn status(seen: &Seen) -> Judged {
    match &seen.end {
        Tried::Seen(End { how: Some(Ended::Exited(0)), .. }) => ok("0"),
        Tried::Seen(End { how: Some(how), .. }) => advice(
            ending(*how),
            "handle the signal, and exit with 0 where all went well: anything else looks like a fault. A shell script \
             should execute the server in its last line",
        ),
        Tried::Seen(End { how: None, .. }) => not_tried("it was killed"),
        Tried::Not(because) => not_tried(because),
    }
}

pub(super) fn in_flight(seen: &Seen) -> Judged {
    let tried = match &seen.in_flight {
        Tried::Seen(tried) => tried,
        Tried::Not(because) => return not_tried(because),
    };
    let InFlight::Asked { before, early, answer } = tried else {
        let (taken, limit) = (time(seen.answer_time()), time(seen.stop_timeout));
        return fail(
            format!("GET {} takes {taken}, and is cut after --stop-timeout {limit}", seen.path),
            "give a --stop-timeout that is longer than the longest answer, here and to srvwrap run",
        );
    };
    let when = before.map_or("just".to_string(), time);
    let text = format!("a request that had come {when} before the shutdown: {}", brief(answer));
    if !answer.is_whole() {
        return fail(
            text,
            "finish what was accepted before you exit: on the signal, stop accepting, and wait for answers",
        );
    }
    ok(if *early { format!("{text} before that; a slower --path shows more") } else { text })
}

fn brief(answer: &Answer) -> String {
    match answer {
        Answer::Whole { status, closes: true, .. } => format!("answered {status}"),
        Answer::Whole { status, closes: false, .. } => {
            format!("answered {status}, without Connection: close")
        }
        Answer::Half => "its answer has no end".to_string(),
        Answer::NotHttp => "its answer is not HTTP".to_string(),
        Answer::Cut => "its connection was closed without a whole answer".to_string(),
        Answer::Silent | Answer::Waiting | Answer::Refused(_) => "no answer".to_string(),
    }
}

pub(super) fn idle(seen: &Seen) -> Judged {
    let end = match &seen.idle {
        Tried::Seen(idle) => &idle.end,
        Tried::Not(because) => return not_tried(because),
    };
    if end.killed.is_empty() {
        return ok(format!(
            "ended {} after {}, with idle connections open",
            end.how.map_or(String::new(), ending),
            time(end.after)
        ));
    }
    let text = format!("with idle connections open still there after {}, and killed", time(end.after));
    fail(
        text,
        "half a second after the shutdown close connections that are idle, and those that have never asked: their \
         clients may never do so",
    )
}

pub(super) fn drain(seen: &Seen) -> Judged {
    let idle = match &seen.idle {
        Tried::Seen(idle) => idle,
        Tried::Not(because) => return not_tried(because),
    };
    const CHANGE: &str = "for half a second after the shutdown go on answering, each answer with Connection: close, and \
                          only then close idle connections: a request that a client had sent by then is lost otherwise";
    if let Some((after, answer)) = idle.drained.iter().find(|(_, answer)| !answer.is_last()) {
        let when = time(*after);
        let answer = brief(answer);
        return advice(
            format!("a request on a kept-alive connection, {when} after the shutdown: {answer}"),
            CHANGE,
        );
    }
    let times: Vec<String> = idle.drained.iter().map(|(after, _)| time(*after)).collect();
    ok(format!("requests {} after the shutdown answered, with Connection: close", times.join(" and ")))
}

pub(super) fn eof(seen: &Seen) -> Judged {
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
