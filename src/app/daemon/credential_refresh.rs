//! An API client that reads its credentials again after a rejection, so that they can be replaced while the daemon runs.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use crate::clanforge::{Api, ApiClient, ApiSettings, StatusResponse};
use crate::config::{Env, credentials};
use forgewatch_core::job::JobRef;
use forgewatch_core::verdict::{ErrorKind, PollError};

pub(super) struct RefreshingClient {
    client: RefCell<ApiClient>,
    was_rejected: Cell<bool>,
    settings: ApiSettings,
    credentials_file: Option<PathBuf>,
    env: Env,
}

impl RefreshingClient {
    pub(super) fn new(
        client: ApiClient,
        settings: ApiSettings,
        credentials_file: Option<PathBuf>,
        env: Env,
    ) -> Self {
        Self {
            client: RefCell::new(client),
            was_rejected: Cell::new(false),
            settings,
            credentials_file,
            env,
        }
    }

    pub(super) fn has_same_credentials(&self, other: &Self) -> bool {
        let (client, other) = (self.client.borrow(), other.client.borrow());
        client.has_same_credentials(&other)
    }

    /// Keeps the old credentials if new ones cannot be read.
    fn reload_credentials(&self) {
        let found = credentials::find(self.credentials_file.as_deref(), &self.env)
            .map_err(|error| error.to_string())
            .and_then(|(found, _)| {
                ApiClient::new(&self.settings, &found).map_err(|error| error.to_string())
            });
        match found {
            Ok(client) => *self.client.borrow_mut() = client,
            Err(error) => {
                tracing::warn!(target: "forgewatch::daemon", error, "could not reload the credentials");
            }
        }
    }
}

impl Api for RefreshingClient {
    async fn poll(&self, job: JobRef, diff_info: bool) -> Result<StatusResponse, PollError> {
        if self.was_rejected.take() {
            self.reload_credentials();
        }
        let client = self.client.borrow().clone();
        let result = client.poll(job, diff_info).await;
        let is_rejection = |error: &PollError| {
            matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::Forbidden)
        };
        if result.as_ref().is_err_and(is_rejection) {
            self.was_rejected.set(true);
        }
        result
    }
}
