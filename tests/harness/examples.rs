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

/// The server of `clients/` in one language, and the file that it shows.
pub(crate) struct Language {
    /// As `clients/README.md` names it.
    pub(crate) name: &'static str,
    /// The file to copy, in `clients/`.
    pub(crate) client: &'static str,
    /// What srvwrap needs to be told to run it.
    pub(crate) options: &'static [&'static str],
    /// What `srvwrap check` advises and the language has no way to follow.
    pub(crate) advice: &'static [&'static str],
    /// Prints the version of the language that is here, in its first line.
    pub(crate) version: &'static [&'static str],
    pub(crate) program: fn() -> Option<Vec<OsString>>,
}

/// In the order of the table in `clients/README.md`.
pub(crate) const ALL: [&Language; 10] = [&C, &GO, &JAVA, &NODE, &PERL, &PHP, &PYTHON, &RUBY, &RUST, &SH];

pub(crate) const C: Language = Language {
    name: "C",
    client: "c/srvwrap.h",
    options: &[],
    advice: &[],
    version: &["cc", "--version"],
    program: || Some(vec![c_example()?.into()]),
};

pub(crate) const GO: Language = Language {
    name: "Go",
    client: "go/srvwrap.go",
    options: &[],
    advice: &[],
    version: &["go", "version"],
    program: || Some(vec![go_example()?.into()]),
};

/// Java takes a listening socket from descriptor 0 alone.
pub(crate) const JAVA: Language = Language {
    name: "Java",
    client: "java/Srvwrap.java",
    options: &["--protocol", "stdin"],
    advice: &["leaks: advice"],
    version: &["java", "--version"],
    program: || Some(vec!["java".into(), "-jar".into(), java_example()?.into()]),
};

pub(crate) const NODE: Language = Language {
    name: "Node",
    client: "node/srvwrap.js",
    options: &[],
    advice: &[],
    version: &["node", "--version"],
    program: || require::program("node").then(|| vec!["node".into(), client("node/example.js").into()]),
};

pub(crate) const PERL: Language = Language {
    name: "Perl",
    client: "perl/Srvwrap.pm",
    options: &[],
    advice: &[],
    version: &["perl", "-e", "print \"perl $^V\\n\""],
    program: || require::program("perl").then(|| vec!["perl".into(), client("perl/example.pl").into()]),
};

pub(crate) const PHP: Language = Language {
    name: "PHP",
    client: "php/srvwrap.php",
    options: &[],
    advice: &[],
    version: &["php", "--version"],
    program: || require::program("php").then(|| vec!["php".into(), client("php/example.php").into()]),
};

pub(crate) const PYTHON: Language = Language {
    name: "Python",
    client: "python/srvwrap.py",
    options: &[],
    advice: &[],
    version: &["python3", "--version"],
    program: || Some(vec![python_itself()?, client("python/example.py").into()]),
};

pub(crate) const RUBY: Language = Language {
    name: "Ruby",
    client: "ruby/srvwrap.rb",
    options: &[],
    advice: &[],
    version: &["ruby", "--version"],
    program: || require::program("ruby").then(|| vec!["ruby".into(), client("ruby/example.rb").into()]),
};

pub(crate) const RUST: Language = Language {
    name: "Rust",
    client: "rust/srvwrap.rs",
    options: &[],
    advice: &[],
    version: &["rustc", "--version"],
    program: || Some(vec![rust_example()?.into()]),
};

/// A script that becomes the example in Python.
pub(crate) const SH: Language = Language {
    name: "sh",
    client: "sh/srvwrap.sh",
    options: &[],
    advice: &[],
    version: &["sh", "-c", "echo POSIX"],
    program: || require::program("python3").then(|| vec![client("sh/example.sh").into()]),
};

impl Language {
    /// Its example, as words of a command line. `None` where the language is not here, which has been said.
    pub(crate) fn program(&self) -> Option<Vec<OsString>> {
        (self.program)()
    }

    /// The options that it needs, these, and its example.
    pub(crate) fn with(&self, options: &[&str]) -> Option<Vec<OsString>> {
        let options = self.options.iter().chain(options).map(OsString::from);
        Some(options.chain(self.program()?).collect())
    }
}

fn c_example() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = |output: &Path| {
        let mut compiler = Command::new("cc");
        compiler.args(["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"]).arg(output);
        compiler.arg(client("c/example.c"));
        compiler
    };
    PROGRAM.get_or_init(|| require::program("cc").then(|| built("c-example", build))).clone()
}

fn go_example() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = |output: &Path| {
        let mut compiler = Command::new("go");
        compiler.args(["build", "-o"]).arg(output).arg("./example").current_dir(client("go"));
        compiler
    };
    PROGRAM.get_or_init(|| require::program("go").then(|| built("go-example", build))).clone()
}

/// As `clients/java/README.md` says it, into a directory beside the jar.
fn java_example() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    const MAKE: &str = r#"
        javac -XDignore.symbol.file -Xlint:all -Werror -d "$0.classes" Example.java Srvwrap.java
        echo "Add-Opens: java.base/java.io" |
            jar --create --file "$0" --main-class Example --manifest /dev/stdin -C "$0.classes" .
        rm -r "$0.classes""#;
    let build = |output: &Path| {
        let mut compiler = Command::new("sh");
        compiler.args(["-ec", MAKE]).arg(output).current_dir(client("java"));
        compiler
    };
    PROGRAM.get_or_init(|| require::program("javac").then(|| built("java-example.jar", build))).clone()
}

fn rust_example() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = |output: &Path| {
        let mut compiler = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        compiler.args(["--edition", "2021", "-o"]).arg(output).arg(client("rust/example.rs"));
        compiler
    };
    PROGRAM.get_or_init(|| Some(built("rust-example", build))).clone()
}

/// Compiled once in each run of the tests: give it from a `OnceLock`.
pub(crate) fn built(name: &str, build: impl Fn(&Path) -> Command) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = directory.join(name);
    // Another run of the tests may be executing the one that is there, so it is replaced and not written to.
    let new = directory.join(format!("{name}.{}", std::process::id()));
    let made = build(&new).status().expect("the compiler can be run");
    assert!(made.success(), "{name} does not compile");
    std::fs::rename(&new, &program).expect("in one directory");
    program
}
