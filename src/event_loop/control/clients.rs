//! All clients: who is there, whose turn it is, and who has to go.
//!
//! What this file does not do: answer, or know what the core says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use crate::core::{ClientId, Time};
use crate::wire::control::http::Refusal;
use crate::wire::control::routes::Door;

use super::client::{Client, Turn};
use super::events::{Events, Next};

/// One connection: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::event_loop) struct ConnectionId(u64);

/// The upper half of all tokens.
const FIRST_CLIENT: usize = usize::MAX / 2 + 1;

impl ConnectionId {
    fn token(self) -> Token {
        Token(FIRST_CLIENT + usize::try_from(self.0).expect("64 bits"))
    }

    /// Whose token it is; none where it is no client's.
    pub(in crate::event_loop) fn of(Token(number): Token) -> Option<ConnectionId> {
        number.checked_sub(FIRST_CLIENT).map(|id| ConnectionId(id as u64))
    }
}

pub(super) struct Clients {
    table: BTreeMap<ConnectionId, Client>,
    next_connection: u64,
    next_question: u64,
    /// Who waits for which answer.
    asking: BTreeMap<ClientId, ConnectionId>,
    /// Who may have something to read, or may write again; each once.
    ready: VecDeque<ConnectionId>,
    is_ready: BTreeSet<ConnectionId>,
    /// The deadlines of all, the next one first.
    deadlines: BTreeSet<(Time, ConnectionId)>,
    deadline_of: BTreeMap<ConnectionId, Time>,
    pub(super) events: Events,
    /// Whether followers have not been told of the last ones.
    news: bool,
}

impl Clients {
    pub(super) fn new() -> Clients {
        Clients {
            table: BTreeMap::new(),
            next_connection: 0,
            next_question: 1,
            asking: BTreeMap::new(),
            ready: VecDeque::new(),
            is_ready: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            deadline_of: BTreeMap::new(),
            events: Events::default(),
            news: false,
        }
    }

    pub(super) fn count(&self, door: Door) -> usize {
        self.table.values().filter(|client| client.door == door).count()
    }

    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.table.keys().copied().collect()
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Client> {
        self.table.get_mut(&id)
    }

    /// What all of them hold on the heap, in bytes.
    pub(super) fn held(&self) -> usize {
        self.table.values().map(Client::held).sum()
    }

    /// What those hold that are sending a body.
    pub(super) fn held_by_bodies(&self) -> usize {
        self.table.values().filter(|client| client.sends_body()).map(Client::held).sum()
    }

    /// Who cannot be watched is not there.
    pub(super) fn add(
        &mut self,
        stream: OwnedFd,
        door: Door,
        uid: u32,
        now: Time,
        poll: &Poll,
    ) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let interest = Interest::READABLE.add(Interest::WRITABLE);
        if poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), id.token(), interest).is_ok() {
            self.table.insert(id, Client::new(stream, door, uid, now));
            self.note_deadline(id);
        }
        id
    }

    /// Nothing that it sends is read any more.
    pub(super) fn refuse(&mut self, id: ConnectionId, now: Time, refusal: &Refusal) {
        if let Some(client) = self.table.get_mut(&id) {
            client.refuse(now, refusal);
            self.note_deadline(id);
            self.set_ready(id);
        }
    }

    pub(super) fn remove(&mut self, id: ConnectionId, poll: &Poll) {
        let Some(client) = self.table.remove(&id) else { return };
        // Closing would do, were it not for children between fork and exec, which hold copies.
        let _ = poll.registry().deregister(&mut SourceFd(&client.stream().as_raw_fd()));
        if let Some(question) = client.asking() {
            self.asking.remove(&question);
        }
        if let Some(at) = self.deadline_of.remove(&id) {
            self.deadlines.remove(&(at, id));
        }
        if self.is_ready.remove(&id) {
            self.ready.retain(|ready| *ready != id);
        }
        if client.following().is_some() {
            self.forget_events();
        }
    }

    /// Whoever has been without a question for the longest time.
    pub(super) fn idlest(&self, door: Door) -> Option<ConnectionId> {
        let idle = self.table.iter().filter(|(_, client)| client.door == door && client.is_idle());
        idle.min_by_key(|(_, client)| client.since).map(|(id, _)| *id)
    }

    /// Something has happened to its connection.
    pub(super) fn set_ready(&mut self, id: ConnectionId) {
        if self.table.contains_key(&id) && self.is_ready.insert(id) {
            self.ready.push_back(id);
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        self.news || !self.ready.is_empty()
    }

    pub(super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn next_ready(&mut self) -> Option<ConnectionId> {
        let id = self.ready.pop_front()?;
        self.is_ready.remove(&id);
        Some(id)
    }

    pub(super) fn turn(&mut self, id: ConnectionId, now: Time) -> Turn {
        let Some(client) = self.table.get_mut(&id) else { return Turn::Done };
        client.turn(&self.events, now)
    }

    /// Whether there is more to be written to it.
    pub(super) fn last_turn(&mut self, id: ConnectionId, now: Time) -> bool {
        self.table.get_mut(&id).is_some_and(|client| client.last_turn(&self.events, now))
    }

    /// Called after whatever a client has done.
    pub(super) fn note_deadline(&mut self, id: ConnectionId) {
        let deadline = self.table.get(&id).and_then(Client::deadline);
        let before = self.deadline_of.get(&id).copied();
        if deadline == before {
            return;
        }
        if let Some(at) = before {
            self.deadline_of.remove(&id);
            self.deadlines.remove(&(at, id));
        }
        if let Some(at) = deadline {
            self.deadline_of.insert(id, at);
            self.deadlines.insert((at, id));
        }
    }

    /// When the next one is late.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    pub(super) fn next_late(&self, now: Time) -> Option<ConnectionId> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// A number for the next question of this client.
    pub(super) fn new_question(&mut self, id: ConnectionId) -> ClientId {
        let question = ClientId(self.next_question);
        self.next_question += 1;
        self.asking.insert(question, id);
        question
    }

    /// Who asked it, if it is still there.
    pub(super) fn take_asker(&mut self, question: ClientId) -> Option<ConnectionId> {
        self.asking.remove(&question)
    }

    pub(super) fn has_followers(&self) -> bool {
        self.table.values().any(|client| client.following().is_some())
    }

    pub(super) fn push_event(&mut self, line: Vec<u8>) {
        self.events.push(line);
        self.news = true;
    }

    /// Gives a turn to everybody who follows, if something has happened. Who has fallen behind is returned.
    pub(super) fn tell_followers(&mut self) -> Vec<ConnectionId> {
        if !std::mem::take(&mut self.news) {
            return Vec::new();
        }
        let following = self.table.iter().filter_map(|(id, client)| Some((*id, client.following()?)));
        let (mut behind, mut eager) = (Vec::new(), Vec::new());
        for (id, next) in following {
            if self.events.next(next) == Next::Behind { behind.push(id) } else { eager.push(id) }
        }
        for id in eager {
            self.set_ready(id);
        }
        behind
    }

    /// Events that everybody has taken are not kept.
    pub(super) fn forget_events(&mut self) {
        if !self.events.is_empty() {
            let least = self.table.values().filter_map(Client::following).min();
            self.events.forget(least);
        }
    }
}
