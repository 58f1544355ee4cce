//! The lives that are made of a program, one after the other, and what is done in each.
//!
//! ```text
//!   1  serves: connections, descriptors; then the shutdown, with nothing to do
//!   2  the shutdown, with a request in its hands
//!   3  the shutdown, with idle connections, on which requests follow
//!   4  O_NONBLOCK is set under it, and others take connections away from it
//!   5  O_NONBLOCK is set before it starts; then its notice descriptor comes to its end
//! ```
//!
//! A life whose question has no meaning, after what an earlier one has shown, is not made.
//!
//! What this file does not do: judge what is seen.

use std::time::{Duration, Instant};

use crate::core::Ready;
use crate::sys::family::{self, Held, Member};
use crate::sys::{measure, stream};

use super::bench::Bench;
use super::connection::ANSWER_LIMIT;
use super::life::Life;
use super::seen::{
    Answer, Begun, Behind, Flagged, Holder, Idle, InFlight, Knock, LIVES, Orphaned, Purpose, Second, Seen,
    Tried, Voice, Words,
};
use super::{Cut, now};

/// An answer that takes this long is still on its way when the shutdown comes.
const SLOW: Duration = Duration::from_millis(100);
/// When requests follow on kept-alive connections: well within the half second, and near its end.
const DRAINED_AT: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];
/// Connections that others take away from it.
const TAKEN: u32 = 20;
/// So long its processor time is measured.
const MEASURED: Duration = Duration::from_millis(300);
/// Where it is known already that it does not end.
const SHORT_LIMIT: Duration = Duration::from_secs(2);
/// For its end when srvwrap is gone: a server has nothing to wait for but the half second of its drain.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);
/// A program that counts as online without a word is left alone so long before it is told to finish.
const UNASKED_TIME: Duration = Duration::from_secs(1);

const NOT_ONLINE: &str = "it was not online";
const NO_LISTENER: &str = "there is no listener; give one, as in -p 0";
const NOT_SERVING: &str = "it takes no connection";
const NO_HTTP: &str = "it does not answer over HTTP/1.1";
const CRASHED: &str = "it had ended by itself";
const NO_ENDING: &str = "a shutdown does not end it anyway";

/// All of them.
pub(super) fn all(bench: &mut Bench) -> Result<Seen, Cut> {
    let mut seen = nothing(bench);
    serving(bench, &mut seen)?;
    let Some(reason) = why_no_more(bench, &seen) else {
        in_flight(bench, &mut seen)?;
        idle(bench, &mut seen)?;
        flagged(bench, &mut seen)?;
        orphaned(bench, &mut seen)?;
        return Ok(seen);
    };
    (seen.in_flight, seen.idle) = (Tried::Not(reason), Tried::Not(reason));
    (seen.flagged, seen.behind) = (Tried::Not(reason), Tried::Not(reason));
    if seen.begun.is_online() {
        orphaned(bench, &mut seen)?;
    }
    Ok(seen)
}

fn nothing(bench: &Bench) -> Seen {
    let policy = &bench.check.config.policy;
    Seen {
        has_listeners: !bench.listeners.is_empty(),
        begun: Begun::Silent { closed: false },
        online_timeout: policy.online_timeout,
        stop_timeout: policy.stop_timeout,
        path: bench.check.path.clone(),
        runner: bench.runner,
        words: Words::default(),
        knocks: Vec::new(),
        own_ports: Vec::new(),
        second: Tried::Not(NOT_ONLINE),
        holders: Tried::Not(NOT_ONLINE),
        end: Tried::Not(NOT_ONLINE),
        crash: None,
        in_flight: Tried::Not(NOT_ONLINE),
        idle: Tried::Not(NOT_ONLINE),
        flagged: Tried::Not(NOT_ONLINE),
        behind: Tried::Not(NOT_ONLINE),
        eof: Tried::Not(NOT_ONLINE),
        shut: Vec::new(),
        outputs: [const { Vec::new() }; LIVES],
    }
}

/// Why there is nothing to be tried with connections.
fn why_no_more(bench: &Bench, seen: &Seen) -> Option<&'static str> {
    if !seen.begun.is_online() {
        Some(NOT_ONLINE)
    } else if bench.listeners.is_empty() {
        Some(NO_LISTENER)
    } else {
        (!seen.serves()).then_some(NOT_SERVING)
    }
}

