//! What a reload of the configuration changes, as `check --diff` shows it. It never contains a secret.

use serde::{Deserialize, Serialize};

use crate::job::JobRef;

/// The differences between the configuration in use and the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadPreview {
    /// The file; None if the daemon uses no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Changed keys outside `[[jobs]]` and `[[hooks]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyChange>,
    /// Jobs that it starts to watch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<JobRef>,
    /// Jobs whose watch it ends with `job.removed`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<JobRef>,
    /// Hooks that are new, changed or gone, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookChange>,
    /// Why it is rejected: a sentence per key that cannot change while the daemon runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
}

/// A key with another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    /// The key, with its section.
    pub key: String,
    /// The old and the new value; None if they may be secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<(String, String)>,
}

impl KeyChange {
    /// A change whose values may be secret.
    pub fn secret(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            values: None,
        }
    }
}

/// A hook that a reload adds, changes or removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookChange {
    /// Its name.
    pub hook: String,
    /// What happens to it.
    pub change: HookChangeKind,
}

/// How a reload changes a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookChangeKind {
    /// It receives events from then on.
    Added,
    /// It receives no more events, and its open deliveries fail.
    Removed,
    /// These keys change.
    Changed(Vec<KeyChange>),
}

/// Collects changed keys.
#[derive(Debug, Default)]
pub struct KeyChanges(Vec<KeyChange>);

impl KeyChanges {
    /// Adds the key with both values if they differ.
    pub fn compare(&mut self, key: &str, old: impl Into<String>, new: impl Into<String>) {
        let (old, new) = (old.into(), new.into());
        if old != new {
            self.0.push(KeyChange {
                key: key.to_owned(),
                values: Some((old, new)),
            });
        }
    }

    /// Adds the key without its values if it differs.
    pub fn compare_secret(&mut self, key: &str, is_same: bool) {
        if !is_same {
            self.0.push(KeyChange::secret(key));
        }
    }

    /// The changed keys, in the order of the comparisons.
    pub fn into_vec(self) -> Vec<KeyChange> {
        self.0
    }
}
