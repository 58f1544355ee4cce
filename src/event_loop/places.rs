//! The names that srvwrap has in the file system: its control socket, its pid file, unix listeners.
//!
//! ```text
//!   a name is removed (a host that tidies up /tmp) ──> inotify, or the next signal ──> it is made anew
//!   the end ──> each removes its own, while it is still open
//! ```
//!
//! A name that somebody else has taken meanwhile is left to them.
//!
//! What this file does not do: bind listeners (`listeners.rs`), or the control socket (`control.rs`).

use std::path::PathBuf;

use mio::{Interest, Poll};

use crate::config::Config;
use crate::log::Log;
use crate::sys::pid_file::PidFile;
use crate::sys::vanished::Vanished;

use super::{EventLoop, VANISHED, watch};

/// What [`Vanished`] knows each by; listeners follow.
const CONTROL: usize = 0;
const PID_FILE: usize = 1;
const FIRST_LISTENER: usize = 2;

pub(super) struct Places {
    pid_file: Option<PidFile>,
    vanished: Option<Vanished>,
}

impl Places {
    pub(super) fn take(config: &Config, poll: &Poll) -> Result<Places, String> {
        let pid_file = config.pid_file.as_deref().map(PidFile::take).transpose();
        let pid_file = pid_file.map_err(|error| error.to_string())?;
        let vanished =
            Vanished::new().filter(|found| watch(poll, &found.fd(), VANISHED, Interest::READABLE).is_ok());
        Ok(Places { pid_file, vanished })
    }

    pub(super) fn write_pid(&mut self, log: &mut Log) {
        if let Some(Err(error)) = self.pid_file.as_mut().map(PidFile::write) {
            log.say(&error);
        }
    }

    fn mend_pid_file(&mut self) -> Option<(PathBuf, Result<(), String>)> {
        let file = self.pid_file.as_mut().filter(|file| !file.is_in_place())?;
        let path = file.path().to_owned();
        Some((path, file.make_anew().map_err(|error| error.to_string())))
    }
}

impl EventLoop {
    /// Something has happened to a file of ours.
    pub(super) fn handle_vanished(&mut self) {
        if self.places.vanished.as_mut().is_some_and(|vanished| !vanished.take().is_empty()) {
            self.look_after_places();
        }
    }

    /// Looks at each, and makes anew what is not there.
    pub(super) fn look_after_places(&mut self) {
        /// Somebody may remove a name that was just made before it is watched: then it is looked at once more.
        const TRIES: u8 = 3;
        for _ in 0..TRIES {
            let mended = [self.control.mend(&self.poll), self.places.mend_pid_file()];
            let mut made = self.look_after_paths();
            for (path, outcome) in mended.into_iter().flatten() {
                made |= outcome.is_ok();
                let outcome = outcome.err().unwrap_or("made anew".to_string());
                self.log.say(&format_args!("somebody has removed {}: {outcome}", path.display()));
            }
            if !made {
                return;
            }
            self.watch_places();
        }
    }

    pub(super) fn watch_places(&mut self) {
        let Places { pid_file, vanished: Some(vanished) } = &mut self.places else { return };
        if let Some(path) = self.control.path() {
            vanished.watch(path, CONTROL);
        }
        if let Some(file) = pid_file {
            vanished.watch(file.path(), PID_FILE);
        }
        for (index, path) in self.listeners.paths() {
            vanished.watch(path, FIRST_LISTENER + index);
        }
    }
}
