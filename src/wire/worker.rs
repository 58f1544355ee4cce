//! The worker protocol: what a worker says on its notice descriptor, and the one line that srvwrap says to it.
//!
//! The contract is `protocol/worker.md`, and `protocol/vectors/worker.json` is its byte rules as a table: the tests
//! below play every vector, whole and byte by byte.
//!
//! ```text
//!   online | ready | READY=1 | an empty first line      Said::Online
//!   offline [WHY] | STOPPING=1                          Said::Offline
//!   status [TEXT] | STATUS=TEXT                         Said::Status
//!   ping | WATCHDOG=1                                   Said::Ping
//!   a JSON string of one of these words                 the same
//!   anything else                                       Said::Unknown
//! ```
//!
//! What it does not do: decide what a message means for a worker's life (that only the first readiness word counts,
//! for one), or bound the rate at which a descriptor is read.

use super::Lines;

/// Tells a worker to finish. A JSON string, because a Node or Deno channel throws on anything that is not JSON.
pub(crate) const SHUTDOWN: &[u8] = b"\"shutdown\"\n";

/// One message of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It accepts connections.
    Online(Readiness),
    /// It is about to end by itself. `why` is a text as [`Said::Status`] has it, empty where nothing was given.
    Offline { why: String },
    /// A text for the operator: at most 256 characters, none of which a terminal acts upon.
    Status(String),
    /// It is alive.
    Ping,
    /// A line that is none of the above.
    Unknown,
}

/// The form of a readiness word. It tells which signal, if any, the program expects when it is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Any but the two below.
    Plain,
    /// The JSON string `"online"`, what Node's `process.send('online')` writes: the program listens for the line.
    JsonOnline,
    /// The JSON string `"ready"`, what Node's `process.send('ready')` writes: the program handles INT.
    JsonReady,
}

/// Turns the bytes that one worker writes into messages. Plain data, and nothing on the heap between two lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    lines: Lines,
    begun: bool,
    unknown: u64,
}

impl Reader {
    pub(crate) fn new() -> Reader {
        Reader { lines: Lines::new(LINE_LIMIT), begun: false, unknown: 0 }
    }

    /// Takes bytes off the front of `bytes` up to the end of the next message; `None` once all of them were taken.
    ///
    /// ```text
    ///   let mut bytes = &buffer[..count];
    ///   while let Some(said) = reader.next(&mut bytes) { … }
    /// ```
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Option<Said> {
        let line = self.lines.next_line(bytes)?;
        // An overlong line was a line too, though nobody saw it.
        let first = !self.begun && self.lines.overlong() == 0;
        self.begun = true;
        let said = parse(&line, first);
        self.unknown += u64::from(said == Said::Unknown);
        Some(said)
    }

    /// How many lines were [`Said::Unknown`].
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown
    }

    /// How many lines were skipped because they were longer than 4096 bytes.
    pub(crate) fn overlong(&self) -> u64 {
        self.lines.overlong()
    }
}

/// In bytes, without the newline. A status text of 256 characters fits four times over, and a flood of bytes without
/// a newline costs no more than this.
const LINE_LIMIT: usize = 4096;

fn parse(line: &[u8], first: bool) -> Said {
    match line {
        b"" if first => Said::Online(Readiness::Plain),
        // Both quotes, because serde_json would let white space stand around them.
        [b'"', .., b'"'] => match serde_json::from_slice::<String>(line) {
            Ok(text) => quoted(text.as_bytes()),
            Err(_) => Said::Unknown,
        },
        words => plain(words),
    }
}

fn quoted(text: &[u8]) -> Said {
    match text {
        b"online" => Said::Online(Readiness::JsonOnline),
        b"ready" => Said::Online(Readiness::JsonReady),
        words => plain(words),
    }
}

fn plain(words: &[u8]) -> Said {
    match words {
        b"online" | b"ready" | b"READY=1" => Said::Online(Readiness::Plain),
        b"STOPPING=1" => Said::Offline { why: String::new() },
        b"ping" | b"WATCHDOG=1" => Said::Ping,
        words => with_text(words),
    }
}

fn with_text(words: &[u8]) -> Said {
    if let Some(why) = text_after(b"offline", words) {
        return Said::Offline { why: displayable(why) };
    }
    match text_after(b"status", words).or_else(|| words.strip_prefix(b"STATUS=")) {
        Some(text) => Said::Status(displayable(text)),
        None => Said::Unknown,
    }
}

/// What follows `word` and one space; empty where the word stands alone, because `echo status $text` in a shell
/// writes no space when there is no text.
fn text_after<'w>(word: &[u8], words: &'w [u8]) -> Option<&'w [u8]> {
    match words.strip_prefix(word)? {
        b"" => Some(b""),
        [b' ', text @ ..] => Some(text),
        _ => None,
    }
}

/// A worker's text as an operator may see it: short, and unable to move a cursor or to change what is beside it.
fn displayable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(TEXT_LIMIT).map(harmless).collect()
}

/// In characters (Unicode scalar values): three lines of a terminal.
const TEXT_LIMIT: usize = 256;

fn harmless(character: char) -> char {
    match character {
        // The line separators break a line, and the bidirectional overrides reorder the text that follows.
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}
