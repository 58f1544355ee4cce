//! Numbers with a unit, as users write them.
//!
//! `500ms`, `30s`, `2m`, `1h`, `1d`; a bare number is seconds; `1.5s` is one and a half. Nothing else: no signs, no
//! exponents, no `1m30s`. Reckoned in whole nanoseconds, so that what is written is what is meant.
//!
//! `10485760`, `10M`, `10MiB`, `10mb`: all of them the same size, since K, M and G are powers of 1024 here whatever
//! stands behind them. Whole numbers only. As srvwrap writes them: `712 B`, `9.7 MiB`, `98 KiB`.
//!
//! What this module does not do: know which option the text was given to, or whether zero makes sense there.

use std::fmt;
use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DurationError {
    Malformed,
    Negative,
    TooLong,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DurationError::Malformed => "not a duration",
            DurationError::Negative => "a duration cannot be negative",
            DurationError::TooLong => "longer than a year (8760h)",
        })
    }
}

/// Reads a duration, zero to a year.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if let Some(positive) = text.strip_prefix('-') {
        return Err(parse_duration(positive).map_or(DurationError::Malformed, |_| DurationError::Negative));
    }
    let unit_start = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let nanos = nanos_in(number, unit_nanos(unit).ok_or(DurationError::Malformed)?)?;
    let duration = Duration::from_nanos(u64::try_from(nanos).map_err(|_| DurationError::TooLong)?);
    if duration > LONGEST { Err(DurationError::TooLong) } else { Ok(duration) }
}

/// A year: as good as never for a time-out, and far from where adding to a moment would overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn unit_nanos(unit: &str) -> Option<u128> {
    match unit {
        "ms" => Some(1_000_000),
        "" | "s" => Some(1_000_000_000),
        "m" => Some(60 * 1_000_000_000),
        "h" => Some(3_600 * 1_000_000_000),
        "d" => Some(86_400 * 1_000_000_000),
        _ => None,
    }
}

/// `number` is digits, or digits around one point. What is finer than a nanosecond is cut off.
fn nanos_in(number: &str, unit_nanos: u128) -> Result<u128, DurationError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return Err(DurationError::Malformed);
    }
    // Only digits are left, so what cannot be read is too large.
    let whole: u64 = whole.parse().map_err(|_| DurationError::TooLong)?;
    let mut nanos = u128::from(whole) * unit_nanos;
    let mut place = unit_nanos;
    for digit in fraction.bytes() {
        place /= 10;
        nanos += u128::from(digit - b'0') * place;
    }
    Ok(nanos)
}

/// Why a text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeError {
    Malformed,
    TooLarge,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SizeError::Malformed => "not a size",
            SizeError::TooLarge => "no disk is so large",
        })
    }
}

/// Reads a size, in bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, SizeError> {
    let unit_start = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let unit = unit.to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        // As in `10b`, but an `ib` is a part of nothing.
        "" if unit != "ib" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err(SizeError::Malformed),
    };
    if number.is_empty() {
        return Err(SizeError::Malformed);
    }
    // Only digits are left, so what cannot be read is too large.
    let number: u64 = number.parse().map_err(|_| SizeError::TooLarge)?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes <= LARGEST).ok_or(SizeError::TooLarge)
}

