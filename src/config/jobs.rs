//! Which jobs: the command line's, or the file's. Each job once, where it was first named.

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
use forgewatch_core::label::label;
use forgewatch_core::quote::quoted;

/// The keys of `[[jobs]]`: a part of the table of [`super::keys`].
pub(super) const JOB_KEYS: &[Key] = &[
    Key {
        section: "jobs",
        name: "job",
        kind: ValueKind::Job,
        preset: KeyDefault::Required {
            example: "diff/1234",
        },
        flag: None,
        variable: None,
        doc: "A job to watch, when the command line names none.",
    },
    Key {
        section: "jobs",
        name: "labels",
        kind: ValueKind::Labels,
        preset: KeyDefault::Unset {
            example: "{ build = \"8812\" }",
            meaning: "none",
        },
        flag: None,
        variable: None,
        doc: "Told with every event of the job.",
    },
];

/// The user's labels of a job.
type Labels = BTreeMap<String, String>;

/// Jobs without their doubles, in the order they were first named.
#[derive(Default)]
struct JobList {
    jobs: Vec<JobSpec>,
    at: HashMap<JobRef, usize>,
}

impl JobList {
    /// Adds a job; one that is there already gets the labels it lacks. Returns the name of a label that says two
    /// things.
    fn add(&mut self, job: JobRef, labels: Labels) -> Option<String> {
        let at = *self.at.entry(job).or_insert(self.jobs.len());
        let Some(known) = self.jobs.get_mut(at) else {
            self.jobs.push(JobSpec { job, labels });
            return None;
        };
        let mut twice = None;
        for (name, value) in labels {
            let first = known
                .labels
                .entry(name.clone())
                .or_insert_with(|| value.clone());
            if *first != value {
                twice = Some(name);
            }
        }
        twice
    }
}

/// The command line's jobs: arguments, then `--diff`, `--update`, `--jobs-file`. None if it names none at all.
pub(super) fn from_command_line(
    given: &CommandLine,
    errors: &mut Vec<ConfigError>,
) -> Option<Vec<JobSpec>> {
    let mut list = JobList::default();
    for name in &given.jobs {
        match name.parse() {
            Ok(job) => drop(list.add(job, Labels::new())),
            Err(e) => errors.push(ConfigError::new(Origin::Flag("JOB"), no_job(name, &e))),
        }
    }
    let kinds = [
        ("--diff", JobKind::Diff, &given.diffs),
        ("--update", JobKind::Update, &given.updates),
    ];
    for (flag, kind, values) in kinds {
        for id in values.iter().flat_map(|value| value.split(',')) {
            match id.trim().parse::<JobId>() {
                Ok(id) => drop(list.add(JobRef { kind, id }, Labels::new())),
                Err(_) => errors.push(ConfigError::new(Origin::Flag(flag), no_id(id))),
            }
        }
    }
    if let Some(path) = &given.jobs_file {
        match list_of(given, path) {
            Ok(text) => from_list(&text, path, &mut list, errors),
            Err(e) => errors.push(e),
        }
    }
    let named = given.jobs.len() + given.diffs.len() + given.updates.len();
    (named > 0 || given.jobs_file.is_some()).then_some(list.jobs)
}

/// What the list at `path` says; standard input only the first time it is asked.
fn list_of<'a>(given: &'a CommandLine, path: &Path) -> Result<Cow<'a, str>, ConfigError> {
    if path != Path::new("-") {
        return file::jobs(path).map(Cow::Owned);
    }
    if let Some(text) = given.standard_input.get() {
        return Ok(Cow::Borrowed(text));
    }
    let text = file::jobs(path)?;
    Ok(Cow::Borrowed(given.standard_input.get_or_init(|| text)))
}

/// The end of a message about an ID that is none: u64's largest is the bound.
const ID_WOULD_DO: &str = "an ID is a whole number from 1 to 18446744073709551615";

/// Why a text is no ID.
fn no_id(text: &str) -> String {
    format!("{} is not an ID; {ID_WOULD_DO}", quoted(text))
}

/// Why `text`, the whole of what was written, is no job. Shortened: it can be a line of any file.
fn no_job(text: &str, error: &JobRefError) -> String {
    let text = quoted(text);
    match error {
        JobRefError::Form(_) => format!("{text} is not a job; write e.g. diff/1234 or update/77"),
        JobRefError::Id(_) => format!("{text} is not a job; {ID_WOULD_DO}"),
    }
}

