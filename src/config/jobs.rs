//! Jobs and their labels: the values of `[[jobs]]`, of arguments and of lists of jobs.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use toml::Spanned;
use toml::de::DeValue;

use super::error::{ConfigError, Origin};
use super::file::{self, KeyReader};
use forgewatch_core::job::{JobId, JobRef, JobRefError, JobSpec};
use forgewatch_core::user_input::{quoted, validate_label};

/// In bytes: about a million jobs.
const MAX_LIST: u64 = 16 << 20;

pub(super) type Labels = BTreeMap<String, String>;

#[derive(Default)]
pub(super) struct JobList {
    pub(super) jobs: Vec<JobSpec>,
    index: HashMap<JobRef, usize>,
}

impl JobList {
    /// Adds a job, or its labels to the same job. Returns the name of a label that has two different values.
    pub(super) fn add(&mut self, job: JobRef, labels: Labels) -> Option<String> {
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

#[derive(Default)]
pub(super) struct JobDraft {
    pub(super) job: Option<JobRef>,
    pub(super) labels: Labels,
}

pub(super) fn labels_from_file(
    value: &Spanned<DeValue<'_>>,
    reader: &mut KeyReader<'_, '_>,
) -> Labels {
    let labels = reader.table(value, "{ build = \"8812\" }", validate_label);
    labels.into_iter().collect()
}

pub(super) fn parse(text: &str) -> Result<JobRef, String> {
    text.parse().map_err(|error| invalid_job(text, &error))
}

const ID_RANGE: &str = "an ID is a whole number from 1 to 18446744073709551615";

pub(super) fn parse_id(text: &str) -> Result<JobId, String> {
    let invalid = |_| format!("invalid ID {}: {ID_RANGE}", quoted(text));
    text.trim().parse().map_err(invalid)
}

/// Quotes `text` shortened: it can be a line of any file.
fn invalid_job(text: &str, error: &JobRefError) -> String {
    let shown = quoted(text);
    match error {
        JobRefError::Form(_) if text.parse::<JobId>().is_ok() => {
            format!(
                "invalid job {shown}; did you mean diff/{text}, update/{text} or version/{text}?"
            )
        }
        JobRefError::Form(_) => {
            format!("invalid job {shown}: use a name such as diff/1234, update/77 or version/5")
        }
        JobRefError::Id(_) => format!("invalid job {shown}: {ID_RANGE}"),
    }
}

/// Reads a list of jobs for [`parse_list`]; `-` is standard input.
pub(super) fn read_list(path: &Path) -> Result<String, ConfigError> {
    let error = |what| ConfigError::new(Origin::File(path.to_owned()), what);
    if path == Path::new("-") {
        let origin = Origin::Flag("standard input");
        return file::bounded_text(Stdin, MAX_LIST).map_err(|w| ConfigError::new(origin, w));
    }
    let file = File::open(path).map_err(|e| {
        error(format!(
            "cannot read the file: {e}; name another file with --jobs-file"
        ))
    })?;
    file::bounded_text(file, MAX_LIST).map_err(error)
}

/// Standard input, unbuffered. A read waits even if another program has made the stream non-blocking.
struct Stdin;

impl Read for Stdin {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let stdin = rustix::stdio::stdin();
        loop {
            match rustix::io::read(stdin, &mut *bytes) {
                Err(Errno::AGAIN) => match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                },
                Err(Errno::INTR) => {}
                read => return Ok(read?),
            }
        }
    }
}

/// One job per line; `#` starts a comment, blank lines are ignored.
pub(super) fn parse_list(
    text: &str,
    path: &Path,
    list: &mut JobList,
    errors: &mut Vec<ConfigError>,
) {
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
