//! Maps a request and a time to the response that the script defines.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::body::{Body, Piece};
use crate::fault_effects::{self, json};
use crate::http::{HttpRequest, LoggedRequest};
use crate::job_model::{EtaPredictor, ScriptedJob, StartTrigger};
use crate::script::fault::{FaultKind, ScriptedFault};
use crate::script::{Script, UpdateAddress};
use crate::status_json::{self, JobTimes};
use crate::transport::{HttpResponse, Transport};
use forgewatch_core::job::{JobKind, JobRef};
use forgewatch_core::rng::SeededRng;

/// The last second that an HTTP date can express: the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// The state of a script that is being served. Times are milliseconds since the start.
#[derive(Debug)]
pub(crate) struct Responder {
    script: Script,
    speed: f64,
    /// The wall clock at the start, Unix milliseconds.
    started_wall_ms: i64,
    total_requests: u64,
    request_counts: BTreeMap<Option<JobRef>, u64>,
    runs: BTreeMap<JobRef, JobRun>,
}

#[derive(Debug)]
struct JobRun {
    /// Index into the script's jobs.
    index: usize,
    /// The start of the job's time, once it has started.
    start: Option<f64>,
    predictor: EtaPredictor,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) response: HttpResponse,
    pub(crate) transport: Transport,
    pub(crate) record: LoggedRequest,
}

impl Responder {
    pub(crate) fn new(script: Script, speed: f64, started_wall_ms: i64) -> Self {
        let runs = script.jobs.iter().enumerate().map(|(index, job)| {
            // not the stream that drew the job's parameters
            let rng = SeededRng::named(script.seed, &format!("{} noise", job.name));
            let run = JobRun {
                index,
                start: (job.start == StartTrigger::ServerStart).then_some(0.0),
                predictor: EtaPredictor::new(job.eta, rng),
            };
            (job.name, run)
        });
        Self {
            runs: runs.collect(),
            script,
            speed,
            started_wall_ms,
            total_requests: 0,
            request_counts: BTreeMap::new(),
        }
    }

    /// Responds to a request that arrived at `now`.
    pub(crate) fn respond(&mut self, request: &HttpRequest, now: f64) -> io::Result<Reply> {
        let name = request.job();
        self.total_requests += 1;
        let request_counts = self.request_counts.entry(name).or_default();
        *request_counts += 1;
        let n = *request_counts;
        if let Some(run) = name.and_then(|name| self.runs.get_mut(&name)) {
            run.start.get_or_insert(now);
        }
        let faults = self.faults(name, n);
        let transport = fault_effects::transport(&faults, self.speed);
        let date = |ahead_ms| self.date(now, ahead_ms);
        let replacement = faults
            .iter()
            .find_map(|kind| fault_effects::replacement(kind, date).transpose());
        let mut response = match replacement {
            Some(response) => response?,
            None => self.without_faults(request, name, now),
        };
        let ahead_ms = self.script.date_offset_ms + fault_effects::date_offset(&faults);
        response.headers.push(("Date", self.date(now, ahead_ms)));
        response
            .headers
            .extend(fault_effects::padding_header(&faults));
        let record = LoggedRequest {
            at: now as u64,
            job: name,
            n,
            method: request.method.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            served: fault_effects::served(response.status, &transport),
        };
        Ok(Reply {
            response,
            transport,
            record,
        })
    }

    /// The end of a job, if it has ended.
    pub(crate) fn ended_at(&self, name: JobRef, now: f64) -> Option<f64> {
        let run = self.runs.get(&name)?;
        let job = self.script.jobs.get(run.index)?;
        let end = run.start? + 1000.0 * (job.appears_after + job.duration) / self.speed;
        (end <= now).then_some(end)
    }

    /// The faults of the `n`th request for a job: the job's own ones first, then those of all requests.
    fn faults(&self, name: Option<JobRef>, n: u64) -> Vec<FaultKind> {
        let job = name
            .and_then(|name| self.runs.get(&name))
            .and_then(|r| self.script.jobs.get(r.index));
        let own = job.map_or([].as_slice(), |job| &job.faults);
        let matching = |faults: &[ScriptedFault], n| -> Vec<FaultKind> {
            faults
                .iter()
                .filter(|f| f.requests.contains(n))
                .map(|f| f.kind.clone())
                .collect()
        };
        [
            matching(own, n),
            matching(&self.script.faults, self.total_requests),
        ]
        .concat()
    }

