//! Reads the tree and refuses what the shape of the code forbids and no other tool sees.
//!
//! A rule is a function from a file's path and text to what is wrong with it. Each test first shows the rule broken
//! text, at which it must find fault, and then the tree, at which it must not.
//!
//! What this module does not do: judge formatting (rustfmt) or what clippy knows (`clippy.toml`).

mod code;
mod tree;

use std::collections::BTreeSet;

use code::{Function, code_of, functions, has_word, words};
use tree::{File, files, top_level};

/// What is wrong with a file, if anything: one sentence each.
type Rule = fn(path: &str, text: &str) -> Vec<String>;

/// Shows the rule each broken file, then the tree.
fn enforce(rule: Rule, broken: &[(&str, &str)]) {
    for (path, text) in broken {
        assert!(!rule(path, text).is_empty(), "the rule finds no fault with {path}: {text}");
    }
    let faults: Vec<String> = files()
        .iter()
        .flat_map(|File { path, text }| {
            rule(path, text).into_iter().map(move |fault| format!("{path}: {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs") && ["src/", "tests/", "benches/"].iter().any(|place| path.starts_with(place))
}

/// The program, without what only tests see: `None` for other files.
fn program<'a>(path: &str, text: &'a str) -> Option<&'a str> {
    let of_tests = path.ends_with("/tests.rs")
        || path.contains("/sim.")
        || path.contains("/sim/")
        || ["src/sys/apart.rs", "src/sys/observed.rs"].contains(&path);
    if !path.starts_with("src/") || !path.ends_with(".rs") || of_tests {
        return None;
    }
    Some(text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text))
}

/// Faults for the words that the program has in these files.
fn forbidden(path: &str, text: &str, places: &[&str], forbidden: &[&str]) -> Vec<String> {
    if !places.iter().any(|place| path.starts_with(place)) {
        return Vec::new();
    }
    let code = program(path, text).map(code_of).unwrap_or_default();
    forbidden
        .iter()
        .filter(|word| has_word(&code, word))
        .map(|word| format!("it must not name {word}"))
        .collect()
}

#[test]
fn every_file_opens_with_what_it_is() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        let faulty = is_rust(path) && !text.starts_with("//! ");
        faulty.then(|| "it does not begin with //!".to_string()).into_iter().collect()
    }
    enforce(rule, &[("src/a.rs", "use b;\n//! late\n"), ("tests/a.rs", ""), ("benches/a.rs", "// a\n")]);
}

/// rustfmt leaves comments as they are.
#[test]
fn no_comment_is_wider_than_the_code() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        let is_wide = |line: &&str| line.trim_start().starts_with("//") && line.chars().count() > 120;
        let wide = text.lines().filter(|_| is_rust(path)).filter(is_wide);
        wide.map(|line| format!("a comment of {} columns: {line}", line.chars().count())).collect()
    }
    enforce(rule, &[("src/a.rs", &format!("//! {}\n", "é".repeat(117)))]);
    assert_eq!(rule("src/a.rs", &format!("//! {}\n", "é".repeat(116))), [""; 0]);
}

#[test]
fn no_file_is_longer_than_600_lines() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        let lines = text.lines().count();
        let faulty = is_rust(path) && lines > 600;
        faulty.then(|| format!("{lines} lines")).into_iter().collect()
    }
    enforce(rule, &[("src/a.rs", &"\n".repeat(601))]);
    assert_eq!(rule("src/a.rs", &"\n".repeat(600)), [""; 0]);
}

/// The transition matches may be as long as the machine has cells.
const TRANSITIONS: (&str, &str) = ("src/core/worker.rs", "step");

