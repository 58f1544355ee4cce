//! einhorn's socket, under `--protocol einhorn`: for workers whose libraries ack there, and know no descriptor.
//!
//! ```text
//!   worker ── connect ──> accept: whose process? ── a line ──> wire::worker ── online ──> Event::Said of that worker
//! ```
//!
//! It lies beside the control socket, and like that one is for this user alone. Nothing is answered, as einhorn answers
//! nothing to an ack; and nothing but an ack is taken in. Who is no worker is not listened to.
//!
//! What this file does not do: know how an ack looks (`wire::worker`).

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use mio::{Interest, Poll};

use crate::config::{Config, EINHORN_SUFFIX};
use crate::core::{Event, WorkerId};
use crate::handover::Protocol;
use crate::log::Log;
use crate::sys::children::Pid;
use crate::sys::control::ControlSocket;
use crate::sys::stream::{self, Received};
use crate::wire::worker::{Reader, Said};

use super::places::told;
use super::workers::ignore;
use super::{ACKS, EventLoop, watch};

/// Beyond these the one that has been there for the longest time is cut off.
const MOST_SPEAKERS: usize = 64;
/// An ack is one short line.
const MOST_BYTES: usize = 4096;

pub(super) struct Acks {
    socket: Option<ControlSocket>,
    speakers: VecDeque<Speaker>,
}

/// A connection of a worker's.
struct Speaker {
    stream: OwnedFd,
    worker: WorkerId,
    reader: Reader,
    /// How many bytes it may still write.
    left: usize,
}

impl Acks {
    /// Without the socket there is still the descriptor, so that it is no reason not to start.
    pub(super) fn open(config: &Config, poll: &Poll, log: &mut Log) -> Acks {
        let mut socket = None;
        if config.policy.protocol == Protocol::Einhorn {
            match bind(&config.control.beside(EINHORN_SUFFIX), poll) {
                Ok(bound) => socket = Some(bound),
                Err(why) => log.remark(&format_args!("{why}; workers can ack by EINHORN_SOCK_FD only")),
            }
        }
        Acks { socket, speakers: VecDeque::new() }
    }

    /// Whether it was made anew because somebody had removed its path.
    pub(super) fn mend(&mut self, poll: &Poll, log: &mut Log) -> bool {
        let Some(socket) = self.socket.as_mut().filter(|socket| !socket.is_in_place()) else { return false };
        let path = socket.path().to_owned();
        let bound = socket.bind_anew().map_err(|error| error.to_string());
        told(log, &path, bound.and_then(|()| watch_socket(socket, poll)))
    }

    pub(super) fn path(&self) -> Option<&OsStr> {
        self.socket.as_ref().map(|socket| socket.path().as_os_str())
    }

    fn add(&mut self, stream: OwnedFd, worker: WorkerId, poll: &Poll) {
        if self.speakers.len() == MOST_SPEAKERS {
            self.speakers.pop_front().inspect(|speaker| ignore(poll, &speaker.stream));
        }
        // One that cannot be watched is heard once, at once; most have written already.
        let _ = watch(poll, &stream, ACKS, Interest::READABLE);
        self.speakers.push_back(Speaker { stream, worker, reader: Reader::new(), left: MOST_BYTES });
    }

    /// Who has acked. Those that have nothing more to say are let go.
    fn hear(&mut self, poll: &Poll) -> Vec<(WorkerId, Said)> {
        let mut acked = Vec::new();
        self.speakers.retain_mut(|speaker| {
            let stays = speaker.hear(&mut acked);
            if !stays {
                ignore(poll, &speaker.stream);
            }
            stays
        });
        acked
    }
}

impl Speaker {
    /// Reads what there is; false where nothing follows.
    fn hear(&mut self, acked: &mut Vec<(WorkerId, Said)>) -> bool {
        let mut buffer = [0; 512];
        while self.left > 0 {
            let mut bytes = match stream::receive(self.stream.as_fd(), &mut buffer) {
                Received::Bytes(count) => &buffer[..count],
                Received::Nothing => return true,
                Received::Closed => return false,
            };
            self.left = self.left.saturating_sub(bytes.len());
            while let Some(said) = self.reader.next(&mut bytes) {
                if matches!(said, Said::Online(_)) {
                    acked.push((self.worker, said));
                }
            }
        }
        false
    }
}

/// An error is a sentence.
fn bind(path: &Path, poll: &Poll) -> Result<ControlSocket, String> {
    let socket = ControlSocket::bind(path).map_err(|error| error.to_string())?;
    watch_socket(&socket, poll).map(|()| socket)
}

fn watch_socket(socket: &ControlSocket, poll: &Poll) -> Result<(), String> {
    watch(poll, &socket.as_fd(), ACKS, Interest::READABLE)
        .map_err(|error| format!("cannot watch {}: {error}", socket.path().display()))
}

impl EventLoop {
    /// Somebody wants to ack, or has.
    pub(super) fn hear_acks(&mut self) {
        while let Some(Ok(Some((stream, peer)))) = self.acks.socket.as_ref().map(ControlSocket::accept) {
            let pid = i32::try_from(peer.pid).ok().and_then(Pid::new);
            if let Some(worker) = pid.and_then(|pid| self.worker_of(pid)) {
                self.acks.add(stream.into(), worker, &self.poll);
            }
        }
        for (worker, said) in self.acks.hear(&self.poll) {
            self.handle(Event::Said { worker, said });
        }
    }
}
