//! srvwrap as a real process, against real programs: one binary, a module for each group of facts.
//!
//! A test is a sentence, has its fixture inline, and waits for facts (a notice, an answer, a death), never for time.
//! What the machine or the user's rights do not offer is skipped, loudly; with `SRVWRAP_TEST_REQUIRE=all` a skip is a
//! failure. On a failure the log of srvwrap is printed.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests have clocks, threads and children"
)]

mod harness;

mod boot;
mod listeners;
mod nonblocking;
mod shared_listener;
mod unix_listeners;
