//! forgewatch waits for remote jobs.

pub mod clanforge;
pub mod cli;
pub mod config;
pub mod core;
pub mod engine;
pub mod os;
pub mod report;
pub mod sim;
pub mod store;