/// What is common to the end of all lives.
fn leave(mut life: Life<'_>, purpose: Purpose, seen: &mut Seen) {
    let Words { unknown, first, overlong, unfit } = life.words();
    seen.words.unknown += unknown;
    seen.words.first = seen.words.first.take().or(first);
    seen.words.overlong += overlong;
    seen.words.unfit += unfit;
    seen.outputs[purpose as usize] = life.last_lines();
}

fn mend(bench: &mut Bench, purpose: Purpose, seen: &mut Seen) -> Result<(), Cut> {
    let shut = bench.mend().map_err(Cut::Refused)?;
    seen.shut.extend(shut.into_iter().map(|address| (address, purpose)));
    Ok(())
}

fn serving(bench: &mut Bench, seen: &mut Seen) -> Result<(), Cut> {
    let mut life = Life::start(bench, 1)?;
    seen.begun = life.begin()?;
    if seen.begun.is_online() {
        let mut kept = Vec::new();
        let listeners = &life.bench.listeners;
        for (index, bound) in listeners.iter().enumerate() {
            let (connection, answer) = life.visit(index)?;
            kept.push(connection);
            seen.knocks.push(Knock { address: bound.address.clone(), answer });
        }
        if seen.knocks.iter().any(|knock| !knock.answer.is_accepted()) {
            seen.own_ports = own_ports(&life);
        }
        seen.second = second(&mut life, seen)?;
        seen.holders = Tried::Seen(holders(&life));
        drop(kept);
        let has_not_begun = matches!(seen.begun, Begun::Unasked(_)) && seen.knocks.is_empty();
        if has_not_begun {
            pass(&mut life, now() + UNASKED_TIME)?;
        }
        seen.crash = life.crash();
        if seen.crash.is_some() {
            (seen.end, seen.holders) = (Tried::Not(CRASHED), Tried::Not(CRASHED));
        } else {
            life.tell();
            seen.end = Tried::Seen(life.end(seen.stop_timeout)?);
        }
    }
    leave(life, Purpose::Serving, seen);
    mend(bench, Purpose::Serving, seen)
}

/// Until then nothing is asked of it. False where it is gone before.
fn pass(life: &mut Life<'_>, until: Instant) -> Result<bool, Cut> {
    while life.turn(until, None)? {}
    Ok(!life.is_gone())
}

/// `seen` has what became of the first connections, and those that were kept alive are still open.
fn second(life: &mut Life<'_>, seen: &Seen) -> Result<Tried<Second>, Cut> {
    let main = seen.http().unwrap_or(0);
    let Some(knock) = seen.knocks.get(main).filter(|_| seen.serves()) else {
        return Ok(Tried::Not(if seen.knocks.is_empty() { NO_LISTENER } else { NOT_SERVING }));
    };
    let first_was_answered = knock.answer.keeps();
    // One that has sent nothing, beside those that have ended.
    let first = if first_was_answered { None } else { Some(life.accepted(main)?) };
    let answer = if knock.answer.is_whole() {
        life.visit(main)?.1
    } else {
        match life.accepted(main)? {
            Ok(_) => Answer::Silent,
            Err(answer) => answer,
        }
    };
    drop(first);
    Ok(Tried::Seen(Second { first_was_answered, answer }))
}

fn own_ports(life: &Life<'_>) -> Vec<u16> {
    let ours: Vec<u64> = life.bench.listeners.iter().map(|bound| family::inode_of(&bound.socket)).collect();
    let of_all =
        family::family(life.pid).into_iter().filter_map(|member| family::sockets(member.pid)).flatten();
    let inodes: Vec<u64> = of_all.map(|held| held.inode).filter(|inode| !ours.contains(inode)).collect();
    family::listening_ports(&inodes)
}

fn holders(life: &Life<'_>) -> Vec<Holder> {
    let listeners: Vec<u64> =
        life.bench.listeners.iter().map(|bound| family::inode_of(&bound.socket)).collect();
    let holder = |Member { pid, parent, name, .. }: Member| {
        let open = |held: &&Held| held.fd > 2 && !held.closes_at_exec;
        let sockets = family::sockets(pid)?;
        let of = |inodes: &[u64]| {
            let found = sockets.iter().filter(open).filter(|held| inodes.contains(&held.inode));
            found.map(|held| held.fd).collect()
        };
        let (notice, listeners) = (of(&[life.notice_inode]), of(&listeners));
        Some(Holder { pid: pid.number(), parent, name: crate::client::clean(&name), notice, listeners })
    };
    family::family(life.pid).into_iter().filter_map(holder).collect()
}

