//! What `--help` prints: for srvwrap, and for each command.
//!
//! What this module does not do: say what an option means; the table in `options.rs` does.

use std::fmt::Write;

use super::Verb;
use super::options::{OptionRow, long_with_value, options_of};

/// The text of `srvwrap --help` or `srvwrap CMD --help`, with its last newline.
pub(crate) fn help(verb: Verb) -> String {
    let mut text = if verb == Verb::Run { opening() } else { opening_of(verb) };
    for (title, of_naught) in [("Options", false), ("For naught's command lines", true)] {
        let rows: Vec<&OptionRow> = options_of(verb).filter(|row| row.of_naught == of_naught).collect();
        if !rows.is_empty() {
            text.push_str(&format!("\n{title}:\n"));
            rows.into_iter().for_each(|row| push_option(&mut text, row));
        }
    }
    for section in SECTIONS.iter().filter(|section| section.verbs.contains(&verb)) {
        push_section(&mut text, section.title, section.entries);
    }
    push_section(&mut text, "Exit codes", &exit_codes(verb));
    text
}

fn push_section(text: &mut String, title: &str, entries: &[Entry]) {
    text.push_str(&format!("\n{title}:\n"));
    for (term, meaning) in entries {
        push_entry(text, term, meaning);
    }
}

fn opening() -> String {
    let mut text = USAGE.to_string();
    text.push_str("\nCommands (srvwrap CMD --help tells more of each):\n");
    for command in Verb::ALL {
        push_entry(&mut text, command.short_usage(), command.summary());
    }
    text
}

fn opening_of(verb: Verb) -> String {
    let summary = wrapped(verb.summary(), LINE_WIDTH).join("\n");
    format!("{summary}\n\nUsage: {}\n", verb.usage())
}

fn push_option(text: &mut String, row: &OptionRow) {
    let default = row.default.map_or(String::new(), |default| format!(" Default: {default}."));
    let short = row.short.map_or(String::from("    "), |short| format!("{short}, "));
    push_entry(text, &format!("{short}{}", long_with_value(row)), &format!("{}{default}", row.help));
}

const USAGE: &str = "\
srvwrap runs any network server as N processes on one set of listening sockets,
restarts them when they die, and replaces them without losing a connection.

Usage: srvwrap [run] [OPTIONS] [--] PROGRAM [ARGS...]
       srvwrap CMD [OPTIONS] ...

  srvwrap -n 4 -p 8000 node server.js

Everything after PROGRAM belongs to it. A program that is named like a command
is run with -- before it.
";

type Entry = (&'static str, &'static str);

struct Section {
    title: &'static str,
    verbs: &'static [Verb],
    entries: &'static [Entry],
}

const SECTIONS: &[Section] = &[
    Section {
        title: "Durations",
        verbs: &[Verb::Run, Verb::Start, Verb::Deploy, Verb::Rollback, Verb::Stop, Verb::Status, Verb::Check],
        entries: &[("500ms 30s 2m 1h 1d", "A bare number is seconds; 1.5s is one and a half.")],
    },
    Section {
        title: "Signals to srvwrap",
        verbs: &[Verb::Run, Verb::Start],
        entries: &[
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
            ("USR1", "Open the log files anew, for programs that have moved them."),
            ("USR2", "Ignored, with a notice."),
        ],
    },
    Section {
        title: "Environment of a worker",
        verbs: &[Verb::Run, Verb::Start],
        entries: &[
            ("NOTIFY_FD", "The descriptor on which it says \"online\" and is told \"shutdown\"."),
            ("LISTEN_FD", "The descriptor of the first listening socket."),
            ("LISTEN_FD_0, _1, ...", "Those of all of them, in the order of the command line."),
            (
                "LISTEN_FD_NAME",
                "That of the socket of this name, in upper case, with _ for what a name cannot hold.",
            ),
            ("PORT", "The port of the first TCP socket."),
            ("NODE_CHANNEL_FD", "The same as NOTIFY_FD, for node and its kin."),
            ("SRVWRAP_SLOT", "Its place, from 0; also as NAUGHT_WORKER and NODE_APP_INSTANCE."),
            ("SRVWRAP_GENERATION", "The number of the deploy that started it, from 1."),
            ("SRVWRAP_PID", "The process id of srvwrap."),
        ],
    },
];

const LOGS_CODES: [Entry; 4] = [
    ("0", "Shown; or --follow was ended by Ctrl-C, or by the end of srvwrap."),
    ("1", "There is no log file, or it cannot be read."),
    ("2", "Wrong usage."),
    ("3", "No srvwrap is running there, and none has left a log file here."),
];

const CHECK_CODES: [Entry; 5] = [
    ("0", "No point has failed. Advice is no failure."),
    ("1", "A point has failed, or the check could not be made."),
    ("2", "Wrong usage."),
    ("5", "Aborted, by Ctrl-C or another signal."),
    ("126, 127", "The program cannot be executed, or is not found."),
];

