//! What is measured, for Prometheus.

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};

use super::body::ApiBody;
use super::problem::Problem;
use super::reply::{self, Reply};
use crate::control::DaemonHandle;
use crate::control::protocol::{Request, Response};
use crate::metrics::TextFormat;
use crate::store::DaemonStore;

pub(super) async fn metrics<S: DaemonStore>(
    headers: &HeaderMap,
    daemon: &DaemonHandle<S>,
) -> Result<Reply, Problem> {
    let accept = headers.get_all(header::ACCEPT).into_iter();
    let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
    let format = TextFormat::negotiate(&accept.join(","));
    let open_metrics = format == TextFormat::OpenMetrics;
    match daemon.call(Request::Metrics { open_metrics }).await {
        Response::Metrics { text } => Ok(reply::of_type(
            StatusCode::OK,
            HeaderValue::from_static(format.content_type()),
            ApiBody::whole(text),
        )),
        other => Err(Problem::of_response(other)),
    }
}
