//! Checks a request and passes it to the part that serves its path.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::sync::Semaphore;

use super::access::Access;
use super::body::ApiBody;
use super::paced_stream::{Activity, Sending};
use super::problem::Problem;
use super::query::Query;
use super::reply::{self, Reply};
use super::route::{PATHS, Route};
use super::{actions, events, jobs, metrics, pages, status};
use crate::control::DaemonHandle;
use crate::store::DaemonStore;

/// How many requests are served at once: each response is held in memory until its client has read it.
const MAX_REQUESTS: usize = 16;
/// How many may stream events or wait for a job, which takes any time.
const MAX_STREAMS: usize = 224;

const OPENAPI: &str = include_str!("../../config/schema/openapi.json");

pub(super) struct ApiService<S> {
    daemon: DaemonHandle<S>,
    pub(super) access: RefCell<Rc<Access>>,
    /// Limits the requests that are served at once.
    permits: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// Where a request comes from and arrived at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

impl<S: DaemonStore> ApiService<S> {
    pub(super) fn new(daemon: DaemonHandle<S>, access: Access) -> Self {
        Self {
            daemon,
            access: RefCell::new(Rc::new(access)),
            permits: Arc::new(Semaphore::new(MAX_REQUESTS)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }

    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        addresses: Addresses,
        activity: &Rc<Activity>,
    ) -> Reply {
        let mut sending = Sending::new(activity);
        let result = match self.check(&request, addresses) {
            Ok(route) => self.serve(&route, request, &mut sending).await,
            Err(problem) => Err(problem),
        };
        let mut reply = result.unwrap_or_else(reply::of_problem);
        reply::protect(reply.headers_mut());
        reply.map(|body| body.holding(sending))
    }

    fn check(&self, request: &Request<Incoming>, addresses: Addresses) -> Result<Route, Problem> {
        let access = Rc::clone(&self.access.borrow());
        if request.uri().authority().is_some() || !request.uri().path().starts_with('/') {
            let what = "expected a path as the target, such as /api/v1/jobs; this is no proxy";
            return Err(Problem::bad_request(what).closing());
        }
        access.check_host(request.headers(), addresses.local)?;
        // A body of a length that is not known is how requests are smuggled past proxies.
        if request.headers().contains_key(header::TRANSFER_ENCODING) {
            let what = "expected a Content-Length instead of Transfer-Encoding";
            return Err(Problem::new(StatusCode::LENGTH_REQUIRED, what).closing());
        }
        let route = Route::find(request.uri().path());
        let is_public = route.as_ref().is_some_and(Route::is_public);
        if access.protects_reads && !is_public {
            let is_page = route.as_ref().is_some_and(Route::is_page);
            access.check_reader(request.headers(), is_page)?;
        }
        let route = route.ok_or_else(|| {
            let what = "no such path; /api/v1/openapi.json describes the API";
            Problem::new(StatusCode::NOT_FOUND, what).with("paths", PATHS.to_vec())
        })?;
        if !route.methods().contains(request.method()) {
            return Err(wrong_method(&route));
        }
        if !is_read(request) {
            access.check_token(request.headers())?;
            let (method, path) = (request.method(), request.uri().path());
            tracing::debug!(
                target: "forgewatch::http",
                peer = %addresses.peer,
                "request from a client: {method} {path}"
            );
        }
        Ok(route)
    }

    async fn serve(
        &self,
        route: &Route,
        request: Request<Incoming>,
        sending: &mut Sending,
    ) -> Result<Reply, Problem> {
        let daemon = &self.daemon;
        let is_read = is_read(&request);
        let query = request.uri().query();
        if !(is_read && route.has_parameters()) {
            Query::parse(query, &[])?;
        }
        sending.hold(if is_read && route.may_wait(query) {
            let permit = Arc::clone(&self.streams).try_acquire_owned();
            permit.map_err(|_| Problem::unavailable("too many clients are waiting for events"))?
        } else {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            // The semaphore is never closed.
            permit.map_err(Problem::unavailable)?
        });
        match route {
            Route::Page => pages::list(query, daemon).await,
            Route::JobPage { kind, id } => pages::job(kind, id, daemon).await,
            Route::Healthy => status::healthy(daemon).await,
            Route::Ready => status::ready(daemon).await,
            Route::Metrics => metrics::metrics(request.headers(), daemon).await,
            Route::Status => status::status(daemon).await,
            Route::OpenApi => Ok(reply::of_type(
                StatusCode::OK,
                reply::JSON,
                ApiBody::whole(OPENAPI),
            )),
            Route::Reload => actions::reload(daemon).await,
            Route::Jobs if is_read => jobs::list(query, daemon).await,
            Route::Jobs => jobs::add(request, daemon).await,
            Route::Job { kind, id } if is_read => jobs::show(kind, id, query, daemon).await,
            Route::Job { kind, id } => jobs::remove(kind, id, daemon).await,
            Route::Events => events::stream(query, request.headers(), daemon).await,
            Route::Deliveries => actions::deliveries(daemon).await,
            Route::DiscardFailed => actions::discard_failed(daemon).await,
            Route::Delivery { id, action } => {
                actions::change_delivery(id.clone(), *action, daemon).await
            }
        }
    }
}

fn is_read<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

fn wrong_method(route: &Route) -> Problem {
    let methods: Vec<&str> = route.methods().iter().map(Method::as_str).collect();
    let methods = methods.join(", ");
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("expected one of the methods {methods}"),
    );
    match HeaderValue::from_str(&methods) {
        Ok(allow) => problem.with_header(header::ALLOW, allow),
        Err(_) => problem,
    }
}
