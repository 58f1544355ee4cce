//! The servers of `clients/`, as programs to be run: the same one in every language.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::require;

/// A file of `clients/`.
pub(crate) fn client(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(file)
}

/// The Python itself. `python3` may be a script that looks for it, at ten times the cost of its start.
pub(crate) fn python_itself() -> Option<OsString> {
    static PATH: OnceLock<Option<OsString>> = OnceLock::new();
    if !require::program("python3") {
        return None;
    }
    let ask = || {
        let told = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
        let path = String::from_utf8(told.stdout).ok()?;
        Some(path.trim_end().into())
    };
    let path = PATH.get_or_init(ask).clone();
    require::require("a python3 that runs", path.is_some()).then_some(path)?
}

pub(crate) fn python() -> Option<Vec<OsString>> {
    Some(vec![python_itself()?, client("python/example.py").into()])
}

pub(crate) fn node() -> Option<Vec<OsString>> {
    require::program("node").then(|| vec!["node".into(), client("node/example.js").into()])
}

/// The script that becomes the example in Python.
pub(crate) fn sh() -> Option<Vec<OsString>> {
    require::program("python3").then(|| vec![client("sh/example.sh").into()])
}

/// Compiled once in each run of the tests, by the rustc beside cargo.
pub(crate) fn rust() -> Option<Vec<OsString>> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = directory.join("rust-example");
        // Another run of the tests may be executing the one that is there, so it is replaced and not written to.
        let new = directory.join(format!("rust-example.{}", std::process::id()));
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let source = client("rust/example.rs");
        let made = Command::new(compiler).args(["--edition", "2021", "-o"]).arg(&new).arg(source).status();
        assert!(made.expect("rustc is where cargo is").success(), "the example in Rust does not compile");
        std::fs::rename(&new, &program).expect("in one directory");
        program
    });
    Some(vec![program.clone().into()])
}
