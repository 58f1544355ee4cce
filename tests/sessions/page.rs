//! The blocks of `protocol/worker.md` that are tagged `session`, and what each of their lines is.
//!
//! ```text
//!   ```session W13: a deploy that drains            for both players: against srvwrap, and against each client
//!   ```session srvwrap W14: …                       against srvwrap alone, where no server would do what W does
//!   ```session worker W16: …                        against clients alone, where srvwrap would never do what S does
//! ```
//!
//! A line that is none of those in `protocol/vectors/README.md` is an error: nobody is to believe that it was played.
//! What this file does not do: play anything.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;

const PAGE: &str = include_str!("../../protocol/worker.md");

pub(super) struct Session {
    pub(super) against: Against,
    /// `W13`, in the order of the tag.
    pub(super) rules: Vec<String>,
    pub(super) name: String,
    /// Each with the line that it was.
    pub(super) steps: Vec<(String, Step)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Against {
    Both,
    Srvwrap,
    Worker,
}

/// One of the two workers: the first, and the one that comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worker {
    W,
    V,
}

/// What a line is. A limit is the longest that something may take, or how long nothing must come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A line of a worker.
    Says(Worker, String),
    /// The same in a datagram to `NOTIFY_SOCKET`.
    SaysInDatagram(Worker, String),
    /// A line of srvwrap to a worker.
    Tells(Worker, String),
    /// An option of srvwrap's, with its value where it has one.
    RunsWith(String, Option<String>),
    /// `(W is not run by srvwrap)`
    Alone,
    Starts(Worker),
    HasDescriptors(Vec<i32>),
    /// A variable and its value, and what is behind it where that is a number.
    Has(String, String, Behind),
    /// `(W keeps its descriptors from children)`
    KeepsDescriptors,
    WorkerGets(Worker, Signal),
    SrvwrapGets(Signal),
    GetsNothing(Worker, Duration),
    GetsNoSignal(Worker, Duration),
    Serves(Worker, Duration),
    /// With this status; with any, and even by a signal, where there is none.
    Exits(Worker, Option<i32>, Option<Duration>),
    SrvwrapExits(i32, Option<Duration>),
    /// `(W complains of NAME)`: it ends with an error that is one line, which names the variable.
    Complains(Worker, String),
    Killed(Worker, Option<Duration>),
    SrvwrapKilled,
    WorkerCloses(Worker),
    SrvwrapCloses,
    ShutsListenerDown(Worker),
    /// Bytes of srvwrap to W, whatever they are.
    Writes(Vec<u8>),
    /// Whether srvwrap reads what W writes. Where it does not, what it has not read fills the socket.
    Reads(bool),
    /// `(O_NONBLOCK is set)`, `(O_NONBLOCK is cleared)`: on all listeners, by another of their holders.
    Nonblocking(bool),
    /// `(another worker is faster)`
    AnotherIsFaster,
    /// A client of `LISTEN_FD`, or of the listener that this variable names.
    Connects(Option<Duration>),
    Leaves,
    IsAnswered(String),
    /// One with a name keeps its connection.
    Asks(char, String),
    Answered(char),
    AsksUntilLast(char),
    ConnectionCloses(char),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// What srvwrap puts there.
    Itself,
    Nothing,
    DevNull,
}

pub(super) fn sessions() -> Vec<Session> {
    let blocks = PAGE.split("\n```session ").skip(1);
    blocks.map(|block| session(block.split("\n```").next().expect("a split has a first piece"))).collect()
}

/// The inside of a block, what follows the tag first.
pub(super) fn session(block: &str) -> Session {
    let mut lines = block.lines();
    let tag = lines.next().expect("the tag is there");
    let (head, name) = tag.split_once(": ").unwrap_or_else(|| panic!("a session without a name: {tag}"));
    let (against, rules) = match head.split_once(' ') {
        Some(("srvwrap", rules)) => (Against::Srvwrap, rules),
        Some(("worker", rules)) => (Against::Worker, rules),
        _ => (Against::Both, head),
    };
    let step = |line: &str| match step(line) {
        Some(step) => (line.to_owned(), step),
        None => panic!("no player knows this line of {tag:?}: {line}"),
    };
    Session {
        against,
        rules: rules.split(", ").map(str::to_owned).collect(),
        name: name.to_owned(),
        steps: lines.map(step).collect(),
    }
}

