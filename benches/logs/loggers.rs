//! Runs one logger over the lines of some writers, and tells what that took.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2, sync};

use crate::Bench;
use crate::verdict::{Verdict, files_in, judge};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// From the start of the writers until everything is in files.
    pub(crate) seconds: f64,
    /// Of the logger, without its compressor.
    pub(crate) cpu_seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logger {
    Cat,
    Srvwrap(&'static str),
    S6Log,
    Svlogd,
    Multilog,
}

/// Bytes of a file before it is rotated.
const FILE_BYTES: &str = "10485760";
/// So many files are kept: all.
const KEPT: &str = "1000";

impl Logger {
    pub(crate) const ALL: [Logger; 7] = [
        Logger::Cat,
        Logger::Srvwrap("plain"),
        Logger::Srvwrap("prefix"),
        Logger::Srvwrap("json"),
        Logger::S6Log,
        Logger::Multilog,
        Logger::Svlogd,
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Logger::Cat => "cat > file".to_string(),
            Logger::Srvwrap(format) => format!("srvwrap, {format}"),
            Logger::S6Log => "s6-log".to_string(),
            Logger::Svlogd => "svlogd".to_string(),
            Logger::Multilog => "multilog".to_string(),
        }
    }

    pub(crate) fn is_installed(self) -> bool {
        let program = match self {
            Logger::Cat | Logger::Srvwrap(_) => return true,
            Logger::S6Log => "s6-log",
            Logger::Svlogd => "svlogd",
            Logger::Multilog => "multilog",
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    }

    pub(crate) fn run(self, bench: &Bench, writers: u64) -> Result<(Cost, Verdict), Box<dyn Error>> {
        let directory = tempfile::tempdir_in(bench.directory.path())?;
        // What the one before it has left to be written to the disk is not to be this one's.
        sync();
        let (cost, files) = match self {
            Logger::Srvwrap(format) => srvwrap(bench, format, writers, directory.path())?,
            Logger::Cat | Logger::S6Log | Logger::Svlogd | Logger::Multilog => {
                self.pipe(bench, writers, directory.path())?
            }
        };
        Ok((cost, judge(&files, writers, bench.count / writers)?))
    }

    fn command(self, directory: &Path) -> Result<Command, Box<dyn Error>> {
        let logs = directory.join("logs");
        let mut command;
        match self {
            Logger::Cat | Logger::Srvwrap(_) => {
                command = Command::new("cat");
                command.stdout(File::create(directory.join("current"))?);
            }
            Logger::S6Log => {
                command = Command::new("s6-log");
                command.arg(format!("n{KEPT}")).arg(format!("s{FILE_BYTES}")).arg(&logs);
            }
            Logger::Svlogd => {
                fs::create_dir(&logs)?;
                fs::write(logs.join("config"), format!("s{FILE_BYTES}\nn{KEPT}\n"))?;
                command = Command::new("svlogd");
                command.arg(&logs);
            }
            Logger::Multilog => {
                command = Command::new("multilog");
                command.arg(format!("s{FILE_BYTES}")).arg(format!("n{KEPT}")).arg(&logs);
            }
        }
        Ok(command)
    }

    /// All writers share its pipe, as in a shell.
    fn pipe(
        self,
        bench: &Bench,
        writers: u64,
        directory: &Path,
    ) -> Result<(Cost, Vec<PathBuf>), Box<dyn Error>> {
        let began = Instant::now();
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let logger = self.command(directory)?.stdin(reader).stderr(Stdio::null()).spawn()?;
        let each = (bench.count / writers).to_string();
        let mut writing = Vec::new();
        for number in 0..writers {
            let mut command = Command::new(&bench.lines);
            command.args([&each, "", &number.to_string()]).stdout(writer.try_clone()?);
            writing.push(command.spawn()?);
        }
        drop(writer);
        let cpu_seconds = wait(logger.id())?;
        let seconds = began.elapsed().as_secs_f64();
        for mut child in writing {
            child.wait()?;
        }
        let files = match self {
            Logger::Cat | Logger::Srvwrap(_) => vec![directory.join("current")],
            Logger::S6Log | Logger::Svlogd | Logger::Multilog => {
                files_in(&directory.join("logs"), "@", "current")?
            }
        };
        Ok((Cost { seconds, cpu_seconds }, files))
    }
}

fn srvwrap(
    bench: &Bench,
    format: &str,
    writers: u64,
    directory: &Path,
) -> Result<(Cost, Vec<PathBuf>), Box<dyn Error>> {
    let marker = directory.join("done.");
    let marker = marker.to_str().ok_or("the directory's name is no text")?;
    let began = Instant::now();
    let mut child = Command::new(&bench.srvwrap)
        .args(["-n", &writers.to_string(), "--ready", "exec", "--stdout", "current", "--log-format", format])
        .args(["--max-log-size", FILE_BYTES, "--log-keep", KEPT])
        .arg(&bench.lines)
        .args([&(bench.count / writers).to_string(), marker])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stderr(File::create(directory.join("notices"))?)
        .spawn()?;
    let pid = child.id();
    for writer in 0..writers {
        while !Path::new(&format!("{marker}{writer}")).exists() {
            if child.try_wait()?.is_some() {
                return Err(fs::read_to_string(directory.join("notices"))?.into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    // Its own, and that of the process that writes the files, which ends before it does. What wait4 tells of both has
    // the workers in it.
    let writer = log_writer_of(pid);
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    let (mut own, mut of_writer) = (0.0, 0.0);
    while let Some(seconds) = cpu_seconds_of(pid) {
        own = seconds;
        of_writer = writer.and_then(cpu_seconds_of).unwrap_or(of_writer);
        std::thread::sleep(Duration::from_millis(1));
    }
    let cpu_seconds = own + of_writer;
    wait(pid)?;
    let seconds = began.elapsed().as_secs_f64();
    Ok((Cost { seconds, cpu_seconds }, files_in(directory, "current", "current")?))
}

/// The child that is named so.
fn log_writer_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let mut children = children.split_ascii_whitespace().filter_map(|number| number.parse().ok());
    children.find(|child| {
        fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name.trim() == "srvwrap-log")
    })
}

/// User and system time; nothing where it has ended.
fn cpu_seconds_of(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let is_alive = fields.first().is_some_and(|state| *state != "Z" && *state != "X");
    // SAFETY: takes a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    is_alive.then_some((ticks(11)? + ticks(12)?) / per_second)
}

/// Waits for the end, and returns the seconds of user and system time.
fn wait(pid: u32) -> Result<f64, Box<dyn Error>> {
    let pid = i32::try_from(pid)?;
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the pointers are to places that live; all zeros is a valid rusage.
    let (waited, usage) =
        unsafe { (libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()), usage.assume_init()) };
    if waited != pid || status != 0 {
        return Err(format!("a logger ended with status {status}").into());
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}
