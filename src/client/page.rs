//! The page of a status, and as much of it as a screen has room for.
//!
//! ```text
//!   head        what serves, what goes on, what is run
//!   failures    slots that failed
//!   workers     a table; where it does not fit, those that are not well come first
//!   listeners
//! ```
//!
//! What goes wrong stands above the table, and no part takes the room of the others: each has a third of the rows, and
//! what they leave. What does not fit is counted.
//!
//! What this file does not do: find the words (`tables.rs`), or write.

use super::block::Screen;
use super::cells::{Table, cut};

/// Cleaned lines.
pub(super) struct Page {
    pub(super) head: Vec<String>,
    pub(super) failures: Vec<String>,
    /// Slot, pid, generation and state are its first columns.
    pub(super) workers: Table,
    /// Which of its rows are about a worker that is not well.
    pub(super) troubled: Vec<bool>,
    pub(super) listeners: Vec<String>,
}

impl Page {
    /// All of it, the table within so many columns.
    pub(super) fn lines(&self, columns: usize) -> Vec<String> {
        let mut lines = [self.head.as_slice(), &self.failures, &[String::new()]].concat();
        lines.extend(self.table(columns));
        if !self.listeners.is_empty() {
            lines.push(String::new());
        }
        lines.extend_from_slice(&self.listeners);
        lines
    }

    /// As much as a screen has rows, each cut before the last column, so that no terminal breaks it.
    pub(super) fn fitted(&self, screen: Screen) -> Vec<String> {
        let columns = screen.columns.saturating_sub(1);
        let mut lines = self.lines(columns);
        if lines.len() > screen.rows {
            lines = self.squeezed(columns, screen.rows);
        }
        lines.iter().take(screen.rows.max(1)).map(|line| cut(line, columns)).collect()
    }

    fn table(&self, columns: usize) -> Vec<String> {
        // The pids go after the generations, and before the states are cut, which takes a column for the mark.
        let lines = self.workers.fitted(&[2, 1], 3, columns.saturating_sub(1));
        lines.iter().map(|line| cut(line, columns)).collect()
    }

    fn squeezed(&self, columns: usize, rows: usize) -> Vec<String> {
        let table = self.table(columns);
        let room = rows.saturating_sub(self.head.len());
        let needs = [self.failures.len(), table.len(), self.listeners.len()];
        let [failures, workers, listeners] = shares(room, needs);
        let mut lines = self.head.clone();
        lines.extend(some(&self.failures, failures));
        if let Some((names, rows)) = table.split_first().filter(|_| workers > 1) {
            lines.push(names.clone());
            lines.extend(self.some_workers(rows, workers - 1));
        }
        lines.extend(some(&self.listeners, listeners));
        lines
    }

    fn some_workers(&self, rows: &[String], room: usize) -> Vec<String> {
        if rows.len() <= room {
            return rows.to_vec();
        }
        let (troubled, well): (Vec<_>, Vec<_>) =
            rows.iter().cloned().zip(&self.troubled).partition(|(_, troubled)| **troubled);
        let are_all_shown = troubled.len() < room;
        let rows: Vec<String> = troubled.into_iter().chain(well).map(|(row, _)| row).collect();
        let mut shown = some(&rows, room);
        if let Some(more) = shown.last_mut().filter(|_| are_all_shown) {
            more.push_str(", all online");
        }
        shown
    }
}

/// What each of the needs gets of the room: a third if it wants that, and of what is left as much as there is, the
/// first ones first.
fn shares(room: usize, needs: [usize; 3]) -> [usize; 3] {
    let mut shares = needs.map(|need| need.min(room / 3));
    let mut left = room - shares.iter().sum::<usize>();
    for (share, need) in shares.iter_mut().zip(needs) {
        let more = left.min(need - *share);
        *share += more;
        left -= more;
    }
    shares
}

/// The first ones, and how many more there are.
fn some(lines: &[String], room: usize) -> Vec<String> {
    if lines.len() <= room {
        return lines.to_vec();
    }
    let Some(room) = room.checked_sub(1) else { return Vec::new() };
    let mut shown = lines[..room].to_vec();
    shown.push(format!("  and {} more", lines.len() - room));
    shown
}

