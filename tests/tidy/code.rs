//! Rust text, seen coarsely: without comments and literals, as words, and as functions.
//!
//! It relies on rustfmt: a function's last line is a brace under the first column of its signature.

/// A function and how many lines it has, its signature included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) lines: usize,
}

/// The text without comments and without what is in strings and characters. Lines stay where they are, and a `use`
/// with braces is spelled out behind the end: `a::{b, c::d}` adds `a::b` and `a::c::d`.
pub(super) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (skipped, kept) = skipped(rest, code.chars().next_back());
        if skipped > 0 {
            code.push_str(kept);
            code.extend(rest[..skipped].chars().filter(|character| *character == '\n'));
            rest = &rest[skipped..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    let spelled_out = uses(&code).join("\n");
    code + "\n" + &spelled_out
}

/// How many bytes at the start are a comment or a literal, and what stands for them.
fn skipped(rest: &str, before: Option<char>) -> (usize, &'static str) {
    let in_word = before.is_some_and(|before| before.is_alphanumeric() || before == '_');
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), "");
    }
    if rest.starts_with("/*") {
        return (rest.find("*/").map_or(rest.len(), |end| end + 2), "");
    }
    if let Some(inside) = rest.strip_prefix('"') {
        return (1 + end_of_literal(inside, '"'), "\"\"");
    }
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !in_word || before == Some('b')) {
        let marks = raw.len() - raw.trim_start_matches('#').len();
        if raw[marks..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(marks));
            let inside = &raw[marks + 1..];
            let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
            return (1 + marks + 1 + length, "\"\"");
        }
    }
    let is_character = rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'');
    if let Some(inside) = rest.strip_prefix('\'').filter(|_| is_character) {
        return (1 + end_of_literal(inside, '\''), "''");
    }
    (0, "")
}

/// How many bytes it is to the end of a literal, its quote included.
fn end_of_literal(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            found if found == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Every path that a `use` with braces means.
fn uses(code: &str) -> Vec<String> {
    let statements = code.split(';').filter_map(|statement| {
        let (_, tree) = statement.rsplit_once("use ")?;
        tree.contains('{').then(|| tree.split_whitespace().collect::<String>())
    });
    statements.flat_map(|tree| spelled_out(&tree)).collect()
}

fn spelled_out(tree: &str) -> Vec<String> {
    let Some((prefix, inside)) = tree.split_once('{') else { return vec![tree.to_string()] };
    let inside = inside.strip_suffix('}').unwrap_or(inside);
    let (mut depth, mut branches) = (0, vec![String::new()]);
    for character in inside.chars() {
        depth += i32::from(character == '{') - i32::from(character == '}');
        if character == ',' && depth == 0 {
            branches.push(String::new());
        } else {
            branches.last_mut().expect("it begins with one").push(character);
        }
    }
    let leaves = branches.iter().flat_map(|branch| spelled_out(branch));
    leaves.map(|leaf| format!("{prefix}{leaf}")).collect()
}

/// Whether the code has this word, or path of words, as a whole: `nix` is not in `nixos`, nor in `phoenix`.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    let continues = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (code[..at].chars().next_back(), code[at + word.len()..].chars().next());
        !before.is_some_and(continues) && !after.is_some_and(continues)
    })
}

/// The words of a text: letters, digits and these characters.
pub(super) fn words(text: &str, and: &str) -> Vec<String> {
    let outside = |character: char| !character.is_alphanumeric() && !and.contains(character);
    text.split(outside).filter(|word| !word.is_empty()).map(str::to_string).collect()
}

/// Every function that has a body.
pub(super) fn functions(code: &str) -> Vec<Function> {
    let lines: Vec<&str> = code.lines().collect();
    let begins = lines.iter().enumerate().filter_map(|(number, line)| Some((number, name_in(line)?)));
    begins
        .filter_map(|(number, name)| {
            let indent = lines[number].len() - lines[number].trim_start().len();
            let same_column =
                |line: &&str| line.len() - line.trim_start().len() == indent && !line.trim().is_empty();
            let ends = |line: &&str| same_column(line) && line.trim_start().starts_with('}');
            let one_line = lines[number].trim_end().ends_with(['}', ';']);
            let body = lines[number + 1..].iter().position(ends);
            let lines = if one_line { 1 } else { body? + 2 };
            Some(Function { name, lines })
        })
        .collect()
}

/// The name of the function that begins on this line.
fn name_in(line: &str) -> Option<String> {
    let (before, after) = line.split_once("fn ")?;
    let modifier = |word: &String| {
        ["pub", "crate", "super", "in", "const", "async", "unsafe", "extern"].contains(&word.as_str())
    };
    if !words(before, "_").iter().all(modifier) {
        return None;
    }
    words(after, "_").into_iter().next().filter(|name| after.starts_with(name.as_str()))
}

#[test]
fn what_is_in_comments_and_literals_is_not_code() {
    let text = "a // b\nr#\"c\"d\"# '\"' e \"f\\\"\" 'g' /* h\n */ i<'j> b\"k\" \"\n\"";
    let code = code_of(text);
    assert_eq!(words(&code, ""), ["a", "e", "i", "j", "b"]);
    assert_eq!(code.trim_end_matches('\n').lines().count(), 3, "{code}");
}

#[test]
fn a_use_with_braces_is_spelled_out() {
    let code = code_of("use crate::{\n    a,\n    b::{c, d},\n};\nfn e() {}");
    for path in ["crate::a", "crate::b::c", "crate::b::d"] {
        assert!(has_word(&code, path), "{code}");
    }
    assert!(!has_word(&code, "crate::e"));
}

#[test]
fn a_function_ends_at_the_brace_under_its_beginning() {
    let code = "fn a() {}\n    pub(super) unsafe fn b(\n        c: D,\n    ) {\n        if e {\n        }\n    }\nfn f();\n";
    let found: Vec<(String, usize)> =
        functions(code).into_iter().map(|found| (found.name, found.lines)).collect();
    assert_eq!(found, [("a".to_string(), 1), ("b".to_string(), 6), ("f".to_string(), 1)]);
}
