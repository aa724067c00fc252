//! The environment as a value: read once in `main`, so that everything below is a function of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use secrecy::SecretString;

use super::error::{ConfigError, Origin};

/// The variables anything of ours looks at.
const NAMES: [&str; 15] = [
    "FORGEWATCH_CONFIG",
    "FORGEWATCH_BASE_URL",
    "FORGEWATCH_ACCOUNT_SERVICE_ID",
    "FORGEWATCH_CREDENTIALS_FILE",
    "FORGEWATCH_OUTPUT",
    "FORGEWATCH_LOG",
    "FORGEWATCH_SOCKET",
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "CREDENTIALS_DIRECTORY",
    "JOURNAL_STREAM",
    "NO_COLOR",
    "CLICOLOR_FORCE",
    "TERM",
];

/// The variable with the access key.
pub const ACCESS_KEY: &str = "FORGEWATCH_ACCESS_KEY";
/// The variable with the secret key.
pub const SECRET_KEY: &str = "FORGEWATCH_SECRET_KEY";

/// What the environment says. An empty variable is as good as none.
#[derive(Clone, Default)]
pub struct Env {
    plain: BTreeMap<&'static str, OsString>,
    /// What is nothing to us and may be something to a hook. The access key and the secret key are never here.
    others: BTreeMap<OsString, OsString>,
    /// None for one that is not UTF-8: a text that resembles it would be a wrong secret.
    secret: BTreeMap<&'static str, Option<SecretString>>,
}

impl Env {
    /// The environment of this process.
    pub fn from_process() -> Self {
        std::env::vars_os().collect()
    }

    /// A variable as text. One that is not UTF-8 is an error that names it.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, ConfigError> {
        match self.plain.get(name) {
            None => Ok(None),
            Some(value) => value.to_str().map(Some).ok_or_else(|| not_utf8(name)),
        }
    }

    /// A variable as a path, which can be any bytes.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.plain.get(name).map(Path::new)
    }

    /// Whether the variable is there and not empty, as `NO_COLOR` is asked.
    pub fn has(&self, name: &str) -> bool {
        self.plain.contains_key(name)
    }

    /// Any variable that a hook may be handed: all there are, but for [`ACCESS_KEY`] and [`SECRET_KEY`].
    pub fn for_hook(&self, name: &str) -> Option<&OsStr> {
        let other = || self.others.get(OsStr::new(name));
        self.plain.get(name).or_else(other).map(OsString::as_os_str)
    }

    /// [`ACCESS_KEY`] or [`SECRET_KEY`].
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
            if let Some(known) = NAMES.into_iter().find(|known| name == *known) {
                env.plain.insert(known, value);
            } else if let Some(known) = [ACCESS_KEY, SECRET_KEY].into_iter().find(|k| name == *k) {
                let value = value.into_string().ok().map(SecretString::from);
                env.secret.insert(known, value);
            } else {
                env.others.insert(name, value);
            }
        }
        env
    }
}

impl fmt::Debug for Env {
    /// Names alone: any value can hold something that is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.plain.keys().chain(self.secret.keys()))
            .finish()
    }
}

fn not_utf8(name: &'static str) -> ConfigError {
    ConfigError::new(Origin::Variable(name), "it is not UTF-8; set it again")
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
    fn an_empty_variable_is_none() {
        let env = env([("NO_COLOR", ""), ("TERM", "dumb")]);
        assert!(!env.has("NO_COLOR"));
        assert_eq!(env.text("TERM").unwrap(), Some("dumb"));
    }

    #[test]
    fn debug_tells_names_and_no_values() {
        let env = env([(SECRET_KEY, "canary"), ("FORGEWATCH_BASE_URL", "canary")]);
        let text = format!("{env:?}");
        assert!(
            text.contains(SECRET_KEY) && !text.contains("canary"),
            "{text}"
        );
    }
}
