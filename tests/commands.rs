//! Each command, as a real process.
