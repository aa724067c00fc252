//! `forgewatch watch` without `--until-done`: the daemon as a process.
//!
//! [`crate::daemon`] watches, stores and delivers. This module adds signals, the control socket, the service manager, the
//! output, and reading the configuration at startup and reload.

mod credential_refresh;
mod load_config;
mod output;
mod responses;
mod service;
mod service_timeout;
mod shutdown;
mod signal_listener;
mod startup;

use super::command_error::CommandError;
use super::setup::{block_on, start_report};
use crate::config::{CommandLine, Env};
use crate::os;
use crate::os::signals::Signals;
use crate::report::OutputMode;
use load_config::load_config;
use service::Service;
use service_timeout::with_extended_timeout;
use signal_listener::SignalListener;

/// Watches until a signal arrives.
pub(super) fn run(command_line: CommandLine, env: &Env) -> Result<(), CommandError> {
    let (settings, daemon_config, output) =
        load_config(&command_line, env).map_err(CommandError::usage)?;
    os::protect_memory();
    let report = start_report(output, |_| OutputMode::Json, env)?;
    let ended = block_on(async {
        let mut signals = SignalListener::new(Signals::listen().map_err(CommandError::internal)?);
        let startup = Box::pin(Service::start(
            command_line,
            env.clone(),
            settings,
            daemon_config,
            report,
        ));
        match signals
            .unless_stopped(with_extended_timeout(None, startup))
            .await
        {
            Some(service) => service?.run(signals).await,
            None => Ok(()),
        }
    });
    ended.map_err(CommandError::internal)?
}
