//! Which path serves what, by which methods.

use hyper::Method;
use percent_encoding::percent_decode_str;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The status page.
    Page,
    /// Its page of one job.
    JobPage {
        kind: String,
        id: String,
    },
    Healthy,
    Ready,
    Metrics,
    OpenApi,
    Status,
    Reload,
    Jobs,
    Job {
        kind: String,
        id: String,
    },
    Events,
    Deliveries,
    DiscardFailed,
    Delivery {
        id: String,
        action: DeliveryAction,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryAction {
    Retry,
    Discard,
}

/// For the error of an unknown path, and the test of the `OpenAPI` document.
pub(super) const PATHS: [&str; 13] = [
    "/-/healthy",
    "/-/ready",
    "/metrics",
    "/api/v1/openapi.json",
    "/api/v1/status",
    "/api/v1/reload",
    "/api/v1/jobs",
    "/api/v1/jobs/{kind}/{id}",
    "/api/v1/events",
    "/api/v1/deliveries",
    "/api/v1/deliveries/discard",
    "/api/v1/deliveries/{id}/retry",
    "/api/v1/deliveries/{id}/discard",
];

const GET: &[Method] = &[Method::GET, Method::HEAD];
const POST: &[Method] = &[Method::POST];

impl Route {
    pub(super) fn find(path: &str) -> Option<Self> {
        let decode = |segment| percent_decode_str(segment).decode_utf8().ok();
        let segments: Option<Vec<_>> = path.strip_prefix('/')?.split('/').map(decode).collect();
        let segments = segments?;
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        Some(match segments.as_slice() {
            [""] => Self::Page,
            ["jobs", kind, id] => Self::JobPage {
                kind: (*kind).to_owned(),
                id: (*id).to_owned(),
            },
            ["-", "healthy"] => Self::Healthy,
            ["-", "ready"] => Self::Ready,
            ["metrics"] => Self::Metrics,
            ["api", "v1", rest @ ..] => match rest {
                ["openapi.json"] => Self::OpenApi,
                ["status"] => Self::Status,
                ["reload"] => Self::Reload,
                ["jobs"] => Self::Jobs,
                ["jobs", kind, id] => Self::Job {
                    kind: (*kind).to_owned(),
                    id: (*id).to_owned(),
                },
                ["events"] => Self::Events,
                ["deliveries"] => Self::Deliveries,
                ["deliveries", "discard"] => Self::DiscardFailed,
                // An ID has a slash; some proxies decode it.
                ["deliveries", id @ .., action] if !id.is_empty() => Self::Delivery {
                    id: id.join("/"),
                    action: match *action {
                        "retry" => DeliveryAction::Retry,
                        "discard" => DeliveryAction::Discard,
                        _ => return None,
                    },
                },
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Also `HEAD` where there is `GET`.
    pub(super) fn methods(&self) -> &'static [Method] {
        match self {
            Self::Page
            | Self::JobPage { .. }
            | Self::Healthy
            | Self::Ready
            | Self::Metrics
            | Self::OpenApi
            | Self::Status
            | Self::Events
            | Self::Deliveries => GET,
            Self::Jobs => &[Method::GET, Method::HEAD, Method::POST],
            Self::Job { .. } => &[Method::GET, Method::HEAD, Method::DELETE],
            Self::Reload | Self::DiscardFailed | Self::Delivery { .. } => POST,
        }
    }

    /// Whether reading it has parameters.
    pub(super) fn has_parameters(&self) -> bool {
        matches!(
            self,
            Self::Page | Self::Jobs | Self::Job { .. } | Self::Events
        )
    }

    /// Whether reading it may take any time.
    pub(super) fn may_wait(&self, query: Option<&str>) -> bool {
        match self {
            Self::Events => true,
            Self::Job { .. } => query.is_some(),
            _ => false,
        }
    }

    /// Whether a browser shows it.
    pub(super) fn is_page(&self) -> bool {
        matches!(self, Self::Page | Self::JobPage { .. })
    }

    /// Whether probes of a service manager, which have no token, may read it.
    pub(super) fn is_public(&self) -> bool {
        matches!(self, Self::Healthy | Self::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_found() {
        for path in PATHS {
            let path = path.replace("{kind}", "diff").replace("{id}", "7");
            assert!(Route::find(&path).is_some(), "{path}");
        }
        let delivery = Some(Route::Delivery {
            id: "a5-1/chat".to_owned(),
            action: DeliveryAction::Retry,
        });
        for id in ["a5-1/chat", "a5-1%2Fchat", "a5%2d1%2fchat"] {
            let path = format!("/api/v1/deliveries/{id}/retry");
            assert_eq!(Route::find(&path), delivery, "{id}");
        }
    }

    #[test]
    fn nothing_else_is_found() {
        for path in [
            "",
            "/jobs/diff",
            "//",
            "*",
            "/api",
            "/api/v1",
            "/api/v1/",
            "/API/v1/jobs",
            "/api/v1/jobs/",
            "/api/v1/jobs/diff",
            "/api/v1/jobs/diff/1/2",
            "/api%2Fv1%2Fjobs",
            "/api/v1/deliveries/retry",
            "/api/v1/deliveries/a/b/c",
            "/-/healthy/../ready",
            "/%ff",
        ] {
            assert_eq!(Route::find(path), None, "{path}");
        }
    }
}
