//! Why a client has no response.

use std::io;
use std::time::Duration;

use super::protocol::{MAX_REQUEST, PROTOCOL};

/// Time limit for a response. At most, the daemon reads a configuration or queries its state.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon is running: {0}")]
    NotRunning(io::Error),
    #[error("this user may not use the socket: {0}")]
    PermissionDenied(io::Error),
    #[error("the request is longer than {} KiB", MAX_REQUEST / 1024)]
    RequestTooLong,
    #[error("the daemon did not respond within {} s", RESPONSE_TIMEOUT.as_secs())]
    Timeout,
    /// The HTTP API cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    #[error("the daemon rejects the token: {0}")]
    Unauthorized(String),
    /// Something else responds.
    #[error("not the HTTP API of forgewatch: {0}")]
    NoApi(String),
    #[error("this works through the daemon's socket only; use --socket on its machine")]
    SocketOnly,
    #[error("the connection to the daemon was lost")]
    ConnectionLost,
    #[error("invalid response from the daemon: {0}")]
    InvalidResponse(serde_json::Error),
    #[error(
        "the daemon is forgewatch {version} with version {protocol} of the control protocol, this is {} with version \
         {PROTOCOL}; use the same version of both",
        env!("CARGO_PKG_VERSION")
    )]
    Incompatible { version: String, protocol: u32 },
    #[error("{0}")]
    Unavailable(String),
    /// An offset of another state file.
    #[error(
        "offset {offset} is beyond the last event, {last}; if the state file is new, start with --since 0"
    )]
    UnknownOffset { offset: u64, last: u64 },
}
