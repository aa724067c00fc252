//! Requests and responses of the control socket.
//!
//! A client connects, writes one [`Request`] in a [`RequestFrame`] as a line of JSON, and reads [`Response`]s, one per
//! line, until the daemon closes the connection. Every request has one response, except [`Request::Events`]: one
//! [`Response::Event`] per event, then [`Response::Done`], or, for a client that follows, [`Response::CaughtUp`] once all
//! stored events are sent and [`Response::Stopped`] when the daemon stops. `docs/control-protocol.md` has examples.
//!
//! The client keeps its end open until then. Closing it, even for writing only, means that the client has gone and gets
//! no further responses. A complete request is carried out anyway.
//!
//! Names and texts in responses may come from the server and are untrusted. JSON escapes them; a client sanitizes them
//! before printing.

mod jobs;
pub mod record;
mod since;
mod status;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use forgewatch_core::delivery::{HookTestReport, HookTestRequest};
use forgewatch_core::job::JobRef;
use forgewatch_core::reload_preview::ReloadPreview;
use forgewatch_core::user_input::validate_label;

pub use jobs::{
    ACTIVE_STATES, AddOutcome, AddedJob, DeliveryStatus, DeliverySummary, JobDetails, JobPage,
    JobSummary, OUTCOMES,
};
pub use since::Since;
pub use status::{ApiReport, ApiState, DeliveryTotals, ReloadReport, StatusReport, StoreReport};

/// The longest request, including the newline.
pub const MAX_REQUEST: usize = 64 * 1024;

/// The version of the protocol. It changes with every change that an older client or daemon would misunderstand.
pub const PROTOCOL: u32 = 1;

/// A request with its version, so that a daemon of another version can say so.
#[derive(Debug, Serialize, Deserialize)]
pub struct RequestFrame<R> {
    pub protocol: u32,
    pub request: R,
}

/// Encodes a request as a line.
pub fn encode_request(request: &Request) -> serde_json::Result<Vec<u8>> {
    let frame = RequestFrame {
        protocol: PROTOCOL,
        request,
    };
    let mut line = serde_json::to_vec(&frame)?;
    line.push(b'\n');
    Ok(line)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Watches jobs; one that is watched already, or ended within `retain`, stays as it is. [`Response::Added`].
    Add {
        jobs: Vec<JobRef>,
        /// Labels of the new watches, under the rules of the configuration file.
        #[serde(default, deserialize_with = "deserialize_labels")]
        labels: BTreeMap<String, String>,
        /// Whether to start a new watch of a job that has ended.
        #[serde(default)]
        again: bool,
    },
    /// Stops watching jobs. [`Response::Removed`].
    Remove { jobs: Vec<JobRef> },
    /// Lists the watches, a page for each request. [`Response::Jobs`].
    List(ListRequest),
    /// Lists the watches that ended last within `retain`, those that ended last first. [`Response::Jobs`].
    LastEnded {
        /// At most this number.
        limit: usize,
    },
    /// Describes the daemon. [`Response::Status`].
    Status,
    /// Reads what is measured. [`Response::Metrics`].
    Metrics {
        /// In the format of `OpenMetrics` rather than the older one of Prometheus.
        #[serde(default)]
        open_metrics: bool,
    },
    /// Compares the configuration in use with the file. [`Response::ReloadPreview`].
    PreviewReload,
    /// Shows a job's newest watch in detail. [`Response::Job`].
    Show { job: JobRef },
    /// Streams events. One [`Response::Event`] each.
    Events {
        /// Where to begin. An offset beyond the last event is an error.
        since: Since,
        /// Whether to continue with events that are committed later.
        #[serde(default)]
        follow: bool,
        #[serde(default)]
        filter: EventFilter,
    },
    /// Reloads the configuration file. [`Response::Done`] once it is applied.
    Reload,
    /// Lists the deliveries that are pending, running or failed. [`Response::Deliveries`].
    ListDeliveries,
    /// Retries a failed delivery. [`Response::Done`].
    RetryDelivery {
        /// Its [`DeliverySummary::id`].
        delivery: String,
    },
    /// Discards a failed delivery. [`Response::Done`].
    DiscardDelivery {
        /// Its [`DeliverySummary::id`].
        delivery: String,
    },
    /// Sends one event that is made up, without storing it. [`Response::HookTested`].
    TestHook(HookTestRequest),
    /// Discards a batch of failed deliveries; repeat it until the response is 0. [`Response::Discarded`].
    DiscardFailed,
}

