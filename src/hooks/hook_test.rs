//! Tests of a hook: one marked event, one attempt, and everything that is known about it. Nothing is stored, and nothing
//! follows from a failure.

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::executor::{Action, Actions};
use super::{HookSpec, exec};
use forgewatch_core::delivery::{
    Attempt, AttemptResult, DeliveryId, EventPayload, HookTestReport, HookTestRequest,
};
use forgewatch_core::event::{Event, EventId, EventOrigin, EventType, WatchId, matches_type};
use forgewatch_core::job::JobKind;
use forgewatch_core::time::millis;
use forgewatch_core::user_input::{quoted, suggestion};

impl Actions {
    /// Tests one of these hooks, which must be those of the actions. Dropping the future ends the attempt.
    ///
    /// # Errors
    /// There is no such hook, or no such event.
    pub fn test(
        &self,
        specs: &[HookSpec],
        request: &HookTestRequest,
        watch: WatchId,
        wall_ms: i64,
        origin: EventOrigin,
    ) -> Result<LocalBoxFuture<'static, HookTestReport>, String> {
        let found = specs.iter().find(|spec| *spec.rules.name == *request.hook);
        let action = self.get(&request.hook);
        let (Some(spec), Some(action)) = (found, action) else {
            return Err(unknown_hook(specs, &request.hook));
        };
        let payload = Arc::new(payload(spec, request, watch, wall_ms, origin)?);
        let id = DeliveryId {
            event: payload.id(),
            hook: Arc::clone(&spec.rules.name),
        };
        let attempt = Attempt {
            id,
            number: 1,
            payload,
        };
        Ok(Box::pin(test(action, attempt, wall_ms)))
    }
}

async fn test(action: Action, attempt: Attempt, wall_ms: i64) -> HookTestReport {
    let started = Instant::now();
    // Never stopped but by dropping the future.
    let (_stop, stopped) = oneshot::channel();
    let (result, report) = match action {
        Action::Run(program, timeout) => {
            let (result, report) = program.run(timeout, &attempt, stopped).await;
            let report = HookTestReport {
                sent: Some(attempt.payload.body().to_owned()),
                output: report.as_ref().map(exec::output),
                exit_status: matches!(result, AttemptResult::Delivered).then_some(0),
                ..HookTestReport::default()
            };
            (result, report)
        }
        Action::Post(webhook) => {
            let exchange = webhook
                .post(&attempt.payload, wall_ms / 1000, stopped)
                .await;
            let report = HookTestReport {
                content_type: (exchange.sent.as_ref()).map(|sent| sent.content_type.to_owned()),
                sent: exchange.sent.map(|sent| sent.body),
                http_status: exchange.status,
                response: exchange.response,
                ..HookTestReport::default()
            };
            (exchange.result, report)
        }
    };
    let failure = match result {
        AttemptResult::Delivered => None,
        AttemptResult::Failed { why, .. } | AttemptResult::Rejected(why) => Some(why),
    };
    HookTestReport {
        event_type: attempt.payload.kind().to_owned(),
        job: attempt.payload.job(),
        delivered: failure.is_none(),
        elapsed_ms: millis(started.elapsed()),
        exit_status: report
            .exit_status
            .or(failure.as_ref().and_then(|why| why.exit_status)),
        error_message: failure.map(|why| why.error),
        ..report
    }
}

fn unknown_hook(specs: &[HookSpec], name: &str) -> String {
    let hint = if specs.is_empty() {
        "the configuration has none".to_owned()
    } else {
        suggestion(name, specs.iter().map(|spec| &*spec.rules.name))
    };
    format!("no hook {} in the configuration; {hint}", quoted(name))
}

fn payload(
    spec: &HookSpec,
    request: &HookTestRequest,
    watch: WatchId,
    wall_ms: i64,
    origin: EventOrigin,
) -> Result<EventPayload, String> {
    let rules = &spec.rules;
    let receives = |kind: &EventType| rules.on.iter().any(|on| matches_type(on, kind.as_str()));
    let kind = if let Some(name) = &request.event_type {
        EventType::from_name(name)
    } else {
        let mut ends = ["job.completed", "job.failed"].into_iter();
        let end = ends.find_map(|name| EventType::from_name(name).filter(receives));
        end.or_else(|| EventType::ALL.into_iter().find(receives))
    };
    let kind = kind.ok_or("no such event type; use one such as job.failed")?;
    let of_kind = rules.kinds.as_deref().and_then(<[JobKind]>::first);
    let job = match request.job {
        Some(job) => job,
        None => format!("{}/1234", of_kind.map_or("diff", |kind| kind.as_str()))
            .parse()
            .map_err(|_| "no such job")?,
    };
    let name = origin.instance.clone();
    let id = EventId { watch, seq: 1 };
    let event = Event::sample(id, kind, wall_ms, job, rules.labels.clone(), origin);
    EventPayload::of(&event, name.as_deref().unwrap_or("forgewatch")).map_err(|e| e.to_string())
}
