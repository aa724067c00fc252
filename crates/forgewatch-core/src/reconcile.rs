//! Compares the jobs of the configuration file with the list that was last applied.
//!
//! The daemon keeps that list in its store and calls [`reconcile`] at startup and at every reload. Because the file is
//! compared with the list rather than with the active watches, a restart changes nothing: a job that has ended or was
//! removed through the socket is not watched again while the file still lists it.

use std::collections::{BTreeMap, BTreeSet};

use super::job::JobRef;

/// What requested a watch: the file, a client or both. A watch ends when neither requests it any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddedBy {
    /// The configuration file lists its job.
    pub file: bool,
    /// A client added it through the control socket.
    pub socket: bool,
}

/// The changes to the active watches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Jobs to watch, in the order of the file.
    pub watch: Vec<JobRef>,
    /// Jobs whose watch ends with `job.removed`.
    pub remove: Vec<JobRef>,
    /// Watches that continue with another origin.
    pub added_by: Vec<(JobRef, AddedBy)>,
}

/// Compares the jobs of the file, without duplicates, with the list last applied and with the active watches.
///
/// Jobs that left the file are found by their origin rather than by the list: so they are also removed if an earlier
/// process recorded the list and died before it recorded the end of the watch.
pub fn reconcile(
    file: &[JobRef],
    applied: &BTreeSet<JobRef>,
    live: &BTreeMap<JobRef, AddedBy>,
) -> Reconciled {
    let listed: BTreeSet<JobRef> = file.iter().copied().collect();
    let mut result = Reconciled::default();
    for &job in file.iter().filter(|job| !applied.contains(job)) {
        match live.get(&job) {
            None => result.watch.push(job),
            Some(by) if !by.file => result.added_by.push((job, AddedBy { file: true, ..*by })),
            Some(_) => {}
        }
    }
    for (&job, by) in live
        .iter()
        .filter(|(job, by)| by.file && !listed.contains(job))
    {
        if by.socket {
            result.added_by.push((job, AddedBy { file: false, ..*by }));
        } else {
            result.remove.push(job);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: AddedBy = AddedBy {
        file: true,
        socket: false,
    };
    const SOCKET: AddedBy = AddedBy {
        file: false,
        socket: true,
    };
    const BOTH: AddedBy = AddedBy {
        file: true,
        socket: true,
    };

    fn jobs(ids: &[u64]) -> Vec<JobRef> {
        let job = |id| format!("diff/{id}").parse().unwrap();
        ids.iter().map(job).collect()
    }

    fn live(ids: &[u64], by: AddedBy) -> BTreeMap<JobRef, AddedBy> {
        jobs(ids).into_iter().map(|job| (job, by)).collect()
    }

    fn done(file: &[u64], applied: &[u64], live: &BTreeMap<JobRef, AddedBy>) -> Reconciled {
        let applied = jobs(applied).into_iter().collect();
        reconcile(&jobs(file), &applied, live)
    }

    #[test]
    fn the_first_startup_watches_all_jobs_of_the_file_in_order() {
        assert_eq!(
            done(&[9, 2, 5], &[], &BTreeMap::new()).watch,
            jobs(&[9, 2, 5])
        );
    }

    #[test]
    fn a_restart_changes_nothing() {
        let nothing = Reconciled::default();
        assert_eq!(done(&[1, 2, 3], &[1, 2, 3], &live(&[1], FILE)), nothing);
    }

    #[test]
    fn jobs_added_to_the_file_are_watched_and_jobs_that_left_it_are_removed() {
        let done = done(&[2, 4], &[1, 2, 3], &live(&[1, 2], FILE));
        assert_eq!((done.watch, done.remove), (jobs(&[4]), jobs(&[1])));
    }

    #[test]
    fn a_job_that_left_the_file_is_removed_even_if_the_list_was_already_applied() {
        assert_eq!(done(&[], &[], &live(&[1], FILE)).remove, jobs(&[1]));
    }

    #[test]
    fn a_job_that_a_client_also_added_stays_when_it_leaves_the_file() {
        let done = done(&[], &[1], &live(&[1], BOTH));
        assert_eq!(
            (done.remove, done.added_by),
            (vec![], vec![(jobs(&[1])[0], SOCKET)])
        );
    }

    #[test]
    fn a_job_that_a_client_already_added_is_not_watched_twice() {
        let done = done(&[1], &[], &live(&[1], SOCKET));
        assert_eq!(
            (done.watch, done.added_by),
            (vec![], vec![(jobs(&[1])[0], BOTH)])
        );
    }

    #[test]
    fn an_ended_job_is_watched_again_only_after_it_left_the_file() {
        assert_eq!(done(&[1], &[1], &BTreeMap::new()).watch, vec![]);
        assert_eq!(done(&[], &[1], &BTreeMap::new()), Reconciled::default());
        assert_eq!(done(&[1], &[], &BTreeMap::new()).watch, jobs(&[1]));
    }
}
