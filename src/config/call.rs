//! What a command to a running srvwrap asks for: [`Call`].
//!
//! What this module does not do: talk to it, or know what it answers.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{Given, Options, Typed, UsageError, Verb, looks_like_a_socket};
use crate::environment::{is_about_the_caller, is_reserved};
use crate::signal_names::signal_number;
use crate::wire::control::message::{Deploy, Order, Scale, Signal, Stop};
use crate::wire::control::text::Text;

use super::{
    Act, Call, Display, LinesWanted, LogStream, MOST_WORKERS, Surroundings, absolute, all_digits, count,
    display, duration, duration_above_zero, files, variables,
};

impl Call {
    /// For every command but those that run a program.
    pub(crate) fn from_typed(typed: Typed, surroundings: &Surroundings) -> Result<Call, UsageError> {
        let Typed { verb, options, mut words, program } = typed;
        let has_own_word = matches!(verb, Verb::Scale | Verb::Signal);
        if has_own_word && words.is_empty() {
            return Err(UsageError::WordMissing { verb });
        }
        let own_word = if has_own_word { words.remove(0) } else { OsString::new() };
        let socket = socket(verb, &options, &words, surroundings)?;
        let display = display(&options)?;
        let act = match verb {
            Verb::Deploy | Verb::Run | Verb::Start | Verb::Check => {
                Act::Order(Order::Deploy(deploy(&options, program, surroundings)?))
            }
            Verb::Rollback => Act::Order(Order::Rollback(terms(&options, surroundings)?)),
            Verb::Abort => Act::Order(Order::Abort),
            Verb::Scale => Act::Order(Order::Scale(scale(&own_word)?)),
            Verb::Signal => Act::Order(Order::Signal(signal(&own_word, &options)?)),
            Verb::Stop => Act::Order(Order::Stop(stop(&options)?)),
            Verb::Status => Act::Status { watch: watch(&options, display)? },
            Verb::History => Act::History,
            Verb::Events => Act::Events,
            Verb::Reopen => Act::Order(Order::Reopen),
            Verb::Logs => Act::Logs(lines_wanted(&options, surroundings)?),
        };
        Ok(Call { socket, display, act })
    }
}

/// The one word that may be left is the path of the socket, as naught has it.
fn socket(
    verb: Verb,
    options: &Options,
    words: &[OsString],
    surroundings: &Surroundings,
) -> Result<PathBuf, UsageError> {
    let Some((word, more)) = words.split_first() else {
        return files::control(options.socket.as_ref(), surroundings).map(|control| control.path);
    };
    let is_socket = surroundings.last_word_is_socket || looks_like_a_socket(word);
    if let Some(unwanted) = more.first().or(Some(word).filter(|_| !is_socket)) {
        return Err(UsageError::WordUnwanted { verb, word: unwanted.clone() });
    }
    match &options.socket {
        Some(given) => Err(given.refused_with("there are two sockets; give one of them")),
        None => Ok(absolute(word, surroundings)),
    }
}

fn deploy(
    options: &Options,
    program: Vec<OsString>,
    surroundings: &Surroundings,
) -> Result<Deploy, UsageError> {
    let first_is_empty = program.first().is_some_and(|first| first.is_empty());
    if first_is_empty {
        let because = "a program has a name; give it, as in: srvwrap deploy -- node server.js".to_string();
        return Err(UsageError::BadWord { word: OsString::new(), because });
    }
    let words = || program.into_iter().map(Text).collect::<Vec<_>>();
    Ok(Deploy {
        directory: options.cwd.as_ref().map(|given| Text(absolute(&given.value, surroundings).into())),
        environment: environment(options, surroundings)?,
        program: Some(words()).filter(|words| !words.is_empty()),
        ..terms(options, surroundings)?
    })
}

/// What is the same for a deploy and a rollback.
fn terms(options: &Options, surroundings: &Surroundings) -> Result<Deploy, UsageError> {
    // naught says 0 for as many as there are.
    let as_they_are = |given: &&Given| given.is_named("--worker-count") && given.text() == "0";
    let workers = options.workers.as_ref().filter(|given| !as_they_are(given));
    // naught has no limit with 0.
    let timeout = limit(options.timeout.as_ref())?.filter(|timeout| !timeout.is_zero());
    let bake = options.bake.typed();
    let deploy = Deploy {
        workers: workers.map(|given| count(Some(given), surroundings)).transpose()?,
        timeout,
        online_timeout: options.online_timeout.typed().map(duration_above_zero).transpose()?.map(whole),
        bake: bake.map(duration).transpose()?.map(whole),
        surge: options.surge.as_ref().map(|given| number(given, 1, MOST_WORKERS)).transpose()?,
        wait: !options.no_wait,
        if_generation: options.if_generation.as_ref().map(|given| number(given, 1, u32::MAX)).transpose()?,
        ..Deploy::default()
    };
    match (bake, &options.timeout) {
        (Some(bake), Some(limit)) if timeout.is_some() && deploy.bake >= timeout => {
            Err(bake.refused_with(format!("no deploy would be done within {limit}; give a shorter one")))
        }
        (Some(_) | None, _) => Ok(deploy),
    }
}

/// A time for the whole, of which naught says `none` where there is none.
fn limit(given: Option<&Given>) -> Result<Option<Duration>, UsageError> {
    given.filter(|given| given.text() != "none").map(|given| duration(given).map(whole)).transpose()
}

