//! Workers that write numbered lines, in several languages, and the verdict on what became of them.
//!
//! ```text
//!   2.1 17 xxxxxx…    slot 2 of generation 1, its line 17; how many x there are is known from the number
//! ```
//!
//! A worker says online, writes all its lines, makes the file `done.SLOT.GENERATION`, and waits to be told to stop.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{require, write_file};

/// A language, and the words that run the program which [`put`] has put into the directory.
pub(crate) struct Language {
    pub(crate) name: &'static str,
    pub(crate) program: Vec<String>,
}

const C: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char text[256], done[64];
    (void)argc;
    memset(text, 'x', sizeof text);
    if (write(3, "online\n", 7) != 7) return 1;
    for (long i = 1; i <= atol(argv[1]); i++)
        printf("%s.%s %ld %.*s\n", getenv("SRVWRAP_SLOT"), getenv("SRVWRAP_GENERATION"), i, (int)(i * 7 % 190), text);
    fflush(stdout);
    snprintf(done, sizeof done, "done.%s.%s", getenv("SRVWRAP_SLOT"), getenv("SRVWRAP_GENERATION"));
    fclose(fopen(done, "w"));
    for (;;) pause();
}
"#;

const PYTHON: &str = r#"
import os, signal, sys
who = os.environ["SRVWRAP_SLOT"] + "." + os.environ["SRVWRAP_GENERATION"]
os.write(3, b"online\n")
for i in range(1, int(sys.argv[1]) + 1):
    print(who, i, "x" * (i * 7 % 190))
sys.stdout.flush()
open("done." + who, "w").close()
while True:
    signal.pause()
"#;

const NODE: &str = r#"
const fs = require('fs')
const who = `${process.env.SRVWRAP_SLOT}.${process.env.SRVWRAP_GENERATION}`
fs.writeSync(3, 'online\n')
for (let i = 1; i <= Number(process.argv[2]); i++) console.log(`${who} ${i} ${'x'.repeat(i * 7 % 190)}`)
// What finds no room in the pipe waits in here, and with it this.
process.stdout.write('', () => fs.writeFileSync(`done.${who}`, ''))
setInterval(() => {}, 1000)
"#;

const SHELL: &str = r#"
x=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
x=$x$x$x$x
who=$SRVWRAP_SLOT.$SRVWRAP_GENERATION i=0 n=0 y=
echo online >&3
while [ $i -lt $1 ]; do
    i=$((i + 1)) n=$((i * 7 % 190))
    printf '%s %s %.*s\n' $who $i $n $x
    [ -z "$2" ] || printf '%s %s %.*s\n' $who $i $n $x >&2
done
: >done.$who
exec sleep 1000
"#;

/// Says online, and writes as many lines as it is asked for at the socket `worker.SLOT`, and answers when it has.
const ON_REQUEST: &str = r#"
import os, socket
slot = os.environ["SRVWRAP_SLOT"]
who, i = slot + "." + os.environ["SRVWRAP_GENERATION"], 0
server = socket.socket(socket.AF_UNIX)
server.bind("worker." + slot)
server.listen()
os.write(3, b"online\n")
while True:
    client, _ = server.accept()
    text = b""
    for _ in range(int(client.recv(100))):
        i += 1
        text += b"%s %d %s\n" % (who.encode(), i, b"x" * (i * 7 % 190))
    while text:
        text = text[os.write(1, text):]
    client.sendall(b"%d\n" % i)
    client.close()
"#;

/// The words of a worker that writes on request. None without Python.
pub(crate) fn on_request(directory: &Path) -> Option<Vec<String>> {
    write_file(directory, "request.py", ON_REQUEST);
    require::python().map(|python| vec![python, "request.py".to_string()])
}

/// Has such a worker write so many lines, and returns how many it has written in all, once it has.
pub(crate) fn request(directory: &Path, slot: usize, lines: usize) -> usize {
    let mut worker = UnixStream::connect(directory.join(format!("worker.{slot}"))).expect("it listens");
    worker.set_read_timeout(Some(super::PATIENCE)).expect("it is not zero");
    worker.write_all(lines.to_string().as_bytes()).expect("it reads");
    let mut answer = String::new();
    worker.read_to_string(&mut answer).expect("it answers");
    answer.trim().parse().expect("a number")
}

/// A shell's lines, on stdout and on stderr as well.
pub(crate) fn on_both_streams(directory: &Path, lines: usize) -> Vec<String> {
    write_file(directory, "lines.sh", SHELL);
    ["sh", "lines.sh", &lines.to_string(), "both"].map(str::to_string).to_vec()
}

