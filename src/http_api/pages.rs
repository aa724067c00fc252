//! Collects what the status page shows.

use std::collections::BTreeMap;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde::Deserialize;

use super::body::ApiBody;
use super::jobs::{details, named};
use super::problem::Problem;
use super::query::Query;
use super::reply::{self, Reply};
use super::status::report;
use super::status_page::{
    CONTENT_SECURITY_POLICY, DaemonHealth, Filter, ListPage, RenderError, job_page, rows,
};
use crate::control::DaemonHandle;
use crate::control::protocol::{
    ApiState, JobPage, JobSummary, ListRequest, Request, Response, StatusReport,
};
use crate::store::DaemonStore;
use forgewatch_core::job::JobRef;
use forgewatch_core::time::{rfc3339_ms, span_in_seconds};

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// How many rows one request may name: the script requests no more.
const MAX_ROWS: usize = 100;
/// How many ended jobs the list has.
const LAST_ENDED: usize = 100;
/// How many of them are shown with their error.
const MAX_FAILURES: usize = 20;

/// The list of jobs; with the parameter `rows`, only the rows of the jobs that it names.
pub(super) async fn list<S: DaemonStore>(
    query: Option<&str>,
    daemon: &DaemonHandle<S>,
) -> Result<Reply, Problem> {
    let query = Query::parse(query, &["q", "label", "state", "rows"])?;
    let text = |name| query.one(name).map(Option::unwrap_or_default);
    let filter = Filter::new(text("q")?, text("label")?, text("state")?);
    if let Some(names) = query.one("rows")? {
        let jobs: Result<Vec<JobRef>, _> = names.split(',').map(str::parse).collect();
        let jobs = jobs.map_err(|what| Problem::parameter("rows", what))?;
        if jobs.len() > MAX_ROWS {
            let what = format!("expected up to {MAX_ROWS} jobs, found {}", jobs.len());
            return Err(Problem::parameter("rows", what));
        }
        let request = ListRequest {
            all: true,
            jobs,
            ..ListRequest::default()
        };
        let page = call_list(Request::List(request), daemon).await?;
        return html(rows(&page.jobs, &filter));
    }
    let status = report(daemon).await?;
    let mut running = Vec::new();
    let mut after = None;
    loop {
        let request = ListRequest {
            after,
            ..ListRequest::default()
        };
        let page = call_list(Request::List(request), daemon).await?;
        running.extend(page.jobs);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let ended = call_list(Request::LastEnded { limit: LAST_ENDED }, daemon)
        .await?
        .jobs;
    let (deliveries, omitted) = match daemon.call(Request::ListDeliveries).await {
        Response::Deliveries {
            deliveries,
            omitted,
        } => (deliveries, omitted),
        other => return Err(Problem::of_response(other)),
    };
    let page = ListPage {
        failures: failures(&ended, daemon).await?,
        instance: status.instance.clone(),
        running,
        ended,
        deliveries,
        omitted,
        health: health(&status),
        now_ms: now_ms(&status),
    };
    html(page.render(&filter))
}

/// The page of one job.
pub(super) async fn job<S: DaemonStore>(
    kind: &str,
    id: &str,
    daemon: &DaemonHandle<S>,
) -> Result<Reply, Problem> {
    let job = details(named(kind, id)?, daemon).await?;
    let status = report(daemon).await?;
    html(job_page(&job, &status.instance, now_ms(&status)))
}

fn html(page: Result<String, RenderError>) -> Result<Reply, Problem> {
    let fail = |error: &dyn std::error::Error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    let page = page.map_err(|error| fail(&error))?;
    let mut reply = reply::of_type(StatusCode::OK, HTML, ApiBody::whole(page));
    let policy = HeaderValue::from_str(&CONTENT_SECURITY_POLICY).map_err(|error| fail(&error))?;
    reply
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(reply)
}

async fn call_list<S: DaemonStore>(
    request: Request,
    daemon: &DaemonHandle<S>,
) -> Result<JobPage, Problem> {
    match daemon.call(request).await {
        Response::Jobs(page) => Ok(page),
        other => Err(Problem::of_response(other)),
    }
}

/// The errors of the jobs that failed last, from their ending events.
async fn failures<S: DaemonStore>(
    ended: &[JobSummary],
    daemon: &DaemonHandle<S>,
) -> Result<BTreeMap<JobRef, String>, Problem> {
    #[derive(Deserialize)]
    struct EndRecord {
        error_message: Option<String>,
    }
    let failed = ended
        .iter()
        .filter(|job| job.outcome.as_deref() == Some("failed"));
    let mut failures = BTreeMap::new();
    for job in failed.take(MAX_FAILURES) {
        let details = details(job.job, daemon).await?;
        // Another watch of the job may have begun.
        if details.summary.watch != job.watch {
            continue;
        }
        let record = details.events.last().map(|record| record.get());
        let ending = record.and_then(|record| serde_json::from_str::<EndRecord>(record).ok());
        let error = ending.and_then(|ending| ending.error_message);
        failures.insert(job.job, error.unwrap_or_default());
    }
    Ok(failures)
}

/// What hinders the daemon, or when it polled last.
fn health(status: &StatusReport) -> DaemonHealth {
    let bad = |what: &str, error: Option<&String>| DaemonHealth {
        text: match error {
            Some(error) => format!("{what}: {error}"),
            None => format!("{what}."),
        },
        is_bad: true,
    };
    let good = |text| DaemonHealth {
        text,
        is_bad: false,
    };
    let (store_error, api) = (&status.store.error_message, &status.api);
    let api_error = api.error_message.as_ref();
    match (api.state, api.last_success_at_ms) {
        _ if store_error.is_some() => bad("The state cannot be written", store_error.as_ref()),
        (ApiState::Paused, _) => {
            let until = api.paused_until_ms.map(rfc3339_ms);
            let until = until.map(|at| format!(" until {at}")).unwrap_or_default();
            bad(&format!("The API requested a pause{until}"), api_error)
        }
        (ApiState::Unavailable, _) => bad("The API is unavailable", api_error),
        (ApiState::Available, Some(at)) => {
            let ago = now_ms(status).saturating_sub(at).max(0).unsigned_abs();
            let ago = span_in_seconds(ago);
            good(format!(
                "The API is available; the last poll was {ago} ago."
            ))
        }
        (ApiState::Available, None) => good("No job has been polled yet.".to_owned()),
    }
}

/// The daemon's time, Unix milliseconds.
fn now_ms(status: &StatusReport) -> i64 {
    status
        .started_at_ms
        .saturating_add_unsigned(status.uptime_ms)
}
