//! What workers say on their notice descriptor, early, late, twice, garbled, in a flood, or never.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Srvwrap, is_alive, proc, srvwrap};

fn shell(script: &str) -> crate::harness::Starting {
    srvwrap(["--online-timeout", "20s", "--stop-timeout", "200ms", "sh", "-c", script])
}

/// srvwrap with one worker that runs this; it must be online, and stop as any other.
fn comes_online(script: &str) {
    let mut srvwrap = shell(&format!("{script}; exec sleep 1000")).online();
    assert_eq!(srvwrap.worker_pids().len(), 1);
    assert!(!srvwrap.has_said("fault of srvwrap"), "{}", srvwrap.log());
    srvwrap.stop();
}

#[test]
fn every_form_of_readiness_is_readiness() {
    let forms = [
        "online",
        "ready",
        "READY=1",
        "",
        "\"online\"",
        "\"ready\"",
        "online\\r",
        "READY=1\\nSTATUS=fine",
        "\\r",
    ];
    for form in forms {
        comes_online(&format!("printf '{form}\\n' >&3"));
    }
}

/// A word that comes in pieces, or with others, or behind what is no word.
#[test]
fn readiness_is_found_among_whatever_else_is_written() {
    comes_online("for c in o n l i n e; do printf $c >&3; done; echo >&3");
    comes_online("printf 'hello\\n{\"a\":1}\\n\\377\\376\\000\\n   \\nonline\\nworld\\n' >&3");
    comes_online("printf 'status starting\\nping\\nonline\\nstatus serving' >&3");
    comes_online("head -c 5000 /dev/zero >&3; printf '\\nonline\\n' >&3");
}

/// Many times the longest line without a newline: it is read, counted and forgotten, and the word behind it heard.
#[test]
fn a_line_without_an_end_takes_no_memory_and_hides_nothing_behind_it() {
    let mut srvwrap = srvwrap([
        "--online-timeout",
        "50s",
        "sh",
        "-c",
        "head -c 131072 /dev/zero >&3; printf '\\nonline\\n' >&3; exec sleep 1000",
    ])
    .online();
    let peak: u64 =
        proc::status(srvwrap.pid() as i32, "VmHWM").trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 20_000, "{peak} kB");
    assert_eq!(srvwrap.worker_pids().len(), 1);
    srvwrap.stop();
}

/// What is almost a word is none: the time-out decides, and the sentence says that something was written.
#[test]
fn what_is_almost_a_word_is_not_readiness() {
    for form in [
        "ONLINE\\n",
        " online\\n",
        "online \\n",
        "READY=0\\n",
        "READY=11\\n",
        "xonline\\n",
        "'online'\\n",
        "online",
    ] {
        let (code, log) = srvwrap([
            "--online-timeout",
            "300ms",
            "sh",
            "-c",
            &format!("printf \"{form}\" >&3; exec sleep 1000"),
        ])
        .run();
        assert_eq!(code, 1, "{form}: {log}");
        assert!(log.contains(" within 300ms"), "{form}: {log}");
    }
}

/// An empty line means ready to those that say nothing else before it; behind another word it means nothing.
#[test]
fn an_empty_line_is_readiness_only_as_the_first() {
    let (code, log) = srvwrap([
        "--online-timeout",
        "300ms",
        "sh",
        "-c",
        "printf 'status loading\\n\\n' >&3; exec sleep 1000",
    ])
    .run();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains(" within 300ms"), "{log}");
}

/// The end of the descriptor is not a word. It is told once, for who looks for the reason, and the time-out decides.
#[test]
fn closing_the_descriptor_is_no_readiness_and_is_told_once() {
    for script in ["exec 3>&-; exec sleep 1000", "printf online >&3; exec 3>&-; exec sleep 1000"] {
        let (code, log) = srvwrap(["--online-timeout", "2500ms", "sh", "-c", script]).run();
        assert_eq!(code, 1, "{log}");
        assert_eq!(log.matches("closed its notice fd without saying online").count(), 1, "{log}");
        assert!(log.contains("was not online within 2.5s"), "{log}");
    }
}

