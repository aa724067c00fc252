//! What each type of event means and what to do about it: the source of `forgewatch-events(7)` and of the journal's catalog.

use super::EventType;

/// The manual of one type.
#[derive(Clone, Copy, Debug)]
pub struct TypeManual {
    /// The name of the type.
    pub name: &'static str,
    /// Its `MESSAGE_ID` in the journal: random, and never changed.
    pub message_id: &'static str,
    /// When it is emitted.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl EventType {
    /// The type's place in [`TYPE_MANUALS`].
    pub fn manual(self) -> &'static TypeManual {
        let name = self.as_str();
        let found = TYPE_MANUALS.iter().find(|manual| manual.name == name);
        found.unwrap_or(&TYPE_MANUALS[0])
    }
}

const fn row(
    name: &'static str,
    message_id: &'static str,
    meaning: &'static str,
    remedy: &'static str,
) -> TypeManual {
    TypeManual {
        name,
        message_id,
        meaning,
        remedy,
    }
}

/// All types, in the order of [`EventType::ALL`].
pub const TYPE_MANUALS: [TypeManual; 23] = [
    row(
        "job.watching",
        "d433882d284a4cf38fda1680599d01d9",
        "The job has its first status. Its end may follow at once.",
        "Nothing to do.",
    ),
    row(
        "job.state_changed",
        "560f1c8ff9f04acb8587411915bb00e9",
        "The state of the job has changed, forwards or backwards, without ending the job.",
        "Nothing to do. A job that goes backwards again and again is retried by the server.",
    ),
    row(
        "job.progressed",
        "44a8d97535a44e0bae1dcc80d94c65fb",
        "The progress of the job has crossed a step, by default 10 points.",
        "Nothing to do.",
    ),
    row(
        "job.eta_slipped",
        "8fa69146a6aa4973b5f807cd481841ef",
        "The ETA of the job has moved later by more than a quarter of the time left, and by more than a minute.",
        "Nothing to do, unless a deadline depends on it: forgewatch show JOB has the estimated time left.",
    ),
    row(
        "job.stalled",
        "2557cf9891bd452ea74f33ac04475c94",
        "Neither the progress nor the time of the last change of the job has changed for schedule.stalled_after.",
        "Look at the job on the server. It may wait for a machine, or hang. job.resumed follows if it goes on.",
    ),
    row(
        "job.resumed",
        "369f3bc6c393440dbc8eceb3a7c28fd7",
        "A stalled job is progressing again.",
        "Nothing to do.",
    ),
    row(
        "job.slow",
        "8e42008a227d427cb933ab832fd0d9ab",
        "The job has run longer than 95 % of the earlier jobs of its kind and image.",
        "Compare it with usual_ms. Look at the job on the server if it matters.",
    ),
    row(
        "job.unreachable",
        "11d9567f8ef2473b8f99b7c43475c693",
        "Polling the job has failed, or was held back by an outage or a pause of the API, for schedule.unreachable_after. The job itself may be well.",
        "error_message and error_kind say why. For refused, check the credentials and the account service: forgewatch check --online. Otherwise check the network and the API. Polling goes on, and job.reachable follows.",
    ),
    row(
        "job.reachable",
        "783b662d1776469397006627a65fb2f4",
        "An unreachable job can be polled again.",
        "Nothing to do.",
    ),
    row(
        "job.completed",
        "dbbffbc93efe4cc7950354f8c928a781",
        "The job has completed. Its watch has ended.",
        "Nothing to do.",
    ),
    row(
        "job.failed",
        "1f894dac0f9b45a8b8186b3eb43b8296",
        "The job has failed on the server. Its watch has ended.",
        "error_message has the error of the server. Mend the cause and start the job again; add --again starts a new watch of the same job.",
    ),
    row(
        "job.squashed",
        "a9c87fff5ecb4b12803d29db435cb998",
        "The server has ended the job, because another job supersedes it. Its watch has ended.",
        "Watch the other job, unless another program has added it.",
    ),
    row(
        "job.not_found",
        "71380deb11834eccae9aaa284fe7c3a8",
        "The server has not known the job for schedule.not_found_grace, or has deleted it. Its watch has ended.",
        "Check kind and ID of the job, and the account service. If jobs appear later than that on the server, raise schedule.not_found_grace.",
    ),
    row(
        "job.refused",
        "2cffaf52047046f789454353172caff5",
        "The API has rejected the credentials, or their access to the job. The watch has ended. Only a one-shot ends for this reason.",
        "Check access key, secret key and account service: forgewatch check --online.",
    ),
    row(
        "job.timed_out",
        "e80ea82e4b6c4956ac21363d4227621f",
        "The time limit of --timeout or --job-timeout has expired. The job itself goes on, its watch has ended.",
        "Raise the limit, or look at the job on the server.",
    ),
    row(
        "job.gave_up",
        "6e1fcde764124216842452687ac5578c",
        "Polling the job has failed for schedule.give_up_after. The job itself may be well, its watch has ended.",
        "error_message says why. Mend the connection to the API, then start a new watch: add --again.",
    ),
    row(
        "job.removed",
        "fa50ed0c135a47f9a63786c9a9bdd833",
        "A user or the configuration has removed the job. The job itself goes on, its watch has ended.",
        "Nothing to do.",
    ),
    row(
        "job.abandoned",
        "99f0952ba1af4622aec9b37d89ed7faa",
        "A one-shot has stopped before the job ended: reason says why. The job itself goes on, its watch has ended.",
        "Watch the job again if its end matters.",
    ),
    row(
        "watch.started",
        "1f8d485bc64a4a6e85d05beeef4f84cd",
        "forgewatch has started to watch.",
        "Nothing to do.",
    ),
    row(
        "watch.reloaded",
        "a29d75a141214d0384d8b5b01d446dfb",
        "The daemon has reloaded its configuration.",
        "Nothing to do.",
    ),
    row(
        "watch.lagged",
        "d0e8ea175116491597c930d4997344aa",
        "Output lines were dropped, because the reader was too slow. Polling and hooks are not affected.",
        "forgewatch events --since OFFSET prints the events of the dropped lines.",
    ),
    row(
        "watch.finished",
        "8ec139c3a33146d5ac9afe900a1a0368",
        "forgewatch has stopped watching. The shutdown of a daemon ends no watch: its jobs resume at the next start.",
        "Nothing to do.",
    ),
    row(
        "hook.failed",
        "14e9ccc075974110a050c1f9d236a3f1",
        "A delivery to a hook has failed: its retries are used up. It is kept, and the next event of its watch follows.",
        "error_message has the last error. Mend the hook, try it with forgewatch hooks test NAME, then run forgewatch hooks retry ID or forgewatch hooks discard ID.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_manual_and_a_message_id_of_its_own() {
        let names = EventType::ALL.map(EventType::as_str);
        assert_eq!(TYPE_MANUALS.map(|manual| manual.name), names);
        let mut ids = TYPE_MANUALS.map(|manual| manual.message_id).to_vec();
        assert!(
            ids.iter()
                .all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        );
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), names.len());
    }
}
