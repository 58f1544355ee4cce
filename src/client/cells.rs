//! Text that is safe to show and fits: cleaned, measured in columns of a terminal, cut, and aligned in tables.
//!
//! ```text
//!   anybody's words ── clean() ──> no control characters ── cut() ──> no wider than the screen
//! ```
//!
//! What a worker says and what a program is called is somebody else's text: on a terminal it could move the cursor,
//! set the title, or have the terminal type. It is shown spelled out.
//!
//! What this file does not do: know a terminal (`block.rs`) or what there is to show.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// The same text in one line, without anything that speaks to the terminal or turns the direction of writing.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            cleaned.extend(character.escape_debug());
        } else if is_invisible(character) {
            cleaned.extend(character.escape_unicode());
        } else {
            cleaned.push(character);
        }
    }
    cleaned
}

/// Line and paragraph separators, marks that turn the direction of writing, and what has no width but a meaning.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// How many columns a text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// From Unicode's tables, in rough strokes: marks that stand above another character, and East Asian wide ones. Where
/// a terminal disagrees a line is cut a little early or late.
fn columns(character: char) -> usize {
    match character {
        '\u{300}'..='\u{36f}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{200c}'
        | '\u{200d}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// As much of a line as fits into so many columns; what is cut off leaves its mark.
pub(super) fn cut(line: &str, columns_there: usize) -> String {
    if width(line) <= columns_there {
        return line.to_owned();
    }
    let mut left = columns_there.saturating_sub(1);
    let mut kept = String::new();
    for character in line.chars() {
        let Some(rest) = left.checked_sub(columns(character)) else { break };
        left = rest;
        kept.push(character);
    }
    if columns_there > 0 {
        kept.push('…');
    }
    kept
}

/// A time as people read it: `1.2s`, `45s`, `3m12s`, `5h03m`, `12d04h`.
pub(super) struct Took(pub(super) Duration);

impl Display for Took {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let text = match seconds {
            0..10 => format!("{seconds}.{}s", self.0.subsec_millis() / 100),
            10..60 => format!("{seconds}s"),
            60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
            3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
            _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
        };
        f.pad(&text)
    }
}

/// A number of bytes in units of 1024: `712K`, `45.2M`, `1.5G`.
pub(super) struct Bytes(pub(super) u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["M", "G", "T", "P"];
        let kibibytes = self.0 / 1024;
        if kibibytes < 1024 {
            return f.pad(&format!("{kibibytes}K"));
        }
        let (mut tenths, mut unit) = (kibibytes * 10 / 1024, 0);
        while tenths >= 10240 && unit + 1 < UNITS.len() {
            tenths /= 1024;
            unit += 1;
        }
        f.pad(&format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit]))
    }
}

