//! Prints the machine: every cell of (state x input), compared with the committed `transitions.txt`.
//!
//! A changed transition is a changed line in review. The rest of what is promised about workers is in the simulation.

use std::fmt::Write;
use std::path::Path;

use super::*;
use crate::core::StopSignal;

const STOP_LIMIT: Duration = Duration::from_secs(30);

const LEGEND: &str = "\
The life of a worker: what each input does in each state. This file is printed by a test; after a change to worker.rs

    SRVWRAP_BLESS=1 cargo test transition

writes it anew, and the difference is what there is to review.

    online   the state that follows; its own name: the state stays, but something in it or something to do changes
    .        nothing changes
    !        cannot happen: the operating system layer would have broken its promise. Nothing that a worker
             does leads here

States      spawning   asked for              leaving   said offline, told nothing
            unwanted   the same, not wanted   retiring  told to stop
            starting   not online yet         killed    sent KILL
            online     serves                 remnant   first process dead, its group is not
            stuck      survived KILL          gone      nothing is left

Inputs      spawned, no fork   what became of the spawn      executed   it runs the program
            online, offline    its words                     hushed     its notice descriptor came to an end
            died               its first process             emptied    the last of its group
            expired            the deadline of its state     replaced   its replacement is online
            extended           it asks for 300 s more            kill       it is to end at once
            retire             it may finish within the stop limit, which it may ask to be longer
            retire 5, retire 0 it may finish within 5 s, and no more; within none

The stop limit is 30 s here and the online timeout 60 s. Retire 15: with signal 15.
";

fn policy(ready: Ready) -> Policy {
    Policy {
        ready,
        protocol: crate::core::Protocol::Srvwrap,
        on_crash: crate::core::OnCrash::Respawn,
        stop_signal: StopSignal::Auto,
        online_timeout: Duration::from_secs(60),
        stop_timeout: STOP_LIMIT,
        bake: Duration::ZERO,
    }
}

const INPUTS: [(&str, Input); 15] = [
    ("spawned", Input::Spawned { pid: 9 }),
    ("no fork", Input::SpawnFailed),
    ("executed", Input::Executed),
    ("online", Input::SaidOnline(Readiness::Plain)),
    ("offline", Input::SaidOffline),
    ("hushed", Input::Hushed),
    ("died", Input::Died),
    ("emptied", Input::Emptied),
    ("expired", Input::Expired),
    ("extended", Input::Extended { time: Duration::from_secs(300) }),
    ("retire", Input::Retire { limit: Limit::Usual }),
    ("retire 5", Input::Retire { limit: Limit::Firm(SHORT_LIMIT) }),
    ("retire 0", Input::Retire { limit: Limit::Firm(Duration::ZERO) }),
    ("kill", Input::Kill),
    ("replaced", Input::Replaced),
];

/// How each state is come to.
fn lives() -> Vec<(&'static str, Vec<Input>)> {
    let spawned = Input::Spawned { pid: 9 };
    let (online, retire) = (Input::SaidOnline(Readiness::Plain), Input::Retire { limit: Limit::Usual });
    vec![
        ("spawning", vec![]),
        ("unwanted", vec![retire]),
        ("starting", vec![spawned]),
        ("online", vec![spawned, Input::Executed, online]),
        ("leaving", vec![spawned, Input::Executed, online, Input::SaidOffline]),
        ("retiring", vec![spawned, Input::Executed, online, retire]),
        ("killed", vec![spawned, Input::Kill]),
        ("remnant", vec![spawned, Input::Died]),
        ("stuck", vec![spawned, Input::Kill, Input::Expired]),
        ("gone", vec![Input::SpawnFailed]),
    ]
}

#[test]
fn the_transition_table_is_the_committed_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core/transitions.txt");
    let printed = print();
    if std::env::var_os("SRVWRAP_BLESS").is_some() {
        std::fs::write(&path, &printed).expect("the source tree is writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (was, is)) in (1..).zip(committed.lines().zip(printed.lines())) {
        assert_eq!(
            was, is,
            "line {number} of transitions.txt; SRVWRAP_BLESS=1 cargo test transition renews it"
        );
    }
    assert_eq!(committed, printed, "SRVWRAP_BLESS=1 cargo test transition renews transitions.txt");
}

#[test]
fn no_worker_is_lost_every_state_but_the_last_ones_has_a_way_out() {
    for (name, life) in lives() {
        let (worker, _) = live(&life, &policy(Ready::Notify));
        assert_eq!(worker.state.name(), name);
        let waits_for_the_system = matches!(worker.state, State::Spawning | State::Unwanted { .. });
        let over = matches!(worker.state, State::Stuck | State::Gone);
        // Only who serves may do so for ever.
        let for_ever = waits_for_the_system || over || matches!(worker.state, State::Online { .. });
        assert_eq!(worker.deadline().is_none(), for_ever, "{name}");
    }
}

