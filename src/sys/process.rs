//! Starts a program: fork, then named stages in the child, then exec.
//!
//! ```text
//!   srvwrap                               child
//!   prepare every string and pointer
//!   block all signals, fork ────────────> process group     its own; srvwrap sets it too, whoever is first
//!   put the mask back                     signals           default, or ignored as at srvwrap's start
//!                                         descriptors       3, 4, … in the order given; the rest closes at exec
//!                                         stdin             /dev/null, inherited, or a listener
//!                                         output            stdout and stderr: inherited, /dev/null or a pipe
//!                                         process id        its own, into a variable that has room for it
//!                                         directory         as typed: a symlink is followed anew each time
//!                                         limits            open files as at srvwrap's start
//!                                         death signal      KILL when srvwrap ends
//!   exec_status <── failed stage, errno ─ exec              mask as at srvwrap's start, just before
//!               <── end-of-file ───────── (executed)
//! ```
//!
//! The child makes only async-signal-safe calls and allocates nothing. All signals stay blocked in it until its
//! handlers are gone, because a signal to it would be handled by srvwrap's handler and written into srvwrap's pipe.
//!
//! The program is looked up by execve itself over the candidates that `program.rs` makes, in execvp's order of
//! errors, but what the kernel cannot execute is never handed to a shell.
//!
//! What this file does not do: wait for exec, which `exec_result` (`failure.rs`) is asked about later.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd;

use super::children::Pid;
use super::failure::{Failure, Fault, Reason, Stage};
use super::program;
use super::signal_state::{self, Change, SignalSet};
use super::startup::Startup;

/// Where the descriptors of a program begin: behind stdin, stdout and stderr.
pub(crate) const FIRST_DESCRIPTOR: RawFd = 3;

/// What a process is to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image<'a> {
    /// The words as typed, the program first. An empty list fails as a program without a name.
    pub(crate) argv: &'a [OsString],
    /// The whole environment, names and values. Its PATH is the one that is searched.
    pub(crate) environment: &'a [(OsString, OsString)],
    /// As typed. Relative programs and PATH entries are looked up from there.
    pub(crate) directory: &'a Path,
    /// A variable that is set to the id of the new process; not in `environment`.
    pub(crate) pid_variable: Option<&'a str>,
    pub(crate) stdin: Stdin<'a>,
    pub(crate) stdout: Output<'a>,
    pub(crate) stderr: Output<'a>,
    /// Placed from [`FIRST_DESCRIPTOR`] on, in this order. The same one may be given twice.
    pub(crate) descriptors: &'a [BorrowedFd<'a>],
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Stdin<'a> {
    /// /dev/null, for reading.
    Null,
    /// srvwrap's own.
    Inherit,
    /// This one.
    From(BorrowedFd<'a>),
}

/// Where stdout or stderr of a process leads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output<'a> {
    /// Where srvwrap's own does.
    Inherit,
    /// /dev/null, for writing.
    Null,
    /// There: the writing end of a pipe, or the other one of srvwrap's own.
    To(BorrowedFd<'a>),
}

/// A process that has been made and may not have executed its program yet.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    /// Readable once the program has been executed, or could not be: for `exec_result`. Does not block.
    pub(crate) exec_status: OwnedFd,
}

