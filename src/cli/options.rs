//! The options of `srvwrap run`: one table, of which the splitting of words, the help and the README's table are
//! made, so that they cannot differ.
//!
//! ```text
//!   OPTIONS ──> option_named()            what a word on the command line means
//!          ├──> help()                    srvwrap --help
//!          └──> option_table_markdown()   README.md, compared by a test
//! ```
//!
//! What this module does not do: look at a value. `config.rs` does.

use std::fmt::Write;

/// One option, as it is typed and as it is explained.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OptionRow {
    /// With its dashes: `--workers`.
    pub(crate) long: &'static str,
    /// With its dash: `-n`.
    pub(crate) short: Option<&'static str>,
    /// What stands for the value in the help. None for a switch.
    pub(crate) value: Option<&'static str>,
    /// Completes the sentence "give …" after a value that is missing or wrong.
    pub(crate) remedy: &'static str,
    /// The value where the option is not given, written as a user would.
    pub(crate) default: Option<&'static str>,
    /// Whether it may be given more than once.
    pub(crate) repeatable: bool,
    pub(crate) help: &'static str,
}

const SWITCH: OptionRow = OptionRow {
    long: "",
    short: None,
    value: None,
    remedy: "it alone",
    default: None,
    repeatable: false,
    help: "",
};

const A_DURATION: &str = "a duration, as in 500ms, 30s, 2m or 1h";

/// In the order of the help.
pub(crate) static OPTIONS: [OptionRow; 13] = [
    OptionRow {
        long: "--workers",
        short: Some("-n"),
        value: Some("N|auto"),
        remedy: "1 to 65535, or auto",
        default: Some("$WEB_CONCURRENCY, else 1"),
        help: "How many processes to keep online. With auto, as many as there are processors that srvwrap may use.",
        ..SWITCH
    },
    OptionRow {
        long: "--listen",
        short: Some("-p"),
        value: Some("[NAME=]ADDRESS"),
        remedy: "a port, ADDRESS:PORT or unix:PATH",
        repeatable: true,
        help: "Hold a listening socket and hand it to every worker: 8000 (every address, IPv4 and IPv6), 0 (a free \
               port, which is printed), 127.0.0.1:8000, localhost:8000, [::1]:8000, [::]:8000 (IPv6 only), \
               unix:/run/app.sock. Any of them named, as in http=8000. May be repeated.",
        ..SWITCH
    },
    OptionRow {
        long: "--ready",
        value: Some("notify|exec|after=DURATION"),
        remedy: "notify, exec or after=DURATION",
        default: Some("notify"),
        help: "When a worker counts as online: when it says so on its notice descriptor, when its program has \
               been executed, or when it has lived for this long.",
        ..SWITCH
    },
    OptionRow {
        long: "--online-timeout",
        value: Some("DURATION"),
        remedy: A_DURATION,
        default: Some("60s"),
        help: "How long a worker may take to come online. A later one fails the boot or the deploy.",
        ..SWITCH
    },
    OptionRow {
        long: "--stop-timeout",
        value: Some("DURATION"),
        remedy: A_DURATION,
        default: Some("30s"),
        help: "How long a worker that was told to stop may take before it is killed. 0 kills at once.",
        ..SWITCH
    },
    OptionRow {
        long: "--stop-signal",
        value: Some("auto|none|NAME"),
        remedy: "auto, none, TERM, INT, QUIT, HUP, USR1, USR2, WINCH, or a number from 1 to 64",
        default: Some("auto"),
        help: "The signal that tells a worker to stop, beside the line \"shutdown\" on its notice descriptor: TERM, \
               INT, QUIT, HUP, USR1, USR2, WINCH, or a number. auto is TERM, but INT for a worker that said \"ready\" \
               as a JSON string, and none for one that said \"online\" so.",
        ..SWITCH
    },
    OptionRow {
        long: "--stop-leader-only",
        help: "Send that signal to a worker's first process, not to its process group.",
        ..SWITCH
    },
    OptionRow {
        long: "--on-crash",
        value: Some("respawn|exit"),
        remedy: "respawn or exit",
        default: Some("respawn"),
        help: "What the end of a worker that nobody asked for leads to: a new one, or the end of srvwrap with the \
               worker's exit code.",
        ..SWITCH
    },
    OptionRow {
        long: "--bake",
        value: Some("DURATION"),
        remedy: A_DURATION,
        default: Some("0s"),
        help: "How long old and new workers serve side by side in a deploy before the old ones are told to stop. A new \
               worker that dies in that time fails the deploy.",
        ..SWITCH
    },
    OptionRow {
        long: "--stdin",
        value: Some("null|inherit"),
        remedy: "null or inherit",
        default: Some("null"),
        help: "What a worker reads as its standard input: nothing, or what srvwrap was given (one worker only, and no \
               terminal).",
        ..SWITCH
    },
    OptionRow {
        long: "--node-channel",
        help: "Set NODE_CHANNEL_FD, so that process.send() works, for a program that is not seen to be node, bun, deno \
               or one of npm's kin.",
        ..SWITCH
    },
    OptionRow { long: "--help", short: Some("-h"), help: "Print this and exit.", ..SWITCH },
    OptionRow { long: "--version", short: Some("-V"), help: "Print the version and exit.", ..SWITCH },
];

/// The row of an option, by its long or short name, dashes included.
pub(crate) fn option_named(name: &[u8]) -> Option<&'static OptionRow> {
    OPTIONS
        .iter()
        .find(|row| name == row.long.as_bytes() || row.short.is_some_and(|short| name == short.as_bytes()))
}

