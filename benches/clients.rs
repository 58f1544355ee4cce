//! What the clients cost: `cargo bench --bench clients`.
//!
//! ```text
//!   PORT=free example          until a connection is accepted          ─┐
//!   srvwrap -p 0 example       until srvwrap says that it is online    ─┴─> time; then RSS and PSS of the process
//! ```
//!
//! The examples of `clients/` by turns, alone and under srvwrap, several times; the median of each. `README.md` says
//! how to read the table.
//!
//! What this file does not do: measure requests, which are the languages' own affair, or srvwrap's memory (`idle.rs`).
#![expect(clippy::disallowed_methods, reason = "a benchmark has a clock and children")]

#[path = "../tests/harness/examples.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod examples;
#[path = "../tests/harness/require.rs"]
#[allow(dead_code, clippy::print_stderr, reason = "the tests use more of it, and say there what is missing")]
mod require;

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How often each is started, each way.
const TIMES: usize = 9;

/// How long to wait between two looks at a port.
const LOOK_AGAIN: Duration = Duration::from_micros(500);
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    line(&["", "to online", "", "", "resident", "", "", "proportional", "", ""]);
    line(&["example", "alone", "srvwrap", "ratio", "alone", "srvwrap", "ratio", "alone", "srvwrap", "ratio"]);
    for language in examples::ALL {
        let (Some(alone), Some(under)) = (language.program(), language.with(&[])) else { continue };
        let (mut of_alone, mut of_under) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            of_alone.push(run_alone(&alone)?);
            of_under.push(run_under(&under)?);
        }
        row(language.name, &of_alone, &of_under);
    }
    Ok(())
}

/// One start of an example: milliseconds until it was online, then KiB.
struct Start {
    online_ms: f64,
    resident: f64,
    proportional: f64,
}

/// Without srvwrap, on a port that was free a moment ago.
fn run_alone(program: &[OsString]) -> Result<Start, Box<dyn Error>> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).env("PORT", port.to_string());
    let began = Instant::now();
    let running = Running::start(&mut command)?;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if began.elapsed() > LIMIT {
            return Err(format!("{program:?} does not listen on its PORT").into());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let online = began.elapsed();
    idle(online, running.pid(), port)
}

fn run_under(options_and_program: &[OsString]) -> Result<Start, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_srvwrap"));
    command.arg("--socket").arg(directory.path().join("srvwrap.sock")).args(["-p", "127.0.0.1:0"]);
    command.args(options_and_program).stderr(Stdio::piped());
    let began = Instant::now();
    let mut running = Running::start(&mut command)?;
    let mut said = BufReader::new(running.0.stderr.take().ok_or("piped")?).lines();
    let port = number_after(&mut said, "listening on ", "127.0.0.1:")?;
    let pid = number_after(&mut said, " online after ", "worker 0 (pid ")?;
    let online = began.elapsed();
    idle(online, pid, u16::try_from(port)?)
}

/// The number behind these words, in the next line that says this.
fn number_after(
    said: &mut impl Iterator<Item = io::Result<String>>,
    this: &str,
    words: &str,
) -> Result<u32, Box<dyn Error>> {
    let line = said.find(|line| line.as_ref().map_or(true, |line| line.contains(this)));
    let line = line.ok_or_else(|| format!("srvwrap has ended and never said{this}"))??;
    let (_, rest) = line.split_once(words).ok_or_else(|| format!("{line} is without {words}"))?;
    let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Ok(number.parse()?)
}

/// Answers one request first, so that everything that serving needs is loaded.
fn idle(online: Duration, pid: u32, port: u16) -> Result<Start, Box<dyn Error>> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    connection.read_to_end(&mut Vec::new())?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(Start {
        online_ms: online.as_secs_f64() * 1000.0,
        resident: field(&rollup, "Rss:")?,
        proportional: field(&rollup, "Pss:")?,
    })
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Result<f64, Box<dyn Error>> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name}"))?;
    Ok(value.split_whitespace().next().ok_or_else(|| format!("{name} is empty"))?.parse()?)
}

/// A process in a group of its own, which ends with it; a worker ends with its srvwrap.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> io::Result<Running> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).spawn().map(Running)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.pid() as i32), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

fn row(name: &str, alone: &[Start], under: &[Start]) {
    let mut cells = vec![name.to_string()];
    let mut compare = |measure: fn(&Start) -> f64, unit: &str, digits: usize| {
        let (alone, under) = (median(alone, measure), median(under, measure));
        cells.push(format!("{alone:.digits$} {unit}"));
        cells.push(format!("{under:.digits$} {unit}"));
        cells.push(format!("{:.2}", under / alone));
    };
    compare(|start| start.online_ms, "ms", 1);
    compare(|start| start.resident, "KiB", 0);
    compare(|start| start.proportional, "KiB", 0);
    line(&cells.iter().map(String::as_str).collect::<Vec<_>>());
}

fn median(starts: &[Start], measure: fn(&Start) -> f64) -> f64 {
    let mut values: Vec<f64> = starts.iter().map(measure).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Printed as the numbers come in.
fn line(cells: &[&str]) {
    let mut out = io::stdout().lock();
    for (column, cell) in cells.iter().enumerate() {
        let _ = match column {
            0 => write!(out, "{cell:<8}"),
            column if column % 3 == 0 => write!(out, " {cell:>6}"),
            _ => write!(out, " {cell:>12}"),
        };
    }
    let _ = writeln!(out);
}
