//! What a word that is none of ours was meant as: the nearest option, the nearest command.
//!
//! What this module does not do: decide whether the word may be a program's name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::Verb;
use super::options::options_of;

/// What other tools call it: pm2, naught, systemctl, einhornsh. Some of them are programs too, of which none serves.
const OF_OTHER_TOOLS: [(&str, Verb); 21] = [
    ("restart", Verb::Deploy),
    ("reload", Verb::Deploy),
    ("upgrade", Verb::Deploy),
    ("redeploy", Verb::Deploy),
    ("undo", Verb::Rollback),
    ("revert", Verb::Rollback),
    ("kill", Verb::Stop),
    ("delete", Verb::Stop),
    ("quit", Verb::Stop),
    ("shutdown", Verb::Stop),
    ("ls", Verb::Status),
    ("list", Verb::Status),
    ("ps", Verb::Status),
    ("show", Verb::Status),
    ("state", Verb::Status),
    ("info", Verb::Status),
    ("monit", Verb::Status),
    ("reloadLogs", Verb::Reopen),
    ("log", Verb::Logs),
    ("tail", Verb::Logs),
    ("journal", Verb::Logs),
];

/// The command that `word` may have been meant as: what another tool calls it, or a slip in typing. The shorter a
/// word, the more programs are near to it.
pub(super) fn nearest_command(word: &OsStr) -> Option<Verb> {
    if let Some((_, verb)) = OF_OTHER_TOOLS.iter().find(|(name, _)| word == *name) {
        return Some(*verb);
    }
    // Alone it does nothing, and three letters are near to everything.
    let named = Verb::ALL.into_iter().filter(|verb| *verb != Verb::Run && word.len() > 3);
    let distance = |verb: &Verb| distance(word.as_bytes(), verb.name().as_bytes());
    let limit = |verb: &Verb| if verb.name().len() < 6 { 1 } else { 2 };
    named.min_by_key(distance).filter(|verb| distance(verb) <= limit(verb))
}

/// The option that `word` may have been meant as: one that begins so, or is two letters off at most.
pub(super) fn nearest_option(verb: Verb, word: &OsStr) -> Option<&'static str> {
    let typed = word.as_bytes().split(|byte| *byte == b'=').next()?;
    let typed = &typed[typed.iter().take_while(|byte| **byte == b'-').count()..];
    if typed.len() < 3 {
        return None;
    }
    let names = options_of(verb).map(|row| row.long);
    let distance = |name: &&str| distance(typed, &name.as_bytes()[2..]);
    names.min_by_key(distance).filter(|name| distance(name) <= 2)
}

/// None where the name only has not been typed to its end.
fn distance(typed: &[u8], name: &[u8]) -> usize {
    if name.starts_with(typed) { 0 } else { edit_distance(typed, name) }
}

/// How many bytes to insert, drop, change or swap with their neighbour to make one of the other.
fn edit_distance(from: &[u8], to: &[u8]) -> usize {
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for row in 0..=from.len() {
        for column in 0..=to.len() {
            rows[row][column] = match (row, column) {
                (0, inserted) => inserted,
                (dropped, 0) => dropped,
                (row, column) => {
                    let changed = rows[row - 1][column - 1] + usize::from(from[row - 1] != to[column - 1]);
                    let swap = row > 1
                        && column > 1
                        && from[row - 1] == to[column - 2]
                        && from[row - 2] == to[column - 1];
                    let swapped = if swap { rows[row - 2][column - 2] + 1 } else { changed };
                    changed.min(swapped).min(rows[row - 1][column] + 1).min(rows[row][column - 1] + 1)
                }
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edit_distance_counts_changes() {
        for (from, to, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abd", 1),
            ("abcd", "bcd", 1),
            ("ab", "ba", 1),
            ("xaby", "xbay", 1),
            ("stauts", "stop", 4),
        ] {
            assert_eq!(edit_distance(from.as_bytes(), to.as_bytes()), distance, "{from} {to}");
        }
    }

    #[test]
    fn no_name_of_another_tool_is_one_of_ours() {
        for (name, verb) in OF_OTHER_TOOLS {
            assert_eq!(
                (nearest_command(OsStr::new(name)), Verb::named(OsStr::new(name))),
                (Some(verb), None)
            );
        }
    }
}
