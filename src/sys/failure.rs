//! Why a program could not be started: the stage, the reason and what it was about, and how that reads.
//!
//! What fails between fork and exec is told by the child over a pipe that exec closes:
//!
//! ```text
//!   byte 0       1        2..6             6..8           8..               ..
//!   stage        detail   errno            path length    path              the first bytes of that file
//!                         native order     native order   cut at 2048       if it exists and exec says ENOENT
//! ```
//!
//! so that end-of-file with nothing before it means "executed". A message is far below PIPE_BUF and written at once:
//! it is read whole or not at all.
//!
//! What this file does not do: fail. That is `process.rs`.

use std::ffi::{CStr, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd;

use super::program;

/// What was being done, in the order of doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Turning arguments, environment and paths into what the kernel takes.
    Preparation,
    Pipe,
    Fork,
    ProcessGroup,
    Output,
    Descriptors,
    Stdin,
    Directory,
    Limits,
    DeathSignal,
    /// Looking for a program without a slash in PATH.
    Search,
    Execution,
}

const STAGES: [Stage; 12] = [
    Stage::Preparation,
    Stage::Pipe,
    Stage::Fork,
    Stage::ProcessGroup,
    Stage::Output,
    Stage::Descriptors,
    Stage::Stdin,
    Stage::Directory,
    Stage::Limits,
    Stage::DeathSignal,
    Stage::Search,
    Stage::Execution,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Errno(Errno),
    /// The object holds a NUL byte, which would end it early.
    NulByte,
    /// The program is a directory.
    IsDirectory,
    /// The program exists, but not what its `#!` line or ELF header names, where that could be made out.
    InterpreterMissing(Option<OsString>),
    /// A program without a slash is not in PATH, but in the worker's directory, where nobody looks.
    OnlyInDirectory,
}

/// One program that was not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) reason: Reason,
    /// The path that it was about, or for [`Reason::NulByte`] the words for it ("argument 2"). Empty where the stage
    /// says it all.
    pub(crate) object: OsString,
}

/// How a program is at fault for not being executed, as shells tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramFault {
    /// There is no such program: exit code 127.
    NotFound,
    /// There is one that cannot be executed: exit code 126.
    NotExecutable,
}

impl Failure {
    pub(super) fn errno(stage: Stage, errno: Errno) -> Failure {
        Failure { stage, reason: Reason::Errno(errno), object: OsString::new() }
    }

    /// Nothing where the program is not to blame: another stage, or want of memory, processes or descriptors, which
    /// may be over at the next try.
    pub(crate) fn program_fault(&self) -> Option<ProgramFault> {
        if self.stage == Stage::Search {
            return Some(ProgramFault::NotFound);
        }
        if self.stage != Stage::Execution {
            return None;
        }
        match self.reason {
            Reason::Errno(Errno::ENOENT) => Some(ProgramFault::NotFound),
            Reason::Errno(Errno::ENOMEM | Errno::EAGAIN | Errno::EMFILE | Errno::ENFILE | Errno::EIO) => None,
            Reason::Errno(_)
            | Reason::NulByte
            | Reason::IsDirectory
            | Reason::InterpreterMissing(_)
            | Reason::OnlyInDirectory => Some(ProgramFault::NotExecutable),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = Path::new(&self.object).display();
        match self.stage {
            Stage::Preparation => write!(f, "cannot hand over {object}")?,
            Stage::Pipe => write!(f, "cannot make a pipe")?,
            Stage::Fork => write!(f, "cannot fork")?,
            Stage::ProcessGroup => write!(f, "cannot make a process group")?,
            Stage::Output => write!(f, "cannot place stdout and stderr")?,
            Stage::Descriptors => write!(f, "cannot place the descriptors")?,
            Stage::Stdin => write!(f, "cannot open /dev/null as stdin")?,
            Stage::Directory => write!(f, "cannot change directory to {object}")?,
            Stage::Limits => write!(f, "cannot restore the limit of open files")?,
            Stage::DeathSignal => write!(f, "cannot set the death signal")?,
            Stage::Search if self.object.is_empty() => write!(f, "the program's name is empty")?,
            Stage::Search => write!(f, "cannot find program {object} in PATH")?,
            Stage::Execution => write!(f, "cannot execute {object}")?,
        }
        match &self.reason {
            Reason::Errno(_) if self.stage == Stage::Search => Ok(()),
            Reason::Errno(errno @ Errno::EACCES) if self.stage == Stage::Directory => {
                write!(f, ": {} (start srvwrap in one that its user may enter)", words(*errno))
            }
            Reason::Errno(errno @ Errno::ENOEXEC) => {
                write!(f, ": {} (a script has to begin with #! and its interpreter)", words(*errno))
            }
            Reason::Errno(errno) => write!(f, ": {}", words(*errno)),
            Reason::NulByte => write!(f, ": it holds a NUL byte"),
            Reason::IsDirectory => write!(f, ": it is a directory"),
            Reason::InterpreterMissing(Some(name)) => {
                write!(f, ": its interpreter {} is missing", Path::new(name).display())
            }
            Reason::InterpreterMissing(None) => write!(f, ": its interpreter is missing"),
            Reason::OnlyInDirectory => write!(f, ", but ./{object} exists"),
        }
    }
}

/// The C library's words, which are those that people search for, without the number that Rust adds.
fn words(errno: Errno) -> String {
    let mut words = io::Error::from(errno).to_string();
    words.truncate(words.find(" (os error").unwrap_or(words.len()));
    words
}

/// What has become of a program since the fork.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExecResult {
    Pending,
    /// Executed; or its process was killed before it came to that, which its wait status tells.
    Executed,
    Failed(Failure),
}

