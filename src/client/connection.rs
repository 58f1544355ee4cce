//! One question to a running srvwrap, on a connection of its own, and why none could be asked.
//!
//! What this file does not do: know what an answer means, or wait for more than one at a time (`follow.rs`).

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::control::{ConnectError, connect};
use crate::sys::peer_process::PeerProcess;
use crate::wire::control::client::{Reply, request};
use crate::wire::control::json;
use crate::wire::control::message::{Answer, Question};

/// A srvwrap that is well takes and answers a question at once: its loop waits for nobody.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    pub(super) reply: Reply,
}

impl Connection {
    /// Connects and asks.
    pub(super) fn open(socket: &Path, question: &Question) -> Result<Connection, Trouble> {
        let mut stream = connect(socket).map_err(|error| unreachable(socket, &error))?;
        let timeouts = stream.set_write_timeout(Some(PATIENCE));
        timeouts.and_then(|()| stream.set_read_timeout(Some(PATIENCE))).map_err(|error| lost(&error))?;
        match stream.write_all(&request(question)) {
            Ok(()) => {}
            // Whoever refuses early has said why, and that is still to be read.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => return Err(lost(&error)),
        }
        Ok(Connection { stream, reply: Reply::new() })
    }

    /// Takes in what has come; waits where nothing has, 10 s at most. Afterwards [`Connection::reply`] may be
    /// complete.
    pub(super) fn receive(&mut self) -> Result<(), Trouble> {
        let mut bytes = [0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.reply.end().map_err(|_| Trouble::Vanished),
            Ok(count) => self.reply.feed(&bytes[..count]).map_err(Trouble::Garbled),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(lost(&error)),
        }
    }

    /// The process that answers, if the kernel tells.
    pub(super) fn process(&self) -> Option<PeerProcess> {
        PeerProcess::of(&self.stream)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Asks, and waits for the body of the answer.
pub(super) fn ask(socket: &Path, question: &Question) -> Result<Vec<u8>, Trouble> {
    let mut connection = Connection::open(socket, question)?;
    while !connection.reply.is_complete() {
        connection.receive()?;
    }
    let body = connection.reply.body().to_vec();
    if connection.reply.status() == Some(200) { Ok(body) } else { Err(refused(&body)) }
}

/// What is no answer to the question says why in the form of an answer to an order.
fn refused(body: &[u8]) -> Trouble {
    match json::read::<Answer>(body) {
        Ok(answer) => Trouble::Refused(answer.message),
        Err(error) => Trouble::Garbled(error),
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody listens at this path.
    NotRunning(PathBuf),
    Unreachable {
        socket: PathBuf,
        why: String,
        /// The user that it belongs to, where that may be the reason.
        owner: Option<u32>,
    },
    /// It said so itself.
    Refused(String),
    /// It ended, or cut the connection, before the answer was whole.
    Vanished,
    /// It is there and says nothing.
    Silent,
    Lost(String),
    /// What it says is none of this program's language.
    Garbled(String),
}

impl Trouble {
    /// What the command exits with.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Trouble::NotRunning(_) => 3,
            Trouble::Unreachable { .. } | Trouble::Refused(_) | Trouble::Vanished => 1,
            Trouble::Silent | Trouble::Lost(_) | Trouble::Garbled(_) => 1,
        }
    }
}

impl Display for Trouble {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NotRunning(socket) => write!(
                f,
                "not running: nobody listens at {}; start it with srvwrap start, or name another with --socket PATH",
                socket.display()
            ),
            Trouble::Unreachable { socket, why, owner } => {
                write!(f, "cannot reach srvwrap at {}: {why}", socket.display())?;
                match owner {
                    Some(uid) => write!(f, "; it belongs to the user with uid {uid}"),
                    None => Ok(()),
                }
            }
            Trouble::Refused(message) => write!(f, "{message}"),
            Trouble::Vanished => write!(f, "srvwrap ended before it answered"),
            Trouble::Silent => {
                write!(f, "srvwrap did not answer within {}s (is it stopped?)", PATIENCE.as_secs())
            }
            Trouble::Lost(why) => write!(f, "lost the connection to srvwrap: {why}"),
            Trouble::Garbled(why) => write!(f, "cannot read the answer of srvwrap: {why}"),
        }
    }
}

fn unreachable(socket: &Path, error: &ConnectError) -> Trouble {
    if *error == ConnectError::NotRunning {
        return Trouble::NotRunning(socket.to_owned());
    }
    let owner = || fs::metadata(socket).ok().map(|found| found.uid());
    let owner = if *error == ConnectError::Denied { owner() } else { None };
    Trouble::Unreachable { socket: socket.to_owned(), why: error.to_string(), owner }
}

fn lost(error: &io::Error) -> Trouble {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the system has a hundred more")]
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Trouble::Silent,
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Trouble::Vanished,
        _ => {
            let mut words = error.to_string();
            words.truncate(words.find(" (os error").unwrap_or(words.len()));
            Trouble::Lost(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// What comes of a status asked of somebody who says this, and closes.
    fn asked(answer: &'static [u8]) -> Result<Vec<u8>, Trouble> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("srvwrap.sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = listener.accept().unwrap().0;
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).unwrap() > 0);
                stream.write_all(answer).unwrap();
            });
            ask(&path, &Question::Status)
        })
    }

    #[test]
    fn an_answer_is_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(asked(answer), Ok(b"{}".to_vec()));
    }

    #[test]
    fn a_server_that_goes_in_the_middle_is_a_failure() {
        for answer in [b"".as_slice(), b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"] {
            let trouble = asked(answer).unwrap_err();
            assert_eq!((&trouble, trouble.exit_code()), (&Trouble::Vanished, 1));
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let trouble = asked(
            b"HTTP/1.1 503 Service Unavailable\r\n\r\n{\"schema\":1,\"outcome\":\"refused\",\"exit_code\":1,\
              \"message\":\"too many clients\",\"generation\":null}",
        );
        assert_eq!(trouble, Err(Trouble::Refused("too many clients".to_owned())));
        assert!(matches!(asked(b"SSH-2.0-x\r\n\r\n"), Err(Trouble::Garbled(_))));
        assert!(matches!(asked(b"HTTP/1.1 404 Not Found\r\n\r\nnothing here"), Err(Trouble::Garbled(_))));
    }

    #[test]
    fn nobody_at_the_path_is_told_apart_from_what_is_no_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("srvwrap.sock");
        let nobody = ask(&path, &Question::Status).unwrap_err();
        assert_eq!(nobody.exit_code(), 3);
        assert!(nobody.to_string().starts_with("not running: nobody listens at /"), "{nobody}");
        drop(UnixListener::bind(&path).unwrap());
        // What another test has forked at this moment holds a copy until it is executed.
        while UnixStream::connect(&path).is_ok() {}
        assert_eq!(ask(&path, &Question::Status).unwrap_err(), nobody);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        let file = ask(&path, &Question::Status).unwrap_err();
        assert_eq!(file.exit_code(), 1);
        assert!(file.to_string().ends_with("it is not a socket"), "{file}");
    }

    #[test]
    fn whose_it_is_stands_beside_a_denial() {
        let directory = tempfile::tempdir().unwrap();
        let uid = fs::metadata(directory.path()).unwrap().uid();
        let trouble = unreachable(directory.path(), &ConnectError::Denied).to_string();
        assert!(trouble.ends_with(&format!(": Permission denied; it belongs to the user with uid {uid}")));
    }
}
