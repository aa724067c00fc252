//! The stores: one suite for both, and for the one on the disk what disks and power do to it.

mod crash;
mod faults;
mod file;
mod rescue;
mod samples;
mod suite;
