//! A test that cannot be run here says so. Several suites mount this file.

use std::io::{self, Write};

/// What a line begins with that says so.
pub(crate) const SKIPPED: &str = "skipped:";

/// Says why, even where the harness keeps a passing test's output to itself.
pub(crate) fn skip(why: &str) {
    let _ = writeln!(io::stderr(), "{SKIPPED} {why}");
}