/// A size as it stands in a sentence: rounded, below ten of a unit to a tenth of it.
pub(crate) fn size_in_words(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // What rounds to 1024 of a unit is one of the next.
    let (unit, name) = match bytes {
        ..1_048_064 => (1 << 10, "KiB"),
        1_048_064..1_073_217_536 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    // Below 9.95, which rounds to ten.
    if bytes / 10 < unit && bytes * 20 < unit * 199 {
        let tenths = (bytes * 10 + unit / 2) / unit;
        return format!("{}.{} {name}", tenths / 10, tenths % 10);
    }
    format!("{} {name}", bytes / unit + (bytes % unit) / (unit / 2))
}

/// What the kernel counts places in a file by.
const LARGEST: u64 = i64::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_unit_is_what_it_says_and_a_bare_number_is_seconds() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("7", 7_000),
            ("0", 0),
            ("0ms", 0),
            ("1.5s", 1_500),
            ("0.25", 250),
            ("1.5m", 90_000),
            ("007s", 7_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_size_is_rounded_and_below_ten_has_a_tenth() {
        const K: u64 = 1024;
        const M: u64 = 1024 * K;
        const G: u64 = 1024 * M;
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (K, "1.0 KiB"),
            (10_188, "9.9 KiB"),
            (10_189, "10 KiB"),
            (100_352, "98 KiB"),
            (M - 513, "1023 KiB"),
            (M - 512, "1.0 MiB"),
            (9 * M + 700 * K, "9.7 MiB"),
            (10 * M, "10 MiB"),
            (G - M / 2, "1.0 GiB"),
            (u64::MAX, "17179869184 GiB"),
        ] {
            assert_eq!(size_in_words(bytes), text);
        }
    }

    #[test]
    fn a_fraction_is_exact_to_the_nanosecond() {
        assert_eq!(parse_duration("0.1ms"), Ok(Duration::from_micros(100)));
        assert_eq!(parse_duration("0.3s"), Ok(Duration::from_millis(300)));
        assert_eq!(parse_duration("0.1234567899999s"), Ok(Duration::from_nanos(123_456_789)));
    }

    #[test]
    fn what_is_not_a_number_with_one_of_the_units_is_refused() {
        for text in [
            "", "s", "ms", "nan", "inf", "1D", "1S", "1 s", " 1s", "1s ", "+1s", "1e3", "1e3s", "1m30s",
            ".5s", "5.s", "1.2.3s", "1,5s", "0x10", "--1", "-", "-x", "١s", "1µs",
        ] {
            assert_eq!(parse_duration(text), Err(DurationError::Malformed), "{text}");
        }
    }

    #[test]
    fn a_negative_duration_is_told_apart() {
        assert_eq!(parse_duration("-1"), Err(DurationError::Negative));
        assert_eq!(parse_duration("-1.5s"), Err(DurationError::Negative));
    }

    #[test]
    fn a_year_is_the_longest() {
        assert_eq!(parse_duration("8760h"), Ok(LONGEST));
        assert_eq!(parse_duration("365d"), Ok(LONGEST));
        for text in
            ["8760.1h", "31536001", "18446744073709551615h", "18446744073709551616", "9".repeat(400).as_str()]
        {
            assert_eq!(parse_duration(text), Err(DurationError::TooLong), "{text}");
        }
    }

    #[test]
    fn a_size_is_in_bytes_or_in_powers_of_1024_however_they_are_written() {
        for text in ["10485760", "10485760B", "10240k", "10240KiB", "10M", "10m", "10MB", "10mib", "010M"] {
            assert_eq!(parse_size(text), Ok(10 * 1024 * 1024), "{text}");
        }
        assert_eq!(parse_size("1G"), Ok(1024 * 1024 * 1024));
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("9223372036854775807"), Ok(LARGEST));
    }

    #[test]
    fn what_is_not_a_whole_number_with_one_of_those_is_no_size() {
        for text in [
            "", "M", "-1", "+1", "1.5M", "1 M", " 1M", "1M ", "1T", "1ib", "ib", "1e6", "1MiBs", "1Mi",
            "1bb", "١k",
        ] {
            assert_eq!(parse_size(text), Err(SizeError::Malformed), "{text}");
        }
        for text in ["9223372036854775808", "18446744073709551616", "8589934592G", "99999999999999999999k"] {
            assert_eq!(parse_size(text), Err(SizeError::TooLarge), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_milliseconds_are_read_exactly(millis in 0u64..=31_536_000_000) {
            prop_assert_eq!(parse_duration(&format!("{millis}ms")), Ok(Duration::from_millis(millis)));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
