//! Requests as calls of the HTTP API, and its responses as those of the control socket.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};

use super::client_error::ClientError;
use super::protocol::record::split_offset;
use super::protocol::{
    AddedJob, DeliverySummary, EventFilter, JobDetails, JobPage, ListRequest, Request,
    RequestErrorKind, Response, Since,
};
use forgewatch_core::job::JobRef;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Delete,
}

/// A call of the API.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ApiCall {
    pub(super) method: Method,
    /// Segments behind `/api/v1`.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

impl ApiCall {
    fn new(method: Method, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|&segment| segment.to_owned()).collect(),
            query: Vec::new(),
            body: None,
        }
    }

    fn of_job(method: Method, job: JobRef) -> Self {
        Self::new(method, &["jobs", job.kind.as_str(), &job.id.to_string()])
    }

    /// The calls that carry out a request: one, except for the removal of several jobs. None if the API has none.
    pub(super) fn all_of(request: &Request) -> Option<Vec<Self>> {
        Some(vec![match request {
            Request::Add {
                jobs,
                labels,
                again,
            } => Self {
                body: Some(json!({ "jobs": jobs, "labels": labels, "again": again })),
                ..Self::new(Method::Post, &["jobs"])
            },
            Request::Remove { jobs } => {
                let remove = |&job| Self::of_job(Method::Delete, job);
                return Some(jobs.iter().map(remove).collect());
            }
            Request::List(list) => Self {
                query: list_query(list),
                ..Self::new(Method::Get, &["jobs"])
            },
            Request::Status => Self::new(Method::Get, &["status"]),
            Request::Show { job } => Self::of_job(Method::Get, *job),
            Request::Events {
                since,
                follow,
                filter,
            } => Self {
                query: events_query(*since, *follow, filter),
                ..Self::new(Method::Get, &["events"])
            },
            Request::Reload => Self::new(Method::Post, &["reload"]),
            Request::ListDeliveries => Self::new(Method::Get, &["deliveries"]),
            Request::RetryDelivery { delivery } => {
                Self::new(Method::Post, &["deliveries", delivery, "retry"])
            }
            Request::DiscardDelivery { delivery } => {
                Self::new(Method::Post, &["deliveries", delivery, "discard"])
            }
            Request::DiscardFailed => Self::new(Method::Post, &["deliveries", "discard"]),
            Request::LastEnded { .. }
            | Request::TestHook(_)
            | Request::Metrics { .. }
            | Request::PreviewReload => return None,
        }])
    }
}

fn list_query(list: &ListRequest) -> Vec<(&'static str, String)> {
    let jobs = list.jobs.iter().map(|job| ("job", job.to_string()));
    let labels = list.labels.iter();
    let labels = labels.map(|(name, value)| ("label", format!("{name}={value}")));
    let all = list.all.then(|| ("all", true.to_string()));
    let limit = list.limit.map(|limit| ("limit", limit.to_string()));
    let after = list.after.clone().map(|after| ("after", after));
    jobs.chain(labels)
        .chain(all)
        .chain(limit)
        .chain(after)
        .collect()
}

fn events_query(since: Since, follow: bool, filter: &EventFilter) -> Vec<(&'static str, String)> {
    let jobs = filter.jobs.iter().map(|job| ("job", job.to_string()));
    let labels = filter.labels.iter();
    let labels = labels.map(|(name, value)| ("label", format!("{name}={value}")));
    let types = filter.types.iter().map(|name| ("type", name.clone()));
    let since = match since {
        Since::Beginning => "0".to_owned(),
        Since::Now => "now".to_owned(),
        Since::After(offset) => offset.to_string(),
        Since::At(wall_ms) => {
            let since_epoch = Duration::from_millis(u64::try_from(wall_ms).unwrap_or(0));
            let at = SystemTime::UNIX_EPOCH + since_epoch;
            humantime::format_rfc3339_millis(at).to_string()
        }
    };
    let rest = [("since", since), ("follow", follow.to_string())];
    jobs.chain(labels).chain(types).chain(rest).collect()
}

#[derive(Deserialize)]
struct Added {
    added: Vec<AddedJob>,
}

#[derive(Deserialize)]
struct Deliveries {
    deliveries: Vec<DeliverySummary>,
    omitted: usize,
}

#[derive(Deserialize)]
struct Discarded {
    discarded: usize,
}

/// The response that a successful call stands for.
pub(super) fn response(request: &Request, body: &[u8]) -> Result<Response, ClientError> {
    let parsed = match request {
        Request::Add { .. } => {
            serde_json::from_slice(body).map(|Added { added }| Response::Added(added))
        }
        Request::List(_) => serde_json::from_slice::<JobPage>(body).map(Response::Jobs),
        Request::Status => serde_json::from_slice(body).map(Response::Status),
        Request::Show { .. } => {
            serde_json::from_slice::<JobDetails>(body).map(|job| Response::Job(Box::new(job)))
        }
        Request::ListDeliveries => serde_json::from_slice(body).map(
            |Deliveries {
                 deliveries,
                 omitted,
             }| {
                Response::Deliveries {
                    deliveries,
                    omitted,
                }
            },
        ),
        Request::DiscardFailed => serde_json::from_slice(body)
            .map(|Discarded { discarded }| Response::Discarded(discarded)),
        _ => Ok(Response::Done),
    };
    parsed.map_err(ClientError::InvalidResponse)
}

