//! The stored state over time: watches with their events, and deliveries with their changes, from the applied writes.

use std::collections::BTreeMap;

use forgewatch::store::{JobListUpdate, SavedWatch, StoreError};
use forgewatch_core::delivery::{DeliveryChange, DeliveryId, DeliveryRow, DeliveryState};
use forgewatch_core::event::{Event, EventId, EventType, WatchId};
use forgewatch_core::job::{JobRef, Outcome as Ending};

use super::{Findings, Rule};
use crate::log::{CommandKind, Log, ProcessEnd, Stamp, StoreOp, StoreWrite, WriteOutcome};
use crate::shards::shard_of;

pub(super) struct Timeline<'a> {
    pub(super) log: &'a Log,
    pub(super) watches: BTreeMap<WatchId, WatchRecord<'a>>,
    pub(super) events: BTreeMap<EventId, (Stamp, &'a Event)>,
    pub(super) deliveries: BTreeMap<&'a DeliveryId, DeliveryRecord<'a>>,
    /// Jobs added to the configuration, or removed from it.
    list_changes: Vec<ListChange<'a>>,
}

struct ListChange<'a> {
    write: &'a StoreWrite,
    at: Stamp,
    job: JobRef,
    is_added: bool,
}

pub(super) struct WatchRecord<'a> {
    pub(super) job: JobRef,
    pub(super) began: Stamp,
    pub(super) events: Vec<(Stamp, &'a Event)>,
    pub(super) ended: Option<(Stamp, Ending)>,
}

pub(super) struct DeliveryRecord<'a> {
    pub(super) row: &'a DeliveryRow,
    pub(super) changes: Vec<(&'a StoreWrite, Stamp, &'a DeliveryChange)>,
}

impl DeliveryRecord<'_> {
    /// Whether it had failed for good by this time.
    pub(super) fn had_failed(&self, before: Stamp) -> bool {
        let is_failure = |change: &DeliveryChange| matches!(change, DeliveryChange::Fail { .. });
        self.changes
            .iter()
            .any(|(_, at, change)| *at < before && is_failure(change))
    }
}

impl<'a> Timeline<'a> {
    /// Builds the timeline, and reports contradictions in it.
    pub(super) fn read(log: &'a Log, findings: &mut Findings) -> Self {
        let mut timeline = Self {
            log,
            watches: BTreeMap::new(),
            events: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            list_changes: Vec::new(),
        };
        let mut config_jobs: Vec<JobRef> = Vec::new();
        for write in &log.writes {
            if let Some((at, WriteOutcome::Failed(StoreError::Rejected(why)))) = &write.outcome {
                findings.add(Rule::StoreRejected, *at, why);
            }
            let Some(at) = write.applied() else {
                continue;
            };
            match &write.op {
                StoreOp::JobListUpdate(update) => {
                    timeline.add_job_list_update(at, write, update, &mut config_jobs, findings);
                }
                StoreOp::Commit {
                    events,
                    deliveries,
                    changes,
                    ..
                } => {
                    for event in events {
                        timeline.add_event(at, event, findings);
                    }
                    for row in deliveries {
                        timeline.deliveries.insert(
                            &row.id,
                            DeliveryRecord {
                                row,
                                changes: Vec::new(),
                            },
                        );
                    }
                    for change in changes {
                        if let Some(delivery) = timeline.deliveries.get_mut(change.id()) {
                            delivery.changes.push((write, at, change));
                        }
                    }
                }
                StoreOp::Calibrations(_) | StoreOp::Prune(_) | StoreOp::Read => {}
            }
        }
        timeline
    }

    /// The times in which a process served a job.
    pub(super) fn served(&self, process: usize, job: JobRef) -> Vec<(Stamp, Stamp)> {
        let shard = shard_of(job);
        let mut times: Vec<(Stamp, Stamp)> = Vec::new();
        let changes = self.log.shard_changes.iter();
        for change in changes.filter(|c| c.process == process && c.shard == shard) {
            match times.last_mut() {
                Some((_, until)) if !change.is_gained => *until = change.at,
                _ => times.push((change.at, Stamp::MAX)),
            }
        }
        times
    }

    /// Whether a process served a job all the time from here to there.
    pub(super) fn is_served(&self, process: usize, job: JobRef, from: Stamp, to: Stamp) -> bool {
        let served = self.served(process, job);
        served
            .iter()
            .any(|&(since, until)| since < from && to < until)
    }

    /// The watch of this job that runs at this time.
    pub(super) fn running_watch(&self, job: JobRef, at: Stamp) -> Option<WatchId> {
        let runs = |watched: &WatchRecord| {
            watched.job == job
                && watched.began < at
                && watched.ended.is_none_or(|(end, _)| at < end)
        };
        self.watches
            .iter()
            .find(|(_, watched)| runs(watched))
            .map(|(&id, _)| id)
    }

