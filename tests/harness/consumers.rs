//! Real servers that others have written: where they are, or how they are made ready to run, once for all tests.
//!
//! What takes a network to install is kept beside other results of builds, and found there by the next run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::{examples, require, write_file};

/// Where such things are kept.
fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The directory of gunicorn's and uvicorn's commands, in an environment of their own.
pub(crate) fn python_servers() -> Option<PathBuf> {
    static MADE: OnceLock<bool> = OnceLock::new();
    const PACKAGES: [&str; 2] = ["gunicorn==23.0.0", "uvicorn==0.34.0"];
    let python = examples::python_itself()?;
    let programs = place("python-servers").join("bin");
    let is_there =
        || succeeds(Command::new(programs.join("python")).args(["-c", "import gunicorn, uvicorn"]));
    let make = || {
        is_there()
            || succeeds(Command::new(&python).args(["-m", "venv", "--clear"]).arg(place("python-servers")))
                && succeeds(
                    Command::new(programs.join("python")).args(["-m", "pip", "install"]).args(PACKAGES),
                )
    };
    require::require("gunicorn and uvicorn from the Python Package Index", *MADE.get_or_init(make))
        .then_some(programs)
}

/// A program in Go, with Debian's package of go-systemd.
pub(crate) fn go(source: &str) -> Option<PathBuf> {
    if !require::program("go") {
        return None;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = write_file(directory.path(), "main.go", source);
    let program = place("go-consumer");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(file);
    build.env("GO111MODULE", "off").env("GOFLAGS", "").env("GOPATH", "/usr/share/gocode");
    build.env("GOCACHE", place("go-cache"));
    require::require("github.com/coreos/go-systemd for Go", succeeds(&mut build)).then_some(program)
}

/// A program in Rust, with the crate `listenfd`.
pub(crate) fn rust(source: &str) -> Option<PathBuf> {
    const MANIFEST: &str = "[package]\nname = \"consumer\"\nversion = \"0.0.0\"\nedition = \"2021\"\n
        [dependencies]\nlistenfd = \"=1.0.2\"\nlibc = \"0.2\"\n
        [[bin]]\nname = \"consumer\"\npath = \"main.rs\"\n
        [workspace]\n";
    let directory = place("rust-consumer");
    std::fs::create_dir_all(&directory).expect("a directory can be made");
    write_file(&directory, "Cargo.toml", MANIFEST);
    write_file(&directory, "main.rs", source);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        succeeds(Command::new(cargo).args(["build", "--target-dir", "target"]).current_dir(&directory));
    let program = directory.join("target/debug/consumer");
    require::require("the crate listenfd from crates.io", built).then_some(program)
}

/// Whether Perl has these modules.
pub(crate) fn perl(modules: &[&str]) -> bool {
    let there = succeeds(
        Command::new("perl").args(modules.iter().map(|module| format!("-M{module}"))).args(["-e", "1"]),
    );
    require::require(&format!("perl with {}", modules.join(" and ")), there)
}

/// Its name has the version in it, and on Debian it is where only root looks for programs.
pub(crate) fn php_fpm() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&paths).chain(["/usr/sbin".into()]);
    let files = directories.filter_map(|directory| directory.read_dir().ok()).flatten().flatten();
    let found = files.map(|file| file.path()).find(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("php-fpm"))
    });
    require::require("php-fpm", found.is_some()).then_some(found)?
}

/// Whether Ruby has this library.
pub(crate) fn ruby(library: &str) -> bool {
    let there = succeeds(Command::new("ruby").args(["-e", &format!("require '{library}'")]));
    require::require(&format!("ruby with {library}"), there)
}
