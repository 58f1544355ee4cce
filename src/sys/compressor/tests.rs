//! Each test starts compressors, which are children of the process, in a process of its own.

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proptest::prelude::*;

use crate::sys::apart::{Apart, run_apart};
use crate::sys::observed::names;
use crate::sys::startup::Startup;

/// Waits for what it comes to.
fn wait(mut compressor: Compressor) -> Outcome {
    loop {
        if let Some(outcome) = compressor.outcome() {
            return outcome;
        }
        match compressor.descriptor() {
            Some(report) => poll(&mut [PollFd::new(report, PollFlags::POLLIN)], PollTimeout::NONE).unwrap(),
            None => poll(&mut [], PollTimeout::from(1u8)).unwrap(),
        };
    }
}

fn compressed(source: &Path) -> Outcome {
    wait(Compressor::start(source).unwrap())
}

/// By the program that everybody will read them with.
#[expect(clippy::disallowed_methods, reason = "it is not a worker")]
fn gunzip(path: &Path) -> Vec<u8> {
    let output = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Text that looks like a log, and more bytes than a piece has.
fn log_text() -> Vec<u8> {
    (0..20_000u32)
        .flat_map(|i| {
            format!("GET /items/{} 200 {}us\n", i.wrapping_mul(2654435761) % 997, i % 913).into_bytes()
        })
        .collect()
}

#[test]
fn an_archive_is_replaced_by_one_that_gzip_reads_and_that_is_as_old_and_as_secret() {
    let test = "sys::compressor::tests::an_archive_is_replaced_by_one_that_gzip_reads_and_that_is_as_old_and_as_secret";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for text in [log_text(), Vec::new(), b"one line\n".to_vec(), vec![0xff; 3 * PIECE_BYTES]] {
        let source = directory.path().join("a.log.1");
        fs::write(&source, &text).unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o604)).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_123);
        File::options().write(true).open(&source).unwrap().set_modified(time).unwrap();
        // Of a compressor that was killed.
        fs::write(directory.path().join("a.log.1.gz.tmp"), "half").unwrap();
        let bytes = compressed(&source).unwrap();
        assert_eq!(names(directory.path()), ["a.log.1.gz"]);
        let done = directory.path().join("a.log.1.gz");
        let found = fs::metadata(&done).unwrap();
        assert_eq!((found.len(), found.mode() & 0o7777), (bytes, 0o604));
        assert_eq!(found.modified().unwrap(), time);
        assert_eq!(gunzip(&done), text);
        fs::remove_file(done).unwrap();
    }
}

#[test]
fn what_has_the_name_already_is_left_alone_and_the_source_stays() {
    let test = "sys::compressor::tests::what_has_the_name_already_is_left_alone_and_the_source_stays";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let in_it = |name| directory.path().join(name);
    fs::write(in_it("x"), "text\n").unwrap();
    fs::write(in_it("precious"), "precious").unwrap();
    symlink(in_it("precious"), in_it("x.gz")).unwrap();
    symlink(in_it("precious"), in_it("x.gz.tmp")).unwrap();
    let why = compressed(&in_it("x")).unwrap_err();
    let path = in_it("x").display().to_string();
    assert_eq!(why, format!("cannot put {path}.gz in the place of {path}: File exists"));
    assert_eq!(fs::read(in_it("precious")).unwrap(), b"precious");
    assert_eq!(names(directory.path()), ["precious", "x", "x.gz"]);
    fs::remove_file(in_it("x.gz")).unwrap();
    for other in ["", "other"] {
        fs::write(in_it("x.gz"), other).unwrap();
        assert!(compressed(&in_it("x")).unwrap_err().ends_with("File exists"));
    }
    fs::remove_file(in_it("x.gz")).unwrap();
    fs::create_dir(in_it("x.gz.tmp")).unwrap();
    let why = compressed(&in_it("x")).unwrap_err();
    assert_eq!(why, format!("cannot write {path}.gz.tmp: Is a directory"));
    assert_eq!(fs::read(in_it("x")).unwrap(), b"text\n");
}

#[test]
fn what_a_killed_one_had_published_is_not_made_again() {
    let test = "sys::compressor::tests::what_a_killed_one_had_published_is_not_made_again";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (source, done) = (directory.path().join("x"), directory.path().join("x.gz"));
    fs::write(&source, log_text()).unwrap();
    let bytes = compressed(&source).unwrap();
    let published = fs::metadata(&done).unwrap().ino();
    fs::write(&source, log_text()).unwrap();
    assert_eq!(compressed(&source), Ok(bytes));
    assert_eq!(fs::metadata(&done).unwrap().ino(), published);
    assert_eq!(names(directory.path()), ["x.gz"]);
}

