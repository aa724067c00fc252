//! The simulated API: its responses are slow, broken or wrong.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use forgewatch::clanforge::{Api, StatusResponse};
use forgewatch_core::job::JobRef;
use forgewatch_core::schedule::ServerKey;
use forgewatch_core::verdict::{ErrorKind, PollError};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::clock::EPOCH_MS;
use crate::faults::Fault;
use crate::jobs::{SimJob, StatusReply, random_jobs};
use crate::log::ApiRequest;
use crate::world::World;

/// The key of the simulated API's calibration.
pub(crate) fn server_key() -> ServerKey {
    ServerKey {
        api: "https://api.test".to_owned(),
        account_service_id: 1,
    }
}

/// Outlives the processes that poll it.
pub(crate) struct ApiServer {
    world: Rc<World>,
    pub(crate) jobs: BTreeMap<JobRef, SimJob>,
    /// Offset of its clock.
    skew_s: i64,
    /// The fault of every request, and its end in true time.
    outage: Cell<Option<(Fault, u64)>>,
}

/// The client of [`ApiServer`] that the daemon uses.
#[derive(Clone)]
pub(crate) struct SimApi(pub(crate) Rc<ApiServer>);

/// Faults of a single request.
const REQUEST_FAULTS: [Fault; 21] = [
    Fault::Dns,
    Fault::ConnectionRefused,
    Fault::ConnectTimeout,
    Fault::ResponseTimeout,
    Fault::Disconnected,
    Fault::Tls,
    Fault::ServerError,
    Fault::RateLimited,
    Fault::RateLimitedForSeconds,
    Fault::RateLimitedForHours,
    Fault::RateLimitedForZero,
    Fault::UnavailableUntil,
    Fault::Unauthorized,
    Fault::Forbidden,
    Fault::Redirect,
    Fault::Envelope,
    Fault::InvalidBody,
    Fault::TooLarge,
    Fault::SlowResponse,
    Fault::LargeResponse,
    Fault::WrongDate,
];

/// Faults of all requests during an outage.
const OUTAGE_FAULTS: [Fault; 8] = [
    Fault::Dns,
    Fault::ConnectionRefused,
    Fault::ConnectTimeout,
    Fault::ResponseTimeout,
    Fault::Disconnected,
    Fault::ServerError,
    Fault::Unauthorized,
    Fault::UnavailableUntil,
];

impl ApiServer {
    pub(crate) fn new(world: Rc<World>) -> Self {
        let skew = world.occurs(Fault::ServerSkew, 0.2);
        Self {
            jobs: random_jobs(&world),
            skew_s: if skew {
                world.draw(|rng| rng.pick(&[-3600, -90, 90, 3600]))
            } else {
                0
            },
            outage: Cell::new(None),
            world,
        }
    }

    /// Draws the fault of this request.
    fn fault(&self) -> Option<Fault> {
        let world = &self.world;
        let now = world.now_ms();
        if let Some((fault, until)) = self.outage.get() {
            if now < until && !world.faults_disabled() {
                return Some(fault);
            }
            self.outage.set(None);
        }
        if world.occurs(Fault::Outage, world.fault_rates.outage * 0.2) {
            let until = now + world.draw(|rng| rng.log_uniform(900_000));
            if let Some(fault) = world.pick_fault(&OUTAGE_FAULTS) {
                world.record_fault(Fault::Outage);
                self.outage.set(Some((fault, until)));
                return Some(fault);
            }
        }
        let fails = world.draw(|rng| rng.chance(world.fault_rates.api));
        if fails {
            world.pick_fault(&REQUEST_FAULTS)
        } else {
            None
        }
    }

    fn respond(&self, job: JobRef, fault: Option<Fault>) -> Result<StatusResponse, PollError> {
        let world = &self.world;
        if let Some(fault) = fault {
            world.record_fault(fault);
        }
        if let Some(error) = fault.and_then(|fault| self.poll_error(fault)) {
            return Err(error);
        }
        if self.skew_s != 0 {
            world.record_fault(Fault::ServerSkew);
        }
        let now = world.now_ms();
        let server_s = (EPOCH_MS + now.cast_signed()).div_euclid(1000) + self.skew_s;
        let status = match self
            .jobs
            .get(&job)
            .map(|process| process.reply_at(now, server_s, world))
        {
            Some(StatusReply::Status(status)) => *status,
            Some(StatusReply::NotFound) | None => {
                return Err(error(ErrorKind::NotFound, Some(404)));
            }
            Some(StatusReply::Gone) => return Err(error(ErrorKind::Gone, Some(410))),
        };
        let wrong = if fault == Some(Fault::WrongDate) {
            7_200
        } else {
            0
        };
        Ok(StatusResponse {
            status,
            date: Some(server_s + wrong),
            min_wait: if fault == Some(Fault::LargeResponse) {
                Duration::from_secs(40)
            } else {
                Duration::ZERO
            },
        })
    }

