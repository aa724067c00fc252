//! The settings of the API client.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// The address of the API, and the limits of its use.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Scheme, host, port and path prefix; `https`, or `http` to a literal loopback address or `localhost`. No
    /// user name, password, query or fragment.
    pub base_url: Url,
    /// The `accountserviceid` of every request.
    pub account_service_id: u64,
    /// A PEM file of certificate authorities trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The limit of name lookup, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// The limit from the request to the first MiB of the response, or to its end.
    pub timeout: Duration,
    /// The number of concurrent requests, at least 1.
    pub max_in_flight: usize,
    /// The average rate of requests; above zero.
    pub max_requests_per_second: f64,
    /// The maximum size of a decompressed response, bytes.
    pub max_body: u64,
}
