//! Carries out the requests of clients.

use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, spawn_local};

use super::super::load_config::{LoadedConfig, load_config};
use super::super::removals::PendingRemoval;
use super::super::responses::{self, respond};
use super::super::status::status;
use super::Service;
use crate::app::new_watch_id;
use crate::config;
use crate::control::PendingRequest;
use crate::control::protocol::{ReloadReport, Request, RequestErrorKind, Response};
use crate::engine::{Clock, SystemClock};
use crate::metrics::{Scrape, TextFormat};
use forgewatch_core::delivery::{HookTestReport, HookTestRequest};
use forgewatch_core::measurements::ConfigState;
use forgewatch_core::reload_preview::{KeyChange, ReloadPreview};

impl Service {
    pub(super) async fn handle(&mut self, pending: PendingRequest) {
        let PendingRequest {
            request,
            respond_to,
        } = pending;
        let daemon = &mut self.daemon;
        let response = match request {
            Request::Add {
                jobs,
                labels,
                again,
            } => respond(daemon.add(jobs, labels, again).await, responses::added),
            Request::Remove { jobs } => {
                let (removed, unknown) = match daemon.remove(jobs).await {
                    Ok(done) => done,
                    Err(error) => {
                        let _ = respond_to.send(respond(Err(error), |()| Response::Done));
                        return;
                    }
                };
                let running = removed
                    .iter()
                    .filter_map(|&job| Some((job, daemon.watch_of(job)?)));
                self.removals.add(PendingRemoval {
                    running: running.collect(),
                    response: Response::Removed { removed, unknown },
                    respond_to,
                });
                return self.publish(&[]);
            }
            Request::List(list) => {
                let after = list.after.as_deref();
                let page = daemon.list(list.all, &list.jobs, &list.labels, list.limit, after);
                respond(page.await, responses::jobs)
            }
            Request::LastEnded { limit } => {
                respond(daemon.last_ended(limit).await, responses::jobs)
            }
            Request::Status => {
                let instance = self.settings.limits.origin.instance.as_deref();
                let instance = instance.unwrap_or_default().to_owned();
                let last_reload = self.last_reload.clone();
                let measured = daemon.measurements(false);
                status(&measured, daemon.obstacle(), instance, last_reload)
            }
            Request::Metrics { open_metrics } => {
                return encode_in_background(self.scrape(), open_metrics, respond_to);
            }
            Request::PreviewReload => self.preview_reload().await,
            Request::Show { job } => respond(daemon.show(job).await, responses::job),
            Request::ListDeliveries => respond(daemon.deliveries().await, responses::deliveries),
            Request::RetryDelivery { delivery } => {
                respond(daemon.retry(&delivery).await, |()| Response::Done)
            }
            Request::DiscardDelivery { delivery } => {
                respond(daemon.discard(&delivery).await, |()| Response::Done)
            }
            Request::TestHook(request) => match self.test_hook(&request) {
                Ok(test) => return test_in_background(test, respond_to),
                Err(error) => Response::error(error),
            },
            Request::DiscardFailed => respond(daemon.discard_failed().await, Response::Discarded),
            Request::Reload => match self.reload().await {
                Ok(()) => Response::Done,
                Err(messages) => Response::Error {
                    messages,
                    kind: RequestErrorKind::Invalid,
                },
            },
            // The connection serves it from the store.
            Request::Events { .. } => Response::error("events are served by the connection"),
        };
        self.status_is_stale = true;
        let _ = respond_to.send(response);
    }

    fn scrape(&self) -> Scrape {
        let is_applied = |reload: &ReloadReport| reload.errors.is_empty();
        Scrape {
            measured: self.daemon.measurements(self.settings.http.job_metrics),
            config: ConfigState {
                applied_wall_ms: self.applied_at_ms,
                last_reload_succeeded: self.last_reload.as_ref().is_none_or(is_applied),
            },
        }
    }

    /// Reads the file as a reload does, and changes nothing.
    async fn preview_reload(&self) -> Response {
        let LoadedConfig {
            settings,
            daemon,
            source,
            ..
        } = match load_config(&self.command_line, &self.env) {
            Ok(loaded) => loaded,
            Err(errors) => {
                return Response::Error {
                    messages: errors.lines().map(str::to_owned).collect(),
                    kind: RequestErrorKind::Invalid,
                };
            }
        };
        let jobs = match self.daemon.reconcile(&settings.jobs).await {
            Ok(jobs) => jobs,
            Err(error) => return Response::error_of(RequestErrorKind::Failed, error.to_string()),
        };
        let mut keys = config::changed_keys(&self.settings, &settings);
        if !daemon.api.has_same_credentials(self.daemon.api()) {
            keys.push(KeyChange::secret("credentials"));
        }
        Response::ReloadPreview(Box::new(ReloadPreview {
            file: source.map(|path| path.display().to_string()),
            keys,
            watched: jobs.watch,
            removed: jobs.remove,
            hooks: config::changed_hooks(&self.settings, &settings),
            needs_restart: config::needs_restart(&self.settings, &settings),
        }))
    }

    fn test_hook(
        &self,
        request: &HookTestRequest,
    ) -> Result<LocalBoxFuture<'static, HookTestReport>, String> {
        let watch = new_watch_id().map_err(|error| error.to_string())?;
        let origin = self.settings.limits.origin.clone();
        let now = SystemClock::start().now().wall_ms;
        self.actions
            .test(&self.settings.hooks, request, watch, now, origin)
    }
}

/// With metrics of each job, the text can take milliseconds.
fn encode_in_background(scrape: Scrape, open_metrics: bool, respond_to: oneshot::Sender<Response>) {
    let format = if open_metrics {
        TextFormat::OpenMetrics
    } else {
        TextFormat::Prometheus
    };
    spawn_blocking(move || {
        let response = match scrape.into_text(format) {
            Ok(text) => Response::Metrics { text },
            Err(error) => Response::error_of(RequestErrorKind::Failed, error.to_string()),
        };
        let _ = respond_to.send(response);
    });
}

/// The test ends early when its client has gone.
fn test_in_background(
    test: LocalBoxFuture<'static, HookTestReport>,
    mut respond_to: oneshot::Sender<Response>,
) {
    spawn_local(async move {
        let report = tokio::select! {
            report = test => report,
            () = respond_to.closed() => return,
        };
        let _ = respond_to.send(Response::HookTested(Box::new(report)));
    });
}