#[test]
fn no_function_is_longer_than_70_lines_but_the_transition_match() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        let rust = if is_rust(path) { text } else { "" };
        functions(&code_of(rust))
            .into_iter()
            .filter(|function| function.lines > 70 && (path, function.name.as_str()) != TRANSITIONS)
            .map(|Function { name, lines }| format!("{name} has {lines} lines"))
            .collect()
    }
    let long =
        |lines| format!("impl A {{\n    fn f(\n        &self,\n    ) {{\n{}    }}\n}}\n", "\n".repeat(lines));
    enforce(rule, &[("src/a.rs", &long(67))]);
    assert_eq!(rule("src/a.rs", &long(66)), [""; 0]);
    assert_eq!(rule("src/core/worker.rs", &long(67).replace("fn f", "fn step")), [""; 0]);
}

#[test]
fn functions_fit_a_screen() {
    let mut lengths: Vec<usize> = files()
        .iter()
        .filter_map(|File { path, text }| program(path, text))
        .flat_map(|text| functions(&code_of(text)))
        .map(|function| function.lines)
        .collect();
    lengths.sort_unstable();
    let part = |percent: usize| lengths[lengths.len() * percent / 100];
    assert!(lengths.len() > 300, "only {} functions were found", lengths.len());
    assert!(part(50) <= 10, "half of all functions have more than {} lines", part(50));
    assert!(part(90) <= 40, "a tenth of all functions have more than {} lines", part(90));
}

#[test]
fn no_module_is_named_after_nothing() {
    const NAMES: [&str; 8] = ["util", "utils", "helper", "helpers", "common", "manager", "misc", "shared"];
    fn rule(path: &str, _: &str) -> Vec<String> {
        let stems = path.split('/').map(|part| part.split('.').next().unwrap_or(part));
        let faulty = stems.filter(|stem| is_rust(path) && NAMES.contains(stem));
        faulty.map(|stem| format!("{stem} says nothing of what is in it")).collect()
    }
    enforce(rule, &[("src/sys/utils.rs", ""), ("tests/common/mod.rs", ""), ("src/manager.rs", "")]);
}

#[test]
fn the_pure_parts_name_no_operating_system_and_no_clock() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        let pure = [
            "src/core",
            "src/wire",
            "src/logs",
            "src/cli.",
            "src/cli/",
            "src/config",
            "src/units",
            "src/environment",
        ];
        let shown = ["src/client/cells", "src/client/block", "src/client/display", "src/client/tables"];
        let system =
            ["nix", "mio", "std::fs", "std::io", "std::thread", "Instant", "SystemTime", "crate::sys"];
        let mut faults = forbidden(path, text, &[pure.as_slice(), &shown].concat(), &system);
        // The others may know a path from bytes, an address, or a signal by its number.
        let more = ["libc", "std::net", "std::os", "std::process", "std::env", "std::sync", "std::cell"];
        // A text that is not UTF-8, and a name, are known by their bytes.
        let text_of_bytes = text.replace("use std::os::unix::ffi::", "");
        let of_bytes = path == "src/wire/control/text.rs" || path.starts_with("src/logs");
        let text = if of_bytes { &text_of_bytes } else { text };
        faults.extend(forbidden(path, text, &["src/core", "src/wire", "src/logs"], &more));
        faults
    }
    enforce(
        rule,
        &[
            ("src/core/a.rs", "use std::time::{Duration, Instant};"),
            ("src/core/worker.rs", "use crate::sys::children::Pid;"),
            ("src/core/worker.rs", "use crate::{sys, wire};"),
            ("src/core/worker.rs", "use std::{os::fd::OwnedFd};"),
            ("src/wire/mod.rs", "fn f() { nix::unistd::getpid(); }"),
            ("src/wire/mod.rs", "use std::os::unix::ffi::OsStrExt;"),
            ("src/wire/control/text.rs", "use std::os::fd::OwnedFd;"),
            ("src/logs/archive_name.rs", "use std::os::fd::OwnedFd;"),
            ("src/config.rs", "use std::fs;"),
            ("src/logs/rotation.rs", "use std::fs;"),
            ("src/logs.rs", "use std::time::SystemTime;"),
            ("src/cli/options.rs", "use std::fs;"),
            ("src/client/display.rs", "use std::io;"),
        ],
    );
}

