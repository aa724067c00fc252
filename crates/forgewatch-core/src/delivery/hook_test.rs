//! What a test of a hook sends and shows: the request of a client, and the report of the attempt.

use serde::{Deserialize, Serialize};

use crate::job::JobRef;

/// What to send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HookTestRequest {
    /// The hook's name.
    pub hook: String,
    /// By default the end of a job, if the hook receives it, else its first type.
    pub event_type: Option<String>,
    /// By default one of a kind that the hook receives.
    pub job: Option<JobRef>,
}

/// What was sent, and what came back. Texts may come from the receiver and are untrusted; none has a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookTestReport {
    /// The type of the event.
    pub event_type: String,
    /// Its job, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRef>,
    /// Whether the receiver accepted it.
    pub delivered: bool,
    /// How long the attempt took.
    pub elapsed_ms: u64,
    /// The media type of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The body of the request, or the standard input of the program. Absent if the format has none for the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
    /// The status of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The beginning of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// The exit status of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The program's output on both streams, cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why it was not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}
