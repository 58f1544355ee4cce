//! The deploys of the past, and the one under way: who asked, what changed, and how it ended.

use std::collections::VecDeque;
use std::time::Duration;

use crate::core::{Asker, Notice, Time};
use crate::wire::control::message::Outcome;

use super::Supervisor;

/// More would be of interest to nobody at a terminal, and each holds the names of variables that changed.
const KEPT: usize = 50;

/// One deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deployed {
    pub(crate) generation: u32,
    pub(crate) asker: Asker,
    /// How many workers it is of.
    pub(crate) count: u32,
    pub(crate) at: Time,
    /// Against the generation before: in words, without values of variables.
    pub(crate) changed: Vec<String>,
    /// Whether it was committed.
    pub(crate) live: bool,
    pub(crate) end: Option<End>,
}

/// How a deploy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) notice: Notice,
    pub(crate) took: Duration,
}

/// The newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    deploys: VecDeque<Deployed>,
}

impl History {
    pub(super) fn begin(&mut self, deployed: Deployed) {
        if self.deploys.len() == KEPT {
            self.deploys.pop_front();
        }
        self.deploys.push_back(deployed);
    }

    pub(super) fn last(&self) -> Option<&Deployed> {
        self.deploys.back()
    }

    pub(super) fn commit(&mut self) {
        if let Some(last) = self.deploys.back_mut() {
            last.live = true;
        }
    }

    pub(super) fn end(&mut self, now: Time, outcome: Outcome, notice: &Notice) {
        if let Some(last) = self.deploys.back_mut().filter(|last| last.end.is_none()) {
            last.end = Some(End { outcome, notice: notice.clone(), took: now - last.at });
        }
    }
}

impl Supervisor {
    /// The deploys, the oldest first; the boot is the first of all.
    pub(crate) fn history(&self) -> impl Iterator<Item = &Deployed> {
        self.history.deploys.iter()
    }
}
