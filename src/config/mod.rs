//! The configuration: flags override environment variables, which override the file, which overrides the defaults.
//!
//! [`load`] is for a one-shot, [`load_daemon`] for the daemon, [`inspect`] for `check`, [`find_socket`] for clients of
//! the daemon. All errors are reported at once, each with its place and a way to fix it; errors of the credentials too.
//!
//! `keys` is the table of keys, `value` parses one value, `validate` walks a file's tree, `layers` merges, `jobs` and
//! `hooks` read the lists, and [`manual`] writes the documentation of the table.

pub mod base_url;
pub mod credentials;
mod daemon_keys;
pub mod env;
pub mod error;
mod file;
pub(crate) mod hook_env;
mod hook_keys;
pub(crate) mod hooks;
mod jobs;
mod keys;
mod layers;
pub mod manual;
mod on_event;
mod program;
mod restart;
pub mod settings;
mod socket;
mod validate;
mod value;
pub(crate) mod webhook;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

pub use env::Env;
pub use error::{ConfigError, ConfigErrors};
pub use restart::needs_restart;
pub use socket::{SocketLocation, find_socket};

use error::Origin;
use forgewatch_core::job::JobRef;
use forgewatch_core::job::JobSpec;
use forgewatch_core::quote::quoted;
use keys::{DAEMON_SECTIONS, HEARTBEAT, Key, ONE_SHOT_RANGE};
use layers::{RunMode, Values};
use settings::{OneShotSettings, OutputFormat, Settings, SquashedAs};
use validate::Scope;

/// The values of the command line, not yet parsed.
#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    pub config: Option<PathBuf>,
    /// Flags that have a key in the file, by name (`--min-interval`).
    pub flags: Vec<(&'static str, String)>,
    /// The JOB arguments.
    pub jobs: Vec<String>,
    /// Comma-separated lists of IDs.
    pub diffs: Vec<String>,
    /// Comma-separated lists of IDs.
    pub updates: Vec<String>,
    /// `--jobs-file`; `-` is standard input.
    pub jobs_file: Option<PathBuf>,
    /// The text read from standard input for `jobs_file`. It can be read only once, but a daemon needs it at every reload.
    pub standard_input: OnceLock<String>,
    /// `--label`s, `NAME=VALUE`.
    pub labels: Vec<String>,
    /// `--on-event`s, `TYPE=COMMAND`.
    pub on_events: Vec<String>,
    pub output: Option<OutputFormat>,
    pub timeout: Option<String>,
    pub job_timeout: Option<String>,
    pub fail_fast: bool,
    pub heartbeat: Option<String>,
    pub squashed_as: Option<SquashedAs>,
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub one_shot: OneShotSettings,
    pub output: OutputFormat,
    /// Used if the environment has no credentials.
    pub credentials_file: Option<PathBuf>,
    /// The configuration file.
    pub source: Option<PathBuf>,
}

/// Loads the configuration of a one-shot.
///
/// From a file at a default path, only `[api]` and `[schedule]` are used: the rest belongs to the daemon, and errors in it
/// must not stop a one-shot. A file named by the user is used whole.
pub fn load(command_line: &CommandLine, env: &Env) -> Result<Loaded, ConfigErrors> {
    merge(command_line, env, RunMode::OneShot)
}

/// Loads the configuration of the daemon, at startup and at a reload.
///
/// The whole file is used. Jobs on the command line replace the file's; the list may be empty.
pub fn load_daemon(command_line: &CommandLine, env: &Env) -> Result<Loaded, ConfigErrors> {
    merge(command_line, env, RunMode::Daemon)
}

/// Loads the configuration as a daemon without other arguments would.
pub fn inspect(config: Option<&Path>, env: &Env) -> Result<Loaded, ConfigErrors> {
    let command_line = CommandLine {
        config: config.map(Path::to_owned),
        ..CommandLine::default()
    };
    load_daemon(&command_line, env)
}

