//! Jobs are polled only while they are watched, not too soon, not too late and not too often.

use std::time::Duration;

use forgewatch_core::event::{EventType, WatchId};
use forgewatch_core::job::JobRef;
use forgewatch_core::verdict::{ErrorKind, PollError};

use super::timeline::{Timeline, WatchRecord};
use super::{Findings, Rule};
use crate::config::Config;
use crate::log::{ApiRequest, Log, ProcessEnd, ProcessRun, Stamp, StoreWrite};

/// Tolerance for slow disks and narrow limits.
const SLACK_MS: u64 = 180_000;
/// Tolerance for a request in flight, and for a slow disk.
const UNREACHABLE_SLACK_MS: u64 = 45_000;
/// The longest delay after an error, and between two probes with rejected credentials.
const LONGEST_BACKOFF_MS: u64 = 300_000;
/// The longest `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

pub(super) fn check(timeline: &Timeline<'_>, findings: &mut Findings) {
    let log = timeline.log;
    for (number, process) in log.processes.iter().enumerate() {
        let polls: Vec<WatchPoll> = log
            .requests
            .iter()
            .filter(|request| request.process == number)
            .map(|request| WatchPoll {
                request,
                watch: timeline.running_watch(request.job, request.sent),
            })
            .collect();
        for poll in &polls {
            check_one(timeline, process, poll, findings);
        }
        check_overlap(log, &polls, findings);
        check_rate(log, &polls, findings);
        check_waits(timeline, number, process, &polls, findings);
        check_unreachable(timeline, number, process, &polls, findings);
    }
}

/// A request, and the watch that it is for.
struct WatchPoll<'a> {
    request: &'a ApiRequest,
    watch: Option<WatchId>,
}

impl WatchPoll<'_> {
    fn error(&self) -> Option<&PollError> {
        self.request.response.as_ref()?.1.as_ref().err()
    }

    fn response_at(&self) -> Option<Stamp> {
        Some(self.request.response.as_ref()?.0)
    }

    /// Whether the error affects the whole API, so that other watches wait, too.
    fn is_api_error(&self) -> bool {
        self.error().is_some_and(|error| {
            error.kind.is_outage()
                || matches!(error.kind, ErrorKind::RateLimited | ErrorKind::Unauthorized)
        })
    }

    /// The longest allowed time until the next poll of this job.
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

fn check_one(
    timeline: &Timeline<'_>,
    process: &ProcessRun,
    poll: &WatchPoll<'_>,
    findings: &mut Findings,
) {
    let (job, at) = (poll.request.job, poll.request.sent);
    if !timeline.is_served(poll.request.process, job, at, at) {
        findings.add(Rule::ServedLostShard, at, job.to_string());
    }
    if poll.watch.is_none() {
        findings.add(Rule::PolledUnwatched, at, job.to_string());
    }
    if process.stopping_since.is_some_and(|stop| stop < at) {
        findings.add(Rule::StartedAfterStop, at, format!("a request for {job}"));
    }
}

fn config_at(log: &Log, process: usize, at: Stamp) -> &Config {
    let active = log
        .configs
        .iter()
        .rfind(|c| c.process == process && c.since < at);
    &active.unwrap_or(&log.configs[0]).config
}

fn check_overlap(log: &Log, polls: &[WatchPoll<'_>], findings: &mut Findings) {
    for (number, this) in polls.iter().enumerate() {
        let at = this.request.sent;
        let over = |other: &WatchPoll| other.response_at().or(other.request.canceled);
        let in_flight = |other: &&WatchPoll| over(other).is_none_or(|over| at < over);
        let others = || polls[..number].iter().filter(in_flight);
        if this.watch.is_some() && others().any(|other| other.watch == this.watch) {
            findings.add(
                Rule::OverlappingPolls,
                at,
                format!("{}: two requests", this.request.job),
            );
        }
        let limit = config_at(log, this.request.process, at)
            .throttle
            .max_in_flight;
        let count = others().count() + 1;
        if count > limit {
            findings.add(
                Rule::OverlappingPolls,
                at,
                format!("{count} requests at once"),
            );
        }
    }
}

/// No second has more than 1.5 times the rate, plus the one request that the token bucket always allows.
fn check_rate(log: &Log, polls: &[WatchPoll<'_>], findings: &mut Findings) {
    let times: Vec<Stamp> = polls.iter().map(|poll| poll.request.sent).collect();
    for (number, &at) in times.iter().enumerate() {
        let config = config_at(log, polls[number].request.process, at);
        // A reload refills the bucket.
        let reloads = log
            .configs
            .iter()
            .filter(|c| c.since.ms <= at.ms && c.since.ms + 1_000 >= at.ms)
            .count();
        let limit = (config.throttle.max_requests_per_second * 1.5 + 1.0) as usize * (1 + reloads);
        let count = times[..=number]
            .iter()
            .filter(|t| t.ms + 1_000 > at.ms)
            .count();
        if count > limit {
            findings.add(
                Rule::PolledTooOften,
                at,
                format!("{count} requests within a second"),
            );
        }
    }
}

/// The watches, each with the times in which the process polls it: not during a shutdown, or after a fatal error, or while
/// another process serves its shard.
fn served_watches<'a>(
    timeline: &'a Timeline<'a>,
    number: usize,
    process: &ProcessRun,
) -> impl Iterator<Item = (WatchId, &'a WatchRecord<'a>, (Stamp, Stamp))> {
    let over = process.stopping_since.unwrap_or(process.ended);
    timeline.watches.iter().flat_map(move |(&id, watched)| {
        let over = watched.ended.map_or(over, |(at, _)| at.min(over));
        let served = timeline.served(number, watched.job).into_iter();
        served.map(move |(from, until)| (id, watched, (from, until.min(over))))
    })
}

fn polls_of<'a>(
    polls: &'a [WatchPoll<'a>],
    watch: WatchId,
    (from, until): (Stamp, Stamp),
) -> impl Iterator<Item = &'a WatchPoll<'a>> {
    polls.iter().filter(move |poll| {
        poll.watch == Some(watch) && from < poll.request.sent && poll.request.sent < until
    })
}