/// One job a line; `#` starts a comment, blank lines are nothing.
fn from_list(text: &str, path: &Path, list: &mut JobList, errors: &mut Vec<ConfigError>) {
    let shown = if path == Path::new("-") {
        Path::new("standard input")
    } else {
        path
    };
    // Some editors begin a file with a byte order mark.
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
                let place = Origin::Place(shown.to_owned(), number, column);
                errors.push(ConfigError::new(place, no_job(name, &e)));
            }
        }
    }
}

/// The file's `[[jobs]]`.
pub(super) fn from_file(
    value: &Spanned<DeValue<'_>>,
    checked: &mut FileChecker<'_>,
) -> Vec<JobSpec> {
    let mut list = JobList::default();
    let Some(entries) = value.get_ref().as_array() else {
        checked.error(
            value.span().start,
            "jobs: a job is a table of its own; write [[jobs]], in two pairs of brackets",
        );
        return list.jobs;
    };
    for entry in entries {
        if let Some((job, labels)) = entry_of_file(entry, checked)
            && let Some(name) = list.add(job, labels)
        {
            let what = format!(
                "jobs.labels: {job} is listed before with another {}; leave one of them",
                quoted(&name)
            );
            checked.error(entry.span().start, what);
        }
    }
    list.jobs
}

fn entry_of_file(
    entry: &Spanned<DeValue<'_>>,
    checked: &mut FileChecker<'_>,
) -> Option<(JobRef, Labels)> {
    let Some(table) = entry.get_ref().as_table() else {
        let what = format!(
            "jobs: {} is no job; write [[jobs]], and under it job = \"diff/1234\"",
            value::type_name(entry.get_ref())
        );
        checked.error(entry.span().start, what);
        return None;
    };
    let mut job = None;
    let mut labels = Labels::new();
    for (name, value) in table {
        let start = value.span().start;
        match name.get_ref().as_ref() {
            "job" => {
                job = Some(match value.get_ref().as_str() {
                    Some(text) => text.parse().map_err(|e| no_job(text, &e)),
                    None => Err("write a text in quotes, e.g. \"diff/1234\"".to_owned()),
                });
                if let Some(Err(what)) = &job {
                    checked.error(start, format!("jobs.job: {what}"));
                }
            }
            "labels" => labels = labels_of_file(value, checked),
            _ => checked.unknown_key("jobs", name),
        }
    }
    if job.is_none() {
        let what = "jobs.job is missing; write e.g. job = \"diff/1234\"";
        checked.error(entry.span().start, what);
    }
    Some((job?.ok()?, labels))
}

fn labels_of_file(value: &Spanned<DeValue<'_>>, checked: &mut FileChecker<'_>) -> Labels {
    let mut labels = Labels::new();
    let Some(table) = value.get_ref().as_table() else {
        let what = "jobs.labels: write a table, e.g. { build = \"8812\" }";
        checked.error(value.span().start, what);
        return labels;
    };
    for (name, value) in table {
        let read = match value.get_ref().as_str() {
            Some(text) => label(name.get_ref(), text),
            None => Err(format!(
                "{} is not a text; put it in quotes, e.g. \"8812\"",
                value::type_name(value.get_ref())
            )),
        };
        match read {
            Ok((name, value)) => drop(labels.insert(name, value)),
            Err(what) => checked.error(value.span().start, format!("jobs.labels: {what}")),
        }
    }
    labels
}

/// The command line's `--label NAME=VALUE`s; of two with one name the last counts.
pub(super) fn labels_of_command_line(given: &[String], errors: &mut Vec<ConfigError>) -> Labels {
    let mut labels = Labels::new();
    for text in given {
        let read = match text.split_once('=') {
            Some((name, value)) => label(name, value),
            None => Err(format!(
                "{} is not NAME=VALUE; write e.g. build=8812",
                quoted(text)
            )),
        };
        match read {
            Ok((name, value)) => drop(labels.insert(name, value)),
            Err(what) => errors.push(ConfigError::new(Origin::Flag("--label"), what)),
        }
    }
    labels
}
