//! Hooks of the file: `[[hooks]]`. [`super::on_event`] has those of the command line.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use super::env::Env;
use super::hook_env::{assignment, environment, variable};
use super::hook_keys::{
    MAX_RUNNING, MAX_RUNNING_RANGE, RETRIES, RETRIES_RANGE, RUN_TIMEOUT, TIMEOUT_RANGE,
    WEBHOOK_TIMEOUT,
};
use super::program::{self, TrustedOwners};
use super::validate::FileChecker;
use super::value;
use super::webhook;
use crate::hooks::{HookAction, HookSpec};
use forgewatch_core::delivery::HookRules;
use forgewatch_core::event::ALL_JOB_EVENTS;
use forgewatch_core::event::EventType;
use forgewatch_core::job::JobKind;
use forgewatch_core::quote::quoted;
use forgewatch_core::suggest::nearest;

/// Checks programs and secrets too, so that errors appear at startup rather than at the first event.
pub(super) fn from_file(
    value: &Spanned<DeValue<'_>>,
    env: &Env,
    checker: &mut FileChecker<'_>,
) -> Vec<HookSpec> {
    let mut hooks: Vec<HookSpec> = Vec::new();
    let mut names = BTreeSet::new();
    let Some(entries) = value.get_ref().as_array() else {
        checker.error(
            value.span().start,
            "hooks: expected an array of tables; write [[hooks]], in double brackets",
        );
        return hooks;
    };
    for entry in entries {
        let start = entry.span().start;
        let Some(table) = entry.get_ref().as_table() else {
            let what = format!(
                "hooks: expected a table, found {}; write [[hooks]], and below it name, on, and run or webhook",
                value::type_name(entry.get_ref())
            );
            checker.error(start, what);
            continue;
        };
        let before = checker.errors.len();
        let entry = HookDraft::read(start, table, env, checker);
        if let Some(name) = &entry.name
            && !names.insert(name.clone())
        {
            let what = format!(
                "hooks.name: duplicate hook name {}; each hook needs its own name",
                quoted(name)
            );
            checker.error(start, what);
        }
        if checker.errors.len() == before {
            hooks.extend(entry.finish(env));
        }
    }
    hooks
}

/// The valid values of one `[[hooks]]` table.
#[derive(Default)]
struct HookDraft {
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

impl HookDraft {
    /// Keeps valid values and reports all others.
    fn read(start: usize, table: &DeTable<'_>, env: &Env, checker: &mut FileChecker<'_>) -> Self {
        let mut hook = Self::default();
        for (name, value) in table {
            if !hook.set(name.get_ref(), value, env, checker) {
                checker.unknown_key("hooks", name);
            }
        }
        for (key, example) in [("name", "\"next-step\""), ("on", "[\"job.completed\"]")] {
            if !table.contains_key(key) {
                let what = format!("hooks.{key} is missing; add a line such as {key} = {example}");
                checker.error(start, what);
            }
        }
        for what in conflicts(table) {
            checker.error(start, format!("hooks: {what}"));
        }
        hook
    }

    /// Returns false for an unknown key.
    fn set(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        env: &Env,
        checker: &mut FileChecker<'_>,
    ) -> bool {
        let (folder, owner) = (checker.folder().to_owned(), checker.owner());
        let found = value.get_ref();
        let mut reader = KeyReader { key, checker };
        match key {
            "name" => self.name = reader.ok(value, text(found).and_then(name)),
            "on" => {
                self.on = reader
                    .array(value, event_type)
                    .and_then(|on| reader.non_empty(value, on))
            }
            "kinds" => self.kinds = reader.array(value, kind),
            "run" => {
                self.run = reader
                    .array(value, |word| Ok(word.to_owned()))
                    .and_then(|words| reader.ok(value, command(words, &folder, env, Some(owner))));
            }
            "webhook" => {
                let url = text(found).and_then(|url| webhook::url(&url));
                self.webhook = reader.ok(value, url);
            }
            "timeout" => {
                let (min, max) = TIMEOUT_RANGE;
                let timeout = text(found).and_then(|t| value::duration(&t, min, max, "5m"));
                self.timeout = reader.ok(value, timeout);
            }
            "retries" => {
                let (min, max) = (*RETRIES_RANGE.start(), *RETRIES_RANGE.end());
                let retries = count(found, u64::from(min), u64::from(max));
                self.retries = reader.ok(value, retries).map(|n| n as u32);
            }
            "max_running" => {
                let (min, max) = (*MAX_RUNNING_RANGE.start(), *MAX_RUNNING_RANGE.end());
                let running = count(found, min as u64, max as u64);
                self.max_running = reader.ok(value, running).map(|n| n as usize);
            }
            "env" => self.env = reader.variables(value),
            "pass_env" => {
                let names = reader.array(value, |name| variable(name.to_owned()));
                self.pass_env = names.unwrap_or_default();
            }
            "secret_files" => {
                let secrets = reader.array(value, |file| webhook::secret(&folder, file));
                self.secrets = secrets.unwrap_or_default();
            }
            _ => return false,
        }
        true
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
            rules: HookRules {
                name: self.name?.into(),
                on: self.on?,
                kinds: self.kinds,
                retries: self.retries.unwrap_or(RETRIES),
                max_running: self.max_running.unwrap_or(MAX_RUNNING),
            },
            action,
            timeout: self.timeout.unwrap_or(timeout),
        })
    }
}

