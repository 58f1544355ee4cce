//! Touches the operating system, and decides nothing. Home of all `unsafe`.
//!
//! Speaks in facts of the operating system: pids, wait statuses, bytes, errno. It knows no worker, slot or
//! generation; `event_loop` translates.
