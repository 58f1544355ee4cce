//! KILL of srvwrap, and of its log writer, again and again, while workers write as fast as they can.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::Signal;

use crate::harness::command::told;
use crate::harness::daemon::{Daemon, Home, returned};
use crate::harness::lines::{assert_complete, count_lines, files_of, on_request, request, text_of};
use crate::harness::{is_alive, proc, require, send, wait_until};

/// So often, or as `SRVWRAP_TEST_KILLS` says.
fn rounds(usual: usize) -> usize {
    std::env::var("SRVWRAP_TEST_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

/// Writes without an end, and keeps in `count.WHO` how many lines it has written.
const ENDLESS: &str = r#"
import os
who = os.environ["SRVWRAP_SLOT"] + "." + os.environ["RUN"]
count = os.open("count." + who, os.O_WRONLY | os.O_CREAT)
os.write(3, b"online\n")
i = 0
while True:
    text = b""
    for _ in range(20):
        i += 1
        text += b"%s %d %s\n" % (who.encode(), i, b"x" * (i * 7 % 190))
    while text:
        text = text[os.write(1, text):]
    os.pwrite(count, b"%d" % i, 0)
"#;

const OPTIONS: [&str; 7] = [
    "-n2",
    "--stdout=app.log",
    "--max-log-size=500k",
    "--log-keep=100000",
    "--log-total=1G",
    "--online-timeout=60s",
    "--",
];

/// What srvwrap had read is written by its log writer, which outlives it: only what lay in the workers' pipes, and less
/// than one read of each, is lost. The next srvwrap goes on in the same files.
#[test]
fn a_srvwrap_that_is_killed_again_and_again_tears_no_line_and_loses_what_was_in_pipes() {
    let Some(python) = require::python() else { return };
    let rounds = rounds(6);
    let home = Home::new().file("endless.py", ENDLESS);
    for run in 0..rounds {
        let arguments: Vec<&str> = OPTIONS.into_iter().chain([python.as_str(), "endless.py"]).collect();
        let mut command = home.start_command(&arguments);
        command.env("RUN", run.to_string());
        let returned = returned(command);
        assert_eq!(returned.code, 0, "run {run}: {}{}", returned.stdout, returned.stderr);
        let daemon = home.daemon().expect("it is online");
        let count = || (0..2).map(|slot| counted(&home, &format!("{slot}.{run}"))).min().unwrap_or(0);
        wait_until("they write", || count() > 5000);
        let writer = proc::log_writer(daemon.pid).map(Daemon::of).expect("a daemon has one");
        let workers = proc::children(daemon.pid);
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        if run + 1 == rounds {
            wait_until("all is written", || !writer.is_alive());
        }
        wait_until("its workers are dead", || !workers.iter().any(|worker| is_alive(*worker)));
        std::mem::forget(writer);
    }
    // A last one, which picks up what the others have left.
    let daemon = home.online(&[
        "--stdout=app.log",
        "--log-keep=100000",
        "--",
        "sh",
        "-c",
        "echo online >&3; exec sleep 1000",
    ]);
    wait_until("all archives are compressed", || {
        let files = files_of(home.path(), "app.log");
        files
            .iter()
            .all(|file| file.ends_with("app.log") || file.extension().is_some_and(|found| found == "gz"))
    });
    daemon.stop();
    let text = text_of(home.path(), "app.log");
    let kept = count_lines(&text);
    let mut lost: BTreeMap<String, usize> = BTreeMap::new();
    for (who, kept) in &kept {
        let written = counted(&home, who);
        let bytes: usize = (kept + 1..=written)
            .map(|number| who.len() + 3 + number.to_string().len() + number * 7 % 190)
            .sum();
        lost.insert(who.clone(), bytes);
    }
    println!("lost, in bytes: {lost:?}");
    assert_eq!(kept.len(), 2 * rounds, "{:?}", kept.keys());
    // What a pipe that has grown holds, and what srvwrap was reading.
    assert!(lost.values().all(|bytes| *bytes <= 256 * 1024 + 2 * 64 * 1024), "{lost:?}");
}

fn counted(home: &Home, who: &str) -> usize {
    fs::read_to_string(home.at(&format!("count.{who}"))).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Each line is there exactly once: the next one knows how much of the last write has arrived.
#[test]
fn a_log_writer_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let home = Home::new();
    let Some(program) = on_request(home.path()) else { return };
    let program = program.iter().map(String::as_str);
    let daemon = home.online(&OPTIONS.into_iter().chain(program).collect::<Vec<_>>());
    const LINES: usize = 5000;
    let rounds = rounds(4);
    let said = || home.text("srvwrap.log").matches("another one goes on where it was").count();
    std::thread::scope(|scope| {
        let asking = |slot| {
            let home = &home;
            move || (0..rounds).map(|_| request(home.path(), slot, LINES)).max()
        };
        let asked = [0, 1].map(|slot| scope.spawn(asking(slot)));
        for round in 1..=rounds {
            wait_until("there is one", || proc::log_writer(daemon.pid).is_some());
            send(proc::log_writer(daemon.pid).expect("it was just there"), Signal::SIGKILL);
            wait_until("its end is noticed", || said() >= round);
        }
        for asked in asked {
            assert_eq!(asked.join().unwrap(), Some(rounds * LINES));
        }
    });
    assert_eq!(told(home.path(), &["status"]).code, 0);
    daemon.stop();
    let text = text_of(home.path(), "app.log");
    assert_complete(&text, &["0.1", "1.1"], rounds * LINES);
}
