//! What long commands draw on a terminal: the screen is asked, not the bytes.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::command::{command, told};
use crate::harness::daemon::Home;
use crate::harness::terminal::{Terminal, in_terminal};
use crate::harness::{Srvwrap, srvwrap, wait_until};

/// Says that it is warm, and is online when a file `GENERATION-SLOT` is there; ends at TERM when `may-end` is.
const GATED: &str = "#!/bin/sh
    trap 'until test -e may-end; do sleep 0.02; done; exit 0' TERM
    printf 'status warm\\033[31m\\a\\n' >&3
    until test -e $SRVWRAP_GENERATION-$SRVWRAP_SLOT; do sleep 0.02; done
    echo online >&3
    while :; do sleep 0.02; done
    ";

/// So many of them, online.
fn gated(workers: u32) -> Srvwrap {
    let count = workers.to_string();
    let srvwrap = srvwrap(["-n", count.as_str(), "--stop-timeout", "60", "./gated"]).file("gated", GATED);
    for slot in 0..workers {
        std::fs::write(srvwrap.path().join(format!("1-{slot}")), "").unwrap();
    }
    srvwrap.online()
}

fn on_terminal(directory: &Path, arguments: &[&str], size: (u16, u16)) -> Terminal {
    sized(directory, arguments, size, "xterm")
}

/// The window has its size before anything is drawn: a shell waits for it.
fn sized(directory: &Path, arguments: &[&str], (columns, rows): (u16, u16), term: &str) -> Terminal {
    let typed = command(directory, arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", "read size; exec \"$0\" \"$@\""]).arg(typed.get_program()).args(typed.get_args());
    shell.current_dir(directory).env("PWD", directory).env("TERM", term);
    shell.env_remove("SRVWRAP_SOCKET");
    let mut terminal = in_terminal(shell);
    terminal.resize(columns, rows);
    terminal.press("\n");
    terminal
}

const SIZE: (usize, usize) = (80, 24);

/// The last screen, without the empty line that started it (which may have scrolled away).
fn last_screen(terminal: &mut Terminal, size: (usize, usize)) -> Vec<String> {
    let lines = crate::harness::screen::Screen::showing(terminal.text(), size).lines();
    lines.into_iter().skip_while(String::is_empty).collect()
}

fn has(lines: &[String], words: &[&str]) -> bool {
    lines.iter().any(|line| words.iter().all(|word| line.contains(word)))
}

#[test]
fn a_deploy_shows_a_line_for_each_slot_and_leaves_its_answer() {
    let srvwrap = gated(3);
    let mut terminal = on_terminal(srvwrap.path(), &["deploy"], (80, 24));
    srvwrap.touch("2-1");
    terminal.wait_until("one of three is online", SIZE, |lines| {
        has(lines, &["deploy 2  [######..............]  1/3 online"])
            && has(lines, &["  slot 0", "generation 2", "starting", "warm\u{fffd}[31m"])
            && has(lines, &["  slot 1", "generation 2", "online"])
            && has(lines, &["  slot 2", "generation 2", "starting"])
            && has(lines, &["worker 1 (pid "])
            && lines.len() == 6
    });
    srvwrap.touch("2-0");
    srvwrap.touch("2-2");
    terminal.wait_until("the old ones leave", SIZE, |lines| {
        has(lines, &["3/3 online, 3 leaving, draining"])
            && has(lines, &["  slot 0", "generation 1", "retiring"])
            && has(lines, &["  slot 0", "generation 2", "online"])
    });
    srvwrap.touch("may-end");
    assert_eq!(terminal.exit_code(), 0);
    let lines = last_screen(&mut terminal, SIZE);
    assert!(lines.len() == 1 && lines[0].starts_with("deploy 2 done after "), "{lines:#?}");
    assert!(terminal.text().ends_with("workers\r\n"), "the cursor is below it");
}

