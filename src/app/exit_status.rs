//! The exit status of a one-shot, from how its jobs ended. Pure.

use super::UNUSABLE;
use crate::config::settings::SquashedAs;
use crate::os::signals::Stop;
use forgewatch_core::event::FinishedCounts;
use forgewatch_core::job::Outcome;

/// The API refuses this client.
const REFUSED: u8 = 4;
/// The API could not be asked for too long.
const GAVE_UP: u8 = 6;
/// Time ran out, as timeout(1) says it.
const TIMED_OUT: u8 = 124;

/// What went wrong that is no job's end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunErrors {
    /// What `--state` names can't be trusted any more, or takes nothing in time.
    pub(super) state_unusable: bool,
    /// A delivery was given up.
    pub(super) hook_failed: bool,
}

/// How many jobs ended in which way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutcomeCounts {
    completed: u32,
    failed: u32,
    squashed: u32,
    refused: u32,
    gave_up: u32,
    timed_out: u32,
    not_found: u32,
    other: u32,
}

impl OutcomeCounts {
    pub(super) fn count(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Completed => &mut self.completed,
            Outcome::Failed => &mut self.failed,
            Outcome::Squashed => &mut self.squashed,
            Outcome::Refused => &mut self.refused,
            Outcome::GaveUp => &mut self.gave_up,
            Outcome::TimedOut => &mut self.timed_out,
            Outcome::NotFound => &mut self.not_found,
            Outcome::Removed | Outcome::Abandoned(_) => &mut self.other,
        };
        *count += 1;
    }

    /// The status, and the word that `watch.finished` carries for it.
    pub(super) fn status(
        &self,
        squashed_as: Option<SquashedAs>,
        stop: Option<Stop>,
        flaws: RunErrors,
    ) -> (u8, &'static str) {
        if let Some(stop) = stop {
            return (stop.exit_status(), "interrupted");
        }
        if flaws.state_unusable {
            return (UNUSABLE, "state_unusable");
        }
        let as_failure = squashed_as == Some(SquashedAs::Failure) && self.squashed > 0;
        let as_success = squashed_as == Some(SquashedAs::Success);
        // The order is the contract: what is wrong with asking outranks what is wrong with a job.
        [
            (self.refused > 0, (REFUSED, "refused")),
            (self.gave_up > 0, (GAVE_UP, "gave_up")),
            (self.timed_out > 0, (TIMED_OUT, "timed_out")),
            (self.failed > 0 || as_failure, (1, "failed")),
            (self.not_found > 0, (5, "not_found")),
            (self.squashed > 0 && !as_success, (3, "squashed")),
            (flaws.hook_failed, (7, "hook_failed")),
        ]
        .into_iter()
        .find_map(|(holds, status)| holds.then_some(status))
        .unwrap_or((0, "completed"))
    }

    /// The counts as `watch.finished` tells them.
    pub(super) fn tally(&self, outcome: &'static str) -> FinishedCounts {
        FinishedCounts {
            completed: self.completed,
            failed: self.failed,
            squashed: self.squashed,
            other: self.refused + self.gave_up + self.timed_out + self.not_found + self.other,
            outcome,
        }
    }
}

/// The status where the reader had not read all when a signal, or else `--timeout`, wanted an end: what nobody was
/// told of was not in time.
pub(super) fn status_of_unread(status: u8, stop: Option<Stop>) -> u8 {
    match (stop, status) {
        (Some(stop), _) => stop.exit_status(),
        (None, REFUSED | GAVE_UP | UNUSABLE) => status,
        (None, _) => TIMED_OUT,
    }
}

/// Whether an end like this makes `--fail-fast` stop.
pub(super) fn is_failure(outcome: Outcome, squashed_as: Option<SquashedAs>) -> bool {
    match outcome {
        Outcome::Completed | Outcome::Removed | Outcome::Abandoned(_) => false,
        Outcome::Squashed => squashed_as == Some(SquashedAs::Failure),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forgewatch_core::job::Reason;

    const NONE: RunErrors = RunErrors {
        state_unusable: false,
        hook_failed: false,
    };
    const HOOK: RunErrors = RunErrors {
        hook_failed: true,
        ..NONE
    };

    /// Every outcome that speaks for itself, in the order of precedence.
    const RANKED: [(Outcome, u8); 7] = [
        (Outcome::Refused, 4),
        (Outcome::GaveUp, 6),
        (Outcome::TimedOut, 124),
        (Outcome::Failed, 1),
        (Outcome::NotFound, 5),
        (Outcome::Squashed, 3),
        (Outcome::Completed, 0),
    ];

    fn ends(outcomes: &[Outcome]) -> OutcomeCounts {
        let mut ends = OutcomeCounts::default();
        for &outcome in outcomes {
            ends.count(outcome);
        }
        ends
    }

    #[test]
    fn of_two_ends_the_one_that_ranks_first_gives_the_status() {
        for (at, &(first, status)) in RANKED.iter().enumerate() {
            for &(second, _) in RANKED.iter().skip(at) {
                assert_eq!(
                    ends(&[second, first]).status(None, None, NONE).0,
                    status,
                    "{first:?}, {second:?}"
                );
            }
        }
        let abandoned = Outcome::Abandoned(Reason::FailFast);
        assert_eq!(
            ends(&[abandoned, Outcome::Failed])
                .status(None, None, NONE)
                .0,
            1
        );
    }

    #[test]
    fn a_signal_outranks_all() {
        for (outcome, _) in RANKED {
            assert_eq!(
                ends(&[outcome]).status(None, Some(Stop::Interrupt), NONE),
                (130, "interrupted")
            );
            assert_eq!(
                ends(&[outcome]).status(None, Some(Stop::Terminate), NONE).0,
                143
            );
        }
    }

    #[test]
    fn a_hook_given_up_counts_where_all_else_is_well() {
        for (outcome, status) in RANKED {
            let status = if status == 0 { 7 } else { status };
            assert_eq!(ends(&[outcome]).status(None, None, HOOK).0, status);
        }
        let stopped = ends(&[]).status(None, Some(Stop::Interrupt), HOOK);
        assert_eq!(stopped.0, 130);
    }

    #[test]
    fn a_state_that_takes_nothing_outranks_all_but_a_signal() {
        let unusable = RunErrors {
            state_unusable: true,
            ..HOOK
        };
        for (outcome, _) in RANKED {
            assert_eq!(ends(&[outcome]).status(None, None, unusable).0, UNUSABLE);
        }
        let stopped = ends(&[]).status(None, Some(Stop::Interrupt), unusable);
        assert_eq!(stopped.0, 130);
    }

    #[test]
    fn squashed_counts_as_what_the_user_says() {
        let squashed = ends(&[Outcome::Squashed, Outcome::Completed]);
        assert_eq!(squashed.status(Some(SquashedAs::Success), None, NONE).0, 0);
        assert_eq!(squashed.status(Some(SquashedAs::Failure), None, NONE).0, 1);
        let missing = ends(&[Outcome::Squashed, Outcome::NotFound]);
        assert_eq!(missing.status(Some(SquashedAs::Failure), None, NONE).0, 1);
    }
}
