//! Clients that never pause, while everything that srvwrap does is done under them: not one request is lost.
//!
//! ```text
//!   8 clients   { TCP, unix } x { keep-alive, a connection per request } x 2
//!       │ GET
//!   srvwrap     deploys, with `offline` and scaling between them; or deaths by KILL and exit(1)
//! ```
//!
//! What the servers are is not the subject here: see `languages.rs` and `consumers.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::http::{Connection, Target, Trouble, at};
use crate::harness::load::{Load, Report};
use crate::harness::{Srvwrap, command, examples, is_alive, srvwrap, wait_until, worker_of};

/// Of deaths: two between deploys and one in a deploy.
const ROUNDS: u32 = 8;

#[test]
fn no_request_is_lost_in_deploys_recycles_and_scaling_of_python_workers() {
    let Some(program) = examples::PYTHON.program() else { return };
    no_request_is_lost(&program, 20);
}

/// Few deploys, since node takes the most time to start.
#[test]
fn no_request_is_lost_in_deploys_recycles_and_scaling_of_node_workers() {
    let Some(program) = examples::NODE.program() else { return };
    no_request_is_lost(&program, 5);
}

#[test]
fn no_request_is_lost_in_deploys_recycles_and_scaling_of_perl_workers() {
    let Some(program) = examples::PERL.program() else { return };
    no_request_is_lost(&program, 8);
}

#[test]
fn no_request_is_lost_in_deploys_recycles_and_scaling_of_php_workers() {
    let Some(program) = examples::PHP.program() else { return };
    no_request_is_lost(&program, 8);
}

#[test]
fn no_request_is_lost_in_deploys_recycles_and_scaling_of_ruby_workers() {
    let Some(program) = examples::RUBY.program() else { return };
    no_request_is_lost(&program, 8);
}

#[test]
fn no_request_is_lost_in_deploys_recycles_and_scaling_of_rust_workers() {
    let Some(program) = examples::RUST.program() else { return };
    no_request_is_lost(&program, 8);
}

/// Once around, from each language to the next and from the last to the first.
#[test]
fn no_request_is_lost_in_deploys_from_one_language_to_another() {
    let languages = examples::ALL.iter().filter(|language| language.options.is_empty());
    let ring: Vec<Vec<OsString>> = languages.filter_map(|language| language.program()).collect();
    let Some(first) = ring.first() else { return };
    let (srvwrap, targets) = three_workers(first);
    no_request_is_lost_around(ring, srvwrap, &targets);
}

/// The same with the socket on descriptor 0, where some languages need it and all take it.
#[test]
fn no_request_is_lost_in_deploys_from_one_language_to_another_on_descriptor_0() {
    let ring: Vec<Vec<OsString>> = examples::ALL.iter().filter_map(|language| language.program()).collect();
    let Some(first) = ring.first() else { return };
    let options = ["-n", "2", "-p", "0", "--protocol", "stdin"].map(OsString::from);
    let mut srvwrap = srvwrap(options.iter().chain(first)).env("PYTHONDONTWRITEBYTECODE", "1").online();
    let target = Target::Port(srvwrap.port());
    no_request_is_lost_around(ring, srvwrap, &[target]);
}

fn no_request_is_lost_around(mut ring: Vec<Vec<OsString>>, srvwrap: Srvwrap, targets: &[Target]) {
    ring.rotate_left(1);
    let (report, _) = Load::begin(targets).through_programs(srvwrap, &ring);
    assert_eq!(report.failures, [], "of {} requests", report.answers);
}

