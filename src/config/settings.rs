//! What the user asked for, merged and checked: the one thing the rest of the program reads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::core::job::JobRef;
use crate::core::limits::Limits;

/// How the API is reached and how hard it may be asked.
#[derive(Clone, Debug)]
pub struct Api {
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

/// A job to watch, with what the user says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// The job.
    pub job: JobRef,
    /// The user's labels, told with every event.
    pub labels: BTreeMap<String, String>,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the API is reached.
    pub api: Api,
    /// By what bounds jobs are watched.
    pub limits: Limits,
    /// What to watch, in the order given, each once.
    pub jobs: Vec<JobSpec>,
}
