//! A terminal with a program in its foreground: what the keys send, and what is written to it.
//!
//! The master is read only while a test waits for something, by the test itself, so that [`Terminal::hang_up`] really
//! closes the last copy of it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use super::screen::Screen;
use super::{PATIENCE, before_exec};

pub(crate) struct Terminal {
    master: Option<File>,
    child: Child,
    /// All that was written to it.
    text: String,
    /// Bytes of it that a `wait_for` has passed.
    seen: usize,
}

/// Runs a command as the leader of a session that this terminal controls.
pub(crate) fn in_terminal(mut command: Command) -> Terminal {
    super::process::plain_signals(&mut command);
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("a pty can be made");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("our own pty");
    let name = std::ffi::CString::new(ptsname_r(&master).expect("our own pty")).expect("a path");
    before_exec(&mut command, move || {
        // SAFETY: system calls on numbers and a C string that this closure holds. A session leader's first terminal
        // controls its session.
        unsafe {
            libc::setsid();
            let terminal = libc::open(name.as_ptr(), libc::O_RDWR);
            if terminal < 0 || (0..=2).any(|fd| libc::dup2(terminal, fd) < 0) {
                return Err(std::io::Error::last_os_error());
            }
            if terminal > 2 {
                libc::close(terminal);
            }
        }
        Ok(())
    });
    let child = command.spawn().expect("it can be started");
    // SAFETY: the number was given away by its owner just now.
    let master = unsafe { File::from_raw_fd(master.into_raw_fd()) };
    Terminal { master: Some(master), child, text: String::new(), seen: 0 }
}

impl Terminal {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Makes its window this large, and has its foreground told.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let master = self.master.as_ref().expect("not hung up").as_raw_fd();
        // SAFETY: the struct lives through the call.
        assert_eq!(unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &raw const size) }, 0);
    }

    /// Waits until a screen of this size, on which all was written, shows `fact`.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        screen: (usize, usize),
        fact: impl Fn(&[String]) -> bool,
    ) {
        let until = Instant::now() + PATIENCE;
        loop {
            let shown = Screen::showing(&self.text, screen).lines();
            if fact(&shown) {
                return;
            }
            assert!(Instant::now() < until, "this does not come: {what}; the screen shows {shown:#?}");
            self.read(100);
        }
    }

    /// Presses keys: `"\x03"` is Ctrl-C, `"\x1a"` Ctrl-Z.
    pub(crate) fn press(&mut self, keys: &str) {
        self.master.as_mut().expect("not hung up").write_all(keys.as_bytes()).expect("a pty takes keys");
    }

    /// Waits until these words are written, after those waited for before, and returns their line up to them.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text[self.seen..].find(words) {
                self.seen += at + words.len();
                return self.text[..self.seen].rsplit('\n').next().unwrap_or_default().to_string();
            }
            assert!(Instant::now() < until, "no {words:?} on the terminal, but:\n{}", self.text);
            self.read(100);
        }
    }

    /// All that was written to it so far.
    pub(crate) fn text(&mut self) -> &str {
        while self.read(0) {}
        &self.text
    }

    fn read(&mut self, timeout_ms: u8) -> bool {
        let Some(master) = &mut self.master else { return false };
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, timeout_ms) != Ok(1) {
            return false;
        }
        let mut buffer = [0; 4096];
        // An error: nobody holds the terminal any more.
        let count = master.read(&mut buffer).unwrap_or(0);
        self.text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        count > 0
    }

    /// The terminal is gone, as when its window is closed.
    pub(crate) fn hang_up(&mut self) {
        let master = self.master.take().expect("not hung up before");
        assert!(master.as_raw_fd() > 2);
    }

    /// Waits for the end of the command: its exit code, or 128+n.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                while self.read(0) {}
                return status.code().or_else(|| Some(128 + status.signal()?)).expect("it has ended");
            }
            assert!(Instant::now() < until, "it does not end; on the terminal:\n{}", self.text);
            // What is not read would hold up who writes it.
            self.read(10);
            if self.master.is_none() {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("on the terminal:\n{}", self.text());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
