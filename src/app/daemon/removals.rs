//! The `remove` requests whose clients wait until the ends of their watches are stored.

use tokio::sync::oneshot;

use super::load_config::SqliteDaemon;
use crate::control::protocol::Response;
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

    /// Responds to the removals whose watches have all ended.
    pub(super) fn complete(&mut self, daemon: &SqliteDaemon) {
        self.0.retain(|removal| !removal.respond_to.is_closed());
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
