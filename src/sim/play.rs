//! Plays a script: request and time in, response out.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::answer::{self, Times};
use super::body::{Body, Piece};
use super::dice::Dice;
use super::eta::Guesser;
use super::fault::{Fault, Kind};
use super::http::Request;
use super::life::{Job, Start};
use super::mishap::{self, json};
use super::script::Script;
use super::wire::{Manner, Response};
use crate::core::job::JobRef;

/// The last second HTTP can write: the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// One request, as the server saw it.
#[derive(Clone, Debug)]
pub struct Hit {
    /// When, in milliseconds since the server's start.
    pub at: u64,
    /// The job it asked for, if its path named one; the script need not know it.
    pub job: Option<JobRef>,
    /// Which request for that job this was, from 1; of those without a job, which of them.
    pub n: u64,
    /// `GET`.
    pub method: String,
    /// Path and query as sent, or a whole URL where the client took the server for a proxy.
    pub target: String,
    /// In the order sent, credentials included.
    pub headers: Vec<(String, String)>,
    /// What was answered: the status, and how it travelled where that is out of the ordinary.
    pub served: String,
}

impl Hit {
    /// The value of the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A script being played. Times are milliseconds since the start.
#[derive(Debug)]
pub(super) struct Play {
    script: Script,
    speed: f64,
    /// The wall clock at the start, Unix milliseconds.
    started_wall_ms: i64,
    /// Requests so far.
    total: u64,
    asked: BTreeMap<Option<JobRef>, u64>,
    running: BTreeMap<JobRef, Running>,
}

/// What a server remembers of a job.
#[derive(Debug)]
struct Running {
    /// Where the job is in the script.
    index: usize,
    /// When its time began, once it has.
    start: Option<f64>,
    guesser: Guesser,
}

/// What to answer, how, and the record of it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) response: Response,
    pub(super) manner: Manner,
    pub(super) hit: Hit,
}

impl Play {
    pub(super) fn new(script: Script, speed: f64, started_wall_ms: i64) -> Self {
        let running = script.jobs.iter().enumerate().map(|(index, job)| {
            // a stream apart from the one that drew the parameters
            let dice = Dice::new(script.seed, &format!("{} noise", job.name));
            let start = (job.start == Start::ServerStart).then_some(0.0);
            (
                job.name,
                Running {
                    index,
                    start,
                    guesser: Guesser::new(job.eta, dice),
                },
            )
        });
        Self {
            running: running.collect(),
            script,
            speed,
            started_wall_ms,
            total: 0,
            asked: BTreeMap::new(),
        }
    }

    /// Answers a request that arrived at `now`.
    pub(super) fn reply(&mut self, request: &Request, now: f64) -> io::Result<Reply> {
        let name = request.job();
        self.total += 1;
        let asked = self.asked.entry(name).or_default();
        *asked += 1;
        let n = *asked;
        if let Some(running) = name.and_then(|name| self.running.get_mut(&name)) {
            running.start.get_or_insert(now);
        }
        let faults = self.faults(name, n);
        let manner = mishap::manner(&faults, self.speed);
        let date = |ahead_ms| self.date(now, ahead_ms);
        let instead = faults
            .iter()
            .find_map(|kind| mishap::instead(kind, date).transpose());
        let mut response = match instead {
            Some(response) => response?,
            None => self.answer(request, name, now),
        };
        let ahead_ms = self.script.date_offset_ms + mishap::date_shift(&faults);
        response.headers.push(("Date", self.date(now, ahead_ms)));
        response.headers.extend(mishap::padding(&faults));
        let hit = Hit {
            at: now as u64,
            job: name,
            n,
            method: request.method.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            served: mishap::served(response.status, &manner),
        };
        Ok(Reply {
            response,
            manner,
            hit,
        })
    }

    /// When a job's time ran out, if it has.
    pub(super) fn ended_at(&self, name: JobRef, now: f64) -> Option<f64> {
        let running = self.running.get(&name)?;
        let job = self.script.jobs.get(running.index)?;
        let end = running.start? + 1000.0 * (job.appears_after + job.duration) / self.speed;
        (end <= now).then_some(end)
    }

