//! The one-shot's state: none, or the file of `--state`.
//!
//! With a file, a one-shot that was killed resumes when it is run again: running watches keep their ids, jobs that are
//! still ended count with their outcome, and pending deliveries go to their hooks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::store::{
    Commit, DaemonStore, Gained, Handover, NoStore, OpenError, PollSample, SavedWatch, SqliteStore,
    Store, StoreError,
};
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_core::watch::outcome_of;

#[derive(Clone, Debug)]
pub(in crate::app) enum StateFile {
    /// In memory alone.
    None,
    File(SqliteStore),
}

/// What an earlier run stored about a job.
pub(super) enum EarlierWatch {
    Running(SavedWatch),
    Ended(Outcome),
}

impl StateFile {
    pub(in crate::app) fn open(path: Option<&Path>) -> Result<Self, OpenError> {
        match path {
            None => Ok(Self::None),
            Some(path) => {
                remove_if_empty(path);
                SqliteStore::open(path).map(|(store, _)| Self::File(store))
            }
        }
    }

    /// What an earlier run left.
    pub(super) async fn running(&self) -> Result<Gained, StoreError> {
        let Self::File(store) = self else {
            return Ok(Gained::default());
        };
        match store.next_handover().await? {
            Handover::Gained(gained) => Ok(gained),
            Handover::Lost(_) => Ok(Gained::default()),
        }
    }

    /// The earlier watches of these jobs; `running` are those that have not ended. With `again`, ended ones do not count.
    pub(super) async fn earlier_watches(
        &self,
        jobs: impl Iterator<Item = JobRef>,
        running: Vec<SavedWatch>,
        again: bool,
    ) -> Result<BTreeMap<JobRef, EarlierWatch>, StoreError> {
        let Self::File(store) = self else {
            return Ok(BTreeMap::new());
        };
        let mut running: BTreeMap<JobRef, SavedWatch> = running
            .into_iter()
            .map(|saved| (saved.job, saved))
            .collect();
        let mut earlier = BTreeMap::new();
        for job in jobs {
            if let Some(saved) = running.remove(&job) {
                earlier.insert(job, EarlierWatch::Running(saved));
            } else if !again && let Some(saved) = store.newest_watch(job).await? {
                let outcome = outcome_of(&saved.snapshot).and_then(|name| final_outcome(&name));
                earlier.extend(outcome.map(|outcome| (job, EarlierWatch::Ended(outcome))));
            }
        }
        Ok(earlier)
    }

    /// Closes the file after the last write.
    pub(super) async fn close(&self) {
        if let Self::File(store) = self {
            store.close().await;
        }
    }
}

/// An empty file, such as mktemp(1) creates, is a new state. With a WAL it may be what a crash left, and an error.
fn remove_if_empty(path: &Path) {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let is_empty = fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0);
    if is_empty && !Path::new(&wal).exists() {
        // If that fails, opening says why.
        let _ = fs::remove_file(path);
    }
}

/// The outcome of this name, if it came from the server and so cannot change.
fn final_outcome(name: &str) -> Option<Outcome> {
    Outcome::from_name(name).filter(|outcome| {
        matches!(
            outcome,
            Outcome::Completed | Outcome::Failed | Outcome::Squashed
        )
    })
}

impl Store for StateFile {
    fn is_persistent(&self) -> bool {
        matches!(self, Self::File(_))
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        match self {
            Self::None => NoStore.commit(commit).await,
            Self::File(store) => store.commit(commit).await,
        }
    }

    fn record_poll(&self, sample: PollSample) {
        if let Self::File(store) = self {
            store.record_poll(sample);
        }
    }
}
