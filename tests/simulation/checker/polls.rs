//! Who is asked, and when: not too soon, not too late, not too often, and only while somebody watches.

use std::time::Duration;

use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use forgewatch_core::verdict::{ErrorKind, PollError};

use super::history::History;
use super::{Findings, Rule};
use crate::config::Config;
use crate::log::{End, Life, Log, Request, Stamp};

/// What slow disks and narrow limits may add to a wait.
const SLACK_MS: u64 = 180_000;
/// The longest wait of the retry schedule, and between two questions whether credentials were mended.
const LONGEST_BACKOFF_MS: u64 = 300_000;
/// The longest `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

pub(super) fn check(history: &History<'_>, findings: &mut Findings) {
    let log = history.log;
    for (number, life) in log.lives.iter().enumerate() {
        let asked: Vec<PendingRequest> = log
            .requests
            .iter()
            .filter(|request| request.life == number)
            .map(|request| PendingRequest {
                request,
                watch: history.live(request.job, request.asked),
            })
            .collect();
        for asked in &asked {
            check_one(life, asked, findings);
        }
        check_together(log, &asked, findings);
        check_rate(log, &asked, findings);
        check_waits(history, number, life, &asked, findings);
    }
}

/// A request, and for which watch.
struct PendingRequest<'a> {
    request: &'a Request,
    watch: Option<WatchId>,
}

impl PendingRequest<'_> {
    fn error(&self) -> Option<&PollError> {
        self.request.answer.as_ref()?.1.as_ref().err()
    }

    fn answered(&self) -> Option<Stamp> {
        Some(self.request.answer.as_ref()?.0)
    }

    /// Whether it speaks of the API as a whole: then others wait for it too.
    fn is_trouble(&self) -> bool {
        self.error().is_some_and(|error| {
            error.kind.is_outage()
                || matches!(error.kind, ErrorKind::RateLimited | ErrorKind::Unauthorized)
        })
    }

    /// How long this very job may be left alone after it.
    fn longest_wait(&self, config: &Config) -> u64 {
        let max_interval = config.limits.schedule.max_interval.as_millis() as u64;
        let pause = self.error().and_then(|error| error.retry_after);
        let pause = pause.map_or(0, |pause| pause.min(LONGEST_PAUSE).as_millis() as u64);
        let backoff = if self.error().is_some() {
            LONGEST_BACKOFF_MS
        } else {
            0
        };
        max_interval.max(pause).max(backoff)
    }
}

fn check_one(life: &Life, asked: &PendingRequest<'_>, findings: &mut Findings) {
    let (job, at) = (asked.request.job, asked.request.asked);
    if asked.watch.is_none() {
        findings.add(Rule::AskedUnwatched, at, job.to_string());
    }
    if life.wound_up.is_some_and(|stop| stop < at) {
        findings.add(Rule::AfterStop, at, format!("a request for {job}"));
    }
}

fn config_at(log: &Log, life: usize, at: Stamp) -> &Config {
    let in_force = log.configs.iter().rfind(|c| c.life == life && c.since < at);
    &in_force.unwrap_or(&log.configs[0]).config
}

