//! What the user wants: the command line over the environment over the file over the defaults, merged and checked.
//!
//! `cli` calls [`load`] for a one-shot, [`load_daemon`] for the daemon, [`inspect`] for `check`, [`find_socket`] for
//! the daemon's clients, and [`credentials::find`]; everybody else reads [`settings`]. All errors are told at once, each
//! with its place and what would do; those of the credentials among them.
//!
//! Inside, `keys` is the one table of what can be written; `read` reads a value, `check` walks a file's tree, `draft`
//! puts the layers together, `jobs` and `hooks` make the lists, and [`manual`] writes the table down for people.

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
use keys::{DAEMONS, HEARTBEAT, Key, ONE_SHOT_SPAN};
use layers::{RunMode, Values};
use settings::{OneShotSettings, OutputFormat, Settings, SquashedAs};
use validate::Scope;

/// What the command line says. Values are texts as they were given, read and checked here.
#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// The flags that say the same as a key of the file, by the flag's name (`--min-interval`).
    pub flags: Vec<(&'static str, String)>,
    /// The JOB arguments.
    pub jobs: Vec<String>,
    /// `--diff`: lists of IDs.
    pub diffs: Vec<String>,
    /// `--update`: lists of IDs.
    pub updates: Vec<String>,
    /// `--jobs-file`; `-` is standard input.
    pub jobs_file: Option<PathBuf>,
    /// What standard input said, once it was read for `jobs_file`: it says nothing a second time, and a daemon that
    /// loads again would take that for a list without jobs.
    pub standard_input: OnceLock<String>,
    /// `--label`s, `NAME=VALUE`.
    pub labels: Vec<String>,
    /// `--on-event`s, `TYPE=COMMAND`.
    pub on_events: Vec<String>,
    /// `--output`.
    pub output: Option<OutputFormat>,
    /// `--timeout`.
    pub timeout: Option<String>,
    /// `--job-timeout`.
    pub job_timeout: Option<String>,
    /// `--fail-fast`.
    pub fail_fast: bool,
    /// `--heartbeat`.
    pub heartbeat: Option<String>,
    /// `--squashed-as`.
    pub squashed_as: Option<SquashedAs>,
}

/// A configuration in order.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What everybody reads.
    pub settings: Settings,
    /// How a watch that ends is run.
    pub one_shot: OneShotSettings,
    /// What is printed.
    pub output: OutputFormat,
    /// Where the credentials are, if the environment does not hold them.
    pub credentials_file: Option<PathBuf>,
    /// The file that was read.
    pub source: Option<PathBuf>,
}

/// The configuration of a watch that ends. Reads the file, and the list of jobs if one is named.
///
/// Of a file found by default `[api]` and `[schedule]` are taken, and the rest is passed over: a one-shot is no
/// second daemon, and must not fail for what it never uses. A file that was named is taken whole.
pub fn load(given: &CommandLine, env: &Env) -> Result<Loaded, ConfigErrors> {
    assemble(given, env, RunMode::OneShot)
}

/// The configuration of the daemon, at its start and whenever it reads it again.
///
/// The whole file counts, wherever it was found. Jobs on the command line replace the file's; there need not be any.
pub fn load_daemon(given: &CommandLine, env: &Env) -> Result<Loaded, ConfigErrors> {
    assemble(given, env, RunMode::Daemon)
}

/// The configuration as a daemon without arguments would take it, for `check`.
pub fn inspect(config: Option<&Path>, env: &Env) -> Result<Loaded, ConfigErrors> {
    let given = CommandLine {
        config: config.map(Path::to_owned),
        ..CommandLine::default()
    };
    load_daemon(&given, env)
}

