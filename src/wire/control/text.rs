//! A string that need not be UTF-8: JSON text where it is, `{"base64": "…"}` where it is not.
//!
//! One that is UTF-8 may come in either form, and leaves as text. Nothing here judges what a text is for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::base64;

/// Words of a command line, names of paths, values of environment variables: any bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text(pub(crate) OsString);

impl From<&OsStr> for Text {
    fn from(text: &OsStr) -> Text {
        Text(text.to_os_string())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.into())
    }
}

impl Text {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(text) = self.0.to_str() {
            return serializer.serialize_str(text);
        }
        let mut object = serializer.serialize_map(Some(1))?;
        object.serialize_entry("base64", &base64::encode(self.0.as_bytes()))?;
        object.end()
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string, or {\"base64\": \"…\"}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(text.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        let (Some(("base64", text)), None) =
            (map.next_entry::<&str, String>()?, map.next_key::<serde::de::IgnoredAny>()?)
        else {
            return Err(A::Error::custom("an object in the place of a string has base64 and nothing else"));
        };
        let bytes = base64::decode(&text);
        bytes
            .map(|bytes| Text(OsString::from_vec(bytes)))
            .ok_or_else(|| A::Error::custom("not base64 with padding"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn written(bytes: &[u8]) -> String {
        serde_json::to_string(&Text(OsString::from_vec(bytes.to_vec()))).expect("it is JSON")
    }

    fn read(json: &str) -> Option<Vec<u8>> {
        serde_json::from_str::<Text>(json).ok().map(|text| text.as_bytes().to_vec())
    }

    #[test]
    fn what_is_utf8_is_a_string_and_what_is_not_is_base64() {
        assert_eq!(written("a\"ü".as_bytes()), "\"a\\\"ü\"");
        assert_eq!(written(b"a\xff"), "{\"base64\":\"Yf8=\"}");
        assert_eq!(read("{\"base64\":\"YQ==\"}"), Some(b"a".to_vec()));
    }

    #[test]
    fn nothing_else_is_a_text() {
        for json in [
            "null",
            "1",
            "[]",
            "{}",
            "{\"base64\":1}",
            "{\"base64\":\"YQ\"}",
            "{\"base64\":\"YQ==\",\"a\":1}",
            "{\"base65\":\"YQ==\"}",
            "\"\\ud800\"",
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(read(&written(&bytes)), Some(bytes));
        }
    }
}
