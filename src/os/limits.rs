//! The limit of open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for every job in flight, client and running hook of a default configuration.
const WANTED: u64 = 1024;
/// Below this a one-shot with state and one hook does not work.
pub const NEEDED_TO_WATCH: u64 = 64;
/// Below this a client that follows the daemon does not work.
pub const NEEDED_TO_WAIT: u64 = 16;

/// Raises the soft limit of open files. It stays at the number of descriptors that `select(2)` can wait for, because
/// hooks inherit it.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = maximum.unwrap_or(WANTED).min(WANTED);
    if current.is_some_and(|current| current < raised) {
        let current = Some(raised);
        // Fails only above the hard limit.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    }
}

/// The error says how to raise a limit below `needed`.
pub fn check_open_files(needed: u64) -> Result<(), String> {
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => Err(format!(
            "the limit of {limit} open files is too low: allow at least {needed}, such as with ulimit -n {needed}"
        )),
        _ => Ok(()),
    }
}
