//! What a line looks like: as it was written, after a prefix, or as a JSON object.
//!
//! ```text
//!   plain    GET /
//!   prefix   2026-11-20T10:00:00.123Z node.2 | GET /
//!   json     {"ts":"2026-11-20T10:00:00.123Z","slot":2,"pid":4711,"generation":3,"stream":"stdout","msg":"GET /"}
//! ```
//!
//! What srvwrap itself says has the same form, with its name in the place of a worker's. A line that is too long goes
//! on in the next one, and says so: in plain text and after a prefix by [`GOES_ON`] at its end, in JSON by
//! `"partial":true`. JSON is valid whatever the bytes: what is not UTF-8 is replaced by U+FFFD.
//!
//! What this file does not do: know the time; its text comes in as a stamp.

use memchr::memchr_iter;

use crate::units::size_in_words;

use super::backlog::Gap;
use super::block::{Block, Ends, character_end};
use super::{Format, Own};

/// What a line ends with that goes on in the next one.
pub(crate) const GOES_ON: &str = " …[goes on]";

/// Bytes of a line after a prefix or in JSON, its newline included: what a container's log keeps in one piece.
const LONGEST: usize = 16 * 1024;

/// Who wrote something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) slot: u32,
    pub(crate) pid: u32,
    pub(crate) generation: u32,
    pub(crate) stream: Own,
}

#[derive(Clone, Debug)]
pub(crate) struct Form {
    format: Format,
    /// Of the program, as it stands in a prefix.
    name: String,
    coloured: bool,
}

impl Form {
    /// `coloured`: a prefix has a colour of its slot.
    pub(crate) fn new(format: Format, name: &str, coloured: bool) -> Form {
        Form { format, name: name.to_string(), coloured }
    }

    /// Whether a block is written as it is, once its last line has an end.
    pub(crate) fn is_plain(&self) -> bool {
        self.format == Format::Plain
    }

    /// Appends the lines of a block; the last of them has an end whatever the block's end is.
    pub(crate) fn lines(&self, block: &Block<'_>, stamp: &str, source: &Source, out: &mut Vec<u8>) {
        if self.format == Format::Plain {
            out.extend_from_slice(&block.bytes);
            match block.ends {
                Ends::Line => {}
                Ends::Cut => end_piece(out),
                Ends::Stream => out.push(b'\n'),
            }
            return;
        }
        let opening = self.opening(stamp, source);
        let mut text: &[u8] = &block.bytes;
        for end in memchr_iter(b'\n', &block.bytes) {
            let start = block.bytes.len() - text.len();
            self.line(&opening, &block.bytes[start..end], false, out);
            text = &block.bytes[end + 1..];
        }
        if !text.is_empty() {
            self.line(&opening, text, block.ends == Ends::Cut, out);
        }
    }

    /// Appends what srvwrap itself says.
    pub(crate) fn notice(&self, sentence: &str, stamp: &str, out: &mut Vec<u8>) {
        let opening = match self.format {
            Format::Plain => String::from("srvwrap: "),
            Format::Prefix => format!("{stamp} srvwrap | "),
            Format::Json => format!("{{\"ts\":\"{stamp}\",\"stream\":\"srvwrap\",\"msg\":\""),
        };
        self.line(opening.as_bytes(), sentence.as_bytes(), false, out);
    }

    /// Appends that lines are missing here, because of `why`.
    pub(crate) fn gap(&self, gap: Gap, why: &str, stamp: &str, out: &mut Vec<u8>) {
        self.notice(&missing(gap, why), stamp, out);
        if self.format == Format::Json {
            out.truncate(out.len() - JSON_END.len());
            let Gap { lines, bytes } = gap;
            let more = format!("\",\"dropped_lines\":{lines},\"dropped_bytes\":{bytes}}}\n");
            out.extend_from_slice(more.as_bytes());
        }
    }

    /// What stands before the text of each line.
    fn opening(&self, stamp: &str, source: &Source) -> Vec<u8> {
        let Source { slot, pid, generation, stream } = source;
        let name = &self.name;
        if self.format == Format::Json {
            let stream = match stream {
                Own::Stdout => "stdout",
                Own::Stderr => "stderr",
            };
            return format!(
                "{{\"ts\":\"{stamp}\",\"slot\":{slot},\"pid\":{pid},\"generation\":{generation},\
                 \"stream\":\"{stream}\",\"msg\":\""
            )
            .into_bytes();
        }
        if self.coloured {
            // Cyan, yellow, green, magenta, blue, and their bright ones: red is for trouble.
            const COLOURS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];
            let colour = COLOURS[*slot as usize % COLOURS.len()];
            return format!("\x1b[{colour}m{stamp} {name}.{slot} |\x1b[0m ").into_bytes();
        }
        format!("{stamp} {name}.{slot} | ").into_bytes()
    }

    /// One line, in as many pieces as it takes.
    fn line(&self, opening: &[u8], text: &[u8], goes_on: bool, out: &mut Vec<u8>) {
        let mut text = text.strip_suffix(b"\r").unwrap_or(text);
        loop {
            out.extend_from_slice(opening);
            let room = LONGEST.saturating_sub(opening.len() + PIECE_END_BYTES).max(PIECE_END_BYTES);
            let taken = match self.format {
                Format::Plain | Format::Prefix => copy(text, room, out),
                Format::Json => escape(text, room, out),
            };
            text = &text[taken..];
            let is_last = text.is_empty();
            match self.format {
                Format::Json if is_last && !goes_on => out.extend_from_slice(JSON_END),
                Format::Json => out.extend_from_slice(JSON_PIECE_END),
                Format::Plain | Format::Prefix if is_last && !goes_on => out.push(b'\n'),
                Format::Plain | Format::Prefix => end_piece(out),
            }
            if is_last {
                return;
            }
        }
    }
}

