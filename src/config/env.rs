//! The environment as a value: read once in `main`, so that everything below is a function of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use rustix::process::geteuid;
use secrecy::SecretString;

use super::error::{ConfigError, Origin};
use forgewatch_core::delivery::{EVENT_VARIABLES, LABEL_VARIABLE};
use forgewatch_core::event::{InvalidTrace, TRACEPARENT, TraceContext};
use forgewatch_core::user_input::quoted;

pub const ACCESS_KEY: &str = "FORGEWATCH_ACCESS_KEY";
pub const SECRET_KEY: &str = "FORGEWATCH_SECRET_KEY";

/// The environment's variables. An empty variable counts as unset.
#[derive(Clone, Default)]
pub struct Env {
    /// All except the access key and the secret key.
    vars: BTreeMap<OsString, OsString>,
    /// None for one that is not UTF-8: a lossy conversion would be a wrong secret.
    secret: BTreeMap<&'static str, Option<SecretString>>,
    is_of_ordinary_user: bool,
}

impl Env {
    pub fn from_process() -> Self {
        let env: Self = std::env::vars_os().collect();
        if geteuid().is_root() {
            env
        } else {
            env.of_ordinary_user()
        }
    }

    #[must_use]
    pub fn of_ordinary_user(self) -> Self {
        Self {
            is_of_ordinary_user: true,
            ..self
        }
    }

    /// Whether the process runs as another user than root.
    pub(super) fn is_of_ordinary_user(&self) -> bool {
        self.is_of_ordinary_user
    }

    /// # Errors
    /// The variable is not UTF-8.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, ConfigError> {
        match self.vars.get(OsStr::new(name)) {
            None => Ok(None),
            Some(value) => value.to_str().map(Some).ok_or_else(|| not_utf8(name)),
        }
    }

    /// A path may hold bytes that are not UTF-8.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.vars.get(OsStr::new(name)).map(Path::new)
    }

    /// Whether the variable is set and not empty, which is how `NO_COLOR` is defined.
    pub fn has(&self, name: &str) -> bool {
        self.vars.contains_key(OsStr::new(name))
    }

    /// A variable that may be passed to a hook: any except [`ACCESS_KEY`] and [`SECRET_KEY`].
    pub fn for_hook(&self, name: &str) -> Option<&OsStr> {
        self.vars.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The trace that this process works for.
    ///
    /// # Errors
    /// The variable has another format.
    pub fn trace(&self) -> Result<Option<TraceContext>, InvalidTrace> {
        let text = self.vars.get(OsStr::new(TRACEPARENT));
        let text = text.map(|text| text.to_str().ok_or(InvalidTrace));
        text.map(|text| text?.parse()).transpose()
    }

    /// `name` is [`ACCESS_KEY`] or [`SECRET_KEY`].
    pub(super) fn secret(&self, name: &'static str) -> Result<Option<&SecretString>, ConfigError> {
        match self.secret.get(name) {
            None => Ok(None),
            Some(value) => value.as_ref().map(Some).ok_or_else(|| not_utf8(name)),
        }
    }
}

impl FromIterator<(OsString, OsString)> for Env {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(vars: I) -> Self {
        let mut env = Self::default();
        for (name, value) in vars.into_iter().filter(|(_, value)| !value.is_empty()) {
            if let Some(known) = [ACCESS_KEY, SECRET_KEY].into_iter().find(|k| name == *k) {
                let value = value.into_string().ok().map(SecretString::from);
                env.secret.insert(known, value);
            } else {
                env.vars.insert(name, value);
            }
        }
        env
    }
}

impl fmt::Debug for Env {
    /// Prints names only: any value can be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.secret.keys().map(OsStr::new);
        let names = self.vars.keys().map(OsString::as_os_str);
        f.debug_set().entries(names.chain(secret)).finish()
    }
}

fn not_utf8(name: &'static str) -> ConfigError {
    ConfigError::new(Origin::Variable(name), "not valid UTF-8")
}

/// The name of a variable for a program: rejects names that the event sets, and those of the credentials.
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
    let mut of_events = EVENT_VARIABLES.iter().map(|(name, _)| *name);
    if of_events.any(|known| known == name) || name.starts_with(LABEL_VARIABLE) {
        return Err(format!("{name} is set by the event; remove it"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<const N: usize>(vars: [(&str, &str); N]) -> Env {
        vars.into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let env = env([("NO_COLOR", ""), ("TERM", "dumb")]);
        assert!(!env.has("NO_COLOR"));
        assert_eq!(env.text("TERM").unwrap(), Some("dumb"));
    }

    #[test]
    fn debug_output_holds_names_but_no_values() {
        let env = env([(SECRET_KEY, "canary"), ("FORGEWATCH_BASE_URL", "canary")]);
        let text = format!("{env:?}");
        assert!(
            text.contains(SECRET_KEY) && !text.contains("canary"),
            "{text}"
        );
    }
}