/// Makes a process and leaves it on its way to exec. An error means that there is none; failures after that come from
/// [`Spawned::exec_status`].
pub(crate) fn spawn(image: &Image<'_>, startup: &Startup) -> Result<Spawned, Failure> {
    let strings = Strings::of(image)?;
    let mut pid_entry = image.pid_variable.map(PidEntry::of);
    let entry = pid_entry.as_mut().map(PidEntry::pointer);
    let (argv, environment) = (pointers(&strings.argv, None), pointers(&strings.environment, entry));
    let mut sources: Vec<RawFd> = image.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let mut outputs = [Place::of(image.stdout), Place::of(image.stderr)];
    // The flag is for our end; one message always fits, so that the child's write has nothing to wait for.
    let (exec_status, writer) = unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .map_err(|errno| Failure::errno(Stage::Pipe, errno))?;
    let mut child = Child {
        strings: &strings,
        argv: &argv,
        environment: &environment,
        sources: &mut sources,
        exec_status: writer.as_raw_fd(),
        pid_entry: pid_entry.as_mut(),
        stdin: Place::of_stdin(image.stdin),
        outputs: &mut outputs,
        startup: *startup,
        parent: unistd::getpid().as_raw(),
    };
    let before = signal_state::change_mask(Change::Block, SignalSet::ALL);
    // SAFETY: in the child only `become_program` runs, which keeps to async-signal-safe calls and does not return.
    let number = unsafe { libc::fork() };
    if number == 0 {
        child.become_program();
    }
    let errno = Errno::last();
    signal_state::change_mask(Change::Replace, before);
    let pid = Pid::new(number).ok_or_else(|| Failure::errno(Stage::Fork, errno))?;
    // Also done by the child. Here too, so that a signal to the group finds it from now on. It fails when the program
    // has been executed already, and then the child has done it.
    // SAFETY: takes two numbers.
    unsafe { libc::setpgid(number, number) };
    Ok(Spawned { pid, exec_status })
}

/// An image as C strings.
struct Strings {
    /// The program as typed.
    program: CString,
    candidates: Vec<CString>,
    argv: Vec<CString>,
    environment: Vec<CString>,
    directory: CString,
}

impl Strings {
    fn of(image: &Image<'_>) -> Result<Strings, Failure> {
        let program = image.argv.first().map_or(OsStr::new(""), OsString::as_os_str);
        let path =
            image.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
        let argv = image.argv.iter().enumerate().map(|(index, word)| {
            CString::new(word.as_bytes()).map_err(|_| nul_byte(format!("argument {index}")))
        });
        let environment = image.environment.iter().map(|(name, value)| {
            let entry = [name.as_bytes(), b"=", value.as_bytes()].concat();
            CString::new(entry)
                .map_err(|_| nul_byte(format!("environment variable {}", name.to_string_lossy())))
        });
        let candidates = program::candidates(program, path).into_iter().map(|candidate| {
            CString::new(candidate.into_os_string().into_vec())
                .map_err(|_| nul_byte("the program's path".into()))
        });
        Ok(Strings {
            program: CString::new(program.as_bytes()).map_err(|_| nul_byte("the program's name".into()))?,
            candidates: candidates.collect::<Result<_, _>>()?,
            argv: argv.collect::<Result<_, _>>()?,
            environment: environment.collect::<Result<_, _>>()?,
            directory: CString::new(image.directory.as_os_str().as_bytes())
                .map_err(|_| nul_byte("the directory".into()))?,
        })
    }
}

fn nul_byte(object: String) -> Failure {
    Failure { stage: Stage::Preparation, reason: Reason::NulByte, object: object.into() }
}

/// What execve takes: a pointer to each string, then a null pointer. Good as long as the strings are.
fn pointers(strings: &[CString], last: Option<*const libc::c_char>) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain(last).chain([ptr::null()]).collect()
}

/// `NAME=`, and behind it room for a process id: only the child knows its own, and can allocate nothing.
struct PidEntry {
    bytes: Vec<u8>,
    /// Where the digits begin.
    digits_at: usize,
}

impl PidEntry {
    /// The digits of the largest 32-bit number.
    const ROOM: usize = 10;

    fn of(name: &str) -> PidEntry {
        let mut bytes = [name.as_bytes(), b"="].concat();
        let digits_at = bytes.len();
        bytes.resize(digits_at + Self::ROOM + 1, 0);
        PidEntry { bytes, digits_at }
    }

    fn pointer(&mut self) -> *const libc::c_char {
        self.bytes.as_mut_ptr().cast_const().cast()
    }

    /// Behind the last digit there are zero bytes only.
    fn write(&mut self, pid: libc::pid_t) {
        let mut place = 1;
        while pid / place >= 10 {
            place *= 10;
        }
        for byte in self.bytes.iter_mut().skip(self.digits_at).take(Self::ROOM) {
            if place == 0 {
                break;
            }
            *byte = b'0' + (pid / place % 10) as u8;
            place /= 10;
        }
    }
}