    /// The error that a fault causes; None if there is a status all the same. `retry_after` is what the real client returns:
    /// at most an hour, and None for zero.
    fn poll_error(&self, fault: Fault) -> Option<PollError> {
        let seconds = |n| Some(Duration::from_secs(n));
        let (kind, status, retry_after) = match fault {
            Fault::Dns => (ErrorKind::Dns, None, None),
            Fault::ConnectionRefused => (ErrorKind::Connect, None, None),
            Fault::ConnectTimeout | Fault::ResponseTimeout => (ErrorKind::Timeout, None, None),
            Fault::Disconnected => (ErrorKind::Disconnected, None, None),
            Fault::Tls => (ErrorKind::Tls, None, None),
            Fault::ServerError => (ErrorKind::Server, Some(500), None),
            Fault::RateLimited | Fault::RateLimitedForZero => {
                (ErrorKind::RateLimited, Some(429), None)
            }
            Fault::RateLimitedForSeconds => {
                let wait = self.world.draw(|rng| rng.log_uniform(120));
                (ErrorKind::RateLimited, Some(429), seconds(wait))
            }
            Fault::RateLimitedForHours => (ErrorKind::RateLimited, Some(429), seconds(3600)),
            Fault::UnavailableUntil => {
                let wait = self.world.draw(|rng| rng.log_uniform(600));
                (ErrorKind::Server, Some(503), seconds(wait))
            }
            Fault::Unauthorized => (ErrorKind::Unauthorized, Some(401), None),
            Fault::Forbidden => (ErrorKind::Forbidden, Some(403), None),
            Fault::Redirect => (ErrorKind::Redirect, Some(302), None),
            Fault::Envelope => (ErrorKind::Api, Some(200), None),
            Fault::InvalidBody => (ErrorKind::BadResponse, Some(200), None),
            Fault::TooLarge => (ErrorKind::TooLarge, Some(200), None),
            _ => return None,
        };
        Some(PollError {
            retry_after,
            ..error(kind, status)
        })
    }
}

fn error(kind: ErrorKind, http_status: Option<u16>) -> PollError {
    PollError {
        kind,
        http_status,
        message: format!("simulated: {kind}"),
        retry_after: None,
    }
}

/// A request in flight. Logs that it was canceled if it is dropped before its response.
struct OpenRequest<'a> {
    world: &'a World,
    number: usize,
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        let at = self.world.stamp();
        self.world.log(|log| {
            let request = &mut log.requests[self.number];
            if request.response.is_none() {
                request.canceled = Some(at);
            }
        });
    }
}

impl Api for SimApi {
    async fn poll(&self, job: JobRef, _: bool) -> Result<StatusResponse, PollError> {
        let server = &self.0;
        let world = &server.world;
        let sent = world.stamp();
        let process = world.current_process();
        let number = world.log(|log| {
            log.requests.push(ApiRequest {
                process,
                job,
                sent,
                response: None,
                canceled: None,
            });
            log.requests.len() - 1
        });
        let _open = OpenRequest { world, number };
        world.trace(|| format!("api: poll of {job}"));
        let fault = server.fault();
        yield_now().await;
        sleep(match fault {
            Some(Fault::ConnectTimeout) => Duration::from_secs(5),
            Some(Fault::ResponseTimeout) => Duration::from_secs(30),
            Some(Fault::SlowResponse) => {
                Duration::from_millis(world.draw(|rng| rng.between(5_000, 29_000)))
            }
            _ => Duration::from_millis(world.draw(|rng| rng.log_uniform(800))),
        })
        .await;
        let response = server.respond(job, fault);
        world.trace(|| match &response {
            Ok(StatusResponse { status, .. }) => format!(
                "api: {job}: state {:?}, progress {:?}, jobfailed {}",
                status.state, status.progress, status.failed
            ),
            Err(error) => format!("api: {job}: {error}, retry after {:?}", error.retry_after),
        });
        let result = response
            .as_ref()
            .map(|fetched| fetched.status.clone())
            .map_err(PollError::clone);
        let at = world.stamp();
        world.log(|log| log.requests[number].response = Some((at, result)));
        response
    }
}
