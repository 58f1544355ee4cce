//! What was seen of a program in its lives: plain facts, of which `points.rs` makes a judgement.

use std::borrow::Cow;
use std::time::Duration;

use crate::core::Ready;

/// Lives that are made of it, by what each is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Serves, and is told to finish with nothing to do.
    Serving,
    /// Is told to finish with a request in its hands.
    InFlight,
    /// Is told to finish with idle connections.
    Idle,
    /// Has O_NONBLOCK set under it.
    Flagged,
    /// Starts with O_NONBLOCK set, and loses srvwrap.
    Orphaned,
}

pub(super) const LIVES: usize = 5;

/// What was tried, or why it was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tried<T> {
    Seen(T),
    Not(Cow<'static, str>),
}

pub(super) const NOT_ONLINE: &str = "it was not online";
pub(super) const NO_LISTENER: &str = "there is no listener; give one, as in -p 0";
pub(super) const ENDED: &str = "it had ended by itself";

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Whether it was given one.
    pub(super) has_listeners: bool,
    pub(super) begun: Begun,
    /// How long it was given to come online.
    pub(super) online_timeout: Duration,
    pub(super) stop_timeout: Duration,
    /// What was asked for over HTTP.
    pub(super) path: String,
    /// The program lets go of descriptors: npm and its kin, by name.
    pub(super) runner: Option<&'static str>,
    pub(super) words: Words,
    /// One for each listener.
    pub(super) knocks: Vec<Knock>,
    /// TCP ports that it has bound by itself.
    pub(super) own_ports: Vec<u16>,
    pub(super) second: Tried<Second>,
    pub(super) holders: Tried<Vec<Holder>>,
    pub(super) end: Tried<End>,
    /// No life follows on one that has ended so, and what else went wrong may be due to that.
    pub(super) by_itself: Option<ByItself>,
    pub(super) in_flight: Tried<InFlight>,
    pub(super) idle: Tried<Idle>,
    pub(super) flagged: Tried<Flagged>,
    /// How it started and served behind one that had set O_NONBLOCK.
    pub(super) behind: Tried<Behind>,
    pub(super) eof: Tried<Orphaned>,
    /// Listeners that it has shut down, and in which life.
    pub(super) shut: Vec<(String, Purpose)>,
    /// In each life.
    pub(super) written: [Written; LIVES],
}

/// What it wrote to stdout and stderr.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The last lines.
    pub(super) lines: Vec<String>,
    /// There, or before them, it says that an address is in use.
    pub(super) address_in_use: bool,
}

/// An end that nobody had asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByItself {
    /// That of the life.
    pub(super) purpose: Purpose,
    pub(super) how: Ended,
    /// Since it had said that it is online, or else since it was started.
    pub(super) after: Duration,
    pub(super) was_online: bool,
    /// It had announced it.
    pub(super) said_offline: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

/// Where it said that it is online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    NoticeFd,
    Datagram,
    /// At einhorn's socket.
    Ack,
}

/// How a life began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    Online {
        after: Duration,
        voice: Voice,
    },
    /// It counts as online without a word.
    Unasked(Ready),
    /// It said no such word in time. `closed`: it has closed the notice descriptor.
    Silent {
        closed: bool,
    },
    Ended {
        after: Duration,
        how: Ended,
    },
    Offline {
        after: Duration,
        why: String,
    },
}

/// What it said beside what is known, in the life in which that was most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) unknown: u64,
    /// The first of them, as it was.
    pub(super) first: Option<String>,
    pub(super) overlong: u64,
    /// Datagrams that were ignored as a whole.
    pub(super) unfit: u64,
}

/// What became of a connection, and of a request on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Whole {
        status: u16,
        after: Duration,
        closes: bool,
    },
    /// It began, and did not end in time.
    Half,
    /// Other bytes.
    NotHttp,
    /// Accepted, and no byte came in time.
    Silent,
    /// Closed or reset, before the end of an answer.
    Cut,
    /// It waits in the listener's queue.
    Waiting,
    /// No connection could be made.
    Refused(&'static str),
}

/// A connection to one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Knock {
    /// The listener's.
    pub(super) address: String,
    pub(super) answer: Answer,
}

