//! `help`, `help CMD` and `version`: commands that are answered at once.

use std::ffi::{OsStr, OsString};

use super::verb::is_future;
use super::{Command, UsageError, Verb, help, shown};

/// Whether it is `help` or `version`, which are commands too.
pub(super) fn is_question(word: &OsStr) -> bool {
    word == "help" || word == "version"
}

/// What `help`, `help CMD` and `version` ask for; `first` is one of the two words.
pub(super) fn question(first: &OsStr, rest: &[OsString]) -> Result<Command, UsageError> {
    match rest {
        [] if first == "version" => Ok(Command::Version),
        [] => Ok(Command::Help(help::help(Verb::Run))),
        [name] if first == "help" => explained(name),
        [word, ..] => Err(UsageError::BadWord {
            word: word.clone(),
            because: format!(
                "{0} has no use for it; a program of that name is run with: srvwrap -- {0}",
                shown(first)
            ),
        }),
    }
}

fn explained(name: &OsString) -> Result<Command, UsageError> {
    match Verb::named(name) {
        Some(verb) => Ok(Command::Help(help::help(verb))),
        None if is_future(name) => Err(UsageError::FutureCommand { name: name.clone() }),
        None if is_question(name) || name == "--help" || name == "-h" => {
            Ok(Command::Help(help::help(Verb::Run)))
        }
        None => Err(UsageError::BadWord {
            word: name.clone(),
            because: "no such command; srvwrap --help lists them".to_string(),
        }),
    }
}
