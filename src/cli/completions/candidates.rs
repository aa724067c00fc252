//! The values that completions offer: what the daemon knows, the hooks of the configuration file, types of events.
//!
//! Labels are text of others, and bash inserts a candidate as it is: only words without a meaning in a shell are offered.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, Command, ValueEnum, ValueHint};
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};

use crate::cli::client::daemon_address;
use crate::config::settings::ReportFormat;
use crate::config::{self, DaemonFlags, Env};
use crate::control::client::{self, ClientError, DaemonAddress};
use crate::control::protocol::{DeliveryStatus, JobSummary, ListRequest, Request, Response};
use crate::report::sanitize::sanitized;
use forgewatch_core::event::{EventType, type_patterns};
use forgewatch_core::job::JobKind;

/// Time for the daemon's responses: the user waits.
const TIME_LIMIT: Duration = Duration::from_millis(500);
/// The most bytes of a description.
const DESCRIPTION: usize = 200;

/// Where values come from, by the words of the line.
#[derive(Clone)]
pub(super) struct CandidateSource {
    /// None if the words name none that is valid.
    daemon: Option<DaemonAddress>,
    hooks: Vec<String>,
}

impl CandidateSource {
    pub(super) fn of(words: &[OsString], env: &Env) -> Self {
        let config = option(words, &["--config", "-c"]);
        let [socket, server, token_file] =
            ["--socket", "--server", "--token-file"].map(|name| option(words, &[name]));
        let flags = DaemonFlags {
            socket: socket.as_deref(),
            server: server.as_deref().and_then(Path::to_str),
            token_file: token_file.as_deref(),
            config: config.as_deref(),
        };
        let at = config::find_daemon(&flags, env).ok();
        Self {
            daemon: at.and_then(|at| daemon_address(&at).ok()),
            hooks: config::hook_names(config.as_deref(), env),
        }
    }

    fn jobs(&self, ended: bool) -> Vec<JobSummary> {
        let Some(daemon) = self.daemon.clone() else {
            return Vec::new();
        };
        let list = ListRequest {
            all: ended,
            ..ListRequest::default()
        };
        let mut jobs = collect(move |found| {
            let _ = client::collect_list(list, |request| match client::call(&daemon, request)? {
                Response::Jobs(page) => {
                    for job in page.jobs.iter().cloned() {
                        let _ = found.send(job);
                    }
                    Ok(page)
                }
                _ => Err(ClientError::ConnectionLost),
            });
        });
        jobs.sort_by_key(|job| job.job);
        jobs.dedup_by_key(|job| job.job);
        jobs
    }

    fn job_names(&self, ended: bool) -> Vec<CompletionCandidate> {
        let jobs = self.jobs(ended).into_iter();
        jobs.filter_map(|job| candidate(&job.job.to_string(), &description(&job)))
            .collect()
    }

    /// IDs for a list separated by commas.
    fn job_ids(&self, kind: JobKind) -> Vec<CompletionCandidate> {
        let jobs = self.jobs(false).into_iter();
        jobs.filter(|job| job.job.kind == kind)
            .filter_map(|job| candidate(&job.job.id.to_string(), &description(&job)))
            .collect()
    }

    fn labels(&self) -> Vec<CompletionCandidate> {
        let jobs = self.jobs(true).into_iter();
        let labels = jobs.flat_map(|job| job.labels);
        let labels: BTreeSet<_> = labels.collect();
        let label = |(name, value)| candidate(&format!("{name}={value}"), "");
        labels.into_iter().filter_map(label).collect()
    }

    fn failed_deliveries(&self) -> Vec<CompletionCandidate> {
        let Some(daemon) = self.daemon.clone() else {
            return Vec::new();
        };
        let deliveries = collect(move |found| {
            if let Ok(Response::Deliveries { deliveries, .. }) =
                client::call(&daemon, &Request::ListDeliveries)
            {
                for delivery in deliveries {
                    let _ = found.send(delivery);
                }
            }
        });
        let failed = deliveries
            .into_iter()
            .filter(|delivery| delivery.state == DeliveryStatus::Failed);
        failed
            .filter_map(|delivery| {
                let job = delivery.job.map(|job| format!(" of {job}"));
                let what = delivery.event_type + &job.unwrap_or_default();
                candidate(&delivery.id, &what)
            })
            .collect()
    }

    fn hooks(&self) -> Vec<CompletionCandidate> {
        let hooks = self.hooks.iter();
        hooks.filter_map(|name| candidate(name, "")).collect()
    }
}

/// Adds the values to the arguments that take them.
pub(super) fn with_candidates(command: Command, source: &CandidateSource) -> Command {
    let name = command.get_name().to_owned();
    command
        .mut_args(|arg| with_values(&name, arg, source))
        .mut_subcommands(|command| with_candidates(command, source))
}

