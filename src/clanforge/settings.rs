//! How the API is reached, as the user wants it.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// How the API is reached and how hard it may be asked.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Scheme, host, port and path prefix; `https`, or `http` to a literal loopback address or `localhost`. No
    /// user name, password, query or fragment.
    pub base_url: Url,
    /// The `accountserviceid` of every request.
    pub account_service_id: u64,
    /// A PEM file of certificate authorities trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Name lookup, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// For the first MiB of an answer, from the request on.
    pub timeout: Duration,
    /// Requests under way at once, at least 1.
    pub max_in_flight: usize,
    /// Requests begun in a second, on average; above zero.
    pub max_requests_per_second: f64,
    /// The most decoded bytes read of one answer.
    pub max_body: u64,
}
