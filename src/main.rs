//! srvwrap runs any network server as N processes on one set of listening sockets.
#![allow(dead_code, unused_imports)] // while the parts are being written

mod core;
mod log;
mod sys;
mod wire;

fn main() {}
