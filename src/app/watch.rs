//! `forgewatch watch`.

use std::path::{Path, PathBuf};

use super::command_error::CommandError;
use super::daemon;
use super::one_shot::{Finished, OneShotRun, StateFile};
use super::setup::{Prepared, prepare};
use crate::clanforge::ApiClient;
use crate::config::settings::{OneShotSettings, OutputFormat, Settings};
use crate::config::{self, CommandLine, Env};
use crate::hooks::Actions;
use crate::os::privacy;
use crate::report::{OutputMode, Report, StreamInfo, Streams, diagnostics};

/// Watches the jobs until they have ended or, without `--until-done`, until a signal arrives.
pub fn run(command_line: CommandLine, until_done: bool, env: &Env) -> Result<u8, CommandError> {
    if until_done {
        let loaded = config::load(&command_line, env);
        let Prepared { loaded, client, .. } = prepare(loaded, env).map_err(CommandError::usage)?;
        let config = OneShotConfig {
            settings: loaded.settings,
            client,
            options: loaded.one_shot,
            output: loaded.output,
            keep_calibration: true,
        };
        Ok(self::until_done(config, env)?.exit_code)
    } else {
        daemon::run(command_line, env).map(|()| 0)
    }
}

pub(super) struct OneShotConfig {
    pub(super) settings: Settings,
    pub(super) client: ApiClient,
    pub(super) options: OneShotSettings,
    pub(super) output: OutputFormat,
    /// Whether to load the calibration of earlier one-shots and save this one's.
    pub(super) keep_calibration: bool,
}

/// Sets up output and engine, and watches until every job has ended.
pub(super) fn until_done(config: OneShotConfig, env: &Env) -> Result<Finished, CommandError> {
    let streams = StreamInfo::detect();
    let mode = output_mode(config.output, &streams);
    if !config.settings.hooks.is_empty() {
        privacy::protect_memory();
    }
    let ca_file = config.settings.api.ca_file.as_deref();
    let actions = Actions::new(&config.settings.hooks, ca_file).map_err(CommandError::usage)?;
    let filter = env
        .text(diagnostics::VARIABLE)
        .map_err(CommandError::usage)?;
    let report = Report::start(mode, streams.style(mode), Streams::standard())
        .map_err(CommandError::internal)?;
    diagnostics::install(report.diagnostics(), filter).map_err(CommandError::usage)?;

    let state = StateFile::open(config.options.state.as_deref()).map_err(CommandError::unusable)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CommandError::internal)?;
    let calibration = config
        .keep_calibration
        .then(|| calibration_file(env))
        .flatten();
    let finished = runtime.block_on(async {
        let run = OneShotRun::new(
            config.settings,
            config.options,
            config.client,
            actions,
            report,
            calibration.as_ref(),
            state,
        )
        .await?;
        Ok(run.until_done(calibration.as_ref()).await)
    });
    // Does not wait for a name lookup that hangs.
    runtime.shutdown_background();
    finished.map_err(|e: std::io::Error| CommandError::internal(e))
}

pub(super) fn output_mode(output: OutputFormat, streams: &StreamInfo) -> OutputMode {
    match output {
        OutputFormat::Auto => streams.auto(),
        OutputFormat::Progress => OutputMode::Progress,
        OutputFormat::Text => OutputMode::Text,
        OutputFormat::Json => OutputMode::Json,
        OutputFormat::Quiet => OutputMode::Quiet,
    }
}

/// `$XDG_CACHE_HOME/forgewatch/calibration.json`, or below `~/.cache`; None without either variable. As the XDG
/// specification says, a relative path is ignored.
fn calibration_file(env: &Env) -> Option<PathBuf> {
    let absolute = |name| env.path(name).filter(|p| p.is_absolute());
    let cache = absolute("XDG_CACHE_HOME")
        .map(Path::to_owned)
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("forgewatch").join("calibration.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calibration_file_follows_the_xdg_specification() {
        let env = |vars: &[(&str, &str)]| -> Env {
            vars.iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect()
        };
        let home = ("HOME", "/home/ann");
        for (vars, want) in [
            (
                vec![home],
                Some("/home/ann/.cache/forgewatch/calibration.json"),
            ),
            (
                vec![home, ("XDG_CACHE_HOME", "/c")],
                Some("/c/forgewatch/calibration.json"),
            ),
            (
                vec![("XDG_CACHE_HOME", "c"), home],
                Some("/home/ann/.cache/forgewatch/calibration.json"),
            ),
            (vec![], None),
        ] {
            assert_eq!(calibration_file(&env(&vars)), want.map(PathBuf::from));
        }
    }
}
