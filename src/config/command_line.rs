//! The values of the command line: jobs, labels, hooks and the options of a one-shot.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use clap::ValueEnum;

use super::entry_keys::HOOKS;
use super::env::Env;
use super::error::{ConfigError, ConfigErrors, Origin};
use super::hooks::{self, HookDraft};
use super::jobs::{self, JobList, Labels};
use super::report_files;
use super::settings::{
    Annotations, OneShotSettings, OutputFormat, RunMode, SquashedAs, WaitSettings,
};
use super::value;
use crate::hooks::HookSpec;
use forgewatch_core::event::EventOrigin;
use forgewatch_core::format::Format;
use forgewatch_core::job::{JobKind, JobRef, JobSpec};
use forgewatch_core::user_input::{parse_label, quoted};

/// Default interval of heartbeat lines in `text`.
const HEARTBEAT: Duration = Duration::from_mins(1);

const GIVE_UP_FLAG: &str = "--give-up-after";
/// How long `wait` waits for a daemon that cannot be reached.
const GIVE_UP_AFTER: Duration = Duration::from_mins(10);
const MIN_DURATION: Duration = Duration::from_millis(1);
const MAX_DURATION: Duration = Duration::from_hours(365 * 24);

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
    /// Comma-separated lists of IDs.
    pub versions: Vec<String>,
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
    pub again: bool,
    pub no_learn: bool,
    pub heartbeat: Option<String>,
    pub squashed_as: Option<SquashedAs>,
    pub annotations: Option<Annotations>,
    /// `--report`s, `FORMAT=FILE`.
    pub reports: Vec<String>,
}

impl CommandLine {
    /// The JOB arguments, then those of the other flags, without duplicates. None if there are none of them.
    pub(super) fn jobs(&self, errors: &mut Vec<ConfigError>) -> Option<Vec<JobSpec>> {
        let mut list = JobList::default();
        let mut add = |flag, job: Result<JobRef, String>| match job {
            Ok(job) => drop(list.add(job, Labels::new())),
            Err(what) => errors.push(ConfigError::new(Origin::Flag(flag), what)),
        };
        for name in &self.jobs {
            add("JOB", jobs::parse(name));
        }
        let kinds = [
            ("--diff", JobKind::Diff, &self.diffs),
            ("--update", JobKind::Update, &self.updates),
            ("--image-version", JobKind::Version, &self.versions),
        ];
        for (flag, kind, values) in kinds {
            for id in values.iter().flat_map(|value| value.split(',')) {
                add(flag, jobs::parse_id(id).map(|id| JobRef { kind, id }));
            }
        }
        if let Some(path) = &self.jobs_file {
            match self.read_list(path) {
                Ok(text) => jobs::parse_list(&text, path, &mut list, errors),
                Err(error) => errors.push(error),
            }
        }
        let lists = [&self.jobs, &self.diffs, &self.updates, &self.versions];
        let is_given = lists.iter().any(|list| !list.is_empty()) || self.jobs_file.is_some();
        is_given.then_some(list.jobs)
    }

