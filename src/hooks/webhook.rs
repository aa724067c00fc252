//! One attempt of a hook that is a webhook: posts the event and judges the response.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Request, StatusCode};
use ring::hmac;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{HookSpec, HookWebhook, StopSignal};
use crate::http_client::{self, ClientSettings, HttpClient, Lease, Redactor};
use forgewatch_core::delivery::{AttemptResult, DeliveryFailure, EventPayload};
use forgewatch_core::event::EventId;
use forgewatch_core::format::{Format, Message, ReplyError, retry_after};
use forgewatch_core::sanitize::{LIMIT, sanitized};

/// A response body is read up to this size, so that its connection can be used again.
const MAX_RESPONSE: usize = 64 * 1024;
/// The characters of a response in the error of an attempt.
const EXCERPT: usize = 200;

pub(super) struct Webhook {
    http: HttpClient<EventId>,
    url: Url,
    timeout: Duration,
    format: Format,
    signer: Signer,
    redactor: Redactor,
}

/// One attempt: what was sent, and what came back.
pub(super) struct Exchange {
    pub(super) result: AttemptResult,
    /// None if the format has no body for the event.
    pub(super) sent: Option<Message>,
    pub(super) status: Option<u16>,
    /// The beginning of the response, without secrets and neutralized.
    pub(super) response: Option<String>,
}

impl Exchange {
    /// Without a response.
    fn of(result: AttemptResult) -> Self {
        Self {
            result,
            sent: None,
            status: None,
            response: None,
        }
    }
}

/// What was received, as far as it came.
struct Received {
    status: StatusCode,
    not_before: Duration,
    body: Vec<u8>,
}

impl Webhook {
    /// Builds a separate HTTP client, which never holds the API's credentials.
    pub(super) fn new(
        spec: &HookSpec,
        webhook: &HookWebhook,
        ca_file: Option<&Path>,
    ) -> Result<Self, String> {
        let in_hook = |error: String| format!("hook {}: {error}", spec.rules.name);
        let url = &webhook.url;
        let http = http_client::tls(url, ca_file).and_then(|tls| {
            HttpClient::new(ClientSettings {
                url: url.clone(),
                tls,
                proxy: webhook.proxy.clone(),
                connect_timeout: spec.timeout,
                max_idle: usize::MAX,
                allow_link_local: false,
            })
        });
        Ok(Self {
            http: http.map_err(|error| in_hook(error.to_string()))?,
            url: url.clone(),
            timeout: spec.timeout,
            format: webhook.format.clone(),
            signer: Signer::new(&webhook.secrets),
            redactor: Redactor::new(webhook.secret_texts()),
        })
    }

    /// Posts the event once; `now` is Unix time in seconds. The stop signal drops the request.
    pub(super) async fn post(
        &self,
        payload: &EventPayload,
        now: i64,
        stop: StopSignal,
    ) -> Exchange {
        let message = match self.format.message(payload) {
            Ok(Some(message)) => message,
            // Delivered without a request.
            Ok(None) => return Exchange::of(AttemptResult::Delivered),
            Err(error) => {
                let what = format!("no {} body for this event: {error}", self.format.name());
                return Exchange::of(AttemptResult::Rejected(DeliveryFailure::new(what)));
            }
        };
        let exchange = tokio::select! {
            biased;
            exchange = self.send(payload, &message, now) => exchange,
            _ = stop => Exchange::of(failed("interrupted", Duration::ZERO)),
        };
        Exchange {
            sent: Some(message),
            ..exchange
        }
    }

    async fn send(&self, payload: &EventPayload, message: &Message, now: i64) -> Exchange {
        let event = payload.id();
        // The same for every attempt, so that a receiver can discard duplicates.
        let id = event.to_string();
        let trace = payload.trace().map(|trace| trace.to_string());
        let signature = self.signer.sign(&id, now, &message.body);
        let texts = [
            ("webhook-id", Some(&id)),
            ("webhook-signature", signature.as_ref()),
            ("traceparent", trace.as_ref()),
        ];
        let request = || self.request(message, now, texts);
        let mut lease = self.http.lease(&event);
        let mut received = None;
        let attempt = self.attempt(&event, &mut lease, request, &mut received);
        let is_complete = tokio::time::timeout(self.timeout, attempt).await;
        match &is_complete {
            Ok(Ok(())) => self.http.responded(&lease),
            Ok(Err(_)) => {}
            Err(_) => self.http.timed_out(event, &lease),
        }
        match (received, is_complete) {
            // The status decides, so the response counts even if its body is incomplete.
            (Some(received), _) => self.judge(&received),
            (None, Ok(Err(error))) => Exchange::of(failed(error, Duration::ZERO)),
            (None, _) => Exchange::of(failed("no response in time", Duration::ZERO)),
        }
    }

