//! The hooks of the file: `[[hooks]]`. Those of the command line are in [`super::on_event`].

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use super::check::Checked;
use super::env::Env;
use super::error::quoted;
use super::hook_env::{environment, variable, variables};
use super::hook_keys::{
    MAX_RUNNING, MAX_RUNNING_SPAN, RETRIES, RETRIES_SPAN, RUN_TIMEOUT, TIMEOUT_SPAN,
    WEBHOOK_TIMEOUT,
};
use super::nearest::nearest;
use super::program::{self, Trust};
use super::read;
use super::settings::{HookAction, HookSpec};
use super::webhook;
use crate::core::event::EventType;
use crate::core::job::JobKind;

/// The type that stands for all events of jobs.
pub(crate) const ALL_OF_JOBS: &str = "job.*";
/// The file's `[[hooks]]`. Programs and secrets are looked at here, so that a mistake is told before anything
/// depends on it.
pub(super) fn from_file(
    value: &Spanned<DeValue<'_>>,
    env: &Env,
    checked: &mut Checked<'_>,
) -> Vec<HookSpec> {
    let mut hooks: Vec<HookSpec> = Vec::new();
    let Some(entries) = value.get_ref().as_array() else {
        checked.error(
            value.span().start,
            "hooks: a hook is a table of its own; write [[hooks]], in two pairs of brackets",
        );
        return hooks;
    };
    for entry in entries {
        let start = entry.span().start;
        let Some(table) = entry.get_ref().as_table() else {
            let what = format!(
                "hooks: {} is no hook; write [[hooks]], and under it name, on, and run or webhook",
                read::type_name(entry.get_ref())
            );
            checked.error(start, what);
            continue;
        };
        let Some(hook) = Entry::read(start, table, env, checked) else {
            continue;
        };
        if hooks.iter().any(|other| other.name == hook.name) {
            let what = format!(
                "hooks.name: there is another hook {}; each needs a name of its own",
                quoted(&hook.name)
            );
            checked.error(start, what);
            continue;
        }
        hooks.push(hook);
    }
    hooks
}

/// One table while it is read.
#[derive(Default)]
struct Entry {
    name: Option<String>,
    on: Option<Vec<String>>,
    kinds: Option<Vec<JobKind>>,
    run: Option<(std::path::PathBuf, Vec<String>)>,
    webhook: Option<Url>,
    timeout: Option<Duration>,
    retries: Option<u32>,
    max_running: Option<usize>,
    env: Vec<(String, OsString)>,
    pass_env: Vec<String>,
    secrets: Vec<SecretString>,
}

impl Entry {
    /// The hook, if nothing is wrong with it.
    fn read(
        start: usize,
        table: &DeTable<'_>,
        env: &Env,
        checked: &mut Checked<'_>,
    ) -> Option<HookSpec> {
        let before = checked.errors.len();
        let mut entry = Self::default();
        for (name, value) in table {
            let key = name.get_ref().as_ref();
            match entry.take(key, value.get_ref(), env, checked) {
                Some(Ok(())) => {}
                Some(Err(what)) => {
                    checked.error(value.span().start, format!("hooks.{key}: {what}"));
                }
                None => checked.unknown_key("hooks", name),
            }
        }
        for (key, example) in [("name", "\"next-step\""), ("on", "[\"job.completed\"]")] {
            if !table.contains_key(key) {
                let what = format!("hooks.{key} is missing; write e.g. {key} = {example}");
                checked.error(start, what);
            }
        }
        if let Some(what) = contradiction(table) {
            checked.error(start, format!("hooks: {what}"));
        }
        if checked.errors.len() > before {
            return None;
        }
        entry.finish(env)
    }

    /// Takes one key over; None where there is no such key.
    fn take(
        &mut self,
        key: &str,
        value: &DeValue<'_>,
        env: &Env,
        checked: &Checked<'_>,
    ) -> Option<Result<(), String>> {
        let folder = checked.folder();
        Some(match key {
            "name" => text(value).and_then(name).map(|v| self.name = Some(v)),
            "on" => texts(value).and_then(types).map(|v| self.on = Some(v)),
            "kinds" => texts(value).and_then(kinds).map(|v| self.kinds = Some(v)),
            "run" => texts(value)
                .and_then(|words| command(words, folder, env, Some(checked.owner())))
                .map(|v| self.run = Some(v)),
            "webhook" => text(value)
                .and_then(|url| webhook::url(&url))
                .map(|v| self.webhook = Some(v)),
            "timeout" => text(value)
                .and_then(|t| read::duration(&t, TIMEOUT_SPAN.0, TIMEOUT_SPAN.1, "5m"))
                .map(|v| self.timeout = Some(v)),
            "retries" => count(
                value,
                u64::from(*RETRIES_SPAN.start()),
                u64::from(*RETRIES_SPAN.end()),
            )
            .map(|n| self.retries = Some(n as u32)),
            "max_running" => count(
                value,
                *MAX_RUNNING_SPAN.start() as u64,
                *MAX_RUNNING_SPAN.end() as u64,
            )
            .map(|n| self.max_running = Some(n as usize)),
            "env" => variables(value).map(|v| self.env = v),
            "pass_env" => texts(value)
                .and_then(|names| names.into_iter().map(variable).collect())
                .map(|v| self.pass_env = v),
            "secret_files" => texts(value)
                .and_then(|files| {
                    files
                        .iter()
                        .map(|file| webhook::secret(folder, file))
                        .collect()
                })
                .map(|v| self.secrets = v),
            _ => return None,
        })
    }

