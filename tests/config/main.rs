//! Configuration, credentials and the command line: accepted values and error messages.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod all_at_once;
mod command_line;
mod credentials;
mod daemon;
mod files;
mod fixture;
mod schema;
#[path = "../support/skip.rs"]
mod skip;
mod socket;
