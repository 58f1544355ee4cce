//! Single files in a few lines of virtual time each. What must hold always and everywhere is in the simulation.

use std::ffi::OsString;
use std::time::Duration;

use super::{Effect, Event, Found, Rotation, Wall};
use crate::core::Time;
use crate::logs::Limits;

/// 2026-11-20T10:00:00Z.
const TEN: u64 = 1_795_168_800_000;
const HOUR: u64 = 3_600_000;

const LIMITS: Limits = Limits { max_size: Some(100), every: None, keep: 10, total: None };

/// One log and the clocks. Everything succeeds but what is told to fail.
struct Stage {
    rotation: Rotation,
    now: Time,
    wall: u64,
    /// How many bytes the open file has.
    size: u64,
    archives: Vec<(OsString, u64)>,
    said: Vec<Effect>,
    rename_fails: bool,
}

impl Stage {
    fn new(limits: Limits) -> Stage {
        Stage::with(limits, 0)
    }

    fn with(limits: Limits, size: u64) -> Stage {
        let mut stage = Stage {
            rotation: Rotation::new("app.log".into(), limits),
            now: Time(Duration::from_secs(50)),
            wall: TEN,
            size,
            archives: Vec::new(),
            said: Vec::new(),
            rename_fails: false,
        };
        stage.perform();
        stage
    }

    fn tell(&mut self, event: Event) {
        self.rotation.handle_event(self.now, Wall(self.wall), event);
    }

    fn perform(&mut self) {
        while let Some(effect) = self.rotation.poll_effect() {
            let event = match effect {
                Effect::Open => Event::Opened { size: self.size, mid_line: false, goes_on: false },
                Effect::Look => Event::Looked { in_place: true, size: self.size },
                Effect::List => Event::Listed { found: self.found() },
                Effect::Rename { .. } if self.rename_fails => Event::RenameFailed { why: "no rename".into() },
                Effect::Rename { to } => {
                    self.archives.push((to, std::mem::take(&mut self.size)));
                    Event::Renamed
                }
                Effect::Remove { name } => {
                    self.archives.retain(|(archive, _)| *archive != name);
                    Event::Removed { name }
                }
                Effect::EndLine => Event::Wrote { bytes: 1, mid_line: false },
                Effect::Compress { .. }
                | Effect::Trouble { .. }
                | Effect::Recovered
                | Effect::Reopened { .. } => {
                    self.said.push(effect);
                    continue;
                }
            };
            self.tell(event);
        }
    }

    fn found(&self) -> Vec<Found> {
        let files = self.archives.iter();
        files.map(|(name, bytes)| Found { name: name.clone(), bytes: *bytes, is_file: true }).collect()
    }

    /// Writes them, one share after the other, and returns the sizes of these.
    fn write(&mut self, mut bytes: &[u8]) -> Vec<usize> {
        let mut shares = Vec::new();
        let mut idle = 0;
        while !bytes.is_empty() && idle < 4 {
            let share = self.rotation.share(self.now, Wall(self.wall), bytes);
            if share > 0 {
                let mid_line = bytes[share - 1] != b'\n';
                self.size += share as u64;
                self.tell(Event::Wrote { bytes: share as u64, mid_line });
                bytes = &bytes[share..];
                shares.push(share);
            }
            idle = if share > 0 { 0 } else { idle + 1 };
            self.perform();
        }
        shares
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.wall += u64::try_from(time.as_millis()).unwrap();
        self.rotation.handle_timeout(self.now, Wall(self.wall));
        self.perform();
    }

    fn timeout(&self) -> Option<Duration> {
        self.rotation.poll_timeout(self.now, Wall(self.wall)).map(|at| at - self.now)
    }

    fn names(&self) -> Vec<&str> {
        self.archives.iter().map(|(name, _)| name.to_str().unwrap()).collect()
    }

    fn sizes(&self) -> Vec<u64> {
        self.archives.iter().map(|(_, size)| *size).collect()
    }
}

