//! Keeps what this process knows from others of its user.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// From here on nobody but root can read this process's environment and memory, and no core of it is dumped: a hook runs
/// as the same user, and the credentials are none of its business.
pub fn keep() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "this process's memory can be read by others of its user");
    }
}
