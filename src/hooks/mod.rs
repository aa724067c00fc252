//! Hooks: programs and webhooks that receive events.
//!
//! The rules of deliveries are in [`forgewatch_core::delivery`]. Here, the [`Outbox`] commits each event together with its
//! deliveries, and the [`Dispatcher`] makes them: by `exec` (in a [`supervisor`]) or by `webhook`. A hook that hangs, dies or floods its output takes one of its own `max_running` places and nothing else.

mod admin;
mod dispatcher;
mod exec;
mod executor;
mod hook_test;
mod in_flight;
mod outbox;
pub mod supervisor;
#[cfg(test)]
mod tests;
mod webhook;

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use secrecy::SecretString;
use tokio::sync::oneshot;
use url::Url;

use crate::http_client::Proxy;
use forgewatch_core::delivery::{Attempt, AttemptResult, HookRules};
use forgewatch_core::format::Format;

pub use admin::DeliveryActionResult;
pub use dispatcher::Dispatcher;
pub use executor::Actions;
pub use outbox::Outbox;

/// A hook as it is configured.
#[derive(Clone, Debug)]
pub struct HookSpec {
    /// Its name, the events it receives, retries.
    pub rules: HookRules,
    pub action: HookAction,
    /// Time limit of one attempt.
    pub timeout: Duration,
}

/// How a hook receives an event.
#[derive(Clone)]
pub enum HookAction {
    Run(HookProgram),
    Webhook(Box<HookWebhook>),
}

/// A webhook that receives events.
#[derive(Clone)]
pub struct HookWebhook {
    /// Never printed: it is often a secret.
    pub url: Url,
    /// Whether a file protects the URL.
    pub has_secret_url: bool,
    /// Keys in base64; each signs.
    pub secrets: Vec<SecretString>,
    pub format: Format,
    pub proxy: Option<Proxy>,
}

impl HookWebhook {
    /// What no output may show: the keys, the URL, and the parts of the URL that a receiver may send back.
    pub fn secret_texts(&self) -> Vec<SecretString> {
        let url = &self.url;
        let parts = url.path_segments().into_iter().flatten().map(str::to_owned);
        let values = url.query_pairs().map(|(_, value)| value.into_owned());
        let whole = [url.as_str(), url.path()].map(str::to_owned);
        let texts = whole.into_iter().chain(parts).chain(values);
        let keys = self.secrets.iter().cloned();
        keys.chain(texts.map(SecretString::from)).collect()
    }
}

/// A program that receives events.
#[derive(Clone)]
pub struct HookProgram {
    /// Absolute.
    pub path: PathBuf,
    /// As written in the configuration.
    pub args: Vec<String>,
    /// Its environment apart from the event's variables: names and values.
    pub env: Vec<(String, OsString)>,
}

impl fmt::Debug for HookAction {
    /// Leaves out URLs and the values of variables: both may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(program) => f.debug_tuple("Run").field(&program.path).finish(),
            Self::Webhook(webhook) => f
                .debug_struct("Webhook")
                .field("host", &webhook.url.host())
                .finish(),
        }
    }
}

/// Runs attempts. [`Actions`] runs programs and webhook requests; the simulation has its own.
pub trait Executor: 'static {
    /// Starts an attempt; None if the hook is unknown. `wall_ms` is the current time.
    fn attempt(&self, attempt: Attempt, wall_ms: i64, stop: StopSignal) -> Option<AttemptFuture>;
}

/// A running attempt. Dropping it interrupts the attempt.
pub type AttemptFuture = LocalBoxFuture<'static, AttemptResult>;

/// Resolves when the attempt has to end. One per attempt, because the order in which a `watch` channel wakes its receivers
/// is random, and a simulation must be replayable.
pub type StopSignal = oneshot::Receiver<Infallible>;
