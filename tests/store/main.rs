//! The stores: one suite for both, and for the SQLite store full and damaged disks, kills and power cuts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod disk;
mod faults;
mod file;
mod power_cut;
mod recover;
mod samples;
#[path = "../support/skip.rs"]
mod skip;
mod suite;
mod versions;
