//! Starts srvwrap as a user would, reads its notices, and ends it by its id.

pub(crate) mod command;
pub(crate) mod consumers;
pub(crate) mod control;
pub(crate) mod daemon;
pub(crate) mod disk;
pub(crate) mod examples;
pub(crate) mod frameworks;
pub(crate) mod handed;
pub(crate) mod http;
pub(crate) mod lines;
pub(crate) mod load;
pub(crate) mod node_packages;
pub(crate) mod proc;
pub(crate) mod process;
pub(crate) mod require;
pub(crate) mod screen;
pub(crate) mod stand_in;
pub(crate) mod strace;
pub(crate) mod terminal;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A fact that does not come in this time does not come. Long, because the machine may be busy; nothing waits for it
/// when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_srvwrap");

/// How srvwrap is to be started.
pub(crate) struct Starting {
    command: Command,
    directory: tempfile::TempDir,
}

/// A running srvwrap. Killed at the end, if it has not ended; its workers die with it.
pub(crate) struct Srvwrap {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
    /// Lines of the log that a `wait_for` has passed.
    seen: usize,
    pub(crate) directory: tempfile::TempDir,
}

/// A srvwrap to be started with these arguments, in an empty directory of its own.
pub(crate) fn srvwrap<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Starting {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut command = process::plain(BINARY);
    command.args(arguments).current_dir(directory.path()).env("PWD", directory.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("WEB_CONCURRENCY").env_remove("PORT");
    Starting { command, directory }
}

impl Starting {
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a file beside the program; executable where it begins with `#!`.
    pub(crate) fn file(self, name: &str, text: &str) -> Starting {
        write_file(self.path(), name, text);
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Starting {
        self.command.env(name, value);
        self
    }

    /// Anything else that the command needs: a pre-exec hook, other streams.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Command)) -> Starting {
        change(&mut self.command);
        self
    }

    /// Has another program start it, which stands before it on the command line.
    pub(crate) fn under(mut self, program: &str, arguments: impl IntoIterator<Item = OsString>) -> Starting {
        let inner = std::mem::replace(&mut self.command, process::plain(program));
        self.command.args(arguments).arg(inner.get_program()).args(inner.get_args());
        self.command.current_dir(self.directory.path());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => self.command.env(name, value),
                None => self.command.env_remove(name),
            };
        }
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self
    }

    pub(crate) fn start(mut self) -> Srvwrap {
        let mut child = self.command.spawn().expect("srvwrap can be started");
        let (sender, lines) = channel();
        for stream in [
            child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
            child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        ]
        .into_iter()
        .flatten()
        {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    // The test may be over.
                    let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        Srvwrap { child, lines, log: Vec::new(), seen: 0, directory: self.directory }
    }

    /// Starts it and waits until all workers are online.
    pub(crate) fn online(self) -> Srvwrap {
        let mut srvwrap = self.start();
        srvwrap.wait_for("workers online: ");
        srvwrap
    }

    /// Runs it to its end: the exit code, and what it said.
    pub(crate) fn run(self) -> (i32, String) {
        let mut srvwrap = self.start();
        let code = srvwrap.exit_code();
        (code, srvwrap.log())
    }
}

pub(crate) fn write_file(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    // Written under another name and moved, so that it is never there by half.
    let temporary = directory.join(format!("{name}.new"));
    if text.starts_with("#!") {
        write_executable(&temporary, text);
    } else {
        std::fs::write(&temporary, text).expect("a file can be written");
    }
    std::fs::rename(&temporary, &path).expect("in one directory");
    path
}

/// By a process of its own: a file that is open for writing cannot be executed, and a fork of another test thread would
/// hold open what is open here.
fn write_executable(path: &Path, text: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writing = shell.spawn().expect("there is a shell");
    let mut stdin = writing.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(writing.wait().expect("it is ours").success(), "{} cannot be written", path.display());
}

