//! The files of the project, as text.

use std::fs;
use std::path::Path;

/// A file, by its path from the root.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every text file, without what is built and what hides (dotfiles), but with `.ci`.
pub(super) fn files() -> Vec<File> {
    let mut found = Vec::new();
    for name in top_level().into_iter().filter(|name| name != "target") {
        if !name.starts_with('.') || name == ".ci" {
            collect(&name, &mut found);
        }
    }
    assert!(found.iter().any(|file| file.path == "src/main.rs"), "this is not the project: {ROOT}");
    found
}

/// What is in the root.
pub(super) fn top_level() -> Vec<String> {
    names_in(Path::new(ROOT))
}

fn collect(path: &str, found: &mut Vec<File>) {
    let place = Path::new(ROOT).join(path);
    if place.is_dir() {
        for name in names_in(&place) {
            collect(&format!("{path}/{name}"), found);
        }
    } else if let Ok(text) = fs::read_to_string(&place) {
        found.push(File { path: path.to_string(), text });
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("the tree can be read");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the tree can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
