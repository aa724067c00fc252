//! The state of the daemon as a whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Unknown and inapplicable fields are absent. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The daemon's version of forgewatch.
    pub version: String,
    /// Its name in events.
    pub instance: String,
    pub started_at_ms: i64,
    pub uptime_ms: u64,
    pub api: ApiReport,
    pub store: StoreReport,
    /// Watched jobs by state; `unknown` before the first status.
    pub jobs: BTreeMap<String, u64>,
    /// How many of them cannot be polled.
    pub unreachable: u64,
    /// How many of them have not changed for `stalled_after`.
    pub stalled: u64,
    pub deliveries: DeliveryTotals,
    /// The last reload since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<ReloadReport>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiReport {
    pub state: ApiState,
    /// When the pause ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until_ms: Option<i64>,
    /// Why it is paused or unavailable. Untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The last poll that worked, since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at_ms: Option<i64>,
}

/// Whether Clanforge is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiState {
    /// Polls go out as they are due.
    Available,
    /// The server requested a pause.
    Paused,
    /// Polls of all jobs fail: only probes go out.
    Unavailable,
}

/// Whether the state can be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// Why not; absent if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// Deliveries that are not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryTotals {
    pub pending: u64,
    pub running: u64,
    pub failed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    pub at_ms: i64,
    /// Why the file was not applied; empty if it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}