    fn add_event(&mut self, at: Stamp, event: &'a Event, findings: &mut Findings) {
        let id = event.id;
        let name = event.kind.as_str();
        if let Some((_, before)) = self.events.insert(id, (at, event)) {
            let was = before.kind.as_str();
            findings.add(
                Rule::DuplicateId,
                at,
                format!("{id} was {was} and is {name}"),
            );
        }
        if event.job.is_none() {
            return;
        }
        let Some(watched) = self.watches.get_mut(&id.watch) else {
            return findings.add(
                Rule::UnrequestedWatch,
                at,
                format!("{name} {id} of no watch"),
            );
        };
        if let Some((_, ending)) = watched.ended {
            let rule = match event.kind {
                EventType::Ended(_) => Rule::SecondEnding,
                _ => Rule::EventAfterEnding,
            };
            findings.add(rule, at, format!("{name} {id} after {ending:?}"));
        }
        let last = watched.events.last().map_or(0, |(_, event)| event.id.seq);
        if id.seq != last + 1 {
            findings.add(Rule::SeqGap, at, format!("{name} {id} after {last}"));
        }
        watched.events.push((at, event));
        if let EventType::Ended(outcome) = event.kind {
            watched.ended.get_or_insert((at, outcome));
        }
    }

    fn add_job_list_update(
        &mut self,
        at: Stamp,
        write: &'a StoreWrite,
        update: &JobListUpdate,
        config_jobs: &mut Vec<JobRef>,
        findings: &mut Findings,
    ) {
        let listed = update
            .config_jobs
            .as_ref()
            .map(|jobs| jobs.iter().map(|j| j.job).collect::<Vec<_>>());
        for watch in &update.new_watches {
            let job = watch.job;
            let is_newly_listed =
                listed.as_ref().is_some_and(|l| l.contains(&job)) && !config_jobs.contains(&job);
            let is_requested = is_newly_listed || self.is_requested_by_client(write, watch);
            if !is_requested || self.running_watch(job, at).is_some() {
                findings.add(Rule::UnrequestedWatch, at, format!("{job} as {}", watch.id));
            }
            if self.watches.contains_key(&watch.id) {
                findings.add(
                    Rule::DuplicateId,
                    at,
                    format!("two watches are {}", watch.id),
                );
            }
            let watched = WatchRecord {
                job,
                began: at,
                events: Vec::new(),
                ended: None,
            };
            self.watches.insert(watch.id, watched);
        }
        if let Some(listed) = listed {
            let mut change = |job: &JobRef, is_added| {
                let job = *job;
                self.list_changes.push(ListChange {
                    write,
                    at,
                    job,
                    is_added,
                });
            };
            let added = listed.iter().filter(|job| !config_jobs.contains(job));
            added.for_each(|job| change(job, true));
            let removed = config_jobs.iter().filter(|job| !listed.contains(job));
            removed.for_each(|job| change(job, false));
            *config_jobs = listed;
        }
    }

    /// A job that is added to the configuration is watched until it ends or is removed again.
    pub(super) fn check_listed_jobs(&self, findings: &mut Findings) {
        for ListChange { write, at, job, .. } in self.list_changes.iter().filter(|l| l.is_added) {
            let listed = write.submitted;
            let covers = |w: &&WatchRecord| {
                w.job == *job && w.began <= *at && w.ended.is_none_or(|(end, _)| listed < end)
            };
            let end = match self.watches.values().find(covers).map(|w| w.ended) {
                None => *at,
                Some(Some((end, Ending::Removed))) => end,
                Some(_) => continue,
            };
            let since = |removed: Stamp| listed < removed && removed < end;
            let by_config = |l: &ListChange<'_>| !l.is_added && l.job == *job && since(l.at);
            let by_client = self.log.commands.iter().any(|command| {
                matches!(command.kind, CommandKind::Remove(gone) if gone == *job)
                    && since(command.began)
            });
            if !by_client && !self.list_changes.iter().any(by_config) {
                findings.add(Rule::ListedNotWatched, end, job.to_string());
            }
        }
    }

    fn is_requested_by_client(&self, write: &StoreWrite, watch: &SavedWatch) -> bool {
        let mut commands = self.log.commands.iter().filter(|command| {
            let in_flight = command.began < write.submitted
                && command.confirmed.is_none_or(|at| write.submitted < at);
            command.process == write.process && in_flight
        });
        commands.any(|command| match command.kind {
            // If the clock jumped meanwhile, the last watch may have left `retain` or not.
            CommandKind::Add { job, may_start } => {
                job == watch.job && (may_start || command.wall_offset != write.wall_offset)
            }
            _ => false,
        })
    }

