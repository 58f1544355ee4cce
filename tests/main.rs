//! srvwrap as a real process, against real programs: one binary, a module for each group of facts.
//!
//! A test is a sentence, has its fixture inline, and waits for facts (a notice, an answer, a death), never for time.
//! What the machine or the user's rights do not offer is skipped, loudly; with `SRVWRAP_TEST_REQUIRE=all` a skip is a
//! failure. On a failure the log of srvwrap is printed.
//!
//! A shell that handles a signal waits in short sleeps: a long one, started just after the signal to the group, would
//! live on until the stop limit.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests have clocks, threads and children, say what they skip, and decide nothing"
)]

mod harness;

mod bad_commands;
mod bad_input;
mod boot;
mod c_libraries;
mod check;
mod client_programs;
mod commands;
mod commands_in_trouble;
mod consumers;
mod control;
mod control_limits;
mod control_socket;
mod crashes;
mod daemon;
mod deploy;
mod failed_deploys;
mod faults;
mod forked;
mod frameworks;
mod fuzz_control;
mod handover;
mod inheritance;
mod languages;
mod listeners;
mod load;
mod logs;
mod logs_archives;
mod logs_full_disk;
mod logs_kills;
mod logs_last_lines;
mod logs_lines;
mod logs_orphans;
mod logs_own_streams;
mod logs_places;
mod logs_rotation;
mod logs_rotation_outside;
mod logs_shown;
mod logs_slow;
mod logs_step_faults;
mod nested;
mod node_applications;
mod nonblocking;
mod notify_socket;
mod packaging;
mod pid_file;
mod pid_one;
mod pid_reuse;
mod progress;
mod readiness;
mod readme;
mod recycling;
mod ruby_and_perl_servers;
mod scaling;
mod sessions;
mod shared_listener;
mod showing_logs;
mod signals;
mod sockets_in;
mod spawning;
mod stderr;
mod stopping;
mod stopping_groups;
mod terminal;
mod tidy;
mod unix_listeners;
mod upward;