#[test]
fn ctrl_c_aborts_a_deploy_and_leaves_a_clean_screen() {
    let mut srvwrap = gated(2);
    srvwrap.touch("may-end");
    let mut terminal = on_terminal(srvwrap.path(), &["deploy"], (80, 24));
    terminal
        .wait_until("both are starting", SIZE, |lines| has(lines, &["  slot 1", "generation 2", "starting"]));
    terminal.press("\x03");
    assert_eq!(terminal.exit_code(), 5);
    let lines = last_screen(&mut terminal, SIZE);
    assert!(lines[0].starts_with("srvwrap: deploy 2 aborted by client of uid "), "{lines:?}");
    srvwrap.wait_for("deploy 2 aborted by client of uid ");
}

#[test]
fn a_failed_deploy_leaves_the_reason_and_nothing_else() {
    let srvwrap = gated(1);
    srvwrap.touch("may-end");
    let mut terminal = on_terminal(srvwrap.path(), &["deploy", "--", "false"], (80, 24));
    assert_eq!(terminal.exit_code(), 1);
    let lines = last_screen(&mut terminal, SIZE);
    let text = lines.concat();
    assert!(text.starts_with("srvwrap: deploy 2 failed: worker 0 (pid "), "{lines:#?}");
    assert!(text.ends_with("exited with status 1 while starting; generation 1 keeps serving"), "{lines:#?}");
}

#[test]
fn where_there_are_more_slots_than_rows_those_online_are_left_out() {
    let srvwrap = gated(12);
    let mut terminal = on_terminal(srvwrap.path(), &["deploy"], (80, 10));
    let size = (80, 10);
    terminal.wait_until("not all fit", size, |lines| {
        has(lines, &["deploy 2  [....................]  0/12 online"]) && has(lines, &["  and 5 more"])
    });
    for slot in 0..10 {
        srvwrap.touch(&format!("2-{slot}"));
    }
    terminal.wait_until("only those that are missing are shown", size, |lines| {
        has(lines, &["deploy 2  [################....]  10/12 online"])
            && !has(lines, &["  slot 9"])
            && has(lines, &["  slot 10", "starting"])
            && has(lines, &["  slot 11", "starting"])
    });
    srvwrap.touch("2-10");
    srvwrap.touch("2-11");
    srvwrap.touch("may-end");
    assert_eq!(terminal.exit_code(), 0);
    let lines = last_screen(&mut terminal, size);
    assert!(lines.len() == 1 && lines[0].starts_with("deploy 2 done"), "{lines:#?}");
}

