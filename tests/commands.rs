//! Each command, as a real process that talks to a real srvwrap.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::command::{command, run, start, told};
use crate::harness::daemon::Home;
use crate::harness::{Srvwrap, is_alive, require, srvwrap, wait_until, write_file};

/// Tells who it is in the file `online` and is online at once; ends at TERM when the file `may-end` is there.
const SERVER: &str = "#!/bin/sh
    trap 'until test -e may-end; do sleep 0.02; done; exit 0' TERM
    echo \"$SRVWRAP_GENERATION $SRVWRAP_SLOT $COLOR $PWD\" >> \"$SRVWRAP_TEST/online\"
    echo online >&3
    while :; do sleep 0.02; done
    ";

/// Workers that may end.
fn serving(options: &[&str]) -> Srvwrap {
    let srvwrap = draining(options);
    srvwrap.touch("may-end");
    srvwrap
}

/// Workers that do not end before the file `may-end` is there.
fn draining(options: &[&str]) -> Srvwrap {
    let starting = srvwrap([options, &["./server"]].concat()).file("server", SERVER);
    let directory = starting.path().to_owned();
    starting.env("SRVWRAP_TEST", directory).online()
}

/// What the workers of a generation said of themselves.
fn of_generation(directory: &Path, generation: u32) -> Vec<String> {
    let text = std::fs::read_to_string(directory.join("online")).unwrap_or_default();
    let prefix = format!("{generation} ");
    let mut lines: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect();
    lines.sort();
    lines
}

fn slots(directory: &Path, generation: u32) -> Vec<String> {
    let lines = of_generation(directory, generation);
    lines.iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// The last line of what was done.
fn last(lines: &[String]) -> &str {
    lines.last().expect("something was said")
}

#[test]
fn a_status_is_a_table_and_says_by_its_code_whether_all_are_online() {
    let mut srvwrap = serving(&["-n", "2", "--listen", "0"]);
    let lines = told(srvwrap.path(), &["status"]).done();
    let headline = format!("(pid {}), serving generation 1: 2 of 2 workers online", srvwrap.pid());
    assert!(lines[0].contains(&headline), "{lines:#?}");
    assert_eq!(lines[1], format!("./server (in {})", srvwrap.path().display()));
    let head: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!(head, ["slot", "pid", "generation", "state", "uptime", "restarts", "rss", "cpu", "said"]);
    for (slot, pid) in srvwrap.worker_pids() {
        let row: Vec<&str> = lines[4 + slot as usize].split_whitespace().collect();
        assert_eq!(row[..4], [&slot.to_string(), &pid.to_string(), "1", "online"].map(String::from)[..]);
        assert!(row[6].ends_with(['K', 'M']) && row[7].ends_with('s'), "{row:?}");
    }
    let port = srvwrap.port();
    assert!(
        last(&lines).starts_with("listening on ") && last(&lines).contains(&port.to_string()),
        "{lines:#?}"
    );
    assert!(last(&lines).contains(", 0 of "), "{lines:#?}");

    let json = told(srvwrap.path(), &["status", "--json"]).done().concat();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["schema"], &json["workers_online"]), (&1.into(), &2.into()));
}

#[test]
fn a_slot_that_waits_is_told_in_plain_words_and_makes_the_status_1() {
    let program = "#!/bin/sh\ntest -e broken && exit 3\necho online >&3\ntouch broken\nuntil test -e go; do sleep 0.02; done\n";
    let mut srvwrap = srvwrap(["./server"]).file("server", program).online();
    srvwrap.touch("go");
    srvwrap.wait_for("exited with status 3 while starting; retrying in");
    let told = told(srvwrap.path(), &["status"]);
    assert_eq!(told.code, 1);
    let line = told.stdout.iter().find(|line| line.starts_with("slot 0 failed"));
    let line = line.unwrap_or_else(|| panic!("{told:?}"));
    assert!(
        line.contains("exited with status 3 while starting") && line.contains("; next try in "),
        "{line}"
    );
}

