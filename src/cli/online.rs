//! The part of `forgewatch check` that asks the API.

use crate::clanforge::Client;
use crate::config::credentials::Credentials;
use crate::config::settings::Settings;
use crate::core::job::JobRef;
use crate::core::verdict::ErrorKind;
use crate::engine::Api;

/// Asks once, for the first job of the file or else for one that need not be there: what counts is whether the API
/// answers and takes the credentials. Ok is a line on what it answered, Err what is wrong.
pub(super) fn ask(settings: &Settings, credentials: &Credentials) -> Result<String, String> {
    let stand_in = || "update/1".parse::<JobRef>().map_err(|e| e.to_string());
    let job = settings
        .jobs
        .first()
        .map_or_else(stand_in, |spec| Ok(spec.job))?;
    let client = Client::new(&settings.api, credentials).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let answer = runtime.block_on(client.ask(job, false));
    runtime.shutdown_background();
    let base = &settings.api.base_url;
    match answer {
        Ok(_) => Ok(format!("{base} takes these credentials, and knows {job}")),
        Err(error)
            if matches!(
                error.kind,
                ErrorKind::NotFound | ErrorKind::Gone | ErrorKind::Api
            ) =>
        {
            Ok(format!("{base} takes these credentials ({job}: {error})"))
        }
        Err(error) => Err(format!("{base}: {error}")),
    }
}
