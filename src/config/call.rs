//! What a command to a running srvwrap asks for: [`Call`].
//!
//! What this module does not do: talk to it, or know what it answers.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::cli::{Given, Options, Typed, UsageError, Verb};
use crate::environment::{is_caller_s_own, is_reserved};
use crate::signal_names::signal_number;
use crate::wire::control::message::{Deploy, Order, Scale, Signal, Stop};
use crate::wire::control::text::Text;

use super::{
    Act, Call, Display, MOST_WORKERS, Surroundings, absolute, control_path, count, display, duration,
    duration_above_zero,
};

impl Call {
    /// For every command but `run` and `start`.
    pub(crate) fn from_typed(typed: Typed, surroundings: &Surroundings) -> Result<Call, UsageError> {
        let Typed { verb, options, mut words, program } = typed;
        let own_word = match verb {
            Verb::Scale | Verb::Signal if words.is_empty() => return Err(UsageError::WordMissing { verb }),
            Verb::Scale | Verb::Signal => words.remove(0),
            Verb::Run | Verb::Start | Verb::Deploy | Verb::Abort | Verb::Rollback => OsString::new(),
            Verb::History | Verb::Stop | Verb::Status | Verb::Events => OsString::new(),
        };
        let socket = socket(verb, &options, &words, surroundings)?;
        let display = display(&options)?;
        let act = match verb {
            Verb::Deploy | Verb::Run | Verb::Start => {
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
) -> Result<std::path::PathBuf, UsageError> {
    let Some((word, more)) = words.split_first() else {
        return Ok(control_path(options.socket.as_ref(), surroundings).path);
    };
    let is_socket = surroundings.last_word_is_socket || word.as_bytes().ends_with(b".sock");
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
    let workers = options.workers.as_ref().map(|given| count(Some(given), surroundings)).transpose()?;
    let timeout = options.timeout.as_ref().map(duration).transpose()?;
    Ok(Deploy {
        workers,
        // naught's has no limit with 0.
        timeout: timeout.filter(|timeout| !timeout.is_zero()),
        online_timeout: options.online_timeout.typed().map(duration_above_zero).transpose()?,
        bake: options.bake.typed().map(duration).transpose()?,
        surge: options.surge.as_ref().map(|given| number(given, 1, MOST_WORKERS)).transpose()?,
        wait: !options.no_wait,
        if_generation: options.if_generation.as_ref().map(|given| number(given, 1, u32::MAX)).transpose()?,
        ..Deploy::default()
    })
}

/// The caller's variables first, then what is set and unset one by one.
fn environment(
    options: &Options,
    surroundings: &Surroundings,
) -> Result<Vec<(Text, Option<Text>)>, UsageError> {
    let mut environment = Vec::new();
    let overrides = options.override_env.as_ref().map(truth).transpose()?;
    if options.inherit_env || overrides == Some(true) {
        let others = surroundings.environment.iter();
        let others = others.filter(|(name, _)| !is_reserved(name) && !is_caller_s_own(name));
        environment.extend(others.map(|(name, value)| (Text(name.clone()), Some(Text(value.clone())))));
    }
    for given in &options.env {
        let (name, value) = super::variable(given)?;
        environment.push((Text(name), Some(Text(value))));
    }
    for given in &options.unset {
        let name = given.value.clone();
        if name.as_bytes().contains(&b'=') {
            return Err(given.refused("a name holds no ="));
        }
        super::refuse_reserved(given, &name)?;
        environment.push((Text(name), None));
    }
    Ok(environment)
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
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) || !(signed || unsigned) {
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
    let slot = options.slot.as_ref().map(|given| number(given, 0, MOST_WORKERS - 1)).transpose()?;
    Ok(Signal { signal, slot })
}

fn stop(options: &Options) -> Result<Stop, UsageError> {
    let timeout = options.timeout.as_ref().map(duration).transpose()?;
    match &options.timeout {
        Some(given) if options.now => Err(given.refused_with("--now gives no time at all; give one of them")),
        Some(_) | None => Ok(Stop { timeout, now: options.now }),
    }
}

fn watch(options: &Options, display: Display) -> Result<Option<Duration>, UsageError> {
    let interval = duration_above_zero(&options.interval)?;
    match options.interval.typed() {
        Some(given) if !options.watch => Err(given.refused_with("how often what? give --watch as well")),
        Some(_) | None => Ok(options.watch.then_some(interval).filter(|_| display != Display::Quiet)),
    }
}

fn number(given: &Given, least: u32, most: u32) -> Result<u32, UsageError> {
    let text = given.text();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (least..=most).contains(number));
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
mod tests {
    use super::*;
    use crate::cli::{self, Command};
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    fn surroundings() -> Surroundings {
        let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        Surroundings {
            environment: vec![
                variable("LANG", "C"),
                variable("PWD", "/home"),
                variable("NOTIFY_FD", "7"),
                variable("LISTEN_FD_3", "9"),
                variable("SHLVL", "2"),
            ],
            ..super::super::tests::surroundings()
        }
    }

    fn call_in(line: &[&str], surroundings: &Surroundings) -> Result<Call, String> {
        let args: Vec<OsString> = line.iter().map(OsString::from).collect();
        match cli::parse(&args) {
            Ok(Command::Typed(typed)) => {
                Call::from_typed(*typed, surroundings).map_err(|error| error.to_string())
            }
            Ok(other) => panic!("{line:?} gives {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn order(line: &[&str]) -> Order {
        match call_in(line, &surroundings()) {
            Ok(Call { act: Act::Order(order), .. }) => order,
            other => panic!("{line:?} gives {other:?}"),
        }
    }

    fn deploy_of(line: &[&str]) -> Deploy {
        let Order::Deploy(deploy) = order(line) else { panic!("{line:?} is no deploy") };
        deploy
    }

    fn error(line: &[&str]) -> String {
        call_in(line, &surroundings()).expect_err("a line that is refused")
    }

    #[test]
    fn a_deploy_alone_changes_nothing_and_waits() {
        assert_eq!(deploy_of(&["deploy"]), Deploy::default());
    }

    #[test]
    fn each_option_of_a_deploy_reaches_its_place() {
        let line = "deploy -n 3 --cwd ../app --timeout 90 --online-timeout 2m --bake 5s --surge 2 --no-wait \
                    --if-generation 7 --unset OLD --env A=b=c -- node server.js --flag";
        let expected = Deploy {
            program: Some(vec!["node".into(), "server.js".into(), "--flag".into()]),
            directory: Some("/srv/../app".into()),
            environment: vec![("A".into(), Some("b=c".into())), ("OLD".into(), None)],
            workers: Some(3),
            timeout: Some(Duration::from_secs(90)),
            online_timeout: Some(Duration::from_secs(120)),
            bake: Some(Duration::from_secs(5)),
            surge: Some(2),
            wait: false,
            if_generation: Some(7),
        };
        assert_eq!(deploy_of(&line.split_whitespace().collect::<Vec<_>>()), expected);
    }

    #[test]
    fn the_callers_variables_are_laid_over_but_for_what_is_its_own_or_srvwraps() {
        for line in [["deploy", "--inherit-env"].as_slice(), &["deploy", "--override-env", "true"]] {
            assert_eq!(deploy_of(line).environment, [("LANG".into(), Some("C".into()))]);
        }
        assert_eq!(deploy_of(&["deploy", "--override-env=false"]).environment, []);
        let both = deploy_of(&["deploy", "--inherit-env", "--env", "LANG=de"]).environment;
        assert_eq!(both.last().unwrap(), &("LANG".into(), Some("de".into())));
    }

    #[test]
    fn the_socket_is_the_one_that_is_named_first() {
        let socket = |line: &[&str], surroundings: &Surroundings| call_in(line, surroundings).unwrap().socket;
        let plain = surroundings();
        assert_eq!(socket(&["status"], &plain), PathBuf::from("/srv/srvwrap.sock"));
        let named = Surroundings { srvwrap_socket: Some("x/y.sock".into()), ..surroundings() };
        assert_eq!(socket(&["status"], &named), PathBuf::from("/srv/x/y.sock"));
        assert_eq!(socket(&["status", "/a.sock"], &named), PathBuf::from("/a.sock"));
        assert_eq!(socket(&["status", "--socket", "/a"], &named), PathBuf::from("/a"));
        assert_eq!(socket(&["deploy", "--ipc-file=b", "-n", "2"], &named), PathBuf::from("/srv/b"));
        assert_eq!(socket(&["scale", "3", "c.sock", "--json"], &plain), PathBuf::from("/srv/c.sock"));
        let there = Surroundings { last_word_is_socket: true, ..surroundings() };
        assert_eq!(socket(&["stop", "naught.ipc"], &there), PathBuf::from("/srv/naught.ipc"));
        let empty = Surroundings { srvwrap_socket: Some("".into()), ..surroundings() };
        assert_eq!(socket(&["status"], &empty), PathBuf::from("/srv/srvwrap.sock"));
    }

    #[test]
    fn a_scale_is_a_number_or_a_difference() {
        assert_eq!(order(&["scale", "8"]), Order::Scale(Scale::To(8)));
        assert_eq!(order(&["scale", "+2"]), Order::Scale(Scale::By(2)));
        assert_eq!(order(&["scale", "-1"]), Order::Scale(Scale::By(-1)));
        for word in ["", "x", "0", "1.5", "--1", "+", "-0", "+0", "65536", "99999999999"] {
            assert!(error(&["scale", "--", word]).contains("takes no program"), "{word}");
            let text = error(&["scale", word]);
            assert!(text.contains("scale") || text.contains("no such option"), "{word}: {text}");
        }
        assert!(error(&["scale"]).contains("srvwrap scale [OPTIONS] N|+K|-K"));
    }

    #[test]
    fn a_stop_and_a_signal_have_their_options() {
        let stop = |timeout, now| Order::Stop(Stop { timeout, now });
        assert_eq!(order(&["stop"]), stop(None, false));
        assert_eq!(order(&["stop", "--timeout", "0"]), stop(Some(Duration::ZERO), false));
        assert_eq!(order(&["stop", "--now"]), stop(None, true));
        assert!(error(&["stop", "--now", "--timeout", "3"]).contains("give one of them"));
        let signal = Signal { signal: "USR2".into(), slot: Some(0) };
        assert_eq!(order(&["signal", "USR2", "--slot", "0"]), Order::Signal(signal));
        assert!(error(&["signal", "NOPE"]).starts_with("NOPE: no such signal"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_remedy() {
        for (line, words) in [
            (["deploy", "server.js"].as_slice(), "srvwrap deploy -- PROGRAM"),
            (&["deploy", "a.sock", "b.sock"], "b.sock"),
            (&["stop", "myapp"], "srvwrap stop [OPTIONS] [SOCKET]"),
            (&["stop", "--socket", "x", "y.sock"], "give one of them"),
            (&["deploy", "--env", "A"], "give NAME=VALUE"),
            (&["deploy", "--env", "=x"], "give NAME=VALUE"),
            (&["deploy", "--env", "NOTIFY_FD=3"], "set by srvwrap"),
            (&["deploy", "--unset", "A=b"], "a name holds no ="),
            (&["deploy", "--surge", "0"], "give a number from 1"),
            (&["deploy", "--surge", "-1"], "give a number from 1"),
            (&["deploy", "--if-generation", "x"], "give the number of a generation"),
            (&["deploy", "--timeout", "never"], "give a duration"),
            (&["deploy", "--online-timeout", "0"], "give a duration"),
            (&["deploy", "-n", "0"], "at least one worker"),
            (&["deploy", "--quiet", "--json"], "give one of them"),
            (&["deploy", "--override-env", "yes"], "give true or false"),
            (&["deploy", "--", ""], "a program has a name"),
            (&["deploy", "--now"], "is one of stop"),
            (&["status", "--interval", "1s"], "give --watch"),
            (&["rollback", "--", "node"], "srvwrap deploy -- PROGRAM"),
            (&["status", "-n", "3"], "no such option"),
        ] {
            let text = error(line);
            assert!(text.contains(words) && !text.contains('\n'), "{line:?}: {text}");
        }
    }

    #[test]
    fn naughts_command_lines_are_understood() {
        assert_eq!(order(&["deploy-abort", "naught.sock"]), Order::Abort);
        assert_eq!(deploy_of(&["deploy", "--worker-count", "2"]).workers, Some(2));
        assert_eq!(deploy_of(&["deploy", "--timeout", "0"]).timeout, None);
    }

    #[test]
    fn values_are_byte_exact() {
        let bytes = OsString::from_vec(b"A=\xff%\n=".to_vec());
        let args = [OsString::from("deploy"), "--env".into(), bytes];
        let Ok(Command::Typed(typed)) = cli::parse(&args) else { panic!("it is a command") };
        let call = Call::from_typed(*typed, &surroundings()).unwrap();
        let Act::Order(Order::Deploy(deploy)) = call.act else { panic!("it is a deploy") };
        assert_eq!(deploy.environment[0].1, Some(Text(OsString::from_vec(b"\xff%\n=".to_vec()))));
    }
}