/// How long a shutdown is waited for in a further life.
fn limit(seen: &Seen) -> Duration {
    let ends = seen.end.seen().is_some_and(|end| end.killed.is_empty());
    if ends { seen.stop_timeout } else { seen.stop_timeout.min(SHORT_LIMIT) }
}

fn in_flight(bench: &mut Bench, seen: &mut Seen) -> Result<(), Cut> {
    let Some(main) = seen.http() else {
        seen.in_flight = Tried::Not(NO_HTTP);
        return Ok(());
    };
    let usual = match seen.knocks.get(main).map(|knock| &knock.answer) {
        Some(Answer::Whole { after, .. }) => *after,
        _ => Duration::ZERO,
    };
    let mut life = Life::start(bench, 2)?;
    seen.in_flight = if life.begin()?.is_online() {
        ask_and_tell(&mut life, main, usual, seen)?
    } else {
        Tried::Not("it was not online when it was started again")
    };
    leave(life, Purpose::InFlight, seen);
    mend(bench, Purpose::InFlight, seen)
}

/// `usual` is how long an answer takes.
fn ask_and_tell(
    life: &mut Life<'_>,
    main: usize,
    usual: Duration,
    seen: &Seen,
) -> Result<Tried<InFlight>, Cut> {
    if matches!(seen.begun, Begun::Unasked(_)) && !life.visit(main)?.1.is_whole() {
        return Ok(Tried::Not("it did not answer when it was started again"));
    }
    let Ok(mut connection) = life.accepted(main)? else {
        return Ok(Tried::Not("it took no connection when it was started again"));
    };
    let is_slow = usual >= SLOW;
    if is_slow {
        life.ask(&mut connection);
        pass(life, now() + usual / 2)?;
    } else {
        life.freeze()?;
        life.ask(&mut connection);
    }
    life.tell();
    let told = life.told.unwrap_or_else(now);
    let answer = life.answer(&mut connection, told + limit(seen).min(usual + ANSWER_LIMIT))?;
    let before = told - connection.asked();
    let early = matches!(answer, Answer::Whole { after, .. } if after < before);
    drop(connection);
    life.end(limit(seen))?;
    Ok(Tried::Seen(InFlight { before: is_slow.then_some(before), early, answer }))
}

fn idle(bench: &mut Bench, seen: &mut Seen) -> Result<(), Cut> {
    if let Some(reason) = why_no_idle(seen) {
        seen.idle = Tried::Not(reason);
        return Ok(());
    }
    idle_once(bench, seen)?;
    // On a busy machine it may have been kept from running until its half second was over.
    if seen.idle.seen().is_some_and(|idle| !idle.drained.iter().all(|(_, answer)| answer.is_last())) {
        idle_once(bench, seen)?;
    }
    Ok(())
}

fn idle_once(bench: &mut Bench, seen: &mut Seen) -> Result<(), Cut> {
    let main = seen.http().unwrap_or(0);
    let mut life = Life::start(bench, 3)?;
    seen.idle = if life.begin()?.is_online() {
        let stop_timeout = seen.stop_timeout;
        follow_up(&mut life, main, stop_timeout)?
    } else {
        Tried::Not("it was not online when it was started again")
    };
    leave(life, Purpose::Idle, seen);
    mend(bench, Purpose::Idle, seen)
}

fn why_no_idle(seen: &Seen) -> Option<&'static str> {
    let keeps = |index: usize| seen.knocks.get(index).is_some_and(|knock| knock.answer.keeps());
    let serves_more = seen.second.seen().is_some_and(|second| second.answer.is_whole());
    if seen.http().is_none() {
        Some(NO_HTTP)
    } else if !seen.http().is_some_and(keeps) {
        Some("it keeps no connection alive: each ends with its answer")
    } else if !serves_more {
        Some("it serves one connection at a time")
    } else {
        seen.end.seen().is_none_or(|end| !end.killed.is_empty()).then_some(NO_ENDING)
    }
}

/// One connection stays idle until the end; on the others a request follows.
fn follow_up(life: &mut Life<'_>, main: usize, limit: Duration) -> Result<Tried<Idle>, Cut> {
    let mut connections = Vec::new();
    for _ in 0..=DRAINED_AT.len() {
        match life.visit(main)? {
            (Some(connection), answer) if answer.keeps() => connections.push(connection),
            _ => return Ok(Tried::Not("it did not answer when it was started again")),
        }
    }
    life.tell();
    let told = life.told.unwrap_or_else(now);
    // All are asked in time, also where one answer takes long.
    for (after, connection) in DRAINED_AT.into_iter().zip(&mut connections) {
        pass(life, told + after)?;
        life.ask(connection);
    }
    let until = life.patience(ANSWER_LIMIT);
    let mut drained = Vec::new();
    for (after, connection) in DRAINED_AT.into_iter().zip(&mut connections) {
        drained.push((after, life.answer(connection, until)?));
    }
    let end = life.end(limit)?;
    drop(connections);
    Ok(Tried::Seen(Idle { drained, end }))
}

