//! How it begins: says that it is online, and takes connections.

use std::time::Duration;

use crate::core::Ready;

use super::super::seen::{Answer, Begun, NO_LISTENER, NOT_ONLINE, Purpose, Seen, Tried, Voice};
use super::{Judged, advice, answered, ending, fail, not_tried, ok, time};

const SAY_ONLINE: &str = "write \"online\" and a newline to the descriptor in NOTIFY_FD once you accept connections, and \
                          flush; or run it with --ready exec or --ready after=DURATION, if it cannot";

pub(super) fn online(seen: &Seen) -> Judged {
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
            let text = format!("ended {} after {}, before it was online", ending(*how), time(*after));
            fail(text, &why_it_ended(seen, Purpose::Serving))
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

/// What is most often the reason why a life ended by itself.
pub(super) fn why_it_ended(seen: &Seen, purpose: Purpose) -> String {
    let change = match (seen.written[purpose as usize].address_in_use, seen.has_listeners) {
        (true, false) => {
            "the address that it binds is taken; give it to srvwrap with -p, and listen on the descriptor in LISTEN_FD"
        }
        (true, true) => {
            "it binds an address by itself, which srvwrap holds already: listen on the descriptor in LISTEN_FD"
        }
        (false, _) => "see what it wrote; a worker stays until it is told to finish, and in the foreground",
    };
    runner_or(seen, change)
}

pub(super) fn accepts(seen: &Seen) -> Judged {
    if !seen.begun.is_online() {
        return not_tried(NOT_ONLINE);
    }
    if seen.knocks.is_empty() {
        return not_tried(NO_LISTENER);
    }
    let ports: Vec<String> = seen.own_ports.iter().map(u16::to_string).collect();
    if let Some(knock) = seen.knocks.iter().find(|knock| !knock.answer.is_accepted()) {
        let own = if ports.is_empty() {
            String::new()
        } else {
            format!("; it listens on port {} of its own", ports.join(", "))
        };
        let text = format!("{}: {}{own}", knock.address, answered(&knock.answer, &seen.path));
        return fail(text, &runner_or(seen, ACCEPT));
    }
    let each = seen.knocks.iter().map(|knock| {
        let address = if seen.knocks.len() > 1 { format!("{}: ", knock.address) } else { String::new() };
        format!("{address}{}", answered(&knock.answer, &seen.path))
    });
    let text = each.collect::<Vec<_>>().join("; ");
    if seen.first_answer().is_some_and(Answer::is_late) {
        return advice(text, "give a --path that is answered sooner: what needs an answer was not tried");
    }
    ok(text)
}

const ACCEPT: &str = "accept on the descriptor in LISTEN_FD, or LISTEN_FD_0, LISTEN_FD_1, … for several";

/// A wait that a client would notice, beside the time that an answer takes.
const LATE: Duration = Duration::from_secs(2);

pub(super) fn second_connection(seen: &Seen) -> Judged {
    let second = match &seen.second {
        Tried::Seen(second) => second,
        Tried::Not(because) => return not_tried(because),
    };
    let first =
        if second.first_was_answered { "an idle one is open" } else { "one that sends nothing is open" };
    let text = format!("{}, while {first}", answered(&second.answer, &seen.path));
    let is_late = matches!(second.answer, Answer::Whole { after, .. } if after > LATE + seen.answer_time());
    match (seen.is_served(&second.answer), second.first_was_answered) {
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
