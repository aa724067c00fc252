//! The jobs that a client waits for while a daemon watches them.
//!
//! The client follows the daemon's events and, whenever it has read all of them, compares with the daemon's list. So it
//! notices ends whose events it cannot read any more: the job ended before, was removed, or its events were pruned.

use std::collections::BTreeMap;

use super::event::{Event, EventType, FinishedCounts, WatchId};
use super::job::{JobRef, Outcome};

/// A job in the daemon's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedJob {
    /// The job.
    pub job: JobRef,
    /// Its newest watch.
    pub watch: WatchId,
    /// How that watch ended; None while it runs.
    pub outcome: Option<Outcome>,
}

/// What is known of each job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitSet {
    jobs: BTreeMap<JobRef, Awaited>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Awaited {
    watch: Option<WatchId>,
    outcome: Option<Outcome>,
}

impl WaitSet {
    /// Waits for these jobs.
    pub fn new(jobs: impl IntoIterator<Item = JobRef>) -> Self {
        let awaited = |job| (job, Awaited::default());
        Self {
            jobs: jobs.into_iter().map(awaited).collect(),
        }
    }

    /// Takes an event; whether it belongs to a job that is waited for.
    pub fn on_event(&mut self, event: &Event) -> bool {
        let job = event.job.and_then(|job| self.jobs.get_mut(&job));
        let Some(awaited) = job.filter(|awaited| awaited.outcome.is_none()) else {
            return false;
        };
        awaited.watch = Some(event.id.watch);
        if let EventType::Ended(outcome) = event.kind {
            awaited.outcome = Some(outcome);
        }
        true
    }

    /// Takes the daemon's list, which is newer than all events so far. Returns the jobs whose end was not among the
    /// events: they ended as listed, or were removed if the daemon no longer knows them.
    pub fn on_list(&mut self, list: impl IntoIterator<Item = ListedJob>) -> Vec<(JobRef, Outcome)> {
        let listed: BTreeMap<JobRef, ListedJob> = list
            .into_iter()
            .map(|listed| (listed.job, listed))
            .collect();
        let mut ended = Vec::new();
        for (&job, awaited) in &mut self.jobs {
            if awaited.outcome.is_some() {
                continue;
            }
            let listed = listed.get(&job);
            awaited.watch = listed.map(|listed| listed.watch);
            awaited.outcome = listed.map_or(Some(Outcome::Removed), |listed| listed.outcome);
            ended.extend(awaited.outcome.map(|outcome| (job, outcome)));
        }
        ended
    }

    /// The jobs that have not ended.
    pub fn active(&self) -> impl Iterator<Item = JobRef> {
        let active = self.jobs.iter().filter(|(_, job)| job.outcome.is_none());
        active.map(|(&job, _)| job)
    }

    /// The jobs that have ended, and how.
    pub fn ended(&self) -> impl Iterator<Item = (JobRef, Outcome)> {
        let jobs = self.jobs.iter();
        jobs.filter_map(|(&job, awaited)| Some((job, awaited.outcome?)))
    }

    /// The numbers of ended jobs.
    pub fn counts(&self) -> FinishedCounts {
        let mut counts = FinishedCounts::default();
        for (_, outcome) in self.ended() {
            counts.add(outcome);
        }
        counts
    }

    /// The number of jobs.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there are no jobs at all.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventFields, EventId};

    const DONE: EventType = EventType::Ended(Outcome::Completed);

    fn job(name: &str) -> JobRef {
        name.parse().unwrap()
    }

    fn event(name: &str, watch: u8, kind: EventType) -> Event {
        Event {
            id: EventId {
                watch: WatchId([watch; 16]),
                seq: 1,
            },
            kind,
            wall_ms: 0,
            job: Some(job(name)),
            meta: None,
            fields: EventFields::default(),
        }
    }

    fn listed(name: &str, watch: u8, outcome: Option<Outcome>) -> ListedJob {
        ListedJob {
            job: job(name),
            watch: WatchId([watch; 16]),
            outcome,
        }
    }

    fn active(set: &WaitSet) -> Vec<String> {
        set.active().map(|job| job.to_string()).collect()
    }

    #[test]
    fn events_end_the_jobs_that_are_waited_for() {
        let mut set = WaitSet::new([job("diff/1"), job("update/2")]);
        assert!(set.on_event(&event("diff/1", 1, EventType::Progressed)));
        assert!(!set.on_event(&event("diff/3", 3, DONE)), "another job");
        assert_eq!(active(&set), ["diff/1", "update/2"]);
        assert!(set.on_event(&event("diff/1", 1, DONE)));
        assert!(!set.on_event(&event("diff/1", 1, DONE)), "ended already");
        assert_eq!(active(&set), ["update/2"]);
        assert_eq!(set.counts().completed, 1);
    }

    #[test]
    fn the_list_ends_jobs_whose_events_were_not_read() {
        let mut set = WaitSet::new(["diff/1", "diff/2", "diff/3", "diff/4"].map(job));
        set.on_event(&event("diff/4", 4, DONE));
        let list = [
            listed("diff/1", 1, None),
            listed("diff/2", 2, Some(Outcome::Failed)),
            // Watched again since.
            listed("diff/4", 5, None),
        ];
        let ended = set.on_list(list);
        let expected = [
            (job("diff/2"), Outcome::Failed),
            (job("diff/3"), Outcome::Removed),
        ];
        assert_eq!(ended, expected);
        assert_eq!(active(&set), ["diff/1"]);
        assert_eq!(set.on_list(list), [], "each is returned once");
    }

    #[test]
    fn an_event_after_the_list_does_not_end_a_job_twice() {
        let mut set = WaitSet::new([job("diff/1")]);
        let ended = set.on_list([listed("diff/1", 1, Some(Outcome::Completed))]);
        assert_eq!(ended.len(), 1);
        assert!(!set.on_event(&event("diff/1", 1, DONE)));
        assert_eq!(set.counts().completed, 1);
    }
}