/// As every server does that was written for s6: it says a line and closes.
#[test]
fn closing_the_descriptor_behind_the_word_means_nothing() {
    let mut srvwrap = shell("echo online >&3; exec 3>&-; exec sleep 1000").online();
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    assert!(!srvwrap.has_said("closed its notice fd"), "{}", srvwrap.log());
    srvwrap.stop();
}

#[test]
fn a_worker_that_dies_before_it_is_ready_fails_the_boot() {
    for (script, words) in [
        ("exit 3", "exited with status 3 while starting"),
        ("exit 0", "exited with status 0 while starting"),
        ("kill -SEGV $$", "was killed by signal 11 (SEGV) while starting"),
        ("echo offline no database >&3; sleep 1000", "said offline (no database) while starting"),
        ("printf online >&3", "exited with status 0 while starting"),
    ] {
        let (code, log) = shell(script).run();
        assert_eq!(code, 1, "{log}");
        let line = log.lines().find(|line| line.contains("cannot start: ")).expect("the reason");
        assert!(line.contains(words), "{log}");
    }
}

/// A new release that dies at its start, and then a crash: the old workers serve on, the respawn counts as a crash of
/// its slot and backs off.
#[test]
fn a_worker_that_dies_before_it_is_ready_fails_the_deploy_and_backs_off_as_a_respawn() {
    let mut srvwrap =
        srvwrap(["-n", "2", "sh", "-c", "[ -e bad ] && exit 4; echo online >&3; exec sleep 1000"]).online();
    let workers = srvwrap.worker_pids();
    std::fs::write(srvwrap.directory.path().join("bad"), "").expect("our directory");
    srvwrap.signal(Signal::SIGHUP);
    let line = srvwrap.wait_for("deploy 2 failed: ");
    assert!(line.ends_with("exited with status 4 while starting; generation 1 keeps serving"), "{line}");
    assert!(workers.values().all(|pid| is_alive(*pid)));

    kill(Pid::from_raw(workers[&0]), Signal::SIGKILL).expect("it is there");
    srvwrap.wait_for("was killed by signal 9");
    let line = srvwrap.wait_for("exited with status 4 while starting; retrying in ");
    assert!(line.contains("worker 0 (pid "), "{line}");
    std::fs::remove_file(srvwrap.directory.path().join("bad")).expect("just made");
    srvwrap.wait_for("worker 0 (pid ");
    srvwrap.stop();
}

/// The word and the death arrive together: the word was first, so the worker was online, and then it crashed.
#[test]
fn a_word_in_the_instant_of_death_is_heard_before_the_death() {
    for _ in 0..20 {
        let mut srvwrap =
            shell("[ -e once ] && { echo online >&3; exec sleep 1000; }; : > once; echo online >&3; exit 7")
                .online();
        srvwrap.wait_for("exited with status 7 after ");
        srvwrap.wait_for(" online after ");
        srvwrap.stop();
    }
}

/// Words twice, out of order, or when it is too late for them: each is heard for what it is worth, and nothing ends.
#[test]
fn words_at_odd_moments_harm_nobody() {
    comes_online("printf 'online\\nonline\\nready\\nREADY=1\\n\\n\"online\"\\n' >&3");
    let (code, log) = shell("printf 'offline\\nonline\\n' >&3; exec sleep 1000").run();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("said offline"), "{log}");

    let mut late = srvwrap([
        "-n", "2", "sh", "-c",
        "trap 'printf \"online\\noffline\\noffline again\\nping\\nstatus x\\n\" >&3; exit 0' TERM; echo online >&3; \
         while :; do sleep 0.05; done",
    ])
    .online();
    late.signal(Signal::SIGHUP);
    late.wait_for("deploy 2 done");
    assert_eq!(late.worker_pids().len(), 2);
    let log = late.stop();
    assert!(log.ends_with("srvwrap: stopped") && !log.contains("fault of srvwrap"), "{log}");
}

