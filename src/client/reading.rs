//! The commands that only read: `status`, `history` and `events`.
//!
//! What this file does not do: lay out what was answered (`tables.rs`).

use std::io::stdout;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::Display;
use crate::sys::signals::Signals;
use crate::sys::startup::Startup;
use crate::wire::control::json;
use crate::wire::control::message::{Event, History, Question};
use crate::wire::control::status::Status;

use super::cells::clean;
use super::connection::{Trouble, ask};
use super::follow::{Wish, now, readable, subscribe, wait_for_any, wish, without_reader};
use super::output::Output;
use super::tables;
use super::view::{can_be_drawn_on, screen_of_stdout};

/// How things are, once.
pub(super) fn status(socket: &Path, display: Display, output: &mut Output) -> Result<u8, Trouble> {
    let (body, status) = how_things_are(socket)?;
    if display == Display::Json {
        output.bytes(&[body.trim_ascii_end(), b"\n"].concat());
    } else {
        // On a terminal a row of a table ends where that does; a sentence is broken by it.
        let columns = if can_be_drawn_on() { screen_of_stdout().columns } else { usize::MAX };
        output.bytes(all(&tables::status(&status).lines(columns)).as_bytes());
    }
    Ok(tables::exit_code(&status))
}

fn how_things_are(socket: &Path) -> Result<(Vec<u8>, Status), Trouble> {
    let mut answer = ask(socket, &Question::Status);
    // Who has ended in the middle is not running, which the next question shows: a listener may outlive its loop once.
    for _ in 0..2 {
        if answer == Err(Trouble::Vanished) {
            answer = ask(socket, &Question::Status);
        }
    }
    let body = answer?;
    let status = json::read(&body).map_err(Trouble::Garbled)?;
    Ok((body, status))
}

fn all(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// How things are, again and again: until an interrupt (0), or until nobody answers.
pub(super) fn watch(
    socket: &Path,
    display: Display,
    every: Duration,
    startup: &Startup,
    signals: &Signals,
    output: &mut Output,
) -> Result<u8, Trouble> {
    let drawn = can_be_drawn_on() && display != Display::Json;
    let (mut is_drawn, mut next) = (false, now());
    let ended = loop {
        let looked = if drawn { redraw(socket, output) } else { status(socket, display, output).map(|_| ()) };
        if let Err(trouble) = looked {
            break Err(trouble);
        }
        is_drawn = drawn;
        next = (next + every).max(now());
        if output.is_lost() || !goes_on(next, drawn, startup, signals) {
            break Ok(0);
        }
    };
    if is_drawn {
        // The cursor rests on its last line.
        output.bytes(b"\r\n");
    }
    ended
}

/// Waits for the next look; false where none is wanted.
fn goes_on(next: Instant, drawn: bool, startup: &Startup, signals: &Signals) -> bool {
    loop {
        let left = next.saturating_duration_since(now());
        let woken = wait_for_any(&mut [readable(signals.fd())], Some(left))[0];
        if woken && wish(signals, startup) != Wish::None {
            return false;
        }
        // A woken one without a wish: the window has another size.
        if woken && drawn || left.is_zero() {
            return true;
        }
    }
}

/// The whole screen, drawn over what is there.
fn redraw(socket: &Path, output: &mut Output) -> Result<(), Trouble> {
    let (_, status) = how_things_are(socket)?;
    let lines = tables::status(&status).fitted(screen_of_stdout());
    output.bytes(format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n")).as_bytes());
    Ok(())
}

pub(super) fn history(socket: &Path, display: Display, output: &mut Output) -> Result<u8, Trouble> {
    let body = ask(socket, &Question::History)?;
    if display == Display::Json {
        output.bytes(&[body.trim_ascii_end(), b"\n"].concat());
        return Ok(0);
    }
    let history: History = json::read(&body).map_err(Trouble::Garbled)?;
    output.bytes(all(&tables::history(&history.deploys)).as_bytes());
    Ok(0)
}

/// Every event from now on: until an interrupt, the end of srvwrap, or of who reads (0 each).
pub(super) fn events(
    socket: &Path,
    display: Display,
    startup: &Startup,
    signals: &Signals,
    output: &mut Output,
) -> Result<u8, Trouble> {
    let mut events = subscribe(socket)?;
    if events.reply.status() != Some(200) {
        // Why, is in its body.
        return ask(socket, &Question::Events).map(|_| 0);
    }
    loop {
        while let Some(line) = events.reply.next_line() {
            output.bytes(&told(&line, display));
        }
        if events.reply.is_complete() || output.is_lost() {
            return Ok(0);
        }
        let stdout = stdout();
        let mut watched = [readable(signals.fd()), readable(events.as_fd()), without_reader(stdout.as_fd())];
        let ready = wait_for_any(&mut watched, None);
        if ready[2] || ready[0] && wish(signals, startup) != Wish::None {
            return Ok(0);
        }
        if ready[1] && events.receive().is_err() {
            return cut_off(socket);
        }
    }
}

/// The end of srvwrap is the end of the events, however sudden. But one that goes on has cut off who read too slowly.
fn cut_off(socket: &Path) -> Result<u8, Trouble> {
    match ask(socket, &Question::Livez) {
        Ok(_) => {
            let why = "the events were cut off, because they were not read fast enough";
            Err(Trouble::Lost(why.to_owned()))
        }
        Err(_) => Ok(0),
    }
}

fn told(line: &[u8], display: Display) -> Vec<u8> {
    if display == Display::Json {
        return [line, b"\n"].concat();
    }
    match Event::read(line) {
        Ok(event) => format!("{} {}\n", clean(&event.time), clean(&event.message)).into_bytes(),
        Err(_) => format!("{}\n", clean(&String::from_utf8_lossy(line))).into_bytes(),
    }
}
