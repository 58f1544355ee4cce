//! The names of archives: that of the log, and a stamp.
//!
//! ```text
//!   app.log.20261120T100000.123Z          as it was renamed
//!   app.log.20261120T100000.123Z.gz       compressed
//!   app.log.20261120T100000.123Z.gz.tmp   what a compressor has written so far
//! ```
//!
//! The stamp is a moment, UTC, of fixed width: names sort by time. Only a name that is exactly so is one of ours; what
//! a user has put beside them (`app.log.bak`, `app.log.1`, `app.log.20261120`) is not.
//!
//! What this file does not do: know which names are there.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::rotation::Wall;

/// A moment as names have it: milliseconds since 1970, UTC, up to the end of the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(u64);

/// Which of the files of a stamp it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Compressed,
    /// Not all of it: the work of a compressor that lives, or that was killed.
    Partial,
}

const KINDS: [Kind; 3] = [Kind::Plain, Kind::Compressed, Kind::Partial];

/// The names of the archives of one log.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// The log's name and a dot.
    prefix: Vec<u8>,
}

impl Names {
    pub(super) fn new(log: OsString) -> Names {
        let mut prefix = log.into_vec();
        prefix.push(b'.');
        Names { prefix }
    }

    pub(super) fn name(&self, stamp: Stamp, kind: Kind) -> OsString {
        let parts = [self.prefix.as_slice(), &stamp.text(), ending(kind)];
        OsString::from_vec(parts.concat())
    }

    /// None: it is none of ours.
    pub(super) fn read(&self, name: &OsStr) -> Option<(Stamp, Kind)> {
        let rest = name.as_bytes().strip_prefix(self.prefix.as_slice())?;
        let (stamp, rest) = rest.split_at_checked(WIDTH)?;
        let kind = KINDS.into_iter().find(|kind| ending(*kind) == rest)?;
        Some((Stamp::read(stamp)?, kind))
    }
}

/// The log whose archive this path names, of whatever kind. None: it names none.
pub(crate) fn without_stamp(path: &Path) -> Option<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    let log = KINDS.into_iter().find_map(|kind| {
        let (log, stamp) = bytes.strip_suffix(ending(kind))?.split_last_chunk::<WIDTH>()?;
        Stamp::read(stamp).and(log.strip_suffix(b"."))
    })?;
    let has_name = log.last().is_some_and(|byte| *byte != b'/');
    has_name.then(|| PathBuf::from(OsStr::from_bytes(log)))
}

fn ending(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Plain => b"",
        Kind::Compressed => b".gz",
        Kind::Partial => b".gz.tmp",
    }
}

const WIDTH: usize = 20;
const DAY: u64 = 24 * HOUR;
const HOUR: u64 = 60 * MINUTE;
const MINUTE: u64 = 60_000;

impl Stamp {
    /// The last one that fits the width.
    const LAST: u64 = 253_402_300_799_999;

    pub(super) fn of(wall: Wall) -> Stamp {
        Stamp(wall.0.min(Stamp::LAST))
    }

    /// A millisecond later; the last one has no other after it.
    pub(super) fn next(self) -> Stamp {
        Stamp(Stamp::LAST.min(self.0 + 1))
    }

    fn text(self) -> [u8; WIDTH] {
        let (year, month, day) = date(self.0 / DAY);
        let time = self.0 % DAY;
        let (hour, minute, second) = (time / HOUR, time / MINUTE % 60, time / 1000 % 60);
        let mut text = *b"00000000T000000.000Z";
        for (value, end, width) in [
            (year, 4, 4),
            (month, 6, 2),
            (day, 8, 2),
            (hour, 11, 2),
            (minute, 13, 2),
            (second, 15, 2),
            (time % 1000, 19, 3),
        ] {
            write_number(&mut text[end - width..end], value);
        }
        text
    }

    /// None: no stamp, or not of a moment that there is.
    fn read(text: &[u8]) -> Option<Stamp> {
        let number = |from: usize, to: usize| read_number(text.get(from..to)?);
        let days = days_since_1970(number(0, 4)?, number(4, 6)?, number(6, 8)?)?;
        let time =
            number(9, 11)? * HOUR + number(11, 13)? * MINUTE + number(13, 15)? * 1000 + number(16, 19)?;
        let stamp = Stamp(days * DAY + time);
        // A 30th of February, a 25th hour, another letter: they come back as something else.
        (stamp.0 <= Stamp::LAST && stamp.text() == text).then_some(stamp)
    }
}

fn write_number(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).expect("a digit");
        value /= 10;
    }
}

fn read_number(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

/// Days of 400 years, after which the calendar repeats itself.
const ERA: u64 = 146_097;
/// From the first of March of the year 0 to 1970. Years are reckoned from March on, so that the day that comes and goes
/// is the last one.
const TO_1970: u64 = 719_468;

/// Year, month and day (from 1).
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + TO_1970;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day)
}

