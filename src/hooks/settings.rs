//! A hook as it is configured.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use forgewatch_core::delivery::HookRules;
use secrecy::SecretString;
use url::Url;

/// A hook: which events it receives, and how they are delivered.
#[derive(Clone, Debug)]
pub struct HookSpec {
    /// Its name, the events it receives, retries.
    pub rules: HookRules,
    /// How it receives them.
    pub action: HookAction,
    /// Time limit of one attempt.
    pub timeout: Duration,
}

/// How a hook receives an event.
#[derive(Clone)]
pub enum HookAction {
    /// A program is run.
    Run {
        /// Absolute path of the program.
        program: PathBuf,
        /// Its arguments, as written in the configuration.
        args: Vec<String>,
        /// Its environment apart from the event's variables: names and values.
        env: Vec<(String, OsString)>,
    },
    /// The event is posted to a URL.
    Webhook {
        /// Never printed: it is often a secret.
        url: Url,
        /// At least one key in base64; each signs.
        secrets: Vec<SecretString>,
    },
}

impl fmt::Debug for HookAction {
    /// Leaves out URLs and the values of variables: both may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { program, .. } => f.debug_struct("Run").field("program", program).finish(),
            Self::Webhook { url, .. } => f
                .debug_struct("Webhook")
                .field("host", &url.host())
                .finish(),
        }
    }
}
