//! The shipped unit under a real systemd, from its first start to a damaged state, as `docs/daemon.md` describes it.
//!
//! It needs root and `systemd-nspawn`; otherwise it is skipped with a message. The container boots once, and each step
//! continues from the state that the previous one left.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod groups;
mod machine;
mod package;
mod recovery;
mod steps;

use std::io::{self, Write};
use std::ops::Range;
use std::time::Instant;

/// Prints to stderr directly, because the test harness captures the output of passing tests.
fn print_line(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The diffs in the simulator's script. All but the last are configured from the start.
const DIFFS: Range<u32> = 1..4;

#[test]
fn the_shipped_unit_works_under_systemd_as_documented() {
    let boot = Instant::now();
    let Some(machine) = fixture::boot(&DIFFS, 2) else {
        return;
    };
    print_line(&format!("booted in {} ms", boot.elapsed().as_millis()));
    let began = Instant::now();
    for (name, step) in steps::STEPS {
        step(&machine);
        print_line(&format!("{:6} ms  {name}", began.elapsed().as_millis()));
    }
}
