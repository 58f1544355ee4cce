//! Signals by name, as people write them: `TERM`, `SIGTERM`, `term` or `15`.
//!
//! From signal(7): the numbers that are the same on x86, ARM and most other kinds of Linux. It does not send them, and
//! the real-time signals have numbers only.

/// The name at its number.
const NAMES: [&str; 32] = [
    "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Without `SIG` before it.
pub(crate) fn signal_name(number: i32) -> Option<&'static str> {
    usize::try_from(number).ok().and_then(|number| NAMES.get(number)).copied()
}

/// From 1 to 64.
pub(crate) fn signal_number(text: &str) -> Option<i32> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=64).contains(number));
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let place = NAMES.iter().skip(1).position(|known| *known == name)?;
    i32::try_from(place + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_may_be_written_in_every_usual_form() {
        for text in ["TERM", "SIGTERM", "term", "sigterm", "15"] {
            assert_eq!(signal_number(text), Some(15), "{text}");
        }
        assert_eq!((signal_number("USR2"), signal_number("64")), (Some(12), Some(64)));
        for text in ["", "0", "65", "TERMINATE", "SIG", "-9", "+9", "9 "] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }

    #[test]
    fn each_name_has_its_number() {
        for (name, number) in [("HUP", libc::SIGHUP), ("USR2", libc::SIGUSR2), ("SYS", libc::SIGSYS)] {
            assert_eq!((signal_number(name), signal_name(number)), (Some(number), Some(name)));
        }
        assert_eq!((signal_name(32), signal_name(-1)), (None, None));
    }
}
