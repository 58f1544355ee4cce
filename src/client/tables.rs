//! What `status` and `history` show: messages of the control API as lines for people.
//!
//! ```text
//!   srvwrap 0.1.0 (pid 4711), serving generation 2: 4 of 4 workers online, up 3h12m
//!   node server.js (in /srv/app)
//!   slot 0 failed 3m12s ago: worker 0 (pid 4713) exited with status 1 after 8.1s online
//!
//!   slot   pid  generation  state   uptime  restarts    rss   cpu  said
//!      0  4712           2  online   3h12m         0  45.1M  1.2s  ready
//! ```
//!
//! Every line is cleaned. What this file does not do: cut them, or choose which are shown (`page.rs`).

use std::cmp::Reverse;
use std::ffi::OsStr;

use crate::units::size_in_words;
use crate::wire::control::message::{Deployed, Outcome};
use crate::wire::control::status::{Deploying, Listener, LogFile, Status, Waiting, Worker};
use crate::wire::control::text::Text;

use super::cells::{Bytes, Side, Table, Took, clean};
use super::page::Page;

pub(super) fn status(status: &Status) -> Page {
    let facts = [headline(status)].into_iter().chain(status.deploy.iter().map(deploying));
    Page {
        head: facts.map(|fact| clean(&fact)).chain([program(status)]).collect(),
        failures: failures(status).into_iter().chain(status.logs.files.iter().filter_map(log_file)).collect(),
        workers: workers(&status.workers),
        troubled: status.workers.iter().map(is_troubled).collect(),
        listeners: status.listeners.iter().map(|known| clean(&listener(known))).collect(),
    }
}

fn headline(status: &Status) -> String {
    let Status { version, pid, activity, workers_online, workers_wanted, .. } = status;
    let deploy = status.deploy.as_ref().map(|deploy| format!(" generation {}", deploy.generation));
    let deploy = deploy.unwrap_or_default();
    let (before, after) = match (activity.as_str(), status.generation) {
        ("serving", Some(number)) => (format!("serving generation {number}"), String::new()),
        ("booting" | "stopping", _) | (_, None) => (activity.clone(), String::new()),
        (_, Some(number)) => (format!("generation {number} serves"), format!("; {activity}{deploy}")),
    };
    format!(
        "srvwrap {version} (pid {pid}), {before}: {workers_online} of {workers_wanted} {} online{after}, up {}",
        noun(*workers_wanted),
        Took(status.uptime)
    )
}

/// As in `1 of 1 worker`.
fn noun(of_all: u32) -> &'static str {
    if of_all == 1 { "worker" } else { "workers" }
}

fn program(status: &Status) -> String {
    let words: Vec<String> = status.program.iter().map(word).collect();
    clean(&format!("{} (in {})", words.join(" "), status.directory.0.to_string_lossy()))
}

/// As a shell would need it, so that the words can be told apart.
fn word(text: &Text) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    let text = OsStr::to_string_lossy(&text.0);
    let needs_quotes = text.is_empty() || !text.chars().all(plain);
    if needs_quotes { format!("'{}'", text.replace('\'', r"'\''")) } else { text.into_owned() }
}

fn workers(workers: &[Worker]) -> Table {
    let mut table = Table::new(&[
        ("slot", Side::Right),
        ("pid", Side::Right),
        ("generation", Side::Right),
        ("state", Side::Left),
        ("uptime", Side::Right),
        ("restarts", Side::Right),
        ("rss", Side::Right),
        ("cpu", Side::Right),
        ("said", Side::Left),
    ]);
    for worker in workers {
        table.row(&[
            &worker.slot.to_string(),
            &pid(worker.pid),
            &worker.generation.to_string(),
            &worker.state,
            &Took(worker.uptime).to_string(),
            &worker.restarts.to_string(),
            &worker.rss_bytes.map_or("-".to_owned(), |bytes| Bytes(bytes).to_string()),
            &worker.cpu.map_or("-".to_owned(), |cpu| Took(cpu).to_string()),
            &said(worker),
        ]);
    }
    table
}

