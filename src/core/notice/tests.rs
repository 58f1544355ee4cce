//! Every sentence as an operator reads it.

mod boots;

use std::collections::BTreeSet;

use super::words::Seconds;
use super::*;
use crate::core::ClientId;
use boots::{boot_failed, boots, boots_without_advice};

const W3: Who = Who { slot: 3, pid: 4711, generation: 8 };
const HUP: Asker = Asker::Signal("HUP");
const CLIENT: Asker = Asker::Client { client: ClientId(1), uid: 1000 };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn exited(status: i32) -> Fault {
    Fault::Ended(Ending::Exited(status))
}

fn not_executed() -> Fault {
    let why = "cannot execute ./server: Permission denied".to_string();
    Fault::Ended(Ending::NotExecuted { why, exit_code: 126 })
}

fn starting(fault: Fault) -> Failure {
    Failure { who: W3, fault, served: None }
}

fn serving(fault: Fault) -> Failure {
    Failure { who: W3, fault, served: Some(seconds(95)) }
}

fn worker(news: WorkerNews) -> Notice {
    Notice::Worker { who: W3, news }
}

fn deploy(news: DeployNews) -> Notice {
    Notice::Deploy { generation: 8, news }
}

fn refused(asker: Asker, why: Refusal) -> Notice {
    Notice::Refused { asker, why }
}

fn failed(failure: Failure, next: Next, untold: u32) -> Notice {
    Notice::WorkerFailed { failure, next, untold }
}

fn workers() -> Vec<(Notice, &'static str)> {
    let retry = Next::RetryIn(seconds(2));
    vec![
        (
            worker(WorkerNews::Online { after: Duration::from_millis(1249) }),
            "worker 3 (pid 4711) online after 1.2s",
        ),
        (
            worker(WorkerNews::HushedEarly { limit: seconds(60) }),
            "worker 3 (pid 4711) closed its notice fd without saying online; it counts as late after 60s",
        ),
        (
            failed(starting(exited(1)), retry, 0),
            "worker 3 (pid 4711) exited with status 1 while starting; retrying in 2s",
        ),
        (
            failed(starting(exited(1)), Next::RetryIn(Duration::from_millis(31_415)), 5),
            "worker 3 (pid 4711) exited with status 1 while starting, as 5 before it; retrying in 31.4s",
        ),
        (
            failed(serving(Fault::Ended(Ending::Signaled(9))), Next::RetryIn(Duration::ZERO), 0),
            "worker 3 (pid 4711) was killed by signal 9 (KILL) after 95s online; replacing it",
        ),
        (
            failed(serving(Fault::Ended(Ending::Signaled(40))), Next::UnderWay, 0),
            "worker 3 (pid 4711) was killed by signal 40 after 95s online; its replacement is starting already",
        ),
        (
            failed(serving(exited(0)), Next::Exit(0), 0),
            "worker 3 (pid 4711) exited with status 0 after 95s online; stopping with exit code 0, as --on-crash exit \
             asks",
        ),
        (
            failed(starting(Fault::Late(seconds(60))), retry, 0),
            "worker 3 (pid 4711) was not online within 60s; retrying in 2s",
        ),
        (
            failed(starting(not_executed()), retry, 0),
            "worker 3: cannot execute ./server: Permission denied; retrying in 2s",
        ),
        (
            failed(starting(Fault::GaveUp(String::new())), retry, 0),
            "worker 3 (pid 4711) said offline while starting; retrying in 2s",
        ),
    ]
}