fn line(length: usize) -> Vec<u8> {
    let mut line = vec![b'x'; length];
    line[length - 1] = b'\n';
    line
}

#[test]
fn a_line_that_fills_the_file_stays_and_one_byte_more_is_too_much() {
    for (second, archives) in [(39, 0), (40, 0), (41, 1)] {
        let mut stage = Stage::new(LIMITS);
        stage.write(&line(60));
        stage.write(&line(second));
        assert_eq!(stage.archives.len(), archives, "{second}");
    }
    let mut stage = Stage::new(LIMITS);
    stage.write(&line(100));
    assert!(stage.archives.is_empty(), "it stays until the next line comes");
    stage.write(&line(1));
    assert_eq!((stage.sizes(), stage.size), (vec![100], 1));
}

#[test]
fn as_many_whole_lines_as_fit_are_one_share() {
    let mut stage = Stage::new(LIMITS);
    let text = [line(30), line(30), line(30), line(30)].concat();
    assert_eq!(stage.write(&text), [90, 30]);
}

#[test]
fn a_line_longer_than_the_limit_has_a_file_of_its_own() {
    let mut stage = Stage::new(LIMITS);
    let text = [line(10), line(250), line(10)].concat();
    assert_eq!(stage.write(&text), [10, 250, 10]);
    assert_eq!(stage.sizes(), [10, 250]);
}

#[test]
fn a_line_that_comes_in_pieces_stays_in_its_file() {
    let mut stage = Stage::new(LIMITS);
    stage.write(&line(60));
    stage.write(&[b'x'; 30]);
    stage.write(&[b'x'; 30]);
    stage.write(&[line(30), line(10)].concat());
    assert_eq!((stage.sizes(), stage.size), (vec![150], 10));
}

#[test]
fn a_piece_that_does_not_fit_begins_a_file() {
    let mut stage = Stage::new(LIMITS);
    stage.write(&line(60));
    stage.write(&[b'x'; 41]);
    assert_eq!((stage.sizes(), stage.size), (vec![60], 41));
}

#[test]
fn without_limits_nothing_is_rotated_and_nothing_is_waited_for() {
    let mut stage = Stage::new(Limits { max_size: None, ..LIMITS });
    assert_eq!(stage.write(&line(100_000)), [100_000]);
    assert!(stage.archives.is_empty());
    assert_eq!(stage.timeout(), None);
}

#[test]
fn size_and_time_due_at_once_rotate_once() {
    let every = Some(Duration::from_millis(HOUR));
    let mut stage = Stage::new(Limits { every, ..LIMITS });
    stage.write(&line(90));
    stage.now = stage.now + Duration::from_millis(HOUR);
    stage.wall += HOUR;
    stage.write(&[line(20), line(20)].concat());
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.sizes(), [90]);
}

#[test]
fn archives_of_one_millisecond_have_names_in_their_order() {
    let mut stage = Stage::new(LIMITS);
    for _ in 0..4 {
        stage.write(&line(100));
    }
    assert_eq!(
        stage.names(),
        ["app.log.20261120T100000.000Z", "app.log.20261120T100000.001Z", "app.log.20261120T100000.002Z"]
    );
}

#[test]
fn archives_sort_in_their_order_where_the_clock_steps_back() {
    let mut stage = Stage::new(LIMITS);
    stage.write(&line(100));
    stage.write(&line(100));
    stage.wall -= HOUR;
    stage.write(&line(100));
    assert_eq!(stage.names(), ["app.log.20261120T100000.000Z", "app.log.20261120T100000.001Z"]);
}

#[test]
fn archives_sort_behind_those_of_an_earlier_run() {
    let mut stage = Stage::new(LIMITS);
    let event = Event::Listed {
        found: vec![Found { name: "app.log.20300101T000000.000Z.gz".into(), bytes: 9, is_file: true }],
    };
    stage.tell(event);
    stage.write(&line(100));
    stage.write(&line(100));
    assert_eq!(stage.names(), ["app.log.20300101T000000.001Z"]);
}

