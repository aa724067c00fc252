//! What the hooks of the configuration do: how each makes its attempts.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use tokio::sync::watch;

use super::exec::Program;
use super::payload::EventPayload;
use super::queue::Attempt;
use super::webhook::Webhook;
use crate::hooks::HookAction;
use crate::hooks::HookSpec;
use forgewatch_core::delivery::DeliveryId;

/// One attempt under way. Dropped, it is cut off.
pub type AttemptFuture = LocalBoxFuture<'static, Attempt>;

/// Makes attempts. [`Actions`] runs programs and asks webhooks; a simulation brings its own.
pub trait Executor {
    /// Begins an attempt of the delivery's hook; None where there is no such hook. `attempt` counts from 1, `wall_ms`
    /// is now. Once `stop` holds true the attempt is ended.
    fn attempt(
        &self,
        id: &DeliveryId,
        told: &Arc<EventPayload>,
        attempt: u32,
        wall_ms: i64,
        stop: watch::Receiver<bool>,
    ) -> Option<AttemptFuture>;
}

/// The hooks' programs and webhooks, by name.
#[derive(Default)]
pub struct Actions(BTreeMap<Arc<str>, Action>);

#[derive(Clone)]
enum Action {
    Run(Rc<Program>),
    Post(Rc<Webhook>),
}

impl Actions {
    /// Those of these hooks. `ca_file` holds certificate authorities trusted besides the system's. Opens nothing else.
    ///
    /// # Errors
    /// What keeps a webhook's client from being set up, for the user.
    pub fn new(specs: &[HookSpec], ca_file: Option<&Path>) -> Result<Self, String> {
        let mut actions = BTreeMap::new();
        for spec in specs {
            let action = match &spec.action {
                HookAction::Run { program, args, env } => {
                    Action::Run(Rc::new(Program::new(spec, program, args, env)))
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
        told: &Arc<EventPayload>,
        attempt: u32,
        wall_ms: i64,
        stop: watch::Receiver<bool>,
    ) -> Option<AttemptFuture> {
        let action = self.0.get(&id.hook)?.clone();
        let (id, told) = (id.clone(), Arc::clone(told));
        Some(Box::pin(async move {
            let result = match action {
                Action::Run(program) => program.attempt(&id, &told, attempt, stop).await,
                Action::Post(webhook) => webhook.attempt(&told, wall_ms / 1000, stop).await,
            };
            log(&id, &told, attempt, &result);
            result
        }))
    }
}

/// What came of an attempt, for people.
fn log(id: &DeliveryId, told: &EventPayload, attempt: u32, result: &Attempt) {
    let (event_id, hook, what) = (id.event.to_string(), &*id.hook, told.what());
    match result {
        Attempt::Delivered => tracing::info!(event_id, hook, what, attempt, "delivered"),
        Attempt::Failed { why, .. } | Attempt::Refused(why) => {
            let error = &why.error;
            tracing::warn!(event_id, hook, what, attempt, error, "a hook failed");
        }
    }
}
