//! What is on record: watches with their events, deliveries with what became of them, in the order of the disk.

use std::collections::BTreeMap;

use forgewatch::store::{JobListUpdate, SavedWatch, StoreError};
use forgewatch_core::delivery::{DeliveryChange, DeliveryId, DeliveryRow, DeliveryState};
use forgewatch_core::event::{Event, EventId, EventType, WatchId};
use forgewatch_core::job::{JobRef, Outcome as Ending};

use super::{Findings, Rule};
use crate::log::{DeliveryAction, End, Log, Op, Outcome, Stamp, Write};

/// The record.
pub(super) struct History<'a> {
    pub(super) log: &'a Log,
    pub(super) watches: BTreeMap<WatchId, Watched<'a>>,
    pub(super) events: BTreeMap<EventId, (Stamp, &'a Event)>,
    pub(super) deliveries: BTreeMap<&'a DeliveryId, Delivery<'a>>,
    /// Which jobs came into the file's list, or went from it.
    lists: Vec<Listing<'a>>,
}

struct Listing<'a> {
    write: &'a Write,
    at: Stamp,
    job: JobRef,
    came: bool,
}

/// One watch.
pub(super) struct Watched<'a> {
    pub(super) job: JobRef,
    pub(super) began: Stamp,
    pub(super) events: Vec<(Stamp, &'a Event)>,
    pub(super) ended: Option<(Stamp, Ending)>,
}

/// One delivery.
pub(super) struct Delivery<'a> {
    pub(super) row: &'a DeliveryRow,
    pub(super) changes: Vec<(&'a Write, Stamp, &'a DeliveryChange)>,
}

impl Delivery<'_> {
    /// Whether it was given up before this moment.
    pub(super) fn was_given_up(&self, before: Stamp) -> bool {
        let given_up = |change: &DeliveryChange| matches!(change, DeliveryChange::GiveUp { .. });
        self.changes
            .iter()
            .any(|(_, at, change)| *at < before && given_up(change))
    }
}

impl<'a> History<'a> {
    /// Reads the record, and judges what contradicts itself in it.
    pub(super) fn read(log: &'a Log, findings: &mut Findings) -> Self {
        let mut history = Self {
            log,
            watches: BTreeMap::new(),
            events: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            lists: Vec::new(),
        };
        let mut config_jobs: Vec<JobRef> = Vec::new();
        for write in &log.writes {
            if let Some((at, Outcome::Failed(StoreError::Refused(why)))) = &write.outcome {
                findings.add(Rule::StoreRefused, *at, why);
            }
            let Some(at) = write.taken() else {
                continue;
            };
            match &write.op {
                Op::JobListUpdate(accept) => {
                    history.accept(at, write, accept, &mut config_jobs, findings);
                }
                Op::Commit {
                    events,
                    deliveries,
                    changes,
                    ..
                } => {
                    for event in events {
                        history.event(at, event, findings);
                    }
                    for row in deliveries {
                        history.deliveries.insert(
                            &row.id,
                            Delivery {
                                row,
                                changes: Vec::new(),
                            },
                        );
                    }
                    for change in changes {
                        if let Some(delivery) = history.deliveries.get_mut(change.id()) {
                            delivery.changes.push((write, at, change));
                        }
                    }
                }
                Op::Calibrations(_) | Op::Prune(_) | Op::Read => {}
            }
        }
        history
    }

    /// The watch of this job that runs at this moment.
    pub(super) fn live(&self, job: JobRef, at: Stamp) -> Option<WatchId> {
        let runs = |watched: &Watched| {
            watched.job == job
                && watched.began < at
                && watched.ended.is_none_or(|(end, _)| at < end)
        };
        self.watches
            .iter()
            .find(|(_, watched)| runs(watched))
            .map(|(&id, _)| id)
    }

