//! Checks the log of a lifetime against the rules that every lifetime must keep.
//!
//! The checker knows the daemon's interface, but nothing about its implementation. Its input is what crossed the daemon's
//! borders: API requests and responses, writes, hook attempts, published events, commands.
//!
//! - [`timeline`] builds the stored state over time from the writes that the disk applied: which watches, events and
//!   deliveries existed when. Rules about ids, endings, publishing and commands are there.
//! - [`transitions`] derives from each status which events it must lead to.
//! - [`deliveries`] checks who receives which event, in which order, how often and when.
//! - [`polls`] checks which jobs are polled, and when.
//!
//! A crash or a disk error often leaves two outcomes possible: a commit in flight may be lost or not. Then the rules accept
//! both, but never something between them. Times have tolerances only where a limit or a slow disk can delay the daemon.

mod deliveries;
mod polls;
mod timeline;
mod transitions;

use std::fmt;

use crate::log::{Log, Stamp};
use timeline::Timeline;

/// A rule, named after its violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    // Events.
    /// Two events, or two watches, have the same id.
    DuplicateId,
    /// The events of a watch are not numbered 1, 2, 3…
    SeqGap,
    SecondEnding,
    /// An event follows the ending event of its watch.
    EventAfterEnding,
    /// A status changed the job, but the events do not match the change.
    WrongTransition,
    /// An ending event does not match anything that the API served.
    EndingWithoutCause,
    /// A watch never ended.
    MissingEnding,
    /// An event was published before it was stored.
    PublishedUncommitted,
    /// A stored event was not published although the process did not crash.
    NeverPublished,
    /// A client that follows read an event twice, out of order, or not at all.
    WronglyFollowed,
    // Watches.
    /// A watch started without a request from configuration or clients.
    UnrequestedWatch,
    /// A job added to the configuration is not watched, although it was not removed again.
    ListedNotWatched,
    /// A confirmed command is not stored.
    CommandLost,
    /// A list lacked a running watch, or had a job twice.
    WronglyListed,
    /// A job was polled, or a hook of it ran, after another process had taken over its shard.
    ServedLostShard,
    // Deliveries.
    /// A hook has no delivery for an event that it matches, or has one for an event that it does not match.
    WrongDeliveries,
    /// A delivery was neither delivered nor failed.
    LostDelivery,
    /// A hook ran for an event, a delivery or an attempt that is not stored.
    AttemptUncommitted,
    /// A delivery is stored as delivered without a successful attempt.
    DeliveredWithoutSuccess,
    /// A delivery failed with retries left, or without an event.
    WronglyFailed,
    /// A hook got a later event of a watch before an earlier one.
    OutOfOrder,
    /// Concurrent attempts for the same hook and watch, or more than `max_running`.
    OverlappingAttempts,
    /// The numbers of attempts do not increase.
    AttemptNumber,
    /// Earlier than the receiver's `Retry-After` allows.
    RetriedTooSoon,
    // Polls.
    /// A job was polled that is not watched.
    PolledUnwatched,
    /// Concurrent requests for the same watch, or more than `max_in_flight`.
    OverlappingPolls,
    PolledTooSoon,
    PolledTooLate,
    /// More requests than the rate allows.
    PolledTooOften,
    /// A job that could not be polled was not reported as unreachable in time, whatever paused its polls.
    UnreachableTooLate,
    // The daemon.
    /// The store rejected a contradictory operation of the daemon.
    StoreRejected,
    /// A request or an attempt began after the start of the shutdown.
    StartedAfterStop,
    /// Without faults, and still watches or deliveries were left after many hours.
    NotDrained,
}

/// A broken rule.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    what: String,
    at: Stamp,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} ms: {}", self.rule, self.at.ms, self.what)
    }
}

#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, rule: Rule, at: Stamp, what: impl Into<String>) {
        self.0.push(Violation {
            rule,
            what: what.into(),
            at,
        });
    }
}

/// Checks all rules; the violations are in order of time.
pub(crate) fn check(log: &Log) -> Vec<Violation> {
    let mut findings = Findings::default();
    let timeline = Timeline::read(log, &mut findings);
    timeline.check_everything_ended(&mut findings);
    timeline.check_published(&mut findings);
    timeline.check_followed(&mut findings);
    timeline.check_commands(&mut findings);
    timeline.check_listed_jobs(&mut findings);
    for (at, job) in &log.wrongly_listed {
        findings.add(Rule::WronglyListed, *at, job.to_string());
    }
    transitions::check(&timeline, &mut findings);
    deliveries::check(&timeline, &mut findings);
    polls::check(&timeline, &mut findings);
    findings.0.sort_by_key(|violation| violation.at);
    findings.0
}
