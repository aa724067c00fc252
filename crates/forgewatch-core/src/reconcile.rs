//! What the jobs of the file mean for what is watched: the file is compared with the list that was last accepted.
//!
//! The daemon keeps that list in its store and calls [`reconcile`] at its start and at every reload. Comparing with
//! the list rather than with what runs is what makes a restart harmless: a job that has ended, or that was removed
//! by hand, stays as it is for as long as the file goes on naming it.

use std::collections::{BTreeMap, BTreeSet};

use super::job::JobRef;

/// Who asked for a watch. One that the file and a client asked for stays when either lets it go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddedBy {
    /// The configuration file lists its job.
    pub file: bool,
    /// A client added it through the control socket.
    pub socket: bool,
}

/// What is to be done. Whatever is not named here is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Begin to watch these, in the file's order; anew where an earlier watch has ended.
    pub watch: Vec<JobRef>,
    /// End these with `job.removed`.
    pub remove: Vec<JobRef>,
    /// These run on, and somebody else asks for them from now on.
    pub added_by: Vec<(JobRef, AddedBy)>,
}

/// Compares the jobs in the file, each once and in its order, with the list last accepted and with what is watched.
///
/// What leaves the file is found by who asked for it rather than by the list: so it goes, too, where an earlier process
/// took the list over and died before the end was on record.
pub fn reconcile(
    file: &[JobRef],
    accepted: &BTreeSet<JobRef>,
    live: &BTreeMap<JobRef, AddedBy>,
) -> Reconciled {
    let listed: BTreeSet<JobRef> = file.iter().copied().collect();
    let mut result = Reconciled::default();
    for &job in file.iter().filter(|job| !accepted.contains(job)) {
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
    const HAND: AddedBy = AddedBy {
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

    fn done(file: &[u64], accepted: &[u64], live: &BTreeMap<JobRef, AddedBy>) -> Reconciled {
        let accepted = jobs(accepted).into_iter().collect();
        reconcile(&jobs(file), &accepted, live)
    }

    #[test]
    fn a_first_start_watches_the_whole_file_in_its_order() {
        assert_eq!(
            done(&[9, 2, 5], &[], &BTreeMap::new()).watch,
            jobs(&[9, 2, 5])
        );
    }

    #[test]
    fn a_restart_changes_nothing_whether_jobs_run_have_ended_or_were_removed_by_hand() {
        let nothing = Reconciled::default();
        assert_eq!(done(&[1, 2, 3], &[1, 2, 3], &live(&[1], FILE)), nothing);
    }

    #[test]
    fn new_in_the_file_is_watched_and_gone_from_it_is_removed() {
        let done = done(&[2, 4], &[1, 2, 3], &live(&[1, 2], FILE));
        assert_eq!((done.watch, done.remove), (jobs(&[4]), jobs(&[1])));
    }

    #[test]
    fn what_left_the_file_goes_too_where_the_list_was_taken_over_already() {
        assert_eq!(done(&[], &[], &live(&[1], FILE)).remove, jobs(&[1]));
    }

    #[test]
    fn what_was_also_asked_for_by_hand_stays_when_the_file_forgets_it() {
        let done = done(&[], &[1], &live(&[1], BOTH));
        assert_eq!(
            (done.remove, done.added_by),
            (vec![], vec![(jobs(&[1])[0], HAND)])
        );
    }

    #[test]
    fn what_is_watched_by_hand_already_is_not_watched_twice() {
        let done = done(&[1], &[], &live(&[1], HAND));
        assert_eq!(
            (done.watch, done.added_by),
            (vec![], vec![(jobs(&[1])[0], BOTH)])
        );
    }

    #[test]
    fn an_ended_job_is_watched_anew_only_after_it_had_left_the_list() {
        assert_eq!(done(&[1], &[1], &BTreeMap::new()).watch, vec![]);
        assert_eq!(done(&[], &[1], &BTreeMap::new()), Reconciled::default());
        assert_eq!(done(&[1], &[], &BTreeMap::new()).watch, jobs(&[1]));
    }
}
