//! Configuration errors: all of them at once, each with its place and a way to fix it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::http_client::ProxyVariableError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// A file, a line and a column. Both count from 1; the column counts characters.
    Position(PathBuf, usize, usize),
    /// A file as a whole.
    File(PathBuf),
    Variable(&'static str),
    /// A flag or an argument.
    Flag(&'static str),
    /// No single place, such as a missing key.
    Unspecified,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    origin: Origin,
    what: String,
}

impl ConfigError {
    /// `what` is one line: the error and how to fix it. It never quotes a value that could be a secret.
    pub(super) fn new(origin: Origin, what: impl Into<String>) -> Self {
        Self {
            origin,
            what: what.into(),
        }
    }

    /// Errors without a position come first, then each file from top to bottom.
    fn sort_key(&self) -> Option<(&Path, usize, usize)> {
        match &self.origin {
            Origin::Position(file, line, column) => Some((file, *line, *column)),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Position(file, line, column) => {
                write!(f, "{}:{line}:{column}: ", file.display())?;
            }
            Origin::File(file) => write!(f, "{}: ", file.display())?,
            Origin::Variable(name) | Origin::Flag(name) => write!(f, "{name}: ")?,
            Origin::Default | Origin::Unspecified => {}
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for ConfigError {}

impl From<ProxyVariableError> for ConfigError {
    fn from(ProxyVariableError { variable, what }: ProxyVariableError) -> Self {
        Self::new(Origin::Variable(variable), what)
    }
}

/// A file with more errors than this is probably not a configuration.
const MAX_REPORTED: usize = 100;

/// At least one error. Displayed as one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn ok_if_empty(mut errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        let more = errors.len().saturating_sub(MAX_REPORTED);
        if more > 0 {
            errors.truncate(MAX_REPORTED);
            errors.push(ConfigError::new(
                Origin::Unspecified,
                format!("and {more} more"),
            ));
        }
        Err(Self(errors))
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
