//! Runs the program under srvwrap or in a bare loop, and reads the moments that it tells.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::Bench;

/// CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) Duration);

/// A worker, and when its main began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began {
    pub(crate) pid: i32,
    pub(crate) at: Moment,
}

/// Something that runs N of the program. Ended, with all of them, when it is dropped.
pub(crate) struct Run {
    child: Child,
    records: ChildStdout,
    log: PathBuf,
    /// Of its own, with the control socket in it.
    directory: tempfile::TempDir,
    pub(crate) began: Moment,
    pub(crate) workers: Vec<Began>,
}

impl Run {
    /// `srvwrap -n N program`, from the moment before its exec until all are in their main.
    pub(crate) fn srvwrap(bench: &Bench, count: usize) -> Result<Run, Box<dyn Error>> {
        let mut command = Command::new(&bench.program);
        command.arg("exec").arg(&bench.srvwrap).args(["-n", &count.to_string(), "-p", "127.0.0.1:0"]);
        command.arg(&bench.program);
        Run::start(command, count)
    }

    /// `program loop N`, from the moment before its first fork.
    pub(crate) fn bare(bench: &Bench, count: usize) -> Result<Run, Box<dyn Error>> {
        let mut command = Command::new(&bench.program);
        command.args(["loop", &count.to_string()]);
        Run::start(command, count)
    }

    fn start(mut command: Command, count: usize) -> Result<Run, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let log = directory.path().join("log");
        command
            .current_dir(directory.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let mut child = command.spawn()?;
        let records = child.stdout.take().ok_or("no stdout")?;
        let mut run = Run { child, records, log, directory, began: Moment::now(), workers: Vec::new() };
        run.began = run.next()?.at;
        for _ in 0..count {
            let worker = run.next()?;
            run.workers.push(worker);
        }
        Ok(run)
    }

    /// The next record.
    pub(crate) fn next(&mut self) -> Result<Began, Box<dyn Error>> {
        let mut record = [0; 16];
        if let Err(error) = self.records.read_exact(&mut record) {
            return Err(format!("{error}: {}", self.log()).into());
        }
        let number = |half: usize| {
            u64::from_ne_bytes(
                record[8 * half..8 * half + 8].try_into().expect("eight bytes are eight bytes"),
            )
        };
        let at = Moment(Duration::from_nanos(number(1)));
        Ok(Began { pid: i32::try_from(number(0))?, at })
    }

    pub(crate) fn to_first(&self) -> Duration {
        self.workers.iter().map(|worker| worker.at).min().map_or(Duration::ZERO, |at| at.0 - self.began.0)
    }

    pub(crate) fn to_all(&self) -> Duration {
        self.workers.iter().map(|worker| worker.at).max().map_or(Duration::ZERO, |at| at.0 - self.began.0)
    }

    /// Where srvwrap is asked.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("srvwrap.sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until srvwrap says that all are online.
    pub(crate) fn wait_until_online(&self) -> Result<(), Box<dyn Error>> {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.log().contains("workers online: ") {
            if Instant::now() > until {
                return Err(format!("not online: {}", self.log()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Run {
    /// srvwrap's workers die with it; those of the loop are in its group. Then no one is left to hold stdout.
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
        let _ = self.records.read_to_end(&mut Vec::new());
    }
}

impl Moment {
    pub(crate) fn now() -> Moment {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a value that lives through the call, which cannot fail for this clock.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        Moment(Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)))
    }
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
