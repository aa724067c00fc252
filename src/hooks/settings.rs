//! A hook, as the user wants it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forgewatch_core::job::JobKind;
use secrecy::SecretString;
use url::Url;

/// What is to be done when something is told.
#[derive(Clone, Debug)]
pub struct HookSpec {
    /// Its name, unique: letters, digits and any of `. _ -`.
    pub name: Arc<str>,
    /// The types of events it wants: exact names, or `job.*`.
    pub on: Vec<String>,
    /// The kinds of jobs whose events it wants. None is all, and the watcher's own events besides.
    pub kinds: Option<Vec<JobKind>>,
    /// What it does.
    pub action: HookAction,
    /// The most one attempt may take.
    pub timeout: Duration,
    /// How often a failed attempt is repeated before the delivery is given up.
    pub retries: u32,
    /// The most attempts of this hook under way at once, at least 1.
    pub max_running: usize,
}

/// What a hook does.
#[derive(Clone)]
pub enum HookAction {
    /// Runs a program.
    Run {
        /// The program, found and absolute.
        program: PathBuf,
        /// Its arguments, as they are written.
        args: Vec<String>,
        /// Its environment, but for what the event says: names and values.
        env: Vec<(String, OsString)>,
    },
    /// Posts to a webhook.
    Webhook {
        /// Where; like a password, never told.
        url: Url,
        /// The keys, each in base64. At least one; all sign.
        secrets: Vec<SecretString>,
    },
}

impl fmt::Debug for HookAction {
    /// Neither the address, which often is a secret itself, nor what others' variables hold.
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