impl Request {
    /// The name under which the request is logged; None for a request that changes nothing.
    pub fn action(&self) -> Option<&'static str> {
        match self {
            Self::Add { .. } => Some("add"),
            Self::Remove { .. } => Some("remove"),
            Self::Reload => Some("reload"),
            Self::RetryDelivery { .. } => Some("retry"),
            Self::TestHook(_) => Some("test"),
            Self::DiscardDelivery { .. } | Self::DiscardFailed => Some("discard"),
            Self::Status
            | Self::Metrics { .. }
            | Self::PreviewReload
            | Self::List(_)
            | Self::LastEnded { .. }
            | Self::Show { .. }
            | Self::Events { .. }
            | Self::ListDeliveries => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListRequest {
    /// Whether to include watches that ended within `retain`.
    pub all: bool,
    /// Only the newest watches of these jobs; of all jobs if empty.
    pub jobs: Vec<JobRef>,
    /// Only watches with all of these labels.
    pub labels: BTreeMap<String, String>,
    /// The most watches on a page, before the filter by labels; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// [`JobPage::next`] of the page before; absent for the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Which events a client receives: those that pass every part. An empty part passes all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventFilter {
    pub jobs: Vec<JobRef>,
    /// All of them.
    pub labels: BTreeMap<String, String>,
    /// Event types, or `job.*`.
    pub types: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidRequest {
    #[error("invalid request: {0}")]
    Invalid(#[from] serde_json::Error),
    /// The client uses another version of the protocol.
    #[error("the client uses version {0} of the control protocol, this daemon version {PROTOCOL}")]
    Version(u32),
    /// No newline within the limit.
    #[error("the request is longer than {} KiB", MAX_REQUEST / 1024)]
    TooLong,
    /// No newline before the end of the input.
    #[error("incomplete request: expected one line of JSON")]
    Incomplete,
}

/// Decodes a request from `frame`: the input up to its first newline or to [`MAX_REQUEST`] bytes, whichever comes first.
pub fn decode_request(frame: &[u8]) -> Result<Request, InvalidRequest> {
    match frame.last() {
        Some(b'\n') => {
            let frame: RequestFrame<&RawValue> = serde_json::from_slice(frame)?;
            if frame.protocol != PROTOCOL {
                return Err(InvalidRequest::Version(frame.protocol));
            }
            Ok(serde_json::from_str(frame.request.get())?)
        }
        _ if frame.len() >= MAX_REQUEST => Err(InvalidRequest::TooLong),
        _ => Err(InvalidRequest::Incomplete),
    }
}

/// Labels under the rules of the configuration file.
pub fn deserialize_labels<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let labels = BTreeMap::<String, String>::deserialize(d)?;
    let checked = labels
        .iter()
        .map(|(name, value)| validate_label(name, value));
    checked.collect::<Result<_, _>>().map_err(D::Error::custom)
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Add`], in the order of the request.
    Added(Vec<AddedJob>),
    /// To [`Request::Remove`].
    Removed {
        removed: Vec<JobRef>,
        /// Jobs that were not watched.
        unknown: Vec<JobRef>,
    },
    /// To [`Request::Status`].
    Status(Box<StatusReport>),
    /// To [`Request::Metrics`].
    Metrics { text: String },
    /// To [`Request::PreviewReload`].
    ReloadPreview(Box<ReloadPreview>),
    /// To [`Request::List`].
    Jobs(JobPage),
    /// To [`Request::Show`].
    Job(Box<JobDetails>),
    /// To [`Request::ListDeliveries`].
    Deliveries {
        /// Pending and running deliveries by hook and event, and the newest failed ones, oldest first.
        deliveries: Vec<DeliverySummary>,
        /// How many more there are.
        omitted: usize,
    },
    /// To [`Request::TestHook`].
    HookTested(Box<HookTestReport>),
    /// To [`Request::DiscardFailed`]: how many were discarded.
    Discarded(usize),
    /// To [`Request::Events`].
    Event {
        /// Its place among all events: rises, with gaps.
        offset: u64,
        /// Its log record as stored, a JSON object.
        record: Box<RawValue>,
    },
    /// The request is carried out, or the stream of events is complete.
    Done,
    /// To [`Request::Events`] with `follow`: all events up to this offset were sent, and the client waits for new ones.
    CaughtUp { offset: u64 },
    /// To [`Request::Events`] with `follow`: the daemon stops and sends no more events.
    Stopped,
    /// To [`Request::Events`]: `since` is beyond the last event, so the client knows another state file.
    UnknownOffset { offset: u64, last: u64 },
    /// The daemon cannot serve the request now: it is stopping, or too many clients are connected.
    Unavailable { message: String },
    /// The client uses another version of the protocol than this daemon.
    Incompatible {
        protocol: u32,
        /// The daemon's version of forgewatch.
        version: String,
    },
    /// The request failed and changed nothing.
    Error {
        /// At least one; each says what is wrong and how to correct it.
        messages: Vec<String>,
        #[serde(default)]
        kind: RequestErrorKind,
    },
}

/// What kind of error a request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestErrorKind {
    /// The request itself is wrong.
    #[default]
    Invalid,
    /// It names something that does not exist.
    NotFound,
    /// It does not fit the present state; it may later.
    Conflict,
    /// The daemon failed.
    Failed,
}

impl Response {
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable {
            message: message.into(),
        }
    }

    pub fn error(message: impl Into<String>) -> Self {
        Self::error_of(RequestErrorKind::Invalid, message)
    }

    pub fn error_of(kind: RequestErrorKind, message: impl Into<String>) -> Self {
        Self::Error {
            messages: vec![message.into()],
            kind,
        }
    }
}