/// The defaults for jobs of a simulator, without environment and file. Requests are cheaper than with a real API, so
/// that jobs of a few seconds are polled often enough.
pub fn for_simulator(
    base_url: &str,
    account_service_id: u64,
    jobs: &[JobRef],
) -> Result<Loaded, ConfigErrors> {
    let command_line = CommandLine {
        config: Some(PathBuf::from("/dev/null")),
        flags: vec![
            ("--base-url", base_url.to_owned()),
            ("--account-service-id", account_service_id.to_string()),
            ("--request-cost", "50ms".to_owned()),
            ("--min-interval", "200ms".to_owned()),
        ],
        jobs: jobs.iter().map(ToString::to_string).collect(),
        ..CommandLine::default()
    };
    load(&command_line, &Env::default())
}

/// The output format: the flag's, else the variable's, else `auto`.
///
/// # Errors
/// The variable is invalid, even if the flag overrides it.
pub fn output(flag: Option<OutputFormat>, env: &Env) -> Result<OutputFormat, ConfigError> {
    const VARIABLE: &str = "FORGEWATCH_OUTPUT";
    let Some(word) = env.text(VARIABLE)? else {
        return Ok(flag.unwrap_or_default());
    };
    let mut formats = OutputFormat::ALL.into_iter();
    let format = formats.find(|format| format.as_str() == word);
    let format = format.ok_or_else(|| {
        let words = OutputFormat::ALL.map(OutputFormat::as_str).join(", ");
        let what = format!("invalid output format {}: use one of {words}", quoted(word));
        ConfigError::new(Origin::Variable(VARIABLE), what)
    })?;
    Ok(flag.unwrap_or(format))
}

/// The jobs, without duplicates, and the labels of a client's command line.
///
/// # Errors
/// A job or label is invalid, or there is no job.
pub fn named_jobs(
    command_line: &CommandLine,
) -> Result<(Vec<JobRef>, BTreeMap<String, String>), ConfigErrors> {
    let mut errors = Vec::new();
    let labels = jobs::labels_from_command_line(&command_line.labels, &mut errors);
    let named = jobs::from_command_line(command_line, &mut errors).unwrap_or_default();
    if named.is_empty() && errors.is_empty() {
        let what =
            "no jobs; name some with diff/1234, --diff 1234, --update 77 or --jobs-file FILE";
        errors.push(ConfigError::new(Origin::Unspecified, what));
    }
    ConfigErrors::ok_if_empty(errors)?;
    Ok((named.into_iter().map(|spec| spec.job).collect(), labels))
}

fn merge(command_line: &CommandLine, env: &Env, mode: RunMode) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let mut values = Values::with_defaults(mode, &mut errors);

    let source = file::config(command_line.config.as_deref(), env);
    let source = source.unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let in_file = source.as_ref().and_then(|source| {
        let scope = match mode {
            RunMode::OneShot if !source.named => Scope::ApiAndSchedule,
            _ => Scope::Whole,
        };
        validate::file(source, scope, env, &mut values, &mut errors)
    });
    // Nothing is known to be missing if the file could not be read or parsed.
    let is_file_known = errors.is_empty() || in_file.is_some();
    environment(env, mode, &mut values, &mut errors);
    flags(command_line, mode, &mut values, &mut errors);
    if is_file_known {
        values.check_required(&mut errors);
        values.cross_check(&mut errors);
    }

    let in_file = in_file.unwrap_or_default();
    let jobs = jobs::from_command_line(command_line, &mut errors).or(in_file.jobs);
    if mode == RunMode::OneShot {
        check_any_jobs(jobs.as_deref(), is_file_known, &mut errors);
    }
    let mut jobs = jobs.unwrap_or_default();
    let on_events = on_event::from_command_line(&command_line.on_events, env, &mut errors);
    let hooks = on_event::join(in_file.hooks, on_events);
    label_all(&mut jobs, command_line, &mut errors);
    let one_shot = one_shot(command_line, mode, &mut errors);
    let output = output(command_line.output, env).unwrap_or_else(|error| {
        errors.push(error);
        OutputFormat::default()
    });
    if !errors.is_empty() {
        check_credentials(&values, is_file_known, env, &mut errors);
    }
    ConfigErrors::ok_if_empty(errors)?;
    let credentials_file = values.credentials_file.clone();
    let settings = values
        .into_settings(jobs, hooks)
        .ok_or_else(|| ConfigError::new(Origin::Unspecified, "api.base_url is not set"))?;
    Ok(Loaded {
        settings,
        one_shot,
        output,
        credentials_file,
        source: source.map(|source| source.path),
    })
}

