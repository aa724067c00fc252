//! forgewatch waits for remote jobs.

pub mod cli;
pub mod clanforge;
pub mod config;
pub mod core;
pub mod engine;
pub mod store;