/// A worker that says offline twice, and one whose replacement is there already, is replaced once.
#[test]
fn offline_twice_is_one_replacement() {
    let script = "echo online >&3; [ -e once ] || { : > once; printf 'offline\\noffline\\nSTOPPING=1\\n' >&3; \
                  while [ ! -e done ]; do sleep 0.05; done; echo offline late >&3; exit 0; }; exec sleep 1000";
    let mut srvwrap = shell(script).online();
    let first = srvwrap.worker_pids()[&0];
    srvwrap.wait_for("said offline; replacing it");
    srvwrap.wait_for(" online after ");
    std::fs::write(srvwrap.directory.path().join("done"), "").expect("our directory");
    srvwrap.wait_for(&format!("(pid {first}) ended, as it had said"));
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    let log = srvwrap.stop();
    assert_eq!(log.matches("said offline").count(), 1, "{log}");
    assert_eq!(log.matches(" online after ").count(), 3, "{log}");
}

/// A program that says nothing is online when it is executed, or when it has lived for a while.
#[test]
fn a_program_that_says_nothing_is_ready_when_it_is_told_to_count_as_that() {
    srvwrap(["--ready", "exec", "-n", "3", "sleep", "1000"]).online().stop();
    let began = Instant::now();
    let srvwrap = srvwrap(["--ready", "after=400ms", "-n", "3", "sleep", "1000"]).online();
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    srvwrap.stop();
    let (code, log) = crate::harness::srvwrap(["--ready", "after=5s", "sh", "-c", "sleep 0.1; exit 9"]).run();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("exited with status 9 while starting"), "{log}");
}

/// With a waiting time the word is not needed, but it comes early.
#[test]
fn a_word_shortens_the_wait_of_a_program_that_need_not_say_one() {
    let began = Instant::now();
    let mut srvwrap =
        srvwrap(["--ready", "after=50s", "sh", "-c", "sleep 0.1; echo online >&3; exec sleep 1000"]).online();
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert_eq!(srvwrap.worker_pids().len(), 1);
    srvwrap.stop();
}

/// A flood of each kind, from one worker of two: it is read at a bounded rate, so the flooding worker waits in its own
/// write, and a deploy goes on beside it as if nothing were.
#[test]
fn a_flood_costs_only_the_worker_that_makes_it() {
    std::thread::scope(|scope| {
        for flood in ["cat /dev/zero", "yes", "yes ping", "yes online", "yes 'status busy'", "yes ''"] {
            scope.spawn(move || flooded_by(flood));
        }
    });
}

fn flooded_by(flood: &str) {
    let script = format!("echo online >&3; [ $SRVWRAP_SLOT = 0 ] && exec {flood} >&3; exec sleep 1000");
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", &script]).online();
    let (pid, before) = (srvwrap.pid() as i32, Instant::now());
    let ticks = proc::ticks(pid);
    kill_and_see_replaced(&mut srvwrap);
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for("deploy 2 done");
    while before.elapsed() < Duration::from_secs(2) {
        // Words of the flood are facts too: whatever is said meanwhile takes this further.
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let (used, wall) = ((proc::ticks(pid) - ticks) * 10, before.elapsed().as_millis() as u64);
    assert!(used * 5 < wall, "{flood}: {used} ms of processor time in {wall} ms");
    srvwrap.stop();
}

fn kill_and_see_replaced(srvwrap: &mut Srvwrap) {
    kill(Pid::from_raw(srvwrap.worker_pids()[&1]), Signal::SIGKILL).expect("it is there");
    srvwrap.wait_for("was killed by signal 9");
    srvwrap.wait_for("worker 1 (pid ");
}
