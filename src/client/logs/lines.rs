//! Whole lines out of bytes as they come, of all slots or of one.
//!
//! What this file does not do: read.

use memchr::{memchr_iter, memmem, memrchr};

/// Whose lines are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Of {
    All,
    /// Lines with this beside their stamp: `web.2 | ` without the name, or `"slot":2,`.
    Slot {
        mark: String,
        form: Form,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Prefix,
    Json,
}

/// So many bytes of a line tell its slot: a stamp and the name of a program.
pub(super) const HEAD_BYTES: usize = 400;

impl Of {
    /// None where lines of this format do not tell.
    pub(super) fn slot(slot: u32, format: &str) -> Option<Of> {
        match format {
            "prefix" => Some(Of::Slot { mark: format!(".{slot}"), form: Form::Prefix }),
            "json" => Some(Of::Slot { mark: format!("\"slot\":{slot},"), form: Form::Json }),
            _ => None,
        }
    }

    /// Whether the line is one that begins so.
    pub(super) fn takes(&self, line: &[u8]) -> bool {
        let head = &line[..line.len().min(HEAD_BYTES)];
        match self {
            Of::All => true,
            Of::Slot { mark, form: Form::Prefix } => {
                memmem::find(head, b" | ").is_some_and(|end| head[..end].ends_with(mark.as_bytes()))
            }
            // Only the stamp stands before it.
            Of::Slot { mark, form: Form::Json } => memmem::find(head, b"\"slot\":").is_some_and(|start| {
                start == memmem::find(head, b"\",").map_or(0, |end| end + 2)
                    && head[start..].starts_with(mark.as_bytes())
            }),
        }
    }
}

/// A line that is longer is shown in pieces.
const LONGEST: usize = 1 << 20;

/// Bytes of which whole lines are made.
#[derive(Debug)]
pub(super) struct Lines {
    of: Of,
    /// So many of the next ones are not shown.
    skip: usize,
    half: Vec<u8>,
}

impl Lines {
    pub(super) fn new(of: Of, skip: usize) -> Lines {
        Lines { of, skip, half: Vec::new() }
    }

    /// Shows the lines that have their end in these bytes, all at once; returns how many were taken, those that were
    /// skipped too.
    pub(super) fn feed(&mut self, bytes: &[u8], show: &mut dyn FnMut(&[u8])) -> usize {
        let whole = memrchr(b'\n', bytes).map_or(0, |end| end + 1);
        let mut taken = 0;
        if whole > 0 {
            self.half.extend_from_slice(&bytes[..whole]);
            taken = self.show_half(show);
        }
        self.half.extend_from_slice(&bytes[whole..]);
        if self.half.len() > LONGEST {
            taken += self.show_half(show);
        }
        taken
    }

    /// The end: half a line is one too.
    pub(super) fn end(&mut self, show: &mut dyn FnMut(&[u8])) -> usize {
        if self.half.is_empty() {
            return 0;
        }
        self.half.push(b'\n');
        self.show_half(show)
    }

    /// All that is in it, as lines.
    fn show_half(&mut self, show: &mut dyn FnMut(&[u8])) -> usize {
        let half = std::mem::take(&mut self.half);
        if self.skip == 0 && self.of == Of::All {
            show(&half);
            return memchr_iter(b'\n', &half).count();
        }
        let (mut shown, mut taken, mut start) = (Vec::new(), 0, 0);
        let ends = memchr_iter(b'\n', &half).map(|end| end + 1);
        for end in ends.chain(Some(half.len())) {
            let line = &half[start..end];
            start = end;
            if line.is_empty() || !self.of.takes(line) {
                continue;
            }
            taken += 1;
            if self.skip == 0 {
                shown.extend_from_slice(line);
            }
            self.skip = self.skip.saturating_sub(1);
        }
        if !shown.is_empty() {
            show(&shown);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lines: &mut Lines, pieces: &[&str]) -> (String, usize) {
        let (mut text, mut taken) = (Vec::new(), 0);
        for piece in pieces {
            taken += lines.feed(piece.as_bytes(), &mut |line| text.extend_from_slice(line));
        }
        taken += lines.end(&mut |line| text.extend_from_slice(line));
        (String::from_utf8(text).unwrap(), taken)
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut lines = Lines::new(Of::All, 0);
        assert_eq!(shown(&mut lines, &["a\nb", "", "c\n\nd"]), ("a\nbc\n\nd\n".to_string(), 4));
        assert_eq!(shown(&mut Lines::new(Of::All, 2), &["a\nb\nc", "\n"]), ("c\n".to_string(), 3));
        assert_eq!(shown(&mut Lines::new(Of::All, 0), &[]), (String::new(), 0));
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever() {
        let mut lines = Lines::new(Of::All, 0);
        let mut shown = 0;
        for _ in 0..40 {
            lines.feed(&[b'x'; 64 * 1024], &mut |line| shown += line.len());
        }
        assert!(shown >= 40 * 64 * 1024 - LONGEST - 64 * 1024, "{shown}");
    }

    #[test]
    fn a_line_tells_its_slot_before_its_text() {
        let two = Of::slot(2, "prefix").unwrap();
        for (line, is_taken) in [
            ("2026-11-20T10:00:00.123Z node.2 | GET /\n", true),
            ("2026-11-20T10:00:00.123Z node.12 | GET /\n", false),
            ("2026-11-20T10:00:00.123Z node.1 | about node.2 | or so\n", false),
            ("2026-11-20T10:00:00.123Z srvwrap | 3 lines were dropped\n", false),
            ("Traceback\n", false),
        ] {
            assert_eq!(two.takes(line.as_bytes()), is_taken, "{line}");
        }
        let two = Of::slot(2, "json").unwrap();
        for (line, is_taken) in [
            (r#"{"ts":"2026-11-20T10:00:00.123Z","slot":2,"pid":1,"msg":""}"#, true),
            (r#"{"ts":"2026-11-20T10:00:00.123Z","slot":21,"pid":1,"msg":""}"#, false),
            (r#"{"ts":"2026-11-20T10:00:00.123Z","slot":1,"msg":"\"slot\":2,"}"#, false),
            (r#"{"ts":"2026-11-20T10:00:00.123Z","stream":"srvwrap","msg":"","slot":2,"}"#, false),
            ("x", false),
        ] {
            assert_eq!(two.takes(line.as_bytes()), is_taken, "{line}");
        }
        assert_eq!(Of::slot(2, "plain"), None);
    }
}
