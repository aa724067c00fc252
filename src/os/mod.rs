//! What the operating system says to the process.

pub mod signals;
