//! Small programs with the files of `clients/`: they fork, start others, or have read nothing beforehand.
//!
//! What the examples do, which are servers, is in `languages.rs` and in the sessions.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::examples::{self, Language};
use crate::harness::{Starting, require, srvwrap};

/// A program of this language beside the client file. What does not come is not waited for long.
fn program(language: &Language, interpreter: &str, options: &[&str], text: &str) -> Starting {
    let client = examples::client(language.client);
    let name = client.file_name().and_then(|name| name.to_str()).expect("a name of ours");
    let file = std::fs::read_to_string(&client).expect("it is there");
    let words = ["--online-timeout", "10s", "--stop-timeout", "10s"];
    srvwrap(words.iter().chain(options).chain(&[interpreter, "program"]))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .file("program", text)
        .file(name, &file)
}

/// Python itself, as a word.
fn python() -> Option<String> {
    examples::python_itself()?.into_string().ok()
}

/// Everything that was said, in which nobody was killed.
fn stopped_well(starting: Starting) -> String {
    let log = starting.online().stop();
    assert!(!log.contains("killed"), "{log}");
    log
}

/// `$$` is a number only once it has been read.
const PERL: &str = r"
use FindBin;
use lib $FindBin::Bin;
use Srvwrap;
use IO::Poll qw(POLLIN);

my $poll = IO::Poll->new;
$poll->mask(Srvwrap::on_shutdown(sub { exit 0 }) => POLLIN);
Srvwrap::online();
$poll->poll while 1;
";

#[test]
fn a_perl_program_that_has_not_read_its_process_id_hears_the_line() {
    if require::program("perl") {
        stopped_well(program(&examples::PERL, "perl", &["--stop-signal", "none"], PERL));
    }
}

/// Each forks once it has said how it is to be told, sends TERM to the child, and says how that has ended. They sleep
/// shortly: a signal that comes just before a sleep is handled after it. Python and Ruby forget one that comes while
/// they fork, so that the child says when it has begun.
fn a_child_has_no_part_in_it(language: &Language, interpreter: &str, text: &str) {
    let log = stopped_well(program(language, interpreter, &[], text));
    assert!(log.contains("the child ended by 15"), "{log}");
    assert_eq!(log.matches("told to finish").count(), 1, "{log}");
}

const FORKING_PYTHON: &str = r#"
import os, signal, srvwrap, time

def finish():
    print("told to finish", flush=True)
    os._exit(0)

srvwrap.on_shutdown(finish)
begun, begins = os.pipe()
child = os.fork()
if child == 0:
    os.write(begins, b".")
while child == 0:
    time.sleep(0.1)
os.read(begun, 1)
os.kill(child, signal.SIGTERM)
print("the child ended by", os.waitpid(child, 0)[1], flush=True)
srvwrap.online()
while True:
    time.sleep(0.1)
"#;

#[test]
fn a_child_that_python_forks_ends_at_term_and_its_parent_is_not_told() {
    let Some(python) = python() else { return };
    a_child_has_no_part_in_it(&examples::PYTHON, &python, FORKING_PYTHON);
}

const FORKING_RUBY: &str = r#"
require_relative 'srvwrap'

Thread.new(&Srvwrap.on_shutdown { $stdout.syswrite("told to finish\n") && exit!(0) })
begun, begins = IO.pipe
child = fork { begins.syswrite('.') && sleep }
begun.sysread(1)
Process.kill('TERM', child)
Process.wait(child)
$stdout.syswrite("the child ended by #{$?.termsig}\n")
Srvwrap.online
sleep
"#;

#[test]
fn a_child_that_ruby_forks_ends_at_term_and_its_parent_is_not_told() {
    if require::program("ruby") {
        a_child_has_no_part_in_it(&examples::RUBY, "ruby", FORKING_RUBY);
    }
}

const FORKING_PERL: &str = r#"
use FindBin;
use lib $FindBin::Bin;
use Srvwrap;

$| = 1;
Srvwrap::on_shutdown(sub { print "told to finish\n"; exit 0 });
my $child = fork;
select undef, undef, undef, 0.1 while !$child;
kill TERM => $child;
waitpid $child, 0;
print "the child ended by $?\n";
Srvwrap::online();
select undef, undef, undef, 0.1 while 1;
"#;

#[test]
fn a_child_that_perl_forks_ends_at_term_and_its_parent_is_not_told() {
    if require::program("perl") {
        a_child_has_no_part_in_it(&examples::PERL, "perl", FORKING_PERL);
    }
}

