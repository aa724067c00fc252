//! What the operating system says to the process.

pub mod privacy;
pub mod signals;
