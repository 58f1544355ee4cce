//! Bad input: one line that names it and the remedy, the right exit code, and nothing left behind.

use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;

use crate::harness::{Starting, is_alive, require, srvwrap, worker_of};

pub(crate) const USAGE: i32 = 2;
const FAILED: i32 = 1;

/// Runs it to its end, which comes with this code and one line alone, and leaves its directory as it was.
pub(crate) fn refused(starting: Starting, code: i32) -> String {
    let before = names_in(&starting);
    let mut srvwrap = starting.start();
    let ended_with = srvwrap.exit_code();
    let line = srvwrap.log();
    assert_eq!(ended_with, code, "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("srvwrap: "), "{line}");
    assert!(!line.ends_with('.'), "{line}");
    let after: Vec<OsString> = std::fs::read_dir(srvwrap.directory.path())
        .expect("our directory")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert_eq!(after, before, "something is left behind");
    if let Some((_, pid)) = worker_of(&line) {
        assert!(!is_alive(pid), "{line}");
    }
    line
}

fn names_in(starting: &Starting) -> Vec<OsString> {
    let entries = std::fs::read_dir(starting.path()).expect("our directory");
    entries.map(|entry| entry.expect("readable").file_name()).collect()
}

/// Each of these command lines is refused as usage, in a line that holds these words.
pub(crate) fn each_is_refused<const N: usize>(cases: [(&[&str], &[&str]); N]) {
    for (arguments, words) in cases {
        let line = refused(srvwrap(arguments), USAGE);
        for word in words {
            assert!(line.contains(word), "no {word:?} for {arguments:?}: {line}");
        }
    }
}

/// A slip of the finger must not start anything, and whoever made it has to find the right word at once.
#[test]
fn an_option_that_does_not_exist_is_named_with_the_one_that_was_meant() {
    each_is_refused([
        (&["--wokers", "4", "true"], &["--wokers", "did you mean --workers?"]),
        (&["--frobnicate", "true"], &["--frobnicate", "srvwrap --help"]),
        (&["-x", "true"], &["-x", "srvwrap --help"]),
        (&["-n4", "-z", "true"], &["-z", "srvwrap --help"]),
        (&["-n", "1", "-n", "2", "true"], &["-n", "given twice"]),
        (&["--stop-leader-only=yes", "true"], &["--stop-leader-only=yes", "takes no value"]),
    ]);
}

/// No workers, less than none, and more than a machine has processes.
#[test]
fn a_count_that_cannot_be_is_named_with_what_can() {
    for count in ["0", "-1", "70000", "99999999999999999999", "four", "1.5", "+1", "0x4", "4k"] {
        let line = refused(srvwrap(["-n", count, "true"]), USAGE);
        assert!(
            line.contains(&format!("-n {count}: ")) && line.contains("give 1 to 65535, or auto"),
            "{line}"
        );
        let line = refused(srvwrap([&format!("--workers={count}"), "true"]), USAGE);
        assert!(line.contains("--workers") && line.contains("1 to 65535"), "{line}");
    }
    let line = refused(srvwrap(["true"]).env("WEB_CONCURRENCY", "many"), USAGE);
    assert!(line.contains("WEB_CONCURRENCY=many") && line.contains("1 to 65535"), "{line}");
}

/// What is no address, and what is one that this version cannot take.
#[test]
fn an_address_that_is_none_is_named_with_its_remedy() {
    each_is_refused([
        (&["-p", "70000", "true"], &["-p 70000", "give 1 to 65535"]),
        (&["-p", "127.0.0.1:70000", "true"], &["127.0.0.1:70000", "give 1 to 65535"]),
        (&["-p", "127.0.0.1", "true"], &["the port is missing"]),
        (&["-p", "-1", "true"], &["-p -1", "give 1 to 65535"]),
        (&["-p", "::1:80", "true"], &["brackets", "[::1]:8000"]),
        (&["-p", "http://localhost:80/", "true"], &["URL", "give a port"]),
        (&["-p", "example.com:80", "true"], &["example.com:80", "not looked up"]),
        (&["-p", "/run/app.sock", "true"], &["give unix:PATH"]),
        (&["-p", "unix:", "true"], &["the path is missing"]),
        (&["-p", "HTTP=80", "true"], &["HTTP=80", "a-z"]),
        (&["-p", "", "true"], &["-p", "value is missing"]),
        (&["-p"], &["-p", "value is missing"]),
    ]);
}

/// A socket's path has its limit in the kernel, and a longer one would be cut there without a word.
#[test]
fn a_unix_path_of_200_characters_is_refused_with_the_limit() {
    let path = format!("unix:/tmp/{}", "x".repeat(195));
    let line = refused(srvwrap(["-p", &path, "true"]), USAGE);
    assert!(line.contains(&path) && line.contains("107") && line.contains("shorter"), "{line}");
}

/// The second of them could not be bound, and the line of the system would blame a stranger.
#[test]
fn two_listeners_at_one_address_are_refused_together() {
    each_is_refused([
        (&["-p", "8000", "-p", "8000", "true"], &["-p 8000", "only one"]),
        (&["-p", "127.0.0.1:8000", "-p", "localhost:8000", "true"], &["127.0.0.1:8000", "only one"]),
        (&["-p", "8000", "-p", "127.0.0.1:8000", "true"], &["only one"]),
        (&["-p", "unix:a.sock", "-p", "unix:./a.sock", "true"], &["a.sock", "only one"]),
        (&["-p", "a=0", "-p", "a=0", "true"], &["two sockets are named a"]),
    ]);
}

/// Two names of one path that only the file system knows to be the same: the first one is bound by then, and must
/// not stay.
#[test]
fn a_second_name_of_a_path_that_is_bound_already_takes_the_first_one_back() {
    let starting = srvwrap(["-p", "unix:a.sock", "-p", "unix:sub/../a.sock", "true"]);
    std::fs::create_dir(starting.path().join("sub")).expect("our directory");
    let line = refused(starting, FAILED);
    let told = "sub/../a.sock: srvwrap itself listens on it already, by another -p or as its control socket; give each";
    assert!(line.contains(told), "{line}");

    let starting = srvwrap(["-p", "unix:sub/../srvwrap.sock", "true"]);
    std::fs::create_dir(starting.path().join("sub")).expect("our directory");
    let line = refused(starting, FAILED);
    assert!(line.contains("sub/../srvwrap.sock: srvwrap itself listens on it already"), "{line}");
}

/// An address of a net for documentation is nobody's.
#[test]
fn an_address_of_another_machine_is_called_that() {
    let line = refused(srvwrap(["-p", "unix:a.sock", "-p", "192.0.2.1:8000", "true"]), FAILED);
    assert!(line.contains("192.0.2.1:8000") && line.contains("not an address of this machine"), "{line}");
}

/// The commonest failure of all: the old server still runs.
#[test]
fn a_busy_port_is_named_with_the_pid_that_holds_it() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = holder.local_addr().expect("bound").port();
    for address in [format!("127.0.0.1:{port}"), port.to_string()] {
        let line = refused(srvwrap(["-p", "unix:a.sock", "-p", &address, "true"]), FAILED);
        assert!(line.contains(&address) && line.contains("Address already in use"), "{line}");
        assert!(line.contains(&format!("pid {}", std::process::id())), "{line}");
    }
}

