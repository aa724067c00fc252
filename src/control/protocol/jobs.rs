//! Jobs and deliveries in responses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use forgewatch_core::job::JobRef;
use forgewatch_core::poll_log::{PollRecord, WaitReason};
use forgewatch_core::time_left::TimeLeft;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedJob {
    pub job: JobRef,
    /// The id of its watch.
    pub watch: String,
    pub outcome: AddOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddOutcome {
    /// A new watch has started.
    Started,
    AlreadyWatched,
    /// Its watch ended within `retain` with this outcome and stays as it is.
    Ended(String),
}

/// A part of a list, in no particular order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPage {
    /// May be empty although there is a next page.
    pub jobs: Vec<JobSummary>,
    /// Where the next page begins, opaque to the client; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A watch in a list. Unknown and inapplicable fields are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSummary {
    pub job: JobRef,
    /// The watch's id.
    pub watch: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The job's state, as in events; absent before the first status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whole percent, rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// Whole percent that the job has probably reached since its last status; absent without a progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_progress: Option<u8>,
    #[serde(flatten)]
    pub left: TimeLeft,
    /// Time until the next poll; absent once the watch has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_poll_ms: Option<u64>,
    /// Polls so far.
    pub requests: u32,
    /// Whether polling has failed for `unreachable_after`.
    pub unreachable: bool,
    /// Whether the job has not changed for `stalled_after`.
    #[serde(default)]
    pub stalled: bool,
    /// Why the job cannot be polled; absent after a poll that worked. Untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The class of that error, as in events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<String>,
    /// How the watch ended: the type of its ending event without `job.`; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Time of the first poll, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<i64>,
    /// Time of the end of the watch, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<i64>,
}

/// The words of [`JobSummary::state_or_outcome`] for jobs that have not ended.
pub const ACTIVE_STATES: [&str; 7] = [
    "starting",
    "created",
    "pending",
    "queued",
    "running",
    "unknown",
    "unreachable",
];
/// Its words for jobs that have ended.
pub const OUTCOMES: [&str; 9] = [
    "completed",
    "failed",
    "squashed",
    "not_found",
    "refused",
    "timed_out",
    "gave_up",
    "removed",
    "abandoned",
];

impl JobSummary {
    /// For people: the outcome, `unreachable`, the state, or `starting` before the first status.
    pub fn state_or_outcome(&self) -> &str {
        match (&self.outcome, self.unreachable, &self.state) {
            (Some(outcome), ..) => outcome,
            (None, true, _) => "unreachable",
            (None, false, Some(state)) => state,
            (None, false, None) => "starting",
        }
    }
}

/// A watch in detail.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobDetails {
    #[serde(flatten)]
    pub summary: JobSummary,
    /// What determined the time of the next poll; absent before the first status and after the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_poll_reason: Option<WaitReason>,
    /// The log records of its events, in order.
    pub events: Vec<Box<RawValue>>,
    /// The last polls, oldest first.
    pub polls: Vec<PollRecord>,
    /// All deliveries of its events, oldest first.
    pub deliveries: Vec<DeliverySummary>,
}

/// A delivery in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverySummary {
    /// The event's id and the hook's name, as `hooks retry` takes it.
    pub id: String,
    pub hook: String,
    pub event_type: String,
    /// The job of the event; absent for events of forgewatch itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRef>,
    /// Attempts so far, a running one included.
    pub attempts: u32,
    pub state: DeliveryStatus,
    /// When a pending delivery is due, Unix milliseconds; absent while it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at_ms: Option<i64>,
    /// The last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// State of a delivery, as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It waits for its turn or its next attempt.
    Pending,
    /// An attempt is under way.
    Running,
    /// Its retries are used up; kept until `hooks retry` or `hooks discard`.
    Failed,
    /// The receiver accepted it.
    Delivered,
    /// A client discarded it.
    Discarded,
}
