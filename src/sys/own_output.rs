//! A stdout or stderr of this process that never blocks who writes to it, and stays as it was for those who share it.
//!
//! O_NONBLOCK belongs to the open file description, and those of fd 1 and 2 are shared with the workers, the shell and
//! whoever else was started with it. So it is never set there; what is done depends on what the descriptor is:
//!
//! | it is | written through |
//! |---|---|
//! | a pipe, a FIFO, a terminal | a description of our own, opened anew from /proc/self/fd/N with O_NONBLOCK |
//! | a socket | `send(MSG_DONTWAIT)` |
//! | a file, /dev/null | the given one: it is always ready |
//! | one that cannot be opened anew | the given one, where poll says that it has room |
//!
//! What this file does not do: keep what could not be written. That is `logs/backlog.rs`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use nix::unistd::{isatty, write};

use super::signal_state::{Change, SignalSet, change_mask};

/// The most that a line may hold where others write to the same pipe, so that a pipe takes all of it or nothing and no
/// other writer gets into its middle: PIPE_BUF of Linux.
pub(crate) const WRITE_LIMIT: usize = 4096;

#[derive(Debug)]
pub(crate) struct OwnOutput {
    fd: OwnedFd,
    way: Way,
    /// Device and inode.
    identity: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A description of our own, which does not block.
    Own,
    Socket,
    /// A file, which takes everything at once.
    File,
    /// The description that we were given, which may block: it is asked first.
    Shared,
}

/// Why nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// It would have blocked: nobody reads. It may be tried again when [`OwnOutput::fd`] is writable.
    Full,
    /// What was to be written is lost: nobody can read it any more, or the disk is full.
    Lost(Errno),
}

impl OwnOutput {
    /// `None` where this process has none.
    pub(crate) fn stdout() -> Option<OwnOutput> {
        OwnOutput::of(std::io::stdout().as_fd()).ok()
    }

    /// `None` where this process has none.
    pub(crate) fn stderr() -> Option<OwnOutput> {
        OwnOutput::of(std::io::stderr().as_fd()).ok()
    }

    pub(crate) fn of(given: BorrowedFd<'_>) -> nix::Result<OwnOutput> {
        let facts = fstat(given)?;
        let (way, identity) = (way_to(given, &facts), (facts.st_dev, facts.st_ino));
        if way == Way::Own {
            if let Some(fd) = open_anew(given) {
                return Ok(OwnOutput { fd, way, identity });
            }
        }
        let fd = given.try_clone_to_owned().map_err(|_| Errno::last())?;
        Ok(OwnOutput { fd, way: if way == Way::Own { Way::Shared } else { way }, identity })
    }

    /// Whether what is written to one of them comes among what is written to the other.
    pub(crate) fn is_same_as(&self, other: &OwnOutput) -> bool {
        self.identity == other.identity
    }

    pub(crate) fn is_terminal(&self) -> bool {
        isatty(&self.fd).unwrap_or(false)
    }

    /// Whether it is the one that JOURNAL_STREAM names: device and inode, in decimal, as in `9:123456`.
    pub(crate) fn is_journal(&self, named: &str) -> bool {
        let numbers = named
            .split_once(':')
            .and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
        numbers == Some(self.identity)
    }

