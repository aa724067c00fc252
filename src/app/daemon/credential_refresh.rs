//! A client that reads its credentials anew once they were refused: somebody mends them while the daemon runs.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use crate::clanforge::ApiSettings;
use crate::clanforge::Client;
use crate::clanforge::{Api, StatusResponse};
use crate::config::{Env, credentials};
use forgewatch_core::job::JobRef;
use forgewatch_core::verdict::{ErrorKind, PollError};

/// Asks as [`Client`] does. How seldom, once it was refused, the core decides.
pub(super) struct CredentialRefresh {
    client: RefCell<Client>,
    refused: Cell<bool>,
    settings: ApiSettings,
    credentials_file: Option<PathBuf>,
    env: Env,
}

impl CredentialRefresh {
    pub(super) fn new(
        client: Client,
        settings: ApiSettings,
        credentials_file: Option<PathBuf>,
        env: Env,
    ) -> Self {
        Self {
            client: RefCell::new(client),
            refused: Cell::new(false),
            settings,
            credentials_file,
            env,
        }
    }

    /// Goes on with the old ones where the new ones can't be had.
    fn renew(&self) {
        let found = credentials::find(self.credentials_file.as_deref(), &self.env)
            .map_err(|error| error.to_string())
            .and_then(|(found, _)| {
                Client::new(&self.settings, &found).map_err(|error| error.to_string())
            });
        match found {
            Ok(client) => *self.client.borrow_mut() = client,
            Err(error) => tracing::warn!(error, "the credentials can't be read anew"),
        }
    }
}

impl Api for CredentialRefresh {
    async fn ask(&self, job: JobRef, diff_info: bool) -> Result<StatusResponse, PollError> {
        if self.refused.take() {
            self.renew();
        }
        let client = self.client.borrow().clone();
        let result = client.ask(job, diff_info).await;
        let refused = |error: &PollError| {
            matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::Forbidden)
        };
        if result.as_ref().is_err_and(refused) {
            self.refused.set(true);
        }
        result
    }
}