#[test]
fn a_failure_is_remembered_where_its_successor_is_online() {
    let program = "#!/bin/sh\necho online >&3\ntest -e failed && exec sleep 600\ntouch failed\nexit 3\n";
    let mut srvwrap = srvwrap(["./server"]).file("server", program).online();
    srvwrap.wait_for("exited with status 3");
    wait_until("its successor is online", || told(srvwrap.path(), &["status"]).code == 0);
    let lines = told(srvwrap.path(), &["status"]).done();
    let at = |words: &str| lines.iter().position(|line| line.starts_with(words)).expect(words);
    let failure = at("slot 0 failed ");
    assert!(lines[failure].contains(" ago: worker 0 (pid "), "{lines:#?}");
    assert!(lines[failure].contains(") exited with status 3"), "{lines:#?}");
    assert!(failure < at("slot  "), "{lines:#?}");
}

#[test]
fn a_status_during_a_stop_is_1() {
    let mut srvwrap = draining(&["--stop-timeout", "60"]);
    let stop = start(srvwrap.path(), &["stop", "--quiet"]);
    srvwrap.wait_for("stopping 1 worker");
    let status = told(srvwrap.path(), &["status"]);
    assert_eq!(status.code, 1, "{status:?}");
    assert!(status.stdout[0].contains(", stopping: "), "{status:?}");
    srvwrap.touch("may-end");
    assert_eq!(stop.end().code, 0);
}

#[test]
fn a_deploy_replaces_all_and_changes_the_count_only_when_told() {
    let mut srvwrap = serving(&["-n", "2"]);
    let lines = told(srvwrap.path(), &["deploy"]).done();
    assert!(
        lines[0].starts_with("deploy 2 began") && last(&lines).starts_with("deploy 2 done after"),
        "{lines:#?}"
    );
    let at = |words: &str| lines.iter().position(|line| line.contains(words)).expect(words);
    assert!(at("worker 0 (pid") < at("deploy 2 is live") && at("worker 1 (pid") < at("deploy 2 is live"));
    assert_eq!(slots(srvwrap.path(), 2), ["0", "1"]);
    told(srvwrap.path(), &["deploy", "-n", "3"]).done();
    assert_eq!(slots(srvwrap.path(), 3), ["0", "1", "2"]);
    told(srvwrap.path(), &["deploy"]).done();
    assert_eq!(slots(srvwrap.path(), 4), ["0", "1", "2"]);
    told(srvwrap.path(), &["deploy", "-n", "1"]).done();
    assert_eq!(slots(srvwrap.path(), 5), ["0"]);
    srvwrap.wait_for("deploy 5 done");
    assert_eq!(srvwrap.children().len(), 1);
}

#[test]
fn the_environment_of_a_deploy_is_laid_over_what_there_was_and_stays() {
    let srvwrap = serving(&["--env", "COLOR=red"]);
    let path = srvwrap.path();
    let here = path.display();
    let deploy = |arguments: &[&str]| told(path, &[&["deploy"], arguments].concat()).done();
    deploy(&["--env", "COLOR=blue"]);
    deploy(&[]);
    deploy(&["--unset", "COLOR"]);
    deploy(&[]);
    assert_eq!(of_generation(path, 1), [format!("0 red {here}")]);
    for generation in [2, 3] {
        assert_eq!(of_generation(path, generation), [format!("0 blue {here}")]);
    }
    for generation in [4, 5] {
        assert_eq!(of_generation(path, generation), [format!("0  {here}")]);
    }
}

#[test]
fn the_directory_of_a_deploy_is_taken_from_the_callers_and_stays() {
    let srvwrap = serving(&[]);
    let path = srvwrap.path();
    let (caller, release) = (path.join("a"), path.join("a/b"));
    std::fs::create_dir_all(&release).unwrap();
    std::fs::copy(path.join("server"), release.join("server")).unwrap();
    srvwrap.touch("a/b/may-end");
    // From another directory, to the same srvwrap: the directory stays.
    told(&caller, &["deploy", "--socket", "../srvwrap.sock"]).done();
    assert_eq!(of_generation(path, 2), [format!("0  {}", path.display())]);
    told(&caller, &["deploy", "--cwd", "b", &path.join("srvwrap.sock").display().to_string()]).done();
    told(path, &["deploy"]).done();
    for generation in [3, 4] {
        assert_eq!(of_generation(path, generation), [format!("0  {}", release.display())]);
    }
}