fn departures() -> Vec<(Notice, &'static str)> {
    vec![
        (
            worker(WorkerNews::Offline { why: String::new() }),
            "worker 3 (pid 4711) said offline; replacing it",
        ),
        (
            worker(WorkerNews::Offline { why: "1000 requests".into() }),
            "worker 3 (pid 4711) said offline: 1000 requests; replacing it",
        ),
        (
            worker(WorkerNews::Wrote { line: "Error: no database".into() }),
            "worker 3 (pid 4711) wrote: Error: no database",
        ),
        (worker(WorkerNews::Left), "worker 3 (pid 4711) ended, as it had said"),
        (
            worker(WorkerNews::Overran { asked: Asked::Signal(15) }),
            "worker 3 (pid 4711) did not end within its limit after signal 15 (TERM): killed (an open connection may hold it; --stop-timeout gives more \
             time, --stop-signal another signal)",
        ),
        (
            worker(WorkerNews::Overran { asked: Asked::Line }),
            "worker 3 (pid 4711) did not end within its limit after the \"shutdown\" line: killed (--stop-signal TERM \
             sends a signal too)",
        ),
        (
            worker(WorkerNews::Overran { asked: Asked::Offline }),
            "worker 3 (pid 4711) said offline, but did not end within its limit: killed",
        ),
        (
            worker(WorkerNews::RemnantOverran),
            "worker 3 (pid 4711) ended, but what it had started did not: killed (a shell that starts the server should \
             exec it)",
        ),
        (
            worker(WorkerNews::Survived),
            "worker 3 (pid 4711) is still there 5s after KILL, held by the kernel: no longer waited for",
        ),
        (
            worker(WorkerNews::Impossible),
            "worker 3 (pid 4711) did what no process can do: this is a fault of srvwrap, please report it",
        ),
    ]
}

fn deploys() -> Vec<(Notice, &'static str)> {
    vec![
        (
            deploy(DeployNews::Began { count: 4, asker: HUP, surge: None }),
            "deploy 8 began (HUP): starting 4 workers",
        ),
        (
            deploy(DeployNews::Began { count: 1, asker: CLIENT, surge: None }),
            "deploy 8 began (client of uid 1000): starting 1 worker",
        ),
        (
            deploy(DeployNews::Failed { failure: starting(Fault::Mute(seconds(30))), keeps: 7 }),
            "deploy 8 failed: worker 3 (pid 4711) did not say READY=1 on NOTIFY_SOCKET within 30s; generation 7 keeps serving",
        ),
        (
            deploy(DeployNews::Failed { failure: starting(Fault::Late(seconds(30))), keeps: 7 }),
            "deploy 8 failed: worker 3 (pid 4711) was not online within 30s; generation 7 keeps serving",
        ),
        (
            deploy(DeployNews::Failed { failure: starting(exited(1)), keeps: 7 }),
            "deploy 8 failed: worker 3 (pid 4711) exited with status 1 while starting; generation 7 keeps serving",
        ),
        (
            deploy(DeployNews::Failed { failure: starting(not_executed()), keeps: 7 }),
            "deploy 8 failed: worker 3: cannot execute ./server: Permission denied; generation 7 keeps serving",
        ),
        (
            deploy(DeployNews::Cut { fault: Fault::Rebound("/run/a.sock".into()), keeps: Some(7) }),
            "deploy 8 failed: /run/a.sock was shut down under its workers; generation 7 keeps serving",
        ),
        (
            deploy(DeployNews::Aborted { by: CLIENT, keeps: Some(7) }),
            "deploy 8 aborted by client of uid 1000; generation 7 keeps serving",
        ),
        (
            deploy(DeployNews::AbortedLate { by: CLIENT, killed: 1 }),
            "deploy 8 is live, though aborted by client of uid 1000; killing 1 worker of the old generation",
        ),
        (
            deploy(DeployNews::Baking { time: seconds(30) }),
            "deploy 8 is online; both generations serve for 30s",
        ),
        (
            deploy(DeployNews::Flipped { old: 7, leaving: 4 }),
            "deploy 8 is live; retiring 4 workers of generation 7",
        ),
        (
            deploy(DeployNews::Done { count: 4, after: Duration::from_millis(3200) }),
            "deploy 8 done after 3.2s with 4 workers",
        ),
    ]
}

