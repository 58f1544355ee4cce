//! What clients are told of logs: where they are, and what became of them.

use crate::event_loop::EventLoop;
use crate::logs::{Destination, Format, Own};
use crate::wire::control::status::Logs;
use crate::wire::control::text::Text;

impl EventLoop {
    /// Where everything goes, and what became of it.
    pub(super) fn log_places(&self) -> Logs {
        let logs = self.output.logs();
        let format = match logs.format {
            Format::Plain => "plain",
            Format::Prefix => "prefix",
            Format::Json => "json",
        };
        Logs {
            stdout: place(&logs.stdout, Own::Stdout),
            stderr: place(&logs.stderr, Own::Stderr),
            notices: place(&logs.notices, Own::Stderr),
            format: format.to_string(),
            files: self.output.files(),
        }
    }
}

/// `dash`: which of srvwrap's own it is that needs no name.
fn place(destination: &Destination, dash: Own) -> Text {
    match destination {
        Destination::Own(own) if *own == dash => Text::from("-"),
        Destination::Own(Own::Stdout) => Text::from("/dev/stdout"),
        Destination::Own(Own::Stderr) => Text::from("/dev/stderr"),
        Destination::Null => Text::from("/dev/null"),
        Destination::File(path) => Text::from(path.as_given().as_os_str()),
    }
}