/// Of itself; and that it says what nobody knows.
fn said(worker: &Worker) -> String {
    let Worker { said, ignored, .. } = worker;
    let lines = if *ignored == 1 { "line" } else { "lines" };
    match (said.is_empty(), *ignored) {
        (_, 0) => said.clone(),
        (true, _) => format!("({ignored} {lines} ignored)"),
        (false, _) => format!("{said} ({ignored} {lines} ignored)"),
    }
}

fn is_troubled(worker: &Worker) -> bool {
    worker.state != "online" || worker.failures > 0
}

/// There is none while the process is being made.
pub(super) fn pid(pid: u32) -> String {
    if pid == 0 { "-".to_owned() } else { pid.to_string() }
}

/// First the slots that have nobody, then those that had nobody, the worst first; each once.
fn failures(status: &Status) -> Vec<String> {
    let mut lines: Vec<String> = status.waiting.iter().map(waiting).collect();
    let waits = |slot: u32| status.waiting.iter().any(|waiting| waiting.slot == slot);
    let mut failed: Vec<&Worker> = status.workers.iter().filter(|worker| !waits(worker.slot)).collect();
    failed.sort_by_key(|worker| Reverse(worker.failures));
    lines.extend(failed.into_iter().filter_map(failure));
    lines.dedup();
    lines.iter().map(|line| clean(line)).collect()
}

/// Only where something is wrong, or lines are missing.
fn log_file(file: &LogFile) -> Option<String> {
    let path = file.path.0.to_string_lossy();
    // A sentence about a file mostly names it.
    let trouble = file.trouble.as_ref().map(|trouble| match trouble.contains(path.as_ref()) {
        true => trouble.clone(),
        false => format!("{path}: {trouble}"),
    });
    let were = if file.dropped_lines == 1 { " was" } else { "s were" };
    let dropped =
        format!("{} line{were} dropped ({})", file.dropped_lines, size_in_words(file.dropped_bytes));
    match (trouble, file.dropped_lines) {
        (None, 0) => None,
        (Some(trouble), 0) => Some(clean(&trouble)),
        (None, _) => Some(clean(&format!("{path}: {dropped}"))),
        (Some(trouble), _) => Some(clean(&format!("{trouble}; {dropped}"))),
    }
}

fn waiting(waiting: &Waiting) -> String {
    let Waiting { slot, retry_in, failures, message } = waiting;
    let next = match retry_in.as_millis() {
        // It would read as 0.0s.
        0..100 => "now".to_owned(),
        _ => format!("in {}", Took(*retry_in)),
    };
    match failures {
        0 | 1 => format!("slot {slot} failed: {message}; next try {next}"),
        _ => format!("slot {slot} failed {failures} times in a row; last: {message}; next try {next}"),
    }
}

fn failure(worker: &Worker) -> Option<String> {
    let Worker { slot, failures, last_failure, failed_ago, .. } = worker;
    let message = last_failure.as_ref()?;
    let ago = failed_ago.map(|ago| format!(" {} ago", Took(ago))).unwrap_or_default();
    Some(match failures {
        0 | 1 => format!("slot {slot} failed{ago}: {message}"),
        _ => format!("slot {slot} failed {failures} times in a row; last{ago}: {message}"),
    })
}

fn deploying(deploy: &Deploying) -> String {
    let Deploying { generation, phase, by, online, workers, leaving, elapsed } = deploy;
    let leaving = if *leaving > 0 { format!(", {leaving} still leaving") } else { String::new() };
    format!(
        "deploy {generation} ({by}): {phase}, {online} of {workers} {} online{leaving}, for {}",
        noun(*workers),
        Took(*elapsed)
    )
}

fn listener(listener: &Listener) -> String {
    let name = listener.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let queue = match (listener.queued, listener.backlog) {
        (Some(queued), Some(backlog)) => format!(", {queued} of {backlog} connections queued"),
        (Some(queued), None) => format!(", {queued} connections queued"),
        (None, _) => String::new(),
    };
    format!("listening on {}{name}{queue}", listener.address)
}