fn others() -> Vec<(Notice, &'static str)> {
    let address = || "127.0.0.1:8000".to_string();
    let health = Notice::HealthListening { address: "127.0.0.1:43121".to_string() };
    let shut = |suspects: &[Who], outcome| Notice::ListenerShut {
        address: address(),
        suspects: suspects.to_vec(),
        before: 0,
        outcome,
    };
    let other = Who { slot: 0, pid: 17, generation: 8 };
    vec![
        (health, "health routes on 127.0.0.1:43121"),
        (
            refused(Asker::Signal("TTIN"), Refusal::Summed { more: 2 }),
            "TTIN: will scale by +2 once what is under way is done",
        ),
        (refused(HUP, Refusal::Remembered), "HUP: will deploy once what is under way is done"),
        (refused(HUP, Refusal::Stopping), "HUP: refused, because srvwrap is stopping"),
        (
            refused(CLIENT, Refusal::Busy(Busy::Deploy { generation: 8, asker: HUP })),
            "refused, because deploy 8 (HUP) is under way; srvwrap abort ends it",
        ),
        (refused(CLIENT, Refusal::Busy(Busy::Boot)), "refused, because the first start is under way"),
        (refused(CLIENT, Refusal::Busy(Busy::Scale)), "refused, because a scale is under way"),
        (
            refused(Asker::Signal("TTOU"), Refusal::Count { least: 1, most: 65_535 }),
            "TTOU: refused, because there can be no fewer than 1 and no more than 65535 workers",
        ),
        (refused(CLIENT, Refusal::NothingToAbort), "refused, because no deploy is under way"),
        (Notice::Scale(ScaleNews::Began { from: 2, to: 1 }), "scaling from 2 to 1 worker"),
        (Notice::Scale(ScaleNews::Grown { count: 4, after: seconds(2) }), "scaled to 4 workers after 2s"),
        (
            Notice::Scale(ScaleNews::Failed { failure: starting(exited(1)), count: 2 }),
            "scaling failed: worker 3 (pid 4711) exited with status 1 while starting; back to 2 workers",
        ),
        (
            shut(&[], Mended::Lost),
            "127.0.0.1:8000 was shut down by one of the workers; it cannot be bound anew, so srvwrap stops",
        ),
        (
            shut(&[W3], Mended::Healed),
            "127.0.0.1:8000 was shut down by worker 3 (pid 4711), it seems; listening again",
        ),
        (shut(&[], Mended::Renewed), "127.0.0.1:8000 was removed; bound it anew, and replacing the workers"),
        (
            shut(&[W3, other], Mended::Rebound),
            "127.0.0.1:8000 was shut down by worker 3 (pid 4711) or worker 0 (pid 17), it seems; bound it anew, and \
             replacing the workers",
        ),
        (
            shut(&[W3, other, other], Mended::Healed),
            "127.0.0.1:8000 was shut down by worker 3 (pid 4711) or one of 2 others, it seems; listening again",
        ),
        (
            Notice::Stopping { asker: Asker::Signal("TERM"), workers: 4, limit: seconds(30) },
            "TERM: stopping 4 workers within 30s",
        ),
        (Notice::Stopping { asker: Asker::Signal("TERM"), workers: 0, limit: seconds(30) }, "TERM: stopping"),
        (Notice::Killing { asker: Asker::Signal("QUIT"), workers: 1 }, "QUIT: killing 1 worker"),
        (Notice::Stopped { killed: 0 }, "stopped"),
        (Notice::Stopped { killed: 1 }, "stopped; 1 worker was killed"),
        (Notice::Stopped { killed: 2 }, "stopped; 2 workers were killed"),
    ]
}

/// What is told of the machine and of the sockets.
fn surroundings() -> Vec<(Notice, &'static str)> {
    let listening = |name: Option<&str>| Notice::Listening {
        name: name.map(str::to_string),
        address: "port 8000".to_string(),
    };
    vec![
        (listening(None), "listening on port 8000"),
        (listening(Some("http")), "listening on port 8000 (http)"),
        (
            Notice::BacklogClamped { limit: 128, wanted: 4096 },
            "the kernel limits the backlog to 128 of 4096 connections (net.core.somaxconn)",
        ),
        (
            Notice::PassesNothingOn { program: "npm".to_string() },
            "npm passes no descriptors on to the program that it starts: give that program itself, as in srvwrap node \
             server.js",
        ),
        (
            Notice::ListenerShutBy { address: "port 8000".to_string(), who: W3, after: seconds(1) },
            "port 8000 was shut down, it seems by worker 3 (pid 4711), which ended 1s after it",
        ),
    ]
}