fn flagged(bench: &mut Bench, seen: &mut Seen) -> Result<(), Cut> {
    let main = seen.http().unwrap_or(0);
    let mut life = Life::start(bench, 4)?;
    seen.flagged = if life.begin()?.is_online() && is_served(&life.visit(main)?.1, seen) {
        set_flag(&mut life, main, seen)?
    } else {
        Tried::Not("it did not serve when it was started again")
    };
    leave(life, Purpose::Flagged, seen);
    mend(bench, Purpose::Flagged, seen)
}

/// As well as in its first life.
fn is_served(answer: &Answer, seen: &Seen) -> bool {
    if seen.http().is_some() { answer.is_whole() } else { answer.is_accepted() }
}

fn set_flag(life: &mut Life<'_>, main: usize, seen: &Seen) -> Result<Tried<Flagged>, Cut> {
    let Some(bound) = life.bench.listeners.get(main) else { return Ok(Tried::Not(NO_LISTENER)) };
    let by_itself = bound.socket.nonblocking();
    life.bench.set_nonblocking(true);
    let mut answers = Vec::new();
    // The first may find it in an accept that waits; the second is after one that need not.
    for _ in 0..2 {
        answers.push(life.visit(main)?.1);
    }
    let mut load = load(life)?;
    if load > super::points::BUSY {
        load = load.min(self::load(life)?);
    }
    let mut taken = 0;
    while taken < TAKEN && answers.iter().all(|answer| is_served(answer, seen)) {
        let _client = life.connect(main);
        // It may have been faster.
        let _ = stream::accept(&bound.socket);
        taken += 1;
        life.turn(now() + Duration::from_millis(2), None)?;
    }
    answers.push(life.visit(main)?.1);
    Ok(Tried::Seen(Flagged { by_itself, answers, taken, load, ended: life.ended() }))
}

/// In percent of one processor.
fn load(life: &mut Life<'_>) -> Result<u32, Cut> {
    let wanted = |life: &Life<'_>| -> Duration {
        family::family(life.pid).iter().filter_map(|member| measure::wanted(member.pid)).sum()
    };
    let (before, since) = (wanted(life), now());
    pass(life, since + MEASURED)?;
    let share = wanted(life).saturating_sub(before).as_millis() * 100 / (now() - since).as_millis().max(1);
    Ok(u32::try_from(share).unwrap_or(u32::MAX))
}

fn orphaned(bench: &mut Bench, seen: &mut Seen) -> Result<(), Cut> {
    let main = seen.http().unwrap_or(0);
    bench.set_nonblocking(true);
    let mut life = Life::start(bench, 5)?;
    let begun = life.begin()?;
    if seen.serves() {
        let answer = if begun.is_online() { Some(life.visit(main)?.1) } else { None };
        let cleared = life.bench.listeners.get(main).is_some_and(|bound| !bound.socket.nonblocking());
        seen.behind = Tried::Seen(Behind { begun: begun.clone(), answer, cleared });
    }
    seen.eof = match begun {
        Begun::Online { voice: Voice::NoticeFd, .. } => Tried::Seen(lose_srvwrap(&mut life, seen)?),
        Begun::Online { .. } => Tried::Not("it has not said a word on the notice fd"),
        Begun::Unasked(Ready::Exec | Ready::After(_) | Ready::Notify) => {
            Tried::Not("it was not asked for a word, and need not know the notice fd")
        }
        Begun::Silent { .. } | Begun::Ended { .. } | Begun::Offline { .. } => {
            Tried::Not("it was not online behind one that set O_NONBLOCK")
        }
    };
    leave(life, Purpose::Orphaned, seen);
    mend(bench, Purpose::Orphaned, seen)
}

fn lose_srvwrap(life: &mut Life<'_>, seen: &Seen) -> Result<Orphaned, Cut> {
    let limit = seen.stop_timeout.min(ORPHAN_LIMIT);
    let since = now();
    life.close_notice();
    let lives = pass(life, since + limit)?;
    Ok(Orphaned { after: (!lives).then(|| now() - since), limit, left: life.alive() })
}
