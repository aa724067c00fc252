//! The part of `forgewatch check` that asks the API.

use crate::clanforge::Api;
use crate::clanforge::Client;
use crate::config::settings::Settings;
use forgewatch_core::job::JobRef;
use forgewatch_core::verdict::ErrorKind;

/// Asks once, for the first job of the file or else for one that need not be there: what counts is whether the API
/// answers and takes the credentials. Ok is a line on what it answered, Err what is wrong.
pub fn ask(settings: &Settings, client: &Client) -> Result<String, String> {
    let own = settings.jobs.first().map(|spec| spec.job);
    let stand_in = || "update/1".parse::<JobRef>().map_err(|e| e.to_string());
    let job = own.map_or_else(stand_in, Ok)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let answer = runtime.block_on(client.ask(job, false));
    // A name lookup that hangs would hold the process up.
    runtime.shutdown_background();
    let base = &settings.api.base_url;
    let Err(error) = answer else {
        return Ok(format!("{base} takes these credentials, and knows {job}"));
    };
    match error.kind {
        ErrorKind::NotFound | ErrorKind::Gone | ErrorKind::Api => {
            Ok(format!("{base} takes these credentials ({job}: {error})"))
        }
        ErrorKind::Unauthorized => Err(format!("{base} does not take these credentials ({error})")),
        ErrorKind::Forbidden if own.is_none() => Ok(format!(
            "{base} answers, and does not call the credentials wrong; whether they may see your jobs shows with a job \
             in [[jobs]] ({job}: {error})"
        )),
        ErrorKind::Forbidden => Err(format!(
            "{base}: {error}; these credentials, or this account_service_id, may not see {job}"
        )),
        _ => Err(format!("{base}: {error}")),
    }
}