impl Srvwrap {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("srvwrap is there");
    }

    /// Sends a signal and waits until srvwrap has taken it in, so that the next one of its kind is not merged with it.
    pub(crate) fn signal_taken(&self, signal: Signal) {
        self.signal(signal);
        wait_until("the signal is no longer pending", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
            let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
            let mask = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            mask.is_some_and(|mask| mask & (1 << (signal as u32 - 1)) == 0)
        });
    }

    /// Its files: the program's directory, where a test and a program can leave each other word.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Lets a program go on that waits for a file of this name.
    pub(crate) fn touch(&self, name: &str) {
        std::fs::write(self.path().join(name), "").expect("a file can be written");
    }

    /// Its living children.
    pub(crate) fn children(&self) -> std::collections::BTreeSet<i32> {
        let processes = std::fs::read_dir("/proc").expect("there is a /proc");
        let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let parent = self.pid().to_string();
        let is_child = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let mut fields = stat.rsplit(") ").next().unwrap_or("").split(' ');
            fields.next().is_some_and(|state| !["Z", "X"].contains(&state)) && fields.next() == Some(&parent)
        };
        pids.filter(is_child).collect()
    }

    /// How many descriptors it has open.
    pub(crate) fn open_descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("srvwrap is there").count()
    }

    /// Waits until its children are the workers last seen online, and nobody else.
    pub(crate) fn wait_for_no_other_children(&mut self) {
        let workers: std::collections::BTreeSet<i32> = self.worker_pids().into_values().collect();
        wait_until("nobody lives but the workers", || self.children() == workers);
    }

    /// The next line, after those waited for before, that holds `words`. Panics, with the log, where none comes.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        self.next_line(words, PATIENCE)
            .unwrap_or_else(|| panic!("no {words:?}; this was said:\n{}", self.log()))
    }

    /// As [`Self::wait_for`], for so many such lines.
    pub(crate) fn wait_for_times(&mut self, words: &str, times: usize) -> Vec<String> {
        (0..times).map(|_| self.wait_for(words)).collect()
    }

    /// Waits until each of these has been said, in whatever order, after the lines waited for before.
    pub(crate) fn wait_for_all(&mut self, facts: &[&str]) {
        let from = self.seen;
        let mut to = from;
        for words in facts {
            self.seen = from;
            self.wait_for(words);
            to = to.max(self.seen);
        }
        self.seen = to;
    }

    fn next_line(&mut self, words: &str, patience: Duration) -> Option<String> {
        let until = Instant::now() + patience;
        loop {
            while let Some(line) = self.log.get(self.seen) {
                self.seen += 1;
                if line.contains(words) {
                    return Some(line.clone());
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            self.log.push(self.lines.recv_timeout(left).ok()?);
        }
    }

    /// Whether anything said so far holds `words`.
    pub(crate) fn has_said(&mut self, words: &str) -> bool {
        self.log.extend(self.lines.try_iter());
        self.log.iter().any(|line| line.contains(words))
    }

    /// Everything said so far, workers' stdout and stderr among it.
    pub(crate) fn log(&mut self) -> String {
        self.log.extend(self.lines.try_iter());
        self.log.join("\n")
    }

    /// How many lines of everything said so far hold `words`.
    pub(crate) fn times_said(&mut self, words: &str) -> usize {
        self.log.extend(self.lines.try_iter());
        self.log.iter().filter(|line| line.contains(words)).count()
    }

    /// Waits until so many lines hold `words`, wherever they stand among the others.
    pub(crate) fn wait_until_said(&mut self, words: &str, times: usize) {
        let until = Instant::now() + PATIENCE;
        while self.times_said(words) < times {
            assert!(Instant::now() < until, "not {times} times {words:?}; this was said:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The port of the first TCP listener.
    pub(crate) fn port(&mut self) -> u16 {
        let is_tcp = |line: &&String| line.contains("listening on ") && !line.contains(" unix:");
        while !self.log.iter().any(|line| is_tcp(&line)) {
            self.wait_for("listening on ");
        }
        let line = self.log.iter().find(is_tcp).expect("just found").clone();
        let address = line.split("listening on ").nth(1).expect("just found");
        let digits = address.split(' ').find_map(|word| word.rsplit(':').next()?.parse().ok());
        digits.unwrap_or_else(|| panic!("no port in {line:?}"))
    }

    /// The pids of the workers online, by slot, from the notices so far.
    pub(crate) fn worker_pids(&mut self) -> std::collections::BTreeMap<u32, i32> {
        self.log.extend(self.lines.try_iter());
        let online = self.log.iter().filter(|line| line.contains(" online after "));
        online.filter_map(|line| worker_of(line)).collect()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            // The streams end with the last process that holds them, which may outlive srvwrap; so its end is asked
            // for.
            match self.child.try_wait().expect("it is our child") {
                Some(status) => {
                    // Where nobody outlives it the end of the streams ends this at once; the readers may be slow.
                    while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(2)) {
                        self.log.push(line);
                    }
                    return status;
                }
                None if Instant::now() > until => panic!("it does not end; this was said:\n{}", self.log()),
                None => {
                    if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(10)) {
                        self.log.push(line);
                    }
                }
            }
        }
    }

    /// Waits for its end, and tells its exit code as a shell does: 128+n where it died of a signal.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let status = self.wait();
        status.code().unwrap_or_else(|| 128 + status.signal().expect("neither exited nor killed"))
    }

    /// Stops it by TERM, which must end it with 0.
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.exit_code(), 0, "{}", self.log());
        self.log()
    }
}

/// Sends a signal to a process, by its id.
pub(crate) fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("it is there");
}

/// `worker 3 (pid 4711) …`
pub(crate) fn worker_of(line: &str) -> Option<(u32, i32)> {
    let rest = line.split("worker ").nth(1)?;
    let slot = rest.split(' ').next()?.parse().ok()?;
    let pid = rest.split("(pid ").nth(1)?.split(')').next()?.parse().ok()?;
    Some((slot, pid))
}

impl Drop for Srvwrap {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("srvwrap said:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `fact` holds; panics with `what` where it does not come.
pub(crate) fn wait_until(what: &str, mut fact: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !fact() {
        assert!(Instant::now() < until, "this does not come: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process is there and not a zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("").starts_with(['Z', 'X']))
}

/// Makes a command that runs before srvwrap is executed, in its process. Only async-signal-safe calls may be made.
pub(crate) fn before_exec(
    command: &mut Command,
    hook: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the hooks of these tests only make system calls.
    unsafe { command.pre_exec(hook) };
}

/// A terminal: its master, and itself. Neither reaches a process that another test starts at this moment.
pub(crate) fn terminal() -> (File, OwnedFd) {
    let master = File::options().read(true).write(true).open("/dev/ptmx").expect("a terminal can be made");
    let unlocked: libc::c_int = 0;
    // SAFETY: the number lives through the call; what the second call returns is new and ours.
    unsafe {
        assert_eq!(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked), 0);
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let terminal = libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags);
        assert!(terminal >= 0);
        (master, OwnedFd::from_raw_fd(terminal))
    }
}

/// A pipe: where it is read, and where it is written. As above.
pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe can be made")
}
