//! Deliveries and the configuration.

use hyper::StatusCode;
use serde_json::json;

use super::problem::Problem;
use super::reply::{self, Reply};
use super::route::DeliveryAction;
use crate::control::DaemonHandle;
use crate::control::protocol::{Request, RequestErrorKind, Response};
use crate::store::DaemonStore;

pub(super) async fn deliveries<S: DaemonStore>(daemon: &DaemonHandle<S>) -> Result<Reply, Problem> {
    match daemon.call(Request::ListDeliveries).await {
        Response::Deliveries {
            deliveries,
            omitted,
        } => {
            let list = json!({ "deliveries": deliveries, "omitted": omitted });
            reply::json(StatusCode::OK, &list)
        }
        other => Err(Problem::of_response(other)),
    }
}

pub(super) async fn change_delivery<S: DaemonStore>(
    delivery: String,
    action: DeliveryAction,
    daemon: &DaemonHandle<S>,
) -> Result<Reply, Problem> {
    done(daemon.call(match action {
        DeliveryAction::Retry => Request::RetryDelivery { delivery },
        DeliveryAction::Discard => Request::DiscardDelivery { delivery },
    }))
    .await
}

/// Discards a batch of failed deliveries.
pub(super) async fn discard_failed<S: DaemonStore>(
    daemon: &DaemonHandle<S>,
) -> Result<Reply, Problem> {
    match daemon.call(Request::DiscardFailed).await {
        Response::Discarded(count) => reply::json(StatusCode::OK, &json!({ "discarded": count })),
        other => Err(Problem::of_response(other)),
    }
}

pub(super) async fn reload<S: DaemonStore>(daemon: &DaemonHandle<S>) -> Result<Reply, Problem> {
    let response = async {
        match daemon.call(Request::Reload).await {
            // The request is right; the file is not.
            Response::Error { messages, .. } => Response::Error {
                messages,
                kind: RequestErrorKind::Conflict,
            },
            other => other,
        }
    };
    done(response).await
}

async fn done(response: impl Future<Output = Response>) -> Result<Reply, Problem> {
    match response.await {
        Response::Done => Ok(reply::empty()),
        other => Err(Problem::of_response(other)),
    }
}
