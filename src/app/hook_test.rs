//! `forgewatch hooks test` without a daemon.

use std::path::Path;

use super::command_error::CommandError;
use super::new_watch_id;
use super::setup::block_on;
use crate::config::{self, Env};
use crate::engine::{Clock, SystemClock};
use crate::hooks::Actions;
use forgewatch_core::delivery::{HookTestReport, HookTestRequest};

/// Tests a hook of the configuration file as this process.
pub fn run(
    config: Option<&Path>,
    request: &HookTestRequest,
    env: &Env,
) -> Result<HookTestReport, CommandError> {
    let loaded = config::inspect(config, env).map_err(CommandError::usage)?;
    let settings = loaded.settings;
    let actions = Actions::new(&settings.hooks, settings.api.ca_file.as_deref());
    let actions = actions.map_err(CommandError::usage)?;
    let watch = new_watch_id().map_err(CommandError::internal)?;
    let report = block_on(async {
        let now = SystemClock::start().now().wall_ms;
        let origin = settings.limits.origin.clone();
        let test = actions.test(&settings.hooks, request, watch, now, origin)?;
        Ok(test.await)
    });
    report
        .map_err(CommandError::internal)?
        .map_err(|error: String| CommandError::failed(error))
}
