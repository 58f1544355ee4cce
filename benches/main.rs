//! What srvwrap costs, as ratios taken in one run: `cargo bench`.
//!
//! ```text
//!   program.c ──cc──> program          tells when its main begins
//!   program loop N                     bare: fork and exec, N times      ─┐
//!   srvwrap -n N program               the same program, under srvwrap   ─┴─> time to the first, time to all, ratio
//! ```
//!
//! Both run by turns, several times, and medians are compared, so that what else the machine does is shared by both.
//! The binary is the fully static release build, made here. `README.md` says how to read the table.
//!
//! What this file does not do: measure requests, of which srvwrap sees none, or fail where an aim is missed: machines
//! are too noisy for that.
#![expect(clippy::disallowed_methods, reason = "a benchmark has a clock and children")]

mod control;
mod idle;
mod run;
mod start;

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is measured with.
struct Bench {
    /// The static srvwrap.
    srvwrap: PathBuf,
    /// The compiled `program.c`.
    program: PathBuf,
    /// Where the program is.
    _directory: tempfile::TempDir,
}

fn main() -> Result<(), Box<dyn Error>> {
    let bench = Bench::build()?;
    let mut table = Table::begin();
    let size = fs::metadata(&bench.srvwrap)?.len();
    table.row("static binary", &kib(size), "", "< 2048 KiB", size < 2 << 20);
    start::first_and_all(&bench, &mut table)?;
    start::replacement(&bench, &mut table)?;
    control::measure(&bench, &mut table)?;
    idle::measure(&bench, &mut table)?;
    Ok(())
}

impl Bench {
    fn build() -> Result<Bench, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let program = directory.path().join("program");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/program.c");
        succeed(Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(source))?;
        let srvwrap = static_srvwrap()?;
        Ok(Bench { srvwrap, program, _directory: directory })
    }
}

/// The build that the README documents.
fn static_srvwrap() -> Result<PathBuf, Box<dyn Error>> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--target", &target]);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").current_dir(env!("CARGO_MANIFEST_DIR"));
    succeed(&mut cargo)?;
    // This executable is in target/release/deps.
    let target_directory = std::env::current_exe()?.ancestors().nth(3).map(Path::to_path_buf);
    let built = target_directory.ok_or("no target directory")?.join(target).join("release/srvwrap");
    Ok(built)
}

fn succeed(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// Printed line by line, as the numbers come in.
struct Table;

impl Table {
    fn begin() -> Table {
        let table = Table;
        table.line("", "srvwrap", "bare", "ratio or aim", "");
        table
    }

    /// One measure; `aim` in words, and whether it is met.
    fn row(&mut self, what: &str, srvwrap: &str, bare: &str, aim: &str, met: bool) {
        self.line(what, srvwrap, bare, aim, if met { "met" } else { "MISSED" });
    }

    fn line(&self, what: &str, srvwrap: &str, bare: &str, aim: &str, met: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{what:<44} {srvwrap:>12} {bare:>12}   {aim:<26} {met}");
    }
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / 1024)
}