/// The API counts in milliseconds, and a part of one is not the same as none.
pub(super) fn whole(duration: Duration) -> Duration {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

/// The caller's variables first, then what is set and unset one by one; no name twice.
fn environment(
    options: &Options,
    surroundings: &Surroundings,
) -> Result<Vec<(Text, Option<Text>)>, UsageError> {
    let overrides = options.override_env.as_ref().map(truth).transpose()?;
    if options.inherit_env && overrides == Some(false) {
        let because = "--override-env false says the opposite; give one of them".to_string();
        return Err(UsageError::BadWord { word: "--inherit-env".into(), because });
    }
    let set = variables::set(&options.env)?;
    let unset = variables::unset(&options.unset, &set)?;
    let mut taken: BTreeSet<&OsString> = set.iter().map(|(name, _)| name).chain(&unset).collect();
    let mut environment = Vec::new();
    if options.inherit_env || overrides == Some(true) {
        let others = surroundings.environment.iter();
        let others = others.filter(|(name, _)| !is_reserved(name) && !is_about_the_caller(name));
        environment.extend(others.filter(|(name, _)| taken.insert(name)).cloned());
    }
    let pair = |(name, value): &(OsString, OsString)| (Text(name.clone()), Some(Text(value.clone())));
    let gone = unset.iter().map(|name| (Text(name.clone()), None));
    Ok(environment.iter().chain(&set).map(pair).chain(gone).collect())
}

fn scale(word: &OsStr) -> Result<Scale, UsageError> {
    let text = word.to_str().unwrap_or_default();
    let digits = text.trim_start_matches(['+', '-']);
    let (signed, unsigned) = (digits.len() + 1 == text.len(), digits.len() == text.len());
    let wrong = |because: &str| {
        let because =
            format!("{because}; give a number from 1 to {MOST_WORKERS}, +K or -K, as in: srvwrap scale +2");
        UsageError::BadWord { word: word.to_os_string(), because }
    };
    if !all_digits(digits) || !(signed || unsigned) {
        return Err(wrong("not a number of workers"));
    }
    match (signed, text.parse::<i32>()) {
        (false, Ok(0)) => Err(wrong("at least one worker is needed")),
        (_, Err(_)) => Err(wrong("too many workers")),
        (_, Ok(count)) if count.unsigned_abs() > MOST_WORKERS => Err(wrong("too many workers")),
        (true, Ok(0)) => Err(wrong("that changes nothing")),
        (true, Ok(more)) => Ok(Scale::By(more)),
        (false, Ok(count)) => Ok(Scale::To(count.unsigned_abs())),
    }
}

fn signal(word: &OsStr, options: &Options) -> Result<Signal, UsageError> {
    let signal = word.to_str().unwrap_or_default().to_string();
    if signal_number(&signal).is_none() {
        let because =
            "no such signal; give TERM, USR1, USR2, WINCH or another name, or a number from 1 to 64";
        return Err(UsageError::BadWord { word: word.to_os_string(), because: because.to_string() });
    }
    Ok(Signal { signal, slot: slot(options)? })
}

fn stop(options: &Options) -> Result<Stop, UsageError> {
    let timeout = limit(options.timeout.as_ref())?;
    match &options.timeout {
        Some(given) if options.now => Err(given.refused_with("--now gives no time at all; give one of them")),
        Some(_) | None => Ok(Stop { timeout, now: options.now }),
    }
}

fn lines_wanted(options: &Options, surroundings: &Surroundings) -> Result<LinesWanted, UsageError> {
    let lines = match options.lines.text() {
        "all" => usize::MAX,
        _ => number(&options.lines, 0, u32::MAX)? as usize,
    };
    let stream = options.stream.as_ref().map(|given| match given.text() {
        "stdout" => Ok(LogStream::Stdout),
        "stderr" => Ok(LogStream::Stderr),
        "notices" => Ok(LogStream::Notices),
        _ => Err(given.refused("there is no such stream")),
    });
    let (stream, slot) = (stream.transpose()?, slot(options)?);
    match &options.stream {
        Some(given) if slot.is_some() && stream == Some(LogStream::Notices) => {
            Err(given.refused_with("notices are of no slot; leave --slot out"))
        }
        Some(_) | None => {
            let directory = surroundings.directory.clone();
            Ok(LinesWanted { follow: options.follow, lines, slot, stream, directory })
        }
    }
}

fn slot(options: &Options) -> Result<Option<u32>, UsageError> {
    options.slot.as_ref().map(|given| number(given, 0, MOST_WORKERS - 1)).transpose()
}

fn watch(options: &Options, display: Display) -> Result<Option<Duration>, UsageError> {
    let interval = duration(&options.interval)?;
    if interval.is_zero() {
        return Err(options.interval.refused("nobody reads so fast"));
    }
    match options.interval.typed() {
        Some(given) if !options.watch => Err(given.refused_with("how often what? give --watch as well")),
        Some(_) | None => Ok(options.watch.then_some(interval).filter(|_| display != Display::Quiet)),
    }
}

pub(super) fn number(given: &Given, least: u32, most: u32) -> Result<u32, UsageError> {
    let text = given.text();
    let number = text.parse().ok().filter(|number| all_digits(text) && (least..=most).contains(number));
    number.ok_or_else(|| given.refused("no such number"))
}

/// naught's switches have a value.
pub(super) fn truth(given: &Given) -> Result<bool, UsageError> {
    match given.text() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(given.refused("neither true nor false")),
    }
}

#[cfg(test)]
mod tests;
