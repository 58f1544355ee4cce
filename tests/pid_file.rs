//! The pid file of a running srvwrap: locked for life, complete or empty, and nobody else's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{Srvwrap, Starting, before_exec, is_alive, srvwrap, wait_until, write_file};

const IDLE: [&str; 3] = ["sh", "-c", "echo online >&3; exec sleep 1000"];

fn in_directory(directory: &Path, options: &[&str], program: &[&str]) -> Starting {
    let file = directory.join("srvwrap.pid").display().to_string();
    let arguments: Vec<&str> = ["--pid-file", &file].into_iter().chain(options.iter().copied()).collect();
    srvwrap(arguments.into_iter().chain(program.iter().copied()).map(str::to_string).collect::<Vec<_>>())
}

fn line(srvwrap: &Srvwrap) -> String {
    format!("{}\n", srvwrap.pid())
}

#[test]
fn it_is_written_when_all_are_online_for_everybody_to_read_and_gone_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("srvwrap.pid");
    let program = [
        "sh",
        "-c",
        "echo begun >&2; until [ -e go ]; do sleep 0.02; done; echo online >&3; exec sleep 1000",
    ];
    let starting = in_directory(directory.path(), &[], &program).with(|command| {
        before_exec(command, || {
            // SAFETY: a system call without memory.
            unsafe { libc::umask(0) };
            Ok(())
        });
    });
    let mut booting = starting.start();
    booting.wait_for("begun");
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    booting.touch("go");
    booting.wait_for("workers online");
    wait_until("it is written", || fs::read_to_string(&path).unwrap() == line(&booting));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
    booting.stop();
    assert!(!path.exists());
}

#[test]
fn a_second_instance_names_the_first_ends_with_1_and_touches_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("srvwrap.pid");
    let first = in_directory(directory.path(), &[], &IDLE).online();
    wait_until("it is written", || fs::read_to_string(&path).unwrap() == line(&first));
    let before = fs::metadata(&path).unwrap();
    let (code, said) = in_directory(directory.path(), &["-punix:app.sock"], &IDLE).run();
    assert_eq!(code, 1);
    let words = format!("srvwrap is running already (pid {})", first.pid());
    assert!(said.contains(&words), "{said}");
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (after.ino(), after.mtime(), after.mtime_nsec()),
        (before.ino(), before.mtime(), before.mtime_nsec())
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), line(&first));
    assert!(is_alive(first.pid() as i32));
    first.stop();
}

#[test]
fn after_a_kill_the_next_one_takes_it_over_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("srvwrap.pid");
    let mut first = in_directory(directory.path(), &[], &IDLE).online();
    first.signal(Signal::SIGKILL);
    first.wait();
    assert_eq!(fs::read_to_string(&path).unwrap(), line(&first));
    let second = in_directory(directory.path(), &[], &IDLE).online();
    wait_until("it is written", || fs::read_to_string(&path).unwrap() == line(&second));
    second.stop();
}

#[test]
fn a_stale_one_that_names_a_living_stranger_is_taken_over_and_the_stranger_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("srvwrap.pid");
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(&path, format!("{}\n", stranger.id())).unwrap();
    in_directory(directory.path(), &[], &IDLE).online().stop();
    assert!(stranger.try_wait().unwrap().is_none());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn what_is_not_a_file_of_ours_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("srvwrap.pid");
    let precious = write_file(directory.path(), "precious", "text");
    let made: [(&str, &dyn Fn()); 4] = [
        ("a symbolic link", &|| symlink(&precious, &path).unwrap()),
        ("a hard link", &|| fs::hard_link(&precious, &path).unwrap()),
        ("a FIFO", &|| nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap()),
        ("a directory", &|| fs::create_dir(&path).unwrap()),
    ];
    for (kind, make) in made {
        make();
        let (code, said) = in_directory(directory.path(), &["-punix:app.sock"], &IDLE).run();
        assert_eq!((code, said.lines().count()), (1, 1), "{said}");
        assert!(said.contains(kind) && said.contains("it is left alone"), "{said}");
        assert!(fs::symlink_metadata(&path).is_ok(), "{kind}");
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }
    assert_eq!(fs::read(&precious).unwrap(), b"text");
}

#[test]
fn root_writes_none_where_everybody_could_replace_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let starting = in_directory(directory.path(), &[], &IDLE);
    if nix::unistd::geteuid().is_root() {
        let (code, said) = starting.run();
        assert_eq!((code, said.lines().count()), (1, 1), "{said}");
        assert!(said.contains("make it sticky"), "{said}");
    } else {
        starting.online().stop();
    }
}

#[test]
fn one_that_was_removed_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("srvwrap.pid");
    let mut srvwrap = in_directory(directory.path(), &[], &IDLE).online();
    wait_until("it is written", || path.exists() && fs::read_to_string(&path).unwrap() == line(&srvwrap));
    for _ in 0..3 {
        fs::remove_file(&path).unwrap();
        srvwrap.wait_for("srvwrap.pid: made anew");
        assert_eq!(fs::read_to_string(&path).unwrap(), line(&srvwrap));
    }
    srvwrap.stop();
    assert!(!path.exists());
}

#[test]
fn the_end_of_one_does_not_remove_its_successors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("srvwrap.pid");
    let mut old = in_directory(directory.path(), &[], &IDLE).online();
    // It is stopped, so that it does not see the removal before the new one is there.
    old.signal(Signal::SIGSTOP);
    fs::remove_file(&path).unwrap();
    let new = in_directory(directory.path(), &[], &IDLE).online();
    old.signal(Signal::SIGCONT);
    old.wait_for("somebody has removed");
    old.stop();
    wait_until("it is written", || fs::read_to_string(&path).unwrap() == line(&new));
    new.stop();
}
