//! The list of jobs, one job, and changes of both.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::input;
use super::problem::Problem;
use super::query::Query;
use super::reply::{self, Reply};
use crate::control::DaemonHandle;
use crate::control::event_stream::EventStream;
use crate::control::protocol::{
    ACTIVE_STATES, EventFilter, JobDetails, JobSummary, ListRequest, OUTCOMES, Request, Response,
    Since, deserialize_labels,
};
use crate::store::DaemonStore;
use forgewatch_core::event::EventType;
use forgewatch_core::job::{JobId, JobKind, JobRef};
use forgewatch_core::user_input::{parse_label, quoted};

/// The longest page.
const MAX_PAGE: usize = 500;
/// The longest time that a request waits for the end of a job.
const MAX_WAIT: Duration = Duration::from_mins(10);

pub(super) async fn list<S: DaemonStore>(
    query: Option<&str>,
    daemon: &DaemonHandle<S>,
) -> Result<Reply, Problem> {
    let query = Query::parse(query, &["job", "label", "state", "all", "limit", "after"])?;
    let states: Vec<&str> = query.read_all("state", known_state)?;
    let limit = query.read("limit", |text| {
        let limit = text.parse().ok().filter(|n| (1..=MAX_PAGE).contains(n));
        limit.ok_or_else(|| {
            let text = quoted(text);
            format!("expected a whole number from 1 to {MAX_PAGE}, found {text}")
        })
    })?;
    // An outcome is a state only of ended jobs.
    let all = query.switch("all", false)? || states.iter().any(|state| OUTCOMES.contains(state));
    let list = ListRequest {
        all,
        jobs: query.read_all("job", str::parse)?,
        labels: query.read_all("label", parse_label)?,
        limit,
        after: query.one("after")?.map(str::to_owned),
    };
    match daemon.call(Request::List(list)).await {
        Response::Jobs(mut page) => {
            let is_wanted = |job: &JobSummary| states.contains(&job.state_or_outcome());
            page.jobs.retain(|job| states.is_empty() || is_wanted(job));
            reply::json(StatusCode::OK, &page)
        }
        other => Err(Problem::of_response(other)),
    }
}

fn known_state(text: &str) -> Result<&'static str, String> {
    let known = [ACTIVE_STATES.as_slice(), &OUTCOMES].concat();
    let found = known.iter().copied().find(|state| *state == text);
    found.ok_or_else(|| {
        let (text, known) = (quoted(text), known.join(", "));
        format!("unknown state {text}; use one of {known}")
    })
}

/// The job that a path names.
pub(super) fn named(kind: &str, id: &str) -> Result<JobRef, Problem> {
    let Some(kind) = JobKind::ALL.into_iter().find(|k| k.as_str() == kind) else {
        let kinds = JobKind::ALL.map(JobKind::as_str).join(", ");
        let what = format!("expected one of {kinds}, found {}", quoted(kind));
        return Err(Problem::parameter("kind", what));
    };
    let id: Result<JobId, _> = id.parse();
    let id = id.map_err(|what| Problem::parameter("id", what))?;
    Ok(JobRef { kind, id })
}

/// How long the request waits for the end of the job.
fn wait_time(query: Option<&str>) -> Result<Option<Duration>, Problem> {
    Query::parse(query, &["wait"])?.read("wait", |text| {
        let wait = humantime::parse_duration(text).ok();
        wait.filter(|wait| *wait <= MAX_WAIT).ok_or_else(|| {
            let text = quoted(text);
            format!("expected a duration of up to 10m such as 60s, found {text}")
        })
    })
}

/// The newest watch of the job, once it has ended or `wait` is over.
pub(super) async fn show<S: DaemonStore>(
    kind: &str,
    id: &str,
    query: Option<&str>,
    daemon: &DaemonHandle<S>,
) -> Result<Reply, Problem> {
    let job = named(kind, id)?;
    let details = match wait_time(query)? {
        None => details(job, daemon).await?,
        Some(wait) => ended(job, Instant::now() + wait, daemon).await?,
    };
    reply::json(StatusCode::OK, &details)
}

pub(super) async fn details<S: DaemonStore>(
    job: JobRef,
    daemon: &DaemonHandle<S>,
) -> Result<Box<JobDetails>, Problem> {
    match daemon.call(Request::Show { job }).await {
        Response::Job(details) => Ok(details),
        other => Err(Problem::of_response(other)),
    }
}