    /// At the end of a lifetime, every watch and delivery has ended.
    pub(super) fn check_everything_ended(&self, findings: &mut Findings) {
        let end = self
            .log
            .processes
            .last()
            .map(|process| process.ended)
            .unwrap_or_default();
        for process in &self.log.processes {
            match process.end {
                ProcessEnd::NotDrained => findings.add(
                    Rule::NotDrained,
                    process.ended,
                    "without faults, but not done",
                ),
                ProcessEnd::Failed | ProcessEnd::Crashed if process.faults_disabled => {
                    findings.add(
                        Rule::NotDrained,
                        process.ended,
                        "the process failed without faults",
                    );
                }
                _ => {}
            }
        }
        for (id, watched) in &self.watches {
            if watched.ended.is_none() {
                findings.add(Rule::MissingEnding, end, format!("{} as {id}", watched.job));
            }
        }
        for watch in &self.log.final_state.watches {
            findings.add(
                Rule::MissingEnding,
                end,
                format!("{} is still running in the store", watch.job),
            );
        }
        for row in &self.log.final_state.deliveries {
            if matches!(row.state, DeliveryState::Pending { .. }) {
                findings.add(
                    Rule::LostDelivery,
                    end,
                    format!("{} is still pending", row.id),
                );
            }
        }
    }

    /// Published events are stored, and stored events are published by a process that does not crash.
    pub(super) fn check_published(&self, findings: &mut Findings) {
        let mut published: BTreeMap<(usize, EventId), Stamp> = BTreeMap::new();
        for out in &self.log.published {
            let id = out.event.id;
            published.insert((out.process, id), out.at);
            match self.events.get(&id) {
                Some(&(at, event)) if at < out.at && *event == out.event => {}
                Some(&(at, _)) if at < out.at => {
                    findings.add(
                        Rule::DuplicateId,
                        out.at,
                        format!("{id} was published with other content"),
                    );
                }
                _ => {
                    let kind = out.event.kind.as_str();
                    findings.add(Rule::PublishedUncommitted, out.at, format!("{kind} {id}"));
                }
            }
        }
        for write in &self.log.writes {
            let stopped = self.log.processes[write.process].end == ProcessEnd::Stopped;
            if let (true, Some(at), Some(Ok(()))) = (stopped, write.applied(), &write.reply) {
                for event in write.events() {
                    if !published.contains_key(&(write.process, event.id)) {
                        findings.add(
                            Rule::NeverPublished,
                            at,
                            format!("{} {}", event.kind.as_str(), event.id),
                        );
                    }
                }
            }
        }
    }

    /// A client that follows reads all events in order, except those that are pruned before it reads them.
    pub(super) fn check_followed(&self, findings: &mut Findings) {
        let log = self.log;
        let applied = || log.writes.iter().filter_map(|w| Some((w.applied()?, w)));
        let is_pruned = |from: Stamp, to: Stamp| {
            applied()
                .filter(|(_, write)| matches!(write.op, StoreOp::Prune(_)))
                .any(|(at, _)| from < at && at < to)
        };
        let mut expected = applied()
            .flat_map(|(at, write)| write.events().iter().map(move |event| (at, event.id)));
        for followed in &log.followed {
            let found = expected.find(|&(at, id)| id == followed.id || !is_pruned(at, followed.at));
            if found.is_none_or(|(_, id)| id != followed.id) {
                let what = format!("{} instead of {found:?}", followed.id);
                return findings.add(Rule::WronglyFollowed, followed.at, what);
            }
        }
        for (at, id) in expected.filter(|&(at, _)| !is_pruned(at, Stamp::MAX)) {
            findings.add(Rule::WronglyFollowed, at, format!("{id} was not read"));
        }
    }

    /// Confirmed commands are stored.
    pub(super) fn check_commands(&self, findings: &mut Findings) {
        for command in &self.log.commands {
            let Some(done) = command.confirmed else {
                continue;
            };
            let is_stored = match &command.kind {
                CommandKind::Add { job, .. } => {
                    let of_it = |w: &WatchRecord| w.job == *job && w.began < done;
                    self.watches.values().any(of_it)
                }
                CommandKind::Remove(job) => self.running_watch(*job, done).is_none(),
                CommandKind::Retry(id) | CommandKind::Discard(id) => {
                    let decided = |change: &DeliveryChange| {
                        matches!(
                            change,
                            DeliveryChange::Retry { .. } | DeliveryChange::Discard { .. }
                        )
                    };
                    let changes = self.deliveries.get(id).map(|d| &d.changes);
                    changes.is_some_and(|changes| {
                        let within = |at: Stamp| command.began < at && at < done;
                        changes
                            .iter()
                            .any(|(_, at, change)| within(*at) && decided(change))
                    })
                }
                CommandKind::Reload | CommandKind::Query => true,
            };
            if !is_stored {
                findings.add(Rule::CommandLost, done, format!("{:?}", command.kind));
            }
        }
    }
}
