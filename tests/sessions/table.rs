//! The table of `clients/README.md` is what the files and the sessions say.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::against_workers;
use super::page::{self, Session, sessions};
use crate::harness::examples::{self, Language};

const HEAD: &str = "| language | file | lines | tried with | rules passed |\n|---|---|---|---|---|\n";
const BEGIN: &str = "<!-- clients -->\n";
const END: &str = "<!-- end of clients -->\n";

/// What a row says, but for the version that was here when it was written.
struct Row {
    name: &'static str,
    before: String,
    rules: String,
}

fn row(language: &Language, sessions: &[Session]) -> Row {
    let Language { name, client: file, .. } = *language;
    let lines = fs::read_to_string(examples::client(file)).expect("it is there").lines().count();
    assert!((40..=120).contains(&lines), "{file} is to be read in one go, and has {lines} lines");
    let (directory, _) = file.split_once('/').expect("each has its directory");
    let (played, left_out): (Vec<&Session>, Vec<&Session>) = sessions
        .iter()
        .filter(|session| session.is_for_workers())
        .partition(|session| against_workers::is_for(language, session));
    let (passed, not_whole) = (rules_of(&played), rules_of(&left_out));
    let marked = |rule: String| if not_whole.contains(rule.as_str()) { rule + "\\*" } else { rule };
    Row {
        name,
        before: format!("| [{name}]({directory}/README.md) | [`{file}`]({file}) | {lines} |"),
        rules: page::in_order(&passed).into_iter().map(marked).collect::<Vec<String>>().join(" "),
    }
}

fn rules_of<'s>(sessions: &[&'s Session]) -> BTreeSet<&'s str> {
    sessions.iter().flat_map(|session| session.rules.iter().map(String::as_str)).collect()
}

impl Row {
    /// Whether this line of the table says the same, whatever version it was tried with.
    fn is(&self, line: &str) -> bool {
        let version = line
            .strip_prefix(&self.before)
            .and_then(|rest| rest.strip_suffix(&format!(" | {} |", self.rules)));
        version.is_some_and(|version| !version.trim().is_empty())
    }
}

/// `SRVWRAP_BLESS=1` writes it, with the versions that are here; of a language that is not here, the one that is there.
#[test]
fn the_table_of_clients_is_what_the_files_and_the_sessions_say() {
    let path = examples::client("README.md");
    let page = fs::read_to_string(&path).expect("it is there");
    let (before, rest) = page.split_once(BEGIN).expect("the table has a beginning");
    let (table, after) = rest.split_once(END).expect("the table has an end");
    let sessions = sessions();
    let rows: Vec<Row> = examples::ALL.iter().map(|language| row(language, &sessions)).collect();
    if std::env::var_os("SRVWRAP_BLESS").is_some() {
        let lines = examples::ALL.iter().zip(&rows).map(|(language, row)| {
            let version = version(language).or_else(|| version_in(table, row.name));
            let version = version.expect("a language that is not here has been tried somewhere");
            format!("{} {version} | {} |\n", row.before, row.rules)
        });
        let table: String = lines.collect();
        fs::write(&path, format!("{before}{BEGIN}{HEAD}{table}{END}{after}")).expect("it can be written");
        return;
    }
    let lines = table.strip_prefix(HEAD).expect("the head of the table").lines();
    let same = lines.clone().count() == rows.len() && lines.zip(&rows).all(|(line, row)| row.is(line));
    assert!(same, "stale: SRVWRAP_BLESS=1 cargo test --test it the_table_of_clients writes it anew");
}

/// The first word that looks like one, as in `Python 3.11.2`; else the whole line. None where the language is not here.
fn version(language: &Language) -> Option<String> {
    language.program()?;
    let (program, arguments) = language.version.split_first().expect("a command");
    let output = Command::new(program).args(arguments).output().ok()?;
    let text =
        String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout })
            .into_owned();
    let line = text.lines().find(|line| !line.trim().is_empty())?.trim();
    let version = |word: &str| {
        let digits = word.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        let end =
            digits.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(digits.len());
        digits[..end].contains('.').then(|| digits[..end].to_owned())
    };
    Some(line.split_whitespace().find_map(version).unwrap_or_else(|| line.to_owned()))
}

/// What a row of the table says now.
fn version_in(table: &str, name: &str) -> Option<String> {
    let line = table.lines().find(|line| line.starts_with(&format!("| [{name}](")))?;
    Some(line.split(" | ").nth(3)?.to_owned())
}