const JSON_END: &[u8] = b"\"}\n";
const JSON_PIECE_END: &[u8] = b"\",\"partial\":true}\n";
/// Of whatever form.
const PIECE_END_BYTES: usize = 32;

fn end_piece(out: &mut Vec<u8>) {
    out.extend_from_slice(GOES_ON.as_bytes());
    out.push(b'\n');
}

/// How many bytes of the text were taken: all, or as many as there is room for.
fn copy(text: &[u8], room: usize, out: &mut Vec<u8>) -> usize {
    let taken = if text.len() <= room { text.len() } else { character_end(&text[..room]) };
    out.extend_from_slice(&text[..taken]);
    taken
}

/// Appends the text as a JSON string's inside, at most `room` bytes and two characters more; how many bytes of the text
/// were taken.
fn escape(text: &[u8], room: usize, out: &mut Vec<u8>) -> usize {
    let limit = out.len() + room;
    let mut taken = 0;
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        while !rest.is_empty() {
            let space = limit.saturating_sub(out.len());
            if space == 0 {
                return taken;
            }
            let plain = rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len());
            let plain = if plain > space { character_end(&rest[..space]).max(1) } else { plain };
            // A character longer than the space that is left: the line is a little longer.
            let plain = if plain == 1 && rest[0] >= 0x80 { first_character(rest) } else { plain };
            out.extend_from_slice(&rest[..plain]);
            taken += plain;
            rest = &rest[plain..];
            if let Some(byte) = rest.first().copied().filter(|byte| is_special(*byte)) {
                escape_byte(byte, out);
                taken += 1;
                rest = &rest[1..];
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
            taken += chunk.invalid().len();
        }
        if out.len() >= limit {
            return taken;
        }
    }
    taken
}

