//! What clients are told: the words are [`crate::control::protocol`]'s, the facts the engine's and the store's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use super::config_apply::not_left;
use super::{ActiveWatch, Daemon};
use crate::clanforge::Api;
use crate::control::protocol::{
    AddedJob, Answer, DeliveryLine, How, JobLine, JobShown, Stands as Word,
};
use crate::engine::Clock;
use crate::hooks::payload::EventPayload;
use crate::hooks::queue::{Listed, Stands};
use crate::hooks::{DeliveryAction, Executor};
use crate::store::{Archive, JobListUpdate, SavedWatch, StoreError};
use forgewatch_core::delivery::{DeliveryId, DeliveryRow, DeliveryState};
use forgewatch_core::job::JobRef;
use forgewatch_core::job::JobSpec;
use forgewatch_core::poll_log::{Poll, WaitReason};
use forgewatch_core::reconcile::AddedBy;
use forgewatch_core::status::whole_percent;
use forgewatch_core::time::millis;
use forgewatch_core::watch::{Watch, outcome_of};

impl<A, S, C, P> Daemon<A, S, C, P>
where
    A: Api + 'static,
    S: Archive + Clone + 'static,
    C: Clock + Clone + 'static,
    P: Executor,
{
    /// Watches these jobs. One that is watched stays as it is, and so does one whose watch ended within `retain` unless
    /// `again` says otherwise. All of them or none.
    pub async fn add(
        &mut self,
        jobs: Vec<JobRef>,
        labels: BTreeMap<String, String>,
        again: bool,
    ) -> Answer {
        let mut accept = JobListUpdate::default();
        let (mut begin, mut added) = (Vec::new(), Vec::new());
        let mut named = BTreeSet::new();
        // Said twice is meant once: a job has one watch.
        for job in jobs.into_iter().filter(|&job| named.insert(job)) {
            let (id, how) = match self.live.get(&job) {
                Some(live) if live.is_leaving => return Answer::refused(not_left(job)),
                Some(live) => {
                    let by_client = AddedBy {
                        socket: true,
                        ..live.added_by
                    };
                    accept.added_by.push((live.id, by_client));
                    (live.id, How::Watched)
                }
                None => match self.remembered(job).await {
                    Err(error) => return refused(&error),
                    Ok(Some((saved, outcome))) if !again => (saved.id, How::Ended(outcome)),
                    Ok(_) => {
                        let labels = if labels.is_empty() {
                            self.labels_in_the_file(job)
                        } else {
                            labels.clone()
                        };
                        match self.new_watch(JobSpec { job, labels }, BY_CLIENT) {
                            Err(error) => return Answer::refused(error),
                            Ok((watch, saved)) => {
                                accept.begin.push(saved);
                                let id = watch.id();
                                begin.push(watch);
                                (id, How::Begun)
                            }
                        }
                    }
                },
            };
            let watch = id.to_string();
            added.push(AddedJob { job, watch, how });
        }
        if accept != JobListUpdate::default()
            && let Err(error) = self.outbox.store().accept(accept).await
        {
            return refused(&error);
        }
        for line in added.iter().filter(|line| line.how == How::Watched) {
            if let Some(ActiveWatch { added_by, .. }) = self.live.get_mut(&line.job) {
                added_by.socket = true;
            }
        }
        for watch in begin {
            self.begin(watch, BY_CLIENT);
        }
        Answer::Added(added)
    }

    /// Ends the watches of these jobs with `job.removed`; [`Daemon::advance`] tells when that is on record. Returns
    /// which are to end, and which are not watched.
    pub fn remove(&mut self, jobs: Vec<JobRef>) -> (Vec<JobRef>, Vec<JobRef>) {
        let (removed, unknown): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|&job| self.live.contains_key(&job));
        for &job in &removed {
            self.stop(job);
        }
        (removed, unknown)
    }

    /// The watches that run, for the screen.
    pub fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.engine.watches()
    }

    /// What is watched; with `all`, what ended within `retain` too.
    pub async fn list(&self, all: bool) -> Answer {
        let mut lines: Vec<JobLine> = self.engine.watches().map(|w| self.running(w)).collect();
        if all {
            match self
                .outbox
                .store()
                .ended_since(self.forgotten_before())
                .await
            {
                Ok(ended) => lines.extend(ended.iter().filter_map(|saved| self.ended(saved))),
                Err(error) => return refused(&error),
            }
        }
        let order = |line: &JobLine| {
            (
                line.began_ms.unwrap_or(i64::MAX),
                line.job,
                line.watch.clone(),
            )
        };
        lines.sort_by_cached_key(order);
        Answer::Jobs(lines)
    }

    /// All that is known of a job's newest watch.
    pub async fn show(&self, job: JobRef) -> Answer {
        let running = self.engine.watches().find(|watch| watch.job() == job);
        let store = self.outbox.store();
        let shown = async {
            let line = match running {
                Some(watch) => self.running(watch),
                None => match store
                    .newest_of(job)
                    .await?
                    .and_then(|saved| self.ended(&saved))
                {
                    Some(line) => line,
                    None => return Ok(None),
                },
            };
            let Ok(id) = line.watch.parse() else {
                return Ok(None);
            };
            let events = store.events_of(id).await?;
            let polls = store.polls(id).await?;
            let polls: Vec<Poll> = polls
                .iter()
                .filter_map(|poll| serde_json::from_str(poll).ok())
                .collect();
            // A watch that is held asks no more on its own, whatever its last poll said.
            let held = running
                .is_some_and(Watch::is_held)
                .then_some(WaitReason::Outage);
            let planned = running.and_then(|_| Some(polls.last()?.why));
            Ok(Some(JobShown {
                why: held.or(planned),
                line,
                events: events
                    .into_iter()
                    .filter_map(|event| RawValue::from_string(event.record).ok())
                    .collect(),
                polls,
                deliveries: self.deliveries(store.deliveries_of(id).await?),
            }))
        };
        match shown.await {
            Ok(Some(shown)) => Answer::Job(Box::new(shown)),
            Ok(None) => Answer::refused(format!(
                "{job} is not known here; forgewatch list shows what is watched"
            )),
            Err(error) => refused(&error),
        }
    }

    /// The deliveries that are not done: some that are to be made, and the newest that were given up.
    pub async fn hooks(&self) -> Answer {
        let (given_up, all) = match self.outbox.store().given_up(LISTED).await {
            Ok(found) => found,
            Err(error) => return refused(&error),
        };
        let mut lines: Vec<DeliveryLine> = self.hooks.list(LISTED).iter().map(listed).collect();
        // One whose giving up is on record and not yet in force is among those of the hooks.
        let given_up = given_up
            .into_iter()
            .filter(|row| self.hooks.find(&row.id).is_none());
        lines.extend(given_up.filter_map(kept));
        let beyond = |count: usize| count.saturating_sub(LISTED);
        Answer::Deliveries {
            lines,
            more: beyond(self.hooks.waiting()) + beyond(all),
        }
    }

    /// Tries a delivery anew that was given up.
    pub async fn retry_hook(&mut self, id: &str) -> Answer {
        match id.parse::<DeliveryId>() {
            Ok(delivery) => decided(id, self.hooks.retry(delivery).await),
            Err(_) => no_delivery(id),
        }
    }

    /// Forgets a delivery that was given up.
    pub async fn discard_hook(&mut self, id: &str) -> Answer {
        match id.parse::<DeliveryId>() {
            Ok(delivery) => decided(id, self.hooks.discard(delivery).await),
            Err(_) => no_delivery(id),
        }
    }

    /// Forgets some of the deliveries that were given up.
    pub async fn discard_given_up(&mut self) -> Answer {
        match self.hooks.discard_some().await {
            Ok(discarded) => Answer::Discarded(discarded),
            Err(error) => refused(&error),
        }
    }

    /// What the file calls this job, where it lists it.
    fn labels_in_the_file(&self, job: JobRef) -> BTreeMap<String, String> {
        let listed = self
            .config_jobs
            .iter()
            .find(|config_jobs| config_jobs.job == job);
        listed
            .and_then(|listed| serde_json::from_str(&listed.labels).ok())
            .unwrap_or_default()
    }

    /// The newest watch of a job, and how it ended, where that is not too long ago.
    async fn remembered(&self, job: JobRef) -> Result<Option<(SavedWatch, String)>, StoreError> {
        let saved = self.outbox.store().newest_of(job).await?;
        let after = self.forgotten_before();
        let saved = saved.filter(|s| s.ended_wall_ms.is_some_and(|at| at >= after));
        Ok(saved.and_then(|saved| {
            let outcome = outcome_of(&saved.row)?;
            Some((saved, outcome))
        }))
    }

    fn running(&self, watch: &Watch) -> JobLine {
        let now = self.clock.now();
        JobLine {
            left_ms: watch.left(now).map(millis),
            next_poll_ms: Some(millis(watch.next_poll(now))),
            unreachable: watch.is_unreachable(),
            ..Self::line(watch)
        }
    }

    /// None where the row cannot be read, which no row of ours can be.
    fn ended(&self, saved: &SavedWatch) -> Option<JobLine> {
        let watch = Watch::load(&saved.row, self.clock.now(), &self.limits).ok()?;
        Some(JobLine {
            outcome: outcome_of(&saved.row),
            ended_ms: saved.ended_wall_ms,
            ..Self::line(&watch)
        })
    }

    fn line(watch: &Watch) -> JobLine {
        JobLine {
            job: watch.job(),
            watch: watch.id().to_string(),
            labels: watch.about().map(|a| a.labels.clone()).unwrap_or_default(),
            state: watch.state().map(|state| state.as_str().to_owned()),
            progress: watch.progress().map(whole_percent),
            left_ms: None,
            next_poll_ms: None,
            requests: watch.requests(),
            unreachable: false,
            outcome: None,
            began_ms: watch.began_ms(),
            ended_ms: None,
        }
    }

    /// What the store keeps of deliveries; what is under way only the hooks know.
    fn deliveries(&self, rows: Vec<DeliveryRow>) -> Vec<DeliveryLine> {
        let line = |row: DeliveryRow| match self.hooks.find(&row.id) {
            Some(open) => Some(listed(&open)),
            None => kept(row),
        };
        rows.into_iter().filter_map(line).collect()
    }
}

