//! The control API: HTTP/1.1 with JSON on a unix socket. `protocol/control.md` has the rules.
//!
//! ```text
//!   bytes ──> http::Reader ──> http::Head + body ──> route() ──> Question
//!   Answer, Status, Event … ──> JSON ──> http::response() ──> bytes
//! ```
//!
//! The messages are the same types on both sides, so that the server and the client cannot differ. What it does not
//! do: hold a descriptor, read a clock, or decide what a question leads to.

mod base64;
mod chunks;
pub(crate) mod client;
pub(crate) mod json;
pub(crate) mod message;
pub(crate) mod status;
pub(crate) mod text;
