//! Which files a program's name as typed may mean, and what a script's first line says that it is.
//!
//! ```text
//!   node       ──> /usr/local/bin/node, /usr/bin/node, …     one a PATH entry, tried in turn by execve
//!   ./server   ──> ./server                                  a name with a slash is a path
//!   npm        ──> "npm", "node"                             names_of: npm is a script for `env node`
//! ```
//!
//! Nothing is remembered: the search is done anew at every spawn, so that a new release is seen. A relative name or
//! PATH entry is left relative; the worker looks it up after it has changed to its directory.
//!
//! What this file does not do: execute, or decide what being node or npm means.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where the C library looks without PATH (`confstr(_CS_PATH)` of glibc).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What execve is to be tried on, in order. An empty PATH entry means the current directory. Nothing for an empty
/// name, which no file has.
pub(crate) fn candidates(program: &OsStr, path: Option<&OsStr>) -> Vec<PathBuf> {
    let program_bytes = program.as_bytes();
    if program_bytes.is_empty() {
        return Vec::new();
    }
    if program_bytes.contains(&b'/') {
        return vec![PathBuf::from(program)];
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH)).as_bytes();
    path.split(|byte| *byte == b':').map(|entry| Path::new(OsStr::from_bytes(entry)).join(program)).collect()
}

/// A script for a script for a script is followed this far: as far as Linux itself goes (BINPRM recursion, 5).
const DEEPEST_SCRIPT: usize = 5;

/// The file name of the program, then those of the interpreters that `#!` lines name; for `env NAME` that is NAME.
/// `path` and `directory` are the worker's. What cannot be found or read ends the list, so that it has at least one
/// element.
pub(crate) fn names_of(program: &OsStr, path: Option<&OsStr>, directory: &Path) -> Vec<OsString> {
    let mut names = Vec::new();
    let mut next = Some(program.to_owned());
    while let Some(program) = next.take_if(|_| names.len() <= DEEPEST_SCRIPT) {
        names.push(file_name(&program).to_owned());
        next = locate(&program, path, directory).and_then(|file| interpreted_by(&file));
    }
    names
}

fn file_name(program: &OsStr) -> &OsStr {
    Path::new(program).file_name().unwrap_or(program)
}

fn locate(program: &OsStr, path: Option<&OsStr>, directory: &Path) -> Option<PathBuf> {
    candidates(program, path)
        .into_iter()
        .map(|candidate| directory.join(candidate))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// What is run in place of this file, if it is a script: the interpreter, or the program that `env` is to find.
fn interpreted_by(file: &Path) -> Option<OsString> {
    let head = head_of(file)?;
    let script = Script::parse(&head)?;
    let interpreter = OsStr::from_bytes(script.interpreter);
    let program = if file_name(interpreter) == "env" { script.named_to_env()? } else { script.interpreter };
    Some(OsString::from_vec(program.to_vec()))
}

/// As much of a file as Linux looks at to see what it is (BINPRM_BUF_SIZE).
const HEAD_BYTES: u64 = 256;

/// The first bytes of a regular file. Anything else is not opened for reading: a FIFO would wait for a writer.
fn head_of(file: &Path) -> Option<Vec<u8>> {
    let file: File =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(file).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    Some(head)
}

/// A `#!` line, cut as Linux does: the interpreter up to the first blank, and all the rest as one argument.
#[derive(Debug, PartialEq, Eq)]
struct Script<'head> {
    interpreter: &'head [u8],
    argument: &'head [u8],
}

impl Script<'_> {
    fn parse(head: &[u8]) -> Option<Script<'_>> {
        let line = head.strip_prefix(b"#!")?;
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or(line).trim_ascii();
        let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
        let (interpreter, argument) = line.split_at(end);
        (!interpreter.is_empty()).then(|| Script { interpreter, argument: argument.trim_ascii() })
    }

    /// NAME of `env NAME`, `env -S NAME ARGS`, `env -S VARIABLE=VALUE NAME`.
    fn named_to_env(&self) -> Option<&[u8]> {
        let mut words = self.argument.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            let word = word.strip_prefix(b"--split-string=").unwrap_or(word);
            match word.strip_prefix(b"-S").unwrap_or(word) {
                b"" => {}
                b"-u" | b"-C" | b"--unset" | b"--chdir" => _ = words.next(),
                option if option.starts_with(b"-") => {}
                assignment if assignment.contains(&b'=') => {}
                name => return Some(name),
            }
        }
        None
    }
}

/// The interpreter that a file wants, from its first bytes: of a script's `#!` line, or the loader of a dynamically
/// linked program. Nothing where the bytes do not tell.
pub(crate) fn interpreter_in(head: &[u8]) -> Option<OsString> {
    let interpreter = match Script::parse(head) {
        Some(script) => script.interpreter,
        None => loader_in(head)?,
    };
    Some(OsString::from_vec(interpreter.to_vec()))
}