/// The text of `srvwrap --help`, with its last newline.
pub(crate) fn help() -> String {
    let mut text = String::from(USAGE);
    for row in &OPTIONS {
        let default = row.default.map_or(String::new(), |default| format!(" Default: {default}."));
        let short = row.short.map_or(String::from("    "), |short| format!("{short}, "));
        push_entry(&mut text, &format!("{short}{}", long_with_value(row)), &format!("{}{default}", row.help));
    }
    for (title, entries) in SECTIONS {
        text.push_str(&format!("\n{title}:\n"));
        for (term, meaning) in *entries {
            push_entry(&mut text, term, meaning);
        }
    }
    text
}

const USAGE: &str = "\
srvwrap runs any network server as N processes on one set of listening sockets,
restarts them when they die, and replaces them without losing a connection.

Usage: srvwrap [run] [OPTIONS] [--] PROGRAM [ARGS...]

  srvwrap -n 4 -p 8000 node server.js

Everything after PROGRAM belongs to it. A program that is named like a command
is run with -- before it.

Options:
";

type Entry = (&'static str, &'static str);

const SECTIONS: &[(&str, &[Entry])] = &[
    ("Durations", &[("500ms 30s 2m 1h", "A bare number is seconds; 1.5s is one and a half.")]),
    (
        "Signals to srvwrap",
        &[
            ("TERM, INT", "Stop: the workers are told, and given the stop timeout."),
            (
                "INT again, QUIT",
                "Kill the workers and stop. The second INT counts from a second after the first.",
            ),
            (
                "HUP",
                "Deploy: start new workers beside the old ones, which stop once all new ones are online.",
            ),
            ("TTIN, TTOU", "One worker more, one worker less."),
            ("USR2", "Ignored, with a notice."),
        ],
    ),
    (
        "Exit codes",
        &[
            ("0", "Stopped, as it was told to."),
            ("1", "It failed; for one, a first worker died or was not online in time."),
            ("2", "Wrong usage."),
            ("126, 127", "The program cannot be executed, or is not found, at the start."),
            ("with --on-crash exit", "The worker's own exit code, or 128 and its signal."),
        ],
    ),
    (
        "Environment of a worker",
        &[
            ("NOTIFY_FD", "The descriptor on which it says \"online\" and is told \"shutdown\"."),
            ("LISTEN_FD", "The descriptor of the first listening socket."),
            ("LISTEN_FD_0, _1, ...", "Those of all of them, in the order of the command line."),
            ("LISTEN_FD_NAME", "That of the socket of this name, in upper case."),
            ("PORT", "The port of the first TCP socket."),
            ("NODE_CHANNEL_FD", "The same as NOTIFY_FD, for node and its kin."),
            ("SRVWRAP_SLOT", "Its place, from 0; also as NAUGHT_WORKER and NODE_APP_INSTANCE."),
            ("SRVWRAP_GENERATION", "The number of the deploy that started it, from 1."),
            ("SRVWRAP_PID", "The process id of srvwrap."),
        ],
    ),
];

fn long_with_value(row: &OptionRow) -> String {
    row.value.map_or(row.long.to_string(), |value| format!("{} {value}", row.long))
}

const TERM_WIDTH: usize = 26;
const LINE_WIDTH: usize = 88;

/// Adds a term and its meaning in two columns. A term too wide for its column has a line of its own.
fn push_entry(text: &mut String, term: &str, meaning: &str) {
    let mut left = term;
    if term.len() > TERM_WIDTH - 2 {
        text.push_str(&format!("  {term}\n"));
        left = "";
    }
    for line in wrapped(meaning, LINE_WIDTH - TERM_WIDTH - 2) {
        writeln!(text, "  {left:<TERM_WIDTH$}{line}").expect("a string takes all that is written to it");
        left = "";
    }
}

/// The lines of a text, broken at spaces. A longer word than `width` stays whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// The table that stands in README.md between `<!-- options -->` and `<!-- /options -->`.
#[cfg(test)]
pub(crate) fn option_table_markdown() -> String {
    let mut table = String::from("| option | meaning | default |\n|---|---|---|\n");
    for row in &OPTIONS {
        let short = row.short.map_or(String::new(), |short| format!("`{short}`, "));
        let long = long_with_value(row).replace('|', "\\|");
        let default = row.default.map_or(String::new(), |default| format!("`{default}`"));
        table.push_str(&format!("| {short}`{long}` | {} | {default} |\n", row.help));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_option_and_keeps_to_its_width() {
        let help = help();
        for row in &OPTIONS {
            assert!(help.contains(&long_with_value(row)), "{} is missing", row.long);
        }
        for line in help.lines() {
            assert!(line.len() <= LINE_WIDTH, "too wide: {line}");
        }
        assert!(help.is_ascii(), "a terminal without UTF-8 shows it too");
    }

    #[test]
    fn no_two_options_have_the_same_name() {
        for (place, row) in OPTIONS.iter().enumerate() {
            for name in [Some(row.long), row.short].into_iter().flatten() {
                assert_eq!(option_named(name.as_bytes()), Some(&OPTIONS[place]), "{name}");
            }
        }
    }

    #[test]
    fn a_meaning_is_broken_at_spaces_only() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a-word-longer-than-that", 7), ["a-word-longer-than-that"]);
    }

    #[test]
    fn the_readme_has_the_generated_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let Ok(readme) = std::fs::read_to_string(path) else { return };
        let Some((_, rest)) = readme.split_once("<!-- options -->") else { return };
        let (table, _) = rest.split_once("<!-- /options -->").expect("the marker at the end of the table");
        assert_eq!(
            table.trim(),
            option_table_markdown().trim(),
            "put this there:\n{}",
            option_table_markdown()
        );
    }
}