    /// What to watch for room while something waits to be written; `None` for a file, which always has room.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        (self.way != Way::File).then(|| self.fd.as_raw_fd())
    }

    /// Writes the beginning of `bytes`; how much of it, and never nothing. A pipe takes all of [`WRITE_LIMIT`] or
    /// nothing. Does not wait, and does not stop this process when it writes to a terminal from the background.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<usize, WriteError> {
        if self.way == Way::Shared && !self.has_room_within(0) {
            return Err(WriteError::Full);
        }
        // There is room for so much where poll says that there is any; more could block.
        let length = if self.way == Way::Shared { bytes.len().min(WRITE_LIMIT) } else { bytes.len() };
        let bytes = &bytes[..length];
        let _quiet = TerminalStop::block();
        loop {
            return match self.write_once(bytes) {
                Ok(0) | Err(Errno::EAGAIN) => Err(WriteError::Full),
                Ok(written) => Ok(written),
                Err(Errno::EINTR) => continue,
                Err(errno) => Err(WriteError::Lost(errno)),
            };
        }
    }

    fn write_once(&self, bytes: &[u8]) -> nix::Result<usize> {
        match self.way {
            Way::Socket => send(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            Way::Own | Way::File | Way::Shared => write(&self.fd, bytes),
        }
    }

    /// Waits until something can be written (or the writing shows an error), for so long at most.
    pub(crate) fn has_room_within(&self, limit_ms: u8) -> bool {
        let mut watched = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
        poll(&mut watched, PollTimeout::from(limit_ms)).is_ok_and(|ready| ready > 0)
    }
}

fn way_to(given: BorrowedFd<'_>, facts: &FileStat) -> Way {
    let kind = SFlag::from_bits_truncate(facts.st_mode) & SFlag::S_IFMT;
    // The master of a pty: opening that anew makes another pty.
    let is_master = kind == SFlag::S_IFCHR && (major(facts.st_rdev), minor(facts.st_rdev)) == (5, 2);
    if kind == SFlag::S_IFSOCK {
        Way::Socket
    } else if is_master {
        Way::Shared
    } else if kind == SFlag::S_IFIFO || isatty(given).unwrap_or(false) {
        Way::Own
    } else {
        Way::File
    }
}

/// The same pipe or terminal with flags of our own. Fails without /proc, and where it is another user's.
fn open_anew(given: BorrowedFd<'_>) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", given.as_raw_fd());
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(path.as_str(), flags, Mode::empty()).ok()
}

/// While this lives, a terminal that stops background writers (`stty tostop`) lets this thread write: its SIGTTOU
/// comes anew at each attempt, as fast as the processor can.
struct TerminalStop {
    usual: SignalSet,
}

impl TerminalStop {
    fn block() -> TerminalStop {
        TerminalStop { usual: change_mask(Change::Block, SignalSet::EMPTY.with(libc::SIGTTOU)) }
    }
}

impl Drop for TerminalStop {
    fn drop(&mut self) {
        change_mask(Change::Replace, self.usual);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::{Read, Seek, Write, pipe};
    use std::os::unix::net::UnixStream;

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::sys::signal::{SigSet, Signal};

    fn flags(fd: impl AsFd) -> OFlag {
        OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap())
    }

    fn fill(stderr: &OwnOutput) -> usize {
        let mut written = 0;
        loop {
            match stderr.write(&[b'x'; WRITE_LIMIT]) {
                Ok(bytes) => written += bytes,
                Err(WriteError::Full) => return written,
                Err(lost) => panic!("{lost:?}"),
            }
        }
    }

