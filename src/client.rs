//! The commands that talk to a running srvwrap.
//!
//! ```text
//!   Call ──> run() ─┬─ reading.rs   status, history, events      one question
//!                   ├─ logs.rs      logs                         where they are; the rest is in files
//!                   └─ follow.rs    deploy, scale, stop …         an order, and what happens until its answer
//!   report ──> follow_report() ─────┘                             a start
//! ```
//!
//! The exit code tells the truth: 0 done, 1 failed or refused, 3 not running, 4 timed out, 5 aborted or left; the
//! codes of answers are srvwrap's. An order that was carried out is a success also where its lines could not be
//! written. What was asked for goes to stdout, and what went wrong to stderr, in one line.
//!
//! What it does not do: decide anything about workers, or know how the control API is written (`wire/control.rs`).

mod block;
mod cells;
mod connection;
mod display;
mod follow;
mod logs;
pub(crate) mod output;
mod page;
mod reading;
mod tables;
mod view;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::config::{Act, Call, Display};
use crate::sys::control::{ConnectError, connect};
use crate::sys::signal_state::set_ignored;
use crate::sys::signals::Signals;
use crate::sys::startup::Startup;
use crate::wire::control::message::{Answer, Order, Outcome};

pub(crate) use cells::clean;
use connection::Trouble;
use display::Aim;
use follow::{End, Follow};
use output::{Output, complain};
use view::View;

/// The user left before the answer, or ended what was under way.
const ABORTED: u8 = 5;
const FAILED: u8 = 1;

/// Does what was typed, and returns the exit code.
pub(crate) fn run(call: Call, startup: &Startup) -> u8 {
    let Call { socket, display, act } = call;
    let mut output = Output::default();
    let ended = match act {
        Act::Order(order) => return give(&socket, display, order, startup),
        Act::Status { watch: None } => {
            startup.restore_mask();
            reading::status(&socket, display, &mut output)
        }
        Act::History => {
            startup.restore_mask();
            reading::history(&socket, display, &mut output)
        }
        Act::Status { watch: Some(every) } => match signals(startup) {
            Some(signals) => reading::watch(&socket, display, every, startup, &signals, &mut output),
            None => return FAILED,
        },
        Act::Logs(wanted) if wanted.follow => match signals(startup) {
            Some(signals) => logs::follow(&socket, &wanted, startup, &signals, &mut output),
            None => return FAILED,
        },
        Act::Logs(wanted) => {
            startup.restore_mask();
            logs::logs(&socket, &wanted, &mut output)
        }
        Act::Events => match signals(startup) {
            Some(signals) => reading::events(&socket, display, startup, &signals, &mut output),
            None => return FAILED,
        },
    };
    output.exit_code(ended.unwrap_or_else(|trouble| troubled(&trouble)))
}

/// Shows what a start reports (events, then an answer, a line each) until its end; returns the exit code. Ctrl-C
/// aborts the start by the control socket. `log` is where to look when it ends without a word.
pub(crate) fn follow_report(
    report: OwnedFd,
    display: Display,
    socket: &Path,
    log: &Path,
    startup: &Startup,
) -> u8 {
    let Some(signals) = signals(startup) else { return FAILED };
    let mut view = View::new(display, Some(Aim::Start));
    let mut follow = Follow::report(socket, startup, signals, report);
    let end = follow.wait(&mut view);
    let code = finish(end, &mut view, &follow, "the start", log);
    view.output.tell_loss();
    code
}

fn signals(startup: &Startup) -> Option<Signals> {
    let signals = Signals::install(startup)
        .map_err(|error| complain(&format_args!("cannot handle signals: {error}")))
        .ok()?;
    // As any program in the background of a terminal: with a handler a write to it would be tried for ever.
    for signal in [libc::SIGTTIN, libc::SIGTTOU] {
        set_ignored(signal, startup.ignores(signal));
    }
    Some(signals)
}

fn troubled(trouble: &Trouble) -> u8 {
    complain(trouble);
    trouble.exit_code()
}