#[test]
fn a_stop_is_over_when_srvwrap_is_and_the_next_one_finds_nobody() {
    let mut srvwrap = serving(&["-n", "2"]);
    assert_eq!(last(&told(srvwrap.path(), &["stop"]).done()), "stopped");
    assert!(!is_alive(srvwrap.pid() as i32));
    assert_eq!(told(srvwrap.path(), &["stop"]).done(), ["not running"]);
    assert_eq!(srvwrap.exit_code(), 0);
}

#[test]
fn stops_at_the_same_time_are_all_answered() {
    let mut srvwrap = draining(&["-n", "2", "--stop-timeout", "60"]);
    let stops: Vec<_> = (0..5).map(|_| start(srvwrap.path(), &["stop", "--quiet"])).collect();
    srvwrap.wait_for("stopping 2 workers");
    srvwrap.touch("may-end");
    for stop in stops {
        assert_eq!(stop.end().code, 0);
    }
    assert_eq!(srvwrap.exit_code(), 0);
}

#[test]
fn a_stop_with_a_time_limit_kills_what_hangs() {
    for (name, program) in [
        ("deaf", "#!/bin/sh\ntrap '' TERM\necho online >&3\nwhile :; do sleep 0.02; done\n"),
        ("busy", "#!/bin/sh\ntrap '' TERM\necho online >&3\nwhile :; do :; done\n"),
    ] {
        for limit in [["--timeout", "200ms"].as_slice(), &["--now"]] {
            let mut srvwrap =
                srvwrap(["-n", "2", "--stop-timeout", "60", "./server"]).file("server", program).online();
            let lines = told(srvwrap.path(), &[&["stop"], limit].concat()).done();
            assert_eq!(last(&lines), "stopped; 2 workers were killed", "{name}");
            assert_eq!(srvwrap.exit_code(), 0);
        }
    }
}

#[test]
fn a_failed_deploy_is_1_says_why_and_changes_nothing() {
    let mut srvwrap = serving(&["-n", "2"]);
    let before = srvwrap.worker_pids();
    for (arguments, reason) in [
        (["--", "false"].as_slice(), "exited with status 1 while starting"),
        (&["--", "./missing"], "./missing"),
        (&["--online-timeout", "300ms", "--", "sleep", "60"], "was not online within 300ms"),
        (&["-n", "3", "--", "./server.txt"], "Permission denied"),
    ] {
        std::fs::write(srvwrap.path().join("server.txt"), "").unwrap();
        let told = told(srvwrap.path(), &[&["deploy"], arguments].concat());
        assert_eq!((told.code, told.stderr.len()), (1, 1), "{told:?}");
        let why = told.stderr.concat();
        assert!(!told.stdout.concat().contains("failed"), "said twice: {told:?}");
        assert!(why.contains(reason) && why.ends_with("; generation 1 keeps serving"), "{why}");
    }
    let status = told(srvwrap.path(), &["status", "--json"]).done().concat();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["generation"], &status["workers_wanted"]), (&1.into(), &2.into()));
    let pids: Vec<i64> =
        status["workers"].as_array().unwrap().iter().map(|row| row["pid"].as_i64().unwrap()).collect();
    assert_eq!(pids, before.values().map(|pid| i64::from(*pid)).collect::<Vec<_>>());
}

#[test]
fn a_worker_that_dies_soon_after_it_was_online_fails_a_deploy_that_bakes() {
    let srvwrap = serving(&[]);
    let dies = ["--", "sh", "-c", "echo online >&3; sleep 0.1; exit 7"];
    let told = told(srvwrap.path(), &[["deploy", "--bake", "60s"].as_slice(), &dies].concat());
    assert_eq!(told.code, 1);
    assert!(last(&told.stderr).ends_with("generation 1 keeps serving"), "{told:?}");
}

#[test]
fn what_is_not_possible_is_refused_before_anything_happens() {
    let mut srvwrap = serving(&[]);
    for (arguments, code) in [
        (["deploy", "-n", "0"].as_slice(), 2),
        (&["deploy", "--env", "=x"], 2),
        (&["deploy", "--env", "NOTIFY_FD=9"], 2),
        (&["deploy", "--timeout", "soon"], 2),
        (&["deploy", "server"], 2),
        (&["deploy", "--if-generation", "7"], 1),
        (&["rollback"], 1),
        (&["abort"], 1),
        (&["scale", "-1"], 1),
        (&["signal", "USR2", "--slot", "9"], 1),
    ] {
        let told = told(srvwrap.path(), arguments);
        assert_eq!((told.code, told.stderr.len()), (code, 1), "{arguments:?}: {told:?}");
    }
    assert_eq!(srvwrap.times_said("began"), 0);
    assert_eq!(of_generation(srvwrap.path(), 2), [""; 0]);
}

