//! `srvwrap logs`: the last lines of the log files, and those that follow.
//!
//! ```text
//!   GET /status ──> where they are ──> files, of some slots ──> last lines ── with -f ──> what is written from now on
//!                                                                                ^             │ five times a second
//!   GET /events ──> more slots, the end of srvwrap ──────────────────────────────┴─────────────┘
//! ```
//!
//! Lines are shown byte for byte, as tail shows them. Those of several files stand behind a line that names the file,
//! as tail has it too; but for JSON, where each line names its stream itself.
//!
//! It ends with srvwrap, once the rest was shown. Where none runs, files in the caller's directory may tell why.
//!
//! What this file does not do: know a file from its archives (`logs/followed.rs`) or lines from one another
//! (`logs/lines.rs`).

mod followed;
mod lines;

use std::io::stdout;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{LinesWanted, LogStream};
use crate::logs::LogPath;
use crate::sys::signals::Signals;
use crate::sys::startup::Startup;
use crate::wire::control::json;
use crate::wire::control::message::{Event, Question};
use crate::wire::control::status::{Logs, Status};
use crate::wire::control::text::Text;

use super::FAILED;
use super::cells::clean;
use super::connection::{Connection, Trouble, ask};
use super::follow::{Wish, now, readable, subscribe, wait_for_any, wish, without_reader};
use super::output::{Output, complain};
use followed::Followed;
use lines::Of;

/// How often files are looked at that are followed.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// The log writer outlives srvwrap for as long as it has something to write: so long nothing more must have come.
const QUIET: Duration = Duration::from_millis(400);
/// And that for so long at most.
const LAST_LINES: Duration = Duration::from_secs(10);

/// Shows the last lines.
pub(super) fn logs(socket: &Path, wanted: &LinesWanted, output: &mut Output) -> Result<u8, Trouble> {
    let (found, _) = Found::look(socket, wanted)?;
    Ok(Shown::new(wanted, &found).map_or(FAILED, |mut shown| shown.begin(&found, wanted, output)))
}

/// Shows the last lines, and goes on until an interrupt, the end of srvwrap, or of who reads (0 each).
pub(super) fn follow(
    socket: &Path,
    wanted: &LinesWanted,
    startup: &Startup,
    signals: &Signals,
    output: &mut Output,
) -> Result<u8, Trouble> {
    let (found, is_running) = Found::look(socket, wanted)?;
    let Some(mut shown) = Shown::new(wanted, &found) else { return Ok(FAILED) };
    // Asked for first: an end is not missed.
    let mut events = if is_running { listen(socket) } else { None };
    let code = shown.begin(&found, wanted, output);
    while let Some(connection) = &mut events {
        let stdout = stdout();
        let mut watched =
            [readable(signals.fd()), readable(connection.as_fd()), without_reader(stdout.as_fd())];
        let ready = wait_for_any(&mut watched, Some(BETWEEN_LOOKS));
        if ready[2] || output.is_lost() || ready[0] && wish(signals, startup) != Wish::None {
            return Ok(code);
        }
        if ready[1] && !hear(connection, &mut shown) {
            // Who is slow to read is cut off, and listens again where there is somebody.
            events = if connection.reply.is_complete() { None } else { listen(socket) };
        }
        shown.go_on(output);
    }
    let (mut quiet_since, until) = (now(), now() + LAST_LINES);
    while is_running && now() < until && now() < quiet_since + QUIET && !output.is_lost() {
        if wait_for_any(&mut [readable(signals.fd())], Some(BETWEEN_LOOKS))[0]
            && wish(signals, startup) != Wish::None
        {
            break;
        }
        if shown.go_on(output) {
            quiet_since = now();
        }
    }
    Ok(code)
}

fn listen(socket: &Path) -> Option<Connection> {
    subscribe(socket).ok().filter(|events| events.reply.status() == Some(200))
}

/// False where there is no more to hear.
fn hear(events: &mut Connection, shown: &mut Shown) -> bool {
    let heard = events.receive();
    while let Some(line) = events.reply.next_line() {
        if let Ok(event) = Event::read(&line) {
            shown.has_slots(event.counts.workers);
        }
    }
    heard.is_ok() && !events.reply.is_complete()
}

/// Where logs are.
struct Found {
    logs: Logs,
    /// So many slots there are; none where nobody knows.
    slots: u32,
}