#[test]
fn a_narrow_terminal_is_never_wrapped() {
    let srvwrap = gated(2);
    let mut terminal = on_terminal(srvwrap.path(), &["deploy"], (30, 24));
    let size = (30, 24);
    terminal.wait_until("a line that is cut", size, |lines| {
        has(lines, &["deploy 2  0/2 online  "])
            && has(lines, &["  slot 0  ", "starting"])
            && !has(lines, &["generation"])
            && lines.len() == 5
    });
    srvwrap.touch("2-0");
    terminal.wait_until("it is drawn over", size, |lines| {
        lines.iter().filter(|line| line.starts_with("deploy 2")).count() == 1
            && has(lines, &["deploy 2  1/2 online"])
    });
    terminal.resize(100, 24);
    terminal.wait_until("it is drawn anew", (100, 24), |lines| {
        has(lines, &["##########..........", "1/2 online"])
    });
    srvwrap.touch("2-1");
    srvwrap.touch("may-end");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_gets_plain_lines() {
    let srvwrap = gated(1);
    srvwrap.touch("may-end");
    srvwrap.touch("2-0");
    let mut terminal = sized(srvwrap.path(), &["deploy"], (80, 24), "dumb");
    assert_eq!(terminal.exit_code(), 0);
    assert!(!terminal.text().contains('\x1b'), "{}", terminal.text());
    let lines = last_screen(&mut terminal, SIZE);
    assert!(
        lines[0].starts_with("deploy 2 began") && lines.last().unwrap().starts_with("deploy 2 done"),
        "{lines:#?}"
    );
}

#[test]
fn a_scaling_shows_the_slots_that_fill() {
    let srvwrap = gated(1);
    srvwrap.touch("may-end");
    let mut terminal = on_terminal(srvwrap.path(), &["scale", "3"], (80, 24));
    srvwrap.touch("1-2");
    terminal.wait_until("two of three are online", SIZE, |lines| {
        has(lines, &["scale  [#############.......]  2/3 online"]) && has(lines, &["  slot 1", "starting"])
    });
    srvwrap.touch("1-1");
    assert_eq!(terminal.exit_code(), 0);
    let lines = last_screen(&mut terminal, SIZE);
    assert!(lines.len() == 1 && lines[0].starts_with("scaled to 3 workers"), "{lines:#?}");
}

#[test]
fn a_stop_counts_down_and_ends_when_srvwrap_has() {
    let mut srvwrap = gated(2);
    let mut terminal = on_terminal(srvwrap.path(), &["stop"], (80, 24));
    terminal.wait_until("both retire", SIZE, |lines| {
        has(lines, &["stop  [....................]  0/2 ended"]) && has(lines, &["  slot 1", "retiring"])
    });
    srvwrap.touch("may-end");
    assert_eq!(terminal.exit_code(), 0);
    assert_eq!(last_screen(&mut terminal, SIZE), ["stopped"]);
    assert_eq!(srvwrap.exit_code(), 0);
}

#[test]
fn a_watched_status_is_redrawn_in_place_until_ctrl_c() {
    let srvwrap = gated(2);
    srvwrap.touch("may-end");
    let mut terminal = on_terminal(srvwrap.path(), &["status", "--watch", "--interval", "50ms"], (80, 24));
    let one_table = |lines: &[String]| lines.iter().filter(|line| line.starts_with("slot ")).count() == 1;
    terminal.wait_until("a status", SIZE, |lines| has(lines, &["2 of 2 workers online"]) && one_table(lines));
    srvwrap.signal(Signal::SIGTTIN);
    terminal.wait_until("a third worker starts", SIZE, |lines| {
        has(lines, &["2 of 3 workers online"]) && has(lines, &["   2", "starting"]) && one_table(lines)
    });
    terminal.press("\x03");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn on_a_small_screen_a_watched_status_shows_what_is_not_well() {
    let srvwrap = gated(12);
    let mut terminal = on_terminal(srvwrap.path(), &["status", "--watch", "--interval", "50ms"], (80, 8));
    let size = (80, 8);
    terminal.wait_until("not all fit", size, |lines| {
        lines.len() == 8
            && lines[0].contains("12 of 12 workers online")
            && lines[7] == "  and 8 more, all online"
    });
    srvwrap.signal(Signal::SIGTTIN);
    terminal.wait_until("the thirteenth comes first", size, |lines| {
        lines.len() == 8 && lines[3].starts_with("  12 ") && lines[3].contains(" starting ")
    });
    srvwrap.touch("1-12");
    srvwrap.signal(Signal::SIGHUP);
    terminal.wait_until("the deploy stands above the table", size, |lines| {
        lines.len() == 8
            && lines[0].contains("generation 1 serves: 13 of 13 workers online; deplo")
            && lines[1].starts_with("deploy 2 (HUP): starting, 0 of 13 workers online")
            && lines[4].contains(" starting ")
    });
    srvwrap.touch("may-end");
    terminal.press("\x03");
    assert_eq!(terminal.exit_code(), 0);
    assert!(terminal.text().ends_with("\r\n"), "the cursor is below it");
}

#[test]
fn a_watched_status_ends_with_3_when_srvwrap_does() {
    let mut srvwrap = gated(1);
    srvwrap.touch("may-end");
    let mut terminal = on_terminal(srvwrap.path(), &["status", "--watch", "--interval", "50ms"], (80, 24));
    terminal.wait_until("a status", SIZE, |lines| has(lines, &["1 of 1 worker online"]));
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert_eq!(terminal.exit_code(), 3);
    assert!(terminal.text().contains("srvwrap: not running: "));
}

#[test]
fn a_terminal_that_is_closed_leaves_the_deploy_alone() {
    let mut srvwrap = gated(1);
    srvwrap.touch("may-end");
    let mut terminal = on_terminal(srvwrap.path(), &["deploy"], (80, 24));
    terminal
        .wait_until("it is starting", SIZE, |lines| has(lines, &["  slot 0", "generation 2", "starting"]));
    terminal.hang_up();
    assert_eq!(terminal.exit_code(), 5);
    srvwrap.touch("2-0");
    srvwrap.wait_for("deploy 2 done");
    wait_until("the new worker alone", || srvwrap.children().len() == 1);
}

#[test]
fn a_start_shows_its_workers_and_leaves_its_answer() {
    let home = Home::new().file("gated", GATED);
    let mut terminal = on_terminal(home.path(), &["start", "-n", "2", "./gated"], (80, 24));
    terminal.wait_until("both are starting", SIZE, |lines| {
        has(lines, &["start  [....................]  0/2 online"])
            && has(lines, &["  slot 0", "generation 1", "starting"])
            && has(lines, &["  slot 1", "generation 1", "starting"])
    });
    std::fs::write(home.at("1-0"), "").unwrap();
    terminal.wait_until("one is online", SIZE, |lines| {
        has(lines, &["start  [##########..........]  1/2 online"])
    });
    std::fs::write(home.at("1-1"), "").unwrap();
    assert_eq!(terminal.exit_code(), 0);
    let lines = last_screen(&mut terminal, SIZE);
    assert!(lines.len() == 1 && lines[0].starts_with("workers online: 2, after "), "{lines:#?}");
    std::fs::write(home.at("may-end"), "").unwrap();
    told(home.path(), &["stop"]).done();
}

#[test]
fn where_a_start_listens_stays_on_the_screen() {
    let home = Home::new().file("gated", GATED);
    let mut terminal = on_terminal(home.path(), &["start", "--listen", "0", "./gated"], (80, 24));
    let shows = |lines: &[String], next: &str| {
        let at = lines.iter().position(|line| line.starts_with("listening on "));
        at.is_some_and(|at| lines.get(at + 1).is_some_and(|line| line.starts_with(next)))
    };
    terminal.wait_until("it stands above what is drawn", SIZE, |lines| {
        shows(lines, "start  [....................]  0/1 online") && has(lines, &["  slot 0", "starting"])
    });
    std::fs::write(home.at("1-0"), "").unwrap();
    assert_eq!(terminal.exit_code(), 0);
    let lines = last_screen(&mut terminal, SIZE);
    assert!(lines.len() == 2 && shows(&lines, "workers online: 1, after "), "{lines:#?}");
    assert!(!terminal.text().contains("0/0"), "{}", terminal.text());
    std::fs::write(home.at("may-end"), "").unwrap();
    told(home.path(), &["stop"]).done();
}

#[test]
fn what_is_not_as_it_should_be_stays_on_the_screen() {
    let srvwrap = srvwrap(["--stop-timeout", "100ms", "./gated"]).file("gated", GATED);
    std::fs::write(srvwrap.path().join("1-0"), "").unwrap();
    let srvwrap = srvwrap.online();
    srvwrap.touch("2-0");
    let mut terminal = on_terminal(srvwrap.path(), &["deploy"], (200, 24));
    assert_eq!(terminal.exit_code(), 0);
    let lines = last_screen(&mut terminal, (200, 24));
    assert!(lines.len() == 2 && lines[0].contains("did not end within its limit after "), "{lines:#?}");
    assert!(lines[1].starts_with("deploy 2 done after "), "{lines:#?}");
}

#[test]
fn ctrl_c_aborts_a_start_and_nothing_is_left_running() {
    let home = Home::new().file("gated", GATED);
    std::fs::write(home.at("may-end"), "").unwrap();
    let mut terminal = on_terminal(home.path(), &["start", "./gated"], (80, 24));
    terminal
        .wait_until("it is starting", SIZE, |lines| has(lines, &["  slot 0", "generation 1", "starting"]));
    terminal.press("\x03");
    assert_eq!(terminal.exit_code(), 5);
    let lines = last_screen(&mut terminal, SIZE);
    assert!(lines[0].starts_with("srvwrap: start aborted by client of uid "), "{lines:?}");
    wait_until("the daemon is gone", || home.daemon().is_none());
}
