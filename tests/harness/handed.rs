//! Starts srvwrap as a parent does that hands sockets over by their numbers.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, fcntl};

use super::{Starting, before_exec};

/// Above every number at which anything is handed over.
const ASIDE: i32 = 200;

/// Puts each of these at its number, open across exec. None leaves the number closed.
pub(crate) fn hand_over(command: &mut Command, things: Vec<(i32, Option<OwnedFd>)>) {
    let aside = things.into_iter().map(|(number, thing)| {
        let thing = thing.map(|thing| {
            use std::os::fd::FromRawFd;
            let copy = fcntl(&thing, FcntlArg::F_DUPFD_CLOEXEC(ASIDE)).expect("there is room");
            // SAFETY: the copy is new and ours.
            unsafe { OwnedFd::from_raw_fd(copy) }
        });
        (number, thing)
    });
    let aside: Vec<(i32, Option<OwnedFd>)> = aside.collect();
    before_exec(command, move || {
        for (number, thing) in &aside {
            // SAFETY: system calls that take numbers, in a process that is about to be another.
            unsafe {
                match thing {
                    Some(thing) => libc::dup2(thing.as_raw_fd(), *number),
                    None => libc::close(*number),
                };
            }
        }
        Ok(())
    });
}

impl Starting {
    /// As systemd does: from 3 on, addressed to srvwrap's own process. Nothing of the caller's stays open here.
    pub(crate) fn with_listen_fds(self, names: &str, sockets: Vec<OwnedFd>) -> Starting {
        let count = sockets.len().to_string();
        let things: Vec<(i32, Option<OwnedFd>)> = (3..).zip(sockets.into_iter().map(Some)).collect();
        let starting = self.addressed(&count).env("LISTEN_FDNAMES", names);
        starting.with(|command| hand_over(command, things))
    }

    /// `LISTEN_FDS` of so many, and `LISTEN_PID` of the process that srvwrap becomes.
    pub(crate) fn addressed(self, count: &str) -> Starting {
        let words = ["-c", "LISTEN_PID=$$; export LISTEN_PID; exec \"$0\" \"$@\""];
        self.under("sh", words.map(Into::into)).env("LISTEN_FDS", count)
    }
}

/// One that the kernel has chosen the port of, and which it forgets when the socket is shut down.
pub(crate) fn tcp() -> (u16, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    (listener.local_addr().expect("it is bound").port(), listener.into())
}

pub(crate) fn unix(path: &Path) -> OwnedFd {
    UnixListener::bind(path).expect("a short path").into()
}
