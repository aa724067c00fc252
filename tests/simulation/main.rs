//! The deterministic simulation: the real daemon on virtual time, in a world that fails in every way there is.
//!
//! A lifetime is a seed. In it the daemon is started, commanded, killed at some await, started again from what the disk
//! then holds, and so on, while the API lies, the disk fills, hooks hang and clocks jump. At last nothing goes wrong any
//! more, everything comes to its end, and the checker reads what the API served, what the disk took and what the hooks
//! saw: nothing else.
//!
//! `FORGEWATCH_SIM_SEED=7 cargo test --test simulation replay -- --nocapture` tells the story of one seed;
//! `FORGEWATCH_SIM_LIFETIMES` says how many there are.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod api;
mod batch;
mod checker;
mod clock;
mod commands;
mod config;
mod crash;
mod disk;
mod faults;
mod hooks;
mod jobs;
mod lifetime;
mod log;
mod outage;
mod planted_bugs;
mod rng;
mod world;
