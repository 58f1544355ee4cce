//! Touches the operating system, and decides nothing. Home of all `unsafe`.
//!
//! Speaks in facts of the operating system: pids, wait statuses, bytes, errno. It knows no worker, slot or
//! generation; `event_loop` translates.

pub(crate) mod above;
pub(crate) mod accounts;
#[cfg(test)]
pub(crate) mod apart;
pub(crate) mod archive;
mod bind_error;
mod c_library;
pub(crate) mod children;
pub(crate) mod compressor;
pub(crate) mod control;
pub(crate) mod daemon;
pub(crate) mod dial;
mod directory;
pub(crate) mod failure;
pub(crate) mod family;
mod half_closed;
pub(crate) mod hang_ups;
pub(crate) mod holder;
pub(crate) mod inherited;
pub(crate) mod launchd;
pub(crate) mod listener;
pub(crate) mod measure;
pub(crate) mod notice_fd;
pub(crate) mod notify_socket;
#[cfg(test)]
pub(crate) mod observed;
pub(crate) mod output_pipe;
pub(crate) mod own_file;
pub(crate) mod own_output;
pub(crate) mod packet;
pub(crate) mod peer_process;
pub(crate) mod pid_file;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod report;
pub(crate) mod ring;
pub(crate) mod scratch;
pub(crate) mod screen;
pub(crate) mod sd_notify;
pub(crate) mod signal_state;
pub(crate) mod signals;
pub(crate) mod startup;
pub(crate) mod stream;
mod unix_listener;
pub(crate) mod unseen;
pub(crate) mod vanished;
