//! Tells which of our paths have lost their names: some hosts remove what in /tmp or /run looks old.
//!
//! ```text
//!   watch(path, number) ──> an inotify watch on the file itself ──> fd() readable ──> take() ──> its number
//! ```
//!
//! The file is watched, and not its directory: what others do there wakes nobody. A number says that something has
//! happened to a file (its mode was changed, a name came or went), and who owns it looks. Where inotify is not to be
//! had, nothing is told.
//!
//! What this file does not do: make anything anew.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

pub(crate) struct Vanished {
    inotify: Inotify,
    numbers: BTreeMap<WatchDescriptor, usize>,
}

impl Vanished {
    /// None where there is no inotify, or no room for another instance.
    pub(crate) fn new() -> Option<Vanished> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
        Some(Vanished { inotify, numbers: BTreeMap::new() })
    }

    /// In the place of what was watched by this number before. A path that cannot be watched is not.
    pub(crate) fn watch(&mut self, path: &Path, number: usize) {
        self.ignore(number);
        let what = AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DONT_FOLLOW;
        if let Ok(watch) = self.inotify.add_watch(path, what) {
            self.numbers.insert(watch, number);
        }
    }

    pub(crate) fn ignore(&mut self, number: usize) {
        let watches: Vec<WatchDescriptor> =
            self.numbers.iter().filter(|(_, known)| **known == number).map(|(watch, _)| *watch).collect();
        for watch in watches {
            self.numbers.remove(&watch);
            // It is gone already where the file is.
            let _ = self.inotify.rm_watch(watch);
        }
    }

    /// To be watched, not read.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// The numbers of those to which something has happened, each once.
    pub(crate) fn take(&mut self) -> Vec<usize> {
        let mut found = Vec::new();
        while let Ok(events) = self.inotify.read_events() {
            found.extend(events.iter().filter_map(|event| self.numbers.get(&event.wd).copied()));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::sys::apart::own_umask;
    use crate::sys::control::ControlSocket;
    use crate::sys::pid_file::PidFile;

    #[test]
    fn a_file_or_socket_that_lost_its_name_is_told_and_what_happens_beside_it_is_not() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        let socket = ControlSocket::bind(&path("a.sock")).unwrap();
        let mut file = PidFile::take(&path("a.pid")).unwrap();
        let mut vanished = Vanished::new().expect("there is room for an inotify instance");
        vanished.watch(socket.path(), 7);
        vanished.watch(file.path(), 8);

        fs::write(path("other"), "").unwrap();
        fs::remove_file(path("other")).unwrap();
        file.write().unwrap();
        drop(crate::sys::control::connect(socket.path()).unwrap());
        assert!(vanished.take().is_empty());

        fs::remove_file(socket.path()).unwrap();
        assert_eq!(vanished.take(), [7]);
        fs::rename(file.path(), path("moved")).unwrap();
        assert_eq!(vanished.take(), [8]);
    }

    #[test]
    fn what_was_made_anew_is_watched_in_the_place_of_the_old() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::bind(&directory.path().join("a.sock")).unwrap();
        let mut vanished = Vanished::new().unwrap();
        for _ in 0..100 {
            vanished.watch(socket.path(), 1);
            assert!(vanished.take().is_empty());
            fs::remove_file(socket.path()).unwrap();
            assert_eq!(vanished.take(), [1]);
            socket.bind_anew().unwrap();
        }
        assert!(vanished.numbers.len() <= 1);
    }
}
