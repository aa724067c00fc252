//! The one-shot, run by `watch --until-done` and `demo`: watches until every job has ended.

mod earlier;
mod event_loop;
mod run;
mod state_file;

use std::path::{Path, PathBuf};

use super::ci::CiOutput;
use super::command_error::CommandError;
use super::setup::{block_on, start_report};
use crate::clanforge::ApiClient;
use crate::config::Env;
use crate::config::settings::{OneShotSettings, OutputFormat, Settings};
use crate::hooks::Actions;
use crate::os;
use crate::report::StreamInfo;
use crate::store::calibration;
pub(super) use run::Finished;
use run::{OneShotParts, OneShotRun};
use state_file::StateFile;

pub(super) struct OneShotConfig {
    pub(super) settings: Settings,
    pub(super) client: ApiClient,
    pub(super) options: OneShotSettings,
    pub(super) output: OutputFormat,
}

/// Sets up output and engine, and watches until every job has ended.
pub(super) fn run(config: OneShotConfig, env: &Env) -> Result<Finished, CommandError> {
    if !config.settings.hooks.is_empty() {
        os::protect_memory();
    }
    let ca_file = config.settings.api.ca_file.as_deref();
    let actions = Actions::new(&config.settings.hooks, ca_file).map_err(CommandError::usage)?;
    let mut report = start_report(config.output, StreamInfo::auto, env)?;
    let ci = CiOutput::start(&config.options, env, &mut report)?;
    let state = StateFile::open(config.options.state.as_deref()).map_err(CommandError::unusable)?;
    let server = config.settings.server().filter(|_| config.options.learn);
    let calibration_file = server
        .as_ref()
        .and_then(|server| Some(cache_folder(env)?.join(calibration::file_name(server))));
    let parts = OneShotParts {
        settings: config.settings,
        options: config.options,
        client: config.client,
        actions,
        report,
        ci,
        server,
        calibration_file,
        state,
    };
    block_on(async { Ok(OneShotRun::new(parts).await?.until_done().await) })
        .and_then(|finished: std::io::Result<Finished>| finished)
        .map_err(CommandError::internal)
}

/// `$XDG_CACHE_HOME/forgewatch`, or below `~/.cache`; None without either variable. As the XDG specification says, a
/// relative path is ignored.
fn cache_folder(env: &Env) -> Option<PathBuf> {
    let absolute = |name| env.path(name).filter(|p| p.is_absolute());
    let cache = absolute("XDG_CACHE_HOME")
        .map(Path::to_owned)
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("forgewatch"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_follows_the_xdg_specification() {
        let env = |vars: &[(&str, &str)]| -> Env {
            vars.iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect()
        };
        let home = ("HOME", "/home/ann");
        for (vars, want) in [
            (vec![home], Some("/home/ann/.cache/forgewatch")),
            (vec![home, ("XDG_CACHE_HOME", "/c")], Some("/c/forgewatch")),
            (
                vec![("XDG_CACHE_HOME", "c"), home],
                Some("/home/ann/.cache/forgewatch"),
            ),
            (vec![], None),
        ] {
            assert_eq!(cache_folder(&env(&vars)), want.map(PathBuf::from));
        }
    }
}
