//! The time of day, for people and programs that read what happened when.
//!
//! ```text
//!   1784622180.250 s since 1970 ──> 2026-07-21T08:23:00.250Z
//! ```
//!
//! What this file does not do: measure. A clock that somebody may set says nothing about how long something took.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since 1970, without leap seconds; zero on a machine whose clock says less.
pub(super) fn wall_clock() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "for a stamp")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// RFC 3339 with milliseconds, UTC.
pub(super) fn stamp(since_1970: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = since_1970.as_secs();
    let (year, month, day) = date(seconds / DAY);
    let time = seconds % DAY;
    let (hours, minutes, rest) = (time / 3600, time / 60 % 60, time % 60);
    let milliseconds = since_1970.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{rest:02}.{milliseconds:03}Z")
}

/// Year, month and day, so many days after 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    let (mut year, mut left) = (1970 + days / DAYS_IN_400_YEARS * 400, days % DAYS_IN_400_YEARS);
    while left >= days_in_year(year) {
        left -= days_in_year(year);
        year += 1;
    }
    let mut month = 1;
    while left >= days_in_month(year, month) {
        left -= days_in_month(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

const DAYS_IN_400_YEARS: u64 = 400 * 365 + 97;

fn days_in_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_have_their_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (86_399, "1970-01-01T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_000_000_000, "2001-09-09T01:46:40.000Z"),
            (1_234_567_890, "2009-02-13T23:31:30.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (2_147_483_648, "2038-01-19T03:14:08.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(stamp(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(stamp(Duration::from_micros(1_000_250_999)), "1970-01-01T00:16:40.250Z");
    }

    #[test]
    fn each_day_of_800_years_follows_the_one_before() {
        let mut before = date(0);
        for days in 1..=2 * DAYS_IN_400_YEARS {
            let (year, month, day) = date(days);
            let expected = match before {
                (y, m, d) if d < days_in_month(y, m) => (y, m, d + 1),
                (y, m, _) if m < 12 => (y, m + 1, 1),
                (y, _, _) => (y + 1, 1, 1),
            };
            assert_eq!((year, month, day), expected);
            before = expected;
        }
    }
}