/// The loader named in an ELF file's program header of type PT_INTERP (3). Read are 64-bit little-endian files, of
/// which all machines are that we build for. Offsets as in `elf(5)`.
fn loader_in(head: &[u8]) -> Option<&[u8]> {
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = head.get(at..at.checked_add(size)?)?;
        bytes
            .iter()
            .rev()
            .try_fold(0usize, |number, byte| Some(number.checked_mul(256)? + usize::from(*byte)))
    };
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (headers, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let header = (0..count)
        .map(|index| headers.saturating_add(index * size))
        .find(|header| number(*header, 4).is_some_and(|kind| kind == 3))?;
    let name = head.get(number(header + 8, 8)?..)?;
    name.split(|byte| *byte == 0)
        .next()
        .filter(|loader| loader.starts_with(b"/") && loader.len() < name.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths(program: &str, path: Option<&str>) -> Vec<String> {
        let found = candidates(OsStr::new(program), path.map(OsStr::new));
        found.into_iter().map(|path| path.into_os_string().into_string().unwrap()).collect()
    }

    #[test]
    fn a_name_is_looked_for_in_each_path_entry_in_order() {
        assert_eq!(paths("node", Some("/a:/b/:c")), ["/a/node", "/b/node", "c/node"]);
    }

    #[test]
    fn an_empty_path_entry_is_the_workers_directory() {
        assert_eq!(paths("node", Some(":/b:")), ["node", "/b/node", "node"]);
        assert_eq!(paths("node", Some("")), ["node"]);
    }

    #[test]
    fn without_path_the_c_librarys_default_is_searched() {
        assert_eq!(paths("node", None), ["/bin/node", "/usr/bin/node"]);
    }

    #[test]
    fn a_name_with_a_slash_is_taken_as_it_is_and_an_empty_one_means_nothing() {
        assert_eq!(paths("./server", Some("/a")), ["./server"]);
        assert!(paths("", Some("/a")).is_empty());
    }

    fn place(directory: &Path, name: &str, content: &str) {
        let file = directory.join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn names(directory: &Path, program: &str) -> Vec<OsString> {
        names_of(OsStr::new(program), Some(directory.as_os_str()), directory)
    }

    #[test]
    fn a_script_is_followed_to_what_runs_it() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        place(directory, "node", "\x7fELF");
        place(directory, "npm", "#!/usr/bin/env node\n");
        place(directory, "serve", "#!  /usr/bin/env\t-S npm run\n");
        place(directory, "direct", &format!("#!{}/node --harmony\n", directory.display()));
        assert_eq!(names(directory, "npm"), ["npm", "node"]);
        assert_eq!(names(directory, "./serve"), ["serve", "npm", "node"]);
        assert_eq!(names(directory, "direct"), ["direct", "node"]);
        assert_eq!(names(directory, "nowhere"), ["nowhere"]);
        assert_eq!(names(directory, ""), [""]);
    }

    #[test]
    fn a_script_that_runs_itself_is_followed_only_so_far() {
        let directory = tempfile::tempdir().unwrap();
        place(directory.path(), "loop", "#!/usr/bin/env loop\n");
        assert_eq!(names(directory.path(), "loop").len(), DEEPEST_SCRIPT + 1);
    }

    #[test]
    fn a_fifo_or_a_device_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(head_of(&fifo), None);
        assert_eq!(head_of(Path::new("/dev/zero")), None);
        assert_eq!(names(directory.path(), "fifo"), ["fifo"]);
    }

    #[test]
    fn every_form_of_env_is_understood() {
        let named = |argument: &str| {
            let head = format!("#!/usr/bin/env {argument}\nrest");
            let script = Script::parse(head.as_bytes()).unwrap();
            script.named_to_env().map(|name| String::from_utf8(name.to_vec()).unwrap())
        };
        for argument in
            ["node", "-S node --x", "-Snode", "-S A=b node", "--split-string=node x", "-S -u HOME node"]
        {
            assert_eq!(named(argument).as_deref(), Some("node"), "{argument}");
        }
        assert_eq!((named(""), named("-i"), named("A=b")), (None, None, None));
    }

    #[test]
    fn the_loader_of_a_dynamic_program_is_found_in_its_head() {
        let mut head = [0u8; 200];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[32] = 64; // program headers start here,
        head[54] = 56; // are this long,
        head[56] = 2; // and so many
        head[64] = 6;
        head[120] = 3;
        head[128] = 180;
        head[180..188].copy_from_slice(b"/lib/ld\0");
        assert_eq!(interpreter_in(&head), Some("/lib/ld".into()));
        assert_eq!(interpreter_in(&head[..185]), None);
        assert_eq!(interpreter_in(b"#! /nope -x\n"), Some("/nope".into()));
        assert_eq!(interpreter_in(b""), None);
    }

    proptest! {
        #[test]
        fn no_head_makes_the_parser_fail(mut head in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..3) {
            let start: &[u8] = match kind { 0 => b"#!", 1 => b"\x7fELF\x02\x01", _ => b"" };
            head.splice(..0, start.iter().copied());
            interpreter_in(&head);
            if let Some(script) = Script::parse(&head) {
                script.named_to_env();
            }
        }
    }
}
