//! The API client as the engine uses it.

use std::time::Duration;

use forgewatch_core::job::JobRef;
use forgewatch_core::status::Status;
use forgewatch_core::verdict::PollError;

/// A job's status, and what its response says beyond it.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusResponse {
    pub status: Status,
    /// The server's `Date` minus `Age`, Unix seconds.
    pub date: Option<i64>,
    /// The minimum wait until the job's next poll; above zero after a large response.
    pub min_wait: Duration,
}

/// Polls jobs. [`super::ApiClient`] does so over HTTP.
pub trait Api: 'static {
    /// Requests the status of one job, within the implementation's own timeouts.
    fn poll(
        &self,
        job: JobRef,
        diff_info: bool,
    ) -> impl Future<Output = Result<StatusResponse, PollError>>;
}
