//! The simulated API: slow, broken, or plainly lying.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use forgewatch::clanforge::{Api, StatusResponse};
use forgewatch_core::job::JobRef;
use forgewatch_core::verdict::{ErrorKind, PollError};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::clock::EPOCH_MS;
use crate::faults::Fault;
use crate::jobs::{Life, Said, populate};
use crate::log::Request;
use crate::world::World;

/// The server: it outlives the processes that ask it.
pub(crate) struct Server {
    world: Rc<World>,
    pub(crate) jobs: BTreeMap<JobRef, Life>,
    /// How far its clock is off, seconds.
    skew_s: i64,
    /// With what every request fails, and until when.
    outage: Cell<Option<(Fault, u64)>>,
}

/// The way to it.
#[derive(Clone)]
pub(crate) struct SimApi(pub(crate) Rc<Server>);

/// What a single request can meet.
const ON_THE_WAY: [Fault; 21] = [
    Fault::Dns,
    Fault::ConnectionRefused,
    Fault::BlackHole,
    Fault::NoAnswer,
    Fault::Disconnected,
    Fault::Tls,
    Fault::ServerError,
    Fault::RateLimited,
    Fault::RateLimitedForSeconds,
    Fault::RateLimitedForHours,
    Fault::RateLimitedForNothing,
    Fault::UnavailableUntil,
    Fault::Unauthorized,
    Fault::Forbidden,
    Fault::Redirect,
    Fault::Envelope,
    Fault::Rubbish,
    Fault::TooLarge,
    Fault::SlowAnswer,
    Fault::LargeAnswer,
    Fault::WrongDate,
];

/// What all requests can meet for a while.
const OF_AN_OUTAGE: [Fault; 8] = [
    Fault::Dns,
    Fault::ConnectionRefused,
    Fault::BlackHole,
    Fault::NoAnswer,
    Fault::Disconnected,
    Fault::ServerError,
    Fault::Unauthorized,
    Fault::UnavailableUntil,
];

impl Server {
    pub(crate) fn new(world: Rc<World>) -> Self {
        let skew = world.may(Fault::ServerSkew, 0.2);
        Self {
            jobs: populate(&world),
            skew_s: if skew {
                world.roll(|rng| rng.pick(&[-3600, -90, 90, 3600]))
            } else {
                0
            },
            outage: Cell::new(None),
            world,
        }
    }

    /// What this request meets; None is nothing.
    fn fault(&self) -> Option<Fault> {
        let world = &self.world;
        let now = world.now_ms();
        if let Some((fault, until)) = self.outage.get() {
            if now < until && !world.is_calm() {
                return Some(fault);
            }
            self.outage.set(None);
        }
        if world.may(Fault::Outage, world.moods.outage * 0.2) {
            let until = now + world.roll(|rng| rng.spread(900_000));
            if let Some(fault) = world.one_of(&OF_AN_OUTAGE) {
                world.hit(Fault::Outage);
                self.outage.set(Some((fault, until)));
                return Some(fault);
            }
        }
        let fails = world.roll(|rng| rng.chance(world.moods.api));
        if fails {
            world.one_of(&ON_THE_WAY)
        } else {
            None
        }
    }

    fn answer(&self, job: JobRef, fault: Option<Fault>) -> Result<StatusResponse, PollError> {
        let world = &self.world;
        if let Some(fault) = fault {
            world.hit(fault);
        }
        if let Some(error) = fault.and_then(|fault| self.failure(fault)) {
            return Err(error);
        }
        if self.skew_s != 0 {
            world.hit(Fault::ServerSkew);
        }
        let now = world.now_ms();
        let server_s = (EPOCH_MS + now.cast_signed()).div_euclid(1000) + self.skew_s;
        let status = match self
            .jobs
            .get(&job)
            .map(|life| life.say(now, server_s, world))
        {
            Some(Said::Status(status)) => *status,
            Some(Said::NotFound) | None => return Err(error(ErrorKind::NotFound, Some(404))),
            Some(Said::Gone) => return Err(error(ErrorKind::Gone, Some(410))),
        };
        let wrong = if fault == Some(Fault::WrongDate) {
            7_200
        } else {
            0
        };
        Ok(StatusResponse {
            status,
            date: Some(server_s + wrong),
            at_least: if fault == Some(Fault::LargeAnswer) {
                Duration::from_secs(40)
            } else {
                Duration::ZERO
            },
        })
    }

