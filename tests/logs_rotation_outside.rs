//! Others rotate too: logrotate in each of its ways, and people, while workers write and srvwrap rotates by size.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::command::told;
use crate::harness::daemon::{Daemon, Home};
use crate::harness::lines::{assert_complete, files_of, on_request, request, text_of, worker_and_number};
use crate::harness::wait_until;

const TIMES: usize = 5;
const LINES: usize = 300;

/// While two workers write, does this so many times, with the number of the time. How many lines they
/// have written.
fn disturbed(test: impl Fn(&Home, &Daemon, usize)) -> Option<(Home, usize)> {
    let home = Home::new();
    let program = on_request(home.path())?;
    let options = ["-n2", "--stdout=app.log", "--max-log-size=100k", "--log-keep=10000"];
    let daemon =
        home.online(&options.into_iter().chain(program.iter().map(String::as_str)).collect::<Vec<_>>());
    let done = std::sync::atomic::AtomicBool::new(false);
    let lines = thread::scope(|scope| {
        let asking = |slot| {
            let (home, done) = (&home, &done);
            move || loop {
                let lines = request(home.path(), slot, LINES);
                if done.load(std::sync::atomic::Ordering::SeqCst) {
                    return lines;
                }
            }
        };
        let asked = [0, 1].map(|slot| scope.spawn(asking(slot)));
        let disturbing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for time in 0..TIMES {
                wait_until("it writes", || {
                    fs::metadata(home.at("app.log")).is_ok_and(|found| found.len() > 20_000)
                });
                test(&home, &daemon, time);
            }
        }));
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        let lines = asked.map(|asked| asked.join().unwrap());
        if let Err(panic) = disturbing {
            std::panic::resume_unwind(panic);
        }
        lines
    });
    daemon.stop();
    Some((home, lines.iter().sum()))
}

/// All lines, of whatever file, are there once.
fn assert_all(home: &Home, most: usize) {
    let mut found: Vec<(String, usize)> = Vec::new();
    let text = [text_of(home.path(), "app.log"), text_of(home.path(), "moved")].concat();
    for line in String::from_utf8_lossy(&text).lines() {
        let (who, number) = worker_and_number(line);
        found.push((who.to_string(), number));
    }
    let count = found.len();
    found.sort();
    found.dedup();
    assert_eq!((count, found.len()), (most, most), "lines, of which different, of those that were written");
}

fn move_away(home: &Home, time: usize) -> PathBuf {
    let to = home.at(&format!("moved.{time}"));
    // It is not there for a moment where srvwrap rotates it just now.
    wait_until("it is moved", || fs::rename(home.at("app.log"), &to).is_ok());
    to
}

/// It is closed, so that it can be compressed.
fn is_open_in_no(daemon: &Daemon, path: &std::path::Path) -> bool {
    let writer = crate::harness::proc::log_writer(daemon.pid).expect("a daemon has one");
    let open = crate::harness::proc::descriptors(writer);
    !open.values().any(|open| std::path::Path::new(open) == path)
}

#[test]
fn a_log_that_is_moved_is_left_at_usr1_and_no_line_is_lost() {
    let Some((home, most)) = disturbed(|home, daemon, time| {
        let moved = move_away(home, time);
        daemon.signal(Signal::SIGUSR1);
        wait_until("it is closed", || is_open_in_no(daemon, &moved));
    }) else {
        return;
    };
    assert_all(&home, most);
}

#[test]
fn a_log_that_is_moved_is_left_when_reopen_returns_and_no_line_is_lost() {
    let Some((home, most)) = disturbed(|home, daemon, time| {
        let moved = move_away(home, time);
        assert_eq!(told(home.path(), &["reopen"]).code, 0);
        assert!(is_open_in_no(daemon, &moved), "{:?}", moved);
    }) else {
        return;
    };
    assert_all(&home, most);
}

#[test]
fn a_log_that_is_moved_without_a_word_is_left_soon_and_no_line_is_lost() {
    let Some((home, most)) = disturbed(|home, daemon, time| {
        let moved = move_away(home, time);
        let began = std::time::Instant::now();
        wait_until("it is closed", || is_open_in_no(daemon, &moved));
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    }) else {
        return;
    };
    assert_all(&home, most);
}

/// What was written to it until then is what was removed.
#[test]
fn a_log_that_is_removed_is_made_anew_soon() {
    let Some((home, _)) = disturbed(|home, _, _| {
        wait_until("it is removed", || fs::remove_file(home.at("app.log")).is_ok());
        wait_until("it is there again", || home.at("app.log").exists());
    }) else {
        return;
    };
    let mut last = [0; 2];
    for line in String::from_utf8_lossy(&text_of(home.path(), "app.log")).lines() {
        let (who, number) = worker_and_number(line);
        let slot = usize::from(who == "1.1");
        assert!(number > last[slot], "line {number} of {who} comes behind line {}", last[slot]);
        last[slot] = number;
    }
}

/// As many as there will be of these in the end, whichever of them is compressed at this moment.
fn files_so_far(home: &Home) -> usize {
    let stamped =
        |name: &String| name.strip_prefix("app.log.").and_then(|rest| rest.get(..20)).map(str::to_owned);
    let archives: BTreeSet<String> = home.names().iter().filter_map(stamped).collect();
    archives.len() + 1
}

/// What is written between the copy and the truncation is lost, by whoever copies. Here nobody writes in that moment.
#[test]
fn a_log_that_is_copied_and_truncated_has_no_hole_and_goes_on() {
    let home = Home::new();
    let Some(program) = on_request(home.path()) else { return };
    let options = ["-n1", "--stdout=app.log", "--max-log-size=100k", "--log-keep=10000"];
    let daemon =
        home.online(&options.into_iter().chain(program.iter().map(String::as_str)).collect::<Vec<_>>());
    let mut copied = Vec::new();
    let mut all = 0;
    for _ in 0..TIMES {
        all = request(home.path(), 0, LINES);
        let last = format!("\n0.1 {all} ");
        // Within a rotation there is none for a moment. The last line never goes: a file is rotated before a write.
        let current = || fs::read(home.at("app.log")).unwrap_or_default();
        wait_until("it is written", || String::from_utf8_lossy(&current()).contains(&last));
        copied.push((files_so_far(&home), current()));
        fs::File::options().write(true).truncate(true).open(home.at("app.log")).unwrap();
    }
    daemon.stop();
    let mut text = Vec::new();
    let files = files_of(home.path(), "app.log");
    let mut copies = copied.into_iter().peekable();
    for (index, file) in files.iter().enumerate() {
        while let Some((_, copy)) = copies.next_if(|(count, _)| *count == index + 1) {
            text.extend(copy);
        }
        text.extend(crate::harness::lines::content(file));
    }
    assert!(!text.contains(&0), "there is a hole");
    assert_complete(&text, &["0.1"], all);
}
