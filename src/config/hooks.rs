//! The hooks of the file: `[[hooks]]`. Those of the command line are in [`super::on_event`].

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
    MAX_RUNNING, MAX_RUNNING_SPAN, RETRIES, RETRIES_SPAN, RUN_TIMEOUT, TIMEOUT_SPAN,
    WEBHOOK_TIMEOUT,
};
use super::program::{self, TrustedOwners};
use super::validate::FileChecker;
use super::value;
use super::webhook;
use crate::hooks::HookAction;
use crate::hooks::HookSpec;
use forgewatch_core::event::ALL_OF_JOBS;
use forgewatch_core::event::EventType;
use forgewatch_core::job::JobKind;
use forgewatch_core::quote::quoted;
use forgewatch_core::suggest::nearest;

/// The file's `[[hooks]]`. Programs and secrets are looked at here, so that a mistake is told before anything
/// depends on it.
pub(super) fn from_file(
    value: &Spanned<DeValue<'_>>,
    env: &Env,
    checked: &mut FileChecker<'_>,
) -> Vec<HookSpec> {
    let mut hooks: Vec<HookSpec> = Vec::new();
    let mut names = BTreeSet::new();
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
                value::type_name(entry.get_ref())
            );
            checked.error(start, what);
            continue;
        };
        let before = checked.errors.len();
        let entry = HookDraft::read(start, table, env, checked);
        if let Some(name) = &entry.name
            && !names.insert(name.clone())
        {
            let what = format!(
                "hooks.name: there is another hook {}; each needs a name of its own",
                quoted(name)
            );
            checked.error(start, what);
        }
        if checked.errors.len() == before {
            hooks.extend(entry.finish(env));
        }
    }
    hooks
}