#[test]
fn an_idle_file_is_rotated_at_the_boundary_and_an_empty_one_never() {
    let mut stage =
        Stage::new(Limits { max_size: None, every: Some(Duration::from_millis(24 * HOUR)), ..LIMITS });
    assert_eq!(stage.timeout(), None);
    stage.write(&line(10));
    assert_eq!(stage.timeout(), Some(Duration::from_millis(14 * HOUR)));
    stage.pass(Duration::from_millis(14 * HOUR - 1));
    assert!(stage.archives.is_empty());
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.names(), ["app.log.20261121T000000.000Z"]);
    assert_eq!(stage.timeout(), None);
    stage.pass(Duration::from_millis(24 * HOUR));
    assert_eq!(stage.archives.len(), 1);
}

#[test]
fn a_line_ends_before_its_file_is_rotated_at_the_boundary() {
    let every = Some(Duration::from_millis(HOUR));
    let mut stage = Stage::new(Limits { max_size: None, every, ..LIMITS });
    stage.write(b"half a li");
    stage.pass(Duration::from_millis(HOUR));
    assert!(stage.archives.is_empty());
    assert_eq!(stage.write(b"ne\nanother\n"), [3, 8]);
    assert_eq!((stage.sizes(), stage.size), (vec![12], 8));
}

#[test]
fn a_boundary_rotates_once_though_the_clock_steps_back_over_it() {
    let every = Some(Duration::from_millis(HOUR));
    let mut stage = Stage::new(Limits { max_size: None, every, ..LIMITS });
    stage.write(&line(10));
    stage.pass(Duration::from_millis(HOUR));
    stage.wall -= HOUR;
    stage.write(&line(10));
    assert_eq!(stage.timeout(), Some(Duration::from_millis(2 * HOUR)));
    stage.pass(Duration::from_millis(HOUR));
    assert_eq!(stage.archives.len(), 1);
    stage.pass(Duration::from_millis(HOUR));
    assert_eq!(stage.archives.len(), 2);
}

#[test]
fn a_clock_that_was_years_ahead_does_not_hold_the_next_boundaries_up() {
    let every = Some(Duration::from_millis(HOUR));
    let mut stage = Stage::new(Limits { max_size: None, every, ..LIMITS });
    stage.wall += 10_000 * HOUR;
    stage.write(&line(10));
    stage.wall -= 10_000 * HOUR;
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.timeout(), Some(Duration::from_millis(HOUR - 1000)));
}

#[test]
fn a_file_that_was_there_before_waits_for_the_next_boundary() {
    let limits = Limits { max_size: None, every: Some(Duration::from_millis(HOUR)), ..LIMITS };
    let mut stage = Stage::with(limits, 500);
    assert_eq!(stage.timeout(), Some(Duration::from_millis(HOUR)));
    stage.pass(Duration::from_millis(HOUR));
    assert_eq!(stage.sizes(), [500]);
}

#[test]
fn a_file_that_cannot_be_renamed_is_written_to_and_tried_again_ever_more_seldom() {
    let mut stage = Stage::new(LIMITS);
    stage.rename_fails = true;
    stage.write(&line(100));
    let mut tries = Vec::new();
    for second in 0..130 {
        let before = stage.rotation.rotate.failures;
        assert_eq!(stage.write(&line(10)), [10]);
        if stage.rotation.rotate.failures > before {
            tries.push(second);
        }
        stage.pass(Duration::from_secs(1));
    }
    assert_eq!(tries, [0, 1, 3, 7, 15, 31, 63, 123]);
    let troubles = stage.said.iter().filter(|effect| matches!(effect, Effect::Trouble { .. })).count();
    assert_eq!(troubles, 3, "once a minute");
    stage.rename_fails = false;
    stage.pass(Duration::from_secs(60));
    stage.write(&line(10));
    assert_eq!(stage.said.pop(), Some(Effect::Compress { archive: stage.archives[0].0.clone() }));
    assert_eq!(stage.said.pop(), Some(Effect::Recovered));
}