/// How many deliveries of either sort a client is told of at once.
const LISTED: usize = 256;

const BY_CLIENT: AddedBy = AddedBy {
    file: false,
    socket: true,
};

fn refused(error: &StoreError) -> Answer {
    // The client alone would know of it.
    tracing::error!(%error, "what a client asked for could not be done");
    Answer::refused(error.to_string())
}

fn decided(id: &str, wish: Result<DeliveryAction, StoreError>) -> Answer {
    match wish {
        Ok(DeliveryAction::Granted) => Answer::Done,
        Ok(DeliveryAction::NotGivenUp) => no_delivery(id),
        Ok(DeliveryAction::HookGone) => Answer::refused(format!(
            "{id}: the hook is no longer in the configuration; discard it with: forgewatch hooks discard {id}"
        )),
        Err(error) => refused(&error),
    }
}

fn no_delivery(id: &str) -> Answer {
    Answer::refused(format!(
        "no delivery {id} was given up; forgewatch hooks list shows them"
    ))
}

/// A delivery as the hooks have it.
fn listed(delivery: &Listed) -> DeliveryLine {
    let (standing, due_ms) = match delivery.stands {
        Stands::Pending { due_ms } => (Word::Pending, Some(due_ms)),
        Stands::Running => (Word::Running, None),
    };
    DeliveryLine {
        standing,
        due_ms,
        error: delivery.last.as_ref().map(|why| why.error.clone()),
        ..line(&delivery.id, &delivery.told, delivery.attempts)
    }
}

/// A delivery as the store has it.
fn kept(row: DeliveryRow) -> Option<DeliveryLine> {
    let told = EventPayload::parse(row.body).ok()?;
    let (standing, due_ms, error) = match row.standing {
        DeliveryState::Pending { due_ms } => (Word::Pending, Some(due_ms), None),
        DeliveryState::Failed(why) => (Word::Failed, None, Some(why.error)),
        DeliveryState::Delivered => (Word::Delivered, None, None),
        DeliveryState::Discarded => (Word::Discarded, None, None),
    };
    Some(DeliveryLine {
        standing,
        due_ms,
        error,
        ..line(&row.id, &told, row.attempts)
    })
}

fn line(id: &DeliveryId, told: &EventPayload, attempts: u32) -> DeliveryLine {
    DeliveryLine {
        id: id.to_string(),
        hook: id.hook.to_string(),
        event_type: told.kind().to_owned(),
        job: told.job(),
        attempts,
        standing: Word::Pending,
        due_ms: None,
        error: None,
    }
}
