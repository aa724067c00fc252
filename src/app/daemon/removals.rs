//! The `remove` requests whose clients wait until the ends of their watches are stored.

use tokio::sync::oneshot;

use super::load_config::SqliteDaemon;
use crate::control::protocol::{RequestErrorKind, Response};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;

pub(super) struct PendingRemoval {
    pub(super) running: Vec<(JobRef, WatchId)>,
    pub(super) response: Response,
    pub(super) respond_to: oneshot::Sender<Response>,
}

#[derive(Default)]
pub(super) struct PendingRemovals(Vec<PendingRemoval>);

impl PendingRemovals {
    pub(super) fn add(&mut self, removal: PendingRemoval) {
        self.0.push(removal);
    }

    /// Responds to the removals whose watches have all ended, or have one that another process serves now.
    pub(super) fn complete(&mut self, daemon: &mut SqliteDaemon) {
        self.0.retain(|removal| !removal.respond_to.is_closed());
        let interrupted = daemon.take_interrupted_removals();
        let is_interrupted = |removal: &mut PendingRemoval| {
            let mut running = removal.running.iter();
            running.any(|(_, id)| interrupted.contains(id))
        };
        for removal in self.0.extract_if(.., is_interrupted) {
            let why = "a job is watched by another process now: try again";
            let conflict = Response::error_of(RequestErrorKind::Conflict, why);
            let _ = removal.respond_to.send(conflict);
        }
        for removal in &mut self.0 {
            let is_running =
                |&mut (job, id): &mut (JobRef, WatchId)| daemon.watch_of(job) == Some(id);
            removal.running.retain_mut(is_running);
        }
        for done in self.0.extract_if(.., |removal| removal.running.is_empty()) {
            // The client may have disconnected.
            let _ = done.respond_to.send(done.response);
        }
    }
}
