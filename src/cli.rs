//! What the user typed: words in, a [`Command`] or a [`UsageError`] out.
//!
//! ```text
//!   run  -n4 --listen=8000  --  node server.js --inspect
//!   ─┬─  ────────┬────────  ─┬  ───────────┬────────────
//! command     options      ends them     the program's part, byte for byte
//! ```
//!
//! A command is the very first word. The options end at `--` or at the first word that is not one, and all that
//! follows belongs to the program. Only the options go to argh, each in the one form that it knows, and written so
//! that bytes which are not UTF-8 survive it.
//!
//! What this module does not do: read the environment, print, or look at an option's value. `config.rs` says what
//! the values mean.

mod options;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::iter::Peekable;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::slice;

use argh::FromArgs;

pub(crate) use options::OptionRow;
use options::{OPTIONS, option_named};

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run(Box<Typed>),
    /// Print this text.
    Help(String),
    Version,
}

/// What was typed after `run`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) options: Options,
    /// The program and its arguments; at least one word, which may be empty.
    pub(crate) program: Vec<OsString>,
}

/// a value for each option, its default where it was not given
#[derive(Debug, PartialEq, Eq, FromArgs)]
pub(crate) struct Options {
    /// none means the environment's
    #[argh(option, from_str_fn(decoded))]
    pub(crate) workers: Option<Given>,
    /// in the order of the command line
    #[argh(option, from_str_fn(decoded))]
    pub(crate) listen: Vec<Given>,
    /// when a worker counts as online
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--ready\")")]
    pub(crate) ready: Given,
    /// how long it may take until then
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--online-timeout\")")]
    pub(crate) online_timeout: Given,
    /// how long it may take to stop
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--stop-timeout\")")]
    pub(crate) stop_timeout: Given,
    /// the signal that tells it to
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--stop-signal\")")]
    pub(crate) stop_signal: Given,
    /// whether that goes to its first process alone
    #[argh(switch)]
    pub(crate) stop_leader_only: bool,
    /// what its unasked end leads to
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--on-crash\")")]
    pub(crate) on_crash: Given,
    /// how long both generations of a deploy serve
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--bake\")")]
    pub(crate) bake: Given,
    /// what it reads as its standard input
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--stdin\")")]
    pub(crate) stdin: Given,
    /// whether it gets NODE_CHANNEL_FD in any case
    #[argh(switch)]
    pub(crate) node_channel: bool,
}

/// A value, and the name under which it was given, so that an error can repeat both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) row: &'static OptionRow,
    /// As it was typed, `-n` or `--workers`; or the name of an environment variable.
    name: String,
    pub(crate) value: OsString,
}

impl Given {
    /// What stands in for `option`, from the environment.
    pub(crate) fn from_environment(option: &str, variable: &str, value: OsString) -> Given {
        Given { row: row_of(option), name: variable.to_string(), value }
    }

    /// The value, or an empty text where it is not UTF-8: no option that wants a text takes either.
    pub(crate) fn text(&self) -> &str {
        self.value.to_str().unwrap_or_default()
    }

    /// The error that names option, value, problem and the option's usual remedy.
    pub(crate) fn refused(&self, problem: impl fmt::Display) -> UsageError {
        self.refused_with(format!("{problem}; give {}", self.row.remedy))
    }

    /// The error that names option and value. `because` is problem and remedy.
    pub(crate) fn refused_with(&self, because: impl fmt::Display) -> UsageError {
        UsageError::BadValue { given: self.clone(), because: because.to_string() }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joint = if self.name.starts_with('-') { ' ' } else { '=' };
        write!(f, "{}{joint}{}", self.name, shown(&self.value))
    }
}

/// Commands that later versions have: a program of such a name is not run by accident in this one.
const FUTURE_COMMANDS: [&str; 15] = [
    "start", "deploy", "abort", "rollback", "history", "scale", "stop", "status", "events", "logs", "signal",
    "reopen", "pause", "resume", "check",
];

/// Understands a command line, without its first word (srvwrap's own name).
pub(crate) fn parse(args: &[OsString]) -> Result<Command, UsageError> {
    match args.split_first() {
        Some((first, rest)) if first == "run" => parse_run(rest, true),
        Some((first, _)) if is_future_command(first) => {
            Err(UsageError::FutureCommand { name: first.clone() })
        }
        Some(_) | None => parse_run(args, false),
    }
}