/// None: before 1970, or no date at all. A day that the month does not have is one of the next.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year / 400, year % 400);
    let day = (153 * month + 2) / 5 + day - 1;
    Some(era * ERA + 365 * year + year / 4 - year / 100 + day - TO_1970)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn text(millis: u64) -> String {
        String::from_utf8(Stamp(millis).text().to_vec()).unwrap()
    }

    /// What another reckons.
    fn expected(millis: u64) -> String {
        let stamp = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis));
        stamp.to_string().replace(['-', ':'], "")
    }

    fn read(name: &str) -> Option<(Stamp, Kind)> {
        Names::new("app.log".into()).read(OsStr::new(name))
    }

    #[test]
    fn a_stamp_is_the_moment_in_utc() {
        assert_eq!(text(0), "19700101T000000.000Z");
        assert_eq!(text(1_795_168_800_123), "20261120T100000.123Z");
        assert_eq!(text(Stamp::LAST), "99991231T235959.999Z");
    }

    #[test]
    fn every_day_has_its_date_over_leap_years_and_2100_which_is_none() {
        for day in 0..60_000 {
            let millis = day * DAY + 86_399_999;
            assert_eq!(text(millis), expected(millis));
            assert_eq!(Stamp::read(text(millis).as_bytes()), Some(Stamp(millis)));
        }
        assert_eq!(text(4_107_542_399_999), "21000228T235959.999Z");
        assert_eq!(text(4_107_542_400_000), "21000301T000000.000Z");
        assert_eq!(read("app.log.21000229T000000.000Z"), None);
        assert!(read("app.log.20000229T000000.000Z").is_some());
    }

    #[test]
    fn there_is_no_stamp_after_the_last_one() {
        assert_eq!(Stamp::of(Wall(u64::MAX)), Stamp(Stamp::LAST));
        assert_eq!(Stamp(Stamp::LAST).next(), Stamp(Stamp::LAST));
        assert_eq!(Stamp(5).next(), Stamp(6));
    }

    #[test]
    fn each_file_of_an_archive_is_known_by_its_name() {
        let names = Names::new("app.log".into());
        for (kind, name) in [
            (Kind::Plain, "app.log.20261120T100000.123Z"),
            (Kind::Compressed, "app.log.20261120T100000.123Z.gz"),
            (Kind::Partial, "app.log.20261120T100000.123Z.gz.tmp"),
        ] {
            assert_eq!(names.name(Stamp(1_795_168_800_123), kind), name);
            assert_eq!(read(name), Some((Stamp(1_795_168_800_123), kind)));
        }
    }

    #[test]
    fn what_is_not_exactly_so_is_a_users() {
        for name in [
            "app.log",
            "app.log.",
            "app.log.1",
            "app.log.1.gz",
            "app.log.bak",
            "app.log.20261120",
            "app.log.20261120T100000.123",
            "app.log.20261120T100000.123Zgz",
            "app.log.20261120T100000.123Z.",
            "app.log.20261120T100000.123Z.gz.",
            "app.log.20261120T100000.123Z.gz.tmp2",
            "app.log.20261120T100000.123Z.bz2",
            "app.log.20261120t100000.123Z",
            "app.log.20261120T100000,123Z",
            "app.log.20261120T100000.123z",
            "app.log.20261320T100000.123Z",
            "app.log.20260020T100000.123Z",
            "app.log.20261100T100000.123Z",
            "app.log.20261131T100000.123Z",
            "app.log.20261120T240000.123Z",
            "app.log.20261120T106000.123Z",
            "app.log.20261120T100060.123Z",
            "app.log.19691231T235959.999Z",
            "app.log.2026112 T100000.123Z",
            "app.log.+0261120T100000.123Z",
            "app.log2.20261120T100000.123Z",
            "xapp.log.20261120T100000.123Z",
            "app_log.20261120T100000.123Z",
            "20261120T100000.123Z",
            "",
        ] {
            assert_eq!(read(name), None, "{name}");
        }
    }

    #[test]
    fn only_the_path_of_an_archive_leads_back_to_its_log() {
        let stamp = ".20261120T100000.123Z";
        for end in ["", ".gz", ".gz.tmp"] {
            let archive = format!("/var/app.log{stamp}{end}");
            assert_eq!(without_stamp(Path::new(&archive)), Some(PathBuf::from("/var/app.log")), "{end}");
        }
        for name in [
            "/var/app.log",
            "/app.log.1",
            "/app.log.20261120",
            "/app.log.gz",
            "/.20261120T100000.123Z",
            "/app.log.2026112xT100000.123Z",
            "/app.log.20261320T100000.123Z",
            "/app.log.20261120T100000.123Z.bak",
            "/app.log.20261120T100000.123Z.tmp",
            "/app.log20261120T100000.123Z",
        ] {
            assert_eq!(without_stamp(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn a_log_may_have_a_name_of_any_bytes() {
        let log = OsString::from_vec(vec![0xff, b' ', b'\n']);
        let names = Names::new(log);
        let name = names.name(Stamp(7), Kind::Compressed);
        assert_eq!(names.read(&name), Some((Stamp(7), Kind::Compressed)));
    }

    proptest! {
        #[test]
        fn a_stamp_is_read_as_it_was_written_and_sorts_by_time(a in 0u64..=Stamp::LAST, b in 0u64..=Stamp::LAST) {
            prop_assert_eq!(text(a), expected(a));
            prop_assert_eq!(Stamp::read(text(a).as_bytes()), Some(Stamp(a)));
            prop_assert_eq!(text(a).cmp(&text(b)), a.cmp(&b));
        }

        #[test]
        fn no_name_makes_it_panic(name in "(app.log.)?[0-9TZ.]{0,30}") {
            let _ = read(&name);
        }
    }
}
