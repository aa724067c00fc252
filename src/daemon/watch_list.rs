//! Lists watches in pages, so that a daemon that remembers many needs memory for few.
//!
//! A page contains the watches whose ids follow those of the page before. An id never changes: a watch that ends between
//! two pages is in exactly one of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Daemon, RequestFailure};
use crate::clanforge::Api;
use crate::engine::Clock;
use crate::hooks::Executor;
use crate::store::{DaemonStore, SavedWatch, StoreError};
use forgewatch_core::event::{WatchId, has_labels};
use forgewatch_core::job::JobRef;
use forgewatch_core::time::Moment;
use forgewatch_core::time_left::TimeLeft;
use forgewatch_core::watch::{Watch, outcome_of};

/// Most watches on a page.
const PAGE: usize = 500;

#[derive(Debug)]
pub struct WatchReport {
    pub watch: Watch,
    /// Of a running watch.
    pub left: TimeLeft,
    /// The time of this report.
    pub at: Moment,
    pub is_running: bool,
    pub outcome: Option<String>,
    pub ended_wall_ms: Option<i64>,
}

#[derive(Debug)]
pub struct WatchPage {
    pub watches: Vec<WatchReport>,
    /// The next page continues after this one; None on the last page.
    pub next: Option<WatchId>,
}

enum Row<'a> {
    Active(&'a Watch),
    Stored(SavedWatch),
}

impl<A: Api, S: DaemonStore, C: Clock, P: Executor> Daemon<A, S, C, P> {
    /// The watches after the cursor, at most `limit`, in no particular order; with `all`, those that ended within `retain` too. With
    /// `jobs`, only the newest watch of each, on one page. With `labels`, only watches that have all of them.
    ///
    /// # Errors
    /// The cursor is invalid, or the store failed.
    pub async fn list(
        &self,
        all: bool,
        jobs: &[JobRef],
        labels: &BTreeMap<String, String>,
        limit: Option<usize>,
        after: Option<&str>,
    ) -> Result<WatchPage, RequestFailure> {
        let invalid = |text: &str| RequestFailure::InvalidCursor(text.to_owned());
        let after = after.map(|text| text.parse().map_err(|_| invalid(text)));
        let after = after.transpose()?;
        let mut page = if jobs.is_empty() {
            self.page(all, limit, after).await?
        } else {
            let jobs = jobs.iter().copied().collect();
            let watches = self.newest_watches(all, jobs).await?;
            WatchPage {
                watches,
                next: None,
            }
        };
        page.watches.retain(|report| match report.watch.meta() {
            Some(meta) => has_labels(&meta.labels, labels),
            None => labels.is_empty(),
        });
        Ok(page)
    }

    async fn page(
        &self,
        all: bool,
        limit: Option<usize>,
        after: Option<WatchId>,
    ) -> Result<WatchPage, StoreError> {
        let size = limit.map_or(PAGE, |limit| limit.clamp(1, PAGE));
        // One more shows whether there is a next page.
        let limit = size + 1;
        let running = self.engine.watches();
        let mut running: Vec<&Watch> = running.filter(|watch| Some(watch.id()) > after).collect();
        running.sort_unstable_by_key(|watch| watch.id());
        running.truncate(limit);
        let since = all.then(|| self.retention_cutoff());
        let store = self.outbox.store();
        let others = store.other_watches(since, after, limit).await?;
        // A watch whose end is stored but not yet applied still counts as running.
        let mut rows: BTreeMap<WatchId, Row<'_>> = others
            .into_iter()
            .map(|saved| (saved.id, Row::Stored(saved)))
            .collect();
        rows.extend(running.into_iter().map(|w| (w.id(), Row::Active(w))));
        let last = rows.keys().nth(size - 1).copied();
        let next = last.filter(|_| rows.len() > size);
        let watches = rows.into_values().take(size).filter_map(|row| match row {
            Row::Active(watch) => Some(self.active(watch)),
            Row::Stored(saved) => self.stored(&saved),
        });
        Ok(WatchPage {
            watches: watches.collect(),
            next,
        })
    }

    /// At most `limit` watches that ended last within `retain`, and not more than a page; those that ended last first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn last_ended(&self, limit: usize) -> Result<WatchPage, RequestFailure> {
        let since = self.retention_cutoff();
        let ended = self.outbox.store().last_ended(since, limit.min(PAGE));
        let ended = ended.await?;
        Ok(WatchPage {
            watches: ended
                .iter()
                .filter_map(|saved| self.stored(saved))
                .collect(),
            next: None,
        })
    }

    async fn newest_watches(
        &self,
        all: bool,
        jobs: BTreeSet<JobRef>,
    ) -> Result<Vec<WatchReport>, StoreError> {
        let running = self.engine.watches();
        // Those that are being released are listed as they are stored.
        let is_active = |watch: &&Watch| self.active.contains_key(&watch.job());
        let running = running.filter(|watch| jobs.contains(&watch.job()) && is_active(watch));
        let mut list: Vec<WatchReport> = running.map(|watch| self.active(watch)).collect();
        for job in jobs {
            if (all || !self.serves(job)) && !self.active.contains_key(&job) {
                let newest = self.newest(job).await?;
                let newest = newest.filter(|saved| all || saved.ended_wall_ms.is_none());
                list.extend(newest.and_then(|saved| self.stored(&saved)));
            }
        }
        Ok(list)
    }

    pub(super) fn active(&self, watch: &Watch) -> WatchReport {
        let at = self.clock.now();
        WatchReport {
            watch: watch.clone(),
            left: self.engine.time_left(watch, at),
            at,
            is_running: true,
            outcome: None,
            ended_wall_ms: None,
        }
    }

    /// An ended watch, or one of another process. None if the row is unreadable.
    pub(super) fn stored(&self, saved: &SavedWatch) -> Option<WatchReport> {
        let at = self.clock.now();
        let watch = saved.load(at, &self.limits).ok()?;
        let is_running = saved.ended_wall_ms.is_none();
        let left = is_running.then(|| self.engine.time_left(&watch, at));
        Some(WatchReport {
            watch,
            left: left.unwrap_or_default(),
            at,
            is_running,
            outcome: outcome_of(&saved.snapshot),
            ended_wall_ms: saved.ended_wall_ms,
        })
    }
}
