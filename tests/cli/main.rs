//! The program from outside: exit status, output and requests, against the simulator on real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bad_input;
mod bodies;
mod cache;
mod ci;
mod command_line;
mod completions;
mod daemon;
mod demo;
mod exit_status;
mod faults;
mod fixture;
mod formats;
mod hook_supervisor;
mod hooks;
mod http2;
mod image_version;
mod inherited;
mod output;
mod proxy;
mod receiver;
mod responses;
mod secrets;
mod simulate;
mod state;
mod static_program;
mod streams;
#[path = "../support/strict_schema.rs"]
mod strict_schema;
mod terminal;
mod tls;
mod update_address;
mod webhooks;