    /// The faults that meet the `n`th request of a job: the job's own first, then everybody's.
    fn faults(&self, name: Option<JobRef>, n: u64) -> Vec<Kind> {
        let job = name
            .and_then(|name| self.running.get(&name))
            .and_then(|r| self.script.jobs.get(r.index));
        let own = job.map_or([].as_slice(), |job| &job.faults);
        let hit = |faults: &[Fault], n| -> Vec<Kind> {
            faults
                .iter()
                .filter(|f| f.requests.contains(n))
                .map(|f| f.kind.clone())
                .collect()
        };
        [hit(own, n), hit(&self.script.faults, self.total)].concat()
    }

    /// The answer of a server without faults.
    fn answer(&mut self, request: &Request, name: Option<JobRef>, now: f64) -> Response {
        let refused =
            |status, message: &str| json(status, answer::envelope(i64::from(status), message));
        if request.method != "GET" {
            let mut response = refused(405, "method not allowed");
            response.headers.push(("Allow", "GET".to_owned()));
            return response;
        }
        let Some(name) = name else {
            return refused(
                404,
                "no such page: this is a simulator of the status endpoints alone",
            );
        };
        if !self.knows(request) {
            let mut response = refused(401, "the credentials are wrong");
            response
                .headers
                .push(("WWW-Authenticate", "Basic realm=\"simulator\"".to_owned()));
            return response;
        }
        let account = request.query("accountserviceid");
        if account != Some(self.script.account_service_id().to_string()) {
            return refused(403, "the credentials may not see this accountserviceid");
        }
        let info = request.query("diff_info").is_some_and(|value| value == "1");
        let Some(pieces) = self.status(name, now, info) else {
            return refused(404, "no such job");
        };
        let mut response = json(200, "");
        response.body = Body::new(pieces);
        if self.script.gzip && request.lists("accept-encoding", "gzip") {
            response.body = response.body.gzipped();
            response
                .headers
                .push(("Content-Encoding", "gzip".to_owned()));
        }
        response
    }

    /// Whether the request carries the script's two keys.
    fn knows(&self, request: &Request) -> bool {
        let keys = format!("{}:{}", self.script.access_key(), self.script.secret_key());
        request
            .header("authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, keys)| BASE64_STANDARD.decode(keys.trim()).ok())
            .is_some_and(|sent| sent == keys.as_bytes())
    }

    /// The status of a job; None while there is no such job.
    fn status(&mut self, name: JobRef, now: f64, info: bool) -> Option<Vec<Piece>> {
        let clock = self.clock();
        let running = self.running.get_mut(&name)?;
        let job: &Job = self.script.jobs.get(running.index)?;
        let birth = running.start? + 1000.0 * job.appears_after / self.speed;
        let t = (now - birth) / 1000.0 * self.speed;
        if t < 0.0 {
            return None;
        }
        let mut standing = job.standing(t);
        // from seconds of the script to the server's clock
        let wall = |t: f64| clock.unix(birth + 1000.0 * t / self.speed);
        let eta = if standing.ended {
            running
                .guesser
                .guess(job.duration, job.queued, job.duration, standing.progress)
        } else {
            running
                .guesser
                .guess(t, job.queued, job.duration, standing.progress)
        };
        let grain = (job.grain / self.speed).max(1.0) as i64;
        let times = Times {
            created: wall(0.0),
            started: standing.started.then(|| wall(job.queued)),
            updated: wall(standing.updated),
            eta: eta.map(|t| wall(t).div_euclid(grain) * grain),
        };
        if !standing.ended && !running.guesser.tells_progress() {
            standing.progress = 0;
        }
        Some(answer::status(job, &standing, &times, info))
    }

    /// A `Date`, `ahead_ms` ahead of the server's clock.
    fn date(&self, now: f64, ahead_ms: i64) -> String {
        let seconds = self
            .clock()
            .unix(now + ahead_ms as f64)
            .clamp(0, LAST_SECOND);
        let time: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
        httpdate::fmt_http_date(time)
    }

    fn clock(&self) -> Clock {
        Clock {
            zero_ms: self.started_wall_ms + self.script.clock_offset_ms,
        }
    }
}

/// The server's clock.
#[derive(Clone, Copy)]
struct Clock {
    /// What it showed at the start, Unix milliseconds.
    zero_ms: i64,
}

impl Clock {
    /// What it shows `at` milliseconds after the start, in whole Unix seconds.
    fn unix(self, at: f64) -> i64 {
        (self.zero_ms + at as i64).div_euclid(1000)
    }
}