/// What only clients ask for, and how it ends.
fn orders() -> Vec<(Notice, &'static str)> {
    let signalled = |slot, workers| Notice::Signalled { asker: CLIENT, signal: 12, slot, workers };
    vec![
        (
            deploy(DeployNews::Began { count: 4, asker: CLIENT, surge: Some(1) }),
            "deploy 8 began (client of uid 1000): starting 4 workers, 1 at a time",
        ),
        (
            deploy(DeployNews::TimedOut { limit: seconds(90), keeps: Some(7) }),
            "deploy 8 was not done within 90s; generation 7 keeps serving",
        ),
        (
            deploy(DeployNews::TimedOutLate { limit: seconds(90), killed: 2 }),
            "deploy 8 is live, but was not done within 90s; killing 2 workers of the old generation",
        ),
        (
            deploy(DeployNews::PuttingBack { slots: 2, old: 7 }),
            "deploy 8: generation 7 takes back the slots of 2 workers",
        ),
        (
            deploy(DeployNews::BakingAlone { time: seconds(30) }),
            "deploy 8 has every slot; it is live after 30s without a failure",
        ),
        (
            deploy(DeployNews::DoneLate { outcome: Outcome::TimedOut, count: 4, after: seconds(90) }),
            "deploy 8 is live after 90s with 4 workers; the old ones were killed, because its time was over",
        ),
        (
            deploy(DeployNews::DoneLate { outcome: Outcome::Aborted, count: 1, after: seconds(9) }),
            "deploy 8 is live after 9s with 1 worker; the old ones were killed, because it was aborted",
        ),
        (
            deploy(DeployNews::FlippedLast { old: 7, leaving: 1 }),
            "deploy 8 is live in every slot; 1 worker of generation 7 left to retire",
        ),
        (refused(CLIENT, Refusal::NothingBefore), "refused, because there was no deploy before this one"),
        (
            refused(CLIENT, Refusal::OnlyFilesChanged),
            "refused, because the generation before ran the same program, environment and directory: put the old \
             files back and deploy",
        ),
        (
            refused(CLIENT, Refusal::OtherGeneration { is: 8, wanted: 7 }),
            "refused, because generation 8 serves, and not 7: somebody has deployed since",
        ),
        (Notice::Scale(ScaleNews::Shrunk { count: 1 }), "scaled to 1 worker"),
        (Notice::CutShort, "cut short, because srvwrap stops"),
        (signalled(None, 4), "client of uid 1000: signal 12 (USR2) sent to 4 workers"),
        (signalled(Some(3), 1), "client of uid 1000: signal 12 (USR2) sent to worker 3"),
        (signalled(None, 0), "client of uid 1000: signal 12 (USR2) not sent, because no worker is online"),
        (
            signalled(Some(3), 0),
            "client of uid 1000: signal 12 (USR2) not sent, because no worker of slot 3 is online",
        ),
    ]
}

fn all() -> Vec<(Notice, &'static str)> {
    [boots(), boots_without_advice(), workers(), departures(), deploys(), others(), surroundings(), orders()]
        .concat()
}

/// Each event, the names of its fields, and one of its sentences: the table in `protocol/control.md`.
fn event_table() -> String {
    let mut rows: Vec<(&str, BTreeSet<String>, String)> = Vec::new();
    for (notice, _) in all() {
        let (name, fields) = notice.event();
        let names = fields.keys().cloned();
        match rows.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, known, _)) => known.extend(names),
            None => rows.push((name, names.collect(), notice.to_string())),
        }
    }
    rows.sort();
    let mut table = String::from("| event | fields | for example |\n|---|---|---|\n");
    for (name, fields, sentence) in rows {
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        table.push_str(&format!("| `{name}` | {} | {sentence} |\n", fields.join(" ")));
    }
    table
}

#[test]
fn the_protocol_lists_every_event_with_its_fields() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol/control.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once("<!-- events -->\n").expect("the marker before the table");
    let (table, after) = rest.split_once("<!-- /events -->").expect("the marker after the table");
    if std::env::var_os("SRVWRAP_BLESS").is_some() {
        let blessed = format!("{before}<!-- events -->\n{}<!-- /events -->{after}", event_table());
        std::fs::write(path, blessed).unwrap();
    } else {
        assert_eq!(table, event_table(), "SRVWRAP_BLESS=1 cargo test every_event writes it anew");
    }
}