#[test]
fn a_second_deploy_is_refused_and_the_first_goes_on_as_it_was() {
    let mut srvwrap = draining(&["-n", "2", "--stop-timeout", "60"]);
    let first = start(srvwrap.path(), &["deploy"]);
    srvwrap.wait_for("deploy 2 is live");
    let second = told(
        srvwrap.path(),
        &["deploy", "-n", "5", "--env", "COLOR=blue", "--timeout", "1ms", "--", "false"],
    );
    assert_eq!(second.code, 1);
    assert!(last(&second.stderr).contains("is under way"), "{second:?}");
    srvwrap.touch("may-end");
    assert!(last(&first.end().done()).starts_with("deploy 2 done"));
    told(srvwrap.path(), &["deploy"]).done();
    let here = srvwrap.path().display();
    assert_eq!(of_generation(srvwrap.path(), 3), [format!("0  {here}"), format!("1  {here}")]);
}

#[test]
fn a_status_in_the_middle_of_a_deploy_tells_the_truth_and_disturbs_nobody() {
    let mut srvwrap = draining(&["-n", "2", "--stop-timeout", "60"]);
    let deploy = start(srvwrap.path(), &["deploy", "--quiet"]);
    srvwrap.wait_for("deploy 2 is live");
    let lines = told(srvwrap.path(), &["status"]).done();
    let headline = "generation 2 serves: 2 of 2 workers online; deploying generation 2, up ";
    assert!(lines[0].contains(headline), "{lines:#?}");
    assert!(lines[1].contains("draining, 2 of 2 workers online, 2 still leaving, for "), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains(" retiring ")).count(), 2, "{lines:#?}");
    let history = told(srvwrap.path(), &["history"]).done();
    assert!(last(&history).contains("under way"), "{history:#?}");
    srvwrap.touch("may-end");
    assert_eq!(deploy.end().done(), [""; 0]);
}

#[test]
fn a_deploy_whose_time_is_over_is_4_and_says_what_is_live() {
    let mut srvwrap = serving(&[]);
    let late = told(srvwrap.path(), &["deploy", "--timeout", "300ms", "--", "sleep", "60"]);
    assert_eq!(late.code, 4, "{late:?}");
    assert!(last(&late.stderr).ends_with("generation 1 keeps serving"), "{late:?}");
    std::fs::remove_file(srvwrap.path().join("may-end")).unwrap();
    let live = told(srvwrap.path(), &["deploy", "--timeout", "1s"]);
    assert_eq!(live.code, 4, "{live:?}");
    assert!(last(&live.stderr).contains("deploy 3 is live"), "{live:?}");
    assert!(!last(&live.stderr).contains("failed"), "{live:?}");
    srvwrap.wait_for("deploy 3 is live");
    wait_until("the old one is gone", || srvwrap.children().len() == 1);
}

#[test]
fn an_interrupted_deploy_ends_with_5_and_the_old_ones_serve_on() {
    let mut srvwrap = serving(&[]);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let deploy = start(srvwrap.path(), &["deploy", "--", "sleep", "60"]);
        srvwrap.wait_for("began");
        deploy.signal(signal);
        let told = deploy.end();
        assert_eq!(told.code, 5);
        assert!(
            last(&told.stderr).ends_with("; generation 1 keeps serving")
                && last(&told.stderr).contains("aborted by client"),
            "{told:?}"
        );
    }
    told(srvwrap.path(), &["status"]).done();
}

#[test]
fn an_abort_ends_the_deploy_of_another_client() {
    let mut srvwrap = serving(&[]);
    let deploy = start(srvwrap.path(), &["deploy", "--", "sleep", "60"]);
    srvwrap.wait_for("began");
    told(srvwrap.path(), &["abort"]).done();
    assert_eq!(deploy.end().code, 5);
    assert_eq!(told(srvwrap.path(), &["abort"]).failed(1), "refused, because no deploy is under way");
}