/// All that a deploy can be told to do, by the command: at once and rolling, baked, failing at once, failing when two
/// of three slots are taken over, taken back, and another number of workers.
#[test]
fn no_request_is_lost_in_deploys_of_every_kind_by_the_command() {
    let Some(program) = examples::PYTHON.program() else { return };
    let (mut srvwrap, targets) = three_workers(&program);
    let load = Load::begin(&targets);
    let words: Vec<&str> = program.iter().map(|word| word.to_str().expect("a path of ours")).collect();
    let fails_last = ["sh", "-c", "[ $SRVWRAP_SLOT = 2 ] && exit 1; exec \"$@\"", "sh"];
    let fails_last = [["deploy", "--surge", "1", "--"].as_slice(), &fails_last, &words].concat();
    let mut serving = 1;
    for (generation, arguments, code) in [
        (2, ["deploy"].as_slice(), 0),
        (3, &["deploy", "--surge", "1", "--env", "A=1"], 0),
        (4, &["deploy", "--bake", "200ms", "--env", "A=2"], 0),
        (5, &["deploy", "--", "sh", "-c", "exit 1"], 1),
        (6, &["rollback", "--no-wait"], 0),
    ] {
        load.wait_for_generation(serving);
        let told = command::told(srvwrap.path(), arguments);
        assert_eq!(told.code, code, "{arguments:?}: {told:?}");
        serving = if code == 0 { generation } else { serving };
    }
    load.wait_for_generation(6);
    wait_until("the old workers have gone", || command::told(srvwrap.path(), &["deploy"]).code == 0);
    load.wait_for_generation(7);
    let told = command::told(srvwrap.path(), &fails_last);
    assert_eq!(told.code, 1, "{told:?}");
    srvwrap.wait_for("deploy 8: generation 7 takes back the slots of 2 workers");
    for arguments in [["scale", "+1"], ["scale", "-1"], ["deploy", "-n2"]] {
        let told = command::told(srvwrap.path(), &arguments);
        assert_eq!(told.code, 0, "{arguments:?}: {told:?}");
    }
    load.wait_for_generation(9);
    let report = load.end();
    assert_eq!(report.failures, [], "of {} requests", report.answers);
    let log = srvwrap.stop();
    assert!(!log.contains("killed"), "{log}");
}

fn no_request_is_lost(program: &[OsString], deploys: u32) {
    let (mut srvwrap, targets) = three_workers(program);
    let load = Load::begin(&targets);
    for generation in 2..deploys + 2 {
        // So that each deploy finds every client on the workers that it is to replace.
        load.wait_for_generation(generation - 1);
        deploy(&mut srvwrap, generation);
        match generation % 5 {
            0 => recycle(&mut srvwrap, &targets[(generation as usize / 5) % 2]),
            2 => scale_up_and_down(&mut srvwrap),
            _ => {}
        }
    }
    load.wait_for_generation(deploys + 1);
    let report = load.end();
    assert_eq!(report.failures, [], "of {} requests", report.answers);
    let log = srvwrap.stop();
    assert!(!log.contains("killed"), "{log}");
}

fn deploy(srvwrap: &mut Srvwrap, generation: u32) {
    srvwrap.signal(Signal::SIGHUP);
    srvwrap.wait_for(&format!("deploy {generation} done"));
}

/// Has whoever answers be replaced, and waits until it is.
fn recycle(srvwrap: &mut Srvwrap, target: &Target) {
    let who = crate::harness::http::get(target, "/offline").expect("it answers first").by();
    srvwrap.wait_for_all(&[
        &format!("worker {} (pid {}) said offline", who.slot, who.pid),
        &format!("worker {} (pid {}) ended, as it had said", who.slot, who.pid),
    ]);
    wait_until("its slot is filled again", || srvwrap.worker_pids().get(&who.slot) != Some(&who.pid));
}

fn scale_up_and_down(srvwrap: &mut Srvwrap) {
    srvwrap.signal(Signal::SIGTTIN);
    srvwrap.wait_for("scaled to 4");
    let highest = srvwrap.worker_pids()[&3];
    srvwrap.signal(Signal::SIGTTOU);
    srvwrap.wait_for("scaling from 4 to 3");
    wait_until("the worker of the highest slot has ended", || !is_alive(highest));
}

/// The example in Python, with a way to end that it does not foresee: USR1 is exit(1) in the middle of whatever it
/// does.
const CRASHING: &str = r#"
import os, runpy, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: os._exit(1))
sys.path.insert(0, os.path.dirname(sys.argv[1]))
runpy.run_path(sys.argv[1], run_name="__main__")
"#;

/// Deaths that no server can prepare for, by KILL and by exit(1), between deploys and in them. A client may lose what
/// the dead worker held: its one request under way, or its idle connection. It loses nothing else, and is never
/// refused.
#[test]
fn a_killed_worker_takes_with_it_only_what_it_held() {
    let Some(python) = examples::python_itself() else { return };
    let program =
        [python, "-c".into(), CRASHING.into(), examples::client("python/example.py").into_os_string()];
    let (mut srvwrap, targets) = three_workers(&program);
    let load = Load::begin(&targets);
    let mut deaths = Vec::new();
    for round in 0..ROUNDS {
        let generation = round + 1;
        let workers = workers_of(&mut srvwrap, generation);
        let slots = [0, 1, 2].map(|slot| (slot + round) % 3);
        deaths.extend(end(workers[&slots[0]], Signal::SIGKILL));
        deaths.extend(end(workers[&slots[1]], Signal::SIGUSR1));
        wait_until("both are replaced", || {
            let now = workers_of(&mut srvwrap, generation);
            slots[..2].iter().all(|slot| now.get(slot).is_some_and(|pid| *pid != workers[slot]))
        });
        load.wait_for_generation(generation);
        srvwrap.signal(Signal::SIGHUP);
        deaths.extend(end(workers[&slots[2]], Signal::SIGKILL));
        srvwrap.wait_for(&format!("deploy {} done", generation + 1));
    }
    let report = load.end();
    srvwrap.stop();
    attribute(&report, &deaths);
}

