//! Tests of the table of options.

use super::*;

#[test]
fn no_two_options_of_a_command_have_the_same_name() {
    for verb in Verb::ALL {
        for row in options_of(verb) {
            for name in [Some(row.long), row.short].into_iter().flatten() {
                assert_eq!(option_named(verb, name.as_bytes()), Some(row), "{verb:?} {name}");
            }
        }
    }
}

#[test]
fn the_readme_has_the_generated_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let Ok(readme) = std::fs::read_to_string(path) else { return };
    let Some((before, rest)) = readme.split_once("<!-- options -->\n") else { return };
    let (table, after) = rest.split_once("<!-- /options -->").expect("the marker at the end of the table");
    if std::env::var_os("SRVWRAP_BLESS").is_some() {
        let blessed =
            format!("{before}<!-- options -->\n{}<!-- /options -->{after}", option_table_markdown());
        std::fs::write(path, blessed).unwrap();
    } else {
        assert_eq!(
            table.trim(),
            option_table_markdown().trim(),
            "SRVWRAP_BLESS=1 cargo test readme writes it anew"
        );
    }
}