/// A [`Stdin`] or an [`Output`] as the child has it.
#[derive(Clone, Copy)]
enum Place {
    Inherit,
    Null,
    To(RawFd),
}

impl Place {
    fn of(output: Output<'_>) -> Place {
        match output {
            Output::Inherit => Place::Inherit,
            Output::Null => Place::Null,
            Output::To(fd) => Place::To(fd.as_raw_fd()),
        }
    }

    fn of_stdin(stdin: Stdin<'_>) -> Place {
        match stdin {
            Stdin::Inherit => Place::Inherit,
            Stdin::Null => Place::Null,
            Stdin::From(fd) => Place::To(fd.as_raw_fd()),
        }
    }
}

/// All that the child needs, made before the fork.
struct Child<'a> {
    strings: &'a Strings,
    argv: &'a [*const libc::c_char],
    environment: &'a [*const libc::c_char],
    sources: &'a mut [RawFd],
    exec_status: RawFd,
    pid_entry: Option<&'a mut PidEntry>,
    stdin: Place,
    /// Of stdout and stderr.
    outputs: &'a mut [Place; 2],
    startup: Startup,
    parent: libc::pid_t,
}

impl<'a> Child<'a> {
    fn become_program(&mut self) -> ! {
        let Err(fault) = self.stages();
        fault.report(self.exec_status);
        // SAFETY: ends this process without running anything of srvwrap's that is registered for its end.
        unsafe { libc::_exit(127) }
    }

    fn stages(&mut self) -> Result<Infallible, Fault<'a>> {
        // SAFETY: takes two numbers.
        ok(unsafe { libc::setpgid(0, 0) }).map_err(fault(Stage::ProcessGroup))?;
        signal_state::ignore_only(self.startup.ignored);
        // Before the others are placed, which may be at the numbers that these have now.
        self.set_outputs().map_err(fault(Stage::Output))?;
        match &mut self.stdin {
            Place::To(fd) => place(self.sources, &mut [&mut self.exec_status, fd]),
            Place::Inherit | Place::Null => place(self.sources, &mut [&mut self.exec_status]),
        }
        .map_err(fault(Stage::Descriptors))?;
        self.set_stdin().map_err(fault(Stage::Stdin))?;
        self.write_pid();
        self.change_directory()?;
        self.restore_limits().map_err(fault(Stage::Limits))?;
        self.set_death_signal().map_err(fault(Stage::DeathSignal))?;
        signal_state::change_mask(Change::Replace, self.startup.mask);
        Err(self.execute())
    }

    fn set_stdin(&self) -> Result<(), i32> {
        // SAFETY: the path is a C string; the rest are numbers.
        unsafe {
            match self.stdin {
                Place::Inherit => {}
                Place::To(fd) => ok(libc::dup2(fd, 0))?,
                Place::Null => {
                    let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY);
                    ok(null)?;
                    if null != 0 {
                        ok(libc::dup2(null, 0))?;
                        libc::close(null);
                    }
                }
            }
        }
        Ok(())
    }

    fn write_pid(&mut self) {
        if let Some(entry) = &mut self.pid_entry {
            // SAFETY: takes nothing.
            entry.write(unsafe { libc::getpid() });
        }
    }

    /// None of srvwrap's descriptors but its own stdin, stdout and stderr has a number below 3 (Rust's runtime sees to
    /// it), so that nothing is in the way. Where each of the two is to lead where the other does now, one moves first.
    fn set_outputs(&mut self) -> Result<(), i32> {
        for place in self.outputs.iter_mut() {
            if let Place::To(fd) = place {
                if *fd < FIRST_DESCRIPTOR {
                    // SAFETY: takes numbers. The copy closes at exec.
                    *fd = unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR) };
                    ok(*fd)?;
                }
            }
        }
        for (target, place) in (1..).zip(self.outputs.iter()) {
            // SAFETY: the path is a C string; the rest are numbers. What was open at the target is this process's own
            // copy.
            unsafe {
                match place {
                    Place::Inherit => {}
                    Place::To(fd) => ok(libc::dup2(*fd, target))?,
                    Place::Null => {
                        let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                        ok(null)?;
                        ok(libc::dup2(null, target))?;
                        libc::close(null);
                    }
                }
            }
        }
        Ok(())
    }

    fn change_directory(&self) -> Result<(), Fault<'a>> {
        let path = self.strings.directory.as_c_str();
        // SAFETY: the path is a C string.
        let changed = ok(unsafe { libc::chdir(path.as_ptr()) });
        changed.map_err(|errno| Fault { stage: Stage::Directory, errno, path })
    }

    /// The soft limit alone: the hard one was not touched, and where it has been lowered since then only root could
    /// raise it again.
    fn restore_limits(&self) -> Result<(), i32> {
        let Some(open_files) = self.startup.open_files else { return Ok(()) };
        let mut limit = libc::rlimit { rlim_cur: open_files, rlim_max: open_files };
        // SAFETY: the pointers are to a value that lives through the calls.
        unsafe {
            ok(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
            limit.rlim_cur = open_files.min(limit.rlim_max);
            ok(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))
        }
    }

    /// Late, because changes of user or group clear it. If srvwrap ended before it was set, nobody would ever send
    /// it, and nobody is left to be told either.
    fn set_death_signal(&self) -> Result<(), i32> {
        // SAFETY: these take numbers.
        unsafe {
            ok(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            if libc::getppid() != self.parent {
                libc::_exit(127);
            }
        }
        Ok(())
    }

    /// Tries the candidates as execvp does: one that is not there, or not allowed, is passed over, anything else is
    /// final; and if none was executed "not allowed" says more than "not there", as does "there, but not what is to
    /// interpret it".
    fn execute(&self) -> Fault<'a> {
        let (mut denied, mut uninterpreted) = (None, None);
        let mut missing = Fault { stage: Stage::Search, errno: libc::ENOENT, path: &self.strings.program };
        for path in self.strings.candidates.iter().map(CString::as_c_str) {
            // SAFETY: a C string, and two lists of C strings with a null pointer at their end.
            unsafe { libc::execve(path.as_ptr(), self.argv.as_ptr(), self.environment.as_ptr()) };
            let fault = Fault { stage: Stage::Execution, errno: Errno::last_raw(), path };
            match fault.errno {
                libc::EACCES => denied = denied.or(Some(fault)),
                libc::ENOENT if exists(path) => uninterpreted = uninterpreted.or(Some(fault)),
                // That one PATH entry is not a directory, or is on a network that is away (ESTALE and the rest), says
                // nothing about the program. Of a program that was named by its path it says all.
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {
                    missing = if self.is_path() { fault } else { missing };
                }
                _ => return fault,
            }
        }
        denied.or(uninterpreted).unwrap_or(missing)
    }

    fn is_path(&self) -> bool {
        self.strings.program.to_bytes().contains(&b'/')
    }
}

