//! Bytes to messages and back. No descriptors, no clock.
#![forbid(unsafe_code)]
pub(crate) mod worker;
