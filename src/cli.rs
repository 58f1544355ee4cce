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

mod help;
mod options;
mod question;
mod spelling;
mod usage_error;
mod verb;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::iter::Peekable;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::slice;

use argh::FromArgs;

pub(crate) use options::OptionRow;
use options::{OPTIONS, option_named};
pub(crate) use usage_error::{UsageError, shown};
pub(crate) use verb::Verb;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// A command with its words.
    Typed(Box<Typed>),
    /// Print this text.
    Help(String),
    Version,
}

/// What was typed after a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) verb: Verb,
    pub(crate) options: Options,
    /// Words that are neither options nor the program's: for a command that talks to a running srvwrap.
    pub(crate) words: Vec<OsString>,
    /// The program and its arguments; at least one word, which may be empty, for a command that needs one.
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
    /// names of what launchd holds, in the order of the command line
    #[argh(option, from_str_fn(decoded))]
    pub(crate) launchd_socket: Vec<Given>,
    /// who may connect to unix sockets
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--unix-mode\")")]
    pub(crate) unix_mode: Given,
    /// and whose they are
    #[argh(option, from_str_fn(decoded))]
    pub(crate) unix_owner: Option<Given>,
    /// how workers are handed the sockets
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--protocol\")")]
    pub(crate) protocol: Given,
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
    /// where it starts
    #[argh(option, from_str_fn(decoded))]
    pub(crate) cwd: Option<Given>,
    /// variables for it, in the order of the command line
    #[argh(option, from_str_fn(decoded))]
    pub(crate) env: Vec<Given>,
    /// variables that it does not get
    #[argh(option, from_str_fn(decoded))]
    pub(crate) unset: Vec<Given>,
    /// whether it gets the caller's
    #[argh(switch)]
    pub(crate) inherit_env: bool,
    /// the same, as naught says it
    #[argh(option, from_str_fn(decoded))]
    pub(crate) override_env: Option<Given>,
    /// where srvwrap writes its process id
    #[argh(option, from_str_fn(decoded))]
    pub(crate) pid_file: Option<Given>,
    /// where it serves the health routes
    #[argh(option, from_str_fn(decoded))]
    pub(crate) health: Option<Given>,
    /// where the workers' output goes
    #[argh(option, from_str_fn(decoded))]
    pub(crate) stdout: Option<Given>,
    /// and their errors
    #[argh(option, from_str_fn(decoded))]
    pub(crate) stderr: Option<Given>,
    /// where srvwrap's notices go
    #[argh(option, from_str_fn(decoded))]
    pub(crate) log: Option<Given>,
    /// how a line of them looks
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--log-format\")")]
    pub(crate) log_format: Given,
    /// above which size a file is archived
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--max-log-size\")")]
    pub(crate) max_log_size: Given,
    /// and how often
    #[argh(option, from_str_fn(decoded))]
    pub(crate) log_every: Option<Given>,
    /// how many archives are kept
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--log-keep\")")]
    pub(crate) log_keep: Given,
    /// and how many bytes of them
    #[argh(option, from_str_fn(decoded))]
    pub(crate) log_total: Option<Given>,
    /// what becomes of lines that find no room
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--log-full\")")]
    pub(crate) log_full: Given,
    /// whether a running one is deployed to
    #[argh(switch)]
    pub(crate) or_deploy: bool,
    /// whether it leaves the terminal, as naught says it
    #[argh(option, from_str_fn(decoded))]
    pub(crate) daemon_mode: Option<Given>,
    /// naught's, without effect
    #[argh(option, from_str_fn(decoded))]
    pub(crate) remove_old_ipc: Option<Given>,
    /// the control socket
    #[argh(option, from_str_fn(decoded))]
    pub(crate) socket: Option<Given>,
    /// how long a deploy, or a stop, may take
    #[argh(option, from_str_fn(decoded))]
    pub(crate) timeout: Option<Given>,
    /// how many slots a deploy replaces at a time
    #[argh(option, from_str_fn(decoded))]
    pub(crate) surge: Option<Given>,
    /// whether it is over before the old workers are gone
    #[argh(switch)]
    pub(crate) no_wait: bool,
    /// which generation it is to replace
    #[argh(option, from_str_fn(decoded))]
    pub(crate) if_generation: Option<Given>,
    /// whether a stop kills
    #[argh(switch)]
    pub(crate) now: bool,
    /// whose worker gets a signal
    #[argh(option, from_str_fn(decoded))]
    pub(crate) slot: Option<Given>,
    /// whether logs are shown as they are written
    #[argh(switch)]
    pub(crate) follow: bool,
    /// how many lines of each are shown first
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--lines\")")]
    pub(crate) lines: Given,
    /// of which stream
    #[argh(option, from_str_fn(decoded))]
    pub(crate) stream: Option<Given>,
    /// whether a status is shown again and again
    #[argh(switch)]
    pub(crate) watch: bool,
    /// and how often
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--interval\")")]
    pub(crate) interval: Given,
    /// what a check asks for
    #[argh(option, from_str_fn(decoded), default = "default_of(\"--path\")")]
    pub(crate) path: Given,
    /// whether nothing but failures is said
    #[argh(switch)]
    pub(crate) quiet: bool,
    /// whether it is said in JSON
    #[argh(switch)]
    pub(crate) json: bool,
}

