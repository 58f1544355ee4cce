//! Notices, as an operator reads them.
