//! The options of every command: one table, of which the splitting of words, each help and the README's table are
//! made, so that they cannot differ.
//!
//! ```text
//!   OPTIONS ──> option_named()            what a word on the command line means, after this command
//!          ├──> help.rs                   srvwrap --help, srvwrap deploy --help
//!          └──> option_table_markdown()   README.md, compared by a test
//! ```
//!
//! What this module does not do: look at a value. `config.rs` does.

use super::Verb;

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
    /// The commands that have it.
    pub(crate) verbs: &'static [Verb],
    /// The option whose other name this is: naught's, which the help lists apart.
    pub(crate) means: Option<&'static str>,
    /// Whether it is there for naught's command lines only.
    pub(crate) of_naught: bool,
}

const SWITCH: OptionRow = OptionRow {
    long: "",
    short: None,
    value: None,
    remedy: "it alone",
    default: None,
    repeatable: false,
    help: "",
    verbs: RUNS,
    means: None,
    of_naught: false,
};

/// Commands that run a program.
const RUNS: &[Verb] = &[Verb::Run, Verb::Start];
/// Those, and the one that tries it: for what a worker sees of srvwrap.
const TRIES: &[Verb] = &[Verb::Run, Verb::Start, Verb::Check];
const DEPLOYS: &[Verb] = &[Verb::Deploy, Verb::Rollback];
/// Commands that wait for something, and show how it goes on.
const LONG: &[Verb] = &[
    Verb::Start,
    Verb::Deploy,
    Verb::Rollback,
    Verb::Abort,
    Verb::Scale,
    Verb::Stop,
    Verb::Signal,
    Verb::Reopen,
];
const ALL: &[Verb] = &Verb::ALL;
/// Commands that answer: all but `run`, and `logs`, whose lines are what they are.
const ANSWERING: &[Verb] = Verb::ALL.split_at(1).1.split_at(11).0;
/// Commands that run a srvwrap, or talk to one.
const WITH_SOCKET: &[Verb] = Verb::ALL.split_at(13).0;
const LOGS: &[Verb] = &[Verb::Logs];
const CHECK: &[Verb] = &[Verb::Check];

const A_DURATION: &str = "a duration, as in 500ms, 30s, 2m or 1h";
const A_DURATION_OR_NONE: &str = "a duration, as in 500ms, 30s, 2m or 1h, or none";

