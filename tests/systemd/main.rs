//! The shipped unit under a real systemd, from its first start to a damaged state, as `docs/daemon.md` describes it.
//!
//! It needs root and `systemd-nspawn`, and says so where it is skipped. The container is booted once, and the steps
//! follow one another: what a step leaves is where the next begins.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod groups;
mod machine;
mod recovery;
mod steps;

use std::io::{self, Write};
use std::ops::Range;
use std::time::Instant;

/// Shown even where the harness keeps a passing test's output to itself.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Those that the simulator knows; all but the last are configured from the beginning.
const DIFFS: Range<u32> = 1..4;

#[test]
fn the_shipped_unit_does_under_systemd_what_its_manual_says() {
    let boot = Instant::now();
    let Some(machine) = fixture::boot(&DIFFS, 2) else {
        return;
    };
    say(&format!("booted in {} ms", boot.elapsed().as_millis()));
    let began = Instant::now();
    for (name, step) in steps::STEPS {
        step(&machine);
        say(&format!("{:6} ms  {name}", began.elapsed().as_millis()));
    }
}
