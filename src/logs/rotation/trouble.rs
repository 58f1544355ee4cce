//! What goes wrong with one log file, and how much of it the operator hears.
//!
//! Each kind of trouble is told once, and again after a minute while it lasts. What is over is told if the trouble was.

use std::time::Duration;

use crate::core::Time;

use super::Effect;

/// The same trouble is told at most so often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Write,
    Open,
    Rename,
    List,
    Compress,
    Remove,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Troubles([Trouble; 6]);

#[derive(Clone, Debug, Default)]
struct Trouble {
    told_at: Option<Time>,
    lasts: bool,
    writing: bool,
}

impl Troubles {
    /// What to tell, if anything. `writing`: nothing can be written for now.
    #[must_use]
    pub(super) fn begin(&mut self, now: Time, kind: Kind, why: String, writing: bool) -> Option<Effect> {
        let trouble = &mut self.0[kind as usize];
        if trouble.told_at.is_some_and(|told_at| now - told_at < TOLD_EVERY) {
            return None;
        }
        *trouble = Trouble { told_at: Some(now), lasts: true, writing };
        Some(Effect::Trouble { why, writing })
    }

    /// What to tell, if anything: that all is well again, or that at least it can be written.
    #[must_use]
    pub(super) fn end(&mut self, kind: Kind) -> Option<Effect> {
        let trouble = &mut self.0[kind as usize];
        let (writing, lasted) = (trouble.writing, std::mem::take(&mut trouble.lasts));
        let last = !self.0.iter().any(|trouble| trouble.lasts);
        (lasted && (writing || last)).then_some(Effect::Recovered)
    }
}