fn print() -> String {
    let mut page = LEGEND.to_string();
    page.push_str("\n--ready notify, the default\n\n");
    print_table(&mut page);
    page.push_str("\nEach cell that is not `.` or `!`: what it means to the slot, what is done, and in how long it expires now\n\n");
    for (state, life) in lives() {
        for (input, given) in INPUTS {
            print_cell(&mut page, state, input, cell(&life, given, Ready::Notify));
        }
    }
    for ready in [Ready::Exec, Ready::After(Duration::from_secs(2))] {
        let name = if ready == Ready::Exec { "exec" } else { "after=2s" };
        writeln!(page, "\n--ready {name}, where it differs\n").expect("a string");
        for (state, life) in lives() {
            for (input, given) in INPUTS {
                // Later states are the same, but come to in another way.
                if life.len() < 3 && cell(&life, given, ready) != cell(&life, given, Ready::Notify) {
                    print_cell(&mut page, state, input, cell(&life, given, ready));
                }
            }
        }
        let executed = [Input::Spawned { pid: 9 }, Input::Executed];
        let (state, online) = match ready {
            Ready::After(_) => ("starting", [&executed[..], &[Input::Expired]].concat()),
            Ready::Notify | Ready::Exec => ("online", executed.to_vec()),
        };
        if state == "starting" {
            print_cell(&mut page, state, "2s over", cell(&executed, Input::Expired, ready));
        }
        print_cell(&mut page, "online", "1s over", cell(&online, Input::Expired, ready));
    }
    page.push_str("\nA notice descriptor that was closed before online, a second later\n\n");
    let hushed = [Input::Spawned { pid: 9 }, Input::Hushed];
    print_cell(&mut page, "starting", "1s over", cell(&hushed, Input::Expired, Ready::Notify));
    page
}

fn print_table(page: &mut String) {
    write!(page, "{:10}", "").expect("a string");
    for (input, _) in INPUTS {
        write!(page, "{input:9}").expect("a string");
    }
    trim(page);
    for (state, life) in lives() {
        write!(page, "{state:10}").expect("a string");
        for (_, input) in INPUTS {
            write!(page, "{:9}", cell(&life, input, Ready::Notify).0).expect("a string");
        }
        trim(page);
    }
}

fn trim(page: &mut String) {
    page.truncate(page.trim_end().len());
    page.push('\n');
}

fn print_cell(page: &mut String, state: &str, input: &str, cell: (String, String)) {
    let (next, more) = cell;
    if next != "!" && next != "." {
        write!(page, "    {state:9}+ {input:9}-> {next:9} {more}").expect("a string");
        trim(page);
    }
}

/// The state that follows; and the turn and the effects in short.
fn cell(life: &[Input], input: Input, ready: Ready) -> (String, String) {
    let policy = policy(ready);
    let (before, now) = live(life, &policy);
    let (mut worker, mut effects) = (before.clone(), VecDeque::new());
    let now = if input == Input::Expired { before.deadline().unwrap_or(now) } else { now };
    if input == Input::Expired && before.deadline().is_none() {
        return (".".to_string(), String::new());
    }
    let turn = worker.step(now, input, &policy, &mut effects);
    if turn == Some(Turn::Impossible) {
        assert_eq!(worker, before, "what cannot happen changes nothing");
        return ("!".to_string(), String::new());
    }
    if (&worker, turn, effects.len()) == (&before, None, 0) {
        return (".".to_string(), String::new());
    }
    let turn = turn.map(|turn| format!("{turn:?}"));
    let parts: Vec<String> =
        turn.into_iter().chain(effects.iter().map(in_short)).chain(limit(&before, &worker, now)).collect();
    (worker.state.name().to_string(), parts.join(", "))
}

fn in_short(effect: &Effect) -> String {
    let whole = format!("{effect:?}");
    match effect {
        Effect::Retire { signal, .. } => format!("Retire {}", signal.unwrap_or(0)),
        Effect::Spawn { .. } | Effect::Terminate { .. } | Effect::Kill { .. } | Effect::Forget { .. } => {
            whole.split(' ').next().unwrap_or_default().to_string()
        }
        Effect::Listen { .. } | Effect::RestoreFlags { .. } | Effect::CloseListeners => {
            whole.split(' ').next().unwrap_or_default().to_string()
        }
        Effect::Sweep { .. } | Effect::Reply { .. } | Effect::Notice(_) => whole,
        Effect::Signal { .. } | Effect::End { .. } => whole,
    }
}

/// The new deadline, where there is another one than before.
fn limit(before: &Worker, after: &Worker, now: Time) -> Option<String> {
    let at = after.deadline().filter(|at| before.deadline() != Some(*at))?;
    Some(format!("[{}s]", (at - now).as_secs()))
}

/// A worker that had this life, and the time: a second after each input, or at its deadline.
fn live(life: &[Input], policy: &Policy) -> (Worker, Time) {
    let mut now = Time(Duration::from_secs(1000));
    let mut worker = Worker::new(WorkerId(1), 0, 1, now, Duration::from_secs(60));
    for input in life {
        now = match (input, worker.deadline()) {
            (Input::Expired, Some(at)) => at,
            (_, _) => now + Duration::from_secs(1),
        };
        worker.step(now, *input, policy, &mut VecDeque::new());
    }
    (worker, now + Duration::from_secs(1))
}
