//! The merged and validated configuration, as the rest of the program reads it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use secrecy::SecretString;
use url::Url;

use forgewatch_core::event::EventOrigin;
use forgewatch_core::host::HostPort;
use forgewatch_core::job::{JobRef, JobSpec};
use forgewatch_core::limits::Limits;
use forgewatch_core::schedule::ServerKey;

use super::value;
use crate::clanforge::ApiSettings;
use crate::hooks::HookSpec;
use crate::http_client::is_loopback;

/// What the configuration is for; some defaults and sections depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunMode {
    /// `watch --until-done`.
    OneShot,
    Daemon,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateSettings {
    /// Cannot change while the daemon runs.
    pub path: PathBuf,
    /// How long ended watches, their events and deliveries are kept.
    pub retain: Duration,
}

/// The daemon's control socket, and its shutdown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlSettings {
    /// Cannot change while the daemon runs.
    pub socket: PathBuf,
    /// The group whose members may use the socket, besides root and the daemon's own user. It may not exist: the daemon
    /// then warns and starts without it.
    pub group: Option<String>,
    /// How long running hooks may continue at shutdown before they are terminated.
    pub stop_grace: Duration,
}

/// The daemon's HTTP API.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    /// None for no API. Cannot change while the daemon runs.
    pub listen: Option<SocketAddr>,
    /// Whether other machines may use it. Then reading needs a token too.
    pub allow_remote: bool,
    /// Hosts that requests may name, besides loopback ones.
    pub hosts: Vec<HostPort>,
    pub tokens: Vec<SecretString>,
    /// Whether `/metrics` has the progress of each job.
    pub job_metrics: bool,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub api: ApiSettings,
    /// Used if the environment has no credentials.
    pub credentials_file: Option<PathBuf>,
    pub limits: Limits,
    /// Whether jobs of a server on a loopback address teach how long jobs run.
    pub learn_from_loopback: bool,
    /// The daemon's; a one-shot uses [`OneShotSettings::state`].
    pub state: StateSettings,
    /// Unused by a one-shot.
    pub control: ControlSettings,
    /// Unused by a one-shot.
    pub http: HttpSettings,
    /// In the order given, without duplicates.
    pub jobs: Vec<JobSpec>,
    /// In the order given.
    pub hooks: Vec<HookSpec>,
    /// The values of all keys but those of jobs and hooks, as text for people, by `section.key`.
    pub values: BTreeMap<String, String>,
}

impl Settings {
    /// The server that the calibration learns from; None if it is not to learn.
    pub fn server(&self) -> Option<ServerKey> {
        let base_url = &self.api.base_url;
        let learns = self.learn_from_loopback || !is_loopback(base_url);
        learns.then(|| ServerKey {
            api: base_url.origin().ascii_serialization(),
            account_service_id: self.api.account_service_id,
        })
    }

    /// Placeholders, which the defaults of the table of keys overwrite.
    pub(super) fn unset(base_url: Url, mode: RunMode) -> Self {
        Self {
            api: ApiSettings::unset(base_url),
            credentials_file: None,
            limits: Limits {
                origin: EventOrigin {
                    instance: Some(value::host_name().into()),
                    trace: None,
                },
                refusal_ends: mode == RunMode::OneShot,
                ..Limits::default()
            },
            learn_from_loopback: false,
            state: StateSettings::default(),
            control: ControlSettings::default(),
            http: HttpSettings::default(),
            jobs: Vec::new(),
            hooks: Vec::new(),
            values: BTreeMap::new(),
        }
    }
}

/// One sentence, with both values, for each changed key that a running daemon cannot apply.
pub fn needs_restart(old: &Settings, new: &Settings) -> Vec<String> {
    fixed_at_start(old)
        .into_iter()
        .zip(fixed_at_start(new))
        .filter(|(old, new)| old != new)
        .map(|((key, old), (_, new))| {
            format!(
                "{key}: {} stays in use; changing it to {} needs a restart",
                old.display(),
                new.display()
            )
        })
        .collect()
}

fn fixed_at_start(settings: &Settings) -> [(&'static str, PathBuf); 5] {
    let instance = settings.limits.origin.instance.as_deref();
    let group = settings.control.group.as_deref();
    let listen = settings.http.listen.map(|listen| listen.to_string());
    [
        ("instance", instance.unwrap_or_default().into()),
        ("state.path", settings.state.path.clone()),
        ("control.socket", settings.control.socket.clone()),
        ("control.group", group.unwrap_or("none").into()),
        (
            "http.listen",
            listen.as_deref().unwrap_or("no listener").into(),
        ),
    ]
}

/// The options of `watch --until-done`.
#[derive(Clone, Debug, PartialEq)]
pub struct OneShotSettings {
    /// Time limit for the whole watch.
    pub timeout: Option<Duration>,
    pub job_timeout: Option<Duration>,
    pub fail_fast: bool,
    /// Starts new watches of jobs whose end is in the state file.
    pub again: bool,
    /// Whether to use and update the calibration in the cache.
    pub learn: bool,
    /// Interval of heartbeat lines in `text`; None is never.
    pub heartbeat: Option<Duration>,
    /// None counts squashed jobs separately.
    pub squashed_as: Option<SquashedAs>,
    /// The state file that `--state` names; the file's `[state]` is the daemon's.
    pub state: Option<PathBuf>,
    pub annotations: Annotations,
    pub reports: Vec<ReportFile>,
}

/// A file that gets the results at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    pub format: ReportFormat,
    /// Absolute, without symbolic links.
    pub path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Junit,
    Json,
    Markdown,
}

/// The CI system that gets annotations. The comments are help texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Annotations {
    /// of the system that the environment shows
    #[default]
    Auto,
    /// GitHub Actions, with step summary and outputs
    Github,
    /// GitLab CI
    Gitlab,
    /// TeamCity
    Teamcity,
    /// Azure Pipelines
    Azure,
    /// no annotations
    None,
}

/// The settings of `wait`.
#[derive(Clone, Debug)]
pub struct WaitSettings {
    pub jobs: Vec<JobRef>,
    pub labels: BTreeMap<String, String>,
    /// By the host name: the configuration file is the daemon's.
    pub origin: EventOrigin,
    /// Its time limit, heartbeat and judgment of outcomes.
    pub options: OneShotSettings,
    /// How long to wait for a daemon that cannot be reached; None is without end.
    pub give_up_after: Option<Duration>,
    pub output: OutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SquashedAs {
    Success,
    Failure,
}

/// The output format, as selected by `--output`. The comments are help texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// journal in a service of systemd, json in any other daemon, progress on a terminal, text otherwise
    #[default]
    Auto,
    /// one bar per job, on standard error
    Progress,
    /// one line per change, on standard output
    Text,
    /// one JSON object per line, on standard output
    Json,
    /// entries of the journal of systemd
    Journal,
    /// errors and the final line
    Quiet,
}
