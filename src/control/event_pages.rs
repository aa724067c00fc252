//! Reads stored events, and decides who receives them.
//!
//! Most clients that follow events are close to the newest one, so the newest events that were read are kept: however
//! many clients there are, a new event is read from the store once.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use serde::Deserialize;
use tokio::sync::{Mutex, watch};

use super::protocol::EventFilter;
use crate::store::{DaemonStore, StoreError, StoredEvent};
use forgewatch_core::event::{has_labels, matches_type};
use forgewatch_core::job::JobRef;

/// How many events are read at a time.
const PAGE_SIZE: usize = 256;

/// A stored event with what filters need of it.
#[derive(Debug)]
pub struct FilteredEvent {
    pub stored: StoredEvent,
    facts: EventFacts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EventFacts {
    event_type: String,
    job: Option<JobRef>,
    labels: BTreeMap<String, String>,
}

impl FilteredEvent {
    fn new(stored: StoredEvent) -> Self {
        // The store wrote the record itself; an unreadable one passes only a filter without conditions.
        let facts = serde_json::from_str(&stored.record).unwrap_or_default();
        Self { stored, facts }
    }

    pub fn passes(&self, filter: &EventFilter) -> bool {
        let EventFacts {
            event_type,
            job,
            labels,
        } = &self.facts;
        let is_type = |pattern: &String| matches_type(pattern, event_type);
        (filter.jobs.is_empty() || job.is_some_and(|job| filter.jobs.contains(&job)))
            && (filter.types.is_empty() || filter.types.iter().any(is_type))
            && has_labels(labels, &filter.labels)
    }
}

/// The stored events, a page at a time.
#[derive(Debug)]
pub struct EventPages<S> {
    store: S,
    /// The number of commits; its sender is dropped when the daemon stops.
    commits: watch::Receiver<u64>,
    newest: Mutex<NewestEvents>,
}

/// A run of stored events without a gap, the newest that were read.
#[derive(Debug, Default)]
struct NewestEvents {
    /// The position before the first of them.
    after: u64,
    events: VecDeque<Rc<FilteredEvent>>,
    /// The number of commits when the store had no later event.
    complete_at: Option<u64>,
}

impl NewestEvents {
    fn last(&self) -> u64 {
        self.events
            .back()
            .map_or(self.after, |event| event.stored.offset)
    }

    /// The events behind this position; None if events are missing between it and them.
    fn behind(&self, after: u64) -> Option<Vec<Rc<FilteredEvent>>> {
        let first = self
            .events
            .partition_point(|event| event.stored.offset <= after);
        (self.after..=self.last())
            .contains(&after)
            .then(|| self.events.range(first..).map(Rc::clone).collect())
    }

    fn append(&mut self, page: &[Rc<FilteredEvent>]) {
        self.events.extend(page.iter().map(Rc::clone));
        let excess = self.events.len().saturating_sub(PAGE_SIZE);
        if let Some(last) = self.events.drain(..excess).next_back() {
            self.after = last.stored.offset;
        }
    }
}

impl<S: DaemonStore> EventPages<S> {
    pub fn new(store: S, commits: watch::Receiver<u64>) -> Self {
        Self {
            store,
            commits,
            newest: Mutex::default(),
        }
    }

    pub fn store(&self) -> &S {
        &self.store
    }

    /// Announces commits.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// The events behind this offset, as far as they fit into a page; empty if there are none yet. Events of commits
    /// that have been announced in the meantime may be missing.
    pub async fn after(&self, after: u64) -> Result<Vec<Rc<FilteredEvent>>, StoreError> {
        let mut newest = self.newest.lock().await;
        // Before the query, so that events committed during it count as new.
        let commits = *self.commits.borrow();
        match newest.behind(after) {
            Some(page) if !page.is_empty() || newest.complete_at == Some(commits) => {
                return Ok(page);
            }
            Some(_) => {}
            // A client that reads older events does not move the others off the newest ones.
            None if after < newest.after => {
                drop(newest);
                return self.read(after).await;
            }
            None => {
                *newest = NewestEvents {
                    after,
                    ..NewestEvents::default()
                }
            }
        }
        let page = self.read(after).await?;
        newest.append(&page);
        newest.complete_at = (page.len() < PAGE_SIZE).then_some(commits);
        Ok(page)
    }

    async fn read(&self, after: u64) -> Result<Vec<Rc<FilteredEvent>>, StoreError> {
        let stored = self.store.events_since(after, PAGE_SIZE).await?;
        let events = stored.into_iter().map(FilteredEvent::new).map(Rc::new);
        Ok(events.collect())
    }
}

#[cfg(test)]
mod tests {
    use forgewatch_core::event::{EventId, WatchId};

    use super::*;

    fn event(record: &str) -> FilteredEvent {
        FilteredEvent::new(StoredEvent {
            offset: 1,
            id: EventId {
                watch: WatchId([1; 16]),
                seq: 1,
            },
            wall_ms: 0,
            record: record.to_owned(),
        })
    }

    #[test]
    fn an_event_passes_if_it_meets_every_condition() {
        let failed =
            event(r#"{"event_type":"job.failed","job":"diff/1","labels":{"a":"1","b":"2"}}"#);
        let started = event(r#"{"event_type":"watch.started"}"#);
        let labels = |labels: &[(&str, &str)]| -> BTreeMap<String, String> {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            labels.iter().map(own).collect()
        };
        let filter = |jobs: &[&str], pairs: &[(&str, &str)], types: &[&str]| EventFilter {
            jobs: jobs.iter().map(|job| job.parse().unwrap()).collect(),
            labels: labels(pairs),
            types: types.iter().map(ToString::to_string).collect(),
        };
        for (filter, failed_passes, started_passes) in [
            (filter(&[], &[], &[]), true, true),
            (filter(&["diff/2", "diff/1"], &[], &[]), true, false),
            (filter(&["update/1"], &[], &[]), false, false),
            (filter(&[], &[("a", "1")], &[]), true, false),
            (filter(&[], &[("a", "1"), ("b", "3")], &[]), false, false),
            (filter(&[], &[], &["job.*"]), true, false),
            (
                filter(&[], &[], &["watch.started", "job.failed"]),
                true,
                true,
            ),
            (filter(&["diff/1"], &[], &["job.completed"]), false, false),
        ] {
            assert_eq!(failed.passes(&filter), failed_passes, "{filter:?}");
            assert_eq!(started.passes(&filter), started_passes, "{filter:?}");
        }
        assert!(event("unreadable").passes(&EventFilter::default()));
    }
}
