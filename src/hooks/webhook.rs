//! One attempt of a hook that is a webhook: posts the signed event and judges the response.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response, StatusCode};
use ring::hmac;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{HookSpec, StopSignal};
use crate::http_client::{self, ClientSettings, HttpClient, Lease, Proxy, retry_after};
use forgewatch_core::delivery::{AttemptResult, DeliveryFailure, EventPayload};
use forgewatch_core::event::EventId;

/// A response body is read up to this size, so that its connection can be used again; its content is ignored.
const MAX_RESPONSE: usize = 64 * 1024;

pub(super) struct Webhook {
    http: HttpClient<EventId>,
    url: Url,
    timeout: Duration,
    signer: Signer,
}

impl Webhook {
    /// Builds a separate HTTP client, which never holds the API's credentials.
    pub(super) fn new(
        spec: &HookSpec,
        url: &Url,
        secrets: &[SecretString],
        proxy: Option<Proxy>,
        ca_file: Option<&Path>,
    ) -> Result<Self, String> {
        let in_hook = |error: String| format!("hook {}: {error}", spec.rules.name);
        let http = http_client::tls(url, ca_file).and_then(|tls| {
            HttpClient::new(ClientSettings {
                url: url.clone(),
                tls,
                proxy,
                connect_timeout: spec.timeout,
                max_idle: usize::MAX,
                allow_link_local: false,
            })
        });
        Ok(Self {
            http: http.map_err(|error| in_hook(error.to_string()))?,
            url: url.clone(),
            timeout: spec.timeout,
            signer: Signer::new(secrets),
        })
    }

    /// Posts the event once; `now` is Unix time in seconds. The stop signal drops the request.
    pub(super) async fn post(
        &self,
        payload: &EventPayload,
        now: i64,
        stop: StopSignal,
    ) -> AttemptResult {
        tokio::select! {
            biased;
            result = self.send(payload, now) => result,
            _ = stop => failed("interrupted", Duration::ZERO),
        }
    }

    async fn send(&self, payload: &EventPayload, now: i64) -> AttemptResult {
        let event = payload.id();
        // The same for every attempt, so that a receiver can discard duplicates.
        let id = event.to_string();
        let signature = self.signer.sign(&id, now, payload.body());
        let request = || self.request(payload, &id, now, &signature);
        let mut lease = self.http.lease(&event);
        let mut status = None;
        let attempt = self.attempt(&event, &mut lease, request, &mut status);
        let is_complete = tokio::time::timeout(self.timeout, attempt).await;
        match &is_complete {
            Ok(Ok(())) => self.http.responded(&lease),
            Ok(Err(_)) => {}
            Err(_) => self.http.timed_out(event, &lease),
        }
        match (status, is_complete) {
            // Its content is ignored, so the response counts even if its body is incomplete.
            (Some((status, not_before)), _) => judge(status, not_before),
            (None, Ok(Err(error))) => failed(error, Duration::ZERO),
            (None, _) => failed("no response in time", Duration::ZERO),
        }
    }

    /// Sends the request and reads the response to its end; its status arrives before that. The error is of a request
    /// without any response.
    async fn attempt(
        &self,
        event: &EventId,
        lease: &mut Lease,
        request: impl Fn() -> Request,
        status: &mut Option<(StatusCode, Duration)>,
    ) -> Result<(), String> {
        let response = self.http.send(event, lease, request).await;
        let response = response.map_err(|error| error.message)?;
        let not_before = retry_after(response.headers()).unwrap_or_default();
        *status = Some((response.status(), not_before));
        discard_body(response).await;
        Ok(())
    }

    fn request(&self, payload: &EventPayload, id: &str, now: i64, signature: &str) -> Request {
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.body_mut() = Some(payload.body().to_owned().into());
        let headers = request.headers_mut();
        let kind = HeaderValue::from_static("application/cloudevents+json");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert("webhook-timestamp", now.into());
        for (name, value) in [("webhook-id", id), ("webhook-signature", signature)] {
            // IDs and signatures are ASCII.
            headers.extend(
                HeaderValue::from_str(value).map(|value| (HeaderName::from_static(name), value)),
            );
        }
        request
    }
}

/// 2xx is success, 410 a permanent failure. All other statuses, redirects included, are retried.
fn judge(status: StatusCode, not_before: Duration) -> AttemptResult {
    let what = format!("HTTP {}", status.as_u16());
    match status {
        _ if status.is_success() => AttemptResult::Delivered,
        StatusCode::GONE => AttemptResult::Rejected(DeliveryFailure::new(format!(
            "{what}: the receiver is gone"
        ))),
        _ if status.is_redirection() => {
            failed(format!("{what}: redirects are not followed"), not_before)
        }
        _ => failed(what, not_before),
    }
}

async fn discard_body(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > MAX_RESPONSE {
            return;
        }
    }
}

fn failed(error: impl Into<String>, not_before: Duration) -> AttemptResult {
    AttemptResult::Failed {
        why: DeliveryFailure::new(error),
        not_before,
    }
}

/// Signs by the Standard Webhooks specification (<https://www.standardwebhooks.com>, version 1): HMAC-SHA256 over id, time
/// and body, once per key, so that a receiver can rotate keys.
struct Signer(Vec<hmac::Key>);

impl Signer {
    /// Takes keys in base64, as validated with the configuration.
    fn new(secrets: &[SecretString]) -> Self {
        let key = |secret: &SecretString| {
            let bytes = Zeroizing::new(STANDARD.decode(secret.expose_secret()).ok()?);
            Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        Self(secrets.iter().filter_map(key).collect())
    }

    /// The value of `webhook-signature`: one signature per key, separated by spaces. `time` is Unix seconds.
    fn sign(&self, id: &str, time: i64, body: &str) -> String {
        let signed = format!("{id}.{time}.{body}");
        let signature = |key: &hmac::Key| {
            let tag = hmac::sign(key, signed.as_bytes());
            format!("v1,{}", STANDARD.encode(tag.as_ref()))
        };
        let signatures: Vec<String> = self.0.iter().map(signature).collect();
        signatures.join(" ")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} keys)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the reference implementations.
    const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: i64 = 1_614_265_330;
    const BODY: &str = r#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn signer(secrets: &[&str]) -> Signer {
        let secrets: Vec<SecretString> = secrets.iter().map(|s| SecretString::from(*s)).collect();
        Signer::new(&secrets)
    }

    #[test]
    fn the_published_example_gets_the_published_signature() {
        assert_eq!(signer(&[SECRET]).sign(ID, TIME, BODY), SIGNATURE);
    }

    #[test]
    fn each_key_adds_its_own_signature() {
        let other = STANDARD.encode([7; 32]);
        let both = signer(&[&other, SECRET]).sign(ID, TIME, BODY);
        let alone = signer(&[&other]).sign(ID, TIME, BODY);
        assert_eq!(both, format!("{alone} {SIGNATURE}"));
    }

    #[test]
    fn debug_output_contains_no_key() {
        assert_eq!(format!("{:?}", signer(&[SECRET])), "Signer(1 keys)");
    }
}
