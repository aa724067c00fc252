//! Jobs whose end an earlier run with the same `--state` has seen. A job can be run again on the server under its ID, so one
//! poll decides whether the earlier outcome still stands.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::sleep;

use super::state_file::EarlierWatch;
use crate::clanforge::Api;
use crate::config::settings::Settings;
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_core::verdict::ErrorKind;

/// A job that needs no watch.
#[derive(Debug)]
pub(super) struct EarlierEnd {
    pub(super) job: JobRef,
    pub(super) outcome: Outcome,
    /// The job's `joberror`, or why it could not be polled.
    error: Option<String>,
}

/// Removes the ended jobs from `earlier` and polls each once. Returns those that are still in the same final state; the
/// others need a new watch.
pub(super) async fn confirm_ends(
    api: &impl Api,
    settings: &Settings,
    earlier: &mut BTreeMap<JobRef, EarlierWatch>,
) -> Vec<EarlierEnd> {
    let mut ended = Vec::new();
    earlier.retain(|&job, watch| match *watch {
        EarlierWatch::Ended(outcome) => {
            ended.push((job, outcome));
            false
        }
        EarlierWatch::Running(_) => true,
    });
    let pause = Duration::from_secs_f64(1.0 / settings.api.max_requests_per_second);
    stream::iter(ended.into_iter().enumerate())
        .then(|(n, ended)| async move {
            if n > 0 {
                sleep(pause).await;
            }
            ended
        })
        .map(|(job, outcome)| confirm_end(api, settings, job, outcome))
        .buffered(settings.api.max_in_flight)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn confirm_end(
    api: &impl Api,
    settings: &Settings,
    job: JobRef,
    outcome: Outcome,
) -> Option<EarlierEnd> {
    let error = match api.poll(job, false).await {
        Ok(response) => {
            let now = response.status.outcome(settings.limits.jobfailed);
            if now != Some(outcome) {
                return None;
            }
            response.status.error
        }
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Gone) => None,
        Err(error) => Some(format!("it cannot be polled: {error}")),
    };
    Some(EarlierEnd {
        job,
        outcome,
        error,
    })
}

impl EarlierEnd {
    /// This run emits no event for the job.
    pub(super) fn log(&self) {
        let outcome = self.outcome.as_str();
        let error = self.error.as_ref().map(|error| format!(": {error}"));
        tracing::warn!(
            target: "forgewatch::watch",
            job = %self.job,
            "{} ended in an earlier run: {outcome}{}; to start a new watch: --again",
            self.job,
            error.unwrap_or_default()
        );
    }
}
