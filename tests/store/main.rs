//! The stores: one suite for both, and for the one on the disk what disks and power do to it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod disk;
mod faults;
mod file;
mod power_cut;
mod rescue;
mod samples;
#[path = "../support/skip.rs"]
mod skip;
mod suite;