    fn event(&mut self, at: Stamp, event: &'a Event, findings: &mut Findings) {
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
            return findings.add(Rule::WatchedUnasked, at, format!("{name} {id} of no watch"));
        };
        if let Some((_, ending)) = watched.ended {
            let rule = match event.kind {
                EventType::Ended(_) => Rule::SecondEnding,
                _ => Rule::AfterEnding,
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

    fn accept(
        &mut self,
        at: Stamp,
        write: &'a Write,
        accept: &JobListUpdate,
        config_jobs: &mut Vec<JobRef>,
        findings: &mut Findings,
    ) {
        let listed = accept
            .jobs
            .as_ref()
            .map(|jobs| jobs.iter().map(|j| j.job).collect::<Vec<_>>());
        for watch in &accept.begin {
            let job = watch.job;
            let is_new_in_the_file =
                listed.as_ref().is_some_and(|l| l.contains(&job)) && !config_jobs.contains(&job);
            let is_wanted = is_new_in_the_file || self.is_wanted_by_a_client(write, watch);
            if !is_wanted || self.live(job, at).is_some() {
                findings.add(Rule::WatchedUnasked, at, format!("{job} as {}", watch.id));
            }
            if self.watches.contains_key(&watch.id) {
                findings.add(
                    Rule::DuplicateId,
                    at,
                    format!("two watches are {}", watch.id),
                );
            }
            let watched = Watched {
                job,
                began: at,
                events: Vec::new(),
                ended: None,
            };
            self.watches.insert(watch.id, watched);
        }
        if let Some(listed) = listed {
            let mut change = |job: &JobRef, came| {
                let job = *job;
                self.lists.push(Listing {
                    write,
                    at,
                    job,
                    came,
                });
            };
            let came = listed.iter().filter(|job| !config_jobs.contains(job));
            came.for_each(|job| change(job, true));
            let went = config_jobs.iter().filter(|job| !listed.contains(job));
            went.for_each(|job| change(job, false));
            *config_jobs = listed;
        }
    }

    /// What the file newly lists is watched, and only who lets it go later than that can end it before its time.
    pub(super) fn check_listed(&self, findings: &mut Findings) {
        for Listing { write, at, job, .. } in self.lists.iter().filter(|l| l.came) {
            let listed = write.submitted;
            let covers = |w: &&Watched| {
                w.job == *job && w.began <= *at && w.ended.is_none_or(|(end, _)| listed < end)
            };
            let end = match self.watches.values().find(covers).map(|w| w.ended) {
                None => *at,
                Some(Some((end, Ending::Removed))) => end,
                Some(_) => continue,
            };
            let since = |let_go: Stamp| listed < let_go && let_go < end;
            let by_file = |l: &Listing<'_>| !l.came && l.job == *job && since(l.at);
            let by_hand = self.log.commands.iter().any(|command| {
                matches!(command.wish, DeliveryAction::Remove(gone) if gone == *job)
                    && since(command.began)
            });
            if !by_hand && !self.lists.iter().any(by_file) {
                findings.add(Rule::ListedUnwatched, end, job.to_string());
            }
        }
    }

    fn is_wanted_by_a_client(&self, write: &Write, watch: &SavedWatch) -> bool {
        let mut commands = self.log.commands.iter().filter(|command| {
            let under_way = command.began < write.submitted
                && command.done.is_none_or(|at| write.submitted < at);
            command.life == write.life && under_way
        });
        commands.any(|command| match command.wish {
            // Whether its last watch is still remembered nobody can say where the clock was set in between.
            DeliveryAction::Add { job, may_begin } => {
                job == watch.job && (may_begin || command.wall_off != write.wall_off)
            }
            _ => false,
        })
    }

    /// In the end everything has ended.
    pub(super) fn check_ends(&self, findings: &mut Findings) {
        let end = self
            .log
            .lives
            .last()
            .map(|life| life.ended)
            .unwrap_or_default();
        for life in &self.log.lives {
            match life.end {
                End::Endless => findings.add(Rule::Endless, life.ended, "calm, and still not done"),
                End::Failed | End::Crashed if life.is_calm => {
                    findings.add(Rule::Endless, life.ended, "it failed in calm weather");
                }
                _ => {}
            }
        }
        for (id, watched) in &self.watches {
            if watched.ended.is_none() {
                findings.add(Rule::LostEnding, end, format!("{} as {id}", watched.job));
            }
        }
        for watch in &self.log.left.watches {
            findings.add(
                Rule::LostEnding,
                end,
                format!("{} runs on in the store", watch.job),
            );
        }
        for row in &self.log.left.deliveries {
            if matches!(row.standing, DeliveryState::Pending { .. }) {
                findings.add(Rule::LostDelivery, end, format!("{} still waits", row.id));
            }
        }
    }

    /// What was told is on record, and the other way round where the process lived to tell it.
    pub(super) fn check_told(&self, findings: &mut Findings) {
        let mut told: BTreeMap<(usize, EventId), Stamp> = BTreeMap::new();
        for out in &self.log.told {
            let id = out.event.id;
            told.insert((out.life, id), out.at);
            match self.events.get(&id) {
                Some(&(at, event)) if at < out.at && *event == out.event => {}
                Some(&(at, _)) if at < out.at => {
                    findings.add(
                        Rule::DuplicateId,
                        out.at,
                        format!("told {id} in other words"),
                    );
                }
                _ => {
                    let kind = out.event.kind.as_str();
                    findings.add(Rule::ToldUncommitted, out.at, format!("{kind} {id}"));
                }
            }
        }
        for write in &self.log.writes {
            let stopped = self.log.lives[write.life].end == End::Stopped;
            if let (true, Some(at), Some(Ok(()))) = (stopped, write.taken(), &write.reply) {
                for event in write.events() {
                    if !told.contains_key(&(write.life, event.id)) {
                        findings.add(
                            Rule::NeverTold,
                            at,
                            format!("{} {}", event.kind.as_str(), event.id),
                        );
                    }
                }
            }
        }
    }

    /// What a client was told to be done is on record.
    pub(super) fn check_promises(&self, findings: &mut Findings) {
        for command in &self.log.commands {
            let Some(done) = command.done else {
                continue;
            };
            let is_kept = match &command.wish {
                DeliveryAction::Add { job, .. } => {
                    let of_it = |w: &Watched| w.job == *job && w.began < done;
                    self.watches.values().any(of_it)
                }
                DeliveryAction::Remove(job) => self.live(*job, done).is_none(),
                DeliveryAction::Retry(id) | DeliveryAction::Discard(id) => {
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
                DeliveryAction::Reload | DeliveryAction::Look => true,
            };
            if !is_kept {
                findings.add(Rule::PromiseBroken, done, format!("{:?}", command.wish));
            }
        }
    }
}
