//! Tells which listeners were shut down, without being woken by connections.
//!
//! ```text
//!    listener 0 ──┐  EPOLLRDHUP only
//!    listener 1 ──┴─> an epoll instance of its own ──> readable: take()
//! ```
//!
//! A connection wakes whoever watches for `EPOLLIN`, and for `EPOLLPRI` too: the kernel names both at once, looks at
//! the socket only after the wake-up, and goes back to sleep, one context switch for each connection. `EPOLLRDHUP` is
//! not among what it names, and it comes with every shutdown(2) that closes a listener, with half of one on a unix
//! socket too. mio has no such interest by itself, hence the instance inside of its own.
//!
//! What this file does not do: look at the socket. What it tells is a hint, and may be mended already.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Watches listeners, each under a number of the caller's choice.
#[derive(Debug)]
pub(crate) struct HangUps {
    epoll: Epoll,
}

impl HangUps {
    pub(crate) fn new() -> io::Result<HangUps> {
        Ok(HangUps { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? })
    }

    pub(crate) fn watch(&self, listener: &impl AsFd, number: usize) -> io::Result<()> {
        let flags = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        Ok(self.epoll.add(listener, EpollEvent::new(flags, number as u64))?)
    }

    /// To be called before it is closed: a socket that others hold too stays watched otherwise.
    pub(crate) fn ignore(&self, listener: &impl AsFd) {
        // Where it was not watched there is nothing to undo.
        let _ = self.epoll.delete(listener);
    }

    /// The numbers of those that were shut down since they were last told.
    pub(crate) fn take(&self) -> Vec<usize> {
        const AT_ONCE: usize = 64;
        let mut taken = Vec::new();
        loop {
            let mut events = [EpollEvent::empty(); AT_ONCE];
            let count = match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
                Err(Errno::EINTR) => continue,
                found => found.expect("an epoll instance of our own can be asked"),
            };
            taken.extend(events.iter().take(count).map(|event| event.data() as usize));
            if count < AT_ONCE {
                return taken;
            }
        }
    }
}

impl AsRawFd for HangUps {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.0.as_raw_fd()
    }
}
