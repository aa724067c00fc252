//! Runs attempts: a program or a webhook request per attempt, by the hook's configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use tokio::sync::watch;

use super::exec::HookProgram;
use super::payload::EventPayload;
use super::queue::AttemptResult;
use super::webhook::Webhook;
use crate::hooks::HookAction;
use crate::hooks::HookSpec;
use forgewatch_core::delivery::DeliveryId;

/// A running attempt. Dropping it interrupts the attempt.
pub type AttemptFuture = LocalBoxFuture<'static, AttemptResult>;

/// Runs attempts. [`Actions`] runs programs and webhook requests; the simulation has its own.
pub trait Executor: 'static {
    /// Starts an attempt of the delivery's hook; None if the hook is unknown. `attempt` counts from 1, `wall_ms` is the
    /// current time. Once `stop` is true the attempt ends.
    fn attempt(
        &self,
        id: &DeliveryId,
        payload: &Arc<EventPayload>,
        attempt: u32,
        wall_ms: i64,
        stop: watch::Receiver<bool>,
    ) -> Option<AttemptFuture>;
}

/// The programs and webhooks of the configured hooks, by hook name.
#[derive(Default)]
pub struct Actions(BTreeMap<Arc<str>, Action>);

#[derive(Clone)]
enum Action {
    Run(Rc<HookProgram>),
    Post(Rc<Webhook>),
}

impl Actions {
    /// Prepares these hooks. `ca_file` holds certificate authorities to trust besides the system's.
    ///
    /// # Errors
    /// A message for the user: an HTTP client could not be built.
    pub fn new(specs: &[HookSpec], ca_file: Option<&Path>) -> Result<Self, String> {
        let mut actions = BTreeMap::new();
        for spec in specs {
            let action = match &spec.action {
                HookAction::Run { program, args, env } => {
                    Action::Run(Rc::new(HookProgram::new(spec, program, args, env)))
                }
                HookAction::Webhook { url, secrets } => {
                    Action::Post(Rc::new(Webhook::new(spec, url, secrets, ca_file)?))
                }
            };
            actions.insert(Arc::clone(&spec.name), action);
        }
        Ok(Self(actions))
    }
}

impl Executor for Actions {
    fn attempt(
        &self,
        id: &DeliveryId,
        payload: &Arc<EventPayload>,
        attempt: u32,
        wall_ms: i64,
        stop: watch::Receiver<bool>,
    ) -> Option<AttemptFuture> {
        let action = self.0.get(&id.hook)?.clone();
        let (id, payload) = (id.clone(), Arc::clone(payload));
        Some(Box::pin(async move {
            let result = match action {
                Action::Run(program) => program.attempt(&id, &payload, attempt, stop).await,
                Action::Post(webhook) => webhook.attempt(&payload, wall_ms / 1000, stop).await,
            };
            log_result(&id, &payload, attempt, &result);
            result
        }))
    }
}

fn log_result(id: &DeliveryId, payload: &EventPayload, attempt: u32, result: &AttemptResult) {
    let (event_id, hook, summary) = (id.event.to_string(), &*id.hook, payload.summary());
    match result {
        AttemptResult::Delivered => {
            tracing::info!(target: "forgewatch::hooks", event_id, hook, summary, attempt, "delivered");
        }
        AttemptResult::Failed { why, .. } | AttemptResult::Rejected(why) => {
            let error = &why.error;
            tracing::warn!(target: "forgewatch::hooks", event_id, hook, summary, attempt, error, "hook attempt failed");
        }
    }
}
