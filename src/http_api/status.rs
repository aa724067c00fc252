//! Health, readiness and status of the daemon.

use hyper::StatusCode;
use serde::Serialize;

use super::problem::Problem;
use super::reply::{self, Reply};
use crate::control::DaemonHandle;
use crate::control::protocol::{ApiState, Request, Response, StatusReport};
use crate::store::DaemonStore;

/// Whether the loop of the daemon responds: a service manager restarts it otherwise.
#[derive(Serialize)]
struct Health {
    healthy: bool,
}

/// Whether the daemon can do its work.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    checks: Checks,
}

#[derive(Serialize)]
struct Checks {
    configuration: Check,
    store: Check,
    api: Check,
}

#[derive(Serialize)]
struct Check {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Check {
    fn failed_if(reason: Option<String>) -> Self {
        let ok = reason.is_none();
        Self { ok, reason }
    }
}

pub(super) async fn status<S: DaemonStore>(daemon: &DaemonHandle<S>) -> Result<Reply, Problem> {
    reply::json(StatusCode::OK, &report(daemon).await?)
}

pub(super) async fn healthy<S: DaemonStore>(daemon: &DaemonHandle<S>) -> Result<Reply, Problem> {
    match daemon.call(Request::Status).await {
        Response::Unavailable { message } => Err(Problem::unavailable(message)),
        // A store that fails is no reason for a restart.
        _ => reply::json(StatusCode::OK, &Health { healthy: true }),
    }
}

pub(super) async fn ready<S: DaemonStore>(daemon: &DaemonHandle<S>) -> Result<Reply, Problem> {
    let checks = checks(report(daemon).await?);
    let ready = checks.configuration.ok && checks.store.ok && checks.api.ok;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    reply::json(status, &Readiness { ready, checks })
}

pub(super) async fn report<S: DaemonStore>(
    daemon: &DaemonHandle<S>,
) -> Result<StatusReport, Problem> {
    match daemon.call(Request::Status).await {
        Response::Status(report) => Ok(*report),
        other => Err(Problem::of_response(other)),
    }
}

fn checks(report: StatusReport) -> Checks {
    let reload_errors = report.last_reload.map(|reload| reload.errors);
    let reload_errors = reload_errors.filter(|errors| !errors.is_empty());
    let api = match report.api.state {
        ApiState::Available => None,
        ApiState::Paused => Some("the API requested a pause"),
        ApiState::Unavailable => Some("the API is unavailable"),
    };
    let api = api.map(|what| match report.api.error_message {
        Some(why) => format!("{what}: {why}"),
        None => what.to_owned(),
    });
    Checks {
        configuration: Check::failed_if(
            reload_errors.map(|errors| format!("not reloaded: {}", errors.join("; "))),
        ),
        store: Check::failed_if(report.store.error_message),
        api: Check::failed_if(api),
    }
}
