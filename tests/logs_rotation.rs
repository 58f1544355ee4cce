//! What workers write, in files that are rotated: all of it, once, in order, whole.

use std::fs;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::command::told;
use crate::harness::daemon::Home;
use crate::harness::lines::{assert_complete, content, files_of, languages, on_both_streams, text_of};
use crate::harness::{srvwrap, wait_until};

const LINES: usize = 9000;

fn with<'a>(options: &[&'a str], program: &'a [String]) -> Vec<&'a str> {
    options.iter().copied().chain(program.iter().map(String::as_str)).collect()
}

/// 9000 numbered lines of each of four workers, rotated every 100 KB, in each language.
#[test]
fn every_line_of_four_workers_is_there_once_in_order_and_whole() {
    let programs = tempfile::tempdir().unwrap();
    for language in languages(programs.path(), LINES) {
        let options = ["-n4", "--stdout", "logs/app.log", "--max-log-size", "100k", "--log-keep", "1000"];
        let starting = srvwrap(with(&options, &language.program));
        for entry in fs::read_dir(programs.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), starting.path().join(entry.file_name())).unwrap();
        }
        let mut srvwrap = starting.start();
        wait_until("all is written", || {
            (0..4).all(|slot| srvwrap.path().join(format!("done.{slot}.1")).exists())
        });
        srvwrap.signal(Signal::SIGTERM);
        assert_eq!(srvwrap.exit_code(), 0, "{}: {}", language.name, srvwrap.log());
        let logs = srvwrap.path().join("logs");
        assert_complete(&text_of(&logs, "app.log"), &["0.1", "1.1", "2.1", "3.1"], LINES);
        let files = files_of(&logs, "app.log");
        assert!(files.len() > 20, "{}: only {} files", language.name, files.len());
        for file in &files {
            let bytes = content(file).len();
            assert!(bytes <= 100 * 1024, "{} has {bytes} bytes", file.display());
        }
    }
}

/// One writer's text, byte for byte: archives, in the order of their names, and then the current file.
#[test]
fn archives_in_the_order_of_their_names_and_the_current_file_are_the_exact_text() {
    let text: String =
        (0..40_000).map(|number| format!("{number} {}\n", "ab é ".repeat(number % 9))).collect();
    let home = Home::new().file("text", &text);
    let program = "cat text; : >done; echo online >&3; exec sleep 1000";
    let daemon = home.online(&["--max-log-size", "64k", "--log-keep", "1000", "sh", "-c", program]);
    daemon.stop();
    let files = files_of(home.path(), "stdout.log");
    assert!(files.len() > 10, "{files:?}");
    assert!(text_of(home.path(), "stdout.log") == text.as_bytes(), "it is not the same text");
    for archive in files.iter().filter(|file| file.extension().is_some_and(|found| found == "gz")) {
        let tested = Command::new("gzip").arg("-t").arg(archive).stderr(Stdio::inherit()).status();
        assert!(tested.unwrap().success(), "{}", archive.display());
    }
}

/// Archives are compressed while srvwrap runs, and those that are not there yet at its end by the next one.
#[test]
fn archives_are_compressed_in_the_end() {
    let home = Home::new();
    let program = "seq 200000; echo online >&3; exec sleep 1000";
    let options = ["--max-log-size", "100k", "--log-keep", "1000"];
    let start = || home.online(&[options.as_slice(), &["sh", "-c", program]].concat());
    start().stop();
    let daemon = start();
    let is_done = || {
        let files = files_of(home.path(), "stdout.log");
        let (current, archives) = files.split_last().expect("there is a current one");
        let packed = |file: &std::path::PathBuf| file.extension().is_some_and(|found| found == "gz");
        current.ends_with("stdout.log") && archives.len() > 20 && archives.iter().all(packed)
    };
    wait_until("every archive is compressed", is_done);
    daemon.stop();
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(text_of(home.path(), "stdout.log") == expected.repeat(2).as_bytes());
}

#[test]
fn zero_never_rotates() {
    let home = Home::new();
    let program = "seq 3000000; echo online >&3; exec sleep 1000";
    home.online(&["--max-log-size", "0", "sh", "-c", program]).stop();
    assert_eq!(home.names(), ["srvwrap.log", "stderr.log", "stdout.log"]);
    assert_eq!(fs::metadata(home.at("stdout.log")).unwrap().len(), 22_888_896);
}

/// Both streams, of all generations, each in its file.
#[test]
fn all_generations_are_in_the_files() {
    let home = Home::new();
    let program = on_both_streams(home.path(), 500);
    let daemon = home.online(&with(&["-n2", "--max-log-size", "20k", "--log-keep", "100"], &program));
    let all_of = |generation: u32| {
        wait_until("a generation has written", || {
            (0..2).all(|slot| home.at(&format!("done.{slot}.{generation}")).exists())
        });
    };
    all_of(1);
    for generation in [2, 3] {
        let deployed = told(home.path(), &["deploy"]);
        assert_eq!(deployed.code, 0, "{deployed:?}");
        all_of(generation);
    }
    daemon.stop();
    for name in ["stdout.log", "stderr.log"] {
        assert_complete(&text_of(home.path(), name), &["0.1", "0.2", "0.3", "1.1", "1.2", "1.3"], 500);
    }
}