    fn without_faults(
        &mut self,
        request: &HttpRequest,
        name: Option<JobRef>,
        now: f64,
    ) -> HttpResponse {
        let error_response =
            |status, message: &str| json(status, status_json::envelope(i64::from(status), message));
        if request.method != "GET" {
            return error_response(405, "method not allowed").with_header("Allow", "GET");
        }
        let Some(name) = name else {
            return error_response(
                404,
                "not found: the simulator serves only the status endpoints",
            );
        };
        if !self.has_credentials(request) {
            return error_response(401, "invalid credentials")
                .with_header("WWW-Authenticate", "Basic realm=\"simulator\"");
        }
        let account = request.query("accountserviceid");
        if account != Some(self.script.account_service_id.to_string()) {
            return error_response(
                403,
                "the credentials have no access to this accountserviceid",
            );
        }
        let address = if request.has_id_in_query() {
            UpdateAddress::Query
        } else {
            UpdateAddress::Path
        };
        let served = self.script.update_address.unwrap_or(address);
        if name.kind == JobKind::Update && served != address {
            return error_response(404, "not found");
        }
        let info = request.query("diff_info").is_some_and(|value| value == "1");
        let Some(pieces) = self.status(name, now, info) else {
            return error_response(404, "no such job");
        };
        let body = Body::new(pieces);
        if self.script.gzip && request.lists("accept-encoding", "gzip") {
            json(200, body.gzipped()).with_header("Content-Encoding", "gzip")
        } else {
            json(200, body)
        }
    }

