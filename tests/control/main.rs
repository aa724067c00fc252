//! The control socket: access, requests of all kinds, and the client commands of the real program. A test daemon responds as
//! each test wants.

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
