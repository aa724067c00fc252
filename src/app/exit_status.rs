//! The exit status of a one-shot and of `wait`, computed from the outcomes of the jobs.

use super::command_error::UNUSABLE;
use crate::config::settings::SquashedAs;
use crate::os::signals::TerminationSignal;
use forgewatch_core::event::FinishedCounts;
use forgewatch_core::job::Outcome;

/// The API rejects this client.
const REFUSED: u8 = 4;
/// The API was unreachable or invalid for too long.
const GAVE_UP: u8 = 6;
/// The same as for timeout(1).
const TIMED_OUT: u8 = 124;

/// Errors of the run itself.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent errors")]
pub(super) struct RunErrors {
    /// The file of `--state` is damaged or did not accept a write in time.
    pub(super) state_unusable: bool,
    /// A delivery failed.
    pub(super) hook_failed: bool,
    /// `wait` could not reach the daemon for too long.
    pub(super) daemon_unreachable: bool,
    /// The time limit of `wait` has expired, perhaps before the daemon has listed a job.
    pub(super) wait_timed_out: bool,
    /// A client removed a job that `wait` waited for.
    pub(super) job_removed: bool,
}

/// The exit status, and the `outcome` of `watch.finished`.
pub(super) fn exit_status(
    counts: &FinishedCounts,
    squashed_as: Option<SquashedAs>,
    stop: Option<TerminationSignal>,
    errors: RunErrors,
) -> (u8, &'static str) {
    if let Some(stop) = stop {
        return (stop.exit_status(), "interrupted");
    }
    if errors.state_unusable {
        return (UNUSABLE, "state_unusable");
    }
    let as_failure = squashed_as == Some(SquashedAs::Failure) && counts.squashed > 0;
    let as_success = squashed_as == Some(SquashedAs::Success);
    // The order is part of the interface: an error of polling comes before an error of a job.
    [
        (counts.refused > 0, (REFUSED, "refused")),
        (
            counts.gave_up > 0 || errors.daemon_unreachable,
            (GAVE_UP, "gave_up"),
        ),
        (
            counts.timed_out > 0 || errors.wait_timed_out,
            (TIMED_OUT, "timed_out"),
        ),
        (counts.failed > 0 || as_failure, (1, "failed")),
        (errors.job_removed, (1, "removed")),
        (counts.not_found > 0, (5, "not_found")),
        (counts.squashed > 0 && !as_success, (3, "squashed")),
        (errors.hook_failed, (7, "hook_failed")),
    ]
    .into_iter()
    .find_map(|(holds, status)| holds.then_some(status))
    .unwrap_or((0, "completed"))
}

/// The exit status if the reader had not read everything when a signal or `--timeout` stopped the run: what was not
/// printed was not in time.
pub(super) fn status_if_unread(status: u8, stop: Option<TerminationSignal>) -> u8 {
    match (stop, status) {
        (Some(stop), _) => stop.exit_status(),
        (None, REFUSED | GAVE_UP | UNUSABLE) => status,
        (None, _) => TIMED_OUT,
    }
}

/// Whether `--fail-fast` stops at this outcome.
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
        daemon_unreachable: false,
        wait_timed_out: false,
        job_removed: false,
    };
    const HOOK: RunErrors = RunErrors {
        hook_failed: true,
        ..NONE
    };

    /// Outcomes and their exit status, in the order of precedence.
    const RANKED: [(Outcome, u8); 7] = [
        (Outcome::Refused, 4),
        (Outcome::GaveUp, 6),
        (Outcome::TimedOut, 124),
        (Outcome::Failed, 1),
        (Outcome::NotFound, 5),
        (Outcome::Squashed, 3),
        (Outcome::Completed, 0),
    ];

    fn count(outcomes: &[Outcome]) -> FinishedCounts {
        let mut counts = FinishedCounts::default();
        for &outcome in outcomes {
            counts.add(outcome);
        }
        counts
    }

    #[test]
    fn the_outcome_that_ranks_first_decides_the_exit_status() {
        for (at, &(first, status)) in RANKED.iter().enumerate() {
            for &(second, _) in RANKED.iter().skip(at) {
                assert_eq!(
                    exit_status(&count(&[second, first]), None, None, NONE).0,
                    status,
                    "{first:?}, {second:?}"
                );
            }
        }
        let abandoned = Outcome::Abandoned(Reason::FailFast);
        assert_eq!(
            exit_status(&count(&[abandoned, Outcome::Failed]), None, None, NONE).0,
            1
        );
    }

    #[test]
    fn a_signal_ranks_before_every_outcome() {
        for (outcome, _) in RANKED {
            assert_eq!(
                exit_status(
                    &count(&[outcome]),
                    None,
                    Some(TerminationSignal::Interrupt),
                    NONE
                ),
                (130, "interrupted")
            );
            assert_eq!(
                exit_status(
                    &count(&[outcome]),
                    None,
                    Some(TerminationSignal::Terminate),
                    NONE
                )
                .0,
                143
            );
        }
    }

    #[test]
    fn a_failed_delivery_counts_if_all_jobs_completed() {
        for (outcome, status) in RANKED {
            let status = if status == 0 { 7 } else { status };
            assert_eq!(exit_status(&count(&[outcome]), None, None, HOOK).0, status);
        }
        let stopped = exit_status(&count(&[]), None, Some(TerminationSignal::Interrupt), HOOK);
        assert_eq!(stopped.0, 130);
    }

    #[test]
    fn an_unusable_state_ranks_after_a_signal_alone() {
        let unusable = RunErrors {
            state_unusable: true,
            ..HOOK
        };
        for (outcome, _) in RANKED {
            assert_eq!(
                exit_status(&count(&[outcome]), None, None, unusable).0,
                UNUSABLE
            );
        }
        let stopped = exit_status(
            &count(&[]),
            None,
            Some(TerminationSignal::Interrupt),
            unusable,
        );
        assert_eq!(stopped.0, 130);
    }

    #[test]
    fn squashed_jobs_count_as_the_option_says() {
        let squashed = count(&[Outcome::Squashed, Outcome::Completed]);
        assert_eq!(
            exit_status(&squashed, Some(SquashedAs::Success), None, NONE).0,
            0
        );
        assert_eq!(
            exit_status(&squashed, Some(SquashedAs::Failure), None, NONE).0,
            1
        );
        let missing = count(&[Outcome::Squashed, Outcome::NotFound]);
        assert_eq!(
            exit_status(&missing, Some(SquashedAs::Failure), None, NONE).0,
            1
        );
    }
}
