//! How large the terminal behind a descriptor is.
//!
//! What this file does not do: draw on it.

use std::os::fd::{AsFd, AsRawFd};

/// Its columns and rows; nothing where it is no terminal, or does not know.
pub(crate) fn size(terminal: &impl AsFd) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call writes into a struct of its own kind that lives through it.
    let done = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::{Winsize, openpty};
    use std::fs::File;

    fn terminal(ws_col: u16, ws_row: u16) -> Option<(u16, u16)> {
        let pty = openpty(&Winsize { ws_col, ws_row, ws_xpixel: 0, ws_ypixel: 0 }, None).unwrap();
        size(&pty.slave)
    }

    #[test]
    fn a_terminal_knows_its_size_and_a_file_has_none() {
        assert_eq!(terminal(132, 43), Some((132, 43)));
        assert_eq!(terminal(0, 0), None);
        assert_eq!(size(&File::open("/dev/null").unwrap()), None);
    }
}
