//! The error that ends a command, with its exit status.

use std::fmt::Display;

pub const FAILED: u8 = 1;
/// Usage or configuration error; no request was sent to the API.
pub const USAGE: u8 = 2;
/// Internal error: a bug, or the system denies a basic resource.
pub const INTERNAL: u8 = 70;
/// The state cannot be used: read-only, corrupt, newer than this program, or locked.
pub const UNUSABLE: u8 = 78;

#[derive(Debug)]
pub struct CommandError {
    pub exit_code: u8,
    /// One error per line.
    pub message: String,
}

impl CommandError {
    fn new(exit_code: u8, message: impl Display) -> Self {
        Self {
            exit_code,
            message: message.to_string(),
        }
    }

    pub fn failed(message: impl Display) -> Self {
        Self::new(FAILED, message)
    }

    pub fn usage(message: impl Display) -> Self {
        Self::new(USAGE, message)
    }

    pub fn internal(message: impl Display) -> Self {
        Self::new(INTERNAL, message)
    }

    pub fn unusable(message: impl Display) -> Self {
        Self::new(UNUSABLE, message)
    }
}
