//! The daemon under load for minutes, against the simulator in this process: 10,000 jobs, each polled 20 s after its last
//! response. Runs only with `LOAD_SECONDS`, and its figures are meaningful only with `--release`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;
mod polls;
mod scrapes;
#[path = "../support/skip.rs"]
mod skip;
mod waits;

use std::env;
use std::time::Duration;

/// For how long the load lasts; None, and a word about it, if the test is skipped.
fn load() -> Option<Duration> {
    let Ok(seconds) = env::var("LOAD_SECONDS") else {
        skip::skip("LOAD_SECONDS is not set");
        return None;
    };
    Some(Duration::from_secs(seconds.parse().unwrap()))
}