#[test]
fn what_cannot_be_written_waits_and_is_told_once_a_minute() {
    let mut stage = Stage::new(LIMITS);
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(stage.rotation.share(stage.now, Wall(stage.wall), b"a\n"), 2);
        stage.tell(Event::WriteFailed { why: "full".into() });
        assert_eq!(stage.write(b"a\n"), [0; 0]);
        let wait = stage.timeout().unwrap();
        waits.push(wait.as_millis());
        stage.pass(wait);
        // What is looked at is not written.
        stage.rotation.share(stage.now, Wall(stage.wall), b"a\n");
        stage.perform();
    }
    assert_eq!(waits, [200, 400, 800, 1600, 2000, 2000]);
    assert_eq!(stage.said, [Effect::Trouble { why: "full".into(), writing: true }]);
    stage.write(b"a\n");
    assert_eq!(stage.said.pop(), Some(Effect::Recovered));
    stage.tell(Event::WriteFailed { why: "full".into() });
    assert_eq!(stage.timeout(), Some(Duration::from_millis(200)), "it begins anew");
}

#[test]
#[expect(clippy::wildcard_enum_match_arm, reason = "the others do not matter here")]
fn names_are_made_from_the_clock_alone_where_the_directory_is_unreadable_for_ten_seconds() {
    let mut rotation = Rotation::new("app.log".into(), LIMITS);
    let at = |millis| (Time(Duration::from_millis(millis)), Wall(TEN + millis));
    let mut lists = Vec::new();
    for millis in (0..60_000).step_by(500) {
        let (now, wall) = at(millis);
        rotation.handle_timeout(now, wall);
        if rotation.share(now, wall, &line(100)) > 0 {
            rotation.handle_event(now, wall, Event::Wrote { bytes: 100, mid_line: false });
        }
        while let Some(effect) = rotation.poll_effect() {
            match effect {
                Effect::Open => rotation.handle_event(
                    now,
                    wall,
                    Event::Opened { size: 0, mid_line: false, goes_on: false },
                ),
                Effect::Look => {
                    rotation.handle_event(now, wall, Event::Looked { in_place: true, size: 100_000 });
                }
                Effect::List => {
                    lists.push(millis);
                    rotation.handle_event(now, wall, Event::ListFailed { why: "no list".into() });
                }
                Effect::Rename { .. } => {
                    assert_eq!(lists, [0, 1000, 3000, 7000, 15_000]);
                    return;
                }
                _ => {}
            }
        }
    }
    panic!("no name is made");
}

#[test]
#[expect(clippy::wildcard_enum_match_arm, reason = "the others do not matter here")]
fn too_many_names_that_are_taken_are_a_failure() {
    let mut stage = Stage::new(LIMITS);
    stage.write(&line(100));
    assert_eq!(stage.rotation.share(stage.now, Wall(stage.wall), b"a\n"), 0);
    let mut names = 0;
    while let Some(effect) = stage.rotation.poll_effect() {
        match effect {
            Effect::Look => stage.tell(Event::Looked { in_place: true, size: 100 }),
            Effect::Rename { .. } => {
                names += 1;
                stage.tell(Event::NameTaken);
            }
            other => stage.said.push(other),
        }
    }
    assert_eq!((names, stage.said.len()), (100, 1), "{:?}", stage.said);
    assert_eq!(stage.write(b"a\n"), [2]);
}