/// The defaults, for these jobs of a simulator: neither the environment nor any file has a say. Only a request
/// costs less than one to a real API does, so that there is something to see in jobs of a few seconds.
pub fn for_simulator(
    base_url: &str,
    account_service_id: u64,
    jobs: &[JobRef],
) -> Result<Loaded, ConfigErrors> {
    let given = CommandLine {
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
    load(&given, &Env::default())
}

/// What is printed: the flag, else the variable, else `auto`. A bad variable is an error even where the flag goes
/// before it, like a bad key in the file.
pub fn output(flag: Option<OutputFormat>, env: &Env) -> Result<OutputFormat, ConfigError> {
    const VARIABLE: &str = "FORGEWATCH_OUTPUT";
    let Some(word) = env.text(VARIABLE)? else {
        return Ok(flag.unwrap_or_default());
    };
    let known = OutputFormat::ALL
        .into_iter()
        .find(|form| form.as_str() == word);
    let of_variable = known.ok_or_else(|| {
        let words = OutputFormat::ALL.map(OutputFormat::as_str).join(", ");
        let what = format!(
            "{} is no form of output; one of {words} would do",
            quoted(word)
        );
        ConfigError::new(Origin::Variable(VARIABLE), what)
    })?;
    Ok(flag.unwrap_or(of_variable))
}

/// The jobs that a command line names, each once, and its labels: for a command that has others watch them.
///
/// # Errors
/// What is no job and no label, and where no job is named at all.
pub fn named_jobs(
    given: &CommandLine,
) -> Result<(Vec<JobRef>, BTreeMap<String, String>), ConfigErrors> {
    let mut errors = Vec::new();
    let labels = jobs::labels_of_command_line(&given.labels, &mut errors);
    let named = jobs::from_command_line(given, &mut errors).unwrap_or_default();
    if named.is_empty() && errors.is_empty() {
        let what = "no jobs; name some: diff/1234, --diff 1234, --update 77 or --jobs-file FILE";
        errors.push(ConfigError::new(Origin::Nowhere, what));
    }
    ConfigErrors::check(errors)?;
    Ok((named.into_iter().map(|spec| spec.job).collect(), labels))
}

fn assemble(given: &CommandLine, env: &Env, purpose: RunMode) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let mut draft = Values::with_defaults(purpose, &mut errors);

    let source = file::config(given.config.as_deref(), env);
    let source = source.unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let of_file = source.as_ref().and_then(|source| {
        let scope = match purpose {
            RunMode::OneShot if !source.named => Scope::ApiAndSchedule,
            _ => Scope::Whole,
        };
        validate::file(source, scope, env, &mut draft, &mut errors)
    });
    // A file that could not be read or parsed says nothing of what it lacks.
    let whole = errors.is_empty() || of_file.is_some();
    environment(env, purpose, &mut draft, &mut errors);
    flags(given, purpose, &mut draft, &mut errors);
    if whole {
        draft.find_missing(&mut errors);
        draft.cross_check(&mut errors);
    }

    let of_file = of_file.unwrap_or_default();
    let jobs = jobs::from_command_line(given, &mut errors).or(of_file.jobs);
    if purpose == RunMode::OneShot {
        find_no_jobs(jobs.as_deref(), whole, &mut errors);
    }
    let mut jobs = jobs.unwrap_or_default();
    let on_events = on_event::from_command_line(&given.on_events, env, &mut errors);
    let hooks = on_event::join(of_file.hooks, on_events);
    label_all(&mut jobs, given, &mut errors);
    let one_shot = one_shot(given, purpose, &mut errors);
    let output = output(given.output, env).unwrap_or_else(|error| {
        errors.push(error);
        OutputFormat::default()
    });
    if !errors.is_empty() {
        find_no_credentials(&draft, whole, env, &mut errors);
    }
    ConfigErrors::check(errors)?;
    let credentials_file = draft.credentials_file.clone();
    let settings = draft
        .into_settings(jobs, hooks)
        .ok_or_else(|| ConfigError::new(Origin::Nowhere, "api.base_url is not set"))?;
    Ok(Loaded {
        settings,
        one_shot,
        output,
        credentials_file,
        source: source.map(|source| source.path),
    })
}

