//! What the API client and webhooks share: whom to trust, what a broken request is called, which headers say when to
//! come back.

mod address;
pub mod errors;
pub mod headers;
pub mod tls;

pub use address::{is_link_local, is_loopback};
pub use errors::innermost;
pub use headers::retry_after;
