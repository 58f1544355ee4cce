//! `{fd}`, `{fd:NAME}` and `{port}` in a program's arguments, filled for each worker that is made.
//!
//! | written | is |
//! |---|---|
//! | `{fd}` | the number of the first listener's descriptor |
//! | `{fd:http}` | that of the listener with this name |
//! | `{fd:app.socket}`, `{fd:APP_SOCKET}` | that of one that was handed in by this name |
//! | `{port}` | the port of the first TCP listener |
//! | `{{fd}}`, … | the text `{fd}` |
//!
//! Anywhere in an argument, as in `fd://{fd}`, and not in the program's own name. Only these forms exactly: what else
//! stands in braces is a program's own, and so is a name that an operator cannot give and nobody has given. So are
//! `${port}`, which is a shell's, and `{fd}>log`, which is bash's.
//! Arguments are bytes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::{Handover, Unfit};

/// What is to be filled in.
#[derive(Clone, Copy)]
enum Form<'t> {
    Fd,
    FdNamed(&'t str),
    Port,
}

impl Handover<'_> {
    /// The program as it is executed; `argv` is as it was typed.
    pub(crate) fn words(self, argv: &[OsString]) -> Result<Vec<OsString>, Unfit> {
        let (program, arguments) = argv.split_at(argv.len().min(1));
        let mut words = program.to_vec();
        for argument in arguments {
            words.push(self.filled(argument)?);
        }
        Ok(words)
    }

    fn filled(self, argument: &OsStr) -> Result<OsString, Unfit> {
        let mut rest = argument.as_bytes();
        let mut filled = Vec::with_capacity(rest.len());
        while let Some((first, others)) = rest.split_first() {
            let is_shells = filled.last() == Some(&b'$');
            rest = if let Some((form, behind)) =
                self.form(rest).filter(|(_, behind)| !is_shells && !redirects(behind))
            {
                filled.extend(self.value(form)?.into_bytes());
                behind
            } else if let Some(behind) = self.doubled(rest) {
                filled.extend(&rest[1..rest.len() - behind.len() - 1]);
                behind
            } else {
                filled.push(*first);
                others
            };
        }
        Ok(OsString::from_vec(filled))
    }

    fn value(self, form: Form<'_>) -> Result<String, Unfit> {
        let index = match form {
            Form::Port => {
                let port = self.port().ok_or(Unfit::NoPort)?;
                return Ok(port.to_string());
            }
            Form::Fd if self.listeners.is_empty() => return Err(Unfit::NoSocket),
            Form::Fd => 0,
            Form::FdNamed(name) => {
                self.named(name).ok_or_else(|| Unfit::NoSuchName { name: name.to_string() })?
            }
        };
        Ok(self.listener(index).to_string())
    }

    /// The place of the listener that is called so: exactly, or as in `LISTEN_FD_<NAME>`.
    fn named(self, name: &str) -> Option<usize> {
        let place = |is_it: &dyn Fn(&str) -> bool| {
            self.listeners.iter().position(|listener| listener.name.is_some_and(is_it))
        };
        let in_variable = |full: &str| {
            name_in_variable(full).is_some_and(|full| full == name || full.to_ascii_lowercase() == name)
        };
        place(&|full| full == name).or_else(|| place(&in_variable))
    }

    /// The form that a text begins with, braces included, and what is behind it.
    fn form<'t>(self, text: &'t [u8]) -> Option<(Form<'t>, &'t [u8])> {
        let text = text.strip_prefix(b"{")?;
        if let Some(behind) = text.strip_prefix(b"fd}") {
            return Some((Form::Fd, behind));
        }
        if let Some(behind) = text.strip_prefix(b"port}") {
            return Some((Form::Port, behind));
        }
        let name = text.strip_prefix(b"fd:")?;
        let end = name.iter().position(|byte| *byte == b'}')?;
        let name = std::str::from_utf8(&name[..end]).ok()?;
        let is_name = is_listener_name(name) || self.named(name).is_some();
        is_name.then_some((Form::FdNamed(name), &text[3 + end + 1..]))
    }

    /// What is behind a form in double braces.
    fn doubled(self, text: &[u8]) -> Option<&[u8]> {
        let (_, behind) = self.form(text.strip_prefix(b"{")?)?;
        behind.strip_prefix(b"}")
    }
}

/// As in bash's `exec {fd}>log`, which is a variable's name.
fn redirects(behind: &[u8]) -> bool {
    matches!(behind.first(), Some(b'<' | b'>'))
}

/// The name of a listener as a variable can hold it. None where that is empty or a number, which would be taken for a
/// place among all.
pub(crate) fn name_in_variable(name: &str) -> Option<String> {
    let fit = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(fit).collect();
    (!name.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// Whether the operator can name a listener so.
pub(crate) fn is_listener_name(name: &str) -> bool {
    let letters = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    letters && !name.bytes().all(|byte| byte.is_ascii_digit())
}
