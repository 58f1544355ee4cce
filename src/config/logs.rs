//! What workers write, and what srvwrap says: where it goes, and in what form.
//!
//! What this module does not do: look at the file system; whether a file can be written is found out later.

use super::{Surroundings, absolute};
use crate::cli::{Given, Options, UsageError};
use crate::logs::{Destination, Format, Full, Limits, LogPath, Logs, Own};

/// What was said about logs, for `run` and `start`.
pub(super) fn logs(
    options: &Options,
    in_background: bool,
    surroundings: &Surroundings,
) -> Result<Logs, UsageError> {
    let [stdout, stderr, notices] = places(options, in_background);
    let destination = |given: &Given, own| destination(given, own, in_background, surroundings);
    Ok(Logs {
        stdout: destination(&stdout, Own::Stdout)?,
        stderr: destination(&stderr, Own::Stderr)?,
        notices: destination(&notices, Own::Stderr)?,
        format: Format::Plain,
        full: Full::Block,
        limits: Limits { max_size: Some(10 << 20), every: None, keep: 10, total: None },
    })
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

fn destination(
    given: &Given,
    own: Own,
    in_background: bool,
    surroundings: &Surroundings,
) -> Result<Destination, UsageError> {
    if given.value == "-" {
        return if in_background { refuse_dash(given) } else { Ok(Destination::Own(own)) };
    }
    let path = absolute(&given.value, surroundings);
    Ok(if path.as_os_str() == "/dev/null" {
        Destination::Null
    } else {
        Destination::File(LogPath::new(path))
    })
}

/// What stands for a terminal or a pipe is lost with the caller.
fn refuse_dash(given: &Given) -> Result<Destination, UsageError> {
    Err(given.refused_with("in the background nobody reads it; give a path"))
}