/// The languages that this machine has; each writes so many lines a worker.
pub(crate) fn languages(directory: &Path, lines: usize) -> Vec<Language> {
    let lines = lines.to_string();
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).chain([lines.clone()]).collect();
    let mut languages = Vec::new();
    if require::program("cc") {
        write_file(directory, "lines.c", C);
        let compiled =
            Command::new("cc").args(["-O1", "-o", "lines", "lines.c"]).current_dir(directory).status();
        assert!(compiled.is_ok_and(|status| status.success()));
        languages.push(Language { name: "C", program: words(&["./lines"]) });
    }
    if let Some(python) = require::python() {
        write_file(directory, "lines.py", PYTHON);
        languages.push(Language { name: "Python", program: words(&[&python, "lines.py"]) });
    }
    if require::program("node") {
        write_file(directory, "lines.js", NODE);
        languages.push(Language { name: "node", program: words(&["node", "lines.js"]) });
    }
    write_file(directory, "lines.sh", SHELL);
    languages.push(Language { name: "sh", program: words(&["sh", "lines.sh"]) });
    languages
}

/// The archives of a log, in the order of their names, then the log itself where it is there. One whose `.gz` is there
/// too is left out: its compressor was killed before it could remove it, and the one is all in the other.
pub(crate) fn files_of(directory: &Path, name: &str) -> Vec<PathBuf> {
    let prefix = format!("{name}.");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.file_name().is_some_and(|found| found.to_string_lossy().starts_with(&prefix)))
        .collect();
    files.sort();
    let packed = |file: &PathBuf| PathBuf::from(format!("{}.gz", file.display()));
    files.retain(|file| !packed(file).exists());
    files.extend(Some(directory.join(name)).filter(|current| current.exists()));
    files
}

/// What a file holds, unpacked where its name says that it is packed.
pub(crate) fn content(path: &Path) -> Vec<u8> {
    if path.extension().is_none_or(|extension| extension != "gz") {
        return fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let unpacked = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip is there");
    assert!(unpacked.status.success(), "{}", path.display());
    unpacked.stdout
}

/// All that a log holds, its archives first. Every file ends with a line's end.
pub(crate) fn text_of(directory: &Path, name: &str) -> Vec<u8> {
    let mut text = Vec::new();
    for file in files_of(directory, name) {
        let found = content(&file);
        assert!(found.is_empty() || found.ends_with(b"\n"), "{} ends within a line", file.display());
        text.extend(found);
    }
    text
}

/// A line's worker and number. Panics where it is torn.
pub(crate) fn worker_and_number(line: &str) -> (&str, usize) {
    let words: Vec<&str> = line.split(' ').collect();
    let [who, number, filling] = words[..] else { panic!("a torn line: {line:?}") };
    let number: usize = number.parse().unwrap_or_else(|_| panic!("a torn line: {line:?}"));
    let whole = filling.len() == number * 7 % 190 && filling.bytes().all(|byte| byte == b'x');
    assert!(whole, "a torn line: {line:?}");
    (who, number)
}

/// Lines that were kept, and lines that gap records count. Panics where a worker's lines are missing anywhere but at a
/// gap record, or come twice, torn, or not in their order.
pub(crate) fn kept_and_dropped(text: &[u8]) -> (usize, usize) {
    let mut last: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let (mut kept, mut dropped, mut gaps) = (0, 0, 0);
    for line in String::from_utf8_lossy(text).lines() {
        if let Some((_, gap)) = line.split_once(" srvwrap: ") {
            let is_gap = gap.contains(" dropped: ");
            assert!(is_gap, "no gap record: {line}");
            dropped += gap.split(' ').next().and_then(|count| count.parse::<usize>().ok()).expect(line);
            gaps += 1;
            continue;
        }
        let (who, number) = worker_and_number(line);
        let (before, gaps_before) = last.insert(who.to_string(), (number, gaps)).unwrap_or((0, 0));
        assert!(number > before, "line {number} of {who} comes behind line {before}");
        assert!(
            number == before + 1 || gaps > gaps_before,
            "{who}: {before} to {number} without a gap record"
        );
        kept += 1;
    }
    (kept, dropped)
}

/// How many lines of each worker (`slot.generation`) there are, from the first on without a gap. Panics where a line is
/// torn, doubled, lost in between, or not in its place.
pub(crate) fn count_lines(text: &[u8]) -> BTreeMap<String, usize> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for line in String::from_utf8_lossy(text).lines() {
        let (who, number) = worker_and_number(line);
        let count = found.entry(who.to_string()).or_default();
        assert_eq!(number, *count + 1, "not the next line of {who}");
        *count = number;
    }
    found
}

/// Asserts that each of these workers has so many lines, and that there are no others.
pub(crate) fn assert_complete(text: &[u8], workers: &[&str], lines: usize) {
    let expected: BTreeMap<String, usize> = workers.iter().map(|who| (who.to_string(), lines)).collect();
    assert_eq!(count_lines(text), expected);
}