    fn finish(self, env: &Env) -> Option<HookSpec> {
        let (action, timeout) = match (self.run, self.webhook) {
            (Some((program, args)), _) => {
                let env = environment(env, &self.pass_env, self.env);
                (HookAction::Run { program, args, env }, RUN_TIMEOUT)
            }
            (None, Some(url)) => {
                let secrets = self.secrets;
                (HookAction::Webhook { url, secrets }, WEBHOOK_TIMEOUT)
            }
            (None, None) => return None,
        };
        Some(HookSpec {
            name: self.name?.into(),
            on: self.on?,
            kinds: self.kinds,
            action,
            timeout: self.timeout.unwrap_or(timeout),
            retries: self.retries.unwrap_or(RETRIES),
            max_running: self.max_running.unwrap_or(MAX_RUNNING),
        })
    }
}

/// What keys say that do not go together.
fn contradiction(table: &DeTable<'_>) -> Option<String> {
    let has = |key: &str| table.contains_key(key);
    let strange = |keys: &[&str], with: &str| {
        let found = keys.iter().find(|key| has(key))?;
        Some(format!("{found} means nothing to {with}; take it out"))
    };
    match (has("run"), has("webhook")) {
        (true, true) => Some("both run and webhook; make two hooks of it".to_owned()),
        (false, false) => {
            let what =
                "neither run nor webhook; write e.g. run = [\"/usr/local/libexec/create-diff\"]";
            Some(what.to_owned())
        }
        (true, false) => strange(&["secret_files"], "a program"),
        (false, true) if !has("secret_files") => {
            let what = "a webhook is signed and needs secret_files; write e.g. secret_files = [\"webhook.secret\"]";
            Some(what.to_owned())
        }
        (false, true) => strange(&["env", "pass_env"], "a webhook"),
    }
}

/// The program that these words name, absolute, and its arguments. `owner`: of the file they stand in.
pub(super) fn command(
    words: Vec<String>,
    folder: &Path,
    env: &Env,
    owner: Option<u32>,
) -> Result<(std::path::PathBuf, Vec<String>), String> {
    if words.iter().any(|word| word.contains('\0')) {
        return Err("no command holds a zero byte; take it out".to_owned());
    }
    let mut words = words.into_iter();
    let name = words.next().unwrap_or_default();
    let trust = owner.map(Trust::of);
    let program = program::find(&name, folder, env.for_hook("PATH"), trust.as_ref())?;
    Ok((program, words.collect()))
}

/// Types of events, each of which there is.
pub(super) fn types(names: Vec<String>) -> Result<Vec<String>, String> {
    if names.is_empty() {
        return Err("the list is empty; write e.g. [\"job.completed\"]".to_owned());
    }
    let known = || EventType::NAMES.into_iter().chain([ALL_OF_JOBS]);
    for name in &names {
        if known().all(|known| known != name) {
            let hint = nearest(name, known()).map_or_else(
                || "see docs/events.md for all of them".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            return Err(format!("{} is no type of event; {hint}", quoted(name)));
        }
    }
    Ok(names)
}

fn kinds(words: Vec<String>) -> Result<Vec<JobKind>, String> {
    let kind = |word: String| {
        let found = JobKind::ALL.into_iter().find(|kind| kind.as_str() == word);
        found.ok_or_else(|| format!("{} is neither \"diff\" nor \"update\"", quoted(&word)))
    };
    words.into_iter().map(kind).collect()
}

fn name(text: String) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.len() > 63 || !text.chars().all(good) {
        return Err(format!(
            "{} is no name of a hook; up to 63 letters, digits and any of . _ - would do",
            quoted(&text)
        ));
    }
    Ok(text)
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("{} is not a text in quotes", read::type_name(value)))
}

fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let wrong = |found| format!("{found} is not an array of texts; write e.g. [\"one\", \"two\"]");
    let items = value
        .as_array()
        .ok_or_else(|| wrong(read::type_name(value)))?;
    items
        .iter()
        .map(|item| text(item.get_ref()).map_err(|_| wrong(read::type_name(item.get_ref()))))
        .collect()
}

fn count(value: &DeValue<'_>, min: u64, max: u64) -> Result<u64, String> {
    let written = read::integer(value)
        .ok_or_else(|| format!("{} is not a whole number", read::type_name(value)))?;
    read::count(&written, min, max)
}
