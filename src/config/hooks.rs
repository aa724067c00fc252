//! Hooks: the values of one `[[hooks]]` table or one `--on-event`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::{Host, Url};

use super::env::{ACCESS_KEY, Env, SECRET_KEY};
use super::error::{ConfigError, Origin};
use super::file::KeyReader;
use super::jobs::Labels;
use super::program::{self, TrustedOwners};
use super::script;
use super::secret;
use super::value::{self, UrlPurpose};
use crate::hooks::{HookAction, HookProgram, HookSpec, HookWebhook};
use crate::http_client::is_link_local;
use forgewatch_core::delivery::{EVENT_VARIABLES, HookRules};
use forgewatch_core::event::{ALL_JOB_EVENTS, EventType};
use forgewatch_core::job::JobKind;
use forgewatch_core::user_input::{nearest, quoted};

/// Default time limit of one attempt to run a program.
const RUN_TIMEOUT: Duration = Duration::from_mins(5);
/// Default time limit of one attempt to call a webhook.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// A webhook key's prefix in the Standard Webhooks specification.
const KEY_PREFIX: &str = "whsec_";
/// The specification's minimum: shorter keys can be guessed.
const MIN_KEY_BYTES: usize = 24;
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
}

impl HookDraft {
    /// None if a required key is missing.
    pub(super) fn finish(self, env: &Env) -> Option<HookSpec> {
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
                    proxy: None,
                };
                (HookAction::Webhook(webhook), WEBHOOK_TIMEOUT)
            }
            (None, None) => return None,
        };
        Some(HookSpec {
            rules: HookRules {
                name: self.name?.into(),
                on: self.on?,
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
        ["run"] => unused(&["secret_files", "secret_env"], "run"),
        [webhook] => unused(&["env", "pass_env"], webhook),
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
    let on = reader.array(value, event_type)?;
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

pub(super) fn event_types() -> impl Iterator<Item = &'static str> {
    EventType::ALL
        .map(EventType::as_str)
        .into_iter()
        .chain([ALL_JOB_EVENTS])
}

/// # Errors
/// There is no such type; the message suggests one.
pub fn event_type(name: &str) -> Result<String, String> {
    if event_types().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let hint = nearest(name, event_types()).map_or_else(
        || {
            format!(
                "use one of {}",
                event_types().collect::<Vec<_>>().join(", ")
            )
        },
        |near| format!("did you mean {near}?"),
    );
    Err(format!("unknown event type {}; {hint}", quoted(name)))
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

/// Rejects names that the event sets, and those of the credentials.
pub(super) fn variable(name: &str) -> Result<&str, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(good) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(format!(
            "invalid variable name {}: use letters, digits and '_'",
            quoted(name)
        ));
    }
    if name == ACCESS_KEY || name == SECRET_KEY {
        return Err(format!("{name} is never passed to a hook; remove it"));
    }
    if EVENT_VARIABLES.contains(&name) {
        return Err(format!("{name} is set by the event; remove it"));
    }
    Ok(name)
}

pub(super) fn webhook_url(text: &str) -> Result<Url, String> {
    let url = value::secure_url(
        text,
        &UrlPurpose {
            example: "https://hooks.example.net/forgewatch",
            content: "events",
            instead_of_user: "remove them",
        },
    )?;
    let is_link_local = match url.host() {
        None | Some(Host::Domain(_)) => false,
        Some(Host::Ipv4(address)) => is_link_local(address.into()),
        Some(Host::Ipv6(address)) => is_link_local(address.into()),
    };
    if is_link_local {
        return Err("a webhook cannot have a link-local address; use another host".to_owned());
    }
    Ok(url)
}

/// Reads a webhook's key from a file, relative to `folder`.
pub(super) fn key_file(folder: &Path, file: &str) -> Result<SecretString, String> {
    secret_file(
        folder,
        file,
        &format!("one line {KEY_PREFIX}…"),
        webhook_key,
    )
}

/// Reads a webhook's URL from a file, relative to `folder`.
pub(super) fn url_file(folder: &Path, file: &str) -> Result<Url, String> {
    secret_file(folder, file, "one line https://…", |line| {
        secret::check_characters(line)?;
        webhook_url(line)
    })
}

/// Reads a file with a secret on its only line.
fn secret_file<T>(
    folder: &Path,
    file: &str,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, String> {
    let path = folder.join(value::path(file)?);
    // Only the unit's user can enter the folder of systemd's credentials; its ACL entry appears as group read
    // (`systemd.exec(5)`, `LoadCredential=`).
    let private = !path.starts_with("/run/credentials");
    let line = secret::read_line(&path, private, expected);
    line.and_then(|line| parse(&line))
        .map_err(|what| format!("{}: {what}", path.display()))
}

/// Reads a webhook's key from a variable.
pub(super) fn key_variable(env: &Env, name: &str) -> Result<SecretString, String> {
    let name = variable(name)?;
    let value = env
        .for_hook(name)
        .ok_or_else(|| format!("{name} is not set; set it to one line {KEY_PREFIX}…"))?;
    let value = value.to_str().ok_or("not valid UTF-8");
    value
        .map_err(str::to_owned)
        .and_then(|value| webhook_key(secret::line(value)))
        .map_err(|what| format!("{name}: {what}"))
}

/// Checks a key; the result has no `whsec_` prefix.
fn webhook_key(line: &str) -> Result<SecretString, String> {
    secret::check_characters(line)?;
    let code = line.strip_prefix(KEY_PREFIX).unwrap_or_default();
    match STANDARD.decode(code).map(Zeroizing::new) {
        Ok(key) if key.len() >= MIN_KEY_BYTES => Ok(SecretString::from(code)),
        _ => Err(format!(
            "no key of at least {MIN_KEY_BYTES} bytes; write {KEY_PREFIX} and base64 on one line: \
             echo {KEY_PREFIX}$(openssl rand -base64 32)"
        )),
    }
}

/// Errors about variables of programs that hold a webhook's key or secret URL.
pub(super) fn secrets_in_variables(hooks: &[HookSpec]) -> Vec<ConfigError> {
    let mut secrets = Vec::new();
    let mut variables = Vec::new();
    for hook in hooks {
        match &hook.action {
            HookAction::Webhook(webhook) => {
                let keys = webhook.secrets.iter().map(ExposeSecret::expose_secret);
                secrets.extend(keys.map(|key| ("key", key)));
                let url = webhook.has_secret_url.then(|| webhook.url.as_str());
                secrets.extend(url.map(|url| ("URL", url)));
            }
            HookAction::Run(program) => variables.extend(&program.env),
        }
    }
    let leak = |(name, value): &(String, OsString)| {
        let value = value.to_string_lossy();
        let (what, _) = (secrets.iter()).find(|(_, secret)| value.contains(secret))?;
        let what =
            format!("hooks: {name} holds a webhook's {what}, which no program receives; remove it");
        Some(ConfigError::new(Origin::Unspecified, what))
    };
    variables.into_iter().filter_map(leak).collect()
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
    match (event_type(on), run) {
        (Ok(on), Ok(run)) => {
            (hook.on, hook.run) = (Some(vec![on]), Some(run));
            Ok(())
        }
        (on, run) => Err([on.err(), run.err()].into_iter().flatten().collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn https_to_any_host_and_http_to_loopback_are_accepted() {
        for text in [
            "https://hooks.example.net/a/b?token=c",
            "https://10.0.0.1:8443",
            "http://127.0.0.1:9/x",
            "http://[::1]/",
            "http://localhost:1",
        ] {
            assert!(webhook_url(text).is_ok(), "{text}");
        }
        for text in [
            "http://hooks.example.net",
            "https://user:canary@hooks.example.net",
            "https://169.254.169.254/latest/meta-data",
            "https://[fe80::1]/",
            "https://[::ffff:169.254.1.1]/",
            "https://0.0.0.0/",
            "ftp://127.0.0.1",
            "mailto:canary@example.net",
            "canary",
            "",
        ] {
            let error = webhook_url(text).unwrap_err();
            assert!(!error.contains("canary") && !error.is_empty(), "{error}");
        }
    }

    #[test]
    fn a_key_is_whsec_and_base64_of_24_bytes_in_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let with = |text: &str, mode| {
            let path = folder.path().join("secret");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = key_file(folder.path(), "secret");
            fs::remove_file(path).unwrap();
            read.map(drop)
        };
        let good = format!("whsec_{}", STANDARD.encode([7; 24]));
        for text in [good.clone(), format!("{good}\n"), format!("{good}\r\n")] {
            assert_eq!(with(&text, 0o600), Ok(()));
            assert_eq!(with(&format!("\u{feff}{text}"), 0o600), Ok(()));
        }
        let quoted = format!("'{good}'");
        assert!(
            with(&quoted, 0o600)
                .unwrap_err()
                .contains("begins with a quote")
        );
        assert!(with(&good, 0o640).unwrap_err().contains("chmod 600"));
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let bare = STANDARD.encode([7; 24]);
        for text in [short.as_str(), &bare, "whsec_canary!", ""] {
            let error = with(text, 0o600).unwrap_err();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