    /// A master and a slave.
    fn pty() -> (File, OwnedFd) {
        let (mut master, mut slave) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: the two numbers are written to places that live; what is null is not wanted. Both are new, and
        // ours alone.
        unsafe {
            let result = libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast());
            assert_eq!(result, 0);
            use std::os::fd::FromRawFd;
            (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_full_and_its_other_users_still_block() {
        let (mut reader, writer) = pipe().unwrap();
        let stderr = OwnOutput::of(writer.as_fd()).unwrap();
        assert_eq!(stderr.way, Way::Own);
        assert!(fill(&stderr) >= 4096);
        assert!(!flags(&writer).contains(OFlag::O_NONBLOCK));

        reader.read_exact(&mut [0; 4096]).unwrap();
        assert_eq!(stderr.write(b"again"), Ok(5));
    }

    #[test]
    fn a_write_leaves_the_signal_mask_as_it_was() {
        let (_reader, writer) = pipe().unwrap();
        let before = SigSet::thread_get_mask().unwrap();
        OwnOutput::of(writer.as_fd()).unwrap().write(b"x").unwrap();
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
        assert!(!before.contains(Signal::SIGTTOU));
    }

    #[test]
    fn a_pipe_takes_a_whole_line_or_nothing_of_it() {
        let (mut reader, writer) = pipe().unwrap();
        let stderr = OwnOutput::of(writer.as_fd()).unwrap();
        fill(&stderr);
        reader.read_exact(&mut [0; 1000]).unwrap();
        assert_eq!(stderr.write(&[b'y'; 2000]), Err(WriteError::Full));
    }

    #[test]
    fn a_socket_that_nobody_reads_is_full_and_its_other_users_still_block() {
        let (_reader, writer) = UnixStream::pair().unwrap();
        let stderr = OwnOutput::of(writer.as_fd()).unwrap();
        assert_eq!(stderr.way, Way::Socket);
        fill(&stderr);
        assert!(!flags(&writer).contains(OFlag::O_NONBLOCK));
    }

    #[test]
    fn a_terminal_that_was_stopped_is_full_and_goes_on_when_it_is_started() {
        let (_master, slave) = pty();
        let stderr = OwnOutput::of(slave.as_fd()).unwrap();
        assert_eq!(stderr.way, Way::Own);
        // SAFETY: calls on an open terminal; no memory is involved.
        assert_eq!(unsafe { libc::tcflow(slave.as_raw_fd(), libc::TCOOFF) }, 0);
        assert_eq!(stderr.write(b"hidden"), Err(WriteError::Full));
        assert!(!flags(&slave).contains(OFlag::O_NONBLOCK));
        // SAFETY: as above.
        assert_eq!(unsafe { libc::tcflow(slave.as_raw_fd(), libc::TCOON) }, 0);
        assert_eq!(stderr.write(b"seen"), Ok(4));
    }

    #[test]
    fn the_master_of_a_terminal_is_not_opened_anew() {
        let (master, slave) = pty();
        let stderr = OwnOutput::of(master.as_fd()).unwrap();
        assert_eq!(stderr.way, Way::Shared);
        assert_eq!(stderr.write(b"typed\n"), Ok(6));
        let mut line = [0; 6];
        File::from(slave).read_exact(&mut line).unwrap();
        assert_eq!(&line, b"typed\n");
    }

    #[test]
    fn a_pipe_that_cannot_be_opened_anew_is_asked_first() {
        let (_reader, writer) = pipe().unwrap();
        let stderr = OwnOutput { fd: writer.into(), way: Way::Shared, identity: (0, 0) };
        assert!(fill(&stderr) >= 4096);
    }

    #[test]
    fn a_file_is_written_where_the_others_that_share_it_write_next() {
        let mut file = tempfile::tempfile().unwrap();
        let stderr = OwnOutput::of(file.as_fd()).unwrap();
        assert_eq!(stderr.fd(), None);
        file.write_all(b"one\n").unwrap();
        stderr.write(b"two\n").unwrap();
        file.write_all(b"three\n").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\nthree\n");
    }

    #[test]
    fn a_reader_that_is_gone_and_a_full_disk_are_lost_and_no_more() {
        let (reader, writer) = pipe().unwrap();
        let stderr = OwnOutput::of(writer.as_fd()).unwrap();
        drop(reader);
        assert_eq!(stderr.write(b"x"), Err(WriteError::Lost(Errno::EPIPE)));

        let (reader, writer) = UnixStream::pair().unwrap();
        let stderr = OwnOutput::of(writer.as_fd()).unwrap();
        drop(reader);
        assert_eq!(stderr.write(b"x"), Err(WriteError::Lost(Errno::EPIPE)));

        let (master, slave) = pty();
        let stderr = OwnOutput::of(slave.as_fd()).unwrap();
        drop(master);
        assert_eq!(stderr.write(b"x"), Err(WriteError::Lost(Errno::EIO)));

        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert_eq!(OwnOutput::of(full.as_fd()).unwrap().write(b"x"), Err(WriteError::Lost(Errno::ENOSPC)));

        let not_for_writing = File::open("/dev/null").unwrap();
        let stderr = OwnOutput::of(not_for_writing.as_fd()).unwrap();
        assert_eq!(stderr.write(b"x"), Err(WriteError::Lost(Errno::EBADF)));
    }

    #[test]
    fn the_journal_is_known_by_its_device_and_inode_and_two_ends_of_one_pipe_by_theirs() {
        let (_reader, writer) = pipe().unwrap();
        let found = fstat(&writer).unwrap();
        let output = OwnOutput::of(writer.as_fd()).unwrap();
        assert!(output.is_journal(&format!("{}:{}", found.st_dev, found.st_ino)));
        for other in
            [format!("{}:{}", found.st_dev, found.st_ino + 1), String::new(), "1".into(), "a:b".into()]
        {
            assert!(!output.is_journal(&other), "{other}");
        }
        let same = OwnOutput::of(writer.try_clone().unwrap().as_fd()).unwrap();
        let (_reader, writer) = pipe().unwrap();
        let other = OwnOutput::of(writer.as_fd()).unwrap();
        assert!(output.is_same_as(&same) && !output.is_same_as(&other) && !output.is_terminal());
    }

    const IN_THE_BACKGROUND: &str = "SRVWRAP_TEST_IN_THE_BACKGROUND";

    /// The test runs itself again as a background job of a terminal that has `tostop` set: there the kernel stops
    /// who writes, by SIGTTOU.
    #[test]
    fn a_terminal_lets_us_write_from_the_background() {
        if std::env::var_os(IN_THE_BACKGROUND).is_some() {
            OwnOutput::stderr().unwrap().write(b"from the background\n").unwrap();
            return;
        }
        let (mut master, slave) = pty();
        let mut settings = nix_termios(&slave);
        settings.c_lflag |= libc::TOSTOP;
        // SAFETY: the settings live through the call.
        assert_eq!(unsafe { libc::tcsetattr(slave.as_raw_fd(), libc::TCSANOW, &raw const settings) }, 0);

        assert_eq!(run_in_the_background(slave), Some(0));
        let mut said = [0; 21];
        master.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"from the background\r\n");
    }

    fn nix_termios(terminal: &OwnedFd) -> libc::termios {
        // SAFETY: all zeroes are a valid termios, and it lives through the call.
        unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &raw mut settings), 0);
            settings
        }
    }

    fn run_in_the_background(terminal: OwnedFd) -> Option<i32> {
        use std::os::unix::process::CommandExt;
        use std::process::Stdio;
        let name = "sys::own_output::tests::a_terminal_lets_us_write_from_the_background";
        #[expect(clippy::disallowed_methods, reason = "the test program itself, in another place")]
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args([name, "--exact"])
            .env(IN_THE_BACKGROUND, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // SAFETY: only system calls between fork and exec.
        unsafe { command.stderr(terminal).pre_exec(become_a_background_job) };
        command.status().unwrap().code()
    }

    /// A new session with the terminal of fd 2. The job goes on as a process of its own; who was to be it remains
    /// as the shell would, in the foreground, and ends as the job does, or with 9 where that was stopped.
    fn become_a_background_job() -> std::io::Result<()> {
        // SAFETY: async-signal-safe system calls, in a process of one thread; `status` lives through its call.
        unsafe {
            assert!(libc::setsid() > 0 && libc::ioctl(2, libc::TIOCSCTTY, 0) == 0);
            let job = libc::fork();
            if job == 0 {
                libc::setpgid(0, 0);
                return Ok(());
            }
            let mut status = 0;
            libc::waitpid(job, &raw mut status, libc::WUNTRACED);
            if libc::WIFSTOPPED(status) {
                libc::kill(job, libc::SIGKILL);
                libc::_exit(9);
            }
            libc::_exit(libc::WEXITSTATUS(status))
        }
    }
}