impl Found {
    /// And whether srvwrap runs.
    fn look(socket: &Path, wanted: &LinesWanted) -> Result<(Found, bool), Trouble> {
        match ask(socket, &Question::Status) {
            Ok(body) => {
                let status: Status = json::read(&body).map_err(Trouble::Garbled)?;
                let of_workers = status.workers.iter().map(|worker| worker.slot + 1);
                let slots = of_workers.max().unwrap_or(0).max(status.workers_wanted);
                Ok((Found { logs: status.logs, slots }, true))
            }
            Err(Trouble::NotRunning(socket)) => {
                let found = Found::left_in(&wanted.directory).ok_or(Trouble::NotRunning(socket))?;
                complain(&format_args!("not running; this is left of one in {}", wanted.directory.display()));
                Ok((found, false))
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// What `start` makes where it is told nothing else.
    fn left_in(directory: &Path) -> Option<Found> {
        let [stdout, stderr, notices] =
            ["stdout.log", "stderr.log", "srvwrap.log"].map(|name| directory.join(name));
        let text = |path: &Path| Text::from(path.as_os_str());
        let logs = Logs {
            stdout: text(&stdout),
            stderr: text(&stderr),
            notices: text(&notices),
            format: "plain".to_string(),
            files: Vec::new(),
        };
        [stdout, stderr, notices].iter().any(|path| path.exists()).then_some(Found { logs, slots: 0 })
    }

    /// A slot that is wanted now, and is not there. It may have been, and have left lines.
    fn absent(&self, wanted: &LinesWanted) -> Option<u32> {
        wanted.slot.filter(|slot| !wanted.follow && 0 < self.slots && self.slots <= *slot)
    }

    fn say_absent(&self, slot: u32) {
        match self.slots {
            1 => complain(&format_args!("--slot {slot}: no such slot; there is slot 0 alone")),
            slots => complain(&format_args!("--slot {slot}: no such slot; there are 0 to {}", slots - 1)),
        }
    }

    /// The files of the streams that are wanted, each with the first stream that goes there; and of the others where
    /// they go.
    fn files(&self, wanted: &LinesWanted) -> (Vec<(LogPath, &'static str)>, Vec<String>) {
        let streams = [
            (LogStream::Stdout, "stdout", "stdout", &self.logs.stdout),
            (LogStream::Stderr, "stderr", "stderr", &self.logs.stderr),
            (LogStream::Notices, "notices", "stderr", &self.logs.notices),
        ];
        let (mut files, mut elsewhere) = (Vec::<(LogPath, &str)>::new(), Vec::new());
        for (stream, name, own, place) in streams {
            let is_wanted = match wanted.stream {
                Some(only) => stream == only,
                None => wanted.slot.is_none() || stream != LogStream::Notices,
            };
            let (goes, is) = if stream == LogStream::Notices { ("go", "are") } else { ("goes", "is") };
            let goes_to = |own: &str| format!("{name} {goes} to srvwrap's own {own}");
            match LogPath::of_file(&place.0) {
                _ if !is_wanted => {}
                Some(path) if !files.iter().any(|(known, _)| *known == path) => files.push((path, name)),
                Some(_) => {}
                None if place.0 == "/dev/null" => elsewhere.push(format!("{name} {is} not kept")),
                None if place.0 == "/dev/stdout" => elsewhere.push(goes_to("stdout")),
                None if place.0 == "/dev/stderr" => elsewhere.push(goes_to("stderr")),
                None => elsewhere.push(goes_to(own)),
            }
        }
        (files, elsewhere)
    }
}

/// What is shown.
struct Shown {
    patterns: Vec<LogPath>,
    slot: Option<u32>,
    slots: u32,
    /// How many last lines of each file.
    lines: usize,
    of: Of,
    files: Vec<Followed>,
    printer: Printer,
}

impl Shown {
    /// None where there is nothing to show; why, was said.
    fn new(wanted: &LinesWanted, found: &Found) -> Option<Shown> {
        let (files, elsewhere) = found.files(wanted);
        if !elsewhere.is_empty() {
            let remedy = if files.is_empty() { "; look where it was started" } else { "" };
            complain(&format_args!("{}{remedy}", elsewhere.join(", ")));
        }
        let is_apart = files.iter().all(|(path, _)| path.is_per_slot());
        let of = match wanted.slot.filter(|_| !is_apart) {
            None => Of::All,
            Some(slot) => Of::slot(slot, &found.logs.format).or_else(|| {
                match found.absent(wanted) {
                    Some(slot) => found.say_absent(slot),
                    None => say_mixed(slot, &files),
                }
                None
            })?,
        };
        let patterns: Vec<LogPath> = files.into_iter().map(|(path, _)| path).collect();
        let first = patterns.first()?;
        let is_one = patterns.len() == 1 && (wanted.slot.is_some() || !first.is_per_slot());
        let printer = Printer { tells: !is_one && found.logs.format != "json", latest: None };
        let (slot, slots, lines) = (wanted.slot, found.slots, wanted.lines);
        Some(Shown { patterns, slot, slots, lines, of, files: Vec::new(), printer })
    }

    /// The files of a stream, by slot where there is more than one.
    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for pattern in &self.patterns {
            match self.slot {
                _ if !pattern.is_per_slot() => paths.push(pattern.of_slot(0)),
                Some(slot) => paths.push(pattern.of_slot(slot)),
                None => paths.extend((0..self.slots).map(|slot| pattern.of_slot(slot))),
            }
        }
        paths
    }

    /// Shows the last lines of each, and returns the exit code of it.
    fn begin(&mut self, found: &Found, wanted: &LinesWanted, output: &mut Output) -> u8 {
        let (mut code, mut is_there, mut came) = (0, false, false);
        for path in self.paths() {
            let (of, shown_as, printer) = (self.of.clone(), path.clone(), &mut self.printer);
            let mut show = |text: &[u8]| {
                came = true;
                printer.write(&shown_as, text, output);
            };
            match Followed::begin(path, self.lines, of, &mut show) {
                Ok(file) => {
                    is_there |= file.is_there();
                    self.files.push(file);
                }
                Err(sentence) => {
                    complain(&sentence);
                    code = FAILED;
                }
            }
        }
        if let Some(slot) = found.absent(wanted).filter(|_| !came && code == 0) {
            found.say_absent(slot);
            return FAILED;
        }
        if !is_there && code == 0 {
            let paths: Vec<String> =
                self.patterns.iter().map(|path| path.as_given().display().to_string()).collect();
            complain(&format_args!("nothing was written yet to {}", paths.join(", ")));
        }
        code
    }

    /// There may be more workers than before.
    fn has_slots(&mut self, slots: u32) {
        if slots > self.slots {
            self.slots = slots;
            for path in self.paths() {
                if !self.files.iter().any(|file| file.path() == path) {
                    self.files.push(Followed::to_come(path, self.of.clone()));
                }
            }
        }
    }

    /// Shows what was written since. Whether there was something.
    fn go_on(&mut self, output: &mut Output) -> bool {
        let (mut came, printer) = (false, &mut self.printer);
        for file in &mut self.files {
            let path = file.path().to_owned();
            file.go_on(now(), &mut |text| {
                came = true;
                printer.write(&path, text, output);
            });
        }
        came
    }
}

/// The lines of this slot cannot be told from others.
fn say_mixed(slot: u32, files: &[(LogPath, &str)]) {
    const REMEDY: &str = "start srvwrap with --log-format prefix, or with {slot} in the path";
    let apart = files.iter().find(|(path, _)| path.is_per_slot());
    let mixed = files.iter().find(|(path, _)| !path.is_per_slot());
    match apart.zip(mixed) {
        Some(((_, apart), (_, mixed))) => complain(&format_args!(
            "--slot {slot}: {mixed} of all slots is in one file, whose lines do not tell; give --stream {apart}, or {REMEDY}"
        )),
        None => complain(&format_args!(
            "--slot {slot}: the lines of all slots are in one file, and do not tell; {REMEDY}"
        )),
    }
}

/// stdout, with a line that tells the file where another one's lines begin.
struct Printer {
    tells: bool,
    /// Whose lines were written last.
    latest: Option<PathBuf>,
}

impl Printer {
    fn write(&mut self, path: &Path, text: &[u8], output: &mut Output) {
        if self.tells && self.latest.as_deref() != Some(path) {
            let gap = if self.latest.is_some() { "\n" } else { "" };
            output.bytes(format!("{gap}==> {} <==\n", clean(&path.display().to_string())).as_bytes());
            self.latest = Some(path.to_owned());
        }
        output.bytes(text);
    }
}