async fn ended<S: DaemonStore>(
    job: JobRef,
    deadline: Instant,
    daemon: &DaemonHandle<S>,
) -> Result<Box<JobDetails>, Problem> {
    let unreadable = |error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error);
    // Before the first look at the job, so that no end is missed.
    let mut events = daemon.events(Since::Now).await.map_err(unreadable)?;
    let ending = EventType::ALL.into_iter();
    let ending = ending.filter(|kind| matches!(kind, EventType::Ended(_)));
    let filter = EventFilter {
        jobs: vec![job],
        types: ending.map(|kind| kind.as_str().to_owned()).collect(),
        ..EventFilter::default()
    };
    loop {
        let details = details(job, daemon).await?;
        if details.summary.outcome.is_some() {
            return Ok(details);
        }
        let ends = next_event(&mut events, &filter);
        match timeout_at(deadline, ends).await {
            Ok(true) => {}
            // It is over, or the daemon is stopping.
            _ => return self::details(job, daemon).await,
        }
    }
}

/// Waits for an event that passes; false if the daemon stops.
async fn next_event<S: DaemonStore>(events: &mut EventStream<S>, filter: &EventFilter) -> bool {
    loop {
        match events.page().await {
            Ok(page) if page.iter().any(|event| event.passes(filter)) => return true,
            // One commit can have more events than a page.
            Ok(page) if !page.is_empty() => {}
            Ok(_) if events.wait().await => {}
            _ => return false,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBody {
    jobs: Vec<JobRef>,
    #[serde(default, deserialize_with = "deserialize_labels")]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    again: bool,
}

pub(super) async fn add<S: DaemonStore>(
    request: hyper::Request<Incoming>,
    daemon: &DaemonHandle<S>,
) -> Result<Reply, Problem> {
    let AddBody {
        jobs,
        labels,
        again,
    } = input::json(request).await?;
    if jobs.is_empty() {
        return Err(Problem::parameter("jobs", "name at least one job"));
    }
    let add = Request::Add {
        jobs,
        labels,
        again,
    };
    match daemon.call(add).await {
        Response::Added(added) => reply::json(StatusCode::OK, &json!({ "added": added })),
        other => Err(Problem::of_response(other)),
    }
}

/// Responds once the end of the watch is stored.
pub(super) async fn remove<S: DaemonStore>(
    kind: &str,
    id: &str,
    daemon: &DaemonHandle<S>,
) -> Result<Reply, Problem> {
    let job = named(kind, id)?;
    match daemon.call(Request::Remove { jobs: vec![job] }).await {
        Response::Removed { unknown, .. } if unknown.is_empty() => Ok(reply::empty()),
        Response::Removed { .. } => Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("{job} is not watched"),
        )),
        other => Err(Problem::of_response(other)),
    }
}

#[cfg(test)]
mod tests {
    use forgewatch_core::event::{Event, EventFields, EventId, WatchId};
    use forgewatch_core::job::Outcome;
    use tokio::time::timeout;

    use super::*;
    use crate::control::RequestQueue;
    use crate::store::{Commit, InMemoryStore, Store};

    #[tokio::test(start_paused = true)]
    async fn an_end_behind_many_other_events_is_seen() {
        let store = InMemoryStore::default();
        let (requests, daemon) = RequestQueue::new(store.clone());
        let mut stream = daemon.events(Since::Now).await.unwrap();
        let ends: Vec<Event> = (1..=1_000)
            .map(|id| Event {
                id: EventId {
                    watch: WatchId([7; 16]),
                    seq: id,
                },
                kind: EventType::Ended(Outcome::Removed),
                wall_ms: 0,
                job: format!("diff/{id}").parse().ok(),
                meta: None,
                fields: EventFields::default(),
            })
            .collect();
        let commit = Commit {
            events: &ends,
            ..Commit::default()
        };
        store.commit(commit).await.unwrap();
        requests.notify_events();
        let filter = EventFilter {
            jobs: vec!["diff/1000".parse().unwrap()],
            ..EventFilter::default()
        };
        let seen = timeout(MAX_WAIT, next_event(&mut stream, &filter)).await;
        assert_eq!(seen, Ok(true));
        drop(requests);
        assert!(!next_event(&mut stream, &filter).await, "the daemon stops");
    }
}
