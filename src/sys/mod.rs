//! Touches the operating system, and decides nothing. Home of all `unsafe`.
//!
//! Speaks in facts of the operating system: pids, wait statuses, bytes, errno. It knows no worker, slot or
//! generation; `event_loop` translates.

mod bind_error;
pub(crate) mod holder;
pub(crate) mod listener;
pub(crate) mod stderr;
mod unix_listener;