/// Says that there is nothing to watch, where that is certain.
fn find_no_jobs(jobs: Option<&[JobSpec]>, whole: bool, errors: &mut Vec<ConfigError>) {
    let is_certain = match jobs {
        None => whole,
        // What was named may have been wrong.
        Some(jobs) => jobs.is_empty() && errors.is_empty(),
    };
    if is_certain {
        let what = "no jobs to watch; name some: diff/1234, --diff 1234, --update 77, --jobs-file FILE, or [[jobs]] \
                    in a file named with --config";
        errors.push(ConfigError::new(Origin::Nowhere, what));
    }
}

/// Says what is wrong with the credentials, where that is certain. Whoever gets a [`Loaded`] reads them; where there is
/// none, nobody would before all else is mended.
fn find_no_credentials(draft: &Values, whole: bool, env: &Env, errors: &mut Vec<ConfigError>) {
    let file = draft.credentials_file.as_deref();
    let is_certain = (whole || file.is_some()) && draft.is_good("api", "credentials_file");
    let found = if is_certain {
        credentials::find(file, env).map(drop)
    } else {
        credentials::from_environment(env).map(drop)
    };
    errors.extend(found.err());
}

/// The keys whose flags and variables have a say: those of the daemon's sections are nothing to a one-shot.
fn spoken_to(purpose: RunMode) -> impl Iterator<Item = &'static Key> {
    keys::settings()
        .filter(move |key| purpose == RunMode::Daemon || !DAEMONS.contains(&key.section))
}

fn environment(env: &Env, purpose: RunMode, draft: &mut Values, errors: &mut Vec<ConfigError>) {
    for key in spoken_to(purpose) {
        let Some(variable) = key.variable else {
            continue;
        };
        match env.text(variable) {
            Ok(Some(text)) => draft.set(key, text, &Origin::Variable(variable), errors),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
}

fn flags(given: &CommandLine, purpose: RunMode, draft: &mut Values, errors: &mut Vec<ConfigError>) {
    for (flag, text) in &given.flags {
        for key in spoken_to(purpose).filter(|key| key.flag == Some(flag)) {
            draft.set(key, text, &Origin::Flag(flag), errors);
        }
    }
}

/// The command line's labels go to every job it watches, over those of the file.
fn label_all(jobs: &mut [JobSpec], given: &CommandLine, errors: &mut Vec<ConfigError>) {
    let labels = jobs::labels_of_command_line(&given.labels, errors);
    for job in jobs {
        job.labels.extend(labels.clone());
    }
}

fn one_shot(
    given: &CommandLine,
    purpose: RunMode,
    errors: &mut Vec<ConfigError>,
) -> OneShotSettings {
    let (min, max) = ONE_SHOT_SPAN;
    let mut span = |flag, text: &Option<String>, example| -> Option<Duration> {
        let read = value::duration(text.as_deref()?, min, max, example);
        read.map_err(|what| errors.push(ConfigError::new(Origin::Flag(flag), what)))
            .ok()
    };
    let timeout = span("--timeout", &given.timeout, "2h");
    let job_timeout = span("--job-timeout", &given.job_timeout, "30m");
    let heartbeat = given
        .heartbeat
        .as_deref()
        .map_or(Ok(Some(HEARTBEAT)), |text| {
            value::duration_or_never(text, min, max, "1m")
        });
    OneShotSettings {
        timeout,
        job_timeout,
        fail_fast: given.fail_fast,
        heartbeat: heartbeat.unwrap_or_else(|what| {
            errors.push(ConfigError::new(Origin::Flag("--heartbeat"), what));
            None
        }),
        squashed_as: given.squashed_as,
        state: match purpose {
            RunMode::OneShot => state_file(given, errors),
            RunMode::Daemon => None,
        },
    }
}

/// The file that `--state` names for a one-shot.
fn state_file(given: &CommandLine, errors: &mut Vec<ConfigError>) -> Option<PathBuf> {
    const FLAG: &str = "--state";
    let (_, text) = given.flags.iter().rfind(|(flag, _)| *flag == FLAG)?;
    value::file(text)
        .map_err(|what| errors.push(ConfigError::new(Origin::Flag(FLAG), what)))
        .ok()
}
