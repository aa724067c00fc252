//! What the user asked for, merged and checked: the one thing the rest of the program reads.

use std::path::PathBuf;
use std::time::Duration;

use forgewatch_core::job::JobSpec;
use forgewatch_core::limits::Limits;

use crate::clanforge::ApiSettings;
use crate::hooks::HookSpec;

/// What the daemon keeps, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// The state file. It can't change while the daemon runs.
    pub path: PathBuf,
    /// How long ended watches, and their events and deliveries, are kept.
    pub retain: Duration,
}

/// How the daemon is talked to, and how it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSettings {
    /// The socket; short enough for an address. It can't change while the daemon runs.
    pub socket: PathBuf,
    /// The name of the group whose members may use the socket, besides root and the daemon's own user. The machine
    /// may have no such group, which is no reason not to start.
    pub group: String,
    /// How long running hooks may go on at the daemon's stop, before they are ended.
    pub stop_grace: Duration,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the API is reached.
    pub api: ApiSettings,
    /// By what bounds jobs are watched.
    pub limits: Limits,
    /// What the daemon keeps. A one-shot has [`OneShotSettings::state`] instead.
    pub state: StateSettings,
    /// How the daemon is talked to. Nothing to a one-shot.
    pub control: ControlSettings,
    /// What to watch, in the order given, each once.
    pub jobs: Vec<JobSpec>,
    /// What to do when something is told, in the order given.
    pub hooks: Vec<HookSpec>,
}

/// How a watch that ends is run.
#[derive(Clone, Debug, PartialEq)]
pub struct OneShotSettings {
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
pub enum OutputFormat {
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

impl OutputFormat {
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
