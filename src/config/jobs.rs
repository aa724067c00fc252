//! The jobs of the command line or of the file, without duplicates, in the order of their first mention.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::CommandLine;
use super::error::{ConfigError, Origin};
use super::file;
use super::keys::{Key, KeyDefault, ValueKind};
use super::validate::FileChecker;
use super::value;
use forgewatch_core::job::JobSpec;
use forgewatch_core::job::{JobId, JobKind, JobRef, JobRefError};
use forgewatch_core::label::validate_label;
use forgewatch_core::quote::quoted;

/// The keys of `[[jobs]]`: a part of the table in [`super::keys`].
pub(super) const JOB_KEYS: &[Key] = &[
    Key {
        section: "jobs",
        name: "job",
        kind: ValueKind::Job,
        default: KeyDefault::Required {
            example: "diff/1234",
        },
        flag: None,
        variable: None,
        doc: "A job to watch if the command line names none.",
    },
    Key {
        section: "jobs",
        name: "labels",
        kind: ValueKind::Labels,
        default: KeyDefault::Unset {
            example: "{ build = \"8812\" }",
            meaning: "none",
        },
        flag: None,
        variable: None,
        doc: "Labels added to every event of the job.",
    },
];

type Labels = BTreeMap<String, String>;

#[derive(Default)]
struct JobList {
    jobs: Vec<JobSpec>,
    index: HashMap<JobRef, usize>,
}

impl JobList {
    /// Adds a job, or its labels to the same job. Returns the name of a label that has two different values.
    fn add(&mut self, job: JobRef, labels: Labels) -> Option<String> {
        let at = *self.index.entry(job).or_insert(self.jobs.len());
        let Some(known) = self.jobs.get_mut(at) else {
            self.jobs.push(JobSpec { job, labels });
            return None;
        };
        let mut conflict = None;
        for (name, value) in labels {
            let first = known
                .labels
                .entry(name.clone())
                .or_insert_with(|| value.clone());
            if *first != value {
                conflict = Some(name);
            }
        }
        conflict
    }
}

/// The command line's jobs: arguments, then `--diff`, `--update`, `--jobs-file`. None if it names none at all.
pub(super) fn from_command_line(
    command_line: &CommandLine,
    errors: &mut Vec<ConfigError>,
) -> Option<Vec<JobSpec>> {
    let mut list = JobList::default();
    for name in &command_line.jobs {
        match name.parse() {
            Ok(job) => drop(list.add(job, Labels::new())),
            Err(e) => errors.push(ConfigError::new(Origin::Flag("JOB"), invalid_job(name, &e))),
        }
    }
    let kinds = [
        ("--diff", JobKind::Diff, &command_line.diffs),
        ("--update", JobKind::Update, &command_line.updates),
    ];
    for (flag, kind, values) in kinds {
        for id in values.iter().flat_map(|value| value.split(',')) {
            match id.trim().parse::<JobId>() {
                Ok(id) => drop(list.add(JobRef { kind, id }, Labels::new())),
                Err(_) => errors.push(ConfigError::new(Origin::Flag(flag), invalid_id(id))),
            }
        }
    }
    if let Some(path) = &command_line.jobs_file {
        match read_list(command_line, path) {
            Ok(text) => parse_list(&text, path, &mut list, errors),
            Err(e) => errors.push(e),
        }
    }
    let named = command_line.jobs.len() + command_line.diffs.len() + command_line.updates.len();
    (named > 0 || command_line.jobs_file.is_some()).then_some(list.jobs)
}

/// Reads standard input only once.
fn read_list<'a>(command_line: &'a CommandLine, path: &Path) -> Result<Cow<'a, str>, ConfigError> {
    if path != Path::new("-") {
        return file::jobs(path).map(Cow::Owned);
    }
    if let Some(text) = command_line.standard_input.get() {
        return Ok(Cow::Borrowed(text));
    }
    let text = file::jobs(path)?;
    Ok(Cow::Borrowed(
        command_line.standard_input.get_or_init(|| text),
    ))
}

/// Up to the largest `u64`.
const ID_RANGE: &str = "an ID is a whole number from 1 to 18446744073709551615";

fn invalid_id(text: &str) -> String {
    format!("invalid ID {}: {ID_RANGE}", quoted(text))
}

