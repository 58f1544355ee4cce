//! Lines on a terminal that are drawn over one another: what to write so that the screen shows the new ones.
//!
//! ```text
//!   lines ──> draw(lines, screen) ──> bytes: up to the first old line, each new line, erase what is left
//! ```
//!
//! The cursor rests at the end of the last line, and is never hidden: whatever ends the program, the terminal is as it
//! was. What a key echoes (`^C`) is written there and drawn over the next time.
//!
//! What this file does not do: write, or know what the lines are about.

use super::cells::{cut, width};

/// How large a terminal is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// The lines that are drawn at present.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The columns of each.
    drawn: Vec<usize>,
}

impl Block {
    /// Draws these lines, already cleaned, in the place of those before. No more are drawn than the screen has rows,
    /// and each is cut before the last column, so that no terminal breaks it.
    pub(super) fn draw(&mut self, lines: &[String], screen: Screen) -> String {
        let mut bytes = self.to_the_top(screen);
        let columns = screen.columns.saturating_sub(1);
        let shown: Vec<String> =
            lines.iter().take(screen.rows.max(1)).map(|line| cut(line, columns)).collect();
        for (number, line) in shown.iter().enumerate() {
            bytes.push_str(if number == 0 { "" } else { "\r\n" });
            bytes.push_str(line);
            bytes.push_str("\x1b[K");
        }
        bytes.push_str("\x1b[J");
        self.drawn = shown.iter().map(|line| width(line)).collect();
        bytes
    }

    /// Takes away what is drawn; the cursor is where it began.
    pub(super) fn erase(&mut self, screen: Screen) -> String {
        if self.drawn.is_empty() {
            return String::new();
        }
        let bytes = self.to_the_top(screen) + "\x1b[J";
        self.drawn.clear();
        bytes
    }

    /// A terminal that has become narrower since has broken the lines.
    fn to_the_top(&self, screen: Screen) -> String {
        let rows = |columns: &usize| columns.div_ceil(screen.columns.max(1)).max(1);
        match self.drawn.iter().map(rows).sum() {
            0 => String::new(),
            1 => "\r".to_owned(),
            rows => format!("\r\x1b[{}A", rows - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal as far as a block uses one.
    struct Terminal {
        rows: Vec<Vec<char>>,
        row: usize,
        column: usize,
    }

    const SCREEN: Screen = Screen { columns: 12, rows: 5 };

    impl Terminal {
        fn new() -> Terminal {
            Terminal { rows: vec![vec![' '; SCREEN.columns]; SCREEN.rows], row: 0, column: 0 }
        }

        fn write(&mut self, bytes: &str) {
            let mut rest = bytes;
            while let Some(character) = rest.chars().next() {
                rest = &rest[character.len_utf8()..];
                match character {
                    '\r' => self.column = 0,
                    '\n' => self.line_feed(),
                    '\x1b' => {
                        let end = rest.find(|c: char| c.is_ascii_alphabetic()).expect("a whole sequence");
                        self.sequence(&rest[..=end]);
                        rest = &rest[end + 1..];
                    }
                    _ => {
                        assert!(self.column < SCREEN.columns, "a line was broken");
                        self.rows[self.row][self.column] = character;
                        self.column += 1;
                    }
                }
            }
        }

        fn line_feed(&mut self) {
            self.row += 1;
            if self.row == SCREEN.rows {
                self.row -= 1;
                self.rows.remove(0);
                self.rows.push(vec![' '; SCREEN.columns]);
            }
        }

        fn sequence(&mut self, sequence: &str) {
            match sequence {
                "[K" => self.rows[self.row][self.column..].fill(' '),
                "[J" => {
                    self.rows[self.row][self.column..].fill(' ');
                    self.rows[self.row + 1..].iter_mut().for_each(|row| row.fill(' '));
                }
                up => {
                    let count: usize = up[1..up.len() - 1].parse().expect("a count");
                    assert!(up.ends_with('A') && count <= self.row, "{up} from row {}", self.row);
                    self.row -= count;
                }
            }
        }

        fn text(&self) -> Vec<String> {
            self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect()
        }
    }

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn new_lines_take_the_place_of_the_old_ones() {
        let (mut terminal, mut block) = (Terminal::new(), Block::default());
        terminal.write("before\r\n");
        terminal.write(&block.draw(&lines("one two three"), SCREEN));
        assert_eq!(terminal.text(), ["before", "one", "two", "three", ""]);
        terminal.write("^C");
        terminal.write(&block.draw(&lines("1 2"), SCREEN));
        assert_eq!(terminal.text(), ["before", "1", "2", "", ""]);
        terminal.write(&block.erase(SCREEN));
        terminal.write("after\r\n");
        assert_eq!(terminal.text(), ["before", "after", "", "", ""]);
        assert_eq!(block.erase(SCREEN), "");
    }

    #[test]
    fn a_block_at_the_bottom_of_the_screen_scrolls_it_once() {
        let (mut terminal, mut block) = (Terminal::new(), Block::default());
        terminal.write("a\r\nb\r\nc\r\nd\r\n");
        for round in ["1 2 3", "4 5 6", "7 8 9"] {
            terminal.write(&block.draw(&lines(round), SCREEN));
        }
        assert_eq!(terminal.text(), ["c", "d", "7", "8", "9"]);
    }

    #[test]
    fn no_more_is_drawn_than_fits() {
        let (mut terminal, mut block) = (Terminal::new(), Block::default());
        for _ in 0..2 {
            terminal.write(&block.draw(&lines("0123456789ab 2 3 4 5 6 7"), SCREEN));
        }
        assert_eq!(terminal.text(), ["0123456789…", "2", "3", "4", "5"]);
    }

    #[test]
    fn lines_that_a_narrower_screen_has_broken_are_counted_as_they_are() {
        let mut block = Block::default();
        let wide = Screen { columns: 80, rows: 24 };
        block.draw(&["x".repeat(70), "y".repeat(10)], wide);
        let narrow = Screen { columns: 20, rows: 24 };
        assert!(block.draw(&lines("a b"), narrow).starts_with("\r\x1b[4A"));
    }
}
