//! The state of the daemon as a whole, for clients.

use std::collections::BTreeMap;

use crate::control::protocol::{
    ApiReport, ApiState, DeliveryTotals, ReloadReport, Response, StatusReport, StoreReport,
};
use forgewatch_core::measurements::Measurements;
use forgewatch_core::time::millis;

/// `obstacle` says why nothing can be stored now.
pub(super) fn status(
    measured: &Measurements,
    obstacle: Option<&str>,
    instance: String,
    last_reload: Option<ReloadReport>,
) -> Response {
    let count = |n| u64::try_from(n).unwrap_or(u64::MAX);
    let mut jobs = BTreeMap::new();
    for (_, state, n) in measured.jobs.by_state().filter(|(.., n)| *n > 0) {
        *jobs.entry(state.as_str().to_owned()).or_default() += count(n);
    }
    let deliveries = measured.deliveries;
    let api = &measured.api;
    Response::Status(Box::new(StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance,
        started_at_ms: measured.started.wall_ms,
        uptime_ms: millis(measured.uptime()),
        api: ApiReport {
            state: match (api.is_down, api.paused_until_wall_ms) {
                (true, _) => ApiState::Unavailable,
                (false, Some(_)) => ApiState::Paused,
                (false, None) => ApiState::Available,
            },
            paused_until_ms: api.paused_until_wall_ms,
            error_message: api.error.as_ref().map(ToString::to_string),
            last_success_at_ms: measured.polls.last_success_wall_ms,
        },
        store: StoreReport {
            error_message: obstacle.map(str::to_owned),
        },
        jobs,
        unreachable: measured.jobs.unreachable().map(|(_, n)| count(n)).sum(),
        stalled: measured.jobs.stalled().map(|(_, n)| count(n)).sum(),
        deliveries: DeliveryTotals {
            pending: count(deliveries.pending),
            running: count(deliveries.running),
            failed: count(deliveries.failed),
        },
        last_reload,
    }))
}