/// Quotes `text` shortened: it can be a line of any file.
fn invalid_job(text: &str, error: &JobRefError) -> String {
    let shown = quoted(text);
    match error {
        JobRefError::Form(_) if text.parse::<JobId>().is_ok() => {
            format!("invalid job {shown}; did you mean diff/{text} or update/{text}?")
        }
        JobRefError::Form(_) => {
            format!("invalid job {shown}: use a name such as diff/1234 or update/77")
        }
        JobRefError::Id(_) => format!("invalid job {shown}: {ID_RANGE}"),
    }
}

/// One job per line; `#` starts a comment, blank lines are ignored.
fn parse_list(text: &str, path: &Path, list: &mut JobList, errors: &mut Vec<ConfigError>) {
    let shown = if path == Path::new("-") {
        Path::new("standard input")
    } else {
        path
    };
    // Some editors write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split('#').next().unwrap_or_default();
        let name = code.trim();
        if name.is_empty() {
            continue;
        }
        match name.parse() {
            Ok(job) => drop(list.add(job, Labels::new())),
            Err(e) => {
                let column = 1 + code.chars().take_while(|c| c.is_whitespace()).count();
                let position = Origin::Position(shown.to_owned(), number, column);
                errors.push(ConfigError::new(position, invalid_job(name, &e)));
            }
        }
    }
}

pub(super) fn from_file(
    value: &Spanned<DeValue<'_>>,
    checker: &mut FileChecker<'_>,
) -> Vec<JobSpec> {
    let mut list = JobList::default();
    let Some(entries) = value.get_ref().as_array() else {
        checker.error(
            value.span().start,
            "jobs: expected an array of tables; write [[jobs]], in double brackets",
        );
        return list.jobs;
    };
    for entry in entries {
        if let Some((job, labels)) = job_from_file(entry, checker)
            && let Some(name) = list.add(job, labels)
        {
            let what = format!(
                "jobs.labels: {job} is listed twice with different values of {}; keep one of them",
                quoted(&name)
            );
            checker.error(entry.span().start, what);
        }
    }
    list.jobs
}

fn job_from_file(
    entry: &Spanned<DeValue<'_>>,
    checker: &mut FileChecker<'_>,
) -> Option<(JobRef, Labels)> {
    let Some(table) = entry.get_ref().as_table() else {
        let what = format!(
            "jobs: expected a table, found {}; write [[jobs]], and below it job = \"diff/1234\"",
            value::type_name(entry.get_ref())
        );
        checker.error(entry.span().start, what);
        return None;
    };
    let mut job = None;
    let mut labels = Labels::new();
    for (name, value) in table {
        let start = value.span().start;
        match name.get_ref().as_ref() {
            "job" => {
                job = Some(match value.get_ref().as_str() {
                    Some(text) => text.parse().map_err(|e| invalid_job(text, &e)),
                    None => Err("expected a string such as \"diff/1234\"".to_owned()),
                });
                if let Some(Err(what)) = &job {
                    checker.error(start, format!("jobs.job: {what}"));
                }
            }
            "labels" => labels = labels_from_file(value, checker),
            _ => checker.unknown_key("jobs", name),
        }
    }
    if job.is_none() {
        let what = "jobs.job is missing; add a line such as job = \"diff/1234\"";
        checker.error(entry.span().start, what);
    }
    Some((job?.ok()?, labels))
}

fn labels_from_file(value: &Spanned<DeValue<'_>>, checker: &mut FileChecker<'_>) -> Labels {
    let mut labels = Labels::new();
    let Some(table) = value.get_ref().as_table() else {
        let what = "jobs.labels: expected a table such as { build = \"8812\" }";
        checker.error(value.span().start, what);
        return labels;
    };
    for (name, value) in table {
        let result = match value.get_ref().as_str() {
            Some(text) => validate_label(name.get_ref(), text),
            None => Err(format!(
                "expected a string in quotes such as \"8812\", found {}",
                value::type_name(value.get_ref())
            )),
        };
        match result {
            Ok((name, value)) => drop(labels.insert(name, value)),
            Err(what) => checker.error(value.span().start, format!("jobs.labels: {what}")),
        }
    }
    labels
}

/// Of two labels with one name, the last wins.
pub(super) fn labels_from_command_line(texts: &[String], errors: &mut Vec<ConfigError>) -> Labels {
    let mut labels = Labels::new();
    for text in texts {
        let result = match text.split_once('=') {
            Some((name, value)) => validate_label(name, value),
            None => Err(format!(
                "expected NAME=VALUE such as build=8812, found {}",
                quoted(text)
            )),
        };
        match result {
            Ok((name, value)) => drop(labels.insert(name, value)),
            Err(what) => errors.push(ConfigError::new(Origin::Flag("--label"), what)),
        }
    }
    labels
}
