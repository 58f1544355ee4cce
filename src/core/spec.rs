//! What a generation runs, and how a deploy changes it.
//!
//! A spec is immutable: a deploy makes a new one of the committed one and of what its asker wants changed, and the
//! new one is committed only when its generation is online. The target count is apart from it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::wire::control::message::Deploy;

/// What a generation runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spec {
    /// The program as it was typed, and its arguments.
    pub(crate) argv: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// As it was named, so that a symlink in it is followed anew at every spawn.
    pub(crate) directory: PathBuf,
}

impl Spec {
    /// As this one, but for what the deploy changes.
    pub(crate) fn changed_by(&self, deploy: &Deploy) -> Spec {
        let mut spec = self.clone();
        if let Some(program) = &deploy.program {
            spec.argv = program.iter().map(|word| word.0.clone()).collect();
        }
        if let Some(directory) = &deploy.directory {
            spec.directory = PathBuf::from(&directory.0);
        }
        for (name, value) in &deploy.environment {
            match value {
                Some(value) => set(&mut spec.environment, &name.0, &value.0),
                None => spec.environment.retain(|(known, _)| *known != name.0),
            }
        }
        spec
    }

    /// What differs from `before`, in words that give away no value of the environment.
    pub(super) fn differences(&self, before: &Spec) -> Vec<String> {
        let mut differences = Vec::new();
        if self.argv != before.argv {
            differences.push("program".to_string());
        }
        if self.directory != before.directory {
            differences.push("directory".to_string());
        }
        let variables = variables_that_differ(&before.environment, &self.environment);
        if !variables.is_empty() {
            differences.push(format!("environment: {}", variables.join(" ")));
        }
        differences
    }
}

/// In the place where it was, since some programs read only the first of a name.
fn set(environment: &mut Vec<(OsString, OsString)>, name: &OsStr, value: &OsStr) {
    let first = environment.iter().position(|(known, _)| known == name);
    environment.retain(|(known, _)| known != name);
    let place = first.unwrap_or(environment.len()).min(environment.len());
    environment.insert(place, (name.to_os_string(), value.to_os_string()));
}

/// `+A` for a new one, `~B` for one with another value, `-C` for one that is gone.
fn variables_that_differ(before: &[(OsString, OsString)], after: &[(OsString, OsString)]) -> Vec<String> {
    let before: BTreeMap<&OsStr, &OsStr> = pairs(before).collect();
    let after: BTreeMap<&OsStr, &OsStr> = pairs(after).collect();
    let gone = before.keys().filter(|name| !after.contains_key(**name)).map(|name| ('-', *name));
    let other = after.iter().filter_map(|(name, value)| match before.get(name) {
        None => Some(('+', *name)),
        Some(known) if known != value => Some(('~', *name)),
        Some(_) => None,
    });
    other.chain(gone).map(|(sign, name)| format!("{sign}{}", name.to_string_lossy())).collect()
}

fn pairs(environment: &[(OsString, OsString)]) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        Spec {
            argv: vec!["node".into(), "server.js".into()],
            environment: vec![variable("A", "1"), variable("B", "2"), variable("C", "3")],
            directory: "/srv/app".into(),
        }
    }

    #[test]
    fn what_a_deploy_does_not_name_stays_as_it_is() {
        assert_eq!(spec().changed_by(&Deploy::default()), spec());
        assert_eq!(spec().differences(&spec()), [""; 0]);
    }

    #[test]
    fn a_variable_is_set_in_its_place_and_unset_wherever_it_is() {
        let environment = vec![
            ("B".into(), Some("9".into())),
            ("A".into(), None),
            ("D".into(), Some("4".into())),
            ("NEVER".into(), None),
        ];
        let changed = spec().changed_by(&Deploy { environment, ..Deploy::default() });
        let names: Vec<String> = changed
            .environment
            .iter()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
            .collect();
        assert_eq!(names, ["B=9", "C=3", "D=4"]);
        assert_eq!(changed.differences(&spec()), ["environment: ~B +D -A"]);
    }

    #[test]
    fn a_new_program_and_directory_are_told_by_kind() {
        let deploy = Deploy {
            program: Some(vec!["python3".into()]),
            directory: Some("/srv/other".into()),
            ..Deploy::default()
        };
        let changed = spec().changed_by(&deploy);
        assert_eq!(
            (changed.argv.as_slice(), changed.directory.to_str()),
            (&["python3".into()][..], Some("/srv/other"))
        );
        assert_eq!(changed.differences(&spec()), ["program", "directory"]);
    }
}
