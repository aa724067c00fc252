//! The deterministic simulation: the real daemon on virtual time, with simulated API, disk, hooks and clocks that fail.
//!
//! A *lifetime* is one seed. In it, several daemon processes run one after another: each starts from the state on disk,
//! receives commands, and crashes at a random await or is stopped. Meanwhile requests fail, the disk is full, hooks hang
//! and clocks jump. The last process runs without faults until every watch and delivery has ended. Then the checker
//! compares what the API served, what the disk stored and what the hooks received.
//!
//! - `cargo test --test simulation` runs 10,000 lifetimes; `FORGEWATCH_SIM_LIFETIMES` changes the number and
//!   `FORGEWATCH_SIM_FIRST` the first seed.
//! - `FORGEWATCH_SIM_SEED=7 cargo test --test simulation replay -- --nocapture` prints the trace of one seed.

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
mod follower;
mod hooks;
mod jobs;
mod lifetime;
mod log;
mod outage;
mod planted_bugs;
mod rng;
mod world;
