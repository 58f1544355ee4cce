//! Boot: what srvwrap says and does until the first generation is online, or is not.

use nix::sys::signal::Signal;

use crate::harness::{is_alive, srvwrap, wait_until};

#[test]
fn a_program_that_does_not_exist_ends_it_with_127_and_its_name() {
    let (code, log) = srvwrap(["no-such-program"]).run();
    assert_eq!(code, 127, "{log}");
    assert!(log.contains("no-such-program"), "{log}");
}

#[test]
fn a_shell_that_writes_online_is_online_and_stops_at_term() {
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", "echo online >&3; exec sleep 1000"]).online();
    assert_eq!(srvwrap.worker_pids().len(), 2);
    srvwrap.stop();
}

/// The numbers that differ from run to run are replaced by words.
fn without_numbers(log: &str) -> String {
    let mut text = log.to_string();
    for word in ["pid ", "port "] {
        text = text
            .split(word)
            .enumerate()
            .map(|(index, part)| match index {
                0 => part.to_string(),
                _ => format!("{word}N{}", part.trim_start_matches(|letter: char| letter.is_ascii_digit())),
            })
            .collect();
    }
    text
}

/// A boot that fails: its exit code, and the last sentence, without numbers.
fn failed_boot(arguments: &[&str]) -> (i32, String) {
    let (code, log) = srvwrap(arguments).run();
    let last = log.lines().rfind(|line| line.starts_with("srvwrap: ")).unwrap_or_default();
    (code, without_numbers(last))
}

fn assert_boot_fails(arguments: &[&str], code: i32, sentence: &str) {
    assert_eq!(failed_boot(arguments), (code, format!("srvwrap: cannot start: worker 0 (pid N) {sentence}")));
}

#[test]
fn a_boot_whose_worker_exits_says_the_status_and_what_srvwrap_holds() {
    assert_boot_fails(
        &["-p", "0", "sh", "-c", "exit 3"],
        1,
        "exited with status 3 while starting (if the address was in use: srvwrap holds port N of every address: listen on the descriptor in LISTEN_FD, do not \
         bind it)",
    );
    assert_boot_fails(&["sh", "-c", "exit 3"], 1, "exited with status 3 while starting");
    let spoke = "echo hello >&3; exit 4";
    assert_boot_fails(&["-p", "0", "sh", "-c", spoke], 1, "exited with status 4 while starting");
}

#[test]
fn a_boot_whose_worker_is_killed_says_the_signal() {
    let sentence = "was killed by signal 11 (SEGV) while starting";
    assert_boot_fails(&["-p", "0", "sh", "-c", "kill -SEGV $$"], 1, sentence);
}

/// What daemons do that go into the background: a success for a shell, a failure here.
#[test]
fn a_boot_whose_worker_exits_with_0_failed_all_the_same() {
    assert_boot_fails(
        &["-p", "0", "sh", "-c", "exit 0"],
        1,
        "exited with status 0 while starting (it must stay in the foreground; for a program that is to end, use \
         --ready exec --on-crash exit)",
    );
}

#[test]
fn a_boot_that_is_late_without_a_word_names_the_port_the_descriptor_and_the_option() {
    assert_boot_fails(
        &["-p", "0", "--online-timeout", "1s", "sleep", "1000"],
        1,
        "said nothing on its notice fd within 1s (srvwrap holds port N of every address: listen on the descriptor in LISTEN_FD, then write \
         the line online to that in NOTIFY_FD, or use --ready after=2s; see srvwrap check)",
    );
}

#[test]
fn a_boot_that_is_late_without_a_word_names_every_listener_or_does_without() {
    assert_boot_fails(
        &["-p", "0", "-p", "admin=0", "--online-timeout", "200ms", "sleep", "1000"],
        1,
        "said nothing on its notice fd within 200ms (srvwrap holds port N of every address, port N of every address: listen on the descriptors in LISTEN_FD_0 \
         and so on, then write the line online to that in NOTIFY_FD, or use --ready after=2s; see srvwrap check)",
    );
    assert_boot_fails(
        &["--online-timeout", "200ms", "sleep", "1000"],
        1,
        "said nothing on its notice fd within 200ms (write online to it when ready, or use --ready exec)",
    );
}

#[test]
fn a_boot_that_is_late_with_the_wrong_words_names_the_right_ones() {
    let program = |words: &str| format!("echo {words} >&3; exec sleep 1000");
    let start = |words| srvwrap(["--online-timeout", "1s", "sh", "-c", &program(words)]).start();
    for mut srvwrap in ["hello", "Online", "ping"].map(start) {
        srvwrap.wait_for(
            "was not online within 1s: what it wrote to its notice fd was none of online, ready and READY=1",
        );
        assert_eq!(srvwrap.exit_code(), 1, "{}", srvwrap.log());
    }
}

#[test]
fn a_boot_whose_worker_gives_up_passes_its_reason_on() {
    let program = "echo offline no database >&3; exec sleep 1000";
    let sentence = "said offline (no database) while starting";
    assert_boot_fails(&["-p", "0", "sh", "-c", program], 1, sentence);
}