#[test]
fn a_stop_ends_a_deploy_and_refuses_what_comes_after_it() {
    let mut srvwrap = draining(&["--stop-timeout", "60"]);
    let deploy = start(srvwrap.path(), &["deploy", "--", "sleep", "60"]);
    srvwrap.wait_for("began");
    let stop = start(srvwrap.path(), &["stop"]);
    assert_eq!(deploy.end().code, 5);
    for arguments in [["deploy"].as_slice(), &["scale", "+1"], &["rollback"]] {
        let refused = told(srvwrap.path(), arguments);
        assert_eq!(refused.code, 1);
        assert!(last(&refused.stderr).contains("refused, because srvwrap is stopping"), "{refused:?}");
    }
    srvwrap.touch("may-end");
    assert_eq!(stop.end().code, 0);
    assert_eq!(srvwrap.exit_code(), 0);
}

#[test]
fn a_client_that_is_killed_changes_nothing() {
    let mut srvwrap = draining(&["--stop-timeout", "60"]);
    let deploy = start(srvwrap.path(), &["deploy"]);
    srvwrap.wait_for("deploy 2 is live");
    deploy.signal(Signal::SIGKILL);
    assert_eq!(deploy.end().code, 137);
    srvwrap.touch("may-end");
    srvwrap.wait_for("deploy 2 done");
}

#[test]
fn a_deploy_that_does_not_wait_is_answered_when_it_is_live() {
    let mut srvwrap = draining(&["--stop-timeout", "60"]);
    let lines = told(srvwrap.path(), &["deploy", "--no-wait"]).done();
    assert!(last(&lines).starts_with("deploy 2 is live"), "{lines:#?}");
    srvwrap.touch("may-end");
    srvwrap.wait_for("deploy 2 done");
}

#[test]
fn a_scaling_takes_the_highest_slots_and_waits_for_new_ones() {
    let mut srvwrap = serving(&["-n", "2"]);
    let scale = |arguments: &[&str]| told(srvwrap.path(), &[&["scale"], arguments].concat());
    assert!(last(&scale(&["4"]).done()).starts_with("scaled to 4 workers after"));
    assert_eq!(slots(srvwrap.path(), 1), ["0", "1", "2", "3"]);
    scale(&["-1"]).done();
    scale(&["+2"]).done();
    scale(&["1"]).done();
    let first = srvwrap.worker_pids()[&0];
    wait_until("the first one is left", || srvwrap.children().into_iter().eq([first]));
    assert_eq!(told(srvwrap.path(), &["scale", "-1"]).code, 1);
}

#[test]
fn a_scaling_that_fails_puts_the_count_back() {
    let program =
        "#!/bin/sh\ntest $SRVWRAP_SLOT = 0 || exit 3\necho online >&3\nwhile :; do sleep 0.02; done\n";
    let srvwrap = srvwrap(["./server"]).file("server", program).online();
    let told_so = told(srvwrap.path(), &["scale", "2"]);
    assert_eq!(told_so.code, 1);
    assert!(last(&told_so.stderr).contains("exited with status 3 while starting"), "{told_so:?}");
    assert!(told(srvwrap.path(), &["status"]).done()[0].contains("1 of 1 worker online"));
}

#[test]
fn a_signal_reaches_all_workers_or_that_of_one_slot() {
    let program =
        "#!/bin/sh\ntrap 'echo $SRVWRAP_SLOT >> heard' USR2\necho online >&3\nwhile :; do sleep 0.02; done\n";
    let srvwrap = srvwrap(["-n", "2", "./server"]).file("server", program).online();
    let heard = || {
        let text = std::fs::read_to_string(srvwrap.path().join("heard")).unwrap_or_default();
        let mut slots: Vec<&str> = text.split_whitespace().collect();
        slots.sort_unstable();
        slots.concat()
    };
    told(srvwrap.path(), &["signal", "USR2"]).done();
    wait_until("both heard it", || heard() == "01");
    told(srvwrap.path(), &["signal", "sigusr2", "--slot", "1"]).done();
    wait_until("one heard it again", || heard() == "011");
}