const FORKING_PHP: &str = r#"<?php
require __DIR__ . '/srvwrap.php';

srvwrap\on_shutdown(function () {
    echo "told to finish\n";
    exit(0);
});
$child = pcntl_fork();
while ($child === 0) {
    usleep(100_000);
}
posix_kill($child, SIGTERM);
pcntl_waitpid($child, $status);
echo "the child ended by $status\n";
srvwrap\online();
while (true) {
    usleep(100_000);
}
"#;

#[test]
fn a_child_that_php_forks_ends_at_term_and_its_parent_is_not_told() {
    if require::program("php") {
        a_child_has_no_part_in_it(&examples::PHP, "php", FORKING_PHP);
    }
}

/// What is ignored stays ignored in a program that is started then.
const STARTING: &str = r#"
import subprocess, srvwrap, time

told = []
srvwrap.on_shutdown(lambda: told.append(True))
srvwrap.online()
while not told:
    time.sleep(0.1)
child = subprocess.Popen(["sleep", "1000"])
child.terminate()
print("the child ended by", -child.wait(), flush=True)
"#;

#[test]
fn what_python_starts_while_it_finishes_ends_at_term() {
    let Some(python) = python() else { return };
    let log = stopped_well(program(&examples::PYTHON, &python, &[], STARTING));
    assert!(log.contains("the child ended by 15"), "{log}");
}

/// In one line, not in that of an exception.
#[test]
fn a_number_that_no_descriptor_has_is_told_in_one_line() {
    for language in [&examples::NODE, &examples::PERL, &examples::PHP, &examples::PYTHON, &examples::RUBY] {
        let Some(words) = language.program() else { continue };
        let mut worker = Command::new(&words[0]);
        worker.args(&words[1..]).env("NOTIFY_FD", "99999999999999999999");
        let output = worker.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("it can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{}", language.name);
        assert!(said.starts_with("NOTIFY_FD=99999999999999999999 is no open socket"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// Seven listeners before it leave it a number of two digits.
#[test]
fn a_shell_that_cannot_name_the_descriptor_says_so() {
    if !require::program("dash") {
        return;
    }
    let options = [&["--protocol", "systemd"][..], &["-p", "127.0.0.1:0"].repeat(7)].concat();
    let text = ". ./srvwrap.sh\nonline\nexec sleep 1000\n";
    let (code, log) = program(&examples::SH, "dash", &options, text).run();
    assert_ne!(code, 0);
    assert!(log.contains("NOTIFY_FD=10 is more than this shell can write to"), "{log}");
    assert!(log.contains("exited with status 1"), "{log}");
}

/// It ends half a second after TERM.
const DRAINING: &str = r#"
import signal, time

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open("ready", "w").close()
signal.sigwait([signal.SIGTERM])
time.sleep(0.5)
"#;

/// What the script sends to others, and what it ends with.
const NOTED: &str = r#"
kill() {
    [ "$1" = -0 ] || echo "kill $*" >>noted
    command kill "$@"
}
trap 'echo "exit $?" >>noted' EXIT
"#;

/// As the head of the file shows it.
#[test]
fn a_shell_that_stays_does_not_tell_its_server_twice() {
    let Some(python) = python() else { return };
    let file = std::fs::read_to_string(examples::client("sh/srvwrap.sh")).expect("it is there");
    let shown = file.split_once("where the shell has to stay:\n#\n").expect("the head shows it").1;
    let shown: Vec<&str> = shown.lines().map_while(|line| line.strip_prefix("#     ")).collect();
    let server = format!("{python} server.py");
    let shown = shown.join("\n").replace(r#"server --fd "$LISTEN_FD""#, &server);
    // Before it is ready for TERM it would end by it.
    let ready = "\nuntil [ -e ready ]; do sleep 0.01; done\nonline\n";
    let text = format!(". ./srvwrap.sh\n{NOTED}{}\n", shown.replace("\nonline\n", ready));
    assert!(text.contains(&server) && text.contains(ready), "{text}");
    let mut srvwrap =
        program(&examples::SH, "sh", &["-p", "127.0.0.1:0"], &text).file("server.py", DRAINING).online();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(!srvwrap.has_said("killed"));
    assert_eq!(std::fs::read_to_string(srvwrap.path().join("noted")).expect("it has ended"), "exit 0\n");
}
