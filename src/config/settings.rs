//! What the user asked for, merged and checked: the one thing the rest of the program reads.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use forgewatch_core::job::{JobKind, JobRef};
use forgewatch_core::limits::Limits;

/// How the API is reached and how hard it may be asked.
#[derive(Clone, Debug)]
pub struct Api {
    /// Scheme, host, port and path prefix; `https`, or `http` to a literal loopback address or `localhost`. No
    /// user name, password, query or fragment.
    pub base_url: Url,
    /// The `accountserviceid` of every request.
    pub account_service_id: u64,
    /// A PEM file of certificate authorities trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Name lookup, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// For the first MiB of an answer, from the request on.
    pub timeout: Duration,
    /// Requests under way at once, at least 1.
    pub max_in_flight: usize,
    /// Requests begun in a second, on average; above zero.
    pub max_requests_per_second: f64,
    /// The most decoded bytes read of one answer.
    pub max_body: u64,
}

/// What the daemon keeps, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The state file. It can't change while the daemon runs.
    pub path: PathBuf,
    /// How long ended watches, and their events and deliveries, are kept.
    pub retain: Duration,
}

/// How the daemon is talked to, and how it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The socket; short enough for an address. It can't change while the daemon runs.
    pub socket: PathBuf,
    /// The name of the group whose members may use the socket, besides root and the daemon's own user. The machine
    /// may have no such group, which is no reason not to start.
    pub group: String,
    /// How long running hooks may go on at the daemon's stop, before they are ended.
    pub stop_grace: Duration,
}

/// A job to watch, with what the user says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// The job.
    pub job: JobRef,
    /// The user's labels, told with every event.
    pub labels: BTreeMap<String, String>,
}

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

/// All of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the API is reached.
    pub api: Api,
    /// By what bounds jobs are watched.
    pub limits: Limits,
    /// What the daemon keeps. A one-shot has [`OneShot::state`] instead.
    pub state: State,
    /// How the daemon is talked to. Nothing to a one-shot.
    pub control: Control,
    /// What to watch, in the order given, each once.
    pub jobs: Vec<JobSpec>,
    /// What to do when something is told, in the order given.
    pub hooks: Vec<HookSpec>,
}

/// How a watch that ends is run.
#[derive(Clone, Debug, PartialEq)]
pub struct OneShot {
    /// The most the whole watch may take.
    pub timeout: Option<Duration>,
    /// The most each job may take.
    pub job_timeout: Option<Duration>,
    /// Whether the first job that fails ends the watch of all.
    pub fail_fast: bool,
    /// How often `text` says that it is still there; None is never.
    pub heartbeat: Option<Duration>,
    /// How squashed jobs count; None is apart.
    pub squashed_as: Option<SquashedAs>,
    /// The state file to keep, if `--state` named one: the file's `[state]` is the daemon's.
    pub state: Option<PathBuf>,
}

/// What a squashed job counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SquashedAs {
    /// As a completed one.
    Success,
    /// As a failed one.
    Failure,
}

/// What is printed, as asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// One of the others, by what the streams are.
    #[default]
    Auto,
    /// A bar a job, on standard error.
    Progress,
    /// A line a transition, on standard output.
    Text,
    /// An object a line, on standard output.
    Json,
    /// Nothing but errors.
    Quiet,
}

impl Output {
    /// All of them, in the order help lists them.
    pub const ALL: [Self; 5] = [
        Self::Auto,
        Self::Progress,
        Self::Text,
        Self::Json,
        Self::Quiet,
    ];

    /// The word for it on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Progress => "progress",
            Self::Text => "text",
            Self::Json => "json",
            Self::Quiet => "quiet",
        }
    }
}