fn check_together(log: &Log, asked: &[PendingRequest<'_>], findings: &mut Findings) {
    for (number, this) in asked.iter().enumerate() {
        let at = this.request.asked;
        let over = |other: &PendingRequest| other.answered().or(other.request.dropped);
        let under_way = |other: &&PendingRequest| over(other).is_none_or(|over| at < over);
        let others = || asked[..number].iter().filter(under_way);
        if this.watch.is_some() && others().any(|other| other.watch == this.watch) {
            findings.add(
                Rule::AskedTogether,
                at,
                format!("{}: two requests", this.request.job),
            );
        }
        let most = config_at(log, this.request.life, at).throttle.max_in_flight;
        let many = others().count() + 1;
        if many > most {
            findings.add(Rule::AskedTogether, at, format!("{many} requests at once"));
        }
    }
}

/// No second sees more than one and a half times the rate, and the one that a bucket always has.
fn check_rate(log: &Log, asked: &[PendingRequest<'_>], findings: &mut Findings) {
    let times: Vec<Stamp> = asked.iter().map(|asked| asked.request.asked).collect();
    for (number, &at) in times.iter().enumerate() {
        let config = config_at(log, asked[number].request.life, at);
        // A reload fills the bucket anew.
        let reloads = log
            .configs
            .iter()
            .filter(|c| c.since.ms <= at.ms && c.since.ms + 1_000 >= at.ms)
            .count();
        let most = (config.throttle.max_requests_per_second * 1.5 + 1.0) as usize * (1 + reloads);
        let many = times[..=number]
            .iter()
            .filter(|t| t.ms + 1_000 > at.ms)
            .count();
        if many > most {
            findings.add(
                Rule::AskedTooOften,
                at,
                format!("{many} requests within a second"),
            );
        }
    }
}

/// The waits of each watch in one life.
fn check_waits(
    history: &History<'_>,
    number: usize,
    life: &Life,
    asked: &[PendingRequest<'_>],
    findings: &mut Findings,
) {
    let Some(ready) = life.ready else {
        return;
    };
    let log = history.log;
    // Once the stop has begun nobody is asked; a process that ended itself was not asking any more either.
    let until = life.wound_up.unwrap_or(life.ended);
    for (&id, watched) in &history.watches {
        let until = watched.ended.map_or(until, |(at, _)| at.min(until));
        let mut since = ready.max(watched.began);
        if since >= until {
            continue;
        }
        let mut longest = config_at(log, number, until)
            .limits
            .schedule
            .max_interval
            .as_millis() as u64;
        longest = longest.max(LONGEST_BACKOFF_MS.max(600_000));
        let mut last: Option<&PendingRequest> = None;
        for this in asked.iter().filter(|asked| asked.watch == Some(id)) {
            let at = this.request.asked;
            check_too_late(asked, since, at, longest, watched.job, findings);
            if let Some(last) = last {
                check_too_soon(log, last, at, findings);
            }
            let config = config_at(log, number, at);
            // A request that never comes back ends with the process.
            since = this.answered().unwrap_or(until);
            longest = this.longest_wait(config).max(600_000);
            last = Some(this);
        }
        if life.end != End::Failed {
            check_too_late(asked, since, until, longest, watched.job, findings);
        }
    }
}

/// `since` is when the wait began; whoever was in trouble in between may have held it up.
fn check_too_late(
    asked: &[PendingRequest<'_>],
    since: Stamp,
    at: Stamp,
    longest: u64,
    job: JobRef,
    findings: &mut Findings,
) {
    let troubles = asked
        .iter()
        .filter(|asked| asked.is_trouble())
        .filter_map(PendingRequest::answered);
    let held_up = troubles
        .filter(|&t| t < at)
        .max()
        .map_or(0, |t| t.ms + LONGEST_BACKOFF_MS);
    let due = (since.ms + longest).max(held_up) + SLACK_MS;
    if at.ms > due {
        let late = at.ms - due;
        findings.add(Rule::AskedTooLate, at, format!("{job}: {late} ms too late"));
    }
}

/// Not before `min_interval` after an answer, and not before the server's `Retry-After`.
fn check_too_soon(log: &Log, last: &PendingRequest<'_>, at: Stamp, findings: &mut Findings) {
    let Some(answered) = last.answered() else {
        return;
    };
    let config = config_at(log, last.request.life, answered);
    let floor = match last.error() {
        None => config.limits.schedule.min_interval,
        Some(error) => error.retry_after.unwrap_or_default(),
    };
    // A step that the disk took back is asked for again at once.
    let taken_back = log.writes.iter().any(|write| {
        let settled = write
            .outcome
            .as_ref()
            .map_or(answered, |(settled, _)| *settled);
        write.taken().is_none() && answered < settled && write.submitted < at
    });
    if !taken_back && at.ms < answered.ms + floor.as_millis() as u64 {
        let job = last.request.job;
        let early = answered.ms + floor.as_millis() as u64 - at.ms;
        findings.add(
            Rule::AskedTooSoon,
            at,
            format!("{job}: {early} ms too early after {:?}", last.error()),
        );
    }
}
