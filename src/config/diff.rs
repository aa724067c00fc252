//! Compares two configurations for `check --diff`. Values that may be secret are never shown.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::keys::SETTINGS;
use super::settings::Settings;
use super::value;
use crate::hooks::{HookAction, HookSpec};
use forgewatch_core::job::JobKind;
use forgewatch_core::reload_preview::{HookChange, HookChangeKind, KeyChange, KeyChanges};

/// The keys outside `[[jobs]]` and `[[hooks]]` that differ, in the order of the manual.
pub fn changed_keys(old: &Settings, new: &Settings) -> Vec<KeyChange> {
    let mut changes = KeyChanges::default();
    for section in &SETTINGS {
        for key in section.keys {
            let path = section.path(key);
            let value = |settings: &Settings| {
                let value = settings.values.get(&path).cloned();
                value.unwrap_or_else(|| "unset".to_owned())
            };
            changes.compare(&path, value(old), value(new));
        }
    }
    let mut changes = changes.into_vec();
    let key = "http.token_files";
    if !are_same(&old.http.tokens, &new.http.tokens) && changes.iter().all(|c| c.key != key) {
        changes.push(KeyChange::secret(key));
    }
    changes
}

/// The hooks that differ, by name.
pub fn changed_hooks(old: &Settings, new: &Settings) -> Vec<HookChange> {
    let by_name = |settings: &'_ Settings| -> BTreeMap<String, HookSpec> {
        let hooks = settings.hooks.iter();
        hooks
            .map(|hook| (hook.rules.name.to_string(), hook.clone()))
            .collect()
    };
    let (old, mut new) = (by_name(old), by_name(new));
    let mut changes: Vec<HookChange> = old
        .into_iter()
        .filter_map(|(hook, old)| {
            let change = match new.remove(&hook) {
                None => HookChangeKind::Removed,
                Some(new) => match hook_keys(&old, &new) {
                    keys if keys.is_empty() => return None,
                    keys => HookChangeKind::Changed(keys),
                },
            };
            Some(HookChange { hook, change })
        })
        .collect();
    let change = HookChangeKind::Added;
    changes.extend(new.into_keys().map(|hook| HookChange {
        hook,
        change: change.clone(),
    }));
    changes
}

fn hook_keys(old: &HookSpec, new: &HookSpec) -> Vec<KeyChange> {
    let mut changes = KeyChanges::default();
    let (a, b) = (&old.rules, &new.rules);
    let kinds = |kinds: &Option<Vec<JobKind>>| match kinds {
        Some(kinds) => list(kinds.iter().map(|kind| kind.as_str())),
        None => "all".to_owned(),
    };
    let labels = |labels: &BTreeMap<String, String>| {
        let labels = labels.iter().map(|(name, value)| format!("{name}={value}"));
        list(labels)
    };
    changes.compare("on", list(&a.on), list(&b.on));
    changes.compare("kinds", kinds(&a.kinds), kinds(&b.kinds));
    changes.compare("labels", labels(&a.labels), labels(&b.labels));
    let timeout = |hook: &HookSpec| value::brief(hook.timeout);
    changes.compare("timeout", timeout(old), timeout(new));
    changes.compare("retries", a.retries.to_string(), b.retries.to_string());
    let limits = (a.max_running.to_string(), b.max_running.to_string());
    changes.compare("max_running", limits.0, limits.1);
    match (&old.action, &new.action) {
        (HookAction::Run(a), HookAction::Run(b)) => {
            let command = (&a.path, &a.args) == (&b.path, &b.args);
            changes.compare_secret("run", command);
            changes.compare_secret("env", a.env == b.env);
        }
        (HookAction::Webhook(a), HookAction::Webhook(b)) => {
            changes.compare_secret("webhook", a.url == b.url);
            changes.compare_secret("secret_files", are_same(&a.secrets, &b.secrets));
            changes.compare("format", a.format.name(), b.format.name());
            changes.compare_secret("body_file", a.format.source() == b.format.source());
        }
        (HookAction::Run(_), HookAction::Webhook(_)) => changes.compare("action", "run", "webhook"),
        (HookAction::Webhook(_), HookAction::Run(_)) => changes.compare("action", "webhook", "run"),
    }
    changes.into_vec()
}

fn are_same(old: &[SecretString], new: &[SecretString]) -> bool {
    texts(old).eq(texts(new))
}

fn texts(secrets: &[SecretString]) -> impl Iterator<Item = &str> {
    secrets.iter().map(ExposeSecret::expose_secret)
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items = items.into_iter().map(|item| item.to_string());
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}
