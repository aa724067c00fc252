//! The part of `forgewatch check` that sends a request to the API.

use super::setup::block_on;
use crate::clanforge::Api;
use crate::clanforge::ApiClient;
use crate::config::settings::Settings;
use forgewatch_core::job::JobRef;
use forgewatch_core::verdict::ErrorKind;

/// Polls one job to learn whether the API responds and accepts the credentials: the first job of the file, or one that
/// need not exist. Ok is a line about the response.
pub fn run(settings: &Settings, client: &ApiClient) -> Result<String, String> {
    let configured = settings.jobs.first().map(|spec| spec.job);
    let placeholder = || "update/1".parse::<JobRef>().map_err(|e| e.to_string());
    let job = configured.map_or_else(placeholder, Ok)?;
    let result = block_on(client.poll(job, false)).map_err(|e| e.to_string())?;
    let base = &settings.api.base_url;
    let Err(error) = result else {
        return Ok(format!("{base} accepts these credentials; found {job}"));
    };
    match error.kind {
        ErrorKind::NotFound | ErrorKind::Gone | ErrorKind::Api => {
            Ok(format!("{base} accepts these credentials ({job}: {error})"))
        }
        ErrorKind::Unauthorized => Err(format!("{base} rejects these credentials ({error})")),
        ErrorKind::Forbidden if configured.is_none() => Ok(format!(
            "{base} responds and does not reject the credentials; to check access to your jobs, add one to [[jobs]] \
             ({job}: {error})"
        )),
        ErrorKind::Forbidden => Err(format!(
            "{base}: {error}; these credentials or this account_service_id have no access to {job}"
        )),
        _ => Err(format!("{base}: {error}")),
    }
}
