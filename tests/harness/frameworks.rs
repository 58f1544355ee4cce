//! The applications of `tests/frameworks`, each beside the client that it uses, and what they need to run.
//!
//! What takes a network or a compiler is made once, kept with the other results of builds, and made again where what it
//! was made from has changed. Runs of the tests at the same time wait for each other there. Where the network is
//! missing the tests are skipped; an application that does not compile is a failure.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::fcntl::{Flock, FlockArg};

use super::{Starting, examples, require, srvwrap};

/// What is in the repository for this framework.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frameworks").join(name)
}

/// Two workers on a free port, in a directory with the application's files and these clients.
pub(crate) fn serving(name: &str, clients: &[&str], words: &[&str]) -> Starting {
    let starting = srvwrap(["-n", "2", "-p", "127.0.0.1:0"].iter().chain(words));
    let files = std::fs::read_dir(source(name)).expect("it is in the repository");
    let files = files.map(|entry| entry.expect("it can be read").path()).filter(|path| path.is_file());
    for file in files.chain(clients.iter().map(|client| examples::client(client))) {
        let copy = starting.path().join(file.file_name().expect("a file"));
        std::fs::copy(&file, copy).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    }
    starting.env("PYTHONDONTWRITEBYTECODE", "1")
}

/// Where a thing of this name is kept, and whether it was made from just this. The lock holds until it is dropped.
struct Kept {
    place: PathBuf,
    made_from: String,
    _lock: Flock<File>,
}

impl Kept {
    fn at(name: &str, made_from: String) -> Kept {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let lock = File::create(place.with_extension("lock")).expect("a file can be made beside the build");
        let lock = Flock::lock(lock, FlockArg::LockExclusive).expect("it waits");
        Kept { place, made_from, _lock: lock }
    }

    fn stamp(&self) -> PathBuf {
        self.place.with_extension("made")
    }

    /// Whether it is there after this, made by `make` if need be.
    fn or_made(&self, make: impl FnOnce(&Path) -> bool) -> bool {
        let is_there = std::fs::read_to_string(self.stamp()).is_ok_and(|stamp| stamp == self.made_from);
        if is_there {
            return true;
        }
        // What is made by half must not pass for what was there.
        let _ = std::fs::remove_file(self.stamp());
        let made = make(&self.place);
        if made {
            std::fs::write(self.stamp(), &self.made_from).expect("a file can be made beside the build");
        }
        made
    }
}

/// The directory of the commands of an environment with gunicorn, Flask, uvicorn and FastAPI.
pub(crate) fn python() -> Option<PathBuf> {
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = examples::python_itself()?;
    let made = MADE.get_or_init(|| {
        let list = source("requirements.txt");
        let text = std::fs::read_to_string(&list).expect("it is in the repository");
        let kept = Kept::at("python-frameworks", format!("{} {text}", Path::new(&python).display()));
        let there = kept.or_made(|place| {
            let mut pip = Command::new(place.join("bin/python"));
            pip.args(["-m", "pip", "install", "--requirement"]).arg(&list);
            succeeds(Command::new(&python).args(["-m", "venv", "--clear"]).arg(place)) && succeeds(&mut pip)
        });
        there.then(|| kept.place.join("bin"))
    });
    require::require("gunicorn, Flask, uvicorn and FastAPI from the Python Package Index", made.is_some())
        .then(|| made.clone())?
}

/// The application of axum.
pub(crate) fn axum() -> Option<PathBuf> {
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axum");
        let cargo = |word: &str| {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args([word, "--locked", "--manifest-path"]).arg(source("axum/Cargo.toml"));
            cargo.env("CARGO_TARGET_DIR", &target);
            cargo
        };
        if !succeeds(&mut cargo("fetch")) {
            return None;
        }
        // It waits for another run by itself.
        assert!(succeeds(cargo("build").arg("--offline")), "the application of axum does not compile");
        Some(target.join("debug/axum-application"))
    });
    require::require("axum from crates.io", made.is_some()).then(|| made.clone())?
}

/// An application in Go, with Debian's packages of what it imports.
pub(crate) fn go(name: &str, imports: &[&str]) -> Option<PathBuf> {
    const PLACE: &str = "/usr/share/gocode";
    let is_there = |import: &&str| Path::new(PLACE).join("src").join(import).is_dir();
    let there = require::program("go") && imports.iter().all(is_there);
    if !require::require(&format!("{} for Go", imports.join(" and ")), there) {
        return None;
    }
    let source = source(name).join("main.go");
    let text = std::fs::read_to_string(&source).expect("it is in the repository");
    let kept = Kept::at(&format!("go-{name}"), text);
    let made = kept.or_made(|program| {
        let mut build = Command::new("go");
        build.args(["build", "-o"]).arg(program).arg(&source);
        build.env("GO111MODULE", "off").env("GOFLAGS", "").env("GOPATH", PLACE);
        build.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"));
        succeeds(&mut build)
    });
    assert!(made, "{} does not compile", source.display());
    Some(kept.place.clone())
}

/// The class path of an application in Java, with Debian's packages of what it imports.
pub(crate) fn java(name: &str, jars: &[&str]) -> Option<String> {
    let jars: Vec<String> = jars.iter().map(|jar| format!("/usr/share/java/{jar}.jar")).collect();
    let there = require::program("javac") && jars.iter().all(|jar| Path::new(jar).is_file());
    if !require::require(&format!("{} for Java", jars.join(" and ")), there) {
        return None;
    }
    let sources = [source(name).join("Server.java"), examples::client("java/Srvwrap.java")];
    let texts =
        sources.each_ref().map(|path| std::fs::read_to_string(path).expect("it is in the repository"));
    let kept = Kept::at(&format!("java-{name}"), texts.concat());
    let made = kept.or_made(|classes| {
        let mut compiler = Command::new("javac");
        compiler.args(["-XDignore.symbol.file", "-cp"]).arg(jars.join(":")).arg("-d").arg(classes);
        succeeds(compiler.args(&sources))
    });
    assert!(made, "{} does not compile", sources[0].display());
    Some(format!("{}:{}", kept.place.display(), jars.join(":")))
}

/// What it says is shown where it fails.
fn succeeds(command: &mut Command) -> bool {
    let output = command.stdin(Stdio::null()).output();
    let succeeds = output.as_ref().is_ok_and(|output| output.status.success());
    if !succeeds {
        let said = output.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        );
        eprintln!("{command:?} failed: {said}");
    }
    succeeds
}
