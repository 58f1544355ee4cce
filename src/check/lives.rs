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

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::sys::family::{self, Held, Member};
use crate::sys::{measure, stream};

use super::bench::Bench;
use super::connection::ANSWER_LIMIT;
use super::life::Life;
use super::points::{is_busy, time};
use super::seen::{
    Answer, Begun, Behind, ByItself, ENDED, Flagged, Holder, Idle, InFlight, Knock, NO_LISTENER, NOT_ONLINE,
    Orphaned, Purpose, Second, Seen, Tried, Voice, Words,
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
/// The first life is left alone until it has been online so long: who ends by itself is seen there.
const ALONE: Duration = Duration::from_secs(2);
/// What a worker goes on answering after it was told to finish.
const DRAIN: Duration = Duration::from_millis(500);

const NOT_SERVING: &str = "it takes no connection";
const NO_HTTP: &str = "it does not answer over HTTP/1.1";
const NO_ENDING: &str = "a shutdown does not end it anyway";
const NOT_ONLINE_AGAIN: &str = "it was not online when it was started again";
const NO_ANSWER_AGAIN: &str = "it did not answer when it was started again";

/// All of them.
pub(super) fn all(bench: &mut Bench) -> Result<Seen, Cut> {
    let mut seen = nothing(bench);
    serving(bench, &mut seen)?;
    if seen.begun.is_online() {
        in_flight(bench, &mut seen)?;
        idle(bench, &mut seen)?;
        flagged(bench, &mut seen)?;
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
        second: Tried::not(NOT_ONLINE),
        holders: Tried::not(NOT_ONLINE),
        end: Tried::not(NOT_ONLINE),
        by_itself: None,
        in_flight: Tried::not(NOT_ONLINE),
        idle: Tried::not(NOT_ONLINE),
        flagged: Tried::not(NOT_ONLINE),
        behind: Tried::not(NOT_ONLINE),
        eof: Tried::not(NOT_ONLINE),
        shut: Vec::new(),
        written: Default::default(),
    }
}

/// Why there is nothing more to be tried with connections.
fn why_no_connection(seen: &Seen) -> Option<Cow<'static, str>> {
    let because = if seen.knocks.is_empty() {
        NO_LISTENER
    } else if seen.by_itself.is_some() {
        ENDED
    } else if !seen.serves() {
        NOT_SERVING
    } else {
        return None;
    };
    Some(because.into())
}

/// Why there is nothing more to be tried with answers.
fn why_no_answer(seen: &Seen) -> Option<Cow<'static, str>> {
    why_no_connection(seen).or_else(|| match seen.first_answer() {
        Some(Answer::Whole { .. }) => None,
        Some(answer) if answer.is_late() => {
            Some(format!("GET {} was not answered within {}", seen.path, time(ANSWER_LIMIT)).into())
        }
        Some(_) | None => Some(NO_HTTP.into()),
    })
}

/// What is common to the end of all lives.
fn leave(mut life: Life<'_>, purpose: Purpose, seen: &mut Seen) {
    let Words { unknown, first, overlong, unfit } = life.words();
    let words = &mut seen.words;
    words.unknown = words.unknown.max(unknown);
    words.first = words.first.take().or(first);
    words.overlong = words.overlong.max(overlong);
    words.unfit = words.unfit.max(unfit);
    seen.written[purpose as usize] = life.written();
}

fn mend(bench: &mut Bench, purpose: Purpose, seen: &mut Seen) -> Result<(), Cut> {
    let shut = bench.mend().map_err(Cut::Refused)?;
    seen.shut.extend(shut.into_iter().map(|address| (address, purpose)));
    Ok(())
}

