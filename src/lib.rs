//! forgewatch waits for remote jobs.

pub mod config;
pub mod core;
pub mod sim;
