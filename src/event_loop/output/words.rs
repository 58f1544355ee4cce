//! What workers that failed wrote last to their stderr, where srvwrap reads it.
//!
//! ```text
//!   a notice says that a worker failed ──> its last lines, unless its slot's last failure had the same
//!   an answer says so ──────────────────> the same lines, whether or not they were told
//! ```
//!
//! What this file does not do: read them.

use std::collections::{BTreeMap, VecDeque};

use crate::core::{Notice, Who, WorkerNews};
use crate::event_loop::EventLoop;

/// Workers whose last lines are kept when they are gone: an answer may come when a whole generation is.
const MOST_KEPT: usize = 64;
/// As that, but of failures that were told.
const MOST_TOLD: usize = 16;

#[derive(Default)]
pub(in crate::event_loop) struct Words {
    /// By pid, the newest last.
    kept: VecDeque<(i32, Vec<String>)>,
    told: VecDeque<(i32, Vec<String>)>,
    /// What was told last of each slot.
    shown: BTreeMap<u32, Vec<String>>,
}

impl Words {
    /// Of a worker that is gone.
    pub(super) fn keep(&mut self, pid: i32, lines: Vec<String>) {
        push(&mut self.kept, MOST_KEPT, pid, lines);
    }

    fn find(&self, pid: i32) -> Vec<String> {
        let all = self.told.iter().rev().chain(self.kept.iter().rev());
        let mut found = all.filter(|(other, _)| *other == pid);
        found.next().map(|(_, lines)| lines.clone()).unwrap_or_default()
    }

    /// Whether these lines are to be told: a worker that fails again and again writes the same.
    fn is_news(&mut self, slot: u32, lines: &[String]) -> bool {
        let news = self.shown.get(&slot).is_none_or(|shown| shown != lines);
        if news {
            self.shown.insert(slot, lines.to_vec());
        }
        news
    }
}

fn push(to: &mut VecDeque<(i32, Vec<String>)>, most: usize, pid: i32, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    to.push_back((pid, lines));
    if to.len() > most {
        to.pop_front();
    }
}

impl EventLoop {
    /// What this worker wrote last; nothing where srvwrap does not read it.
    pub(in crate::event_loop) fn last_lines(&self, who: Who) -> Vec<String> {
        let Ok(pid) = i32::try_from(who.pid) else { return Vec::new() };
        let tail = self.workers.id_of(pid).and_then(|worker| self.output.streams.tail(worker));
        tail.map_or_else(|| self.output.words.find(pid), |tail| tail.lines())
    }

    /// Follows a notice that says that this worker failed.
    pub(in crate::event_loop) fn tell_last_lines(&mut self, who: Who) {
        let lines = self.last_lines(who);
        if let Ok(pid) = i32::try_from(who.pid) {
            push(&mut self.output.words.told, MOST_TOLD, pid, lines.clone());
        }
        if lines.is_empty() || !self.output.words.is_news(who.slot, &lines) {
            return;
        }
        let is_there_already = self.output.says_among_stderr_of(who.slot);
        for line in lines {
            let notice = Notice::Worker { who, news: WorkerNews::Wrote { line } };
            if !is_there_already {
                self.log.say(notice.severity(), &notice);
            }
            self.spread_notice(&notice);
        }
        self.write_log();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        vec![text.to_string()]
    }

    #[test]
    fn the_same_lines_of_a_slot_are_told_once_and_others_again() {
        let mut words = Words::default();
        assert!(words.is_news(0, &lines("no database")));
        assert!(!words.is_news(0, &lines("no database")));
        assert!(words.is_news(1, &lines("no database")));
        assert!(words.is_news(0, &lines("no disk")));
        assert!(words.is_news(0, &lines("no database")));
    }

    #[test]
    fn of_those_that_are_gone_the_newest_are_kept_and_who_wrote_nothing_costs_nothing() {
        let mut words = Words::default();
        words.keep(2, Vec::new());
        assert!(words.kept.is_empty());
        for pid in 10..100 {
            words.keep(pid, lines(&pid.to_string()));
        }
        words.keep(99, lines("again"));
        assert_eq!(words.kept.len(), MOST_KEPT);
        assert_eq!((words.find(10), words.find(98), words.find(99)), (vec![], lines("98"), lines("again")));
    }
}
