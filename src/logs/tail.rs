//! The last lines that a program wrote, for whoever asks why it failed.
//!
//! What this file does not do: keep more than [`KEPT`], however much there was.

/// Bytes of one program.
pub(crate) const KEPT: usize = 2048;
/// Of these lines at most, the last: a trace may have its message some twenty lines before its end.
const LINES: usize = 20;

#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
    /// Whether something came before them.
    cut: bool,
}

impl Tail {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(KEPT)..];
        let too_many = (self.bytes.len() + new.len()).saturating_sub(KEPT);
        self.cut |= too_many > 0 || new.len() < bytes.len();
        self.bytes.drain(..too_many);
        self.bytes.extend_from_slice(new);
    }

    /// Whether this is in what is kept, in the lines that are told or before them.
    pub(crate) fn contains(&self, text: &str) -> bool {
        memchr::memmem::find(&self.bytes, text.as_bytes()).is_some()
    }

    /// Without their newlines, in their order; empty ones at the end are left out.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = self.bytes.trim_ascii_end();
        let mut lines: Vec<String> = text.split(|byte| *byte == b'\n').map(readable).collect();
        if self.cut {
            // It is there in part only.
            lines[0].insert(0, '…');
        }
        let surplus = lines.len().saturating_sub(LINES);
        lines.drain(..surplus);
        if text.is_empty() { Vec::new() } else { lines }
    }
}

fn readable(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(texts: &[&[u8]]) -> Vec<String> {
        let mut tail = Tail::default();
        for text in texts {
            tail.add(text);
            assert!(tail.bytes.len() <= KEPT);
        }
        tail.lines()
    }

    #[test]
    fn who_wrote_little_is_told_whole() {
        assert_eq!(tail(&[]), [""; 0]);
        assert_eq!(tail(&[b"\n\n"]), [""; 0]);
        assert_eq!(tail(&[b"one\r\n\ntwo\n", b"three"]), ["one", "", "two", "three"]);
        assert_eq!(tail(&[b"caf\xff\n\n"]), ["caf\u{fffd}"]);
    }

    #[test]
    fn of_much_the_last_lines_are_told() {
        let lines: String = (0..5000).map(|number| format!("line {number}\n")).collect();
        let expected: Vec<String> = (4980..5000).map(|number| format!("line {number}")).collect();
        assert_eq!(tail(&[lines.as_bytes()]), expected);
        let pieces: Vec<&[u8]> = lines.as_bytes().split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(tail(&pieces), expected);
    }

    #[test]
    fn of_a_long_line_its_end_is_told() {
        let told = tail(&[&[b'x'; 5000], b"end\n"]);
        assert_eq!(told, [format!("…{}end", "x".repeat(KEPT - 4))]);
        let told = tail(&[&[b'x'; 5000], b"\n", b"short\n"]);
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("…x") && told[1] == "short");
    }
}
