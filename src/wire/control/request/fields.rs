//! The fields of one JSON object, each looked at once.
//!
//! Nothing is built but what was asked for: values stay text until somebody takes them, so that a body costs little
//! more than its own length. What it does not do: know which fields there are.

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Fault;
use crate::wire::control::text::Text;

/// What is left of the fields.
pub(super) struct Fields<'b> {
    left: Vec<(String, &'b RawValue)>,
    /// What was asked for, whether it was there or not.
    known: Vec<&'static str>,
}

impl<'b> Fields<'b> {
    /// An empty body is an empty object.
    pub(super) fn read(body: &'b [u8]) -> Result<Fields<'b>, Fault> {
        if body.is_empty() {
            return Ok(Fields { left: Vec::new(), known: Vec::new() });
        }
        let left = serde_json::from_slice(body)
            .map_err(|error| format!("the body is not a JSON object: {error}"))?;
        let Object(left) = left;
        Ok(Fields { left, known: Vec::new() })
    }

    /// Takes a field, if it is there. `read` says what the value must be, and the sentence begins with the name.
    pub(super) fn take<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'b RawValue) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.known.push(name);
        let Some(index) = self.left.iter().position(|(found, _)| found == name) else { return Ok(None) };
        let (_, raw) = self.left.remove(index);
        read(raw).map(Some).map_err(|fault| format!("{name} {fault}"))
    }

    /// Nobody may have written what nobody reads.
    pub(super) fn finish(self, route: &str) -> Result<(), Fault> {
        let Some((unknown, _)) = self.left.first() else { return Ok(()) };
        let unknown = shortened(&format!("{unknown:?}"));
        if self.known.is_empty() {
            return Err(format!("unknown field {unknown}: {route} takes none"));
        }
        Err(format!("unknown field {unknown}: {route} takes {}", self.known.join(", ")))
    }
}

/// A value as its writer knows it, but not at length.
pub(super) fn shown(raw: &RawValue) -> String {
    let one_line: String = raw.get().split_whitespace().collect::<Vec<_>>().join(" ");
    shortened(&one_line)
}

fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    if text.chars().count() <= MOST {
        text.to_string()
    } else {
        text.chars().take(MOST - 1).chain(['…']).collect()
    }
}

/// Names and values of an object of texts or nulls, or of an array of such pairs; `None` where it is neither.
pub(super) fn pairs(raw: &RawValue) -> Option<Vec<(Text, Option<Text>)>> {
    if let Ok(pairs) = serde_json::from_str(raw.get()) {
        return Some(pairs);
    }
    let Object(entries) = serde_json::from_str(raw.get()).ok()?;
    let pair = |(name, value): (String, &RawValue)| {
        Some((name.as_str().into(), serde_json::from_str(value.get()).ok()?))
    };
    entries.into_iter().map(pair).collect()
}

/// In the order in which they were written, and none twice.
struct Object<'b>(Vec<(String, &'b RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'de>, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

/// More than any kernel hands to a program; they are sorted, and nobody else gets a turn meanwhile.
const MOST_ENTRIES: usize = 65536;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<String, &RawValue>()? {
            entries.push(entry);
            if entries.len() > MOST_ENTRIES {
                return Err(A::Error::custom(format_args!("it has more than {MOST_ENTRIES} entries")));
            }
        }
        let mut names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let twice = shortened(&format!("{:?}", twice[0]));
            return Err(A::Error::custom(format_args!("it has {twice} twice")));
        }
        Ok(Object(entries))
    }
}
