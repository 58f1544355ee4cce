//! What a program says to whoever supervises it in datagrams, as to systemd: `sd_notify(3)`.
//!
//! ```text
//!   READY=1 | STOPPING=1 | STATUS=TEXT | WATCHDOG=1     as on the notice descriptor, see `worker.rs`
//!   EXTEND_TIMEOUT_USEC=N                               Said::Extend
//!   any other line                                      nothing: MAINPID, RELOADING, FDSTORE, ERRNO, BARRIER, …
//! ```
//!
//! A datagram is lines of `NAME=VALUE`, the last of which needs no newline, and they mean what they mean in their
//! order; a `\r` at the end of a line belongs to the end. One that could not have been meant so (too long, cut, with a
//! zero inside) is ignored as a whole.
//!
//! What this file does not do: know who sent it, or wait for anything. A program that asks whether it was heard sends a
//! descriptor with `BARRIER=1`, and waits until we have closed it: that is done with every descriptor.

use std::time::Duration;

use super::worker::{Said, plain};

/// No program says more at a time: what is longer was not meant for us. In bytes.
pub(crate) const DATAGRAM_LIMIT: usize = 4096;

/// Why a datagram is ignored that was cut, or is too long.
pub(crate) const TOO_LONG: &str = "it is longer than 4096 bytes";

/// What one datagram says, in its order; nothing where it says nothing that is known.
pub(crate) fn read(datagram: &[u8]) -> impl Iterator<Item = Said> + '_ {
    let text = if unfit(datagram).is_none() { text(datagram) } else { b"" };
    text.split(|byte| *byte == b'\n').map(assignment).filter(|said| *said != Said::Unknown)
}

/// Why a datagram cannot have been meant for us.
pub(crate) fn unfit(datagram: &[u8]) -> Option<&'static str> {
    if datagram.len() > DATAGRAM_LIMIT {
        return Some(TOO_LONG);
    }
    text(datagram).contains(&0).then_some("it has a zero byte inside")
}

/// Programs in C send the zero at the end of their string now and then.
fn text(datagram: &[u8]) -> &[u8] {
    datagram.strip_suffix(b"\0").unwrap_or(datagram)
}

fn assignment(line: &[u8]) -> Said {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let name = line.split(|byte| *byte == b'=').next().unwrap_or_default();
    // The words of the notice descriptor have names of their own, and mean nothing here.
    if name.len() == line.len() || !name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_') {
        return Said::Unknown;
    }
    match line.strip_prefix(b"EXTEND_TIMEOUT_USEC=") {
        Some(number) => microseconds(number).map_or(Said::Unknown, Said::Extend),
        None => plain(line),
    }
}