fn give(socket: &Path, display: Display, order: Order, startup: &Startup) -> u8 {
    let Some(signals) = signals(startup) else { return FAILED };
    let (aim, what) = aim(&order);
    let mut view = View::new(display, aim);
    let mut follow = match Follow::order(socket, startup, signals, order, &view, aim.is_some()) {
        Ok(follow) => follow,
        Err(trouble) if aim == Some(Aim::Stop) && is_gone(&trouble, socket) => return not_running(&mut view),
        Err(trouble) => return troubled(&trouble),
    };
    // Asked for while it is there.
    let process = if aim == Some(Aim::Stop) { follow.process() } else { None };
    let end = follow.wait(&mut view);
    if matches!(&end, End::Troubled(trouble) if aim == Some(Aim::Stop) && is_gone(trouble, socket)) {
        return not_running(&mut view);
    }
    let is_stopped =
        aim == Some(Aim::Stop) && matches!(&end, End::Answered(answer, _) if answer.outcome == Outcome::Done);
    let process = process.as_ref().map(AsFd::as_fd);
    let is_left = is_stopped && !wait_until_gone(&mut follow, process, socket);
    let code = finish(end, &mut view, &follow, what, socket);
    view.output.tell_loss();
    if is_left { still_there(&follow) } else { code }
}

/// What there is to show while an order is carried out, and what it is called.
fn aim(order: &Order) -> (Option<Aim>, &'static str) {
    match order {
        Order::Deploy(_) => (Some(Aim::Deploy), "the deploy"),
        Order::Rollback(_) => (Some(Aim::Deploy), "the rollback"),
        Order::Scale(_) => (Some(Aim::Scale), "the scaling"),
        Order::Stop(_) => (Some(Aim::Stop), "the stop"),
        Order::Abort => (None, "the abort"),
        Order::Signal(_) => (None, "the signal"),
        Order::Reopen => (None, "the reopening"),
    }
}

fn finish(end: End, view: &mut View, follow: &Follow<'_>, what: &str, log: &Path) -> u8 {
    match end {
        End::Answered(answer, line) => {
            view.answer(&answer, &line);
            let too_late = follow.was_aborted() && answer.exit_code == 0;
            if too_late {
                complain(&format_args!("it was too late to abort {what}"));
            }
            if too_late { ABORTED } else { answer.exit_code }
        }
        End::Troubled(trouble) => {
            view.erase();
            troubled(&trouble)
        }
        End::WithoutAWord => {
            view.erase();
            complain(&format_args!("srvwrap ended without a word; see {}", log.display()));
            FAILED
        }
        End::Left => {
            view.erase();
            complain(&format_args!("not waiting any longer; {what} goes on, and srvwrap status tells how"));
            ABORTED
        }
    }
}

/// Whether what a stop wants is so already: it ended before it was asked, or before it could answer. One that is just
/// ending may still be reached for a moment.
fn is_gone(trouble: &Trouble, socket: &Path) -> bool {
    match trouble {
        Trouble::NotRunning(_) => true,
        Trouble::Vanished => {
            let until = follow::now() + LAST_MOMENT;
            while is_reached(socket) && follow::now() < until {
                follow::wait_for_any(&mut [], Some(BETWEEN_LOOKS));
            }
            !is_reached(socket)
        }
        Trouble::Unreachable { .. } | Trouble::Refused(_) => false,
        Trouble::Silent | Trouble::Lost(_) | Trouble::Garbled(_) => false,
    }
}

fn is_reached(socket: &Path) -> bool {
    !matches!(connect(socket), Err(ConnectError::NotRunning))
}

fn not_running(view: &mut View) -> u8 {
    let message = "not running".to_owned();
    view.answer_of_nobody(&Answer {
        outcome: Outcome::Done,
        exit_code: 0,
        message,
        generation: None,
        stderr: Vec::new(),
    });
    view.output.tell_loss();
    0
}

/// srvwrap answers as soon as no worker is left, and ends then. Its last words may take it a moment.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// The same, where it did not answer.
const LAST_MOMENT: Duration = Duration::from_secs(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

fn wait_until_gone(follow: &mut Follow<'_>, process: Option<BorrowedFd<'_>>, socket: &Path) -> bool {
    if process.is_some() {
        return follow.wait_for(process, LAST_WORDS);
    }
    let until = follow::now() + LAST_WORDS;
    while is_reached(socket) {
        if follow.interrupted || follow::now() > until {
            return false;
        }
        follow.wait_for(None, BETWEEN_LOOKS);
    }
    true
}

fn still_there(follow: &Follow<'_>) -> u8 {
    if follow.interrupted {
        complain(&"not waiting for the end of srvwrap itself");
        return ABORTED;
    }
    complain(&"its workers are stopped, but srvwrap itself has not ended yet");
    FAILED
}