/// Who is alive of those that came online, by slot. In a deploy a slot may be filled in two generations.
fn workers_of(srvwrap: &mut Srvwrap, generation: u32) -> BTreeMap<u32, i32> {
    let wanted = format!("SRVWRAP_GENERATION={generation}");
    let is_of_it = |pid: i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let log = srvwrap.log();
    let online = log.lines().filter(|line| line.contains(" online after ")).filter_map(worker_of);
    online.filter(|(_, pid)| is_alive(*pid) && is_of_it(*pid)).collect()
}

/// The death of a worker, from before its cause to when it was seen.
#[derive(Debug)]
struct Death {
    pid: i32,
    from: Instant,
    to: Instant,
}

/// Nothing where it had ended before, as a worker of the old generation may have.
fn end(pid: i32, by: Signal) -> Option<Death> {
    let from = Instant::now();
    kill(Pid::from_raw(pid), by).ok()?;
    wait_until("it has died", || !is_alive(pid));
    Some(Death { pid, from, to: Instant::now() })
}

/// Every failure belongs to a death, and no client has two failures of the same death.
fn attribute(report: &Report, deaths: &[Death]) {
    let mut felt: BTreeMap<i32, BTreeSet<usize>> = BTreeMap::new();
    for failure in &report.failures {
        assert!(matches!(failure.trouble, Trouble::Reset | Trouble::Truncated), "{failure:?}");
        let cause = deaths.iter().find(|death| {
            let held = match failure.held_by {
                Some(pid) => pid == death.pid,
                // Who has accepted a connection that has had no answer yet is not known; but it was under way.
                None => failure.began <= death.to && death.from <= failure.ended,
            };
            held && !felt.get(&death.pid).is_some_and(|clients| clients.contains(&failure.client))
        });
        let cause =
            cause.unwrap_or_else(|| panic!("nobody's death explains {failure:?}; there were {deaths:?}"));
        felt.entry(cause.pid).or_default().insert(failure.client);
    }
    assert!(!felt.is_empty(), "no client noticed a death: these clients show nothing");
    eprintln!("{} of {} requests lost, in {} deaths", report.failures.len(), report.answers, deaths.len());
}

/// The hardest case of it: connections that wait in the accept queues while every worker is killed. The sockets are
/// srvwrap's, so they wait on, and the next workers answer them.
#[test]
fn what_waits_in_an_accept_queue_survives_the_death_of_all_workers() {
    const WAITING: usize = 50;
    let Some(program) = examples::PYTHON.program() else { return };
    let (mut srvwrap, targets) = three_workers(&program);
    let workers: Vec<i32> = srvwrap.worker_pids().into_values().collect();
    for worker in &workers {
        kill(Pid::from_raw(*worker), Signal::SIGSTOP).expect("it is alive");
        wait_until("it has stopped", || is_stopped(*worker));
    }
    let mut waiting = Vec::new();
    for target in targets.iter().cycle().take(2 * WAITING) {
        let mut connection = Connection::open(target).expect("the queue takes it");
        connection.ask("/", true).expect("it is connected");
        waiting.push(connection);
    }
    for worker in &workers {
        kill(Pid::from_raw(*worker), Signal::SIGKILL).expect("it is alive");
    }
    for connection in &mut waiting {
        let answer = connection.answer(true).expect("what waited is answered");
        assert!(!workers.contains(&answer.by().pid));
    }
    srvwrap.stop();
}

fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    stat.rsplit(") ").next().expect("there is always one").starts_with('T')
}

/// On a free port and a unix socket.
fn three_workers(program: &[OsString]) -> (Srvwrap, [Target; 2]) {
    let options = ["-n", "3", "-p", "0", "-p", "unix:it.sock"].map(OsString::from);
    let starting = srvwrap(options.iter().chain(program)).env("PYTHONDONTWRITEBYTECODE", "1");
    let path = starting.path().join("it.sock");
    let mut srvwrap = starting.online();
    let targets = [Target::Port(srvwrap.port()), at(&path)];
    (srvwrap, targets)
}
