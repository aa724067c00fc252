//! `forgewatch demo`: watches simulated jobs to their end, in 20 seconds.

use std::fmt;

use secrecy::SecretString;

use super::command_error::CommandError;
use super::one_shot::{self, Finished, OneShotConfig};
use crate::clanforge::{ApiClient, Credentials};
use crate::config::settings::{Annotations, OneShotSettings, OutputFormat};
use crate::config::{self, Env};
use forgewatch_sim::{Script, Server};

/// Watches the jobs of the built-in script. The exit status is 0 if each ended as scripted.
pub fn run(output: Option<OutputFormat>, env: &Env) -> Result<u8, CommandError> {
    let script = Script::demo().map_err(internal)?;
    let mut expected = script.expected();
    let finished = watch(script, output, env)?;
    let mut outcomes = finished.outcomes;
    outcomes.sort_unstable_by_key(|(job, _)| *job);
    expected.sort_unstable_by_key(|(job, _)| *job);
    if outcomes == expected {
        return Ok(0);
    }
    if finished.stop.is_some() {
        return Ok(finished.exit_code);
    }
    Err(CommandError::failed(
        "demo: a job did not end as scripted; please report this as a bug",
    ))
}

fn watch(
    script: Script,
    output: Option<OutputFormat>,
    env: &Env,
) -> Result<Finished, CommandError> {
    let secret = |key: &str| SecretString::from(key.to_owned());
    let credentials = Credentials::new(secret(&script.access_key), secret(&script.secret_key))
        .map_err(internal)?;
    let (account, jobs) = (script.account_service_id, script.jobs());
    let server = Server::start(script).map_err(internal)?;
    let loaded = config::for_simulator(&server.base_url(), account, &jobs).map_err(internal)?;
    let output = config::output(output, env).map_err(CommandError::usage)?;
    let client = ApiClient::new(&loaded.settings.api, &credentials).map_err(internal)?;
    let config = OneShotConfig {
        client,
        settings: loaded.settings,
        options: OneShotSettings {
            annotations: Annotations::None,
            ..loaded.one_shot
        },
        output,
    };
    one_shot::run(config, env)
}

fn internal(error: impl fmt::Display) -> CommandError {
    CommandError::internal(format!("demo: {error}"))
}