    /// Sends the request and reads the response to its end; its status arrives before that. The error is of a request
    /// without any response.
    async fn attempt(
        &self,
        event: &EventId,
        lease: &mut Lease,
        request: impl Fn() -> Request,
        received: &mut Option<Received>,
    ) -> Result<(), String> {
        let response = self.http.send(event, lease, request).await;
        let mut response = response.map_err(|error| error.message)?;
        let received = received.insert(Received {
            status: response.status(),
            not_before: http_client::retry_after(response.headers()).unwrap_or_default(),
            body: Vec::new(),
        });
        while let Ok(Some(chunk)) = response.chunk().await {
            received.body.extend_from_slice(&chunk);
            if received.body.len() > MAX_RESPONSE {
                break;
            }
        }
        Ok(())
    }

    fn request(
        &self,
        message: &Message,
        now: i64,
        texts: [(&'static str, Option<&String>); 3],
    ) -> Request {
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.body_mut() = Some(message.body.clone().into());
        let headers = request.headers_mut();
        let kind = HeaderValue::from_static(message.content_type);
        headers.insert(CONTENT_TYPE, kind);
        headers.insert("webhook-timestamp", now.into());
        for (name, value) in texts {
            // All of them are ASCII.
            let value = value.and_then(|value| HeaderValue::from_str(value).ok());
            headers.extend(value.map(|value| (HeaderName::from_static(name), value)));
        }
        request
    }

    fn judge(&self, received: &Received) -> Exchange {
        let body = String::from_utf8_lossy(&received.body);
        let excerpt = self.excerpt(&body);
        Exchange {
            result: self.result(received, &body, &excerpt),
            sent: None,
            status: Some(received.status.as_u16()),
            response: Some(excerpt),
        }
    }

    /// 2xx is success, unless the body says otherwise, and 410 a permanent failure. All other statuses, redirects
    /// included, are retried.
    fn result(&self, received: &Received, body: &str, excerpt: &str) -> AttemptResult {
        let status = received.status;
        let denied = (status.is_success())
            .then(|| self.format.error_in_success(body))
            .flatten();
        let what = match status {
            _ if status.is_success() && denied.is_none() => return AttemptResult::Delivered,
            _ if status.is_success() => ", but the response says otherwise",
            StatusCode::GONE => ": the receiver is gone",
            _ if status.is_redirection() => ": redirects are not followed",
            _ => "",
        };
        let response = match excerpt {
            "" => String::new(),
            excerpt => format!("; response: {excerpt}"),
        };
        let error = format!("HTTP {}{what}{response}", status.as_u16());
        if status == StatusCode::GONE || denied == Some(ReplyError::Final) {
            return AttemptResult::Rejected(DeliveryFailure::new(error));
        }
        let in_body = (status == StatusCode::TOO_MANY_REQUESTS).then(|| retry_after(body));
        let in_body = in_body.flatten().unwrap_or_default();
        failed(error, received.not_before.max(in_body))
    }

    /// The beginning of a response, without secrets and neutralized.
    fn excerpt(&self, body: &str) -> String {
        let mut text = body.to_owned();
        self.redactor.redact(&mut text);
        let text = sanitized(&text, LIMIT);
        match text.char_indices().nth(EXCERPT) {
            Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
            None => text,
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

    /// The value of `webhook-signature`: one signature per key, separated by spaces; None without keys. `time` is Unix
    /// seconds.
    fn sign(&self, id: &str, time: i64, body: &str) -> Option<String> {
        let signed = format!("{id}.{time}.{body}");
        let signature = |key: &hmac::Key| {
            let tag = hmac::sign(key, signed.as_bytes());
            format!("v1,{}", STANDARD.encode(tag.as_ref()))
        };
        let signatures: Vec<String> = self.0.iter().map(signature).collect();
        (!signatures.is_empty()).then(|| signatures.join(" "))
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
        let signature = signer(&[SECRET]).sign(ID, TIME, BODY);
        assert_eq!(signature.as_deref(), Some(SIGNATURE));
    }

    #[test]
    fn each_key_adds_its_own_signature() {
        let other = STANDARD.encode([7; 32]);
        let both = signer(&[&other, SECRET]).sign(ID, TIME, BODY).unwrap();
        let alone = signer(&[&other]).sign(ID, TIME, BODY).unwrap();
        assert_eq!(both, format!("{alone} {SIGNATURE}"));
    }

    #[test]
    fn debug_output_contains_no_key() {
        assert_eq!(format!("{:?}", signer(&[SECRET])), "Signer(1 keys)");
    }
}
