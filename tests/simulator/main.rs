//! The simulator over real sockets: its responses, its jobs, its faults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod clocks;
mod faults;
mod responses;
mod scripts;
mod server;

use std::time::Duration;

use client::RawClient;
use forgewatch_core::job::JobRef;
use forgewatch_sim::{Script, Server};

const TIMEOUT: Duration = Duration::from_secs(20);

fn job(name: &str) -> JobRef {
    name.parse().unwrap()
}

/// A server with one diff that takes a minute, with these lines added to it.
fn diff(lines: &str) -> Server {
    start(&format!(
        "[[jobs]]\njob = \"diff/1\"\nduration = \"60s\"\n{lines}"
    ))
}

fn start(script: &str) -> Server {
    Server::start(Script::parse(script).unwrap()).unwrap()
}

/// A server with one job, which has ended.
fn ended(name: &str, lines: &str) -> (Server, RawClient) {
    let server = start(&format!(
        "[[jobs]]\njob = \"{name}\"\nduration = \"1ms\"\n{lines}"
    ));
    let mut client = RawClient::new(&server);
    client.status(name);
    while server.ended_at(job(name)).is_none() {
        std::thread::yield_now();
    }
    (server, client)
}
