//! Why sockets cannot be handed to a program, each with its remedy.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};

use crate::cli::shown;

/// What is asked for and cannot be. Nothing of it changes while srvwrap runs, but the program's words in a deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// `--protocol stdin` with none or several.
    NotOne { count: usize },
    /// A path that `SERVER_STARTER_PORT` cannot hold.
    Path(OsString),
    /// `{fd}` where there is none.
    NoSocket,
    /// `{fd:NAME}` where none has this name.
    NoSuchName { name: String },
    /// `{port}` where none has a port.
    NoPort,
}

impl Display for Unfit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::NotOne { count: 0 } => {
                write!(f, "--protocol stdin: there is no socket to hand over; give one by -p")
            }
            Unfit::NotOne { count } => {
                write!(f, "--protocol stdin: it hands over one socket, and there are {count}; give only one")
            }
            Unfit::Path(path) => write!(
                f,
                "--protocol server-starter: it cannot name {}; give a path without = and ;",
                shown(path)
            ),
            Unfit::NoSocket => f.write_str(
                "argument {fd}: there is no socket; give one by -p (or {{fd}}, where the text itself is meant)",
            ),
            Unfit::NoSuchName { name } => write!(
                f,
                "argument {{fd:{name}}}: no socket has this name; give one, as in -p {name}=8000 \
                 (or {{{{fd:{name}}}}}, where the text itself is meant)"
            ),
            Unfit::NoPort => f.write_str(
                "argument {port}: no socket has a port; give one, as in -p 8000 \
                 (or {{port}}, where the text itself is meant)",
            ),
        }
    }
}
