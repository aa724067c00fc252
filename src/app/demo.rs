//! `forgewatch demo`: the whole thing at work on simulated jobs, in 20 seconds.

use std::fmt;

use secrecy::SecretString;

use super::one_shot::Finished;
use super::watch::{CommandError, Plan, until_done};
use super::{FAILED, INTERNAL, USAGE};
use crate::clanforge::Client;
use crate::clanforge::Credentials;
use crate::config::settings::Output;
use crate::config::{self, Env};
use forgewatch_core::job::{JobRef, Outcome};
use forgewatch_sim::{Script, Server};

/// Watches the built-in script's jobs; 0 when each ended as scripted.
pub fn run(output: Option<Output>, env: &Env) -> Result<u8, CommandError> {
    let script = Script::demo().map_err(internal)?;
    let mut expected = script.expected();
    let Finished { status, stop, ends } = watch(script, output, env)?;
    let mut ends: Vec<(JobRef, Outcome)> = ends;
    ends.sort_unstable_by_key(|(job, _)| *job);
    expected.sort_unstable_by_key(|(job, _)| *job);
    if ends == expected {
        return Ok(0);
    }
    if stop.is_some() {
        return Ok(status);
    }
    Err(CommandError {
        status: FAILED,
        why: "demo: a job did not end as its script says; please report this as a bug".to_owned(),
    })
}

fn watch(script: Script, output: Option<Output>, env: &Env) -> Result<Finished, CommandError> {
    let secret = |key: &str| SecretString::from(key.to_owned());
    let credentials = Credentials::new(secret(script.access_key()), secret(script.secret_key()))
        .map_err(internal)?;
    let (account, jobs) = (script.account_service_id(), script.jobs());
    let server = Server::start(script).map_err(internal)?;
    let loaded = config::for_simulator(&server.base_url(), account, &jobs).map_err(internal)?;
    let output = config::output(output, env).map_err(|e| CommandError {
        status: USAGE,
        why: e.to_string(),
    })?;
    let client = Client::new(&loaded.settings.api, &credentials).map_err(internal)?;
    let plan = Plan {
        client,
        settings: loaded.settings,
        options: loaded.one_shot,
        output,
        learns: false,
    };
    until_done(plan, env)
}

/// A bug, or a machine that gives nothing.
fn internal(why: impl fmt::Display) -> CommandError {
    CommandError {
        status: INTERNAL,
        why: format!("demo: {why}"),
    }
}
