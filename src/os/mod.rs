//! What the operating system says to the process, and what the process says to it.

pub mod notify;
pub mod privacy;
pub mod signals;
