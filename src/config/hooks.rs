//! Hooks: the values of one `[[hooks]]` table or one `--on-event`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use super::env::{Env, variable};
use super::file::KeyReader;
use super::jobs::Labels;
use super::program::{self, TrustedOwners};
use super::script;
use super::webhook::{BodyFile, body_conflict};
use crate::hooks::{HookAction, HookProgram, HookSpec, HookWebhook};
use forgewatch_core::delivery::HookRules;
use forgewatch_core::event::type_pattern;
use forgewatch_core::format::Format;
use forgewatch_core::job::JobKind;
use forgewatch_core::user_input::quoted;

/// Default time limit of one attempt to run a program.
const RUN_TIMEOUT: Duration = Duration::from_mins(5);
/// Default time limit of one attempt to call a webhook.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
const ALWAYS_PASSED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// The variables that do not come from the event: always passed, named by `pass_env`, set by `env`. A later one
/// overrides an earlier one.
fn environment(
    env: &Env,
    pass: &[String],
    set: Vec<(String, OsString)>,
) -> Vec<(String, OsString)> {
    let passed = ALWAYS_PASSED
        .into_iter()
        .chain(pass.iter().map(String::as_str));
    let passed = passed.filter_map(|name| Some((name.to_owned(), env.for_hook(name)?.to_owned())));
    let mut environment: Vec<(String, OsString)> = Vec::new();
    for (name, value) in passed.chain(set) {
        environment.retain(|(other, _)| *other != name);
        environment.push((name, value));
    }
    environment
}

#[derive(Default)]
pub(super) struct HookDraft {
    pub(super) name: Option<String>,
    pub(super) on: Option<Vec<String>>,
    pub(super) kinds: Option<Vec<JobKind>>,
    pub(super) labels: Labels,
    pub(super) run: Option<(PathBuf, Vec<String>)>,
    pub(super) webhook: Option<Url>,
    /// The URL that is in a file.
    pub(super) secret_url: Option<Url>,
    pub(super) timeout: Option<Duration>,
    pub(super) retries: u32,
    pub(super) max_running: usize,
    pub(super) env: Vec<(String, OsString)>,
    pub(super) pass_env: Vec<String>,
    pub(super) secrets: Vec<SecretString>,
    pub(super) format: Option<&'static str>,
    pub(super) body: Option<BodyFile>,
}

impl HookDraft {
    /// None if a required key is missing.
    pub(super) fn finish(self, env: &Env, format: Format) -> Option<HookSpec> {
        let on = format.narrow(self.on?);
        let has_secret_url = self.secret_url.is_some();
        let (action, timeout) = match (self.run, self.webhook.or(self.secret_url)) {
            (Some((path, args)), _) => {
                let env = environment(env, &self.pass_env, self.env);
                (
                    HookAction::Run(HookProgram { path, args, env }),
                    RUN_TIMEOUT,
                )
            }
            (None, Some(url)) => {
                let webhook = HookWebhook {
                    url,
                    has_secret_url,
                    secrets: self.secrets,
                    format,
                    proxy: None,
                };
                (HookAction::Webhook(Box::new(webhook)), WEBHOOK_TIMEOUT)
            }
            (None, None) => return None,
        };
        Some(HookSpec {
            rules: HookRules {
                name: self.name?.into(),
                on,
                kinds: self.kinds,
                labels: self.labels,
                retries: self.retries,
                max_running: self.max_running,
            },
            action,
            timeout: self.timeout.unwrap_or(timeout),
        })
    }
}