/// Whether nobody had asked for its end, if it has come: then no other life is made.
fn has_ended(life: &mut Life<'_>, purpose: Purpose, seen: &mut Seen) -> bool {
    seen.by_itself = seen.by_itself.or_else(|| life.by_itself(purpose));
    seen.by_itself.is_some()
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
        let holders = holders(&life);
        drop(kept);
        let online = if let Begun::Online { after, .. } = seen.begun { life.born + after } else { now() };
        pass(&mut life, online + ALONE)?;
        if has_ended(&mut life, Purpose::Serving, seen) {
            (seen.end, seen.holders) = (Tried::not(ENDED), Tried::not(ENDED));
        } else {
            seen.holders = Tried::Seen(holders);
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
    if let Some(because) = why_no_connection(seen) {
        return Ok(Tried::Not(because));
    }
    let main = seen.main();
    let first_was_answered = seen.first_answer().is_some_and(Answer::keeps);
    // One that has sent nothing, beside those that have ended.
    let first = if first_was_answered { None } else { Some(life.accepted(main)?) };
    let answer = life.visit_again(main, seen.http().is_some())?;
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
    if let Some(because) = why_no_answer(seen) {
        seen.in_flight = Tried::Not(because);
        return Ok(());
    }
    if seen.answer_time() >= seen.stop_timeout {
        seen.in_flight = Tried::Seen(InFlight::TooLong);
        return Ok(());
    }
    let mut life = Life::start(bench, 2)?;
    seen.in_flight =
        if life.begin()?.is_online() { ask_and_tell(&mut life, seen)? } else { Tried::not(NOT_ONLINE_AGAIN) };
    has_ended(&mut life, Purpose::InFlight, seen);
    leave(life, Purpose::InFlight, seen);
    mend(bench, Purpose::InFlight, seen)
}

fn ask_and_tell(life: &mut Life<'_>, seen: &Seen) -> Result<Tried<InFlight>, Cut> {
    let (main, usual) = (seen.main(), seen.answer_time());
    if matches!(seen.begun, Begun::Unasked(_)) && !life.visit(main)?.1.is_whole() {
        return Ok(Tried::not(NO_ANSWER_AGAIN));
    }
    let Ok(mut connection) = life.accepted(main)? else {
        return Ok(Tried::not("it took no connection when it was started again"));
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
    Ok(Tried::Seen(InFlight::Asked { before: is_slow.then_some(before), early, answer }))
}

fn idle(bench: &mut Bench, seen: &mut Seen) -> Result<(), Cut> {
    if let Some(because) = why_no_idle(seen) {
        seen.idle = Tried::Not(because);
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
    let mut life = Life::start(bench, 3)?;
    seen.idle =
        if life.begin()?.is_online() { follow_up(&mut life, seen)? } else { Tried::not(NOT_ONLINE_AGAIN) };
    has_ended(&mut life, Purpose::Idle, seen);
    leave(life, Purpose::Idle, seen);
    mend(bench, Purpose::Idle, seen)
}

fn why_no_idle(seen: &Seen) -> Option<Cow<'static, str>> {
    if let Some(because) = why_no_answer(seen) {
        return Some(because);
    }
    let because = if !seen.first_answer().is_some_and(Answer::keeps) {
        "it keeps no connection alive: each ends with its answer"
    } else if !seen.second.seen().is_some_and(|second| second.answer.is_whole()) {
        "it serves one connection at a time"
    } else if seen.end.seen().is_none_or(|end| !end.killed.is_empty()) {
        NO_ENDING
    } else if DRAIN + seen.answer_time() >= seen.stop_timeout {
        let (limit, answer) = (time(seen.stop_timeout), time(seen.answer_time()));
        let because = format!(
            "--stop-timeout {limit} is too short for half a second of drain and an answer of {answer}"
        );
        return Some(because.into());
    } else {
        return None;
    };
    Some(because.into())
}

/// One connection stays idle until the end, and one has never asked; on the others a request follows.
fn follow_up(life: &mut Life<'_>, seen: &Seen) -> Result<Tried<Idle>, Cut> {
    let mut connections = Vec::new();
    for _ in 0..=DRAINED_AT.len() {
        match life.visit(seen.main())? {
            (Some(connection), answer) if answer.keeps() => connections.push(connection),
            _ => return Ok(Tried::not(NO_ANSWER_AGAIN)),
        }
    }
    let unasked = life.accepted(seen.main())?;
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
    let end = life.end(seen.stop_timeout)?;
    drop((connections, unasked));
    Ok(Tried::Seen(Idle { drained, end }))
}

fn flagged(bench: &mut Bench, seen: &mut Seen) -> Result<(), Cut> {
    if let Some(because) = why_no_connection(seen) {
        seen.flagged = Tried::Not(because);
        return Ok(());
    }
    let mut life = Life::start(bench, 4)?;
    let serves = life.begin()?.is_online() && seen.is_served(&visit(&mut life, seen)?);
    let usual_load = load(&mut life)?;
    seen.flagged = if has_ended(&mut life, Purpose::Flagged, seen) {
        Tried::not(ENDED)
    } else if serves {
        // What it does from here on is due to the flag.
        Tried::Seen(set_flag(&mut life, usual_load, seen)?)
    } else {
        Tried::not("it did not serve when it was started again")
    };
    leave(life, Purpose::Flagged, seen);
    mend(bench, Purpose::Flagged, seen)
}

fn visit(life: &mut Life<'_>, seen: &Seen) -> Result<Answer, Cut> {
    life.visit_again(seen.main(), seen.http().is_some())
}

fn set_flag(life: &mut Life<'_>, usual_load: u32, seen: &Seen) -> Result<Flagged, Cut> {
    let bound = &life.bench.listeners[seen.main()];
    let by_itself = bound.socket.nonblocking();
    life.bench.set_nonblocking(true);
    let mut answers = Vec::new();
    // The first may find it in an accept that waits; the second is after one that need not.
    for _ in 0..2 {
        answers.push(visit(life, seen)?);
    }
    let mut load = load(life)?;
    if is_busy(usual_load, load) {
        load = load.min(self::load(life)?);
    }
    let mut taken = 0;
    while taken < TAKEN && answers.iter().all(|answer| seen.is_served(answer)) {
        let _client = life.connect(seen.main());
        // It may have been faster.
        let _ = stream::accept(&bound.socket);
        taken += 1;
        life.turn(now() + Duration::from_millis(2), None)?;
    }
    answers.push(visit(life, seen)?);
    Ok(Flagged { by_itself, answers, taken, usual_load, load, ended: life.ended() })
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
    if seen.by_itself.is_some() {
        (seen.behind, seen.eof) = (Tried::not(ENDED), Tried::not(ENDED));
        return Ok(());
    }
    let why_not_behind = why_no_connection(seen);
    bench.set_nonblocking(true);
    let mut life = Life::start(bench, 5)?;
    let begun = life.begin()?;
    if let Some(because) = why_not_behind {
        seen.behind = Tried::Not(because);
        seen.eof = lose_srvwrap(&mut life, &begun, seen)?;
        has_ended(&mut life, Purpose::Orphaned, seen);
    } else {
        let behind = behind(&mut life, begun.clone(), seen)?;
        seen.eof = if behind.begun.is_online() {
            lose_srvwrap(&mut life, &begun, seen)?
        } else {
            Tried::not(
                "it starts with O_NONBLOCK set in this life, and was not online, or has ended (see nonblocking)",
            )
        };
        seen.behind = Tried::Seen(behind);
    }
    leave(life, Purpose::Orphaned, seen);
    mend(bench, Purpose::Orphaned, seen)
}

fn behind(life: &mut Life<'_>, begun: Begun, seen: &Seen) -> Result<Behind, Cut> {
    let answer = if begun.is_online() { Some(visit(life, seen)?) } else { None };
    let cleared = !life.bench.listeners[seen.main()].socket.nonblocking();
    // Who cannot bear it may have its answer behind it.
    pass(life, now() + MEASURED)?;
    let ended = life.by_itself(Purpose::Orphaned);
    let begun = ended.map_or(begun, |ByItself { after, how, .. }| Begun::Ended { after, how });
    Ok(Behind { begun, answer, cleared })
}

fn lose_srvwrap(life: &mut Life<'_>, begun: &Begun, seen: &Seen) -> Result<Tried<Orphaned>, Cut> {
    match begun {
        Begun::Online { voice: Voice::NoticeFd, .. } => {}
        Begun::Online { .. } => return Ok(Tried::not("it has not said a word on the notice fd")),
        Begun::Unasked(_) => {
            return Ok(Tried::not("it was not asked for a word, and need not know the notice fd"));
        }
        Begun::Silent { .. } | Begun::Ended { .. } | Begun::Offline { .. } => {
            return Ok(Tried::not(NOT_ONLINE_AGAIN));
        }
    }
    let limit = seen.stop_timeout.min(ORPHAN_LIMIT);
    let since = now();
    life.close_notice();
    let lives = pass(life, since + limit)?;
    let after = (!lives).then(|| now() - since);
    Ok(Tried::Seen(Orphaned { after, limit, left: life.alive() }))
}
