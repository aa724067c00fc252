//! Successful responses, and the headers of all.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::ApiBody;
use super::problem::{self, Problem};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) type Reply = Response<ApiBody>;

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Result<Reply, Problem> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    Ok(of_type(status, JSON, ApiBody::whole(bytes)))
}

/// The request is carried out.
pub(super) fn empty() -> Reply {
    let mut reply = Response::new(ApiBody::whole(""));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply
}

pub(super) fn of_type(status: StatusCode, content_type: HeaderValue, body: ApiBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    reply
}

pub(super) fn of_problem(mut problem: Problem) -> Reply {
    let (status, header, closes) = (problem.status, problem.header.take(), problem.closes);
    let content_type = HeaderValue::from_static(problem::CONTENT_TYPE);
    let mut reply = of_type(status, content_type, ApiBody::whole(problem.into_json()));
    reply.headers_mut().extend(header);
    if closes {
        let close = HeaderValue::from_static("close");
        reply.headers_mut().insert(header::CONNECTION, close);
    }
    reply
}

/// Nothing is cached, guessed, framed or loaded from elsewhere. A page sets a policy of its own.
pub(super) fn protect(headers: &mut HeaderMap) {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
}