/// Looks, without waiting, at the pipe that came with the process.
pub(crate) fn exec_result(exec_status: impl AsFd) -> ExecResult {
    let mut message = [0; 4096];
    loop {
        return match unistd::read(&exec_status, &mut message) {
            Ok(0) => ExecResult::Executed,
            Ok(length) => ExecResult::Failed(decode(&message[..length])),
            Err(Errno::EAGAIN) => ExecResult::Pending,
            Err(Errno::EINTR) => continue,
            Err(errno) => ExecResult::Failed(Failure::errno(Stage::Pipe, errno)),
        };
    }
}

fn decode(message: &[u8]) -> Failure {
    let Some((&[stage, detail, a, b, c, d, e, f], rest)) = message.split_first_chunk::<HEADER_BYTES>() else {
        return Failure::errno(Stage::Pipe, Errno::EPROTO);
    };
    let (path, head) = rest.split_at(rest.len().min(usize::from(u16::from_ne_bytes([e, f]))));
    let stage = STAGES.get(usize::from(stage)).copied().unwrap_or(Stage::Pipe);
    let reason = match detail {
        DIRECTORY => Reason::IsDirectory,
        INTERPRETER_MISSING => Reason::InterpreterMissing(program::interpreter_in(head)),
        ONLY_IN_DIRECTORY => Reason::OnlyInDirectory,
        _ => Reason::Errno(Errno::from_raw(i32::from_ne_bytes([a, b, c, d]))),
    };
    Failure { stage, reason, object: OsStr::from_bytes(path).to_owned() }
}

const HEADER_BYTES: usize = 8;
const LONGEST_PATH: usize = 2048;
/// Enough for a `#!` line (256), and for where linkers put the name of a program's loader (at about 800).
const LONGEST_HEAD: usize = 1024;

// The details of a message. 0: there is none.
const DIRECTORY: u8 = 1;
const INTERPRETER_MISSING: u8 = 2;
const ONLY_IN_DIRECTORY: u8 = 3;

/// A failure as the child has it: no memory of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault<'image> {
    pub(super) stage: Stage,
    pub(super) errno: i32,
    pub(super) path: &'image CStr,
}

