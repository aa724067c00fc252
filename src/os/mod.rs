//! Signals, notifications to the service manager, and protection of this process's memory.

pub mod notify;
pub mod privacy;
pub mod signals;
