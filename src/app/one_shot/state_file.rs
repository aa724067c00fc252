//! Where a one-shot keeps what it knows: nowhere, or in the file that `--state` names.
//!
//! With a file, one that died goes on where it was when it is run again: running watches are taken up under their old
//! ids, a job whose end was seen counts as it ended and is not asked again, and hooks get what they are owed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::store::{
    Archive, Commit, Loaded, NoStore, OpenError, PollSample, SavedWatch, Sqlite, Store, StoreError,
};
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_core::watch::outcome_of;

/// The one-shot's store.
#[derive(Clone, Debug)]
pub(in crate::app) enum StateFile {
    /// In the engine and the hooks themselves.
    Nowhere,
    /// There, too.
    File(Sqlite),
}

/// What an earlier run has left of a job.
pub(super) enum Left {
    /// It was not seen to its end.
    Running(SavedWatch),
    /// It ended like this, in the server's own words.
    Ended(Outcome),
}

impl StateFile {
    /// Opens the file, if one is named.
    pub(in crate::app) fn open(path: Option<&Path>) -> Result<(Self, Loaded), OpenError> {
        match path {
            None => Ok((Self::Nowhere, Loaded::default())),
            Some(path) => Sqlite::open(path).map(|(store, loaded)| (Self::File(store), loaded)),
        }
    }

    /// What an earlier run has left of these jobs, of whose watches `running` have not ended.
    pub(super) async fn left(
        &self,
        jobs: impl Iterator<Item = JobRef>,
        running: Vec<SavedWatch>,
    ) -> Result<BTreeMap<JobRef, Left>, StoreError> {
        let Self::File(store) = self else {
            return Ok(BTreeMap::new());
        };
        let mut running: BTreeMap<JobRef, SavedWatch> = running
            .into_iter()
            .map(|saved| (saved.job, saved))
            .collect();
        let mut left = BTreeMap::new();
        for job in jobs {
            if let Some(saved) = running.remove(&job) {
                left.insert(job, Left::Running(saved));
            } else if let Some(saved) = store.newest_of(job).await? {
                let outcome = outcome_of(&saved.row).and_then(|name| final_one(&name));
                left.extend(outcome.map(|outcome| (job, Left::Ended(outcome))));
            }
        }
        Ok(left)
    }

    /// Lets go of the file once all is in it.
    pub(super) async fn close(&self) {
        if let Self::File(store) = self {
            store.close().await;
        }
    }
}

/// The end of this name, where no later run could see another.
fn final_one(name: &str) -> Option<Outcome> {
    match name {
        "completed" => Some(Outcome::Completed),
        "failed" => Some(Outcome::Failed),
        "squashed" => Some(Outcome::Squashed),
        _ => None,
    }
}

impl Store for StateFile {
    fn keeps_watches(&self) -> bool {
        matches!(self, Self::File(_))
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<(), StoreError> {
        match self {
            Self::Nowhere => NoStore.commit(commit).await,
            Self::File(store) => store.commit(commit).await,
        }
    }

    fn record_poll(&self, record_poll: PollSample) {
        if let Self::File(store) = self {
            store.record_poll(record_poll);
        }
    }
}
