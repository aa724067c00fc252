//! `forgewatch watch`.

use super::command_error::CommandError;
use super::setup::{Prepared, prepare};
use super::{daemon, one_shot};
use crate::config::{self, CommandLine, Env};

/// Watches the jobs until they have ended or, without `--until-done`, until a signal arrives.
pub fn run(command_line: CommandLine, until_done: bool, env: &Env) -> Result<u8, CommandError> {
    if !until_done {
        return daemon::run(command_line, env).map(|()| 0);
    }
    let loaded = config::load(&command_line, env);
    let Prepared { loaded, client, .. } = prepare(loaded, env).map_err(CommandError::usage)?;
    let config = one_shot::OneShotConfig {
        settings: loaded.settings,
        client,
        options: loaded.one_shot,
        output: loaded.output,
        keep_calibration: true,
    };
    Ok(one_shot::run(config, env)?.exit_code)
}