    /// The failure that a fault is; None where there is a status all the same. `Retry-After` is what the client makes of
    /// it: an hour at most, nothing of nothing.
    fn failure(&self, fault: Fault) -> Option<PollError> {
        let seconds = |n| Some(Duration::from_secs(n));
        let (kind, status, retry_after) = match fault {
            Fault::Dns => (ErrorKind::Dns, None, None),
            Fault::ConnectionRefused => (ErrorKind::Connect, None, None),
            Fault::BlackHole | Fault::NoAnswer => (ErrorKind::Timeout, None, None),
            Fault::Disconnected => (ErrorKind::Disconnected, None, None),
            Fault::Tls => (ErrorKind::Tls, None, None),
            Fault::ServerError => (ErrorKind::Server, Some(500), None),
            Fault::RateLimited | Fault::RateLimitedForNothing => {
                (ErrorKind::RateLimited, Some(429), None)
            }
            Fault::RateLimitedForSeconds => {
                let wait = self.world.roll(|rng| rng.spread(120));
                (ErrorKind::RateLimited, Some(429), seconds(wait))
            }
            Fault::RateLimitedForHours => (ErrorKind::RateLimited, Some(429), seconds(3600)),
            Fault::UnavailableUntil => {
                let wait = self.world.roll(|rng| rng.spread(600));
                (ErrorKind::Server, Some(503), seconds(wait))
            }
            Fault::Unauthorized => (ErrorKind::Unauthorized, Some(401), None),
            Fault::Forbidden => (ErrorKind::Forbidden, Some(403), None),
            Fault::Redirect => (ErrorKind::Redirect, Some(302), None),
            Fault::Envelope => (ErrorKind::Api, Some(200), None),
            Fault::Rubbish => (ErrorKind::BadResponse, Some(200), None),
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

/// A request under way; dropped before its answer, it says so.
struct Open<'a> {
    world: &'a World,
    number: usize,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let at = self.world.stamp();
        self.world.log(|log| {
            let request = &mut log.requests[self.number];
            if request.answer.is_none() {
                request.dropped = Some(at);
            }
        });
    }
}

impl Api for SimApi {
    async fn ask(&self, job: JobRef, _: bool) -> Result<StatusResponse, PollError> {
        let server = &self.0;
        let world = &server.world;
        let asked = world.stamp();
        let life = world.life();
        let number = world.log(|log| {
            log.requests.push(Request {
                life,
                job,
                asked,
                answer: None,
                dropped: None,
            });
            log.requests.len() - 1
        });
        let _open = Open { world, number };
        world.trace(|| format!("api: asked for {job}"));
        let fault = server.fault();
        yield_now().await;
        sleep(match fault {
            Some(Fault::BlackHole) => Duration::from_secs(5),
            Some(Fault::NoAnswer) => Duration::from_secs(30),
            Some(Fault::SlowAnswer) => {
                Duration::from_millis(world.roll(|rng| rng.between(5_000, 29_000)))
            }
            _ => Duration::from_millis(world.roll(|rng| rng.spread(800))),
        })
        .await;
        let answer = server.answer(job, fault);
        world.trace(|| match &answer {
            Ok(StatusResponse { status, .. }) => format!(
                "api: {job} is {:?}, {:?} %, failed {}",
                status.state, status.progress, status.failed
            ),
            Err(error) => format!(
                "api: {job} fails: {error}, retry after {:?}",
                error.retry_after
            ),
        });
        let told = answer
            .as_ref()
            .map(|fetched| fetched.status.clone())
            .map_err(PollError::clone);
        let at = world.stamp();
        world.log(|log| log.requests[number].answer = Some((at, told)));
        answer
    }
}