pub(super) fn conflicts(table: &DeTable<'_>) -> Vec<String> {
    let has = |key: &str| table.contains_key(key);
    let unused = |keys: &[&str], with: &str| {
        let set = keys.iter().filter(|key| has(key));
        set.map(|key| format!("{key} has no effect with {with}; remove it"))
            .collect::<Vec<_>>()
    };
    let actions = ["run", "webhook", "webhook_file"].into_iter();
    match actions.filter(|key| has(key)).collect::<Vec<_>>()[..] {
        [] => {
            let what = "run, webhook or webhook_file is missing; add a line such as run = [\"/usr/local/libexec/create-diff\"]";
            vec![what.to_owned()]
        }
        ["run"] => unused(
            &["secret_files", "secret_env", "format", "body_file"],
            "run",
        ),
        [webhook] => {
            let mut errors = unused(&["env", "pass_env"], webhook);
            errors.extend(body_conflict(table));
            errors
        }
        ["run", webhook, ..] => {
            vec![format!(
                "run and {webhook} cannot be combined; write two hooks"
            )]
        }
        _ => vec!["webhook and webhook_file cannot be combined; keep one of them".to_owned()],
    }
}

pub(super) fn on(
    value: &Spanned<DeValue<'_>>,
    reader: &mut KeyReader<'_, '_>,
) -> Option<Vec<String>> {
    let on = reader.array(value, type_pattern)?;
    let empty = || "the list is empty; name an event type such as \"job.completed\"".to_owned();
    reader.ok(value, (!on.is_empty()).then_some(on).ok_or_else(empty))
}

pub(super) fn run(
    value: &Spanned<DeValue<'_>>,
    reader: &mut KeyReader<'_, '_>,
) -> Option<(PathBuf, Vec<String>)> {
    let words = reader.array(value, |word| Ok(word.to_owned()))?;
    let document = &reader.document;
    let owner = Some(document.owner());
    let command = command(words, document.folder(), document.env, owner);
    reader.ok(value, command)
}

/// The program's absolute path and its arguments. `owner` is the owner of the file that names it.
fn command(
    words: Vec<String>,
    folder: &Path,
    env: &Env,
    owner: Option<u32>,
) -> Result<(PathBuf, Vec<String>), String> {
    if words.iter().any(|word| word.contains('\0')) {
        return Err("a command cannot contain a NUL byte".to_owned());
    }
    let mut words = words.into_iter();
    let name = words.next().unwrap_or_default();
    let trust = owner.map(TrustedOwners::of);
    let path = env.for_hook("PATH");
    let program = program::find(&name, folder, path, trust.as_ref())?;
    script::check(&program, path)?;
    Ok((program, words.collect()))
}

pub(super) fn job_kind(word: &str) -> Result<JobKind, String> {
    let found = JobKind::ALL.into_iter().find(|kind| kind.as_str() == word);
    found.ok_or_else(|| {
        let found = quoted(word);
        format!("expected \"diff\", \"update\" or \"version\", found {found}")
    })
}

pub(super) fn name(text: &str) -> Result<&str, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.len() > 63 || !text.chars().all(good) {
        return Err(format!(
            "invalid hook name {}: use up to 63 letters, digits, '.', '_' or '-'",
            quoted(text)
        ));
    }
    Ok(text)
}

/// Parses an entry of `env`.
pub(super) fn assignment(name: &str, text: &str) -> Result<(String, OsString), String> {
    let name = variable(name)?;
    if text.contains('\0') {
        return Err(format!("{name}: a variable cannot contain a NUL byte"));
    }
    Ok((name.to_owned(), OsString::from(text)))
}

/// Parses one `--on-event` into `hook`. Err holds every error of `text`.
pub(super) fn on_event(text: &str, hook: &mut HookDraft, env: &Env) -> Result<(), Vec<String>> {
    let (on, line) = text.split_once('=').ok_or_else(|| {
        vec![format!(
            "expected TYPE=COMMAND such as job.failed='notify --urgent', found {}",
            quoted(text)
        )]
    })?;
    let run = shlex::split(line)
        .ok_or_else(|| format!("unclosed quote in {}", quoted(line)))
        .and_then(|words| command(words, Path::new(""), env, None));
    match (type_pattern(on), run) {
        (Ok(on), Ok(run)) => {
            (hook.on, hook.run) = (Some(vec![on]), Some(run));
            Ok(())
        }
        (on, run) => Err([on.err(), run.err()].into_iter().flatten().collect()),
    }
}