/// `named`: whether the word `run` was there, after which a command's name is a program's.
fn parse_run(args: &[OsString], named: bool) -> Result<Command, UsageError> {
    let mut words = args.iter().peekable();
    let (options, end) = match split_options(&mut words)? {
        Split::Options { options, end } => (options, end),
        Split::Asked(command) => return Ok(command),
    };
    let program: Vec<OsString> = words.cloned().collect();
    let Some(first) = program.first() else { return Err(UsageError::NoProgram) };
    if end == End::Word && !named && (first == "run" || is_future_command(first)) {
        let options = args[..args.len() - program.len()].to_vec();
        return Err(UsageError::CommandAfterOptions { options, name: first.clone() });
    }
    Ok(Command::Run(Box::new(Typed { options: by_argh(&options), program })))
}

fn is_future_command(word: &OsStr) -> bool {
    FUTURE_COMMANDS.iter().any(|name| word == *name)
}

type Words<'a> = Peekable<slice::Iter<'a, OsString>>;

/// What stands before the program.
enum Split {
    Options {
        options: Vec<Given>,
        end: End,
    },
    /// An option that is a question of its own: help, version.
    Asked(Command),
}

/// What the options ended at.
#[derive(PartialEq, Eq)]
enum End {
    Dashes,
    Word,
}

/// Takes the options off the front. A lone `-` is not one.
fn split_options(words: &mut Words<'_>) -> Result<Split, UsageError> {
    let mut options: Vec<Given> = Vec::new();
    let mut names = BTreeSet::new();
    while let Some(word) = words.next_if(|word| word.len() > 1 && word.as_bytes().starts_with(b"-")) {
        if word == "--" {
            return Ok(Split::Options { options, end: End::Dashes });
        }
        let given = next_option(word, words)?;
        match given.row.long {
            "--help" => return Ok(Split::Asked(Command::Help(options::help()))),
            "--version" => return Ok(Split::Asked(Command::Version)),
            long if !names.insert(long) && !given.row.repeatable => {
                return Err(UsageError::GivenTwice { name: given.name });
            }
            _ => options.push(given),
        }
    }
    Ok(Split::Options { options, end: End::Word })
}

/// One option with its value, from the same word or from the next. A switch has an empty value.
fn next_option(word: &OsStr, words: &mut Words<'_>) -> Result<Given, UsageError> {
    let (name, attached) = name_and_attached(word.as_bytes());
    let Some(row) = option_named(name) else {
        return Err(UsageError::UnknownOption { word: word.to_os_string(), nearest: nearest_option(word) });
    };
    let name = String::from_utf8_lossy(name).into_owned();
    if row.value.is_none() {
        return match attached {
            None => Ok(Given { row, name, value: OsString::new() }),
            Some(_) => Err(UsageError::ValueUnwanted { word: word.to_os_string(), row }),
        };
    }
    let value = match attached {
        Some(value) => Some(OsString::from_vec(value.to_vec())),
        // A value that is an option's name is more likely a value forgotten.
        None => words.next_if(|word| *word != "--" && !begins_an_option(word)).cloned(),
    };
    match value {
        Some(value) if !value.is_empty() => Ok(Given { row, name, value }),
        _ => Err(UsageError::ValueMissing { name, row }),
    }
}

fn begins_an_option(word: &OsStr) -> bool {
    let (name, _) = name_and_attached(word.as_bytes());
    option_named(name).is_some()
}

/// Splits `--name=value`, `-nvalue` and `-n=value`.
fn name_and_attached(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    if word.starts_with(b"--") {
        return match word.iter().position(|byte| *byte == b'=') {
            Some(place) => (&word[..place], Some(&word[place + 1..])),
            None => (word, None),
        };
    }
    match word.split_at_checked(2) {
        Some((name, attached)) if !attached.is_empty() => {
            (name, Some(attached.strip_prefix(b"=").unwrap_or(attached)))
        }
        _ => (word, None),
    }
}

/// The option that `word` may have been meant as: one that begins so, or is two letters off at most.
fn nearest_option(word: &OsStr) -> Option<&'static str> {
    let typed = word.as_bytes().split(|byte| *byte == b'=').next()?;
    let typed = &typed[typed.iter().take_while(|byte| **byte == b'-').count()..];
    if typed.len() < 3 {
        return None;
    }
    let distance = |row: &OptionRow| match row.long.as_bytes()[2..].starts_with(typed) {
        true => 0,
        false => edit_distance(typed, &row.long.as_bytes()[2..]),
    };
    OPTIONS.iter().min_by_key(|row| distance(row)).filter(|row| distance(row) <= 2).map(|row| row.long)
}

