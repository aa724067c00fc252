//! Checks everything that must be right before the first request, so that all errors are reported at once.

use std::io;

use super::command_error::CommandError;
use crate::clanforge::{Api, ApiClient};
use crate::config::credentials::{self, CredentialsSource};
use crate::config::settings::{OutputFormat, Settings};
use crate::config::{ConfigErrors, Env, Loaded};
use crate::http_client::check_ca_file;
use crate::report::{OutputMode, Report, StreamInfo, Streams, diagnostics};
use forgewatch_core::event::TRACEPARENT;
use forgewatch_core::job::JobRef;
use forgewatch_core::verdict::ErrorKind;

pub struct Prepared {
    pub loaded: Loaded,
    pub credentials_source: CredentialsSource,
    pub client: ApiClient,
}

/// Finds the credentials and creates the client for a configuration. The error has one line per error.
pub fn prepare(loaded: Result<Loaded, ConfigErrors>, env: &Env) -> Result<Prepared, String> {
    let filter = env
        .text(diagnostics::VARIABLE)
        .map_err(|e| e.to_string())
        .and_then(|filter| diagnostics::check(filter).map_err(|e| e.to_string()));
    match (with_client(loaded, env), filter) {
        (Ok(prepared), Ok(())) => Ok(prepared),
        (Err(errors), Ok(())) => Err(errors),
        (Ok(_), Err(filter)) => Err(filter),
        (Err(errors), Err(filter)) => Err(format!("{errors}\n{filter}")),
    }
}

fn with_client(loaded: Result<Loaded, ConfigErrors>, env: &Env) -> Result<Prepared, String> {
    let loaded = loaded.map_err(|errors| errors.to_string())?;
    let api = &loaded.settings.api;
    let (credentials, credentials_source) =
        credentials::find(loaded.settings.credentials_file.as_deref(), env).map_err(|error| {
            match check_ca_file(api.ca_file.as_deref()) {
                Err(ca_file) => format!("{error}\n{ca_file}"),
                Ok(()) => error.to_string(),
            }
        })?;
    let client = ApiClient::new(api, &credentials).map_err(|e| e.to_string())?;
    Ok(Prepared {
        loaded,
        credentials_source,
        client,
    })
}

/// Polls one job to learn whether the API responds and accepts the credentials: the first job of the file, or one that
/// need not exist: a diff, which has one address. Ok is a line about the response.
pub fn check_api(settings: &Settings, client: &ApiClient) -> Result<String, String> {
    let configured = settings.jobs.first().map(|spec| spec.job);
    let placeholder = || "diff/1".parse::<JobRef>().map_err(|e| e.to_string());
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

/// Starts the output and sends diagnostics to it. `auto` chooses the mode of `--output auto`.
pub(super) fn start_report(
    output: OutputFormat,
    auto: impl FnOnce(&StreamInfo) -> OutputMode,
    env: &Env,
) -> Result<Report, CommandError> {
    let streams = StreamInfo::detect();
    let mode = match output {
        OutputFormat::Auto => auto(&streams),
        OutputFormat::Progress => OutputMode::Progress,
        OutputFormat::Text => OutputMode::Text,
        OutputFormat::Json => OutputMode::Json,
        OutputFormat::Journal => OutputMode::Journal,
        OutputFormat::Quiet => OutputMode::Quiet,
    };
    let filter = env
        .text(diagnostics::VARIABLE)
        .map_err(CommandError::usage)?;
    let report = Report::start(mode, streams.style(mode), Streams::standard())
        .map_err(CommandError::internal)?;
    diagnostics::install(report.diagnostics(), filter).map_err(CommandError::usage)?;
    if let Err(error) = env.trace() {
        tracing::warn!(target: "forgewatch::watch", %error, "{TRACEPARENT} ignored");
    }
    Ok(report)
}

/// Runs the future on a runtime with one thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let result = runtime.block_on(future);
    // Does not wait for a name lookup that hangs.
    runtime.shutdown_background();
    Ok(result)
}
