//! client

mod block;
mod cells;
mod display;
mod tables;