/// A value, and the name under which it was given, so that an error can repeat both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) row: &'static OptionRow,
    /// As it was typed, `-n` or `--workers`; or the name of an environment variable.
    name: String,
    pub(crate) value: OsString,
    /// Whether it stands on the command line; else it is the default.
    typed: bool,
}

impl Given {
    /// What stands in for `option`, from the environment.
    pub(crate) fn from_environment(option: &str, variable: &str, value: OsString) -> Given {
        Given { row: row_of(option), name: variable.to_string(), value, typed: false }
    }

    /// What stands in for `option` where it was not given, and the table has no value for that.
    pub(crate) fn default_of(option: &str, value: &str) -> Given {
        Given { row: row_of(option), name: option.to_string(), value: value.into(), typed: false }
    }

    /// Whether it was typed under this name, and not another of the same option.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name == name
    }

    /// The same with a part of its value, where the rest is nobody's business.
    pub(crate) fn showing(&self, part: &OsStr) -> Given {
        Given { value: part.to_os_string(), ..self.clone() }
    }

    /// Itself, unless it is the default.
    pub(crate) fn typed(&self) -> Option<&Given> {
        Some(self).filter(|given| given.typed)
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

/// Understands a command line, without its first word (srvwrap's own name).
pub(crate) fn parse(args: &[OsString]) -> Result<Command, UsageError> {
    let Some((first, rest)) = args.split_first() else {
        return Err(UsageError::NoProgram { verb: Verb::Run });
    };
    if question::is_question(first) {
        return question::question(first, rest);
    }
    match Verb::named(first) {
        Some(verb @ (Verb::Run | Verb::Start | Verb::Check)) => parse_run(verb, rest, true),
        Some(verb) => parse_call(verb, rest),
        None if verb::is_future(first) => Err(UsageError::FutureCommand { name: first.clone() }),
        None => match mistaken(first, rest) {
            Some(meant) => Err(UsageError::NoSuchCommand { name: first.clone(), meant }),
            None => parse_run(Verb::Run, args, false),
        },
    }
}

/// The command that a first word was meant as. A server almost always has a path, an extension or arguments: what has
/// one of them, or anything behind it but the options and the socket of that command, is taken for a program.
fn mistaken(first: &OsStr, rest: &[OsString]) -> Option<Verb> {
    if first.as_bytes().iter().any(|byte| matches!(byte, b'/' | b'.')) {
        return None;
    }
    let meant = spelling::nearest_command(first)?;
    let would_be_understood = match parse_call(meant, rest) {
        Ok(Command::Typed(typed)) => {
            typed.program.is_empty() && typed.words.iter().all(|word| looks_like_a_socket(word))
        }
        Ok(Command::Help(_) | Command::Version) => true,
        Err(_) => false,
    };
    would_be_understood.then_some(meant)
}

/// By its name alone.
pub(crate) fn looks_like_a_socket(word: &OsStr) -> bool {
    word.as_bytes().ends_with(b".sock")
}

/// `named`: whether the command was there, after which a command's name is a program's.
fn parse_run(verb: Verb, args: &[OsString], named: bool) -> Result<Command, UsageError> {
    let mut words = args.iter().peekable();
    let (options, end) = match split_options(verb, &mut words)? {
        Split::Options { options, end } => (options, end),
        Split::Asked(command) => return Ok(command),
    };
    let program: Vec<OsString> = words.cloned().collect();
    let Some(first) = program.first() else { return Err(UsageError::NoProgram { verb }) };
    if end == End::Word && !named && is_command(first) {
        let options = args[..args.len() - program.len()].to_vec();
        return Err(UsageError::CommandAfterOptions { options, name: first.clone() });
    }
    Ok(Command::Typed(Box::new(Typed { verb, options: by_argh(&options), words: Vec::new(), program })))
}

fn is_command(word: &OsStr) -> bool {
    Verb::named(word).is_some() || verb::is_future(word) || question::is_question(word)
}

/// Options and words in any order. What stands behind `--` is a deploy's program, and words of any other command.
fn parse_call(verb: Verb, args: &[OsString]) -> Result<Command, UsageError> {
    let mut rest = args.iter().peekable();
    let (mut options, mut words) = (Vec::new(), Vec::new());
    let end = loop {
        match split_options(verb, &mut rest).map_err(|error| rather_a_program(verb, &words, error))? {
            Split::Asked(command) => return Ok(command),
            Split::Options { options: more, end } => {
                options.extend(more);
                let Some(word) = rest.next_if(|_| end == End::Word) else { break end };
                words.push(word.clone());
            }
        }
    };
    refuse_repetition(&options)?;
    let mut program: Vec<OsString> = rest.cloned().collect();
    if verb != Verb::Deploy {
        words.append(&mut program);
    } else if end == End::Dashes && program.is_empty() {
        let because = "a program is missing behind it; give one, as in: srvwrap deploy -- node server.js";
        return Err(UsageError::BadWord { word: "--".into(), because: because.to_string() });
    }
    Ok(Command::Typed(Box::new(Typed { verb, options: by_argh(&options), words, program })))
}

/// In `deploy node --inspect` the option is not what is wrong.
fn rather_a_program(verb: Verb, words: &[OsString], error: UsageError) -> UsageError {
    let unknown = matches!(error, UsageError::UnknownOption { .. } | UsageError::OptionOfOthers { .. });
    match words.first().filter(|word| !looks_like_a_socket(word)) {
        Some(word) if unknown && verb == Verb::Deploy => {
            UsageError::WordUnwanted { verb, word: word.clone() }
        }
        Some(_) | None => error,
    }
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

/// Takes the options off the front. A lone `-` is not one, nor is the `-1` of `scale -1`.
fn split_options(verb: Verb, words: &mut Words<'_>) -> Result<Split, UsageError> {
    let mut options: Vec<Given> = Vec::new();
    let is_number =
        |word: &OsStr| verb == Verb::Scale && word.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    let is_option = |word: &&OsString| {
        word.len() > 1 && word.as_bytes().starts_with(b"-") && !is_number(word.as_os_str())
    };
    while let Some(word) = words.next_if(is_option) {
        if word == "--" {
            refuse_repetition(&options)?;
            return Ok(Split::Options { options, end: End::Dashes });
        }
        let given = next_option(verb, word, words)?;
        match given.row.long {
            "--help" => return Ok(Split::Asked(Command::Help(help::help(verb)))),
            "--version" => return Ok(Split::Asked(Command::Version)),
            _ => options.push(given),
        }
    }
    refuse_repetition(&options)?;
    Ok(Split::Options { options, end: End::Word })
}

fn refuse_repetition(options: &[Given]) -> Result<(), UsageError> {
    let mut names = BTreeSet::new();
    let repeated =
        |given: &&Given| !names.insert(given.row.means.unwrap_or(given.row.long)) && !given.row.repeatable;
    match options.iter().find(repeated) {
        Some(given) => Err(UsageError::GivenTwice { name: given.name.clone() }),
        None => Ok(()),
    }
}

/// One option with its value, from the same word or from the next. A switch has an empty value.
fn next_option(verb: Verb, word: &OsStr, words: &mut Words<'_>) -> Result<Given, UsageError> {
    let (name, attached) = name_and_attached(word.as_bytes());
    let Some(row) = option_named(verb, name) else { return Err(unknown_option(verb, word, name)) };
    let name = String::from_utf8_lossy(name).into_owned();
    if row.value.is_none() {
        return match attached {
            None => Ok(Given { row, name, value: OsString::new(), typed: true }),
            Some(_) => Err(UsageError::ValueUnwanted { word: word.to_os_string(), row }),
        };
    }
    let value = match attached {
        Some(value) => Some(OsString::from_vec(value.to_vec())),
        // A value that is an option's name is more likely a value forgotten.
        None => words.next_if(|word| *word != "--" && !begins_an_option(verb, word)).cloned(),
    };
    match value {
        Some(value) if !value.is_empty() => Ok(Given { row, name, value, typed: true }),
        _ => Err(UsageError::ValueMissing { name, row }),
    }
}

fn unknown_option(verb: Verb, word: &OsStr, name: &[u8]) -> UsageError {
    let word = word.to_os_string();
    // One of another command is better told than guessed at.
    match OPTIONS.iter().find(|row| name == row.long.as_bytes()) {
        Some(row) => UsageError::OptionOfOthers { verb, row },
        None => UsageError::UnknownOption { verb, nearest: spelling::nearest_option(verb, &word), word },
    }
}

fn begins_an_option(verb: Verb, word: &OsStr) -> bool {
    let (name, _) = name_and_attached(word.as_bytes());
    option_named(verb, name).is_some()
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

/// Has argh put the options, which are known, complete and not repeated, into their fields.
fn by_argh(options: &[Given]) -> Options {
    let mut words: Vec<String> = Vec::new();
    for given in options {
        words.push(given.row.means.unwrap_or(given.row.long).to_string());
        if given.row.value.is_some() {
            words.push(encoded(given));
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Options::from_args(&["srvwrap"], &words)
        .expect("every row of the table is a field, given as argh wants it")
}

/// An option's long name, the one that was typed and the value as one text for argh, which takes only UTF-8: each byte
/// of the value becomes the character of that number.
fn encoded(given: &Given) -> String {
    let value: String = given.value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    format!("{}={}={value}", given.row.long, given.name)
}

fn decoded(text: &str) -> Result<Given, String> {
    let (row, rest) = text.split_once('=').expect("encoded() puts one after the long name");
    let (name, value) = rest.split_once('=').expect("encoded() puts one after the name");
    let byte = |character| u8::try_from(u32::from(character)).expect("encoded() made it of a byte");
    let value = OsString::from_vec(value.chars().map(byte).collect());
    Ok(Given { row: row_of(row), name: name.to_string(), value, typed: true })
}

fn default_of(option: &str) -> Given {
    let value = row_of(option).default;
    Given::default_of(
        option,
        value.expect("the table has a default for each option that is not optional here"),
    )
}

/// The first of its name: what an error says of a value is the same for all commands.
fn row_of(option: &str) -> &'static OptionRow {
    OPTIONS.iter().find(|row| row.long == option).expect("the name was taken from the table")
}

#[cfg(test)]
mod tests;