impl Fault<'_> {
    /// Tells the parent. Async-signal-safe: it is called between fork and exec.
    pub(super) fn report(&self, exec_status: RawFd) {
        let mut head = [0u8; LONGEST_HEAD];
        let (detail, head_length) = self.look_closer(&mut head);
        let [a, b, c, d] = self.errno.to_ne_bytes();
        let path_length = self.path.count_bytes().min(LONGEST_PATH);
        let [e, f] = (path_length as u16).to_ne_bytes();
        let header = [self.stage as u8, detail, a, b, c, d, e, f];
        let parts = [
            libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: header.len() },
            libc::iovec { iov_base: self.path.as_ptr().cast_mut().cast(), iov_len: path_length },
            libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head_length },
        ];
        // SAFETY: three parts, each a pointer to as many bytes as it says, all alive.
        unsafe { libc::writev(exec_status, parts.as_ptr(), 3) };
    }

    /// Says more than exec's errno does about the file, which only this process sees as the kernel did: the parent is
    /// in another directory.
    fn look_closer(&self, head: &mut [u8; LONGEST_HEAD]) -> (u8, usize) {
        if !matches!(self.stage, Stage::Search | Stage::Execution) {
            return (0, 0);
        }
        // SAFETY: the path is a C string, all zeros is a valid `stat`, and a read gets the buffer's own length. A
        // regular file does not make open wait.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            if libc::stat(self.path.as_ptr(), &raw mut stat) != 0 {
                return (0, 0);
            }
            match (self.stage, stat.st_mode & libc::S_IFMT, self.errno) {
                (Stage::Search, libc::S_IFREG, _) => (ONLY_IN_DIRECTORY, 0),
                (Stage::Execution, libc::S_IFDIR, _) => (DIRECTORY, 0),
                (Stage::Execution, libc::S_IFREG, libc::ENOENT) => {
                    let file =
                        libc::open(self.path.as_ptr(), libc::O_RDONLY | libc::O_NONBLOCK | libc::O_CLOEXEC);
                    let length = libc::read(file, head.as_mut_ptr().cast(), head.len());
                    (INTERPRETER_MISSING, usize::try_from(length).unwrap_or(0))
                }
                _ => (0, 0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn execution(reason: Reason, object: &str) -> Failure {
        Failure { stage: Stage::Execution, reason, object: object.into() }
    }

    fn search(reason: Reason) -> Failure {
        Failure { stage: Stage::Search, ..execution(reason, "nope") }
    }

    #[test]
    fn a_failure_names_its_object_and_says_the_reason_last() {
        let directory =
            Failure { stage: Stage::Directory, ..execution(Reason::Errno(Errno::ENOENT), "/srv/x") };
        let argument = Failure { stage: Stage::Preparation, ..execution(Reason::NulByte, "argument 2") };
        for (failure, words) in [
            (directory, "cannot change directory to /srv/x: No such file or directory"),
            (argument, "cannot hand over argument 2: it holds a NUL byte"),
            (Failure::errno(Stage::Fork, Errno::EAGAIN), "cannot fork: Resource temporarily unavailable"),
            (execution(Reason::Errno(Errno::EACCES), "./app"), "cannot execute ./app: Permission denied"),
            (
                execution(Reason::Errno(Errno::ENOENT), "./app"),
                "cannot execute ./app: No such file or directory",
            ),
            (search(Reason::Errno(Errno::ENOENT)), "cannot find program nope in PATH"),
            (search(Reason::OnlyInDirectory), "cannot find program nope in PATH, but ./nope exists"),
            (execution(Reason::IsDirectory, "/srv"), "cannot execute /srv: it is a directory"),
            (
                execution(Reason::InterpreterMissing(Some("/nope".into())), "./x"),
                "cannot execute ./x: its interpreter /nope is missing",
            ),
        ] {
            assert_eq!(failure.to_string(), words);
        }
    }

    #[test]
    fn only_a_program_at_fault_is_called_not_found_or_not_executable() {
        let fault = |errno| execution(Reason::Errno(errno), "./app").program_fault();
        assert_eq!(fault(Errno::ENOENT), Some(ProgramFault::NotFound));
        assert_eq!(fault(Errno::ENOEXEC), Some(ProgramFault::NotExecutable));
        assert_eq!(fault(Errno::EAGAIN), None);
        let missing = execution(Reason::InterpreterMissing(None), "./app").program_fault();
        assert_eq!(missing, Some(ProgramFault::NotExecutable));
        assert_eq!(search(Reason::OnlyInDirectory).program_fault(), Some(ProgramFault::NotFound));
        assert_eq!(Failure::errno(Stage::Fork, Errno::ENOENT).program_fault(), None);
    }

    #[test]
    fn every_stage_survives_the_pipe() {
        for (number, stage) in (0..).zip(STAGES) {
            assert_eq!(stage as u8, number);
            let (reader, writer) = unistd::pipe().unwrap();
            let fault = Fault { stage, errno: libc::EPERM, path: c"/no/such/thing" };
            fault.report(std::os::fd::AsRawFd::as_raw_fd(&writer));
            let expected = Failure { object: "/no/such/thing".into(), ..Failure::errno(stage, Errno::EPERM) };
            assert_eq!(exec_result(&reader), ExecResult::Failed(expected));
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_the_reader_fail(message in proptest::collection::vec(any::<u8>(), 1..64)) {
            decode(&message);
        }
    }
}
