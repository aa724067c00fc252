//! Runs attempts: a program or a webhook request per attempt, by the hook's configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::webhook::Webhook;
use super::{AttemptFuture, Executor, HookAction, HookProgram, HookSpec, StopSignal};
use forgewatch_core::delivery::{Attempt, AttemptResult};

/// The programs and webhooks of the configured hooks, by hook name.
#[derive(Clone, Default)]
pub struct Actions(BTreeMap<Arc<str>, Action>);

#[derive(Clone)]
pub(super) enum Action {
    Run(Rc<HookProgram>, Duration),
    Post(Rc<Webhook>),
}

impl Actions {
    /// Prepares these hooks. `ca_file` holds certificate authorities to trust besides the system's.
    pub fn new(specs: &[HookSpec], ca_file: Option<&Path>) -> Result<Self, String> {
        let mut actions = BTreeMap::new();
        for spec in specs {
            let action = match &spec.action {
                HookAction::Run(program) => Action::Run(Rc::new(program.clone()), spec.timeout),
                HookAction::Webhook(webhook) => {
                    Action::Post(Rc::new(Webhook::new(spec, webhook, ca_file)?))
                }
            };
            actions.insert(Arc::clone(&spec.rules.name), action);
        }
        Ok(Self(actions))
    }

    pub(super) fn get(&self, hook: &str) -> Option<Action> {
        self.0.get(hook).cloned()
    }
}

impl Executor for Actions {
    fn attempt(&self, attempt: Attempt, wall_ms: i64, stop: StopSignal) -> Option<AttemptFuture> {
        let action = self.get(&attempt.id.hook)?;
        Some(Box::pin(async move {
            let result = match action {
                Action::Run(program, timeout) => program.run(timeout, &attempt, stop).await.0,
                Action::Post(webhook) => {
                    let exchange = webhook.post(&attempt.payload, wall_ms / 1000, stop);
                    exchange.await.result
                }
            };
            log_result(&attempt, &result);
            result
        }))
    }
}

fn log_result(attempt: &Attempt, result: &AttemptResult) {
    let (event_id, hook) = (attempt.id.event.to_string(), &*attempt.id.hook);
    let (kind, number) = (attempt.payload.kind(), attempt.number);
    let job = attempt.payload.job().map(tracing::field::display);
    match result {
        AttemptResult::Delivered => {
            tracing::debug!(target: "forgewatch::hooks", event_id, kind, job, hook, attempt = number, "delivered");
        }
        AttemptResult::Failed { why, .. } | AttemptResult::Rejected(why) => {
            let error = &why.error;
            tracing::warn!(target: "forgewatch::hooks", event_id, kind, job, hook, attempt = number, error, "hook attempt failed");
        }
    }
}
