//! Makes `X.gz` of an archive `X`, in a child process that may take its time.
//!
//! ```text
//!   X ──> X.gz.tmp ──> read back: the same? ──> sync ──> X.gz, if nothing has that name ──> sync ──> X is removed
//!          └── whatever fails, it is removed, and X is as it was
//! ```
//!
//! So at any moment X is there, or an X.gz that is whole. What a killed compressor leaves is X and perhaps X.gz.tmp,
//! or X and X.gz: then the one is all in the other.
//!
//! The child has the lowest priority, a process group of its own, nothing open but what it works on, and ends with its
//! parent.
//!
//! What this file does not do: decide what is compressed, or when it has taken too long.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open as open_path};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, futimens, lstat};
use nix::sys::time::TimeSpec;
use nix::unistd::{self, ForkResult, Gid, Uid, fchown, fork, pipe2, unlink};

use super::archive::{errno_of, remove, rename_to_new, sync_directory_of};
use super::children::{self, Pid, WaitStatus};
use super::daemon::close_all_but;
use super::unix_listener::identity;
use super::unseen;

/// A compressor at work, or about to be reaped.
#[derive(Debug)]
pub(crate) struct Compressor {
    pid: Pid,
    source: PathBuf,
    /// Until it has said something, or ended.
    report: Option<OwnedFd>,
    said: Option<Said>,
}

/// What it came to: the bytes of the archive, or a sentence.
pub(crate) type Outcome = Result<u64, String>;

type Said = [u8; 9];

impl Compressor {
    /// `source` is absolute.
    pub(crate) fn start(source: &Path) -> Result<Compressor, String> {
        let failed = |errno: Errno| told(source, Stage::Start, errno);
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        let _ = fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        let parent = unistd::getpid();
        // SAFETY: this process has one thread, so that the child may do what the parent may.
        match unsafe { fork() }.map_err(failed)? {
            ForkResult::Parent { child } => {
                let pid = Pid::new(child.as_raw()).expect("a child is neither this process nor process 1");
                Ok(Compressor { pid, source: source.to_owned(), report: Some(reader), said: None })
            }
            ForkResult::Child => {
                settle(&writer, parent);
                let said = match replace(source) {
                    Ok(bytes) => encode(0, bytes),
                    Err(fault) => encode(fault.stage as u8, fault.errno as u64),
                };
                let _ = unistd::write(&writer, &said);
                unseen::end(0)
            }
        }
    }

    /// To watch for reading. None where it has said all, and only has to be reaped: in a moment.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.report.as_ref().map(AsFd::as_fd)
    }

    /// What it came to, once it is dead and reaped; to be dropped then.
    pub(crate) fn outcome(&mut self) -> Option<Outcome> {
        if let Some(report) = &self.report {
            let mut said = [0; size_of::<Said>()];
            match unistd::read(report, &mut said) {
                Err(Errno::EAGAIN | Errno::EINTR) => return None,
                Ok(count) if count == said.len() => self.said = Some(said),
                Ok(_) | Err(_) => {}
            }
            self.report = None;
        }
        let ending = unseen::reap(self.pid)?;
        Some(self.said.map_or_else(|| self.died(ending), |said| decode(&self.source, said)))
    }

    /// It has not been reaped, so that its number is its own.
    pub(crate) fn kill(&mut self) {
        let _ = children::signal(self.pid, libc::SIGKILL);
    }

    fn died(&self, ending: WaitStatus) -> Outcome {
        // It may have left this. Nobody else has that name, and what is there is no archive.
        let _ = remove(&suffixed(&self.source, SCRATCH));
        // Or both, at the very end: whoever reads all archives would read these lines twice.
        if let Some(bytes) = finish(&self.source) {
            return Ok(bytes);
        }
        let (how, number) = match ending {
            WaitStatus::Exited(status) => ("exited with status", status),
            WaitStatus::Signaled { signal, .. } => ("was killed by signal", signal),
        };
        Err(format!("cannot compress {}: the compressor {how} {number}", self.source.display()))
    }
}

fn encode(stage: u8, number: u64) -> Said {
    let mut said = [stage; size_of::<Said>()];
    said[1..].copy_from_slice(&number.to_ne_bytes());
    said
}

fn decode(source: &Path, said: Said) -> Outcome {
    let [stage, number @ ..] = said;
    let number = u64::from_ne_bytes(number);
    match Stage::ALL.into_iter().find(|known| *known as u8 == stage) {
        None => Ok(number),
        Some(stage) => Err(told(source, stage, Errno::from_raw(i32::try_from(number).unwrap_or(libc::EIO)))),
    }
}

/// What was done when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start = 1,
    Read,
    Write,
    Verify,
    Publish,
    Remove,
}

impl Stage {
    const ALL: [Stage; 6] =
        [Stage::Start, Stage::Read, Stage::Write, Stage::Verify, Stage::Publish, Stage::Remove];
}

fn told(source: &Path, stage: Stage, errno: Errno) -> String {
    let source = source.display();
    let what = match stage {
        Stage::Start => format!("cannot start a process to compress {source}"),
        Stage::Read => format!("cannot read {source} to compress it"),
        Stage::Write => format!("cannot write {source}{SCRATCH}"),
        Stage::Verify => format!("{source}{SCRATCH} does not read back as it was written"),
        Stage::Remove => format!("cannot remove {source}, which is compressed"),
        Stage::Publish => format!("cannot put {source}{DONE} in the place of {source}"),
    };
    format!("{what}: {}", errno.desc())
}