#[test]
fn sys_core_and_wire_do_not_see_each_other_but_core_the_messages_of_wire() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        let outside = ["crate::event_loop", "crate::config", "crate::cli", "crate::log"];
        let mut faults = forbidden(path, text, &["src/sys", "src/core", "src/wire"], &outside);
        // Which names a variable must not have is known there, and the control API refuses them.
        faults.extend(forbidden(path, text, &["src/sys", "src/core"], &["crate::environment"]));
        faults.extend(forbidden(path, text, &["src/sys"], &["crate::core", "crate::wire"]));
        faults.extend(forbidden(path, text, &["src/core"], &["crate::sys"]));
        faults.extend(forbidden(path, text, &["src/wire"], &["crate::core", "crate::sys"]));
        faults
    }
    enforce(
        rule,
        &[
            ("src/sys/a.rs", "use crate::core::WorkerId;"),
            ("src/sys/a.rs", "fn f() -> crate::wire::Lines {}"),
            ("src/sys/a.rs", "use crate::{\n    config::Config,\n};"),
            ("src/wire/a.rs", "use crate::core::Event;"),
            ("src/core/a.rs", "use crate::environment;"),
        ],
    );
    assert_eq!(rule("src/core/a.rs", "use crate::wire::worker::Said; // not crate::sys"), [""; 0]);
}

#[test]
fn core_and_wire_forbid_unsafe_code() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        let root = ["src/core/mod.rs", "src/core.rs", "src/wire/mod.rs", "src/wire.rs"].contains(&path);
        let faulty = root && !text.lines().any(|line| line == "#![forbid(unsafe_code)]");
        faulty.then(|| "it lacks #![forbid(unsafe_code)]".to_string()).into_iter().collect()
    }
    enforce(rule, &[("src/core/mod.rs", "//! #![forbid(unsafe_code)]\n"), ("src/wire/mod.rs", "")]);
}

#[test]
fn all_unsafe_of_the_program_is_in_sys() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        let elsewhere = if path.starts_with("src/sys") { "none" } else { "src/" };
        forbidden(path, text, &[elsewhere], &["unsafe"])
    }
    enforce(rule, &[("src/event_loop.rs", "fn f() { unsafe { g() } }")]);
    assert_eq!(rule("src/main.rs", "// unsafe\n#![forbid(unsafe_code)]\nlet a = \"unsafe\";"), [""; 0]);
}

/// Clippy's `wildcard_enum_match_arm` sees nothing in tuples.
#[test]
fn the_machines_match_every_case_by_name() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        let machines = ["src/core/worker.rs", "src/core/supervisor", "src/logs/rotation"];
        let machine = machines.iter().any(|machine| path.starts_with(machine));
        let code = program(path, text).filter(|_| machine).map(code_of).unwrap_or_default();
        let arms = code.lines().filter_map(|line| line.split_once("=>")).map(|(pattern, _)| pattern.trim());
        arms.filter(|pattern| has_wildcard(pattern))
            .map(|pattern| format!("{pattern} => matches all"))
            .collect()
    }
    fn has_wildcard(pattern: &str) -> bool {
        let pattern = pattern.split(" if ").next().unwrap_or(pattern).trim();
        let tuple = pattern.starts_with('(') || pattern.starts_with("| (");
        let element = |text: &str| text.trim_matches(|bracket| "()| ".contains(bracket)) == "_";
        element(pattern) || (tuple && pattern.split([',', '|']).any(element))
    }
    enforce(
        rule,
        &[
            ("src/core/worker.rs", "match a {\n    _ => b,\n}"),
            ("src/core/worker.rs", "match a {\n    _ if b => c,\n}"),
            ("src/core/supervisor/stop.rs", "match (a, b) {\n    (State::Gone, _) => c,\n}"),
            ("src/core/supervisor.rs", "match (a, b) {\n    (_, Input::Died) => c,\n}"),
        ],
    );
    assert_eq!(rule("src/core/worker.rs", "Some(_) => 1,\nA { .. } => 2,\n.map(|(a, _)| a)"), [""; 0]);
}

