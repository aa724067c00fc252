//! Webhooks of the configuration: URLs, keys, formats and templates.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::{Host, Url};

use super::env::{Env, variable};
use super::error::{ConfigError, Origin};
use super::file;
use super::jobs::Labels;
use super::secret;
use super::value::{self, UrlPurpose};
use crate::hooks::{HookAction, HookSpec};
use crate::http_client::is_link_local;
use forgewatch_core::delivery::EventPayload;
use forgewatch_core::event::{
    ALL_JOB_EVENTS, Event, EventId, EventOrigin, EventType, WatchId, matches_type,
};
use forgewatch_core::format::{Format, TEMPLATE, Template, TemplateError};
use forgewatch_core::job::{JobId, JobKind, JobRef};

/// The longest template, in bytes.
const MAX_BODY: u64 = 64 * 1024;
/// The specification's minimum: shorter keys can be guessed.
const MIN_KEY_BYTES: usize = 24;
/// A webhook key's prefix in the Standard Webhooks specification.
const KEY_PREFIX: &str = "whsec_";

/// A template as it is in its file.
pub(super) struct BodyFile {
    path: PathBuf,
    text: String,
}

/// The format of a hook, with its template.
///
/// # Errors
/// The template is invalid, at its file and line.
pub(super) fn format(
    name: &str,
    body: Option<BodyFile>,
    on: &[String],
    labels: &Labels,
) -> Result<Format, String> {
    let Some(body) = body.filter(|_| name == TEMPLATE) else {
        return Ok(Format::from_name(name).unwrap_or_default());
    };
    let samples = samples(on, labels);
    match Template::new(body.text, &samples) {
        Ok(template) => Ok(Format::Template(Arc::new(template))),
        Err(TemplateError { line, what }) => {
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            Err(format!("{}{line}: {what}", body.path.display()))
        }
    }
}

pub(super) fn body_conflict(table: &DeTable<'_>) -> Option<String> {
    let format = table.get("format").map(Spanned::get_ref);
    let is_template = format.and_then(DeValue::as_str) == Some(TEMPLATE);
    match (is_template, table.contains_key("body_file")) {
        (true, false) => Some(
            "format \"template\" needs body_file; add a line such as body_file = \"body.json\"".to_owned(),
        ),
        (false, true) => Some(
            "body_file has no effect without format = \"template\"; add that line, or remove body_file".to_owned(),
        ),
        _ => None,
    }
}

/// The error of a type that never has a body in the format.
pub(super) fn type_without_body(on: &[String], format: &Format) -> Option<String> {
    let has_body = |kind: &EventType| format.has_type(*kind);
    let unused = on
        .iter()
        .find(|on| EventType::from_name(on).is_some_and(|kind| !has_body(&kind)))?;
    let types = EventType::ALL.into_iter().filter(has_body);
    let types: Vec<&str> = types.map(EventType::as_str).collect();
    Some(format!(
        "format {:?} sends nothing for {unused}; use {ALL_JOB_EVENTS}, or some of {}",
        format.name(),
        types.join(", ")
    ))
}

/// An event of each type that the hook receives.
fn samples(on: &[String], labels: &Labels) -> Vec<EventPayload> {
    let receives = |kind: &EventType| on.iter().any(|on| matches_type(on, kind.as_str()));
    let jobs = JobKind::ALL.map(|kind| JobRef {
        kind,
        id: JobId::MIN,
    });
    let of_type = |kind: EventType| {
        jobs.into_iter().filter_map(move |job| {
            let id = EventId {
                watch: WatchId([0; 16]),
                seq: 1,
            };
            let sample = Event::sample(id, kind, 0, job, labels.clone(), EventOrigin::default());
            EventPayload::of(&sample, "forgewatch").ok()
        })
    };
    EventType::ALL
        .into_iter()
        .filter(receives)
        .flat_map(of_type)
        .collect()
}

/// Reads the file of a template, relative to `folder`.
pub(super) fn body_file(folder: &Path, file: &str) -> Result<BodyFile, String> {
    let path = folder.join(value::path(file)?);
    let in_file = |what: String| format!("{}: {what}", path.display());
    let open =
        File::open(&path).map_err(|error| in_file(format!("cannot read the file: {error}")))?;
    let text = file::bounded_text(open, MAX_BODY).map_err(in_file)?;
    Ok(BodyFile { path, text })
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
    secret::from_file(
        folder,
        file,
        &format!("one line {KEY_PREFIX}…"),
        webhook_key,
    )
}

/// Reads a webhook's URL from a file, relative to `folder`.
pub(super) fn url_file(folder: &Path, file: &str) -> Result<Url, String> {
    secret::from_file(folder, file, "one line https://…", |line| {
        secret::check_characters(line)?;
        webhook_url(line)
    })
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