/// How many bytes to insert, drop or change to make one of the other.
fn edit_distance(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (row_number, from_byte) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = row_number + 1;
        for (column, to_byte) in to.iter().enumerate() {
            let changed = diagonal + usize::from(from_byte != to_byte);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

/// Has argh put the options, which are known, complete and not repeated, into their fields.
fn by_argh(options: &[Given]) -> Options {
    let mut words: Vec<String> = Vec::new();
    for given in options {
        words.push(given.row.long.to_string());
        if given.row.value.is_some() {
            words.push(encoded(given));
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Options::from_args(&["srvwrap"], &words)
        .expect("every row of the table is a field, given as argh wants it")
}

/// A name and a value as one text for argh, which takes only UTF-8: each byte of the value becomes the character of
/// that number.
fn encoded(given: &Given) -> String {
    let value: String = given.value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    format!("{}={value}", given.name)
}

fn decoded(text: &str) -> Result<Given, String> {
    let (name, value) = text.split_once('=').expect("encoded() puts one after the name");
    let byte = |character| u8::try_from(u32::from(character)).expect("encoded() made it of a byte");
    let value = OsString::from_vec(value.chars().map(byte).collect());
    Ok(Given { row: row_of(name), name: name.to_string(), value })
}

fn default_of(option: &str) -> Given {
    let row = row_of(option);
    let value = row.default.expect("the table has a default for each option that is not optional here");
    Given { row, name: option.to_string(), value: value.into() }
}

fn row_of(option: &str) -> &'static OptionRow {
    option_named(option.as_bytes()).expect("the name was taken from the table")
}

/// Why the command line cannot be followed. Its text is one line, without the program's name before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UsageError {
    NoProgram,
    UnknownOption { word: OsString, nearest: Option<&'static str> },
    ValueMissing { name: String, row: &'static OptionRow },
    ValueUnwanted { word: OsString, row: &'static OptionRow },
    GivenTwice { name: String },
    BadValue { given: Given, because: String },
    FutureCommand { name: OsString },
    CommandAfterOptions { options: Vec<OsString>, name: OsString },
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::NoProgram => {
                write!(f, "no program to run; give one, as in: srvwrap -n 4 -p 8000 node server.js")
            }
            UsageError::UnknownOption { word, nearest: Some(name) } => {
                write!(f, "{}: no such option; did you mean {name}?", shown(word))
            }
            UsageError::UnknownOption { word, nearest: None } => {
                write!(f, "{}: no such option; srvwrap --help lists them", shown(word))
            }
            UsageError::ValueMissing { name, row } => {
                write!(f, "{name}: its value is missing; give {}", row.remedy)
            }
            UsageError::ValueUnwanted { word, row } => {
                write!(f, "{}: {} takes no value; give {}", shown(word), row.long, row.remedy)
            }
            UsageError::GivenTwice { name } => write!(f, "{name}: given twice; give it once"),
            UsageError::BadValue { given, because } => write!(f, "{given}: {because}"),
            UsageError::FutureCommand { name } => {
                let name = shown(name);
                write!(f, "{name}: this version has no such command; ")?;
                write!(f, "a program of that name is run with: srvwrap -- {name}")
            }
            UsageError::CommandAfterOptions { options, name } => write_both_forms(f, options, name),
        }
    }
}

fn write_both_forms(f: &mut fmt::Formatter<'_>, options: &[OsString], name: &OsStr) -> fmt::Result {
    let options: Vec<String> = options.iter().map(|word| shown(word)).collect();
    let (options, shown_name) = (options.join(" "), shown(name));
    write!(f, "{shown_name}: a command is the very first word, as in: srvwrap {shown_name} {options} ...")?;
    if name != "run" {
        write!(f, " (which this version does not have)")?;
    }
    write!(f, "; a program of that name is run with: srvwrap {options} -- {shown_name}")
}

/// A word as an error shows it: on one line, whatever is in it.
pub(crate) fn shown(word: &OsStr) -> String {
    let mut text = String::new();
    for chunk in word.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                _ if character.is_control() => text.extend(character.escape_default()),
                _ => text.push(character),
            }
        }
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    if text.is_empty() || text.contains(' ') { format!("\"{text}\"") } else { text }
}

#[cfg(test)]
mod tests;