impl Session {
    pub(super) fn is_for_srvwrap(&self) -> bool {
        matches!(self.against, Against::Both | Against::Srvwrap)
    }

    pub(super) fn is_for_workers(&self) -> bool {
        matches!(self.against, Against::Both | Against::Worker)
    }

    pub(super) fn title(&self) -> String {
        format!("{}: {}", self.rules.join(", "), self.name)
    }

    /// What srvwrap runs with.
    pub(super) fn options(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.steps.iter().filter_map(|(_, step)| match step {
            Step::RunsWith(option, value) => Some((option.as_str(), value.as_deref())),
            _ => None,
        })
    }

    /// As in `--protocol`, where a line says it.
    pub(super) fn protocol(&self) -> Option<&str> {
        self.options().find(|(option, _)| *option == "--protocol").and_then(|(_, name)| name)
    }

    /// Whether there is a second listener, on a unix socket.
    pub(super) fn has_second_listener(&self) -> bool {
        let names = |step: &Step| match step {
            Step::Has(name, ..) | Step::IsAnswered(name) => name == "LISTEN_FD_1",
            _ => false,
        };
        self.steps.iter().any(|(_, step)| names(step))
    }
}

/// A rule's number, and whether its bytes are in `protocol/vectors`.
pub(super) fn rules() -> Vec<(String, bool)> {
    let headings = PAGE.lines().filter_map(|line| line.strip_prefix("### "));
    let rule = |heading: &str| {
        let number = heading.split(' ').next().expect("a split has a first piece").to_owned();
        (number, heading.ends_with("*(vectors)*"))
    };
    headings.map(rule).collect()
}

/// In the order of the page.
pub(super) fn in_order(rules: &BTreeSet<&str>) -> Vec<String> {
    let all = self::rules().into_iter().map(|(number, _)| number);
    all.filter(|number| rules.contains(number.as_str())).collect()
}

/// What a line is; nothing where no player knows it.
pub(super) fn step(line: &str) -> Option<Step> {
    let Some(happens) = line.strip_prefix('(') else { return said(line) };
    let happens = happens.strip_suffix(')')?;
    let (happens, limit) = match happens.rsplit_once(" within ") {
        Some((happens, limit)) => (happens, Some(seconds(limit)?)),
        None => (happens, None),
    };
    let (who, what) = happens.split_once(' ')?;
    let step = match who {
        "W" => of_worker(Worker::W, what, limit)?,
        "V" => of_worker(Worker::V, what, limit)?,
        "S" => of_srvwrap(what, limit)?,
        "client" => of_named_client(what)?,
        _ => of_others(happens, limit)?,
    };
    Some(step)
}

fn said(line: &str) -> Option<Step> {
    let (who, text) = line.split_once(": ")?;
    let text = text.to_owned();
    let step = match who {
        "W" => Step::Says(Worker::W, text),
        "V" => Step::Says(Worker::V, text),
        "W in a datagram" => Step::SaysInDatagram(Worker::W, text),
        "V in a datagram" => Step::SaysInDatagram(Worker::V, text),
        "S" => Step::Tells(Worker::W, text),
        "S to V" => Step::Tells(Worker::V, text),
        _ => return None,
    };
    Some(step)
}

fn of_worker(who: Worker, what: &str, limit: Option<Duration>) -> Option<Step> {
    let step = match what {
        "starts" => Step::Starts(who),
        "is not run by srvwrap" => Step::Alone,
        "keeps its descriptors from children" => Step::KeepsDescriptors,
        "gets nothing" => Step::GetsNothing(who, limit?),
        "gets no signal" => Step::GetsNoSignal(who, limit?),
        "is killed" => Step::Killed(who, limit),
        "ends" => Step::Exits(who, None, limit),
        "closes NOTIFY_FD" => Step::WorkerCloses(who),
        "writes an empty line" => Step::Says(who, String::new()),
        "shuts LISTEN_FD down" => Step::ShutsListenerDown(who),
        _ => return of_worker_with(who, what, limit),
    };
    Some(step)
}

