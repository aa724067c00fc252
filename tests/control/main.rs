//! The control socket: who can reach it, what clients can do to it, and the commands that speak through it, run as the
//! real program. Behind the socket is a stage that answers as a daemon would.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod commands;
mod events;
mod failures;
mod fixture;
mod peer_auth;
mod requests;
mod samples;
mod socket;
