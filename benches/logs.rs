//! What srvwrap does to the lines that workers write, beside other loggers, in one run: `cargo bench --bench logs`.
//!
//! ```text
//!   lines ──pipe──> cat > file | s6-log | svlogd | multilog                 the same lines, the same file system
//!   srvwrap --stdout FILE lines ──> rotated files of 10 MiB, compressed
//! ```
//!
//! Each gets 1 GiB of numbered lines of 100 bytes (SRVWRAP_BENCH_MIB for less), from one writer and from four, by
//! turns. Then everything that is there is read: each line has to be whole, there once, and in its writer's order.
//! Others are measured where they are installed (Debian: s6, runit, daemontools). `README.md` says how to read the
//! table.
//!
//! What this file does not do: fail where an aim is missed: machines are too noisy for that.
#![expect(clippy::disallowed_methods, reason = "a benchmark has a clock and children")]

#[path = "logs/loggers.rs"]
mod loggers;
#[path = "logs/verdict.rs"]
mod verdict;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use loggers::{Cost, Logger};
use verdict::Verdict;

/// What is measured with.
pub(crate) struct Bench {
    pub(crate) srvwrap: PathBuf,
    /// The compiled `lines.c`.
    pub(crate) lines: PathBuf,
    /// Of all writers together.
    pub(crate) count: u64,
    /// Everything is written below it.
    pub(crate) directory: tempfile::TempDir,
}

const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let bench = Bench::build()?;
    for writers in [1, 4] {
        say(&format!(
            "{:<24} {:>9} {:>8} {:>12} {:>9} {:>6} {:>6}",
            format!("{writers} writer{}", if writers == 1 { "" } else { "s" }),
            "MB/s",
            "of cat",
            "CPU s/GB",
            "of cat",
            "lost",
            "torn"
        ));
        measure(&bench, writers)?;
    }
    Ok(())
}

/// By turns, and the median of each, so that what else the machine does is shared by all.
fn measure(bench: &Bench, writers: u64) -> Result<(), Box<dyn Error>> {
    let loggers: Vec<Logger> = Logger::ALL.into_iter().filter(|logger| logger.is_installed()).collect();
    let mut found: Vec<Vec<(Cost, Verdict)>> = vec![Vec::new(); loggers.len()];
    for _ in 0..ROUNDS {
        for (logger, found) in loggers.iter().zip(&mut found) {
            found.push(logger.run(bench, writers)?);
        }
    }
    let gigabytes = bench.bytes() / 1e9;
    let cat = median(&found[0]);
    for (logger, rounds) in loggers.iter().zip(&found) {
        let cost = median(rounds);
        let lost: u64 = rounds.iter().map(|(_, verdict)| verdict.lost).sum();
        let torn: u64 = rounds.iter().map(|(_, verdict)| verdict.torn).sum();
        say(&format!(
            "{:<24} {:>9.0} {:>8.2} {:>12.2} {:>9.2} {:>6} {:>6}",
            logger.name(),
            gigabytes * 1e3 / cost.seconds,
            cat.seconds / cost.seconds,
            cost.cpu_seconds / gigabytes,
            cost.cpu_seconds / cat.cpu_seconds,
            lost,
            torn
        ));
    }
    Ok(())
}

fn median(rounds: &[(Cost, Verdict)]) -> Cost {
    let mut costs: Vec<Cost> = rounds.iter().map(|(cost, _)| *cost).collect();
    costs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    costs[costs.len() / 2]
}

impl Bench {
    fn build() -> Result<Bench, Box<dyn Error>> {
        // Not in /tmp, which may be memory.
        let target = std::env::current_exe()?;
        let target = target.ancestors().nth(3).ok_or("no target directory")?;
        let directory = tempfile::tempdir_in(target)?;
        let lines = directory.path().join("lines");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/lines.c");
        succeed(Command::new("cc").args(["-O2", "-o"]).arg(&lines).arg(source))?;
        let mib: u64 =
            std::env::var("SRVWRAP_BENCH_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(1024);
        let srvwrap = PathBuf::from(env!("CARGO_BIN_EXE_srvwrap"));
        Ok(Bench { srvwrap, lines, count: mib * (1 << 20) / LINE_BYTES, directory })
    }

    fn bytes(&self) -> f64 {
        (self.count * LINE_BYTES) as f64
    }
}

/// Of `lines.c`, its newline included.
pub(crate) const LINE_BYTES: u64 = 100;

fn succeed(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
