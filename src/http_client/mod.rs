//! The parts of HTTP that the API client and webhooks share: TLS, error classes, response headers, address classes.

mod address;
pub mod errors;
pub mod headers;
pub mod tls;

pub use address::{is_link_local, is_loopback};
pub use errors::root_cause;
pub use headers::retry_after;
