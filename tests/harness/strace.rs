//! Faults of the system, made with strace: a call of srvwrap fails, so many times, with this error.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::Starting;

/// The calls that fork(2) of the C library may be made of.
pub(crate) const FORKS: &str = "fork,vfork,clone,clone3";

/// Has srvwrap traced from its first moment. It stays the child that it is; strace is a process apart, which ends with
/// it. Its children are traced with `-f`. What strace writes is in the file that is returned.
pub(crate) fn traced(starting: Starting, options: &[&str]) -> (Starting, PathBuf) {
    let report = starting.path().join("strace.out");
    let mut arguments = vec!["-DD".into(), "-o".into(), report.clone().into_os_string()];
    arguments.extend(options.iter().map(Into::into));
    (starting.under("strace", arguments), report)
}

/// A strace of a process that runs already. It lets go of it at the end.
pub(crate) struct Strace {
    child: Child,
}

impl Strace {
    /// From the return on, calls of `pid` fail as `fault` says, in strace's words: `fork:error=EAGAIN:when=1..3`.
    pub(crate) fn inject(pid: i32, calls: &str, fault: &str) -> Strace {
        Strace::attach(&[], pid, calls, fault, Path::new("/dev/null"))
    }

    /// As [`Strace::inject`], in what it forks from now on too; what strace writes is in `report`.
    pub(crate) fn inject_in_all(pid: i32, calls: &str, fault: &str, report: &Path) -> Strace {
        Strace::attach(&["-f"], pid, calls, fault, report)
    }

    fn attach(options: &[&str], pid: i32, calls: &str, fault: &str, report: &Path) -> Strace {
        // What another kind of machine does not have is left out by the question mark.
        let calls = calls.split(',').map(|call| format!("?{call}")).collect::<Vec<_>>().join(",");
        let mut child = Command::new("strace")
            .args(options)
            .arg("-o")
            .arg(report)
            .args(["-p", &pid.to_string()])
            .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is there");
        let mut said = String::new();
        BufReader::new(child.stderr.as_mut().expect("piped"))
            .read_line(&mut said)
            .expect("strace says something");
        assert!(said.contains("attached"), "{said}");
        Strace { child }
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let strace = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(strace, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Lines of a report that hold `words`.
pub(crate) fn lines_with(report: &Path, words: &str) -> Vec<String> {
    let text = std::fs::read_to_string(report).expect("strace has written it");
    text.lines().filter(|line| line.contains(words)).map(str::to_string).collect()
}
