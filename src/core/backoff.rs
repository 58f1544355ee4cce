//! How long a slot waits before its next worker, after the last one failed.
//!
//! A worker that had served for a second is replaced at once, the first time in ten seconds. Otherwise the slot waits
//! for 0.2 s, doubling to 30 s, each ±20 %, so that slots that failed together do not come back together. Ten
//! seconds online put it back to the start.

use std::time::Duration;

use super::Time;

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LAST_DELAY: Duration = Duration::from_secs(30);
/// Online for so long, a worker is worth an immediate replacement.
const WORTH_IT: Duration = Duration::from_secs(1);
/// One immediate replacement in this time.
const IMMEDIATE_EVERY: Duration = Duration::from_secs(10);
/// Online for so long, a worker has shown that it works.
const PROVEN: Duration = Duration::from_secs(10);
/// So many failures in a row are told one by one; later ones once a minute.
const TOLD_SINGLY: u32 = 4;
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The failures of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    /// In a row: since a worker was last online for [`PROVEN`]. Those that were replaced at once do not count.
    failures: u32,
    /// The same, but all of them.
    in_a_row: u32,
    immediate_at: Option<Time>,
    told_at: Option<Time>,
    untold: u32,
    /// Whether the last one had been online.
    was_online: bool,
}

/// What the operator hears of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    Nothing,
    /// This failure, and that there were `untold` before it that nobody was told of.
    Failure {
        untold: u32,
    },
}

impl Backoff {
    /// A worker failed that had been online for `served` (`None`: never). Returns when to try again.
    pub(super) fn failed(&mut self, now: Time, served: Option<Duration>, random: &mut Random) -> Time {
        self.was_online = served.is_some();
        let served = served.unwrap_or_default();
        if served >= PROVEN {
            (self.failures, self.in_a_row) = (0, 0);
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        let rested = self.immediate_at.is_none_or(|last| now - last >= IMMEDIATE_EVERY);
        if served >= WORTH_IT && rested {
            self.immediate_at = Some(now);
            // It costs no delay, and so is no step on the ladder of delays either.
            self.failures -= 1;
            return now;
        }
        now + random.jitter(delay(self.failures))
    }

    /// Whether the failure that was just counted is told. A crash loop is told once a minute.
    pub(super) fn telling(&mut self, now: Time) -> Telling {
        let due = self.told_at.is_none_or(|last| now - last >= TOLD_EVERY);
        if self.failures > TOLD_SINGLY && !due {
            self.untold += 1;
            return Telling::Nothing;
        }
        self.told_at = Some(now);
        Telling::Failure { untold: std::mem::take(&mut self.untold) }
    }

    /// How many there were in a row, while the worker that there is now has been online for `served`.
    pub(super) fn in_a_row(&self, served: Duration) -> u32 {
        if served >= PROVEN { 0 } else { self.in_a_row }
    }

    /// Whether it is news that the next worker is online: not where each one comes online in a crash loop.
    pub(super) fn tells_online(&self) -> bool {
        self.failures <= TOLD_SINGLY || !self.was_online
    }
}

fn delay(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_DELAY * 2u32.pow(doublings)).min(LAST_DELAY)
}

/// A small generator (xorshift64*, Vigna 2016), so that a run can be repeated from its seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        // Zero is the one state that it never leaves.
        Random(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// `time` ±20 %.
    fn jitter(&mut self, time: Duration) -> Duration {
        let percent = 80 + self.next() % 41;
        time * u32::try_from(percent).expect("at most 120") / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    #[test]
    fn delays_double_from_a_fifth_of_a_second_to_half_a_minute_with_bounded_jitter() {
        for seed in 0..100 {
            let (mut backoff, mut random) = (Backoff::default(), Random::new(seed));
            for nominal in [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000] {
                let wait = (backoff.failed(at(5), None, &mut random) - at(5)).as_millis();
                assert!(wait >= nominal * 8 / 10 && wait <= nominal * 12 / 10, "{wait} for {nominal}");
            }
        }
    }

    #[test]
    fn slots_that_fail_together_do_not_come_back_together() {
        let mut random = Random::new(7);
        let waits: std::collections::BTreeSet<Time> =
            (0..20).map(|_| Backoff::default().failed(at(1), None, &mut random)).collect();
        assert!(waits.len() > 5, "{waits:?}");
    }

    #[test]
    fn a_worker_that_had_served_is_replaced_at_once_but_once_in_ten_seconds() {
        let (mut backoff, mut random) = (Backoff::default(), Random::new(1));
        let second = Some(Duration::from_secs(1));
        assert_eq!(backoff.failed(at(100), second, &mut random), at(100));
        let retry = backoff.failed(at(102), second, &mut random);
        assert!(retry - at(102) <= Duration::from_millis(240) && retry > at(102), "{retry:?}");
        assert_eq!(backoff.failed(at(110), second, &mut random), at(110));
        let just_less = Some(Duration::from_millis(999));
        assert!(Backoff::default().failed(at(1), just_less, &mut random) > at(1));
    }

    #[test]
    fn ten_seconds_online_put_the_delay_back_to_the_start() {
        let (mut backoff, mut random) = (Backoff::default(), Random::new(1));
        for _ in 0..8 {
            backoff.failed(at(1), None, &mut random);
        }
        assert_eq!(backoff.failed(at(50), Some(Duration::from_secs(10)), &mut random), at(50));
        let wait = backoff.failed(at(51), None, &mut random) - at(51);
        assert!(wait <= Duration::from_millis(240), "{wait:?}");
    }

    #[test]
    fn a_crash_loop_is_told_singly_at_first_and_then_once_a_minute_with_a_count() {
        let (mut backoff, mut random) = (Backoff::default(), Random::new(1));
        let mut told = Vec::new();
        for second in (0..180).step_by(10) {
            backoff.failed(at(second), None, &mut random);
            if let Telling::Failure { untold } = backoff.telling(at(second)) {
                told.push((second, untold));
            }
        }
        assert_eq!(told, [(0, 0), (10, 0), (20, 0), (30, 0), (90, 5), (150, 5)]);
    }
}