/// Reads the value of one key and reports its errors.
struct KeyReader<'a, 'b> {
    key: &'a str,
    checker: &'a mut FileChecker<'b>,
}

impl KeyReader<'_, '_> {
    fn ok<T, V>(&mut self, place: &Spanned<V>, result: Result<T, String>) -> Option<T> {
        result
            .map_err(|what| {
                let what = format!("hooks.{}: {what}", self.key);
                self.checker.error(place.span().start, what);
            })
            .ok()
    }

    /// Parses every string of an array. None if any item is invalid.
    fn array<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let wrong_type = |found: &DeValue<'_>| {
            let found = value::type_name(found);
            format!("expected an array of strings such as [\"one\", \"two\"], found {found}")
        };
        let items = value.get_ref().as_array().ok_or(value);
        let items = items.map_err(|value| wrong_type(value.get_ref()));
        let items = self.ok(value, items)?;
        let one = |item: &Spanned<DeValue<'_>>| {
            let text = text(item.get_ref()).map_err(|_| wrong_type(item.get_ref()));
            self.ok(item, text.and_then(|text| parse(&text)))
        };
        // Parses all items before it stops, so that every error is reported.
        let parsed: Vec<Option<T>> = items.iter().map(one).collect();
        parsed.into_iter().collect()
    }

    fn non_empty<T>(&mut self, value: &Spanned<DeValue<'_>>, list: Vec<T>) -> Option<Vec<T>> {
        let empty = || "the list is empty; name an event type such as \"job.completed\"".to_owned();
        self.ok(value, (!list.is_empty()).then_some(list).ok_or_else(empty))
    }

    fn variables(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<(String, OsString)> {
        let wrong_type = || "expected a table such as { STAGE = \"live\" }".to_owned();
        let table = value.get_ref().as_table().ok_or_else(wrong_type);
        let pairs = self.ok(value, table).into_iter().flatten();
        pairs
            .filter_map(|(name, value)| self.ok(value, assignment(name.get_ref(), value.get_ref())))
            .collect()
    }
}

/// Errors about keys that do not go together.
fn conflicts(table: &DeTable<'_>) -> Vec<String> {
    let has = |key: &str| table.contains_key(key);
    let unused = |keys: &[&str], with: &str| {
        let set = keys.iter().filter(|key| has(key));
        set.map(|key| format!("{key} has no effect with {with}; remove it"))
            .collect::<Vec<_>>()
    };
    match (has("run"), has("webhook")) {
        (true, true) => vec!["run and webhook cannot be combined; write two hooks".to_owned()],
        (false, false) => {
            let what = "run or webhook is missing; add a line such as run = [\"/usr/local/libexec/create-diff\"]";
            vec![what.to_owned()]
        }
        (true, false) => unused(&["secret_files"], "run"),
        (false, true) => {
            let mut errors = unused(&["env", "pass_env"], "webhook");
            if !has("secret_files") {
                let what = "webhook needs secret_files to sign events; add a line such as secret_files = [\"webhook.secret\"]";
                errors.push(what.to_owned());
            }
            errors
        }
    }
}

/// The program's absolute path and its arguments. `owner` is the owner of the file that names it.
pub(super) fn command(
    words: Vec<String>,
    folder: &Path,
    env: &Env,
    owner: Option<u32>,
) -> Result<(std::path::PathBuf, Vec<String>), String> {
    if words.iter().any(|word| word.contains('\0')) {
        return Err("a command cannot contain a NUL byte".to_owned());
    }
    let mut words = words.into_iter();
    let name = words.next().unwrap_or_default();
    let trust = owner.map(TrustedOwners::of);
    let program = program::find(&name, folder, env.for_hook("PATH"), trust.as_ref())?;
    Ok((program, words.collect()))
}

pub(super) fn event_type(name: &str) -> Result<String, String> {
    let known = || EventType::NAMES.into_iter().chain([ALL_JOB_EVENTS]);
    if known().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let hint = nearest(name, known()).map_or_else(
        || format!("use one of {}", known().collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean {near}?"),
    );
    Err(format!("unknown event type {}; {hint}", quoted(name)))
}

fn kind(word: &str) -> Result<JobKind, String> {
    let found = JobKind::ALL.into_iter().find(|kind| kind.as_str() == word);
    found.ok_or_else(|| format!("expected \"diff\" or \"update\", found {}", quoted(word)))
}

fn name(text: String) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.len() > 63 || !text.chars().all(good) {
        return Err(format!(
            "invalid hook name {}: use up to 63 letters, digits, '.', '_' or '-'",
            quoted(&text)
        ));
    }
    Ok(text)
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| {
        format!(
            "expected a string in quotes, found {}",
            value::type_name(value)
        )
    })
}

fn count(value: &DeValue<'_>, min: u64, max: u64) -> Result<u64, String> {
    let written = value::integer(value)
        .ok_or_else(|| format!("expected a whole number, found {}", value::type_name(value)))?;
    value::count(&written, min, max)
}
