//! stub until merged
/// x
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Plain,
    JsonOnline,
    JsonReady,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Online(Readiness),
    Offline { why: String },
    Status(String),
    Ping,
    Unknown,
}
