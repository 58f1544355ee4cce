//! srvwrap runs any network server as N processes on one set of listening sockets.
#![allow(dead_code, unused_imports)] // while the parts are being written

mod cli;
mod config;
mod core;
mod log;
mod sys;
mod units;
mod wire;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use cli::{Command, UsageError};
use config::{Config, Surroundings};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let written = match cli::parse(&args) {
        Ok(Command::Help(text)) => io::stdout().write_all(text.as_bytes()),
        Ok(Command::Version) => writeln!(io::stdout(), "srvwrap {}", env!("CARGO_PKG_VERSION")),
        Ok(Command::Run(typed)) => match Config::from_typed(*typed, &surroundings()) {
            Ok(_config) => Ok(()),
            Err(error) => return refuse(&error),
        },
        Err(error) => return refuse(&error),
    };
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refuse(error: &UsageError) -> ExitCode {
    // Where nobody can be told, the exit code has to do.
    let _ = writeln!(io::stderr(), "srvwrap: {error}");
    ExitCode::from(2)
}

fn surroundings() -> Surroundings {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Surroundings {
        web_concurrency: std::env::var_os("WEB_CONCURRENCY"),
        directory: std::env::current_dir().unwrap_or_default(),
        stdin_is_terminal: io::stdin().is_terminal(),
        processors: u32::try_from(processors).unwrap_or(u32::MAX),
    }
}
