//! What workers write, and what srvwrap says: where it goes, in what form, and for how long it stays.
//!
//! ```text
//!   -  /dev/stdout  /dev/fd/2 …   srvwrap's own stdout or stderr; nothing in the background
//!   /dev/null                     nowhere
//!   app.log                       a file; the same for several of them is one
//!   app-{slot}.log                a file for each slot
//! ```
//!
//! No line may land where somebody looks for another's. So two paths are one, or lead apart for every slot; and none is
//! what an archive of the other would be called, since those are compressed and removed.
//!
//! What this module does not do: look at the file system; whether a file can be written is found out later.

use std::path::Path;

use super::{Surroundings, absolute, call, duration};
use crate::cli::{Given, Options, UsageError};
use crate::logs::{Destination, Format, Full, Limits, LogPath, Logs, Own, without_stamp};
use crate::units::parse_size;

/// What was said about logs, for `run` and `start`.
pub(super) fn logs(
    options: &Options,
    in_background: bool,
    surroundings: &Surroundings,
) -> Result<Logs, UsageError> {
    let places = places(options, in_background);
    let destination = |given: &Given, own| destination(given, own, in_background, surroundings);
    let [stdout, stderr, notices] = &places;
    if notices.value.to_string_lossy().contains("{slot}") {
        return Err(notices.refused_with("notices are of no slot; give a path without {slot}"));
    }
    refuse_other_placeholder(stdout)?;
    refuse_other_placeholder(stderr)?;
    let logs = Logs {
        stdout: destination(stdout, Own::Stdout)?,
        stderr: destination(stderr, Own::Stderr)?,
        notices: destination(notices, Own::Stderr)?,
        format: format(&options.log_format)?,
        full: full(&options.log_full)?,
        limits: limits(options)?,
    };
    refuse_mixed(&places, [&logs.stdout, &logs.stderr, &logs.notices])?;
    Ok(logs)
}

/// Where stdout, stderr and notices go: as it was typed, or the default.
pub(super) fn places(options: &Options, in_background: bool) -> [Given; 3] {
    let place = |given: &Option<Given>, option: &str, file: &str| {
        let default = if in_background { file } else { "-" };
        given.clone().unwrap_or_else(|| Given::default_of(option, default))
    };
    [
        place(&options.stdout, "--stdout", "stdout.log"),
        place(&options.stderr, "--stderr", "stderr.log"),
        place(&options.log, "--log", "srvwrap.log"),
    ]
}

/// The path that this one leads to, if it is a file's.
pub(super) fn path(given: &Given, surroundings: &Surroundings) -> Option<LogPath> {
    let path = absolute(&given.value, surroundings);
    let is_file = given.value != "-" && own(&path).is_none() && path.as_os_str() != "/dev/null";
    is_file.then(|| LogPath::new(path))
}

fn destination(
    given: &Given,
    of_dash: Own,
    in_background: bool,
    surroundings: &Surroundings,
) -> Result<Destination, UsageError> {
    if let Some(path) = path(given, surroundings) {
        return Ok(Destination::File(path));
    }
    let own = if given.value == "-" { Some(of_dash) } else { own(&absolute(&given.value, surroundings)) };
    match own {
        // What stands for a terminal or a pipe is lost with the caller.
        Some(_) if in_background => Err(given.refused_with("in the background nobody reads it; give a path")),
        Some(own) => Ok(Destination::Own(own)),
        None => Ok(Destination::Null),
    }
}

/// Refuses what was meant as `{slot}`: a word in braces, or `{slot` without its end. A file may be called so, but then
/// all slots would be in it.
fn refuse_other_placeholder(given: &Given) -> Result<(), UsageError> {
    let value = given.value.to_string_lossy();
    for part in value.split('{').skip(1) {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_lowercase());
        let word = &part[..part.len() - rest.len()];
        if rest.starts_with('}') && !word.is_empty() && word != "slot" {
            let because = format!("nothing stands for {{{word}}}; give {{slot}} for one file a slot");
            return Err(given.refused_with(because));
        }
        if word.starts_with("slot") && !rest.starts_with('}') {
            return Err(given.refused_with("{slot has no end; give {slot} for one file a slot"));
        }
    }
    Ok(())
}