fn microseconds(number: &[u8]) -> Option<Duration> {
    let digits = std::str::from_utf8(number).ok()?;
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| all_digits).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::super::worker::Readiness;
    use super::*;

    use proptest::prelude::*;

    fn said(datagram: &[u8]) -> Vec<Said> {
        read(datagram).collect()
    }

    fn status(text: &str) -> Said {
        Said::Status(text.to_string())
    }

    const ONLINE: Said = Said::Online(Readiness::Plain);

    #[test]
    fn each_assignment_means_what_it_means_and_in_its_order() {
        assert_eq!(said(b"READY=1"), [ONLINE]);
        assert_eq!(said(b"READY=1\n"), [ONLINE]);
        assert_eq!(said(b"STOPPING=1\nSTATUS=a=b\n"), [Said::Offline { why: String::new() }, status("a=b")]);
        assert_eq!(said(b"STATUS=\nWATCHDOG=1\nREADY=1"), [status(""), Said::Ping, ONLINE]);
        let extend = |micros| Said::Extend(Duration::from_micros(micros));
        assert_eq!(said(b"EXTEND_TIMEOUT_USEC=1500000\nREADY=1"), [extend(1_500_000), ONLINE]);
        assert_eq!(said(b"EXTEND_TIMEOUT_USEC=18446744073709551615"), [extend(u64::MAX)]);
    }

    #[test]
    fn a_carriage_return_belongs_to_the_end_of_a_line() {
        let twice = [ONLINE, status("a"), ONLINE];
        assert_eq!(said(b"READY=1\r\nSTATUS=a\r\nREADY=1\r"), twice);
        assert_eq!(said(b"EXTEND_TIMEOUT_USEC=5\r\n"), [Said::Extend(Duration::from_micros(5))]);
        assert_eq!(said(b"READY=1\r\r\nREADY\r=1"), [], "one, and only at the end");
    }

    #[test]
    fn all_others_mean_nothing_and_hide_nothing() {
        for other in [
            "MAINPID=1",
            "MAINPID=0",
            "RELOADING=1\nMONOTONIC_USEC=5",
            "FDSTORE=1\nFDNAME=a",
            "ERRNO=2",
            "NOTIFYACCESS=all",
            "BARRIER=1",
            "WATCHDOG=trigger",
            "WATCHDOG_USEC=1",
            "READY=0",
            "READY=11",
            "READY=1 ",
            " READY=1",
            "READY",
            "=1",
            "",
            "EXTEND_TIMEOUT_USEC=",
            "EXTEND_TIMEOUT_USEC=-1",
            "EXTEND_TIMEOUT_USEC=+1",
            "EXTEND_TIMEOUT_USEC=1s",
            "EXTEND_TIMEOUT_USEC=18446744073709551616",
            "online",
            "status up=1",
            "offline why=1",
            "\"READY=1\"",
        ] {
            assert_eq!(said(other.as_bytes()), [], "{other}");
            assert_eq!(said(format!("{other}\nREADY=1").as_bytes()), [ONLINE], "{other}");
        }
    }

    #[test]
    fn what_cannot_have_been_meant_is_ignored_as_a_whole() {
        assert_eq!(said(b"READY=1\0"), [ONLINE]);
        assert_eq!(said(b"READY=1\nSTATUS=a\0"), [ONLINE, status("a")]);
        for odd in [b"READY=1\0\0".as_slice(), b"READY=1\n\0STATUS=a", b"\0READY=1", b"\0", b""] {
            assert_eq!(said(odd), [], "{odd:?}");
        }
        let long = |length: usize| [b"READY=1\nSTATUS=".to_vec(), vec![b'x'; length - 15]].concat();
        assert_eq!(said(&long(4096)).len(), 2);
        assert_eq!(said(&long(4097)), []);
        assert_eq!(unfit(&long(4097)), Some("it is longer than 4096 bytes"));
        assert_eq!(unfit(b"READY=1\0\0"), Some("it has a zero byte inside"));
        for good in [b"READY=1\0".as_slice(), b"MAINPID=1", b"", &long(4096)] {
            assert_eq!(unfit(good), None);
        }
    }

    #[test]
    fn a_text_is_as_harmless_as_on_the_notice_descriptor() {
        assert_eq!(said(b"STATUS=a\x1b[2Jb\xff"), [status("a\u{fffd}[2Jb\u{fffd}")]);
        assert_eq!(said(&[b"STATUS=".as_slice(), &[b'x'; 300]].concat()), [status(&"x".repeat(256))]);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm_and_lines_mean_the_same_alone_as_together(
            lines in prop::collection::vec(line(), 0..12),
        ) {
            let together = lines.join(&b'\n');
            prop_assume!(together.len() <= DATAGRAM_LIMIT && !together.contains(&0));
            let alone: Vec<Said> = lines.iter().flat_map(|line| said(line)).collect();
            prop_assert_eq!(said(&together), alone);
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            prop_assert!(said(&bytes).len() <= lines);
        }
    }

    #[expect(clippy::disallowed_types, reason = "what prop_oneof expands to")]
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let known = ["READY=1", "STOPPING=1", "STATUS=", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=", "BARRIER=1"];
        let junk = prop::collection::vec(any::<u8>().prop_filter("a line", |byte| *byte != b'\n'), 0..30);
        prop_oneof![
            3 => prop::sample::select(known.to_vec()).prop_map(|known| known.as_bytes().to_vec()),
            1 => (prop::sample::select(known.to_vec()), 0u64..u64::MAX)
                .prop_map(|(known, number)| format!("{known}{number}").into_bytes()),
            2 => junk,
        ]
    }
}