/// An error of the API. Proxies in between send other bodies.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ProblemBody {
    detail: String,
    errors: Vec<String>,
    offset: u64,
    last: u64,
}

/// The response or error that an error status stands for.
pub(super) fn problem(status: u16, body: &[u8]) -> Result<Response, ClientError> {
    let problem: ProblemBody = serde_json::from_slice(body).unwrap_or_default();
    let is_of_daemon = !problem.detail.is_empty();
    let text = match &*problem.detail {
        "" => format!("HTTP {status}"),
        detail => format!("HTTP {status}: {detail}"),
    };
    let kind = match status {
        401 | 403 => return Err(ClientError::Unauthorized(text)),
        416 if is_of_daemon => {
            return Err(ClientError::UnknownOffset {
                offset: problem.offset,
                last: problem.last,
            });
        }
        408 | 429 | 502..=504 => return Err(ClientError::Unavailable(text)),
        400 if is_of_daemon => RequestErrorKind::Invalid,
        404 if is_of_daemon => RequestErrorKind::NotFound,
        409 if is_of_daemon => RequestErrorKind::Conflict,
        500 if is_of_daemon => RequestErrorKind::Failed,
        _ => return Err(ClientError::NoApi(text)),
    };
    let messages = match &*problem.errors {
        [] => vec![problem.detail],
        errors => errors.to_vec(),
    };
    Ok(Response::Error { messages, kind })
}

/// A message of an event stream: its type, and its data.
pub(super) fn event(kind: &str, data: &str, follow: bool) -> Result<Response, ClientError> {
    #[derive(Deserialize)]
    struct CaughtUp {
        offset: u64,
    }
    match kind {
        "" => match split_offset(data) {
            Some((offset, record)) => Ok(Response::Event { offset, record }),
            None => Err(ClientError::NoApi("an event without an offset".to_owned())),
        },
        "caught_up" if !follow => Ok(Response::Done),
        "caught_up" => serde_json::from_str(data)
            .map(|CaughtUp { offset }| Response::CaughtUp { offset })
            .map_err(ClientError::InvalidResponse),
        "stopped" => Ok(Response::Stopped),
        _ => {
            let problem: ProblemBody = serde_json::from_str(data).unwrap_or_default();
            Ok(Response::error_of(RequestErrorKind::Failed, problem.detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str) -> JobRef {
        name.parse().unwrap()
    }

    #[test]
    fn a_request_is_a_call_of_the_api() {
        let filter = EventFilter {
            jobs: vec![job("diff/1")],
            labels: [("a".to_owned(), "b=c".to_owned())].into(),
            types: vec!["job.*".to_owned()],
        };
        let events = Request::Events {
            since: Since::At(1_800_000_000_500),
            follow: true,
            filter,
        };
        let list = Request::List(ListRequest {
            all: true,
            jobs: vec![job("diff/1"), job("update/2")],
            limit: Some(5),
            after: Some("x".to_owned()),
            ..ListRequest::default()
        });
        let remove = Request::Remove {
            jobs: vec![job("diff/1"), job("update/2")],
        };
        let retry = Request::RetryDelivery {
            delivery: "a5-1/chat".to_owned(),
        };
        let shown: Vec<String> = [events, list, remove, retry]
            .iter()
            .flat_map(|request| ApiCall::all_of(request).unwrap())
            .map(|call| format!("{:?} {:?} {:?}", call.method, call.path, call.query))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        Get ["events"] [("job", "diff/1"), ("label", "a=b=c"), ("type", "job.*"), ("since", "2027-01-15T08:00:00.500Z"), ("follow", "true")]
        Get ["jobs"] [("job", "diff/1"), ("job", "update/2"), ("all", "true"), ("limit", "5"), ("after", "x")]
        Delete ["jobs", "diff", "1"] []
        Delete ["jobs", "update", "2"] []
        Post ["deliveries", "a5-1/chat", "retry"] []
        "#);
    }

    #[test]
    fn an_error_of_a_proxy_in_between_is_none_of_the_daemon() {
        let unavailable = [502, 503, 504, 429].map(|status| problem(status, b"<html>"));
        for result in unavailable {
            assert!(
                matches!(result, Err(ClientError::Unavailable(_))),
                "{result:?}"
            );
        }
        for status in [200, 301, 400, 404, 405, 409, 416, 500] {
            let result = problem(status, b"<html>");
            assert!(matches!(result, Err(ClientError::NoApi(_))), "{result:?}");
        }
        let body = br#"{"status":404,"detail":"diff/1 is not watched"}"#;
        let Ok(Response::Error { messages, kind }) = problem(404, body) else {
            panic!("no error");
        };
        assert_eq!(
            (kind, &*messages[0]),
            (RequestErrorKind::NotFound, "diff/1 is not watched")
        );
        let body = br#"{"status":416,"detail":"x","offset":5,"last":3}"#;
        let result = problem(416, body);
        assert!(
            matches!(
                result,
                Err(ClientError::UnknownOffset { offset: 5, last: 3 })
            ),
            "{result:?}"
        );
    }
}