    /// Reads standard input only once.
    fn read_list(&self, path: &Path) -> Result<Cow<'_, str>, ConfigError> {
        if path != Path::new("-") {
            return jobs::read_list(path).map(Cow::Owned);
        }
        if let Some(text) = self.standard_input.get() {
            return Ok(Cow::Borrowed(text));
        }
        let text = jobs::read_list(path)?;
        Ok(Cow::Borrowed(self.standard_input.get_or_init(|| text)))
    }

    /// Of two labels with one name, the last wins.
    pub(super) fn labels(&self, errors: &mut Vec<ConfigError>) -> Labels {
        let mut labels = Labels::new();
        for text in &self.labels {
            match parse_label(text) {
                Ok((name, value)) => drop(labels.insert(name, value)),
                Err(what) => errors.push(ConfigError::new(Origin::Flag("--label"), what)),
            }
        }
        labels
    }

    /// Appends the hooks of `--on-event` to the file's.
    pub(super) fn add_hooks(
        &self,
        hooks: &mut Vec<HookSpec>,
        env: &Env,
        errors: &mut Vec<ConfigError>,
    ) {
        for (number, text) in (1..).zip(&self.on_events) {
            let mut name = format!("on-event-{number}");
            // The file may already use the name.
            while hooks.iter().any(|hook| *hook.rules.name == *name) {
                name.push('-');
            }
            let mut hook: HookDraft = HOOKS.defaults(RunMode::OneShot);
            hook.name = Some(name);
            match hooks::on_event(text, &mut hook, env) {
                Ok(()) => hooks.extend(hook.finish(env, Format::default())),
                Err(messages) => {
                    let error = |what| ConfigError::new(Origin::Flag("--on-event"), what);
                    errors.extend(messages.into_iter().map(error));
                }
            }
        }
    }

    /// The options that have no key in the file.
    pub(super) fn one_shot(&self, mode: RunMode, errors: &mut Vec<ConfigError>) -> OneShotSettings {
        let duration = |text: &str, example| {
            value::duration(text, MIN_DURATION, MAX_DURATION, example).map(Some)
        };
        OneShotSettings {
            timeout: option("--timeout", self.timeout.as_deref(), errors, None, |text| {
                duration(text, "2h")
            }),
            job_timeout: option(
                "--job-timeout",
                self.job_timeout.as_deref(),
                errors,
                None,
                |text| duration(text, "30m"),
            ),
            fail_fast: self.fail_fast,
            again: self.again,
            learn: !self.no_learn,
            heartbeat: option(
                "--heartbeat",
                self.heartbeat.as_deref(),
                errors,
                Some(HEARTBEAT),
                |text| value::duration_or_never(text, MIN_DURATION, MAX_DURATION, "1m"),
            ),
            squashed_as: self.squashed_as,
            annotations: self.annotations.unwrap_or_default(),
            reports: report_files::parse(&self.reports, errors),
            state: match mode {
                RunMode::OneShot => option("--state", self.flag("--state"), errors, None, |text| {
                    value::path(text).map(Some)
                }),
                RunMode::Daemon => None,
            },
        }
    }

    fn flag(&self, name: &str) -> Option<&str> {
        let flag = self.flags.iter().rfind(|(flag, _)| *flag == name);
        flag.map(|(_, text)| text.as_str())
    }
}

/// The settings of `wait`.
///
/// # Errors
/// A value is invalid, or neither jobs nor labels are given.
pub fn wait(command_line: &CommandLine, env: &Env) -> Result<WaitSettings, ConfigErrors> {
    let mut errors = Vec::new();
    let labels = command_line.labels(&mut errors);
    let named = command_line.jobs(&mut errors).unwrap_or_default();
    if named.is_empty() && labels.is_empty() && errors.is_empty() {
        let what = "no jobs to wait for; name some with diff/1234, --diff 1234, --update 77, --image-version 5 or --jobs-file FILE, or \
                    select some with --label NAME=VALUE";
        errors.push(ConfigError::new(Origin::Unspecified, what));
    }
    let options = command_line.one_shot(RunMode::Daemon, &mut errors);
    let give_up_after = option(
        GIVE_UP_FLAG,
        command_line.flag(GIVE_UP_FLAG),
        &mut errors,
        Some(GIVE_UP_AFTER),
        |text| value::duration_or_never(text, MIN_DURATION, MAX_DURATION, "10m"),
    );
    let output = output(command_line.output, env).unwrap_or_else(|error| {
        errors.push(error);
        OutputFormat::default()
    });
    ConfigErrors::ok_if_empty(errors)?;
    Ok(WaitSettings {
        jobs: named.into_iter().map(|spec| spec.job).collect(),
        labels,
        origin: EventOrigin {
            instance: Some(value::host_name().into()),
            trace: env.trace().ok().flatten(),
        },
        options,
        give_up_after,
        output,
    })
}

/// The value of a flag, or its default.
fn option<T: Default>(
    flag: &'static str,
    text: Option<&str>,
    errors: &mut Vec<ConfigError>,
    default: T,
    parse: impl Fn(&str) -> Result<T, String>,
) -> T {
    text.map_or(Ok(default), parse).unwrap_or_else(|what| {
        errors.push(ConfigError::new(Origin::Flag(flag), what));
        T::default()
    })
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
    let format = OutputFormat::from_str(word, false).map_err(|_| {
        let what = format!(
            "invalid output format {}: use one of auto, progress, text, json, journal, quiet",
            quoted(word)
        );
        ConfigError::new(Origin::Variable(VARIABLE), what)
    })?;
    Ok(flag.unwrap_or(format))
}

/// The jobs, without duplicates, and the labels of a client's command line.
///
/// # Errors
/// A job or label is invalid.
pub fn named_jobs(
    command_line: &CommandLine,
) -> Result<(Vec<JobRef>, BTreeMap<String, String>), ConfigErrors> {
    let mut errors = Vec::new();
    let labels = command_line.labels(&mut errors);
    let named = command_line.jobs(&mut errors).unwrap_or_default();
    ConfigErrors::ok_if_empty(errors)?;
    Ok((named.into_iter().map(|spec| spec.job).collect(), labels))
}
