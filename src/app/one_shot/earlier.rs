//! Jobs whose end an earlier run with the same `--state` has seen. A job can be run again on the server under its ID, so one
//! poll decides whether the earlier outcome still stands.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::sleep;

use super::state_file::EarlierWatch;
use crate::clanforge::Api;
use crate::config::settings::Settings;
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_core::verdict::{ErrorKind, PollError};

/// A job that needs no watch.
#[derive(Debug)]
pub(super) struct EarlierEnd {
    pub(super) job: JobRef,
    pub(super) outcome: Outcome,
    /// The job's `joberror`, or why it could not be polled.
    pub(super) error: Option<String>,
}

/// Removes the ended jobs from `earlier` and polls each once. Returns those that are still in the same final state; the
/// others need a new watch. Once the API is down, requests a pause or refuses the credentials, no more polls start, and
/// the earlier outcomes stand.
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
    let unavailable = OnceCell::new();
    let pause = Duration::from_secs_f64(1.0 / settings.api.max_requests_per_second);
    stream::iter(ended.into_iter().enumerate())
        .then(|(n, ended)| async move {
            if n > 0 {
                sleep(pause).await;
            }
            ended
        })
        .map(|(job, outcome)| {
            let unavailable = &unavailable;
            async move { confirm_end(api, settings, unavailable, job, outcome).await }
        })
        .buffered(settings.api.max_in_flight)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn confirm_end(
    api: &impl Api,
    settings: &Settings,
    unavailable: &OnceCell<PollError>,
    job: JobRef,
    outcome: Outcome,
) -> Option<EarlierEnd> {
    let polled = match unavailable.get() {
        Some(error) => Err(error.clone()),
        None => api.poll(job, false).await,
    };
    let error = match polled {
        Ok(response) => {
            let now = response.status.outcome(settings.limits.jobfailed);
            if now != Some(outcome) {
                return None;
            }
            response.status.error
        }
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Gone) => None,
        Err(error) => {
            let text = format!("it cannot be polled: {error}");
            if error.kind.is_outage()
                || error.kind == ErrorKind::Unauthorized
                || error.retry_after.is_some()
            {
                let _ = unavailable.set(error);
            }
            Some(text)
        }
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