#[test]
fn a_rollback_runs_what_ran_before_and_the_history_tells() {
    let srvwrap = serving(&[]);
    let path = srvwrap.path();
    told(path, &["deploy", "--env", "COLOR=blue"]).done();
    assert!(last(&told(path, &["rollback"]).done()).contains("deploy 3 done"));
    assert_eq!(of_generation(path, 3), [format!("0  {}", path.display())]);
    assert_eq!(told(path, &["deploy", "--", "false"]).code, 1);
    let lines = told(path, &["history"]).done();
    let results: Vec<bool> = lines[1..5].iter().map(|line| line.contains("  done ")).collect();
    assert_eq!(results, [true, true, true, false], "{lines:#?}");
    assert!(lines[2].contains("environment: +COLOR") && !lines.concat().contains("blue"), "{lines:#?}");
    assert!(last(&lines).starts_with("deploy 4 failed: worker 0 "), "{lines:#?}");
    let json = told(path, &["history", "--json"]).done().concat();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["deploys"].as_array().unwrap().len(), 4);
}

#[test]
fn events_are_followed_from_now_on_to_the_end_of_srvwrap() {
    let mut srvwrap = serving(&[]);
    let mut plain = start(srvwrap.path(), &["events"]);
    let mut json = start(srvwrap.path(), &["events", "--json"]);
    // Nothing tells that they are listening, but that they hear something.
    for follower in [&mut plain, &mut json] {
        wait_until("it hears something", || {
            told(srvwrap.path(), &["signal", "WINCH"]).done();
            follower.has_said("WINCH")
        });
    }
    told(srvwrap.path(), &["stop"]).done();
    assert_eq!(srvwrap.exit_code(), 0);
    let (plain, json) = (plain.end().done(), json.end().done());
    assert!(last(&plain).ends_with("Z stopped") && last(&plain).starts_with("20"), "{plain:#?}");
    let stopped: serde_json::Value = serde_json::from_str(last(&json)).unwrap();
    assert_eq!((&stopped["event"], &stopped["counts"]["online"]), (&"stopped".into(), &0.into()));
}

#[test]
fn a_start_says_how_many_are_online_whatever_they_have_said_before() {
    let program = "#!/bin/sh
        printf 'junk\\n\\001\\377\\nofline\\n{\"a\":1}\\nonline?\\n' >&3
        echo \"$SRVWRAP_SLOT\" >> slots
        echo online >&3
        while :; do sleep 0.02; done
        ";
    let home = Home::new().file("server", program);
    let lines = told(home.path(), &["start", "-n", "3", "./server"]).done();
    assert!(last(&lines).starts_with("workers online: 3, after "), "{lines:#?}");
    let sorted = || {
        let text = home.text("slots");
        let mut slots: Vec<&str> = text.split_whitespace().collect();
        slots.sort_unstable();
        slots.concat()
    };
    assert_eq!(sorted(), "012");
    told(home.path(), &["deploy", "--quiet"]).done();
    assert_eq!(sorted(), "001122");
    assert_eq!(told(home.path(), &["stop", "--quiet"]).done(), [""; 0]);
    assert_eq!(told(home.path(), &["stop"]).done(), ["not running"]);
}

#[test]
fn a_start_where_one_is_running_shows_its_status_and_is_1_or_deploys_to_it() {
    let home = Home::new().file("server", SERVER);
    std::fs::write(home.at("may-end"), "").unwrap();
    let first = home.online(&["--env", &format!("SRVWRAP_TEST={}", home.path().display()), "./server"]);
    let second = told(home.path(), &["start", "-n", "7", "./server"]);
    assert_eq!(second.code, 1);
    assert!(last(&second.stderr).contains("is running already"), "{second:?}");
    assert!(
        second.stdout[0].contains(&format!("(pid {}), serving generation 1: 1 of 1", first.pid)),
        "{second:?}"
    );
    let variable = format!("SRVWRAP_TEST={}", home.path().display());
    let third =
        told(home.path(), &["start", "--or-deploy", "-n", "2", "--env", &variable, "./server"]).done();
    assert!(last(&third).starts_with("deploy 2 done after"), "{third:#?}");
    assert_eq!(slots(home.path(), 2), ["0", "1"]);
    assert!(first.is_alive());
    told(home.path(), &["stop"]).done();
}

