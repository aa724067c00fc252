//! forgewatch waits for remote jobs.

pub mod clanforge;
pub mod cli;
pub mod config;
pub mod core;
pub mod report;