fn fault<'a>(stage: Stage) -> impl FnOnce(i32) -> Fault<'a> {
    move |errno| Fault { stage, errno, path: c"" }
}

fn ok(result: i32) -> Result<(), i32> {
    if result < 0 { Err(Errno::last_raw()) } else { Ok(()) }
}

fn exists(path: &CStr) -> bool {
    // SAFETY: the path is a C string.
    unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
}

/// Puts `sources` at the numbers from [`FIRST_DESCRIPTOR`] on. Targets may be anyone's numbers, the sources' own and
/// those that are `kept` for later included, so whatever of these is in the way is first moved above the last target.
/// After that no source is a target, and dup2 leaves every target open across exec, which it would not do on its own
/// number.
fn place(sources: &mut [RawFd], kept: &mut [&mut RawFd]) -> Result<(), i32> {
    let behind = FIRST_DESCRIPTOR.saturating_add(RawFd::try_from(sources.len()).unwrap_or(RawFd::MAX));
    for fd in sources.iter_mut().chain(kept.iter_mut().map(|fd| &mut **fd)) {
        if *fd < behind {
            // SAFETY: takes numbers. The original closes at exec.
            *fd = unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, behind) };
            ok(*fd)?;
        }
    }
    for (target, source) in (FIRST_DESCRIPTOR..).zip(sources) {
        // SAFETY: takes numbers. What was open at the target is this process's own copy.
        ok(unsafe { libc::dup2(*source, target) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
