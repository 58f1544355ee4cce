//! The control API: HTTP/1.1 with JSON on a unix socket. `protocol/control.md` has the rules.
//!
//! ```text
//!   bytes ──> http::Reader ──> Request ──> routes::question() ──> Question
//!   Answer, Status, Event … ──> json::write() ──> response::… ──> bytes
//!
//!   Question ──> client::request() ──> bytes          bytes ──> client::Reply ──> json::read() ──> Answer …
//! ```
//!
//! The messages are the same types on both sides, so that the server and the client cannot differ. What it does not
//! do: hold a descriptor, read a clock, or decide what a question leads to.

mod base64;
mod chunks;
pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod json;
pub(crate) mod message;
mod request;
pub(crate) mod response;
pub(crate) mod routes;
pub(crate) mod status;
pub(crate) mod text;