/// What the command exits with, as its user sees it.
fn exit_codes(verb: Verb) -> Vec<Entry> {
    let usage = ("2", "Wrong usage.");
    let not_running = ("3", "No srvwrap is running there.");
    let plain = |done, failed| vec![("0", done), ("1", failed), usage, not_running];
    match verb {
        Verb::Run => vec![
            ("0", "Stopped, as it was told to."),
            ("1", "It failed; for one, a first worker died or was not online in time."),
            usage,
            ("126, 127", "The program cannot be executed, or is not found, at the start."),
            ("with --on-crash exit", "The worker's own exit code, or 128 and its signal."),
        ],
        Verb::Start => vec![
            ("0", "All workers are online."),
            ("1", "It failed, or srvwrap is running already; nothing more is running than before."),
            usage,
            ("5", "Aborted: by Ctrl-C, or because srvwrap was stopped."),
            ("126, 127", "The program cannot be executed, or is not found."),
            ("with --on-crash exit", "That of a worker that ended before all were online."),
        ],
        Verb::Deploy | Verb::Rollback => vec![
            ("0", "Done."),
            ("1", "It failed, or was refused: what served before serves on."),
            usage,
            not_running,
            ("4", "The time of --timeout was over. Whether it is live is said."),
            ("5", "Aborted: by Ctrl-C, by srvwrap abort, or because srvwrap was stopped."),
        ],
        Verb::Abort => vec![
            ("0", "The deploy has ended."),
            ("1", "No deploy is in progress, or srvwrap may not be asked (another user's)."),
            usage,
            not_running,
            ("5", "Ctrl-C: not waited for its end."),
        ],
        Verb::Scale => vec![
            ("0", "Done."),
            ("1", "A new worker did not come online, or it was refused: the number is as it was."),
            usage,
            not_running,
            ("5", "Not waited for its end: by Ctrl-C, or because srvwrap was stopped."),
        ],
        Verb::Stop => vec![
            ("0", "It has stopped, or was not running."),
            ("1", "It may not be asked (another user's), does not answer, or has not ended."),
            usage,
            ("5", "Ctrl-C: the stop goes on."),
        ],
        Verb::Status => plain(
            "Every slot has a worker that is online; or --watch was ended by Ctrl-C.",
            "Not every slot has, it starts or stops, or it may not be asked (another user's).",
        ),
        Verb::History | Verb::Events => {
            plain("Done.", "srvwrap may not be asked (another user's), or its answer was cut off.")
        }
        Verb::Signal => {
            plain("Sent.", "No worker is online to get it, or srvwrap may not be asked (another user's).")
        }
        Verb::Reopen => plain(
            "Every log file is open anew, or there is none.",
            "One cannot be opened, or srvwrap may not be asked (another user's).",
        ),
        Verb::Logs => LOGS_CODES.to_vec(),
        Verb::Check => CHECK_CODES.to_vec(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_help_names_every_option_and_keeps_to_its_width() {
        for verb in Verb::ALL {
            let help = help(verb);
            for row in options_of(verb) {
                assert!(help.contains(&long_with_value(row)), "{} is missing", row.long);
            }
            for line in help.lines() {
                assert!(line.len() <= LINE_WIDTH, "too wide: {line}");
            }
            assert!(help.is_ascii(), "a terminal without UTF-8 shows it too");
            assert!(help.ends_with('\n') && !help.contains("\n\n\n"));
        }
    }

    #[test]
    fn srvwraps_own_help_has_one_line_for_every_command() {
        let help = help(Verb::Run);
        for verb in Verb::ALL {
            let line = format!("\n  {:<TERM_WIDTH$}{}\n", verb.short_usage(), verb.summary());
            assert!(help.contains(&line), "{verb:?} is missing, or too long");
        }
    }

    /// The codes of each help, with what tells them from those of other commands.
    #[test]
    fn no_help_tells_of_an_exit_code_that_its_command_has_not() {
        let codes = |verb: Verb| exit_codes(verb).iter().map(|(code, _)| *code).collect::<Vec<_>>();
        for (verb, expected) in [
            (Verb::Start, ["0", "1", "2", "5", "126, 127", "with --on-crash exit"].as_slice()),
            (Verb::Deploy, &["0", "1", "2", "3", "4", "5"]),
            (Verb::Rollback, &["0", "1", "2", "3", "4", "5"]),
            (Verb::Abort, &["0", "1", "2", "3", "5"]),
            (Verb::Scale, &["0", "1", "2", "3", "5"]),
            (Verb::Stop, &["0", "1", "2", "5"]),
            (Verb::Signal, &["0", "1", "2", "3"]),
            (Verb::Status, &["0", "1", "2", "3"]),
            (Verb::History, &["0", "1", "2", "3"]),
            (Verb::Events, &["0", "1", "2", "3"]),
            (Verb::Reopen, &["0", "1", "2", "3"]),
            (Verb::Logs, &["0", "1", "2", "3"]),
            (Verb::Check, &["0", "1", "2", "5", "126, 127"]),
        ] {
            assert_eq!(codes(verb), expected, "{verb:?}");
        }
        for verb in Verb::ALL {
            let help = help(verb);
            let has_timeout = options_of(verb).any(|row| row.long == "--timeout" && verb != Verb::Stop);
            assert_eq!(help.contains("\n  4  "), has_timeout, "{verb:?}");
            assert_eq!(help.matches("Exit codes:\n").count(), 1, "{verb:?}");
        }
        assert!(help(Verb::Deploy).contains("It failed, or was refused: what served before serves on."));
    }

    #[test]
    fn a_meaning_is_broken_at_spaces_only() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a-word-longer-than-that", 7), ["a-word-longer-than-that"]);
    }
}