/// In the order of the help.
pub(crate) static OPTIONS: &[OptionRow] = &[
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
        remedy: "a port, ADDRESS:PORT, unix:PATH or fd:N",
        repeatable: true,
        help: "Hold a listening socket and hand it to every worker: 8000 (every address, IPv4 and IPv6), 0 (a free \
               port, which is printed), 127.0.0.1:8000, localhost:8000, [::1]:8000, [::]:8000 (IPv6 only), \
               unix:/run/app.sock, unix:@app (abstract), fd:3 (a descriptor that srvwrap was started with). Any of \
               them named, as in http=8000 (a-z, 0-9 and _, and not a number). May be repeated. Default: the sockets in \
               LISTEN_FDS (systemd) or LISTEN_FD.",
        verbs: TRIES,
        ..SWITCH
    },
    OptionRow {
        long: "--launchd-socket",
        value: Some("NAME"),
        remedy: "a name from the Sockets of the job's property list",
        repeatable: true,
        help: "Take over the sockets that launchd holds under this name, on macOS. May be repeated.",
        ..SWITCH
    },
    OptionRow {
        long: "--unix-mode",
        value: Some("MODE"),
        remedy: "an octal mode, as in 660",
        default: Some("666"),
        help: "Who may connect to the unix sockets of -p.",
        verbs: TRIES,
        ..SWITCH
    },
    OptionRow {
        long: "--unix-owner",
        value: Some("USER[:GROUP]"),
        remedy: "USER, USER:GROUP or :GROUP, as names or numbers",
        help: "Whose the unix sockets of -p are. Default: those of srvwrap's own user and group.",
        verbs: TRIES,
        ..SWITCH
    },
    OptionRow {
        long: "--protocol",
        value: Some("srvwrap|systemd|server-starter|einhorn|stdin"),
        remedy: "srvwrap, systemd, server-starter, einhorn or stdin",
        default: Some("srvwrap"),
        help: "How workers are handed the sockets, for programs that know another way: srvwrap (notices on 3, sockets \
               from 4), systemd (sockets from 3, LISTEN_FDS), server-starter, einhorn (both as srvwrap, with their \
               variables), stdin (the one socket on 0). In each, {fd}, {fd:NAME} and {port} in the program's arguments \
               are filled.",
        verbs: TRIES,
        ..SWITCH
    },
    OptionRow {
        long: "--ready",
        value: Some("notify|exec|after=DURATION"),
        remedy: "notify, exec or after=DURATION",
        default: Some("notify"),
        help: "When a worker counts as online: when it says so on its notice descriptor, when its program has \
               been executed, or when it has lived for this long.",
        verbs: TRIES,
        ..SWITCH
    },
    OptionRow {
        long: "--online-timeout",
        value: Some("DURATION"),
        remedy: A_DURATION,
        default: Some("60s"),
        help: "How long a worker may take to come online. A later one fails the boot or the deploy.",
        verbs: TRIES,
        ..SWITCH
    },
    OptionRow {
        long: "--stop-timeout",
        value: Some("DURATION"),
        remedy: A_DURATION,
        default: Some("30s"),
        help: "How long a worker that was told to stop may take before it is killed. 0 kills at once.",
        verbs: TRIES,
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
        verbs: TRIES,
        ..SWITCH
    },
    OptionRow {
        long: "--stop-leader-only",
        help: "Send that signal to a worker's first process, not to its process group.",
        verbs: TRIES,
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
        verbs: TRIES,
        ..SWITCH
    },
    OptionRow {
        long: "--cwd",
        value: Some("DIR"),
        remedy: "a directory",
        help: "Where the workers start. Default: the current directory.",
        verbs: TRIES,
        ..SWITCH
    },
    OptionRow {
        long: "--env",
        value: Some("NAME=VALUE"),
        remedy: "NAME=VALUE",
        repeatable: true,
        help: "Set a variable for the workers. May be repeated.",
        verbs: TRIES,
        ..SWITCH
    },
    OptionRow {
        long: "--pid-file",
        value: Some("PATH"),
        remedy: "a path",
        help: "Write srvwrap's process id there once all workers are online, and keep the file locked.",
        ..SWITCH
    },
    OptionRow {
        long: "--health",
        value: Some("ADDRESS"),
        remedy: "a port or ADDRESS:PORT",
        help: "Serve GET /livez (200 while srvwrap runs) and GET /readyz (200 from the end of the boot to a stop, \
               while at least one worker is online) there over HTTP.",
        ..SWITCH
    },
    OptionRow {
        long: "--stdout",
        value: Some("DEST"),
        remedy: "a path, or - for srvwrap's own",
        help: "Where the workers' stdout goes: to a file; with {slot} in its path, to one for each slot; to /dev/null; \
               or, as -, to srvwrap's own stdout. Default: -; after start, stdout.log.",
        ..SWITCH
    },
    OptionRow {
        long: "--stderr",
        value: Some("DEST"),
        remedy: "a path, or - for srvwrap's own",
        help: "The same of their stderr. Default: -; after start, stderr.log.",
        ..SWITCH
    },
    OptionRow {
        long: "--log",
        value: Some("DEST"),
        remedy: "a path, or - for stderr",
        help: "Where srvwrap's notices go; in a file each has its time. Default: stderr; after start, srvwrap.log.",
        ..SWITCH
    },
    OptionRow {
        long: "--log-format",
        value: Some("plain|prefix|json"),
        remedy: "plain, prefix or json",
        default: Some("plain"),
        help: "How a line looks: as it was written, behind its time, program and slot, or as a JSON object.",
        ..SWITCH
    },
    OptionRow {
        long: "--max-log-size",
        value: Some("SIZE"),
        remedy: "a size, as in 10M, or 0 for never",
        default: Some("10M"),
        help: "Begin a new file when one would be larger; 10k, 10M, 1G. 0: never.",
        ..SWITCH
    },
    OptionRow {
        long: "--log-every",
        value: Some("DURATION"),
        remedy: "a duration, as in 1h or 1d",
        help: "Begin a new file so often too: with 1h at each full hour, with 1d at midnight, UTC.",
        ..SWITCH
    },
    OptionRow {
        long: "--log-keep",
        value: Some("N"),
        remedy: "a number of archives",
        default: Some("10"),
        help: "How many old files of each are kept, compressed.",
        ..SWITCH
    },
    OptionRow {
        long: "--log-total",
        value: Some("SIZE"),
        remedy: "a size, as in 1G",
        help: "And how many bytes of them. Default: no limit.",
        ..SWITCH
    },
    OptionRow {
        long: "--log-full",
        value: Some("block|drop-new|drop-old"),
        remedy: "block, drop-new or drop-old",
        default: Some("block"),
        help: "What happens to lines that cannot be written as fast as they come: they wait, and with them their \
               worker; or the newest, or the oldest of them, are dropped and counted.",
        ..SWITCH
    },
    OptionRow {
        long: "--or-deploy",
        help: "Where one is running already, deploy this program, environment and directory to it, with -n, \
               --online-timeout and --bake where they are given. Other options have no effect on it.",
        verbs: &[Verb::Start],
        ..SWITCH
    },
    OptionRow {
        long: "--workers",
        short: Some("-n"),
        value: Some("N|auto"),
        remedy: "1 to 65535, or auto",
        help: "How many processes the new generation has. Default: as many as the old one.",
        verbs: DEPLOYS,
        ..SWITCH
    },
    OptionRow {
        long: "--cwd",
        value: Some("DIR"),
        remedy: "a directory",
        help: "Where the workers start from now on. Default: where they do now.",
        verbs: &[Verb::Deploy],
        ..SWITCH
    },
    OptionRow {
        long: "--env",
        value: Some("NAME=VALUE"),
        remedy: "NAME=VALUE",
        repeatable: true,
        help: "Set a variable for the workers from now on. May be repeated.",
        verbs: &[Verb::Deploy],
        ..SWITCH
    },
    OptionRow {
        long: "--unset",
        value: Some("NAME"),
        remedy: "the name of a variable",
        repeatable: true,
        help: "Take a variable away from the workers. May be repeated.",
        verbs: &[Verb::Deploy],
        ..SWITCH
    },
    OptionRow {
        long: "--inherit-env",
        help: "Lay the variables of this shell over those of the workers; none is taken away.",
        verbs: &[Verb::Deploy],
        ..SWITCH
    },
    OptionRow {
        long: "--timeout",
        value: Some("DURATION|none"),
        remedy: A_DURATION_OR_NONE,
        help: "How long the whole deploy may take. Then it is aborted (exit code 4); where the new workers serve \
               already, the old ones are killed. Default: none; 0 is none either.",
        verbs: DEPLOYS,
        ..SWITCH
    },
    OptionRow {
        long: "--online-timeout",
        value: Some("DURATION"),
        remedy: A_DURATION,
        help: "How long each of its workers may take to come online. Default: as srvwrap was started.",
        verbs: DEPLOYS,
        ..SWITCH
    },
    OptionRow {
        long: "--bake",
        value: Some("DURATION"),
        remedy: A_DURATION,
        help: "How long old and new workers serve side by side. Default: as srvwrap was started.",
        verbs: DEPLOYS,
        ..SWITCH
    },
    OptionRow {
        long: "--surge",
        value: Some("K"),
        remedy: "a number from 1 to 65535",
        help: "Replace so many workers at a time, and not all at once: never more than K too many.",
        verbs: DEPLOYS,
        ..SWITCH
    },
    OptionRow {
        long: "--no-wait",
        help: "Return once the new workers serve, and not only when the old ones are gone.",
        verbs: DEPLOYS,
        ..SWITCH
    },
    OptionRow {
        long: "--if-generation",
        value: Some("G"),
        remedy: "the number of a generation",
        help: "Refuse unless this generation serves now: somebody may have deployed since you looked.",
        verbs: DEPLOYS,
        ..SWITCH
    },
    OptionRow {
        long: "--timeout",
        value: Some("DURATION|none"),
        remedy: A_DURATION_OR_NONE,
        help: "How long the workers may take to stop before they are killed, in place of --stop-timeout. 0 kills at \
               once; none is as if it were not given.",
        verbs: &[Verb::Stop],
        ..SWITCH
    },
    OptionRow { long: "--now", help: "Kill the workers at once.", verbs: &[Verb::Stop], ..SWITCH },
    OptionRow {
        long: "--slot",
        value: Some("N"),
        remedy: "the number of a slot, from 0",
        help: "Only to the worker of this slot.",
        verbs: &[Verb::Signal],
        ..SWITCH
    },
    OptionRow {
        long: "--follow",
        short: Some("-f"),
        help: "Go on with what is written from now on, until Ctrl-C, or until srvwrap ends.",
        verbs: LOGS,
        ..SWITCH
    },
    OptionRow {
        long: "--lines",
        short: Some("-n"),
        value: Some("N|all"),
        remedy: "a number of lines, or all",
        default: Some("10"),
        help: "So many of the last lines of each file.",
        verbs: LOGS,
        ..SWITCH
    },
    OptionRow {
        long: "--slot",
        value: Some("N"),
        remedy: "the number of a slot, from 0",
        help: "Only what the worker of this slot wrote.",
        verbs: LOGS,
        ..SWITCH
    },
    OptionRow {
        long: "--stream",
        value: Some("stdout|stderr|notices"),
        remedy: "stdout, stderr or notices",
        help: "Only these. Default: all three.",
        verbs: LOGS,
        ..SWITCH
    },
    OptionRow {
        long: "--watch",
        help: "Show it again and again, until Ctrl-C.",
        verbs: &[Verb::Status],
        ..SWITCH
    },
    OptionRow {
        long: "--interval",
        value: Some("DURATION"),
        remedy: A_DURATION,
        default: Some("2s"),
        help: "How often, with --watch.",
        verbs: &[Verb::Status],
        ..SWITCH
    },
    OptionRow {
        long: "--path",
        value: Some("PATH"),
        remedy: "a path, as in /slow",
        default: Some("/"),
        help: "What is asked for, over HTTP/1.1. One whose answer takes a while shows best what becomes of it.",
        verbs: CHECK,
        ..SWITCH
    },
    OptionRow {
        long: "--socket",
        value: Some("PATH"),
        remedy: "the path of a socket",
        default: Some("$SRVWRAP_SOCKET, else ./srvwrap.sock"),
        help: "The control socket.",
        verbs: WITH_SOCKET,
        ..SWITCH
    },
    OptionRow { long: "--quiet", help: "Say nothing but what went wrong.", verbs: LONG, ..SWITCH },
    OptionRow { long: "--json", help: "Print JSON, one object a line.", verbs: ANSWERING, ..SWITCH },
    OptionRow { long: "--json", help: "Print the report as one JSON object.", verbs: CHECK, ..SWITCH },
    OptionRow { long: "--help", short: Some("-h"), help: "Print this and exit.", verbs: ALL, ..SWITCH },
    OptionRow {
        long: "--version",
        short: Some("-V"),
        help: "Print the version and exit.",
        verbs: ALL,
        ..SWITCH
    },
    OptionRow {
        long: "--worker-count",
        value: Some("N"),
        remedy: "1 to 65535, or auto",
        help: "-n N; in a deploy 0 leaves the number as it is.",
        verbs: &[Verb::Run, Verb::Start, Verb::Deploy],
        means: Some("--workers"),
        of_naught: true,
        ..SWITCH
    },
    OptionRow {
        long: "--ipc-file",
        value: Some("PATH"),
        remedy: "the path of a socket",
        help: "--socket PATH",
        verbs: WITH_SOCKET,
        means: Some("--socket"),
        of_naught: true,
        ..SWITCH
    },
    OptionRow {
        long: "--override-env",
        value: Some("true|false"),
        remedy: "true or false",
        help: "true is --inherit-env. Unlike naught's, the default is false.",
        verbs: &[Verb::Deploy],
        of_naught: true,
        ..SWITCH
    },
    OptionRow {
        long: "--daemon-mode",
        value: Some("true|false"),
        remedy: "true or false",
        help: "false is srvwrap run, in the foreground.",
        verbs: &[Verb::Start],
        of_naught: true,
        ..SWITCH
    },
    OptionRow {
        long: "--remove-old-ipc",
        value: Some("true|false"),
        remedy: "true or false",
        help: "Nothing: the socket of a dead srvwrap is taken over anyway, that of a living one never.",
        verbs: RUNS,
        of_naught: true,
        ..SWITCH
    },
];