/// A port below 1024 as an ordinary user.
#[test]
fn a_port_that_needs_rights_is_refused_with_the_rights_that_it_needs() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if !require::require("a privileged port 80", first.trim().parse().is_ok_and(|first: u16| first > 80)) {
        return;
    }
    let starting = srvwrap(["-p", "127.0.0.1:80", "true"]).with(|command| {
        if nix::unistd::geteuid().is_root() {
            command.uid(65534).gid(65534).current_dir("/tmp").arg0("srvwrap");
            command.env("SRVWRAP_SOCKET", format!("/tmp/srvwrap-test-{}.sock", std::process::id()));
        }
    });
    let line = refused(starting, FAILED);
    assert!(line.contains("127.0.0.1:80: Permission denied"), "{line}");
    assert!(line.contains("CAP_NET_BIND_SERVICE") && line.contains("ip_unprivileged_port_start"), "{line}");
}

/// A path where something else is, where nothing can be, and where nobody may.
#[test]
fn a_unix_path_that_is_something_else_is_left_alone() {
    let starting = srvwrap(["-p", "unix:notes", "true"]).file("notes", "keep this\n");
    let notes = starting.path().join("notes");
    std::fs::write(&notes, "keep this\n").expect("our directory");
    let line = refused(starting, FAILED);
    assert!(line.contains("notes") && line.contains("not a socket"), "{line}");
    let line = refused(srvwrap(["-p", "unix:no/such/app.sock", "true"]), FAILED);
    assert!(line.contains("no/such") && line.contains("No such file or directory"), "{line}");
    let line = refused(srvwrap(["-p", "unix:/dev/null/app.sock", "true"]), FAILED);
    assert!(line.contains("/dev/null") && line.contains("Not a directory"), "{line}");
}