pub(super) fn history(deploys: &[Deployed]) -> Vec<String> {
    let mut table = Table::new(&[
        ("generation", Side::Right),
        ("when", Side::Left),
        ("who", Side::Left),
        ("took", Side::Right),
        ("result", Side::Left),
        ("changed", Side::Left),
    ]);
    for deploy in deploys {
        table.row(&[
            &deploy.generation.to_string(),
            &deploy.time,
            &deploy.by,
            &Took(deploy.took).to_string(),
            &result(deploy),
            &if deploy.changed.is_empty() { "-".to_owned() } else { deploy.changed.join(", ") },
        ]);
    }
    let mut lines = table.lines();
    // The reasons are sentences, and too long for a column.
    let failed = deploys.iter().filter(|deploy| !matches!(deploy.outcome, None | Some(Outcome::Done)));
    let reasons: Vec<String> = failed.map(|deploy| clean(&deploy.message)).collect();
    lines.extend((!reasons.is_empty()).then(String::new));
    lines.extend(reasons);
    lines
}

fn result(deploy: &Deployed) -> String {
    let word = match deploy.outcome {
        None => "under way",
        Some(Outcome::Done) => "done",
        Some(Outcome::Failed) => "failed",
        Some(Outcome::Refused) => "refused",
        Some(Outcome::Aborted) => "aborted",
        Some(Outcome::TimedOut) => "timed out",
    };
    let live = deploy.live && deploy.outcome != Some(Outcome::Done);
    if live { format!("{word}, live") } else { word.to_owned() }
}

