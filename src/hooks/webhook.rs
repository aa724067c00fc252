//! One attempt of a hook that is a webhook: posts the event, signed, and reads what the receiver makes of it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Response, StatusCode, redirect};
use secrecy::SecretString;
use tokio::sync::watch;
use url::Url;

use super::payload::EventPayload;
use super::queue::Attempt;
use super::signature::{Signer, webhook_id};
use crate::hooks::HookSpec;
use crate::http_client::innermost;
use crate::http_client::is_link_local;
use crate::http_client::retry_after;
use crate::http_client::{is_loopback, tls};
use forgewatch_core::delivery::DeliveryFailure;

/// An answer is read up to here, so that its connection can serve again; what it says is nothing to us.
const MAX_ANSWER: usize = 64 * 1024;

/// A receiver.
#[derive(Debug)]
pub(super) struct Webhook {
    http: reqwest::Client,
    url: Url,
    signer: Signer,
}

impl Webhook {
    /// A client of its own: the API's credentials are never near it. Opens no connection.
    pub(super) fn new(
        spec: &HookSpec,
        url: &Url,
        secrets: &[SecretString],
        ca_file: Option<&Path>,
    ) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("forgewatch/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .timeout(spec.timeout)
            .dns_resolver(NotLinkLocal);
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        let builder = tls::set_up(builder, url, ca_file).map_err(|e| e.to_string())?;
        let http = builder.build().map_err(|e| {
            format!(
                "hook {}: the HTTP client cannot be set up: {}",
                spec.name,
                innermost(&e)
            )
        })?;
        Ok(Self {
            http,
            url: url.clone(),
            signer: Signer::new(secrets),
        })
    }

    /// Posts it once, at this Unix time in seconds. Once `stop` holds true it is dropped.
    pub(super) async fn attempt(
        &self,
        told: &EventPayload,
        now: i64,
        mut stop: watch::Receiver<bool>,
    ) -> Attempt {
        tokio::select! {
            biased;
            attempt = self.post(told, now) => attempt,
            Ok(_) = stop.wait_for(|&stop| stop) => failed("interrupted", Duration::ZERO),
        }
    }

    async fn post(&self, told: &EventPayload, now: i64) -> Attempt {
        let id = webhook_id(told.id());
        let signature = self.signer.sign(&id, now, told.body());
        let request = self
            .http
            .post(self.url.clone())
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/cloudevents+json"),
            )
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
            .body(told.body().to_owned());
        match request.send().await {
            Ok(response) => judge(response).await,
            Err(error) if error.is_timeout() => failed("no answer in time", Duration::ZERO),
            // The cause alone: what wraps it holds the address, which often is a secret.
            Err(error) => failed(innermost(&error), Duration::ZERO),
        }
    }
}

/// 2xx alone is success. 410 says that nobody will ever want it. All else, redirects too, is tried again.
async fn judge(response: Response) -> Attempt {
    let status = response.status();
    let not_before = retry_after(response.headers()).unwrap_or_default();
    read_away(response).await;
    let what = format!("HTTP {}", status.as_u16());
    match status {
        _ if status.is_success() => Attempt::Delivered,
        StatusCode::GONE => {
            Attempt::Refused(DeliveryFailure::new(format!("{what}: it is gone for good")))
        }
        _ if status.is_redirection() => {
            failed(format!("{what}: redirects are not followed"), not_before)
        }
        _ => failed(what, not_before),
    }
}

async fn read_away(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > MAX_ANSWER {
            return;
        }
    }
}

fn failed(error: impl Into<String>, not_before: Duration) -> Attempt {
    Attempt::Failed {
        why: DeliveryFailure::new(error),
        not_before,
    }
}

/// Looks names up as the system does, and passes over link-local addresses: a name can be made to point at what a
/// cloud tells its machines alone.
#[derive(Debug)]
struct NotLinkLocal;

impl Resolve for NotLinkLocal {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await?
                .filter(|address| !is_link_local(address.ip()))
                .collect();
            if found.is_empty() {
                return Err(
                    io::Error::other("the name leads to a link-local address alone").into(),
                );
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
