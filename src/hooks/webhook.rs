//! One attempt of a hook that is a webhook: posts the signed event and judges the response.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Response, StatusCode};
use ring::hmac;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{HookSpec, StopSignal};
use crate::http_client::{self, is_link_local, retry_after, root_cause};
use forgewatch_core::delivery::{AttemptResult, DeliveryFailure, EventPayload};

/// A response body is read up to this size, so that its connection can be used again; its content is ignored.
const MAX_RESPONSE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Webhook {
    http: reqwest::Client,
    url: Url,
    signer: Signer,
}

impl Webhook {
    /// Builds a separate HTTP client, which never holds the API's credentials.
    pub(super) fn new(
        spec: &HookSpec,
        url: &Url,
        secrets: &[SecretString],
        ca_file: Option<&Path>,
    ) -> Result<Self, String> {
        let http = http_client::client(url, ca_file, |builder| {
            builder.timeout(spec.timeout).dns_resolver(NoLinkLocal)
        })
        .map_err(|error| format!("hook {}: {error}", spec.rules.name))?;
        Ok(Self {
            http,
            url: url.clone(),
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
        // The same for every attempt, so that a receiver can discard duplicates.
        let id = payload.id().to_string();
        let signature = self.signer.sign(&id, now, payload.body());
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
            .body(payload.body().to_owned());
        match request.send().await {
            Ok(response) => judge(response).await,
            Err(error) if error.is_timeout() => failed("no response in time", Duration::ZERO),
            // Only the innermost cause: the outer errors contain the URL, which is often a secret.
            Err(error) => failed(root_cause(&error), Duration::ZERO),
        }
    }
}

/// 2xx is success, 410 a permanent failure. All other statuses, redirects included, are retried.
async fn judge(response: Response) -> AttemptResult {
    let status = response.status();
    let not_before = retry_after(response.headers()).unwrap_or_default();
    discard_body(response).await;
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

/// The system's resolver without link-local addresses: a name could point at a cloud's metadata service.
#[derive(Debug)]
struct NoLinkLocal;

impl Resolve for NoLinkLocal {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await?
                .filter(|address| !is_link_local(address.ip()))
                .collect();
            if found.is_empty() {
                return Err(io::Error::other(
                    "the host name resolves to link-local addresses only",
                )
                .into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
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
