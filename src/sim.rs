//! What both simulations have: runs that follow from a number, and chance that can be repeated.
//!
//! ```text
//!   number ──> run ──> a World, where all went well
//!               └──> panics: the same run once more, which tells its story
//! ```
//!
//! `SRVWRAP_SIM_SEEDS=100000 cargo test sim` runs more; `SRVWRAP_SIM_SEED=17` runs one.
//!
//! What this file does not do: know what is simulated. That is in `core/sim.rs` and `logs/rotation/sim.rs`.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

pub(crate) use crate::core::Random;

/// What a run follows from, and whether it tells its story.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed {
    pub(crate) number: u64,
    pub(crate) telling: bool,
}

/// `usual`: how many, where the environment does not say; one in so many of them are run.
pub(crate) fn for_each_seed<World>(usual: u64, one_in: u64, run: impl Fn(Seed) -> World) {
    for number in numbers(usual, one_in) {
        let once = |telling| catch_unwind(AssertUnwindSafe(|| run(Seed { number, telling })));
        if once(false).is_err() {
            eprintln!("seed {number} failed; SRVWRAP_SIM_SEED={number} repeats it; this was its story:");
            let panic = once(true).err().expect("a run repeats itself");
            resume_unwind(panic);
        }
    }
}

fn numbers(usual: u64, one_in: u64) -> Range<u64> {
    let from_environment = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    match from_environment("SRVWRAP_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + from_environment("SRVWRAP_SIM_SEEDS").unwrap_or(usual) / one_in,
    }
}

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Both included.
    pub(crate) fn milliseconds(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }
}
