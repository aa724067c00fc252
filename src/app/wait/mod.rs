//! `wait`: waits until jobs end that a daemon watches.
//!
//! It makes no request to the API and needs no credentials. `run` holds its loop, `rows` the status of the jobs as people
//! see it. A thread of its own follows the jobs through the daemon (`control/follower.rs`).

mod line;
mod rows;
mod run;

use std::io;
use std::ops::ControlFlow;
use std::thread;

use tokio::sync::mpsc;

use super::ci::CiOutput;
use super::command_error::CommandError;
use super::setup::{block_on, start_report};
use crate::config::Env;
use crate::config::settings::WaitSettings;
use crate::control::client::DaemonAddress;
use crate::control::follower::{FollowedJobs, follow};
use crate::report::StreamInfo;
use run::{WaitParts, WaitRun};

/// The most updates of the follower that wait to be reported.
const QUEUE: usize = 256;

/// The arguments of `wait`.
pub struct WaitRequest {
    pub settings: WaitSettings,
    pub daemon: DaemonAddress,
    /// Whether the daemon is to watch jobs that it does not know.
    pub add: bool,
    /// Whether the first end suffices.
    pub any: bool,
}

/// Returns the exit status.
pub fn run(request: WaitRequest, env: &Env) -> Result<u8, CommandError> {
    let WaitRequest { settings, .. } = request;
    let mut report = start_report(settings.output, StreamInfo::auto, env)?;
    let ci = CiOutput::start(&settings.options, env, &mut report)?;
    let jobs = FollowedJobs {
        named: settings.jobs,
        labels: settings.labels,
        add: request.add,
    };
    let (send, updates) = mpsc::channel(QUEUE);
    let daemon = request.daemon.clone();
    let follower = move || {
        let send = |update| match send.blocking_send(update) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let _ = follow(daemon, &jobs, send);
    };
    let parts = WaitParts {
        daemon: request.daemon,
        origin: settings.origin,
        options: settings.options,
        give_up_after: settings.give_up_after,
        any: request.any,
        report,
        ci,
        updates,
    };
    let run = async {
        let run = WaitRun::new(parts)?;
        // It ends with the process: it may wait for the daemon.
        thread::Builder::new()
            .name("follower".to_owned())
            .spawn(follower)?;
        Ok::<_, io::Error>(run.until_done().await)
    };
    block_on(run)
        .and_then(|result| result)
        .map_err(CommandError::internal)?
}
