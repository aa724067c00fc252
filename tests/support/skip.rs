//! Reports tests that cannot run here. Included by several test crates.

use std::io::{self, Write};

pub(crate) const SKIPPED: &str = "skipped:";

/// Prints to standard error, past the test harness, which captures the output of passing tests.
pub(crate) fn skip(why: &str) {
    let _ = writeln!(io::stderr(), "{SKIPPED} {why}");
}
