//! How a simulated process behaves: decided in full, from the seed, at the moment when it is made.

use std::time::Duration;

use crate::sim::Random;
use crate::wire::worker::Readiness;

/// Everything that one process will do unless it is told or killed. Times count from the moment that it exists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behaviour {
    pub(super) executes: bool,
    /// None: it never says online.
    pub(super) online_after: Option<Duration>,
    /// How it says online.
    pub(super) readiness: Readiness,
    pub(super) says_online_twice: bool,
    /// It says offline so long after it exists, whether it is online or not.
    pub(super) offline_after: Option<Duration>,
    /// After offline it ends by itself so long after; None: it does not.
    pub(super) leaves_after: Option<Duration>,
    /// It closes its notice descriptor.
    pub(super) hushes_after: Option<Duration>,
    pub(super) dies_after: Option<Duration>,
    /// It asks for so much time, so long after it exists, and so long after it is told to stop.
    pub(super) extends: Option<(Duration, Duration)>,
    /// From being told to its end. None: it takes no notice.
    pub(super) drains_for: Option<Duration>,
    /// So long its group outlives its first process. None: until KILL.
    pub(super) remnant: Option<Duration>,
    pub(super) survives_kill: bool,
    /// It sets O_NONBLOCK on its listeners before it says online.
    pub(super) sets_nonblocking: bool,
}

/// What a spec is like; the first word of its argv.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temper {
    Good,
    Crashing,
    NeverOnline,
    Flaky,
    Unexecutable,
    /// Fickle: online, then offline at once, again and again.
    Leaving,
}

impl Temper {
    pub(super) const ALL: [Temper; 6] = [
        Temper::Good,
        Temper::Crashing,
        Temper::NeverOnline,
        Temper::Flaky,
        Temper::Unexecutable,
        Temper::Leaving,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Temper::Good => "good",
            Temper::Crashing => "crashing",
            Temper::NeverOnline => "never-online",
            Temper::Flaky => "flaky",
            Temper::Unexecutable => "unexecutable",
            Temper::Leaving => "leaving",
        }
    }

    pub(super) fn from_word(word: &str) -> Temper {
        Temper::ALL.into_iter().find(|temper| temper.word() == word).expect("made by the simulation")
    }
}

impl Behaviour {
    pub(super) fn of(temper: Temper, nonblocking: bool, random: &mut Random) -> Behaviour {
        let good = Behaviour::good(nonblocking, random);
        match temper {
            Temper::Good => good,
            Temper::Unexecutable => Behaviour { executes: false, online_after: None, ..good },
            Temper::NeverOnline => Behaviour { online_after: None, ..Behaviour::flaky(&good, random) },
            Temper::Crashing => Behaviour { dies_after: Some(random.milliseconds(1, 3000)), ..good },
            Temper::Flaky => Behaviour::flaky(&good, random),
            Temper::Leaving => {
                let offline_after = good.online_after.map(|after| after + random.milliseconds(0, 3000));
                Behaviour { offline_after, ..good }
            }
        }
    }

    fn good(nonblocking: bool, random: &mut Random) -> Behaviour {
        let readiness = match random.next() % 4 {
            0 => Readiness::JsonOnline,
            1 => Readiness::JsonReady,
            _ => Readiness::Plain,
        };
        Behaviour {
            executes: true,
            online_after: Some(random.milliseconds(0, 800)),
            readiness,
            says_online_twice: random.one_in(4),
            offline_after: None,
            leaves_after: Some(random.milliseconds(0, 3000)),
            hushes_after: random.one_in(6).then(|| random.milliseconds(801, 9000)),
            dies_after: None,
            extends: random.one_in(6).then(|| extension(random)),
            drains_for: Some(random.milliseconds(0, 4000)),
            remnant: Some(Duration::ZERO),
            survives_kill: false,
            sets_nonblocking: nonblocking,
        }
    }

    fn flaky(good: &Behaviour, random: &mut Random) -> Behaviour {
        let flaky = Behaviour {
            online_after: (!random.one_in(6))
                .then(|| often_exactly(10, random.milliseconds(1, 12_000), random)),
            offline_after: random.one_in(4).then(|| random.milliseconds(1, 20_000)),
            leaves_after: (!random.one_in(3)).then(|| random.milliseconds(0, 20_000)),
            hushes_after: random.one_in(3).then(|| random.milliseconds(0, 12_000)),
            dies_after: random.one_in(3).then(|| random.milliseconds(1, 30_000)),
            extends: random.one_in(3).then(|| extension(random)),
            drains_for: (!random.one_in(3)).then(|| often_exactly(8, random.milliseconds(0, 12_000), random)),
            ..*good
        };
        let remnant = (!random.one_in(6)).then(|| random.milliseconds(0, 9000));
        let remnant = if random.one_in(3) { remnant } else { Some(Duration::ZERO) };
        Behaviour { remnant, survives_kill: random.one_in(20), ..flaky }
    }
}

/// When, and for how long.
fn extension(random: &mut Random) -> (Duration, Duration) {
    (random.milliseconds(0, 9000), random.milliseconds(0, 20_000))
}

/// The moment of a deadline, which falls together with the deadline itself.
fn often_exactly(seconds: u64, otherwise: Duration, random: &mut Random) -> Duration {
    if random.one_in(5) { Duration::from_secs(seconds) } else { otherwise }
}