#[test]
fn of_one_that_was_killed_when_it_had_published_only_one_remains() {
    let directory = tempfile::tempdir().unwrap();
    let (source, done) = (directory.path().join("x"), directory.path().join("x.gz"));
    fs::write(&source, log_text()).unwrap();
    assert_eq!(finish(&source), None);
    let bytes = replace(&source).unwrap();
    fs::write(&source, b"another text").unwrap();
    assert_eq!(finish(&source), None);
    assert_eq!(names(directory.path()), ["x", "x.gz"]);
    fs::write(&source, log_text()).unwrap();
    assert_eq!(finish(&source), Some(bytes));
    assert_eq!(names(directory.path()), ["x.gz"]);
    assert!(gunzip(&done) == log_text());
}

#[test]
fn a_source_that_is_no_file_or_gone_is_named_and_nothing_is_left_of_it() {
    let test = "sys::compressor::tests::a_source_that_is_no_file_or_gone_is_named_and_nothing_is_left_of_it";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let in_it = |name| directory.path().join(name);
    symlink("/etc/passwd", in_it("link")).unwrap();
    nix::unistd::mkfifo(&in_it("fifo"), Mode::S_IRWXU).unwrap();
    for name in ["link", "fifo", "nothing"] {
        let why = compressed(&in_it(name)).unwrap_err();
        assert!(why.starts_with(&format!("cannot read {}", in_it(name).display())), "{why}");
    }
    assert_eq!(names(directory.path()), ["fifo", "link"]);
}

#[test]
fn where_the_disk_is_full_nothing_half_is_left() {
    let test = "sys::compressor::tests::where_the_disk_is_full_nothing_half_is_left";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("x");
    fs::write(&source, log_text()).unwrap();
    crate::sys::signal_state::set_ignored(libc::SIGXFSZ, true);
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_FSIZE, 4096, 4096).unwrap();
    let why = compressed(&source).unwrap_err();
    assert_eq!(why, format!("cannot write {}.gz.tmp: File too large", source.display()));
    assert_eq!(names(directory.path()), ["x"]);
}

#[test]
fn one_that_is_killed_is_told_of_and_leaves_the_source_alone() {
    let test = "sys::compressor::tests::one_that_is_killed_is_told_of_and_leaves_the_source_alone";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("x");
    // As large as it likes to be, so that it is not done before it is killed.
    let text = File::create(&source).unwrap();
    text.set_len(1 << 40).unwrap();
    let mut compressor = Compressor::start(&source).unwrap();
    let scratch = directory.path().join("x.gz.tmp");
    while !scratch.exists() {
        assert_eq!(compressor.outcome(), None);
        poll(&mut [], PollTimeout::from(1u8)).unwrap();
    }
    compressor.kill();
    let why = wait(compressor).unwrap_err();
    let path = source.display();
    assert_eq!(why, format!("cannot compress {path}: the compressor was killed by signal 9"));
    assert_eq!(names(directory.path()), ["x"]);
}

#[test]
fn what_does_not_read_back_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    fs::write(path("in"), log_text()).unwrap();
    let input = File::open(path("in")).unwrap();
    let output = File::options().read(true).write(true).create_new(true).open(path("out")).unwrap();
    deflate_all(&input, &output).unwrap();
    let whole = fs::read(path("out")).unwrap();
    let judge = |output: &File| reads_back(&input, output).unwrap_or(false);
    assert!(judge(&output));
    for at in [10, 11, 500, whole.len() / 2, whole.len() - 12, whole.len() - 8, whole.len() - 1] {
        let mut spoilt = whole.clone();
        spoilt[at] ^= 0x10;
        fs::write(path("spoilt"), spoilt).unwrap();
        assert!(!judge(&File::open(path("spoilt")).unwrap()), "byte {at}");
    }
    for length in [0, 10, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
        fs::write(path("spoilt"), &whole[..length]).unwrap();
        assert!(!judge(&File::open(path("spoilt")).unwrap()), "{length} bytes");
    }
    fs::write(path("spoilt"), [whole.as_slice(), b"more"].concat()).unwrap();
    assert!(!judge(&File::open(path("spoilt")).unwrap()), "there is something behind it");
    fs::write(path("in"), [log_text(), b"more\n".to_vec()].concat()).unwrap();
    assert!(!judge(&output), "the source has grown");
}

proptest! {
    #[test]
    fn whatever_it_said_is_a_number_or_a_sentence(said: [u8; 9]) {
        match decode(Path::new("/x"), said) {
            Ok(_) => prop_assert!(!(1..=6).contains(&said[0])),
            Err(why) => prop_assert!(why.contains("/x"), "{why}"),
        }
    }
}