/// A connection beside another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Second {
    /// The first had its answer and was kept alive; else it had sent nothing.
    pub(super) first_was_answered: bool,
    pub(super) answer: Answer,
}

/// A process that holds what srvwrap gave to the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) name: String,
    /// Numbers of the notice descriptor, from 3 on, that an exec leaves open.
    pub(super) notice: Vec<i32>,
    /// The same of the listeners.
    pub(super) listeners: Vec<i32>,
}

/// How it ended when it was told to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// From being told until nothing was left of its group, or to KILL.
    pub(super) after: Duration,
    /// None: its first process was killed.
    pub(super) how: Option<Ended>,
    /// What of its group had to be killed, by name.
    pub(super) killed: Vec<String>,
    /// What it has left behind in groups of their own, by name.
    pub(super) left: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InFlight {
    /// An answer takes as long as the program may take to end, or longer.
    TooLong,
    Asked {
        /// So long before the shutdown; none where it was stopped meanwhile.
        before: Option<Duration>,
        /// Whether the answer had come by then.
        early: bool,
        answer: Answer,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Idle {
    /// Requests on kept-alive connections, each so long after the shutdown.
    pub(super) drained: Vec<(Duration, Answer)>,
    pub(super) end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flagged {
    /// It had set the flag by itself.
    pub(super) by_itself: bool,
    /// With the flag set; the last one after others had taken connections away from it.
    pub(super) answers: Vec<Answer>,
    /// How many they took.
    pub(super) taken: u32,
    /// In percent of one processor, got or waited for, with nothing to do: before that, and with it.
    pub(super) usual_load: u32,
    pub(super) load: u32,
    pub(super) ended: Option<Ended>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    /// Or how it ended by itself, later.
    pub(super) begun: Begun,
    /// None where it did not come online.
    pub(super) answer: Option<Answer>,
    pub(super) cleared: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Orphaned {
    /// None: it had not ended by then.
    pub(super) after: Option<Duration>,
    pub(super) limit: Duration,
    /// What of it was there still, by name.
    pub(super) left: Vec<String>,
}

impl Begun {
    pub(super) fn is_online(&self) -> bool {
        matches!(self, Begun::Online { .. } | Begun::Unasked(_))
    }
}

impl Answer {
    /// Somebody took the connection.
    pub(super) fn is_accepted(&self) -> bool {
        !matches!(self, Answer::Waiting | Answer::Refused(_))
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Answer::Whole { .. })
    }

    /// Whole, and the connection stays.
    pub(super) fn keeps(&self) -> bool {
        matches!(self, Answer::Whole { closes: false, .. })
    }

    /// Somebody took the connection, and no whole answer came in time.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Answer::Half | Answer::Silent)
    }

    /// Whole, and the connection ends with it.
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Answer::Whole { closes: true, .. })
    }
}

impl<T> Tried<T> {
    pub(super) fn not(because: impl Into<Cow<'static, str>>) -> Tried<T> {
        Tried::Not(because.into())
    }

    pub(super) fn seen(&self) -> Option<&T> {
        match self {
            Tried::Seen(seen) => Some(seen),
            Tried::Not(_) => None,
        }
    }
}

impl Seen {
    /// The first listener behind which HTTP is spoken.
    pub(super) fn http(&self) -> Option<usize> {
        self.knocks.iter().position(|knock| knock.answer.is_whole())
    }

    /// The listener that is asked, by its place: the first of HTTP, or else the first.
    pub(super) fn main(&self) -> usize {
        self.http().unwrap_or(0)
    }

    /// What became of the first request there.
    pub(super) fn first_answer(&self) -> Option<&Answer> {
        self.knocks.get(self.main()).map(|knock| &knock.answer)
    }

    /// Whether that one takes connections.
    pub(super) fn serves(&self) -> bool {
        self.begun.is_online() && self.first_answer().is_some_and(Answer::is_accepted)
    }

    /// As well as the first request there.
    pub(super) fn is_served(&self, answer: &Answer) -> bool {
        if self.http().is_some() { answer.is_whole() } else { answer.is_accepted() }
    }

    /// How long an answer takes.
    pub(super) fn answer_time(&self) -> Duration {
        match self.first_answer() {
            Some(Answer::Whole { after, .. }) => *after,
            _ => Duration::ZERO,
        }
    }
}
