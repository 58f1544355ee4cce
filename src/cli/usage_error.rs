//! Why a command line cannot be followed: one line that names the word and the remedy.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use super::{Given, OptionRow, Verb};

/// Why the command line cannot be followed. Its text is one line, without the program's name before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UsageError {
    NoProgram {
        verb: Verb,
    },
    /// It is more likely to be a slip than a program.
    NoSuchCommand {
        name: OsString,
        meant: Verb,
    },
    UnknownOption {
        verb: Verb,
        word: OsString,
        nearest: Option<&'static str>,
    },
    /// Other commands have it, this one has not.
    OptionOfOthers {
        verb: Verb,
        row: &'static OptionRow,
    },
    /// It is there, but what it is cannot be told.
    WordUnwanted {
        verb: Verb,
        word: OsString,
    },
    WordMissing {
        verb: Verb,
    },
    /// A word that means something to this command, but is wrong.
    BadWord {
        word: OsString,
        because: String,
    },
    ValueMissing {
        name: String,
        row: &'static OptionRow,
    },
    ValueUnwanted {
        word: OsString,
        row: &'static OptionRow,
    },
    GivenTwice {
        name: String,
    },
    BadValue {
        given: Given,
        because: String,
    },
    FutureCommand {
        name: OsString,
    },
    CommandAfterOptions {
        options: Vec<OsString>,
        name: OsString,
    },
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::NoProgram { verb: Verb::Check } => {
                f.write_str("no program to check; give one, as in: srvwrap check -p 8000 node server.js")
            }
            UsageError::NoProgram { verb } => {
                write!(f, "no program to run; give one, as in: {} -n 4 -p 8000 node server.js", verb.called())
            }
            UsageError::NoSuchCommand { name, meant } => {
                let name = shown(name);
                write!(f, "{name}: no such command; did you mean {}? ", meant.called())?;
                write!(f, "a program of that name is run with: srvwrap -- {name}")
            }
            UsageError::UnknownOption { word, nearest: Some(name), .. } => {
                write!(f, "{}: no such option; did you mean {name}?", shown(word))
            }
            UsageError::UnknownOption { verb, word, nearest: None } => {
                write!(f, "{}: no such option; {} --help lists them", shown(word), verb.called())
            }
            UsageError::OptionOfOthers { verb, row } => {
                let others: Vec<&str> = row.verbs.iter().map(|verb| verb.name()).collect();
                write!(f, "{}: {} has no such option, ", row.long, verb.called())?;
                write!(f, "which is one of {}; {} --help lists its own", others.join(", "), verb.called())
            }
            UsageError::WordUnwanted { verb: Verb::Deploy | Verb::Rollback, word } => write!(
                f,
                "{}: neither a socket nor the name of one, which ends in .sock; a new program comes behind two dashes: \
                 srvwrap deploy -- PROGRAM",
                shown(word)
            ),
            UsageError::WordUnwanted { verb, word } => write!(
                f,
                "{}: neither a socket nor the name of one, which ends in .sock; as in: {}",
                shown(word),
                verb.usage()
            ),
            UsageError::WordMissing { verb } => write!(f, "something is missing; as in: {}", verb.usage()),
            UsageError::BadWord { word, because } => write!(f, "{}: {because}", shown(word)),
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
    if super::verb::is_future(name) {
        write!(f, " (which this version does not have)")?;
    }
    write!(f, "; a program of that name is run with: srvwrap {options} -- {shown_name}")
}

/// A word as an error shows it: on one line, whatever is in it, and to a shell the same word, as far as that goes.
pub(crate) fn shown(word: &OsStr) -> String {
    let is_quoted = word.is_empty() || word.as_bytes().iter().any(|byte| b" \"\\$`'&();<>|".contains(byte));
    let mut text = String::new();
    for chunk in word.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                _ if character.is_control() => text.extend(character.escape_default()),
                '"' | '\\' | '$' | '`' => text.extend(['\\', character]),
                _ => text.push(character),
            }
        }
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    if is_quoted { format!("\"{text}\"") } else { text }
}
