//! All that has to be in order before the API is asked, looked at together, so that everything wrong is told at once.

use crate::clanforge::Client;
use crate::config::credentials::{self, Source};
use crate::config::{ConfigErrors, Env, Loaded};
use crate::http_client::tls::check_ca_file;
use crate::report::diagnostics;

/// It is in order.
pub struct Ready {
    pub loaded: Loaded,
    /// Where the credentials came from.
    pub source: Source,
    pub client: Client,
}

/// Takes the configuration as it was loaded, finds the credentials, sets the client up. Err has a line an error.
pub fn ready(loaded: Result<Loaded, ConfigErrors>, env: &Env) -> Result<Ready, String> {
    let filter = env
        .text(diagnostics::VARIABLE)
        .map_err(|e| e.to_string())
        .and_then(|filter| diagnostics::check(filter).map_err(|e| e.to_string()));
    match (with_client(loaded, env), filter) {
        (Ok(ready), Ok(())) => Ok(ready),
        (Err(errors), Ok(())) => Err(errors),
        (Ok(_), Err(filter)) => Err(filter),
        (Err(errors), Err(filter)) => Err(format!("{errors}\n{filter}")),
    }
}

fn with_client(loaded: Result<Loaded, ConfigErrors>, env: &Env) -> Result<Ready, String> {
    let loaded = loaded.map_err(|errors| errors.to_string())?;
    let api = &loaded.settings.api;
    let (credentials, source) = credentials::find(loaded.credentials_file.as_deref(), env)
        .map_err(|error| match check_ca_file(api.ca_file.as_deref()) {
            Err(ca_file) => format!("{error}\n{ca_file}"),
            Ok(()) => error.to_string(),
        })?;
    let client = Client::new(api, &credentials).map_err(|e| e.to_string())?;
    Ok(Ready {
        loaded,
        source,
        client,
    })
}
