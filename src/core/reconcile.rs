//! What the jobs of the file mean for what is watched: the file is compared with the list that was last accepted.
//!
//! The daemon keeps that list in its store and calls [`reconcile`] at its start and at every reload. Comparing with
//! the list rather than with what runs is what makes a restart harmless: a job that has ended, or that was removed
//! by hand, stays as it is for as long as the file goes on naming it.

use std::collections::{BTreeMap, BTreeSet};

use super::job::JobRef;

/// What the daemon knows of a job that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Somebody asked for it through the socket: it stays when it leaves the file.
    pub by_hand: bool,
}

/// What is to be done. Whatever is not named here is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Begin to watch these, in the file's order; anew where an earlier watch has ended.
    pub watch: Vec<JobRef>,
    /// End these with `job.removed`.
    pub remove: Vec<JobRef>,
}

/// Compares the jobs in the file, each once and in its order, with the list last accepted and with what is watched.
pub fn reconcile(
    file: &[JobRef],
    accepted: &BTreeSet<JobRef>,
    live: &BTreeMap<JobRef, Live>,
) -> Reconciled {
    let listed: BTreeSet<JobRef> = file.iter().copied().collect();
    let is_new = |job: &&JobRef| !accepted.contains(job) && !live.contains_key(job);
    let is_gone = |job: &&JobRef| !listed.contains(job);
    let only_of_file = |job: &&JobRef| live.get(job).is_some_and(|live| !live.by_hand);
    Reconciled {
        watch: file.iter().filter(is_new).copied().collect(),
        remove: accepted
            .iter()
            .filter(is_gone)
            .filter(only_of_file)
            .copied()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(ids: &[u64]) -> Vec<JobRef> {
        ids.iter()
            .map(|id| format!("diff/{id}").parse().unwrap())
            .collect()
    }

    fn live(ids: &[u64], by_hand: bool) -> BTreeMap<JobRef, Live> {
        jobs(ids)
            .into_iter()
            .map(|job| (job, Live { by_hand }))
            .collect()
    }

    fn done(
        file: &[u64],
        accepted: &[u64],
        live: &BTreeMap<JobRef, Live>,
    ) -> (Vec<JobRef>, Vec<JobRef>) {
        let accepted = jobs(accepted).into_iter().collect();
        let Reconciled { watch, remove } = reconcile(&jobs(file), &accepted, live);
        (watch, remove)
    }

    #[test]
    fn a_first_start_watches_the_whole_file_in_its_order() {
        assert_eq!(
            done(&[9, 2, 5], &[], &BTreeMap::new()),
            (jobs(&[9, 2, 5]), vec![])
        );
    }

    #[test]
    fn a_restart_changes_nothing_whether_jobs_run_have_ended_or_were_removed_by_hand() {
        assert_eq!(
            done(&[1, 2, 3], &[1, 2, 3], &live(&[1], false)),
            (vec![], vec![])
        );
    }

    #[test]
    fn new_in_the_file_is_watched_and_gone_from_it_is_removed() {
        assert_eq!(
            done(&[2, 4], &[1, 2, 3], &live(&[1, 2], false)),
            (jobs(&[4]), jobs(&[1]))
        );
    }

    #[test]
    fn what_was_also_asked_for_by_hand_stays_when_the_file_forgets_it() {
        assert_eq!(done(&[], &[1], &live(&[1], true)), (vec![], vec![]));
    }

    #[test]
    fn what_is_watched_by_hand_already_is_not_watched_twice() {
        assert_eq!(done(&[1], &[], &live(&[1], true)), (vec![], vec![]));
    }

    #[test]
    fn an_ended_job_is_watched_anew_only_after_it_had_left_the_list() {
        assert_eq!(done(&[1], &[1], &BTreeMap::new()).0, vec![]);
        assert_eq!(done(&[], &[1], &BTreeMap::new()), (vec![], vec![]));
        assert_eq!(done(&[1], &[], &BTreeMap::new()).0, jobs(&[1]));
    }
}
