//! The ways to whoever started srvwrap: datagrams to a manager such as systemd, or lines to a srvwrap above.
//!
//! | to be told | by datagrams | by lines |
//! |---|---|---|
//! | `READY=1` | as it is | `online`, which only counts once |
//! | `STATUS=…` | as it is | as it is |
//! | the rest | as it is | not: it is the life of one worker |
//!
//! What this file does not do: hear what is said from above (`upward.rs`).

use crate::sys::above::Above;
use crate::sys::sd_notify::ManagerSocket;

pub(super) enum Way {
    Datagrams(ManagerSocket),
    Lines(Above),
}

impl Way {
    /// False where there is no room. An error means that nobody is to be reached.
    pub(super) fn send(&self, words: &str) -> Result<bool, String> {
        match self {
            Way::Datagrams(socket) => socket.send(words.as_bytes()).map_err(|errno| errno.desc().to_string()),
            Way::Lines(above) => {
                let lines = lines(words);
                Ok(lines.is_empty() || above.send(lines.as_bytes()))
            }
        }
    }

    /// As it is named where it fails.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Way::Datagrams(_) => "NOTIFY_SOCKET",
            Way::Lines(_) => "NOTIFY_FD",
        }
    }
}

fn lines(words: &str) -> String {
    let mut lines = String::new();
    for word in words.lines() {
        let line = if word == "READY=1" { "online" } else { word };
        if line == "online" || line.starts_with("STATUS=") {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_srvwrap_above_is_told_what_a_worker_can_say() {
        assert_eq!(lines("READY=1\nSTATUS=2 of 2 workers online"), "online\nSTATUS=2 of 2 workers online\n");
        assert_eq!(lines("RELOADING=1\nMONOTONIC_USEC=7"), "");
        assert_eq!(
            lines("STOPPING=1\nSTATUS=stopping: 1 worker left\nEXTEND_TIMEOUT_USEC=1"),
            "STATUS=stopping: 1 worker left\n"
        );
    }
}