#[cfg(test)]
mod tests {
    use super::super::tables::status;
    use super::super::tables::tests::{serving, worker};
    use super::*;
    use crate::wire::control::status::{Listener, Worker};

    /// So many workers, of which every third is starting; one has failed.
    fn page(workers: u32, listeners: u16) -> Page {
        let state = |slot: u32| if slot % 3 == 2 { "starting" } else { "online" };
        let workers = (0..workers).map(|slot| worker(slot, slot + 100, 2, state(slot)));
        let mut known = serving(workers.collect());
        if let Some(last) = known.workers.last_mut() {
            *last = Worker { failures: 2, last_failure: Some("it broke".to_owned()), ..last.clone() };
        }
        let address = |port| format!("127.0.0.1:{port}");
        let listener = |port| Listener { name: None, address: address(port), queued: None, backlog: None };
        known.listeners = (1..=listeners).map(listener).collect();
        status(&known)
    }

    fn shown(page: &Page, rows: usize) -> Vec<String> {
        let lines = page.fitted(Screen { columns: 80, rows });
        lines.iter().map(|line| line.split("  1.2s").next().unwrap().trim_end().to_owned()).collect()
    }

    #[test]
    fn what_fits_is_shown_whole_and_uses_the_last_row() {
        let page = page(4, 1);
        let lines = shown(&page, 11);
        assert_eq!(lines.len(), 11, "{lines:#?}");
        assert!(lines[2].starts_with("slot 3 failed 2 times in a row"), "{lines:#?}");
        assert_eq!((lines[3].as_str(), lines[10].as_str()), ("", "listening on 127.0.0.1:1"));
        assert_eq!(shown(&page, 10).len(), 9, "without the empty lines");
    }

    #[test]
    fn on_a_small_screen_those_that_are_not_well_come_first_and_no_part_vanishes() {
        let page = page(10, 1);
        let lines = shown(&page, 10);
        assert_eq!(
            lines[2..],
            [
                "slot 9 failed 2 times in a row; last: it broke",
                "slot  pid  generation  state     uptime  restarts  rss  cpu  said",
                "   2  102           2  starting",
                "   5  105           2  starting",
                "   8  108           2  starting",
                "   9  109           2  online",
                "  and 6 more, all online",
                "listening on 127.0.0.1:1",
            ]
        );
        assert_eq!(shown(&page, 8)[6], "  and 8 more");
    }

    #[test]
    fn no_part_takes_the_room_of_another() {
        assert_eq!(shares(30, [1, 5, 2]), [1, 5, 2]);
        assert_eq!(shares(12, [100, 100, 100]), [4, 4, 4]);
        assert_eq!(shares(12, [1, 100, 1]), [1, 10, 1]);
        assert_eq!(shares(12, [100, 3, 1]), [8, 3, 1]);
        assert_eq!(shares(2, [1, 1, 1]), [1, 1, 0]);
        let lines = shown(&page(30, 30), 12);
        assert_eq!((lines.len(), lines[11].as_str()), (12, "  and 28 more"), "{lines:#?}");
    }

    #[test]
    fn no_screen_is_too_small() {
        for workers in [0, 1, 30] {
            for listeners in [0, 9] {
                let page = page(workers, listeners);
                for (rows, columns) in (0..40).flat_map(|rows| [0, 1, 30, 80].map(|columns| (rows, columns)))
                {
                    let lines = page.fitted(Screen { columns, rows });
                    assert!(lines.len() <= rows.max(1), "{rows} rows: {lines:#?}");
                }
            }
        }
    }

    #[test]
    fn on_a_narrow_screen_the_state_is_what_stays() {
        let row = |columns| page(3, 0).fitted(Screen { columns, rows: 24 }).pop().unwrap();
        assert_eq!(row(40), "   2  102           2  starting    1.2…");
        assert_eq!(row(30), "   2  102  starting    1.2s …");
        assert_eq!(row(20), "   2  starting    …");
    }
}
