//! Process 1 of a container, signals, limits, notifications to the service manager, and protection of this process's memory.

pub mod init;
pub mod limits;
pub mod notify;
pub mod signals;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Makes the environment and memory of this process readable by root only, and disables core dumps. Hooks run as the
/// same user and must not be able to read the credentials.
pub fn protect_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(
            target: "forgewatch::os",
            %error,
            "other processes of this user can read this process's memory"
        );
    }
}
