//! Configuration, credentials and the command line's definitions: what is taken, and what is said of the rest.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its place has to fail"
)]

mod all_at_once;
mod command_line;
mod credentials;
mod daemon;
mod files;
mod place;
mod socket;