#[test]
fn the_program_has_no_error_of_unknown_kind() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        forbidden(path, text, &["src/"], &["anyhow", "dyn Error", "dyn std::error::Error"])
    }
    enforce(
        rule,
        &[("src/a.rs", "fn f() -> Result<(), Box<dyn Error>> {}"), ("src/a.rs", "use anyhow::Result;")],
    );
}

#[test]
fn nothing_is_left_to_be_done_and_no_macro_is_made_outside_of_the_log() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        let elsewhere = if path == "src/log.rs" { "none" } else { "src/" };
        let mut faults = forbidden(path, text, &["src/"], &["todo", "unimplemented", "dbg"]);
        faults.extend(forbidden(path, text, &[elsewhere], &["macro_rules"]));
        faults
    }
    enforce(rule, &[("src/a.rs", "fn f() { todo!() }"), ("src/core/a.rs", "macro_rules! m { () => {} }")]);
}

#[test]
fn the_project_speaks_of_itself_alone() {
    fn rule(_: &str, text: &str) -> Vec<String> {
        let places = [concat!("/wo", "rk/"), concat!("sha", "red/"), concat!("/ro", "ot/")];
        places.iter().filter(|place| text.contains(*place)).map(|place| format!("it names {place}")).collect()
    }
    enforce(rule, &[("README.md", concat!("see /wo", "rk/a")), ("src/a.rs", concat!("//! sha", "red/a.md"))]);
}

/// What the root may hold, beside dotfiles and what git is told to ignore.
const TOP_LEVEL: [&str; 15] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "protocol",
    "clients",
    "tests",
    "benches",
    "packaging",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "build.rs",
    "clippy.toml",
    "rustfmt.toml",
    "target",
];

#[test]
fn the_root_holds_nothing_but_what_a_public_repository_needs() {
    let strange = |names: &[String]| -> Vec<String> {
        let allowed = |name: &String| name.starts_with('.') || TOP_LEVEL.contains(&name.as_str());
        names.iter().filter(|name| !allowed(name)).cloned().collect()
    };
    assert_eq!(strange(&["src".into(), "docs".into(), ".ci".into()]), ["docs"]);
    assert_eq!(strange(&top_level()), [""; 0]);
}

#[test]
fn the_readme_has_300_lines_at_most() {
    fn rule(path: &str, text: &str) -> Vec<String> {
        let faulty = path == "README.md" && text.lines().count() > 300;
        faulty.then(|| "more than 300 lines".to_string()).into_iter().collect()
    }
    enforce(rule, &[("README.md", &"\n".repeat(301))]);
}

#[test]
fn the_readme_names_every_crate_that_the_program_is_built_from_and_no_other() {
    fn crates(manifest: &str) -> BTreeSet<String> {
        let section = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
        let lines = section.take_while(|line| !line.starts_with('['));
        lines.filter_map(|line| Some(line.split_once([' ', '='])?.0.to_string())).collect()
    }
    fn named(readme: &str) -> BTreeSet<String> {
        let table = readme.lines().skip_while(|line| !line.starts_with("| crate |")).skip(2);
        let rows = table.take_while(|line| line.starts_with('|'));
        rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| words(cell, "-_")).collect()
    }
    let example = "[dependencies]\na = \"1\"\nb-c={}\n\n[lints]\nd = 1\n";
    let both = BTreeSet::from(["a".to_string(), "b-c".to_string()]);
    assert_eq!(crates(example), both);
    assert_eq!(named("| a |\n\n| crate | why |\n|---|---|\n| a, `b-c` | d |\n\n| e |\n"), both);
    let tree = files();
    let text_of = |path: &str| tree.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    if let Some(readme) = text_of("README.md") {
        assert_eq!(named(readme), crates(text_of("Cargo.toml").expect("the manifest is there")));
    }
}