#[test]
fn every_path_of_a_start_is_taken_from_the_callers_directory() {
    let home = Home::new();
    for directory in ["app", "logs", "run"] {
        std::fs::create_dir(home.at(directory)).unwrap();
    }
    std::fs::write(home.at("app/may-end"), "").unwrap();
    write_file(&home.at("app"), "server", SERVER);
    let variable = format!("SRVWRAP_TEST={}", home.path().display());
    let options = "start --cwd app --pid-file run/pid --socket run/control --log logs/log --stdout logs/out --stderr logs/err";
    let mut arguments: Vec<&str> = options.split(' ').collect();
    arguments.extend(["--env", &variable, "./server"]);
    told(home.path(), &arguments).done();
    let app = home.at("app");
    assert_eq!(of_generation(home.path(), 1), [format!("0  {}", app.display())]);
    for path in ["run/pid", "run/control", "logs/log", "logs/out", "logs/err"] {
        assert!(home.at(path).exists(), "no {path}");
    }
    assert_eq!(app.read_dir().unwrap().count(), 2, "something was made in the workers' directory");
    told(&app, &["stop", "../run/control"]).done();
}

#[test]
fn a_program_that_throws_at_load_ends_the_start_with_1_and_why() {
    let home = Home::new().file("server", "#!/bin/sh\necho 'no such module' >&2\nexit 1\n");
    let told = told(home.path(), &["start", "-n", "2", "./server"]);
    assert_eq!((told.code, told.stderr.len()), (1, 1), "{told:?}");
    assert!(!told.stdout.concat().contains("exited with status 1"), "said twice: {told:?}");
    assert!(last(&told.stderr).contains("exited with status 1"), "{told:?}");
    assert!(last(&told.stderr).ends_with("stderr.log)"), "{told:?}");
    assert!(home.text("stderr.log").contains("no such module"));
    wait_until("nobody is left", || home.daemon().is_none());
}

#[test]
fn the_callers_variables_are_laid_over_those_of_the_spec_on_request() {
    let srvwrap = serving(&["--env", "COLOR=red"]);
    let here = srvwrap.path().display();
    for (arguments, color) in [(["deploy"].as_slice(), "red"), (&["deploy", "--inherit-env"], "blue")] {
        let mut deploy = command(srvwrap.path(), arguments);
        deploy.env("COLOR", "blue");
        run(deploy).end().done();
        let generation = if color == "red" { 2 } else { 3 };
        assert_eq!(of_generation(srvwrap.path(), generation), [format!("0 {color} {here}")]);
    }
}

#[test]
fn a_deploy_without_room_for_its_descriptors_fails_and_the_old_ones_serve_on() {
    let mut srvwrap = serving(&[]);
    let limit = |most: u64| {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: 4096 };
        // SAFETY: the struct lives through the call.
        let done = unsafe {
            libc::prlimit(srvwrap.pid() as i32, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut())
        };
        assert_eq!(done, 0);
    };
    limit(4096);
    // One for the client, and too few for a worker.
    limit(srvwrap.open_descriptors() as u64 + 3);
    let told_so = told(srvwrap.path(), &["deploy", "--quiet"]);
    assert_eq!(told_so.code, 1, "{told_so:?}");
    assert!(last(&told_so.stderr).contains("Too many open files"), "{told_so:?}");
    assert!(last(&told_so.stderr).ends_with("; generation 1 keeps serving"), "{told_so:?}");
    limit(4096);
    told(srvwrap.path(), &["deploy"]).done();
    srvwrap.wait_for("deploy 3 done");
}

#[test]
fn a_stop_from_another_pid_namespace_waits_for_the_end_too() {
    if !require::pid_namespace() {
        return;
    }
    let mut srvwrap = serving(&[]);
    let stop = command(srvwrap.path(), &["stop", "--quiet"]);
    let mut apart = std::process::Command::new("unshare");
    apart.args(["--fork", "--pid", "--kill-child"]).arg(stop.get_program()).args(stop.get_args());
    apart.current_dir(srvwrap.path()).env("PWD", srvwrap.path()).stdin(std::process::Stdio::null());
    assert_eq!(run(apart).end().done(), [""; 0]);
    assert_eq!(told(srvwrap.path(), &["stop"]).done(), ["not running"]);
    assert_eq!(srvwrap.exit_code(), 0);
}