    fn has_credentials(&self, request: &HttpRequest) -> bool {
        let keys = format!("{}:{}", self.script.access_key, self.script.secret_key);
        request
            .header("authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, keys)| BASE64_STANDARD.decode(keys.trim()).ok())
            .is_some_and(|sent| sent == keys.as_bytes())
    }

    /// None while the job does not exist.
    fn status(&mut self, name: JobRef, now: f64, info: bool) -> Option<Vec<Piece>> {
        let clock_start_ms = self.clock_start_ms();
        let run = self.runs.get_mut(&name)?;
        let job: &ScriptedJob = self.script.jobs.get(run.index)?;
        let appeared = run.start? + 1000.0 * job.appears_after / self.speed;
        let t = (now - appeared) / 1000.0 * self.speed;
        if t < 0.0 {
            return None;
        }
        let mut snapshot = job.snapshot(t);
        // from seconds of the script to the server's clock
        let wall = |t: f64| unix_seconds(clock_start_ms, appeared + 1000.0 * t / self.speed);
        let observed_at = t.min(job.duration);
        let eta = run
            .predictor
            .predict(observed_at, job.queued, job.duration, snapshot.progress);
        let eta_rounding = (job.eta_rounding / self.speed).max(1.0) as i64;
        let times = JobTimes {
            created: wall(0.0),
            started: snapshot.started.then(|| wall(job.queued)),
            updated: wall(snapshot.updated),
            eta: eta.map(|t| wall(t).div_euclid(eta_rounding) * eta_rounding),
        };
        if snapshot.progress < 100 && !run.predictor.reports_progress() {
            snapshot.progress = 0;
        }
        Some(status_json::status(job, &snapshot, &times, info))
    }

    /// An HTTP date, `ahead_ms` ahead of the server's clock.
    fn date(&self, now: f64, ahead_ms: i64) -> String {
        let seconds =
            unix_seconds(self.clock_start_ms(), now + ahead_ms as f64).clamp(0, LAST_SECOND);
        let time: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
        httpdate::fmt_http_date(time)
    }

    /// The server's clock at the start, Unix milliseconds.
    fn clock_start_ms(&self) -> i64 {
        self.started_wall_ms + self.script.clock_offset_ms
    }
}

/// The server's clock `at` milliseconds after its start, in whole Unix seconds.
fn unix_seconds(clock_start_ms: i64, at: f64) -> i64 {
    (clock_start_ms + at as i64).div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The server's clock at the start, Unix seconds.
    const ZERO: i64 = 1_700_000_000;

    fn responder(text: &str) -> Responder {
        Responder::new(Script::parse(text).unwrap(), 1.0, ZERO * 1000)
    }

    /// A responder for one diff of 100 s, with these lines added to the job.
    fn diff(lines: &str) -> Responder {
        responder(&format!(
            "[[jobs]]\njob = \"diff/1\"\nduration = \"100s\"\nprogress_curve = 1.0\neta_rounding = \"1s\"\n{lines}"
        ))
    }

    /// The status of `diff/1` so many seconds after the start; null if the response is not 200.
    fn poll(responder: &mut Responder, seconds: f64) -> Value {
        let request = HttpRequest {
            method: "GET".to_owned(),
            target: "/cfp/v1/imagediff/1/status?accountserviceid=5678".to_owned(),
            headers: vec![("authorization".to_owned(), "basic c2ltOnNpbQ==".to_owned())],
            is_http_1_1: true,
        };
        let mut response = responder
            .respond(&request, 1000.0 * seconds)
            .unwrap()
            .response;
        let mut body = Vec::new();
        while let Some(bytes) = response.body.next().unwrap() {
            body.extend(bytes);
        }
        if response.status == 200 {
            serde_json::from_slice(&body).unwrap()
        } else {
            Value::Null
        }
    }

    /// This field at 0, 25, 50 and 100 s; times are counted from the start.
    fn reported(lines: &str, field: &str) -> Vec<Option<i64>> {
        let mut responder = diff(lines);
        let since = |value: i64| if value >= ZERO { value - ZERO } else { value };
        [0.0, 25.0, 50.0, 100.0]
            .iter()
            .map(|t| poll(&mut responder, *t)[field].as_i64().map(since))
            .collect()
    }

    #[test]
    fn every_model_reports_its_etas_on_the_wire() {
        let etas = |lines: &str| reported(lines, "jobeta");
        assert_eq!(etas("eta = \"exact\""), [Some(100); 4]);
        assert_eq!(etas("eta = \"fixed\"\nbias = 0.5"), [Some(50); 4]);
        assert_eq!(
            etas("eta = \"optimistic\"\nfraction = 0.4"),
            [40, 55, 70, 100].map(Some)
        );
        assert_eq!(
            etas("eta = \"extrapolated\""),
            [None, Some(100), Some(100), Some(100)]
        );
        assert_eq!(etas("eta = \"progress_only\""), [None; 4]);
        assert_eq!(etas("eta = \"hidden\""), [None; 4]);
        let noisy = etas("eta = \"noisy\"\nspread = 0.5");
        assert!(noisy[0] != Some(100) && noisy[0] >= Some(0), "{noisy:?}");
        assert_eq!(noisy[3], Some(100));
        assert_eq!(
            reported("eta = \"progress_only\"", "jobprogress"),
            [0, 25, 50, 100].map(Some)
        );
        assert_eq!(
            reported("eta = \"hidden\"", "jobprogress"),
            [0, 0, 0, 100].map(Some)
        );
    }

    #[test]
    fn etas_are_rounded_down_to_eta_rounding() {
        let mut responder =
            responder("[[jobs]]\njob = \"diff/1\"\nduration = \"100s\"\neta_rounding = \"1m\"");
        let eta = poll(&mut responder, 0.0)["jobeta"].as_i64().unwrap();
        assert_eq!(eta % 60, 0);
        assert!((ZERO + 40..=ZERO + 100).contains(&eta));
    }

    #[test]
    fn no_reported_value_changes_during_a_stall() {
        let lines = "stalls = [{ at = \"20s\", for = \"40s\" }]";
        assert_eq!(reported(lines, "jobupdated"), [0, 20, 20, 100].map(Some));
        assert_eq!(reported(lines, "jobprogress"), [0, 20, 20, 100].map(Some));
    }

    #[test]
    fn a_job_starts_with_the_first_request_or_with_the_server() {
        let start = |start: &str| {
            let mut responder = diff(&format!("start = \"{start}\""));
            poll(&mut responder, 30.0)["jobcreated"].as_i64().unwrap() - ZERO
        };
        assert_eq!(start("first_request"), 30);
        assert_eq!(start("server_start"), 0);
    }

    #[test]
    fn the_duration_of_a_job_counts_from_its_appearance() {
        let mut responder = diff("appears_after = \"10s\"");
        assert_eq!(poll(&mut responder, 5.0), Value::Null);
        assert_eq!(poll(&mut responder, 14.9), Value::Null);
        assert_eq!(poll(&mut responder, 15.0)["jobcreated"], ZERO + 15);
        assert_eq!(poll(&mut responder, 114.9)["jobstateid"], 4);
        assert_eq!(poll(&mut responder, 115.0)["jobstateid"], 5);
        let end = |now| responder.ended_at("diff/1".parse().unwrap(), now);
        assert_eq!(end(114_999.0), None);
        assert_eq!(end(115_000.0), Some(115_000.0));
    }

    #[test]
    fn the_same_requests_at_the_same_times_get_the_same_responses() {
        let run = |seed: u32| {
            let mut responder = responder(&format!(
                "seed = {seed}\n[[jobs]]\njob = \"diff/1\"\nduration = \"100s\"\neta = \"noisy\""
            ));
            [0.0, 3.0, 40.5, 41.0, 99.0, 130.0].map(|t| poll(&mut responder, t).to_string())
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn draws_of_one_job_do_not_depend_on_other_jobs() {
        let script = "[[jobs]]\njob = \"diff/1\"\nduration = \"100s\"\neta = \"noisy\"\n";
        let more =
            format!("[[jobs]]\njob = \"update/9\"\nduration = \"1s\"\neta = \"noisy\"\n{script}");
        assert_eq!(
            poll(&mut responder(script), 1.0),
            poll(&mut responder(&more), 1.0)
        );
    }
}