fn of_worker_with(who: Worker, what: &str, limit: Option<Duration>) -> Option<Step> {
    let (verb, rest) = what.split_once(' ')?;
    let step = match verb {
        "gets" => Step::WorkerGets(who, signal(rest)?),
        "exits" => Step::Exits(who, Some(rest.parse().ok()?), limit),
        "serves" => Step::Serves(who, seconds(rest.strip_prefix("for ")?)?),
        "complains" => Step::Complains(who, rest.strip_prefix("of ")?.to_owned()),
        "has" => has(rest)?,
        _ => return None,
    };
    Some(step)
}

fn has(what: &str) -> Option<Step> {
    if let Some(numbers) = what.strip_prefix("descriptors ") {
        let numbers: Result<Vec<i32>, _> = numbers.split(' ').map(str::parse).collect();
        return numbers.ok().map(Step::HasDescriptors);
    }
    let (assignment, behind) = match what.split_once(" and ") {
        None => (what, Behind::Itself),
        Some((assignment, "nothing behind it")) => (assignment, Behind::Nothing),
        Some((assignment, "/dev/null behind it")) => (assignment, Behind::DevNull),
        Some(_) => return None,
    };
    let (name, value) = assignment.split_once('=')?;
    Some(Step::Has(name.to_owned(), value.to_owned(), behind))
}

fn of_srvwrap(what: &str, limit: Option<Duration>) -> Option<Step> {
    let step = match what {
        "is killed" => Step::SrvwrapKilled,
        "closes NOTIFY_FD" => Step::SrvwrapCloses,
        "does not read" => Step::Reads(false),
        "reads" => Step::Reads(true),
        _ => {
            let (verb, rest) = what.split_once(' ')?;
            match verb {
                "gets" => Step::SrvwrapGets(signal(rest)?),
                "exits" => Step::SrvwrapExits(rest.parse().ok()?, limit),
                "runs" => runs_with(rest.strip_prefix("with ")?),
                "writes" => Step::Writes(bytes(rest)?),
                _ => return None,
            }
        }
    };
    Some(step)
}

fn runs_with(what: &str) -> Step {
    match what.split_once(' ') {
        Some((option, value)) => Step::RunsWith(option.to_owned(), Some(value.to_owned())),
        None => Step::RunsWith(what.to_owned(), None),
    }
}

fn of_named_client(what: &str) -> Option<Step> {
    let (name, what) = what.split_once(' ')?;
    let name: char = name.parse().ok()?;
    let step = match what {
        "is answered" => Step::Answered(name),
        "asks until it is the last time" => Step::AsksUntilLast(name),
        "sees its connection closed" => Step::ConnectionCloses(name),
        _ => Step::Asks(name, what.strip_prefix("asks for ")?.to_owned()),
    };
    Some(step)
}

fn of_others(what: &str, limit: Option<Duration>) -> Option<Step> {
    let step = match what {
        "O_NONBLOCK is set" => Step::Nonblocking(true),
        "O_NONBLOCK is cleared" => Step::Nonblocking(false),
        "another worker is faster" => Step::AnotherIsFaster,
        "a client connects" => Step::Connects(limit),
        "a client connects and leaves" => Step::Leaves,
        "a client is answered" => Step::IsAnswered("LISTEN_FD".to_owned()),
        _ => {
            let name = what.strip_prefix("a client of ")?.strip_suffix(" is answered")?;
            Step::IsAnswered(name.to_owned())
        }
    };
    Some(step)
}

/// `"text"` with the escapes of JSON, `"text" 5000 times`, or `hex 00ff`.
fn bytes(what: &str) -> Option<Vec<u8>> {
    if let Some(digits) = what.strip_prefix("hex ") {
        let pairs = digits.as_bytes().chunks(2);
        return pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    }
    let (text, times) = match what.strip_suffix(" times").and_then(|what| what.rsplit_once(' ')) {
        Some((text, times)) => (text, times.parse().ok()?),
        None => (what, 1),
    };
    let text: String = serde_json::from_str(text).ok()?;
    Some(text.repeat(times).into_bytes())
}

fn seconds(text: &str) -> Option<Duration> {
    Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?))
}

fn signal(name: &str) -> Option<Signal> {
    format!("SIG{name}").parse().ok()
}