/// Reports that there are no jobs, if that is certain.
fn check_any_jobs(jobs: Option<&[JobSpec]>, is_file_known: bool, errors: &mut Vec<ConfigError>) {
    let is_certain = match jobs {
        None => is_file_known,
        // The list may be empty because every job in it was invalid.
        Some(jobs) => jobs.is_empty() && errors.is_empty(),
    };
    if is_certain {
        let what = "no jobs to watch; name some with diff/1234, --diff 1234, --update 77, --jobs-file FILE, or [[jobs]] \
                    in a file named with --config";
        errors.push(ConfigError::new(Origin::Unspecified, what));
    }
}

/// Reports errors of the credentials together with the others. Without other errors, the caller reads the credentials.
fn check_credentials(
    values: &Values,
    is_file_known: bool,
    env: &Env,
    errors: &mut Vec<ConfigError>,
) {
    let file = values.credentials_file.as_deref();
    let is_certain =
        (is_file_known || file.is_some()) && values.is_valid("api", "credentials_file");
    let found = if is_certain {
        credentials::find(file, env).map(drop)
    } else {
        credentials::from_environment(env).map(drop)
    };
    errors.extend(found.err());
}

/// The keys whose flags and variables are used: a one-shot ignores the daemon's sections.
fn used_keys(mode: RunMode) -> impl Iterator<Item = &'static Key> {
    keys::settings()
        .filter(move |key| mode == RunMode::Daemon || !DAEMON_SECTIONS.contains(&key.section))
}

fn environment(env: &Env, mode: RunMode, values: &mut Values, errors: &mut Vec<ConfigError>) {
    for key in used_keys(mode) {
        let Some(variable) = key.variable else {
            continue;
        };
        match env.text(variable) {
            Ok(Some(text)) => values.set(key, text, &Origin::Variable(variable), errors),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
}

fn flags(
    command_line: &CommandLine,
    mode: RunMode,
    values: &mut Values,
    errors: &mut Vec<ConfigError>,
) {
    for (flag, text) in &command_line.flags {
        for key in used_keys(mode).filter(|key| key.flag == Some(flag)) {
            values.set(key, text, &Origin::Flag(flag), errors);
        }
    }
}

/// Labels of the command line override those of the file.
fn label_all(jobs: &mut [JobSpec], command_line: &CommandLine, errors: &mut Vec<ConfigError>) {
    let labels = jobs::labels_from_command_line(&command_line.labels, errors);
    for job in jobs {
        job.labels.extend(labels.clone());
    }
}

fn one_shot(
    command_line: &CommandLine,
    mode: RunMode,
    errors: &mut Vec<ConfigError>,
) -> OneShotSettings {
    let (min, max) = ONE_SHOT_RANGE;
    let mut duration = |flag, text: &Option<String>, example| -> Option<Duration> {
        let result = value::duration(text.as_deref()?, min, max, example);
        result
            .map_err(|what| errors.push(ConfigError::new(Origin::Flag(flag), what)))
            .ok()
    };
    let timeout = duration("--timeout", &command_line.timeout, "2h");
    let job_timeout = duration("--job-timeout", &command_line.job_timeout, "30m");
    let heartbeat = command_line
        .heartbeat
        .as_deref()
        .map_or(Ok(Some(HEARTBEAT)), |text| {
            value::duration_or_never(text, min, max, "1m")
        });
    OneShotSettings {
        timeout,
        job_timeout,
        fail_fast: command_line.fail_fast,
        heartbeat: heartbeat.unwrap_or_else(|what| {
            errors.push(ConfigError::new(Origin::Flag("--heartbeat"), what));
            None
        }),
        squashed_as: command_line.squashed_as,
        state: match mode {
            RunMode::OneShot => state_file(command_line, errors),
            RunMode::Daemon => None,
        },
    }
}

fn state_file(command_line: &CommandLine, errors: &mut Vec<ConfigError>) -> Option<PathBuf> {
    const FLAG: &str = "--state";
    let (_, text) = command_line.flags.iter().rfind(|(flag, _)| *flag == FLAG)?;
    value::file(text)
        .map_err(|what| errors.push(ConfigError::new(Origin::Flag(FLAG), what)))
        .ok()
}