/// The names that Linux has for what a process was given as its output.
fn own(path: &Path) -> Option<Own> {
    match path.to_str()? {
        "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Some(Own::Stdout),
        "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Some(Own::Stderr),
        _ => None,
    }
}

fn refuse_mixed(places: &[Given; 3], destinations: [&Destination; 3]) -> Result<(), UsageError> {
    let files = places.iter().zip(destinations).filter_map(|(given, destination)| match destination {
        Destination::File(path) => Some((given, path.clone())),
        Destination::Own(_) | Destination::Null => None,
    });
    let files: Vec<(&Given, LogPath)> = files.collect();
    for (index, (given, path)) in files.iter().enumerate() {
        for (other, taken) in files.iter().take(index) {
            if path == taken {
                continue;
            }
            if let Some(slot) = path.common_slot(taken).or(taken.common_slot(path)) {
                let because = format!("for slot {slot} it is a file of {other}; give a path that is none");
                return Err(given.refused_with(because));
            }
        }
    }
    for (given, path) in &files {
        refuse_archive(given, path.as_given(), &files)?;
    }
    Ok(())
}

/// Refuses a path that may be what an archive of one of these files is called.
pub(super) fn refuse_archive(
    given: &Given,
    path: &Path,
    files: &[(&Given, LogPath)],
) -> Result<(), UsageError> {
    let Some(source) = without_stamp(path) else { return Ok(()) };
    match files.iter().find(|(_, file)| file.leads_to(&source)) {
        Some((other, _)) => {
            Err(given.refused_with(format!("archives of {other} are named so; give another path")))
        }
        None => Ok(()),
    }
}

fn format(given: &Given) -> Result<Format, UsageError> {
    match given.text() {
        "plain" => Ok(Format::Plain),
        "prefix" => Ok(Format::Prefix),
        "json" => Ok(Format::Json),
        _ => Err(given.refused("no such form of a line")),
    }
}

fn full(given: &Given) -> Result<Full, UsageError> {
    match given.text() {
        "block" => Ok(Full::Block),
        "drop-new" => Ok(Full::DropNew),
        "drop-old" => Ok(Full::DropOld),
        _ => Err(given.refused("no such answer to a full disk")),
    }
}

/// They mean nothing where nothing goes to a file, and do no harm there: a container's command line may have them for
/// all its uses.
fn limits(options: &Options) -> Result<Limits, UsageError> {
    let max_size = size(&options.max_log_size)?;
    let every = options.log_every.as_ref().map(|given| match duration(given)? {
        every if every.as_secs() < 1 => {
            Err(given.refused_with("that is all the time; give 1s or more, or leave it out for never"))
        }
        every => Ok(every),
    });
    let total = options.log_total.as_ref().map(|given| match size(given)? {
        0 => Err(given.refused_with("no archive is so small; give --log-keep 0 to keep none")),
        bytes => Ok(bytes),
    });
    let total = total.transpose()?;
    if let Some((given, _)) = options.log_total.as_ref().zip(total).filter(|(_, total)| *total < max_size) {
        let why = "an archive has up to --max-log-size before it is compressed; give that or more, or a smaller \
                   --max-log-size";
        return Err(given.refused_with(why));
    }
    Ok(Limits {
        max_size: Some(max_size).filter(|bytes| *bytes > 0),
        every: every.transpose()?,
        keep: call::number(&options.log_keep, 0, u32::MAX)?,
        total,
    })
}

fn size(given: &Given) -> Result<u64, UsageError> {
    parse_size(given.text()).map_err(|error| given.refused(error))
}

#[cfg(test)]
mod tests;
