//! The one thing that the engine needs of an API client.

use std::time::Duration;

use forgewatch_core::job::JobRef;
use forgewatch_core::status::Status;
use forgewatch_core::verdict::PollError;

/// A status as it came over the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusResponse {
    /// What it said.
    pub status: Status,
    /// The server's `Date` less `Age`, Unix seconds, if it told one.
    pub date: Option<i64>,
    /// The least wait before this job is asked again, for an answer so large that asking often is a burden.
    pub at_least: Duration,
}

/// Asks the status of one job. The HTTP client is one; tests bring others.
pub trait Api {
    /// One request, from connecting to the last byte, within its own time-outs.
    fn ask(
        &self,
        job: JobRef,
        diff_info: bool,
    ) -> impl Future<Output = Result<StatusResponse, PollError>>;
}