/// The times between polls of each watch in one process.
fn check_waits(
    timeline: &Timeline<'_>,
    number: usize,
    process: &ProcessRun,
    polls: &[WatchPoll<'_>],
    findings: &mut Findings,
) {
    let Some(ready) = process.ready else {
        return;
    };
    let log = timeline.log;
    for (id, watched, (from, until)) in served_watches(timeline, number, process) {
        let mut since = ready.max(watched.began).max(from);
        if since >= until {
            continue;
        }
        let mut longest = config_at(log, number, until)
            .limits
            .schedule
            .max_interval
            .as_millis() as u64;
        longest = longest.max(LONGEST_BACKOFF_MS.max(600_000));
        let mut last: Option<&WatchPoll> = None;
        for this in polls_of(polls, id, (from, until)) {
            let at = this.request.sent;
            check_too_late(polls, since, at, longest, watched.job, findings);
            if let Some(last) = last {
                check_too_soon(log, last, at, findings);
            }
            let config = config_at(log, number, at);
            // A request without a response ends with the process.
            since = this.response_at().unwrap_or(until);
            longest = this.longest_wait(config).max(600_000);
            last = Some(this);
        }
        if process.end != ProcessEnd::Failed {
            check_too_late(polls, since, until, longest, watched.job, findings);
        }
    }
}

/// A watch whose polls have failed for `unreachable_after` reports it, without waiting for its next poll.
fn check_unreachable(
    timeline: &Timeline<'_>,
    number: usize,
    process: &ProcessRun,
    polls: &[WatchPoll<'_>],
    findings: &mut Findings,
) {
    for (id, _, (from, until)) in served_watches(timeline, number, process) {
        let mut failing_since: Option<Stamp> = None;
        for poll in polls_of(polls, id, (from, until)) {
            let Some(at) = poll.response_at() else {
                continue;
            };
            let is_over = poll.error().is_none_or(|e| e.kind == ErrorKind::NotFound);
            if is_over && let Some(since) = failing_since.take() {
                check_reported(timeline.log, number, id, since, at, findings);
            } else if !is_over {
                failing_since.get_or_insert(at);
            }
        }
        if let Some(since) = failing_since {
            check_reported(timeline.log, number, id, since, until, findings);
        }
    }
}

fn check_reported(
    log: &Log,
    number: usize,
    watch: WatchId,
    since: Stamp,
    until: Stamp,
    findings: &mut Findings,
) {
    let after = config_at(log, number, since).limits.unreachable_after;
    let due = since.ms + after.as_millis() as u64 + UNREACHABLE_SLACK_MS;
    if until.ms < due {
        return;
    }
    // An attempt to store it counts, because the disk may be full.
    let submitted = log.writes.iter().filter(|write| write.submitted.ms <= due);
    let last = submitted
        .flat_map(StoreWrite::events)
        .filter(|event| event.id.watch == watch)
        .rfind(|event| matches!(event.kind, EventType::Unreachable | EventType::Reachable));
    if last.is_none_or(|event| event.kind != EventType::Unreachable) {
        let failing = format!("{watch}: failing since {} ms", since.ms);
        findings.add(Rule::UnreachableTooLate, until, failing);
    }
}

/// `since` is the start of the wait. Errors of the whole API may have prolonged it.
fn check_too_late(
    polls: &[WatchPoll<'_>],
    since: Stamp,
    at: Stamp,
    longest: u64,
    job: JobRef,
    findings: &mut Findings,
) {
    let api_errors = polls
        .iter()
        .filter(|poll| poll.is_api_error())
        .filter_map(WatchPoll::response_at);
    let delayed_until = api_errors
        .filter(|&t| t < at)
        .max()
        .map_or(0, |t| t.ms + LONGEST_BACKOFF_MS);
    let due = (since.ms + longest).max(delayed_until) + SLACK_MS;
    if at.ms > due {
        let late = at.ms - due;
        findings.add(
            Rule::PolledTooLate,
            at,
            format!("{job}: {late} ms too late"),
        );
    }
}

/// Not before `min_interval` after a response, and not before the server's `Retry-After`.
fn check_too_soon(log: &Log, last: &WatchPoll<'_>, at: Stamp, findings: &mut Findings) {
    let Some(responded) = last.response_at() else {
        return;
    };
    let config = config_at(log, last.request.process, responded);
    let floor = match last.error() {
        None => config.limits.schedule.min_interval,
        Some(error) => error.retry_after.unwrap_or_default(),
    };
    // If the commit failed, the job is polled again at once.
    let commit_failed = log.writes.iter().any(|write| {
        let settled = write
            .outcome
            .as_ref()
            .map_or(responded, |(settled, _)| *settled);
        write.applied().is_none() && responded < settled && write.submitted < at
    });
    if !commit_failed && at.ms < responded.ms + floor.as_millis() as u64 {
        let job = last.request.job;
        let early = responded.ms + floor.as_millis() as u64 - at.ms;
        findings.add(
            Rule::PolledTooSoon,
            at,
            format!("{job}: {early} ms too early after {:?}", last.error()),
        );
    }
}
