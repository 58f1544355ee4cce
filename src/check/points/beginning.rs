//! How it begins: says that it is online, and takes connections.

use std::time::Duration;

use crate::core::Ready;

use super::super::seen::{Answer, Begun, Purpose, Seen, Tried, Voice};
use super::{Judged, advice, answered, crashed, ending, fail, not_tried, ok, time};

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

pub(super) fn accepts(seen: &Seen) -> Judged {
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

/// A wait that a client would notice.
const LATE: Duration = Duration::from_secs(2);

pub(super) fn second_connection(seen: &Seen) -> Judged {
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