/// 0 where it serves, and each slot has a worker that is online; else 1.
pub(super) fn exit_code(status: &Status) -> u8 {
    let serves = status.generation.is_some() && !["booting", "stopping"].contains(&status.activity.as_str());
    u8::from(!serves || status.workers_online < status.workers_wanted)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::control::status::Logs;
    use std::time::Duration;

    pub(in crate::client) fn worker(slot: u32, pid: u32, generation: u32, state: &str) -> Worker {
        Worker {
            slot,
            pid,
            generation,
            state: state.to_owned(),
            wanted: state == "online" || state == "starting",
            uptime: Duration::from_millis(1200),
            restarts: 0,
            failures: 0,
            last_failure: None,
            failed_ago: None,
            rss_bytes: None,
            cpu: None,
            said: String::new(),
            ignored: 0,
        }
    }

    pub(in crate::client) fn serving(workers: Vec<Worker>) -> Status {
        let count = u32::try_from(workers.len()).unwrap();
        let online = workers.iter().filter(|worker| worker.state == "online").count();
        Status {
            version: "0.1.0".to_owned(),
            pid: 4711,
            uptime: Duration::from_secs(11_520),
            activity: "serving".to_owned(),
            generation: Some(2),
            workers_wanted: count,
            workers_online: u32::try_from(online).unwrap(),
            program: vec!["node".into(), "my server.js".into(), "".into()],
            directory: "/srv/app".into(),
            workers,
            waiting: Vec::new(),
            deploy: None,
            listeners: Vec::new(),
            logs: Logs::default(),
        }
    }

    #[test]
    fn a_try_that_is_due_is_due_now() {
        for (millis, next) in [(0, "now"), (99, "now"), (100, "in 0.1s"), (12_000, "in 12s")] {
            let retry_in = Duration::from_millis(millis);
            let known = Waiting { slot: 3, retry_in, failures: 1, message: "it broke".to_owned() };
            assert_eq!(waiting(&known), format!("slot 3 failed: it broke; next try {next}"));
        }
    }

    #[test]
    fn a_log_file_is_told_only_where_something_is_wrong_with_it() {
        let file = |path: &str, dropped_lines, trouble: Option<&str>| LogFile {
            path: path.into(),
            dropped_lines,
            dropped_bytes: dropped_lines * 2048,
            trouble: trouble.map(str::to_owned),
        };
        let mut known = serving(vec![worker(0, 4712, 2, "online")]);
        known.logs.files = vec![
            file("/a.log", 0, None),
            file("/b.log", 1, None),
            file("/c.log", 0, Some("cannot write /c.log: no\nroom")),
            file("/d.log", 3, Some("it is slow")),
        ];
        let lines = status(&known).lines(usize::MAX);
        let told = [
            "/b.log: 1 line was dropped (2.0 KiB)",
            "cannot write /c.log: no\\nroom",
            "/d.log: it is slow; 3 lines were dropped (6.0 KiB)",
        ];
        assert_eq!(lines[2..5], told);
    }

    #[test]
    fn the_status_is_a_headline_a_table_and_what_else_there_is_to_know() {
        let mut known = serving(vec![
            Worker {
                rss_bytes: Some(47_395_635),
                cpu: Some(Duration::from_millis(1290)),
                said: "all \x1b[31mwell".to_owned(),
                ignored: 2,
                ..worker(0, 4712, 2, "online")
            },
            Worker { restarts: 12, ignored: 1, ..worker(1, 0, 2, "starting") },
        ]);
        known.waiting = vec![
            Waiting {
                slot: 2,
                retry_in: Duration::from_secs(12),
                failures: 37,
                message: "worker 2 (pid 5) exited with status 1 while starting".to_owned(),
            },
            Waiting {
                slot: 3,
                retry_in: Duration::from_millis(200),
                failures: 1,
                message: "worker 3 (pid 6) was killed by signal 9 (KILL) after 2s online".to_owned(),
            },
        ];
        known.deploy = Some(Deploying {
            generation: 3,
            phase: "draining".to_owned(),
            by: "client (uid 1000)".to_owned(),
            online: 2,
            workers: 2,
            leaving: 1,
            elapsed: Duration::from_millis(3210),
        });
        known.activity = "deploying".to_owned();
        known.listeners = vec![
            Listener {
                name: Some("web".to_owned()),
                address: "127.0.0.1:8000".to_owned(),
                queued: Some(3),
                backlog: Some(511),
            },
            Listener {
                name: None,
                address: "unix:/run/app.sock".to_owned(),
                queued: None,
                backlog: Some(511),
            },
        ];
        assert_eq!(
            status(&known).lines(usize::MAX),
            [
                "srvwrap 0.1.0 (pid 4711), generation 2 serves: 1 of 2 workers online; deploying generation 3, up 3h12m",
                "deploy 3 (client (uid 1000)): draining, 2 of 2 workers online, 1 still leaving, for 3.2s",
                "node 'my server.js' '' (in /srv/app)",
                "slot 2 failed 37 times in a row; last: worker 2 (pid 5) exited with status 1 while starting; next try in 12s",
                "slot 3 failed: worker 3 (pid 6) was killed by signal 9 (KILL) after 2s online; next try in 0.2s",
                "",
                "slot   pid  generation  state     uptime  restarts    rss   cpu  said",
                "   0  4712           2  online      1.2s         0  45.1M  1.2s  all \\u{1b}[31mwell (2 lines ignored)",
                "   1     -           2  starting    1.2s        12      -     -  (1 line ignored)",
                "",
                "listening on 127.0.0.1:8000 (web), 3 of 511 connections queued",
                "listening on unix:/run/app.sock",
            ]
        );
    }

    #[test]
    fn each_slot_that_has_failed_is_told_once_and_the_worst_first() {
        let failed = |slot, generation, failures, ago: Option<u64>| Worker {
            failures,
            last_failure: Some("it\nbroke".to_owned()),
            failed_ago: ago.map(Duration::from_secs),
            ..worker(slot, 5, generation, "online")
        };
        let mut known = serving(vec![
            failed(0, 2, 0, Some(7200)),
            Worker { state: "retiring".to_owned(), ..failed(1, 2, 2, Some(3)) },
            failed(1, 2, 2, Some(3)),
            failed(2, 2, 3, Some(12)),
            failed(3, 2, 1, None),
            worker(4, 6, 2, "online"),
        ]);
        let message = "it broke".to_owned();
        known.waiting = vec![Waiting { slot: 3, retry_in: Duration::from_secs(12), failures: 2, message }];
        assert_eq!(
            status(&known).failures,
            [
                "slot 3 failed 2 times in a row; last: it broke; next try in 12s",
                "slot 2 failed 3 times in a row; last 12s ago: it\\nbroke",
                "slot 1 failed 2 times in a row; last 3.0s ago: it\\nbroke",
                "slot 0 failed 2h00m ago: it\\nbroke",
            ]
        );
        assert_eq!(status(&known).troubled, [false, true, true, true, true, false]);
    }

    #[test]
    fn the_headline_tells_what_serves_and_what_goes_on() {
        let headline = |activity: &str, generation| {
            let known = Status { generation, activity: activity.to_owned(), ..serving(Vec::new()) };
            status(&known).head[0].replace("srvwrap 0.1.0 (pid 4711), ", "")
        };
        assert_eq!(headline("serving", Some(2)), "serving generation 2: 0 of 0 workers online, up 3h12m");
        assert_eq!(
            headline("scaling", Some(2)),
            "generation 2 serves: 0 of 0 workers online; scaling, up 3h12m"
        );
        assert_eq!(headline("stopping", Some(2)), "stopping: 0 of 0 workers online, up 3h12m");
        assert_eq!(headline("booting", None), "booting: 0 of 0 workers online, up 3h12m");
    }

    #[test]
    fn a_status_is_good_when_it_serves_and_no_slot_is_without_a_worker_online() {
        assert_eq!(exit_code(&serving(vec![worker(0, 1, 1, "online"), worker(1, 2, 1, "online")])), 0);
        assert_eq!(exit_code(&serving(vec![worker(0, 1, 1, "online"), worker(1, 2, 1, "starting")])), 1);
        for (activity, generation, code) in [
            ("deploying", Some(1), 0),
            ("scaling", Some(1), 0),
            ("stopping", Some(1), 1),
            ("booting", Some(1), 1),
            ("booting", None, 1),
            ("stopping", None, 1),
        ] {
            let online = serving(vec![worker(0, 1, 1, "online")]);
            assert_eq!(
                exit_code(&Status { activity: activity.to_owned(), generation, ..online }),
                code,
                "{activity}"
            );
        }
    }

    #[test]
    fn the_history_tells_who_what_and_how_it_ended_and_the_reasons_below() {
        let boot = Deployed {
            generation: 1,
            time: "2026-01-02T03:04:05.678Z".to_owned(),
            by: "boot".to_owned(),
            changed: Vec::new(),
            outcome: Some(Outcome::Done),
            live: true,
            message: "workers online: 2".to_owned(),
            took: Duration::from_millis(310),
        };
        let failed = Deployed {
            generation: 2,
            by: "client (uid 0)".to_owned(),
            changed: vec!["program".to_owned(), "workers 2 -> 4".to_owned()],
            outcome: Some(Outcome::Failed),
            live: false,
            message: "deploy 2 failed: it\nbroke".to_owned(),
            took: Duration::from_secs(75),
            ..boot.clone()
        };
        let cut = Deployed {
            generation: 3,
            outcome: Some(Outcome::Aborted),
            live: true,
            message: "deploy 3 is live, though aborted".to_owned(),
            ..failed.clone()
        };
        let now = Deployed { generation: 4, outcome: None, live: false, ..boot.clone() };
        assert_eq!(
            history(&[boot.clone(), failed, cut, now]),
            [
                "generation  when                      who              took  result         changed",
                "         1  2026-01-02T03:04:05.678Z  boot             0.3s  done           -",
                "         2  2026-01-02T03:04:05.678Z  client (uid 0)  1m15s  failed         program, workers 2 -> 4",
                "         3  2026-01-02T03:04:05.678Z  client (uid 0)  1m15s  aborted, live  program, workers 2 -> 4",
                "         4  2026-01-02T03:04:05.678Z  boot             0.3s  under way      -",
                "",
                "deploy 2 failed: it\\nbroke",
                "deploy 3 is live, though aborted",
            ]
        );
        assert_eq!(history(&[boot]).len(), 2);
    }
}
