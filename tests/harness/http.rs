//! Real HTTP over TCP or a unix socket, with every failure told apart: refused, reset, truncated.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Port(u16),
    Path(PathBuf),
}

/// Why there was no whole answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// Nobody listens.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection ended before or inside an answer.
    Truncated,
    /// Anything else, time-outs among it.
    Other(String),
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) body: String,
    /// The server will close the connection.
    pub(crate) last: bool,
}

/// Who answered, where the server is one of `clients/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answerer {
    pub(crate) pid: i32,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl Answer {
    pub(crate) fn by(&self) -> Answerer {
        let numbers: Vec<i32> = self.body.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match *numbers {
            [pid, slot, generation] => Answerer { pid, slot: slot as u32, generation: generation as u32 },
            _ => panic!("not pid, slot and generation: {:?}", self.body),
        }
    }
}

/// One connection.
pub(crate) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Connection {
    pub(crate) fn open(target: &Target) -> Result<Connection, Trouble> {
        let limit = Some(Duration::from_secs(30));
        let stream: Box<dyn Stream> = match target {
            Target::Port(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port)).map_err(|error| trouble(&error))?;
                stream.set_read_timeout(limit).expect("not zero");
                stream.set_nodelay(true).expect("a TCP socket");
                Box::new(stream)
            }
            Target::Path(path) => {
                let stream = UnixStream::connect(path).map_err(|error| trouble(&error))?;
                stream.set_read_timeout(limit).expect("not zero");
                Box::new(stream)
            }
        };
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// One request and its whole answer. `close` asks the server to close after it.
    pub(crate) fn get(&mut self, path: &str, close: bool) -> Result<Answer, Trouble> {
        self.ask(path, close)?;
        self.answer(close)
    }

    /// The first half of [`Self::get`]: sends the request.
    pub(crate) fn ask(&mut self, path: &str, close: bool) -> Result<(), Trouble> {
        let connection = if close { "close" } else { "keep-alive" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).map_err(|error| trouble(&error))
    }

    /// The second half of [`Self::get`]: waits for the answer. `close` is what was asked for.
    pub(crate) fn answer(&mut self, close: bool) -> Result<Answer, Trouble> {
        let (mut length, mut last) = (None, close);
        for line_number in 0.. {
            let mut line = String::new();
            let count = self.stream.read_line(&mut line).map_err(|error| trouble(&error))?;
            if count == 0 {
                return Err(Trouble::Truncated);
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line_number == 0 && !line.starts_with("http/1.1 200") {
                return Err(Trouble::Other(line));
            }
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
            last |= line == "connection: close";
        }
        let mut body = vec![0; length.ok_or_else(|| Trouble::Other("no content-length".to_string()))?];
        self.stream.read_exact(&mut body).map_err(|error| trouble(&error))?;
        Ok(Answer { body: String::from_utf8_lossy(&body).into_owned(), last })
    }
}

/// One request on a connection of its own.
pub(crate) fn get(target: &Target, path: &str) -> Result<Answer, Trouble> {
    Connection::open(target)?.get(path, true)
}

/// A unix socket's target.
pub(crate) fn at(path: &Path) -> Target {
    Target::Path(path.to_path_buf())
}

fn trouble(error: &std::io::Error) -> Trouble {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound => Trouble::Refused,
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => Trouble::Reset,
        std::io::ErrorKind::UnexpectedEof => Trouble::Truncated,
        _ => Trouble::Other(error.to_string()),
    }
}

/// Clients that ask again and again, with a connection for each request.
pub(crate) struct Clients {
    go_on: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(usize, Vec<Trouble>)>>,
}

impl Clients {
    pub(crate) fn start(target: &Target, count: usize) -> Clients {
        let go_on = Arc::new(AtomicBool::new(true));
        let client = |_| {
            let (target, go_on) = (target.clone(), Arc::clone(&go_on));
            thread::spawn(move || {
                let (mut answered, mut troubles) = (0, Vec::new());
                while go_on.load(Ordering::Relaxed) {
                    match get(&target, "/") {
                        Ok(_) => answered += 1,
                        Err(trouble) => troubles.push(trouble),
                    }
                }
                (answered, troubles)
            })
        };
        let threads = (0..count).map(client).collect();
        Clients { go_on, threads }
    }

    /// How many requests were answered, and what became of the others.
    pub(crate) fn end(self) -> (usize, Vec<Trouble>) {
        self.go_on.store(false, Ordering::Relaxed);
        let (mut answered, mut troubles) = (0, Vec::new());
        for thread in self.threads {
            let (more, other) = thread.join().expect("a client does not panic");
            answered += more;
            troubles.extend(other);
        }
        (answered, troubles)
    }
}
