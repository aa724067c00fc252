//! The body of a request.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::Problem;

/// The longest body.
const MAX_BODY: usize = 64 * 1024;
/// Time limit for sending it.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a JSON body. A form of a page in a browser cannot send its type.
pub(super) async fn json<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Problem> {
    if !is_json(request.headers()) {
        let what = "expected a body with Content-Type: application/json";
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what).closing();
        return Err(
            problem.with_header(header::ACCEPT, HeaderValue::from_static("application/json"))
        );
    }
    let body = request.into_body();
    let too_large = || {
        let what = format!("the body is longer than {} KiB; split it", MAX_BODY / 1024);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, what).closing()
    };
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let body = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    let body = body.map_err(|_| {
        let what = format!(
            "no complete body received within {} s",
            BODY_TIMEOUT.as_secs()
        );
        Problem::new(StatusCode::REQUEST_TIMEOUT, what).closing()
    })?;
    let body = body.map_err(|_| too_large())?.to_bytes();
    serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("invalid body: {error}")))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
