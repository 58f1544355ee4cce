//! Asks srvwrap over its control socket: by curl, as a user would, and byte by byte, as nobody should.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{PATIENCE, Srvwrap};

/// A whole response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    /// Its body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A text in its body.
    pub(crate) fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_else(|| panic!("no {field}: {self:?}")).to_string()
    }
}

/// The directory of a control socket: shorter names than an address has to hold.
pub(crate) fn socket(srvwrap: &Srvwrap) -> PathBuf {
    srvwrap.path().join("srvwrap.sock")
}

/// A curl that is still to be run.
pub(crate) fn curl_command(directory: &Path, path: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.current_dir(directory).args(["-sS", "-i", "--max-time", "60", "--unix-socket", "srvwrap.sock"]);
    command.args(arguments).arg(format!("http://localhost{path}"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Asks by curl.
pub(crate) fn curl(srvwrap: &Srvwrap, path: &str, arguments: &[&str]) -> Response {
    let output = curl_command(srvwrap.path(), path, arguments).output().expect("curl can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    response_of(&output.stdout)
}

/// `GET`.
pub(crate) fn get(srvwrap: &Srvwrap, path: &str) -> Response {
    curl(srvwrap, path, &[])
}

/// `POST` of this body.
pub(crate) fn post(srvwrap: &Srvwrap, path: &str, body: &str) -> Response {
    curl(srvwrap, path, &["-d", body])
}

/// What curl has written: the last head, behind those of `100 Continue`, and the body.
pub(crate) fn response_of(output: &[u8]) -> Response {
    let mut reader = BufReader::new(output);
    loop {
        let response = read_response(&mut reader).expect("curl has written a response");
        if response.status >= 200 {
            return response;
        }
    }
}

/// One connection.
pub(crate) struct Raw {
    reader: BufReader<UnixStream>,
}

impl Raw {
    pub(crate) fn connect(path: &Path) -> Raw {
        let stream = UnixStream::connect(path).expect("srvwrap listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Raw { reader: BufReader::new(stream) }
    }

    pub(crate) fn to(srvwrap: &Srvwrap) -> Raw {
        Raw::connect(&socket(srvwrap))
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    /// Sends it as it is. A failure is the other side's end.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        self.response()
    }

    pub(crate) fn ask(&mut self, path: &str, body: &str) {
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> Response {
        self.ask(path, body);
        self.response()
    }

    pub(crate) fn response(&mut self) -> Response {
        self.try_response().expect("there is a response")
    }

    /// None where the connection has ended instead.
    pub(crate) fn try_response(&mut self) -> Option<Response> {
        read_response(&mut self.reader)
    }

    /// Begins to follow events; from here on [`Raw::event`] has each that happens.
    pub(crate) fn follow(&mut self) {
        self.send("GET /events HTTP/1.0\r\n\r\n");
        let head = read_head(&mut self.reader).expect("events begin with a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }

    /// The next event; none where they have ended.
    pub(crate) fn event(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("events come in time");
        let whole = line.ends_with('\n');
        whole.then(|| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// The next event of this name.
    pub(crate) fn event_named(&mut self, name: &str) -> Value {
        loop {
            let event = self.event().unwrap_or_else(|| panic!("no {name}"));
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Says that nothing follows, and reads on.
    pub(crate) fn end_writing(&self) {
        self.stream().shutdown(Shutdown::Write).expect("it is open");
    }

    /// All that comes until the connection ends.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.reader.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Whether the other side closes the connection without another word.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.reader.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn read_response(reader: &mut impl BufRead) -> Option<Response> {
    let head = read_head(reader)?;
    let status = head.split(' ').nth(1)?.parse().expect("a status is a number");
    let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok();
    let length: usize = head.lines().find_map(length).unwrap_or(0);
    let mut body = vec![0; length];
    // To HEAD there is none.
    let count = read_up_to(reader, &mut body);
    assert!(count == length || count == 0, "the body ends early: {head}");
    body.truncate(count);
    Some(Response { status, head, body: String::from_utf8(body).expect("JSON is UTF-8") })
}

fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> usize {
    let mut count = 0;
    while count < buffer.len() {
        match reader.read(&mut buffer[count..]) {
            Ok(0) | Err(_) => break,
            Ok(more) => count += more,
        }
    }
    count
}