#[test]
fn a_program_that_ran_and_failed_may_have_written_down_why() {
    let of = |fault: Fault| {
        let notices = [
            boot_failed(fault.clone(), Heard::Nothing, &[]),
            deploy(DeployNews::Failed { failure: serving(fault.clone()), keeps: 7 }),
            Notice::Scale(ScaleNews::Failed { failure: starting(fault.clone()), count: 2 }),
            failed(serving(fault), Next::UnderWay, 0),
        ];
        let [first, others @ ..] = notices.map(|notice| notice.failed_program().is_some());
        assert!(others.iter().all(|other| *other == first));
        first
    };
    assert!(of(exited(1)) && of(Fault::Ended(Ending::Signaled(9))) && of(Fault::Late(seconds(1))));
    assert!(!of(not_executed()) && !of(Fault::NotSpawned("no".into())) && !of(Fault::GaveUp("no".into())));
    assert!(deploy(DeployNews::Aborted { by: CLIENT, keeps: Some(7) }).failed_program().is_none());
    assert!(Notice::Stopped { killed: 1 }.failed_program().is_none());
}

#[test]
fn a_failure_is_an_error_what_was_not_meant_a_warning_and_the_rest_information() {
    for (notice, text) in all() {
        let is_error = notice.failed_program().is_some();
        assert!(!is_error || notice.severity() == Severity::Error, "{text}");
    }
    let severity_of = |news| worker(news).severity();
    assert_eq!(severity_of(WorkerNews::RemnantOverran), Severity::Warning);
    assert_eq!(severity_of(WorkerNews::Left), Severity::Information);
    assert_eq!(Notice::Stopped { killed: 0 }.severity(), Severity::Information);
    assert_eq!(Notice::Stopped { killed: 1 }.severity(), Severity::Warning);
}

#[test]
fn an_event_gives_away_no_more_than_its_sentence() {
    for (notice, _) in all() {
        let (_, fields) = notice.event();
        for (name, value) in fields.iter().filter_map(|(name, value)| Some((name, value.as_str()?))) {
            let word = name == "by" || (!value.contains(' ') && value.len() <= 20);
            assert!(word || notice.to_string().contains(value), "{notice:?}: {value}");
        }
    }
}

#[test]
fn every_notice_reads_as_it_should() {
    for (notice, text) in all() {
        assert_eq!(notice.to_string(), text, "{notice:?}");
    }
}

#[test]
fn every_notice_is_one_line_in_our_style() {
    for (notice, _) in all() {
        let text = notice.to_string();
        let names_a_signal =
            matches!(notice, Notice::Refused { .. } | Notice::Stopping { .. } | Notice::Killing { .. });
        let starts_small = text.starts_with(|first: char| first.is_lowercase() || first.is_ascii_digit());
        assert!(starts_small || names_a_signal, "{text}");
        assert!(!text.ends_with(['.', '!', ' ', ';', ':', ',']), "{text}");
        assert!(!text.contains(['\n', '\r', '\t']) && !text.contains("  "), "{text}");
        assert!(text.matches('(').count() == text.matches(')').count(), "{text}");
        assert!(text.len() <= 240, "{} bytes: {text}", text.len());
    }
}

#[test]
fn times_are_short_and_never_rounded_up() {
    for (milliseconds, text) in [
        (0, "0ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1099, "1s"),
        (1100, "1.1s"),
        (59_999, "59.9s"),
        (90_000, "90s"),
    ] {
        assert_eq!(Seconds(Duration::from_millis(milliseconds)).to_string(), text);
    }
}

#[test]
fn the_exit_code_of_a_crash_is_that_of_a_shell() {
    let code = |fault: Fault| (fault.exit_code(), fault.exec_code());
    assert_eq!(code(exited(0)), (Some(0), None));
    assert_eq!(code(exited(255)), (Some(255), None));
    assert_eq!(code(Fault::Ended(Ending::Signaled(15))), (Some(143), None));
    assert_eq!(code(not_executed()), (Some(126), Some(126)));
    assert_eq!(code(Fault::Late(seconds(1))), (None, None));
}
