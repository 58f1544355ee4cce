//! What a terminal shows after all that was written to it: as much of one as a program should need.
//!
//! Anything else that would speak to a terminal is a failure of the test.

pub(crate) struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    /// A screen of (columns, rows) to which this was written. The end of an unfinished sequence is waited for.
    pub(crate) fn showing(text: &str, (columns, rows): (usize, usize)) -> Screen {
        let mut screen = Screen { rows: vec![vec![' '; columns]; rows], row: 0, column: 0 };
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            match character {
                '\r' => screen.column = 0,
                '\n' => screen.line_feed(),
                '\x1b' => {
                    let Some(end) = rest.find(|c: char| c.is_ascii_alphabetic()) else { return screen };
                    screen.sequence(&rest[..=end]);
                    rest = &rest[end + 1..];
                }
                _ => screen.put(character),
            }
        }
        screen
    }

    /// Each row, without the spaces at its end, and without empty ones at the bottom.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = |row: &Vec<char>| row.iter().collect::<String>().trim_end().to_owned();
        let mut lines: Vec<String> = self.rows.iter().map(text).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    fn put(&mut self, character: char) {
        assert!(!character.is_control(), "{character:?} reached the terminal");
        if self.column == self.rows[0].len() {
            self.column = 0;
            self.line_feed();
        }
        self.rows[self.row][self.column] = character;
        self.column += 1;
    }

    fn line_feed(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.row -= 1;
            let first = self.rows.remove(0);
            self.rows.push(vec![' '; first.len()]);
        }
    }

    fn sequence(&mut self, sequence: &str) {
        match sequence {
            "[K" => self.rows[self.row][self.column..].fill(' '),
            "[J" => {
                self.rows[self.row][self.column..].fill(' ');
                self.rows[self.row + 1..].iter_mut().for_each(|row| row.fill(' '));
            }
            "[H" => (self.row, self.column) = (0, 0),
            up => {
                let count = up.strip_prefix('[').and_then(|up| up.strip_suffix('A')?.parse().ok());
                let count: usize = count.unwrap_or_else(|| panic!("ESC {up:?} reached the terminal"));
                self.row = self.row.saturating_sub(count);
            }
        }
    }
}
