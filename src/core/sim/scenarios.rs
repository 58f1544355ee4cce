//! Single lives in a few lines of virtual time each: what an operator would tell as a story.
//!
//! The stage is `stage.rs`. What must hold always and everywhere is in `properties.rs`, and not repeated here.

mod boot;
mod crashes;
mod deploys;
mod extensions;
mod rolling;
mod scales;
mod stops;
mod terms;
mod workers;
