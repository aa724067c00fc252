//! The stores: one suite for both, and for the one on the disk what disks and power do to it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod faults;
mod file;
mod rescue;
mod samples;
mod suite;
