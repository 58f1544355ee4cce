//! The README's terminal is real: its commands are played in a shell, and what they print is compared.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::harness::{BINARY, PATIENCE, require};

#[test]
fn the_terminal_of_the_readme_shows_what_happens() {
    if !require::program("curl") || !require::program("python3") {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::os::unix::fs::symlink(root.join("clients"), directory.path().join("clients")).expect("it is empty");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("there is a README");
    let port = free_port().to_string();
    let mut shell = Shell::start(directory.path());
    let mut expected = Vec::new();
    for line in terminal(&readme) {
        if let Some(command) = line.strip_prefix("$ ") {
            shell.wait_for(&std::mem::take(&mut expected));
            shell.run(&command.replace("8000", &port));
        } else {
            expected.push(normal(line));
        }
    }
    shell.wait_for(&expected);
}

fn terminal(readme: &str) -> impl Iterator<Item = &str> {
    let block = readme.split("```console\n").nth(1).expect("the README begins with a terminal");
    block.split("```").next().expect("a split has a first piece").lines()
}

/// Numbers and times differ from run to run, and so does the order of what happens at the same time.
fn normal(line: &str) -> String {
    let mut normal = String::new();
    // Columns are as wide as what is in them.
    for character in line.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        let digit = character.is_ascii_digit() || (character == '.' && normal.ends_with('#'));
        if !digit {
            normal.push(character);
        } else if !normal.ends_with('#') {
            normal.push('#');
        }
    }
    normal.replace("#ms", "#s")
}

/// A port that no other test gets: they all ask for port 0, which gives none below 32768.
fn free_port() -> u16 {
    let first = 10_000 + u16::try_from(std::process::id() % 20_000).expect("below 20000");
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..32_000).find(free).expect("one of thousands is free")
}

struct Shell {
    child: std::process::Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Shell {
    fn start(directory: &Path) -> Shell {
        let binaries = Path::new(BINARY).parent().expect("a file is in a directory");
        let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
        let mut child = Command::new("bash")
            .args(["-c", "exec 2>&1; set -m; while read -r command; do eval \"$command\"; done"])
            .current_dir(directory)
            .env("PATH", path)
            .env_remove("WEB_CONCURRENCY")
            .env_remove("SRVWRAP_SOCKET")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("bash can be started");
        let (sender, lines) = channel();
        let stdout = child.stdout.take().expect("it is piped");
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The test may be over.
                let _ = sender.send(line);
            }
        });
        Shell { child, lines, said: Vec::new() }
    }

    fn run(&mut self, command: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{command}").expect("bash reads commands");
    }

    /// Waits for these lines, in this order.
    fn wait_for(&mut self, expected: &[String]) {
        for wanted in expected {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                panic!("no line like {wanted:?}; this was said:\n{}", self.said.join("\n"));
            });
            self.said.push(line.clone());
            assert_eq!(&normal(&line), wanted, "this was said:\n{}", self.said.join("\n"));
        }
    }
}

impl Drop for Shell {
    /// Its jobs have groups of their own, and srvwrap a session: stopped by its last command or, where the test failed,
    /// here.
    fn drop(&mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = writeln!(stdin, "srvwrap stop --now --quiet; kill $(jobs -p) 2>/dev/null; exit");
        }
        let _ = self.child.wait();
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
    }
}
