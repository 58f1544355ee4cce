//! A string that need not be UTF-8: JSON text where it is, `{"base64": "…"}` where it is not.

use std::ffi::{OsStr, OsString};

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
