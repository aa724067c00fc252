//! `forgewatch watch` without `--until-done`: the daemon as a process.
//!
//! [`crate::daemon`] watches, stores and delivers. This module adds signals, the control socket, the service manager, the
//! output, and reading the configuration at startup and reload.

mod credential_refresh;
mod load_config;
mod output;
mod removals;
mod responses;
mod service;
mod shutdown;
mod status;

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, interval};

use super::command_error::CommandError;
use super::setup::{block_on, start_report};
use crate::config::{CommandLine, Env};
use crate::os::signals::{Signal, Signals};
use crate::os::{self, notify};
use crate::report::StreamInfo;
use load_config::{LoadedConfig, load_config};
use service::Service;

/// The length of one extension of the service manager's time limit.
const EXTENSION: Duration = Duration::from_secs(10);

/// Watches until a signal arrives.
pub(super) fn run(command_line: CommandLine, env: &Env) -> Result<(), CommandError> {
    let LoadedConfig {
        settings,
        daemon: daemon_config,
        output,
        ..
    } = load_config(&command_line, env).map_err(CommandError::usage)?;
    os::protect_memory();
    let report = start_report(output, StreamInfo::auto_daemon, env)?;
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
            Some(service) => Box::pin(service?.run(signals)).await,
            None => Ok(()),
        }
    });
    ended.map_err(CommandError::internal)?
}

/// Receives signals, also during work that may wait for the disk.
struct SignalListener {
    signals: Signals,
    /// Received by [`Self::unless_stopped`], for [`Self::next`].
    later: VecDeque<Signal>,
}

impl SignalListener {
    fn new(signals: Signals) -> Self {
        let later = VecDeque::new();
        Self { signals, later }
    }

    /// The next signal. Cancel-safe.
    async fn next(&mut self) -> Signal {
        match self.later.pop_front() {
            Some(signal) => signal,
            None => self.signals.next().await,
        }
    }

    /// Runs `work`. None if a stop signal canceled it.
    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                signal = self.signals.next() => match signal {
                    Signal::Stop(_) => return None,
                    other => self.later.push_back(other),
                },
            }
        }
    }
}

/// Runs `work` and extends the service manager's time limit meanwhile, for `most` in total: work that takes longer is considered stuck.
async fn with_extended_timeout<T>(most: Option<Duration>, work: impl Future<Output = T>) -> T {
    let until = most.map(|most| Instant::now() + most);
    let mut extensions = interval(EXTENSION / 4);
    let mut work = pin!(work);
    loop {
        let may_extend = until.is_none_or(|until| Instant::now() < until);
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = extensions.tick(), if may_extend => notify::extend_timeout(EXTENSION),
        }
    }
}