/// Of valid UTF-8.
fn first_character(text: &[u8]) -> usize {
    text.iter().skip(1).position(|byte| byte & 0xc0 != 0x80).map_or(text.len(), |at| at + 1)
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\t' => b't',
        b'\r' => b'r',
        b'\n' => b'n',
        _ => {
            return out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// As in `1234 lines (98 KiB) were dropped: No space left on device`.
pub(crate) fn missing(gap: Gap, why: &str) -> String {
    let Gap { lines, bytes } = gap;
    let (noun, were) = if lines == 1 { ("line", "was") } else { ("lines", "were") };
    format!("{lines} {noun} ({}) {were} dropped: {why}", size_in_words(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;
    use serde_json::Value;
    use std::borrow::Cow;

    const STAMP: &str = "2026-11-20T10:00:00.123Z";
    const SOURCE: Source = Source { slot: 2, pid: 4711, generation: 3, stream: Own::Stdout };

    fn formed(format: Format, text: &[u8], ends: Ends) -> String {
        let mut out = Vec::new();
        let block = Block { bytes: Cow::Borrowed(text), ends };
        Form::new(format, "node", false).lines(&block, STAMP, &SOURCE, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn plain_text_is_as_it_was_and_has_an_end() {
        assert_eq!(formed(Format::Plain, b"a\r\n\tb\n", Ends::Line), "a\r\n\tb\n");
        assert_eq!(formed(Format::Plain, b"a", Ends::Stream), "a\n");
        assert_eq!(formed(Format::Plain, b"a", Ends::Cut), "a …[goes on]\n");
    }

    #[test]
    fn a_prefix_tells_when_and_who() {
        let expected =
            format!("{STAMP} node.2 | a\n{STAMP} node.2 | \n{STAMP} node.2 | b\n{STAMP} node.2 | c\n");
        assert_eq!(formed(Format::Prefix, b"a\n\nb\r\nc", Ends::Stream), expected);
        assert_eq!(formed(Format::Prefix, b"a", Ends::Cut), format!("{STAMP} node.2 | a …[goes on]\n"));
        let mut out = Vec::new();
        let block = Block { bytes: Cow::Borrowed(b"a\n"), ends: Ends::Line };
        Form::new(Format::Prefix, "node", true).lines(&block, STAMP, &SOURCE, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("\x1b[32m{STAMP} node.2 |\x1b[0m a\n"));
    }

    #[test]
    fn json_is_an_object_a_line() {
        assert_eq!(
            formed(Format::Json, b"say \"hi\"\t\\\x1b[0m\0\xff\xfe\n", Ends::Line),
            format!(
                "{{\"ts\":\"{STAMP}\",\"slot\":2,\"pid\":4711,\"generation\":3,\"stream\":\"stdout\",\
                 \"msg\":\"say \\\"hi\\\"\\t\\\\\\u001b[0m\\u0000\u{fffd}\u{fffd}\"}}\n"
            )
        );
        assert!(formed(Format::Json, b"a", Ends::Cut).ends_with("\"msg\":\"a\",\"partial\":true}\n"));
    }

    #[test]
    fn srvwrap_speaks_in_the_same_form() {
        let said = |format| {
            let mut out = Vec::new();
            Form::new(format, "node", true).notice("worker 2 online", STAMP, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(said(Format::Plain), "srvwrap: worker 2 online\n");
        assert_eq!(said(Format::Prefix), format!("{STAMP} srvwrap | worker 2 online\n"));
        assert_eq!(
            said(Format::Json),
            format!("{{\"ts\":\"{STAMP}\",\"stream\":\"srvwrap\",\"msg\":\"worker 2 online\"}}\n")
        );
    }

    #[test]
    fn a_gap_tells_its_size_and_why() {
        let told = |format| {
            let mut out = Vec::new();
            let gap = Gap { lines: 1234, bytes: 100_352 };
            Form::new(format, "node", false).gap(gap, "No space left on device", STAMP, &mut out);
            String::from_utf8(out).unwrap()
        };
        let sentence = "1234 lines (98 KiB) were dropped: No space left on device";
        assert_eq!(told(Format::Plain), format!("srvwrap: {sentence}\n"));
        let object: Value = serde_json::from_str(&told(Format::Json)).unwrap();
        assert_eq!(object["msg"], sentence);
        assert_eq!((&object["dropped_lines"], &object["dropped_bytes"]), (&1234.into(), &100_352.into()));
        assert_eq!(missing(Gap { lines: 1, bytes: 5 }, "x"), "1 line (5 B) was dropped: x");
    }

    #[test]
    fn a_long_line_goes_on_in_the_next_one_and_no_line_is_longer_than_containers_keep() {
        let text = "é\"\u{1}".repeat(20_000);
        let line = format!("{text}\n");
        for format in [Format::Prefix, Format::Json] {
            let formed = formed(format, line.as_bytes(), Ends::Line);
            assert!(formed.lines().all(|line| line.len() < LONGEST));
            assert!(formed.lines().count() >= 5);
            assert_eq!(texts_of(format, &formed).concat(), text);
        }
    }

    /// Of each line; `partial` and its like are looked at.
    fn texts_of(format: Format, formed: &str) -> Vec<String> {
        let count = formed.split_terminator('\n').count();
        let texts = formed.split_terminator('\n').enumerate().map(|(index, line)| {
            let goes_on = index + 1 < count;
            if format == Format::Json {
                let object: Value = serde_json::from_str(line).expect("each line is valid JSON");
                assert_eq!(object.get("partial").is_some(), goes_on, "{line}");
                return object["msg"].as_str().unwrap().to_string();
            }
            let text = line.split_once(" | ").unwrap().1;
            if goes_on { text.strip_suffix(GOES_ON).unwrap().to_string() } else { text.to_string() }
        });
        texts.collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes_make_valid_json_that_says_the_same(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let formed = formed(Format::Json, &text, Ends::Stream);
            let mut expected: Vec<String> = text
                .split(|byte| *byte == b'\n')
                .map(|line| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned())
                .collect();
            if text.is_empty() || text.ends_with(b"\n") {
                expected.pop();
            }
            let messages: Vec<String> = formed.split_terminator('\n')
                .map(|line| serde_json::from_str::<Value>(line).expect("valid JSON")["msg"].as_str().unwrap().to_string())
                .collect();
            prop_assert_eq!(messages, expected);
        }

        #[test]
        fn text_is_cut_between_characters_only(
            text in "[a\u{e9}\u{20ac}\u{1f600}\"\u{1}]{0,40}", room in 1_usize..12,
        ) {
            let (mut rest, mut escaped) = (text.as_bytes(), Vec::new());
            while !rest.is_empty() {
                let mut out = Vec::new();
                let taken = escape(rest, room, &mut out);
                prop_assert!(taken > 0 && out.len() < room + 10);
                prop_assert!(std::str::from_utf8(&rest[..taken]).is_ok());
                rest = &rest[taken..];
                escaped.extend(out);
            }
            let whole = format!("\"{}\"", String::from_utf8(escaped).unwrap());
            prop_assert_eq!(serde_json::from_str::<String>(&whole).unwrap(), text);
        }
    }
}