fn with_values(command: &str, arg: Arg, source: &CandidateSource) -> Arg {
    let source = source.clone();
    let id = arg.get_id().as_str().to_owned();
    match (command, id.as_str()) {
        ("show" | "test" | "events", "job") => {
            arg.add(ArgValueCandidates::new(move || source.job_names(true)))
        }
        ("remove" | "wait", "names") => {
            arg.add(ArgValueCandidates::new(move || source.job_names(false)))
        }
        ("remove" | "wait", "diff") => arg.add(id_list(source, JobKind::Diff)),
        ("remove" | "wait", "update") => arg.add(id_list(source, JobKind::Update)),
        ("remove" | "wait", "image_version") => arg.add(id_list(source, JobKind::Version)),
        ("retry" | "discard", "id") => {
            arg.add(ArgValueCandidates::new(move || source.failed_deliveries()))
        }
        ("test", "name") => arg.add(ArgValueCandidates::new(move || source.hooks())),
        ("test", "event_type") => arg.add(ArgValueCandidates::new(|| {
            event_types(EventType::ALL.map(EventType::as_str), "")
        })),
        ("events", "types") => {
            arg.add(ArgValueCandidates::new(|| event_types(type_patterns(), "")))
        }
        (_, "on_events") => arg.add(assignment(|| event_types(type_patterns(), "="))),
        (_, "reports") => arg.add(assignment(report_formats)),
        (_, "labels") => arg.add(ArgValueCandidates::new(move || source.labels())),
        // The library would offer the current directory, too.
        _ if arg.get_value_hint() == ValueHint::AnyPath => arg.value_hint(ValueHint::FilePath),
        _ => arg,
    }
}

/// `NAME=FILE`: the names, then files.
fn assignment(
    names: impl Fn() -> Vec<CompletionCandidate> + Send + Sync + 'static,
) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| match split(current, '=') {
        Some((name, file)) => prefixed(&name, PathCompleter::file().complete(file.as_ref())),
        None => starting_with(names(), current),
    })
}

/// `ID,ID`: those that are not in the list yet.
fn id_list(source: CandidateSource, kind: JobKind) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let whole = || (String::new(), current.to_string_lossy().into_owned());
        let (before, last) = split(current, ',').unwrap_or_else(whole);
        let mut ids = starting_with(source.job_ids(kind), last.as_ref());
        ids.retain(|id| !before.split(',').any(|other| id.get_value() == other));
        prefixed(&before, ids)
    })
}

/// The part up to the last `separator`, and the part behind it.
fn split(current: &OsStr, separator: char) -> Option<(String, String)> {
    let (before, last) = current.to_str()?.rsplit_once(separator)?;
    Some((format!("{before}{separator}"), last.to_owned()))
}

fn prefixed(prefix: &str, candidates: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    let candidates = candidates.into_iter();
    candidates
        .map(|candidate| candidate.add_prefix(prefix))
        .collect()
}

fn starting_with(
    mut candidates: Vec<CompletionCandidate>,
    current: &OsStr,
) -> Vec<CompletionCandidate> {
    let current = current.as_encoded_bytes();
    candidates.retain(|candidate| {
        candidate
            .get_value()
            .as_encoded_bytes()
            .starts_with(current)
    });
    candidates
}

fn event_types(
    types: impl IntoIterator<Item = &'static str>,
    end: &str,
) -> Vec<CompletionCandidate> {
    let types = types.into_iter();
    types.map(|name| format!("{name}{end}").into()).collect()
}

fn report_formats() -> Vec<CompletionCandidate> {
    let formats = ReportFormat::value_variants().iter();
    let formats = formats.filter_map(ValueEnum::to_possible_value);
    formats
        .map(|format| format!("{}=", format.get_name()).into())
        .collect()
}

/// None for a word that has a meaning in a shell.
fn candidate(value: &str, description: &str) -> Option<CompletionCandidate> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/=,:@+%".contains(c);
    let description = sanitized(description, DESCRIPTION);
    let help = (!description.is_empty()).then(|| description.into());
    value
        .chars()
        .all(is_plain)
        .then(|| CompletionCandidate::new(value).help(help))
}

fn description(job: &JobSummary) -> String {
    let progress = job.progress.map(|percent| format!(" {percent}%"));
    job.state_or_outcome().to_owned() + &progress.unwrap_or_default()
}

/// What a thread has found within the time limit: a daemon that hangs must not hang the shell.
fn collect<T: Send + 'static>(find: impl FnOnce(Sender<T>) + Send + 'static) -> Vec<T> {
    let (found, values) = channel();
    let end = Instant::now() + TIME_LIMIT;
    thread::spawn(move || find(found));
    let next = || {
        let left = end.saturating_duration_since(Instant::now());
        values.recv_timeout(left).ok()
    };
    std::iter::from_fn(next).collect()
}

/// The value of an option on the line, by one of its names.
fn option(words: &[OsString], names: &[&str]) -> Option<PathBuf> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let value = |at: usize| {
        let (name, value) = words[at].split_once('=').unwrap_or((words[at], ""));
        if !names.contains(&name) {
            return None;
        }
        let value = if name == words[at] {
            words.get(at + 1).copied()?
        } else {
            value
        };
        Some(PathBuf::from(value))
    };
    (0..words.len()).rev().find_map(value)
}