fn settle(kept: &OwnedFd, parent: unistd::Pid) {
    // SAFETY: these take numbers. The one for input and output: of this process (1), idle (class 3 of 3 bits behind
    // 13).
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setpgid(0, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::syscall(libc::SYS_ioprio_set, 1, 0, 3 << 13);
    }
    if unistd::getppid() != parent {
        unseen::end(1);
    }
    close_all_but(&[kept.as_raw_fd()]);
}

/// Nothing is followed, waited for, or passed on.
const SAFELY: OFlag =
    OFlag::O_CLOEXEC.union(OFlag::O_NOFOLLOW).union(OFlag::O_NOCTTY).union(OFlag::O_NONBLOCK);

const DONE: &str = ".gz";
const SCRATCH: &str = ".gz.tmp";

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[derive(Debug)]
struct Fault {
    stage: Stage,
    errno: Errno,
}

fn fault(stage: Stage) -> impl Fn(Errno) -> Fault {
    move |errno| Fault { stage, errno }
}

fn io_fault(stage: Stage) -> impl Fn(std::io::Error) -> Fault {
    move |error| Fault { stage, errno: errno_of(&error) }
}

/// Puts the compressed one in the place of the source. How many bytes it has.
fn replace(source: &Path) -> Result<u64, Fault> {
    let scratch = suffixed(source, SCRATCH);
    let input = open_path(source, OFlag::O_RDONLY | SAFELY, Mode::empty()).map_err(fault(Stage::Read))?;
    let found = fstat(&input).map_err(fault(Stage::Read))?;
    if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Fault { stage: Stage::Read, errno: Errno::EINVAL });
    }
    remove(&scratch).map_err(fault(Stage::Write))?;
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | SAFELY;
    let output = open_path(&scratch, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(fault(Stage::Write))?;
    let made = make(source, &scratch, &found, &File::from(input), &File::from(output));
    if made.is_err() {
        let _ = unlink(&scratch);
    }
    made
}

fn make(source: &Path, scratch: &Path, found: &FileStat, input: &File, output: &File) -> Result<u64, Fault> {
    deflate_all(input, output)?;
    // Who may read the one may read the other. Only root gives files away, and others need not.
    let _ = fchown(output, Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)));
    let mode = Mode::from_bits_truncate(found.st_mode & 0o777);
    let time = TimeSpec::new(found.st_mtime, found.st_mtime_nsec);
    fchmod(output, mode).and_then(|()| futimens(output, &time, &time)).map_err(fault(Stage::Write))?;
    output.sync_all().map_err(io_fault(Stage::Write))?;
    let bytes = output.metadata().map_err(io_fault(Stage::Write))?.len();
    if !reads_back(input, output).map_err(io_fault(Stage::Verify))? {
        return Err(Fault { stage: Stage::Verify, errno: Errno::EIO });
    }
    // What was removed meanwhile is not to come back.
    let now = lstat(source).map_err(fault(Stage::Read))?;
    if identity(&now) != identity(found) {
        return Err(Fault { stage: Stage::Read, errno: Errno::ESTALE });
    }
    let bytes = match rename_to_new(scratch, &suffixed(source, DONE)) {
        Err(Errno::EEXIST) => existing(source, input).map_err(fault(Stage::Publish))?,
        renamed => renamed.map(|()| bytes).map_err(fault(Stage::Publish))?,
    };
    let _ = remove(scratch);
    sync_directory_of(source);
    unlink(source).map(|()| bytes).map_err(fault(Stage::Remove))
}

/// There is something already where it is to be: good where that is all of the source, of a compressor that was killed
/// before it could remove that. How many bytes it has.
fn existing(source: &Path, input: &File) -> nix::Result<u64> {
    let found = open_path(&suffixed(source, DONE), OFlag::O_RDONLY | SAFELY, Mode::empty())
        .map_err(|_| Errno::EEXIST)?;
    let found = File::from(found);
    let bytes = found.metadata().map_err(|error| errno_of(&error))?.len();
    let same = reads_back(input, &found).unwrap_or(false);
    if same { Ok(bytes) } else { Err(Errno::EEXIST) }
}

/// Removes a source that is in its archive already. None where it is not.
fn finish(source: &Path) -> Option<u64> {
    lstat(&suffixed(source, DONE)).ok()?;
    let input = File::from(open_path(source, OFlag::O_RDONLY | SAFELY, Mode::empty()).ok()?);
    let bytes = existing(source, &input).ok()?;
    unlink(source).ok().map(|()| bytes)
}

/// A log is hardly larger than with 6 (0.19 of its size, and 0.18), in a third of the time.
const LEVEL: u32 = 4;
const PIECE_BYTES: usize = 64 * 1024;

fn deflate_all(mut input: &File, output: &File) -> Result<(), Fault> {
    let mut packed = GzEncoder::new(output, Compression::new(LEVEL));
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = input.read(&mut piece).map_err(io_fault(Stage::Read))?;
        if count == 0 {
            return packed.finish().map(|_| ()).map_err(io_fault(Stage::Write));
        }
        packed.write_all(&piece[..count]).map_err(io_fault(Stage::Write))?;
    }
}

/// Whether the output unpacks to what the input has, from its first byte to its last, and nothing is behind it.
fn reads_back(input: &File, mut output: &File) -> std::io::Result<bool> {
    output.rewind()?;
    let mut unpacked = MultiGzDecoder::new(output);
    let (mut piece, mut original) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut at = 0;
    loop {
        let count = unpacked.read(&mut piece)?;
        if count == 0 {
            return Ok(input.read_at(&mut original, at)? == 0);
        }
        if input.read_exact_at(&mut original[..count], at).is_err() || piece[..count] != original[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
}

#[cfg(test)]
mod tests;
