//! Plays a script: request and time in, response out.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::answer::{self, Times};
use super::body::{Body, Piece};
use super::eta::Guesser;
use super::fault::{Fault, Kind};
use super::faults::{self, json};
use super::http::Request;
use super::job_model::{Job, Start};
use super::rng::Rng;
use super::script::Script;
use super::wire::{Response, Transport};
use forgewatch_core::job::JobRef;

/// The last second HTTP can write: the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// One request, as the server saw it.
#[derive(Clone, Debug)]
pub struct RequestLog {
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

impl RequestLog {
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
    pub(super) manner: Transport,
    pub(super) hit: RequestLog,
}

impl Play {
    pub(super) fn new(script: Script, speed: f64, started_wall_ms: i64) -> Self {
        let running = script.jobs.iter().enumerate().map(|(index, job)| {
            // a stream apart from the one that drew the parameters
            let rng = Rng::new(script.seed, &format!("{} noise", job.name));
            let start = (job.start == Start::ServerStart).then_some(0.0);
            (
                job.name,
                Running {
                    index,
                    start,
                    guesser: Guesser::new(job.eta, rng),
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
        let manner = faults::manner(&faults, self.speed);
        let date = |ahead_ms| self.date(now, ahead_ms);
        let instead = faults
            .iter()
            .find_map(|kind| faults::instead(kind, date).transpose());
        let mut response = match instead {
            Some(response) => response?,
            None => self.answer(request, name, now),
        };
        let ahead_ms = self.script.date_offset_ms + faults::date_shift(&faults);
        response.headers.push(("Date", self.date(now, ahead_ms)));
        response.headers.extend(faults::padding(&faults));
        let hit = RequestLog {
            at: now as u64,
            job: name,
            n,
            method: request.method.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            served: faults::served(response.status, &manner),
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
        let told_at = t.min(job.duration);
        let eta = running
            .guesser
            .guess(told_at, job.queued, job.duration, standing.progress);
        let grain = (job.grain / self.speed).max(1.0) as i64;
        let times = Times {
            created: wall(0.0),
            started: standing.started.then(|| wall(job.queued)),
            updated: wall(standing.updated),
            eta: eta.map(|t| wall(t).div_euclid(grain) * grain),
        };
        if standing.progress < 100 && !running.guesser.tells_progress() {
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The server's clock at the start, Unix seconds.
    const ZERO: i64 = 1_700_000_000;

    fn play(text: &str) -> Play {
        Play::new(Script::parse(text).unwrap(), 1.0, ZERO * 1000)
    }

    /// A play of one diff of 100 s, with these lines added to it.
    fn diff(lines: &str) -> Play {
        play(&format!(
            "[[jobs]]\njob = \"diff/1\"\nduration = \"100s\"\nbend = 1.0\ngrain = \"1s\"\n{lines}"
        ))
    }

    /// What is answered about `diff/1` at so many seconds after the start; null where nothing is.
    fn ask(play: &mut Play, seconds: f64) -> Value {
        let request = Request {
            method: "GET".to_owned(),
            target: "/cfp/v1/imagediff/1/status?accountserviceid=5678".to_owned(),
            headers: vec![("authorization".to_owned(), "basic c2ltOnNpbQ==".to_owned())],
            modern: true,
        };
        let mut response = play.reply(&request, 1000.0 * seconds).unwrap().response;
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

    /// The field of the answers at 0, 25, 50 and 100 s, times counted from the start.
    fn told(lines: &str, field: &str) -> Vec<Option<i64>> {
        let mut play = diff(lines);
        let since = |value: i64| if value >= ZERO { value - ZERO } else { value };
        [0.0, 25.0, 50.0, 100.0]
            .iter()
            .map(|t| ask(&mut play, *t)[field].as_i64().map(since))
            .collect()
    }

    #[test]
    fn every_model_errs_on_the_wire_as_it_says() {
        let etas = |lines: &str| told(lines, "jobeta");
        assert_eq!(etas("eta = \"exact\""), [Some(100); 4]);
        assert_eq!(etas("eta = \"fixed\"\nbias = 0.5"), [Some(50); 4]);
        assert_eq!(
            etas("eta = \"optimistic\"\nhalf = 0.4"),
            [40, 55, 70, 100].map(Some)
        );
        assert_eq!(
            etas("eta = \"extrapolated\""),
            [None, Some(100), Some(100), Some(100)]
        );
        assert_eq!(etas("eta = \"progress_only\""), [None; 4]);
        assert_eq!(etas("eta = \"blind\""), [None; 4]);
        let noisy = etas("eta = \"noisy\"\nspread = 0.5");
        assert!(noisy[0] != Some(100) && noisy[0] >= Some(0), "{noisy:?}");
        assert_eq!(noisy[3], Some(100));
        assert_eq!(
            told("eta = \"progress_only\"", "jobprogress"),
            [0, 25, 50, 100].map(Some)
        );
        assert_eq!(
            told("eta = \"blind\"", "jobprogress"),
            [0, 0, 0, 100].map(Some)
        );
    }

    #[test]
    fn an_eta_is_rounded_down_to_its_grain() {
        let mut play = play("[[jobs]]\njob = \"diff/1\"\nduration = \"100s\"\ngrain = \"1m\"");
        let eta = ask(&mut play, 0.0)["jobeta"].as_i64().unwrap();
        assert_eq!(eta % 60, 0);
        assert!((ZERO + 40..=ZERO + 100).contains(&eta));
    }

    #[test]
    fn nothing_told_moves_in_a_stall() {
        let lines = "stall = [{ at = \"20s\", for = \"40s\" }]";
        assert_eq!(told(lines, "jobupdated"), [0, 20, 20, 100].map(Some));
        assert_eq!(told(lines, "jobprogress"), [0, 20, 20, 100].map(Some));
    }

    #[test]
    fn time_begins_with_the_first_request_or_with_the_server() {
        let start = |start: &str| {
            let mut play = diff(&format!("start = \"{start}\""));
            ask(&mut play, 30.0)["jobcreated"].as_i64().unwrap() - ZERO
        };
        assert_eq!(start("first_request"), 30);
        assert_eq!(start("server_start"), 0);
    }

    #[test]
    fn a_job_that_appears_later_lives_as_long_from_then_on() {
        let mut play = diff("appears_after = \"10s\"");
        assert_eq!(ask(&mut play, 5.0), Value::Null);
        assert_eq!(ask(&mut play, 14.9), Value::Null);
        assert_eq!(ask(&mut play, 15.0)["jobcreated"], ZERO + 15);
        assert_eq!(ask(&mut play, 114.9)["jobstateid"], 4);
        assert_eq!(ask(&mut play, 115.0)["jobstateid"], 5);
        let end = |now| play.ended_at("diff/1".parse().unwrap(), now);
        assert_eq!(end(114_999.0), None);
        assert_eq!(end(115_000.0), Some(115_000.0));
    }

    #[test]
    fn the_same_requests_at_the_same_times_get_the_same_answers() {
        let run = |seed: u32| {
            let mut play = play(&format!(
                "seed = {seed}\n[[jobs]]\njob = \"diff/1\"\nduration = \"100s\"\neta = \"noisy\""
            ));
            [0.0, 3.0, 40.5, 41.0, 99.0, 130.0].map(|t| ask(&mut play, t).to_string())
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn asking_about_one_job_does_not_change_the_luck_of_another() {
        let script = "[[jobs]]\njob = \"diff/1\"\nduration = \"100s\"\neta = \"noisy\"\n";
        let more =
            format!("[[jobs]]\njob = \"update/9\"\nduration = \"1s\"\neta = \"noisy\"\n{script}");
        assert_eq!(ask(&mut play(script), 1.0), ask(&mut play(&more), 1.0));
    }
}