#[test]
fn an_archive_that_could_not_be_compressed_lets_others_go_first_and_is_tried_again() {
    let mut stage = Stage::new(LIMITS);
    stage.write(&line(100));
    stage.write(&line(100));
    stage.write(&line(100));
    let [first, second] = [0, 1].map(|at| stage.archives[at].0.clone());
    let compress = |archive: &OsString| Effect::Compress { archive: archive.clone() };
    assert_eq!(stage.said, [compress(&first)]);
    stage.tell(Event::CompressFailed { archive: first.clone(), why: "no gzip".into() });
    stage.perform();
    assert_eq!(
        stage.said[1..],
        [Effect::Trouble { why: "no gzip".into(), writing: false }, compress(&second)]
    );
    stage.tell(Event::Compressed { archive: second, bytes: 10 });
    stage.perform();
    assert_eq!(stage.timeout(), Some(Duration::from_secs(10)));
    stage.pass(Duration::from_secs(10));
    assert_eq!(stage.said[3..], [compress(&first)]);
    stage.tell(Event::Compressed { archive: first, bytes: 10 });
    stage.perform();
    assert_eq!(stage.said[4..], [Effect::Recovered]);
    assert_eq!(stage.timeout(), None);
}

#[test]
fn an_archive_that_has_gone_while_it_was_compressed_is_no_trouble() {
    let mut stage = Stage::new(Limits { keep: 1, ..LIMITS });
    stage.write(&line(100));
    stage.write(&line(100));
    let gone = stage.archives[0].0.clone();
    stage.write(&line(100));
    assert_ne!(stage.archives[0].0, gone);
    stage.tell(Event::CompressFailed { archive: gone.clone(), why: "cannot read it".into() });
    stage.perform();
    let kept = stage.archives[0].0.clone();
    assert_eq!(stage.said, [Effect::Compress { archive: gone }, Effect::Compress { archive: kept }]);
}

#[test]
fn an_archive_that_is_there_twice_is_compressed_again_and_not_just_removed() {
    let mut stage = Stage::new(LIMITS);
    let name = "app.log.20261119T100000.000Z";
    let found = |name: &str| Found { name: name.into(), bytes: 9, is_file: true };
    let event = Event::Listed { found: vec![found(name), found(&format!("{name}.gz"))] };
    stage.tell(event);
    stage.perform();
    assert_eq!(stage.said, [Effect::Compress { archive: name.into() }]);
}

#[test]
fn each_one_who_asks_for_a_reopening_has_one_answer() {
    let mut stage = Stage::new(LIMITS);
    stage.tell(Event::ReopenAsked);
    stage.tell(Event::ReopenAsked);
    stage.perform();
    stage.tell(Event::ReopenAsked);
    stage.perform();
    assert_eq!(stage.said, [const { Effect::Reopened { why: None } }; 3]);
}

#[test]
fn a_line_has_a_second_to_end_before_the_log_is_opened_again() {
    let mut stage = Stage::new(LIMITS);
    stage.write(b"half a li");
    stage.tell(Event::ReopenAsked);
    stage.perform();
    assert_eq!((stage.said.len(), stage.timeout()), (0, Some(Duration::from_secs(1))));
    stage.pass(Duration::from_millis(500));
    assert_eq!(stage.write(b"ne\nb\n"), [3, 2]);
    assert_eq!(stage.said, [Effect::Reopened { why: None }]);
    stage.write(b"half a li");
    stage.tell(Event::ReopenAsked);
    stage.pass(Duration::from_millis(600));
    stage.tell(Event::ReopenAsked);
    stage.pass(Duration::from_millis(400));
    assert_eq!(stage.said.len(), 3, "another one who asks does not make the first one wait");
}

#[test]
fn only_so_many_archives_and_bytes_of_them_stay() {
    for (keep, total, stay) in [(0, None, 0), (2, None, 2), (10, Some(250), 2), (10, Some(99), 0)] {
        let mut stage = Stage::new(Limits { keep, total, ..LIMITS });
        for _ in 0..6 {
            stage.write(&line(100));
        }
        assert_eq!(stage.archives.len(), stay, "{keep} {total:?}");
    }
}