/// One table while it is read: what was good in it.
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
    /// Takes what is good; all else is told.
    fn read(start: usize, table: &DeTable<'_>, env: &Env, checked: &mut FileChecker<'_>) -> Self {
        let mut entry = Self::default();
        for (name, value) in table {
            if !entry.take(name.get_ref(), value, env, checked) {
                checked.unknown_key("hooks", name);
            }
        }
        for (key, example) in [("name", "\"next-step\""), ("on", "[\"job.completed\"]")] {
            if !table.contains_key(key) {
                let what = format!("hooks.{key} is missing; write e.g. {key} = {example}");
                checked.error(start, what);
            }
        }
        for what in contradictions(table) {
            checked.error(start, format!("hooks: {what}"));
        }
        entry
    }

    /// Takes one key over; false where there is no such key.
    fn take(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        env: &Env,
        checked: &mut FileChecker<'_>,
    ) -> bool {
        let (folder, owner) = (checked.folder().to_owned(), checked.owner());
        let found = value.get_ref();
        let mut at = KeyReader { key, checked };
        match key {
            "name" => self.name = at.good(value, text(found).and_then(name)),
            "on" => self.on = at.each(value, event_type).and_then(|on| at.some(value, on)),
            "kinds" => self.kinds = at.each(value, kind),
            "run" => {
                self.run = at
                    .each(value, |word| Ok(word.to_owned()))
                    .and_then(|words| at.good(value, command(words, &folder, env, Some(owner))));
            }
            "webhook" => {
                let url = text(found).and_then(|url| webhook::url(&url));
                self.webhook = at.good(value, url);
            }
            "timeout" => {
                let (min, max) = TIMEOUT_SPAN;
                let timeout = text(found).and_then(|t| value::duration(&t, min, max, "5m"));
                self.timeout = at.good(value, timeout);
            }
            "retries" => {
                let (min, max) = (*RETRIES_SPAN.start(), *RETRIES_SPAN.end());
                let retries = count(found, u64::from(min), u64::from(max));
                self.retries = at.good(value, retries).map(|n| n as u32);
            }
            "max_running" => {
                let (min, max) = (*MAX_RUNNING_SPAN.start(), *MAX_RUNNING_SPAN.end());
                let running = count(found, min as u64, max as u64);
                self.max_running = at.good(value, running).map(|n| n as usize);
            }
            "env" => self.env = at.variables(value),
            "pass_env" => {
                let names = at.each(value, |name| variable(name.to_owned()));
                self.pass_env = names.unwrap_or_default();
            }
            "secret_files" => {
                let secrets = at.each(value, |file| webhook::secret(&folder, file));
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

/// A key while its value is read: what is wrong is told, and what is good comes back.
struct KeyReader<'a, 'b> {
    key: &'a str,
    checked: &'a mut FileChecker<'b>,
}

impl KeyReader<'_, '_> {
    fn good<T, V>(&mut self, place: &Spanned<V>, read: Result<T, String>) -> Option<T> {
        read.map_err(|what| {
            let what = format!("hooks.{}: {what}", self.key);
            self.checked.error(place.span().start, what);
        })
        .ok()
    }

    /// An array of texts, each read like this. None where anything in it is wrong.
    fn each<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let wrong = |found: &DeValue<'_>| {
            let found = value::type_name(found);
            format!("{found} is not an array of texts; write e.g. [\"one\", \"two\"]")
        };
        let items = value.get_ref().as_array().ok_or(value);
        let items = items.map_err(|value| wrong(value.get_ref()));
        let items = self.good(value, items)?;
        let one = |item: &Spanned<DeValue<'_>>| {
            let text = text(item.get_ref()).map_err(|_| wrong(item.get_ref()));
            self.good(item, text.and_then(|text| read(&text)))
        };
        // All of them first: a mistake in one says nothing of the next.
        let good: Vec<Option<T>> = items.iter().map(one).collect();
        good.into_iter().collect()
    }

    /// A list with something in it.
    fn some<T>(&mut self, value: &Spanned<DeValue<'_>>, list: Vec<T>) -> Option<Vec<T>> {
        let empty = || "the list is empty; write e.g. [\"job.completed\"]".to_owned();
        self.good(value, (!list.is_empty()).then_some(list).ok_or_else(empty))
    }

    /// A table of variables with their texts.
    fn variables(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<(String, OsString)> {
        let wrong = || "write a table of texts, e.g. { STAGE = \"live\" }".to_owned();
        let table = value.get_ref().as_table().ok_or_else(wrong);
        let pairs = self.good(value, table).into_iter().flatten();
        pairs
            .filter_map(|(name, value)| {
                self.good(value, assignment(name.get_ref(), value.get_ref()))
            })
            .collect()
    }
}

/// What keys say that do not go together.
fn contradictions(table: &DeTable<'_>) -> Vec<String> {
    let has = |key: &str| table.contains_key(key);
    let strange = |keys: &[&str], with: &str| {
        let found = keys.iter().filter(|key| has(key));
        let told = found.map(|key| format!("{key} means nothing to {with}; take it out"));
        told.collect::<Vec<_>>()
    };
    match (has("run"), has("webhook")) {
        (true, true) => vec!["both run and webhook; make two hooks of it".to_owned()],
        (false, false) => {
            let what =
                "neither run nor webhook; write e.g. run = [\"/usr/local/libexec/create-diff\"]";
            vec![what.to_owned()]
        }
        (true, false) => strange(&["secret_files"], "a program"),
        (false, true) => {
            let mut told = strange(&["env", "pass_env"], "a webhook");
            if !has("secret_files") {
                let what = "a webhook is signed and needs secret_files; write e.g. secret_files = [\"webhook.secret\"]";
                told.push(what.to_owned());
            }
            told
        }
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
    let trust = owner.map(TrustedOwners::of);
    let program = program::find(&name, folder, env.for_hook("PATH"), trust.as_ref())?;
    Ok((program, words.collect()))
}

/// A type of events that there is.
pub(super) fn event_type(name: &str) -> Result<String, String> {
    let known = || EventType::NAMES.into_iter().chain([ALL_OF_JOBS]);
    if known().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let hint = nearest(name, known()).map_or_else(
        || "see docs/events.md for all of them".to_owned(),
        |near| format!("did you mean {near}?"),
    );
    Err(format!("{} is no type of event; {hint}", quoted(name)))
}

fn kind(word: &str) -> Result<JobKind, String> {
    let found = JobKind::ALL.into_iter().find(|kind| kind.as_str() == word);
    found.ok_or_else(|| format!("{} is neither \"diff\" nor \"update\"", quoted(word)))
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
        .ok_or_else(|| format!("{} is not a text in quotes", value::type_name(value)))
}

fn count(value: &DeValue<'_>, min: u64, max: u64) -> Result<u64, String> {
    let written = value::integer(value)
        .ok_or_else(|| format!("{} is not a whole number", value::type_name(value)))?;
    value::count(&written, min, max)
}
