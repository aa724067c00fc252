//! The daemon's configuration, at startup and reload.

use std::path::{self, Path, PathBuf};

use super::credential_refresh::RefreshingClient;
use crate::app::setup::{Prepared, prepare};
use crate::app::throttle;
use crate::config::settings::{HttpSettings, OutputFormat, Settings};
use crate::config::{self, CommandLine, Env};
use crate::daemon::{Daemon, DaemonConfig};
use crate::engine::SystemClock;
use crate::hooks::{Actions, HookAction, HookSpec};
use crate::http_api::Access;
use crate::store::SqliteStore;

pub(super) type SqliteDaemon = Daemon<RefreshingClient, SqliteStore, SystemClock, Actions>;

pub(super) struct LoadedConfig {
    pub(super) settings: Settings,
    pub(super) daemon: DaemonConfig<RefreshingClient, Actions>,
    pub(super) output: OutputFormat,
    /// The configuration file.
    pub(super) source: Option<PathBuf>,
}

/// Reads the configuration and the files that it names. The error has one line per error.
pub(super) fn load_config(command_line: &CommandLine, env: &Env) -> Result<LoadedConfig, String> {
    let Prepared { loaded, client, .. } = prepare(config::load_daemon(command_line, env), env)?;
    let mut settings = loaded.settings;
    let socket = absolute(&settings.control.socket)?;
    settings
        .hooks
        .iter_mut()
        .for_each(|hook| set_socket_variable(hook, &socket));
    let executor = Actions::new(&settings.hooks, settings.api.ca_file.as_deref())?;
    let api = RefreshingClient::new(
        client,
        settings.api.clone(),
        settings.credentials_file.clone(),
        env.clone(),
    );
    let daemon_config = DaemonConfig {
        api,
        server: settings.server(),
        throttle: throttle(&settings.api),
        limits: settings.limits.clone(),
        jobs: settings.jobs.clone(),
        hooks: settings.hooks.clone(),
        executor,
        retain: settings.state.retain,
    };
    Ok(LoadedConfig {
        settings,
        daemon: daemon_config,
        output: loaded.output,
        source: loaded.source,
    })
}

/// Who may use the HTTP API.
pub(super) fn http_access(http: &HttpSettings) -> Result<Access, String> {
    Access::new(http.hosts.clone(), &http.tokens, http.allow_remote)
}

/// Hooks may run in another working directory.
fn absolute(socket: &Path) -> Result<PathBuf, String> {
    path::absolute(socket).map_err(|e| format!("{}: {e}", socket.display()))
}

fn set_socket_variable(hook: &mut HookSpec, socket: &Path) {
    if let HookAction::Run(program) = &mut hook.action {
        program
            .env
            .push(("FORGEWATCH_SOCKET".to_owned(), socket.into()));
    }
}