/// Two readers of one stream each get some of it.
#[test]
fn an_inherited_stdin_is_for_one_worker_alone() {
    each_is_refused([(&["-n", "2", "--stdin", "inherit", "cat"], &["--stdin inherit", "2 workers", "-n 1"])]);
    let line = refused(srvwrap(["--stdin", "inherit", "cat"]).env("WEB_CONCURRENCY", "3"), USAGE);
    assert!(line.contains("3 workers") && line.contains("-n 1"), "{line}");
}

/// Times that are none, in every option that takes one.
#[test]
fn a_time_that_is_none_is_named_with_the_forms_of_one() {
    for option in ["--online-timeout", "--stop-timeout", "--bake"] {
        for time in
            ["soon", "5 s", "-1", "1w", "s", "1e3", "1,5s", "nan", "inf", "99999999999999999999s", "٣"]
        {
            let line = refused(srvwrap([option, time, "true"]), USAGE);
            assert!(line.contains(option) && line.contains("500ms"), "{line}");
        }
    }
    each_is_refused([
        (&["--online-timeout", "0", "true"], &["--online-timeout 0"]),
        (&["--ready", "after=soon", "true"], &["--ready after=soon"]),
        (&["--ready", "after=0", "true"], &["give --ready exec"]),
        (&["--ready", "after=2m", "true"], &["--online-timeout 60s", "give a longer one"]),
    ]);
}

#[test]
fn a_word_that_an_option_does_not_know_is_named_with_those_that_it_does() {
    each_is_refused([
        (&["--ready", "never", "true"], &["--ready never", "notify, exec or after=DURATION"]),
        (&["--on-crash", "panic", "true"], &["--on-crash panic", "respawn or exit"]),
        (&["--stdin", "tty", "true"], &["--stdin tty", "null or inherit"]),
        (&["--stop-signal", "KILL", "true"], &["--stop-signal KILL", "TERM, INT"]),
        (&["--stop-signal", "65", "true"], &["--stop-signal 65", "1 to 64"]),
        (&["--stop-signal", "HANGUP", "true"], &["--stop-signal HANGUP", "HUP"]),
    ]);
}

/// A program named like a command is not run by mistake, nor an option mistaken for the command's.
#[test]
fn a_commands_name_is_not_taken_for_a_program() {
    for name in ["pause", "resume"] {
        let line = refused(srvwrap([name]), USAGE);
        assert!(line.contains(name) && line.contains(&format!("srvwrap -- {name}")), "{line}");
    }
    for name in ["start", "deploy", "stop", "status", "scale", "check", "logs", "signal"] {
        let line = refused(srvwrap(["-n", "4", name, "now"]), USAGE);
        assert!(line.contains(&format!("srvwrap {name} -n 4 ...")), "{line}");
        assert!(line.contains(&format!("srvwrap -n 4 -- {name}")), "{line}");
    }
    let line = refused(srvwrap(["-n", "4", "run", "true"]), USAGE);
    assert!(line.contains("srvwrap run -n 4 ...") && line.contains("srvwrap -n 4 -- run"), "{line}");
}

#[test]
fn without_a_program_the_line_shows_how_one_is_given() {
    each_is_refused([
        (&[], &["no program", "srvwrap -n 4 -p 8000 node server.js"]),
        (&["run"], &["no program"]),
        (&["-n", "2", "--"], &["no program"]),
    ]);
    let line = refused(srvwrap([""]), 127);
    assert!(line.contains("the program's name is empty"), "{line}");
}

/// Names are bytes here, and what a terminal cannot show must not stop it from being said.
#[test]
fn bytes_that_are_no_text_are_shown_and_refused() {
    let words =
        |words: &[&[u8]]| words.iter().map(|word| OsStr::from_bytes(word).to_owned()).collect::<Vec<_>>();
    let line = refused(srvwrap(words(&[b"--w\xffrkers", b"true"])), USAGE);
    assert!(line.contains("\\xff") && line.contains("no such option"), "{line}");
    let line = refused(srvwrap(words(&[b"-n", b"\xff", b"true"])), USAGE);
    assert!(line.contains("\\xff") && line.contains("1 to 65535"), "{line}");
    let line = refused(srvwrap(words(&[b"--bake", b"\xc3", b"true"])), USAGE);
    assert!(line.contains("\\xc3") && line.contains("500ms"), "{line}");
    let line = refused(srvwrap(words(&[b"-p", b"a\nb\x1b[2J", b"true"])), USAGE);
    assert!(line.contains("a\\nb"), "{line}");
    let line = refused(srvwrap(words(&[b"no\xffsuch"])), 127);
    assert!(line.contains("cannot find program no"), "{line}");
}