/// A program that closes descriptors which it does not know cannot say online any more: said before the time-out, which
/// may be long.
#[test]
fn a_worker_that_closes_its_notice_descriptor_early_is_named_before_it_is_late() {
    let program = "exec 3>&-; exec sleep 1000";
    let mut srvwrap = srvwrap(["-p", "0", "--online-timeout", "3s", "sh", "-c", program]).start();
    srvwrap.wait_for("closed its notice fd without saying online; it counts as late after 3s");
    srvwrap.wait_for("closed its notice fd without a word, and was not online within 3s");
    assert_eq!(srvwrap.exit_code(), 1, "{}", srvwrap.log());
}

/// The commonest first try of all: the port is srvwrap's, so the program's own bind fails.
#[test]
fn a_program_that_binds_the_port_itself_is_told_why_it_cannot() {
    let program = "import os, socket; socket.create_server(('', int(os.environ['PORT'])))";
    let (code, log) = srvwrap(["-p", "0", "python3", "-c", program]).run();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("Address already in use"), "{log}");
    assert!(log.contains("listen on the descriptor in LISTEN_FD, do not bind it"));
}

/// Each of several failures would bury the first one, which is the cause.
#[test]
fn a_boot_of_many_workers_fails_with_the_first_of_them_alone() {
    let (code, log) = srvwrap(["-n", "8", "sh", "-c", "exit 3"]).run();
    assert_eq!(code, 1, "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}

/// npm keeps the descriptors to itself, so the server that it starts finds none.
#[test]
fn npm_as_program_is_told_to_name_the_server_itself() {
    for name in ["npm", "npx", "yarn", "pnpm"] {
        let program = format!("./{name}");
        let starting = srvwrap(["-n", "2", &program, "start"]);
        let mut srvwrap = starting.file(name, "#!/bin/sh\necho online >&3; exec sleep 1000\n").online();
        let hint = format!(
            "{name} passes no descriptors on to the program that it starts: give that program itself, as in srvwrap \
             node server.js"
        );
        assert_eq!(srvwrap.times_said(&hint), 1, "{}", srvwrap.log());
        srvwrap.stop();
    }
}

/// A stop is no failure, also where nobody was online yet.
#[test]
fn a_stop_during_the_boot_ends_with_0_and_without_a_complaint() {
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", "exec sleep 1000"]).start();
    wait_until("it boots", || srvwrap.children().len() == 2);
    let workers = srvwrap.children();
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0, "{}", srvwrap.log());
    assert!(!srvwrap.has_said("cannot start"), "{}", srvwrap.log());
    assert!(!workers.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn with_on_crash_exit_a_failed_boot_passes_the_exit_status_on() {
    for (end, code) in [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137)] {
        let (found, log) = srvwrap(["-n", "2", "--on-crash", "exit", "sh", "-c", end]).run();
        assert_eq!(found, code, "{log}");
    }
}

#[test]
fn with_ready_exec_a_program_that_says_nothing_is_online_at_once() {
    let mut srvwrap = srvwrap(["-n", "2", "--ready", "exec", "sleep", "1000"]).online();
    srvwrap.wait_for_no_other_children();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    srvwrap.stop();
}

/// Making a process is not yet executing its program.
#[test]
fn with_ready_exec_a_program_that_cannot_be_executed_was_never_online() {
    let (code, log) = srvwrap(["--ready", "exec", "no-such-program"]).run();
    assert_eq!(code, 127, "{log}");
    assert!(!log.contains(" online after "), "{log}");
}

#[test]
fn with_ready_after_a_worker_is_online_when_it_has_lived_so_long() {
    let mut srvwrap = srvwrap(["-n", "2", "--ready", "after=1s", "sleep", "1000"]).start();
    for line in srvwrap.wait_for_times(" online after ", 2) {
        let after = line.rsplit(' ').next().expect("a line has words");
        let seconds: f64 = after.trim_end_matches('s').parse().expect("a second or more");
        assert!((1.0..30.0).contains(&seconds), "{line}");
    }
    srvwrap.wait_for("workers online: 2");
    srvwrap.stop();
}

/// What dies within that time has shown that it does not work.
#[test]
fn with_ready_after_a_worker_that_dies_before_that_fails_the_boot() {
    let (code, log) = srvwrap(["--ready", "after=20s", "sh", "-c", "sleep 0.2; exit 3"]).run();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("exited with status 3 while starting"), "{log}");
}

/// Who says online need not be waited for.
#[test]
fn with_ready_after_a_readiness_word_comes_early() {
    let program = "echo online >&3; exec sleep 1000";
    let mut srvwrap = srvwrap(["--ready", "after=59s", "sh", "-c", program]).start();
    let line = srvwrap.wait_for(" online after ");
    assert!(!line.ends_with("after 59s"), "{line}");
    srvwrap.stop();
}