/// Which way a column leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Rows of cells under a head, as wide as what is in them. The last column is not filled up.
pub(super) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    /// A table with these columns.
    pub(super) fn new(columns: &[(&str, Side)]) -> Table {
        let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Table { sides: columns.iter().map(|(_, side)| *side).collect(), rows: vec![head] }
    }

    /// One without a head.
    pub(super) fn bare(sides: &[Side]) -> Table {
        Table { sides: sides.to_vec(), rows: Vec::new() }
    }

    /// One more row, of as many cells as there are columns; cleaned here.
    pub(super) fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| clean(cell)).collect());
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.fitted(&[], 0, 0)
    }

    /// Without as many of the `spare` columns, in this order, as it takes for the column `needed` to end within so
    /// many columns of a terminal.
    pub(super) fn fitted(&self, spare: &[usize], needed: usize, room: usize) -> Vec<String> {
        let widest = |column: usize| self.rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.sides.len()).map(widest).collect();
        let mut shown: Vec<usize> = (0..self.sides.len()).collect();
        for column in spare {
            let before = shown.iter().filter(|column| **column < needed);
            if before.map(|column| widths[*column] + GAP.len()).sum::<usize>() + widths[needed] <= room {
                break;
            }
            shown.retain(|shown| shown != column);
        }
        self.rows.iter().map(|row| self.line(row, &shown, &widths)).collect()
    }

    fn line(&self, row: &[String], shown: &[usize], widths: &[usize]) -> String {
        let mut line = String::new();
        for &column in shown {
            let cell = &row[column];
            let filling = " ".repeat(widths[column] - width(cell));
            let gap = if line.is_empty() { "" } else { GAP };
            match self.sides[column] {
                Side::Left => line.extend([gap, cell, &filling]),
                Side::Right => line.extend([gap, &filling, cell]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_would_speak_to_the_terminal_is_spelled_out() {
        for (text, cleaned) in [
            ("all is well", "all is well"),
            ("größer 漢字 🦀", "größer 漢字 🦀"),
            ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("two\nlines\r\t\0", "two\\nlines\\r\\t\\0"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("abc\u{202e}def\u{2028}", "abc\\u{202e}def\\u{2028}"),
        ] {
            assert_eq!(clean(text), cleaned);
        }
    }

    #[test]
    fn a_line_is_cut_where_the_screen_ends_and_the_cut_is_marked() {
        assert_eq!(cut("0123456789", 10), "0123456789");
        assert_eq!(cut("0123456789", 9), "01234567…");
        assert_eq!(cut("漢字漢字", 8), "漢字漢字");
        assert_eq!(cut("漢字漢字", 7), "漢字漢…");
        assert_eq!(cut("漢字漢字", 6), "漢字…");
        assert_eq!(cut("abc", 1), "…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn times_have_two_units_at_most() {
        for (millis, text) in [
            (0, "0.0s"),
            (1_290, "1.2s"),
            (9_999, "9.9s"),
            (10_000, "10s"),
            (59_999, "59s"),
            (60_000, "1m00s"),
            (3_599_000, "59m59s"),
            (3_600_000, "1h00m"),
            (86_399_000, "23h59m"),
            (90_000_000, "1d01h"),
        ] {
            assert_eq!(Took(Duration::from_millis(millis)).to_string(), text);
        }
    }

    #[test]
    fn bytes_are_counted_in_units_of_1024() {
        for (bytes, text) in [
            (0, "0K"),
            (1023 * 1024, "1023K"),
            (1024 * 1024, "1.0M"),
            (47_395_635, "45.1M"),
            (1024 * 1024 * 1024 - 1, "1023.9M"),
            (1610612736, "1.5G"),
            (u64::MAX, "16383.9P"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&[("slot", Side::Right), ("state", Side::Left), ("said", Side::Left)]);
        table.row(&["0", "online", "漢字"]);
        table.row(&["10", "up\n", ""]);
        assert_eq!(table.lines(), ["slot  state   said", "   0  online  漢字", "  10  up\\n"]);
    }

    #[test]
    fn where_what_is_needed_does_not_fit_other_columns_are_left_out_one_by_one() {
        use Side::{Left, Right};
        let mut table =
            Table::new(&[("slot", Right), ("pid", Right), ("gen", Right), ("state", Left), ("up", Right)]);
        table.row(&["0", "4711", "2", "starting", "1.2s"]);
        let row = |room| table.fitted(&[2, 1], 3, room).pop().unwrap();
        assert_eq!(row(25), "   0  4711    2  starting  1.2s");
        assert_eq!(row(24), "   0  4711    2  starting  1.2s".replace("    2", ""));
        assert_eq!(row(20), "   0  4711  starting  1.2s");
        for room in [0, 19] {
            assert_eq!(row(room), "   0  starting  1.2s");
        }
        assert_eq!(table.fitted(&[2, 1], 3, 0)[0], "slot  state       up");
    }

    proptest! {
        #[test]
        fn no_text_is_wider_than_it_was_cut_and_no_control_character_is_left(text in ".*", columns in 0usize..50) {
            let line = cut(&clean(&text), columns);
            prop_assert!(width(&line) <= columns);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
