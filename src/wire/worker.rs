//! The worker protocol: what a worker says on its notice descriptor, and the one line that srvwrap says to it.
//!
//! The contract is `protocol/worker.md`, and `protocol/vectors/worker.json` is its byte rules as a table, which the
//! tests in `vectors.rs` play.
//!
//! ```text
//!   online | ready | READY=1 | an empty first line      Said::Online
//!   offline [WHY] | STOPPING=1                          Said::Offline
//!   status [TEXT] | STATUS=TEXT                         Said::Status
//!   ping | WATCHDOG=1                                   Said::Ping
//!   a JSON string of one of these words                 the same
//!   einhorn's worker:ack, in JSON or YAML               Said::Online
//!   anything else                                       Said::Unknown
//! ```
//!
//! What it does not do: decide what a message means for a worker's life (that only the first readiness word counts,
//! for one), or bound the rate at which a descriptor is read.

use std::time::Duration;

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
    /// It needs so much time, from now on, to come online or to end. Said in datagrams only (`wire/sd_notify.rs`).
    Extend(Duration),
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

    /// Whether a line has come, whatever it was.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
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
        [b'{', .., b'}'] | [b'-', b'-', b'-', ..] if is_ack(line) => Said::Online(Readiness::Plain),
        words => plain(words),
    }
}

/// What einhorn's workers write when they are ready: `{"command":"worker:ack","pid":1234}`, or the same in YAML as its
/// libraries have it, with the newlines, and perhaps the spaces, as in a URL.
fn is_ack(line: &[u8]) -> bool {
    if line.starts_with(b"{") {
        let ack = serde_json::from_slice::<serde_json::Value>(line);
        return ack.is_ok_and(|ack| ack["command"] == "worker:ack");
    }
    let text = String::from_utf8_lossy(line).replace("%20", " ");
    text.split("%0A").any(|entry| entry == "command: worker:ack")
}

fn quoted(text: &[u8]) -> Said {
    match text {
        b"online" => Said::Online(Readiness::JsonOnline),
        b"ready" => Said::Online(Readiness::JsonReady),
        words => plain(words),
    }
}

/// What an unquoted line means.
pub(super) fn plain(words: &[u8]) -> Said {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    use proptest::prelude::*;

    const SPEC: &str = include_str!("../../protocol/worker.md");

    /// Those that are played against workers alone show what srvwrap does not write. Messages of other tools, which are
    /// objects, are written to be ignored.
    #[test]
    fn what_the_sessions_write_exists() {
        for line in sessions().into_iter().filter(|session| !session[0].starts_with("worker ")).flatten() {
            if let Some(words) = line.strip_prefix("W: ").or_else(|| line.strip_prefix("V: ")) {
                let of_others = words.starts_with("{\"type\"");
                assert_eq!(parse(words.as_bytes(), false) == Said::Unknown, of_others, "{line}");
            } else if let Some(words) = line.strip_prefix("S: ").or_else(|| line.strip_prefix("S to V: ")) {
                assert_eq!(format!("{words}\n").as_bytes(), SHUTDOWN);
            }
        }
    }

    #[test]
    fn shutdown_is_one_line_that_a_json_channel_can_read() {
        let line = SHUTDOWN.strip_suffix(b"\n").unwrap();
        assert_eq!(serde_json::from_slice::<String>(line).unwrap(), "shutdown");
    }

    #[test]
    fn a_reader_holds_nothing_between_two_messages() {
        let (said, reader) = read([b"sta".as_slice(), b"tus x\n\"on", b"line\"\n"]);
        assert_eq!(said, [Said::Status("x".into()), Said::Online(Readiness::JsonOnline)]);
        assert_eq!(reader.lines, Lines::new(LINE_LIMIT));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn any_bytes_in_any_pieces_say_what_they_say_at_once(
            pieces in prop::collection::vec(piece(), 0..16), sizes in prop::collection::vec(1usize..64, 1..8),
        ) {
            let written = pieces.concat();
            let (at_once, whole) = read([written.as_slice()]);
            let (in_pieces, cut) = read(cuts(&written, &sizes));
            prop_assert_eq!(&at_once, &in_pieces);
            prop_assert_eq!(&whole, &cut);

            let newlines = written.iter().filter(|byte| **byte == b'\n').count() as u64;
            let unfinished = written.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
            let counted_early = u64::from(unfinished > LINE_LIMIT);
            prop_assert_eq!(at_once.len() as u64 + whole.overlong() - counted_early, newlines);
            let unknown = at_once.iter().filter(|said| **said == Said::Unknown).count() as u64;
            prop_assert_eq!(whole.unknown(), unknown);
            prop_assert!(at_once.iter().all(is_fit_to_be_shown));
        }
    }

    /// Something that a worker may write: words, what looks like them, junk, and now and then a flood.
    #[expect(clippy::disallowed_types, reason = "what prop_oneof expands to")]
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "online\n",
            "\"ready\"\r\n",
            "offline",
            " ",
            "status \u{1b}[2J",
            "STATUS=",
            "ping\n",
            "\"",
            "\\u001b",
            "\n",
        ];
        prop_oneof![
            6 => prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
            3 => prop::collection::vec(any::<u8>(), 0..40),
            1 => (4080usize..4110).prop_map(|count| vec![b'x'; count]),
        ]
    }

    fn cuts<'w>(mut written: &'w [u8], sizes: &[usize]) -> Vec<&'w [u8]> {
        let mut reads = Vec::new();
        for size in sizes.iter().cycle() {
            if written.is_empty() {
                break;
            }
            let (read, rest) = written.split_at((*size).min(written.len()));
            reads.push(read);
            written = rest;
        }
        reads
    }

    fn is_fit_to_be_shown(said: &Said) -> bool {
        match said {
            Said::Offline { why: text } | Said::Status(text) => {
                text.chars().count() <= 256 && !text.chars().any(char::is_control)
            }
            Said::Online(_) | Said::Ping | Said::Extend(_) | Said::Unknown => true,
        }
    }

    pub(crate) fn read<'r>(reads: impl IntoIterator<Item = &'r [u8]>) -> (Vec<Said>, Reader) {
        let mut reader = Reader::new();
        let mut said = Vec::new();
        for mut bytes in reads {
            while let Some(message) = reader.next(&mut bytes) {
                said.push(message);
            }
            assert!(bytes.is_empty(), "a reader takes all that it is given");
        }
        (said, reader)
    }

    /// The lines of each block tagged `session`, what follows the tag as the first.
    fn sessions() -> Vec<Vec<&'static str>> {
        let blocks = SPEC.split("\n```session ").skip(1);
        blocks.map(|block| block.split("\n```").next().unwrap().lines().collect()).collect()
    }
}