/// The row of an option of this command, by its long or short name, dashes included.
pub(crate) fn option_named(verb: Verb, name: &[u8]) -> Option<&'static OptionRow> {
    options_of(verb)
        .find(|row| name == row.long.as_bytes() || row.short.is_some_and(|short| name == short.as_bytes()))
}

/// Those of this command, in the order of its help.
pub(crate) fn options_of(verb: Verb) -> impl Iterator<Item = &'static OptionRow> {
    OPTIONS.iter().filter(move |row| row.verbs.contains(&verb))
}

/// With what stands for its value.
pub(crate) fn long_with_value(row: &OptionRow) -> String {
    row.value.map_or(row.long.to_string(), |value| format!("{} {value}", row.long))
}

/// The table that stands in README.md between `<!-- options -->` and `<!-- /options -->`: what `run` has.
#[cfg(test)]
pub(crate) fn option_table_markdown() -> String {
    let mut table = String::from("| option | meaning | default |\n|---|---|---|\n");
    for row in options_of(Verb::Run).filter(|row| !row.of_naught) {
        let short = row.short.map_or(String::new(), |short| format!("`{short}`, "));
        let long = long_with_value(row).replace('|', "\\|");
        let default = row.default.map_or(String::new(), |default| format!("`{default}`"));
        table.push_str(&format!("| {short}`{long}` | {} | {default} |\n", row.help));
    }
    table
}

#[cfg(test)]
mod tests;
