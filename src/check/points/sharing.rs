//! What it does to others: its children, whoever reads what it says, and the workers beside it.

use super::super::seen::{Begun, Flagged, Holder, NO_LISTENER, NOT_ONLINE, Purpose, Seen, Tried};
use super::{Judged, advice, answered, ending, fail, not_tried, ok, time};

pub(super) fn leaks(seen: &Seen) -> Judged {
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

pub(super) fn words(seen: &Seen) -> Judged {
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
const BUSY: u32 = 50;

/// Whether that is due to the flag.
pub(in super::super) fn is_busy(usual_load: u32, load: u32) -> bool {
    load > usual_load.saturating_add(BUSY)
}

pub(super) fn nonblocking(seen: &Seen) -> Judged {
    let (serving, behind) = (nonblocking_while_serving(seen), nonblocking_from_the_start(seen));
    // The worse one is told.
    if behind.verdict > serving.verdict { behind } else { serving }
}

const TAKE_EAGAIN: &str = "wait with poll before you accept, and take EAGAIN from accept as \"try again\": the flag is the \
                           socket's, and another worker may set it at any time";

pub(super) fn nonblocking_while_serving(seen: &Seen) -> Judged {
    let Flagged { by_itself, answers, taken, usual_load, load, ended } = match &seen.flagged {
        Tried::Seen(flagged) => flagged,
        Tried::Not(because) => return not_tried(because),
    };
    let set = if *by_itself { "it has set O_NONBLOCK itself" } else { "with O_NONBLOCK set while it served" };
    if let Some(how) = ended {
        return fail(format!("{set}: ended {}", ending(*how)), TAKE_EAGAIN);
    }
    if let Some(answer) = answers.iter().find(|answer| !seen.is_served(answer)) {
        return fail(format!("{set}: {}", answered(answer, &seen.path)), TAKE_EAGAIN);
    }
    if is_busy(*usual_load, *load) {
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
    if !seen.is_served(answer) {
        return fail(format!("{SET}: {}", answered(answer, &seen.path)), TAKE_EAGAIN);
    }
    if behind.cleared {
        let text = format!("{SET}: it has cleared it");
        return advice(text, "leave the flag as it is: workers beside you, of another program, may need it");
    }
    ok(format!("{SET}: serves"))
}

pub(super) fn listener(seen: &Seen) -> Judged {
    if !seen.begun.is_online() {
        return not_tried(NOT_ONLINE);
    }
    if seen.knocks.is_empty() {
        return not_tried(NO_LISTENER);
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
