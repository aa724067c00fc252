//! What is wrong with a configuration: where, what, and what would do; all of it at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Compiled in.
    Default,
    /// A place in a file, both numbers from 1; the column counts characters.
    Place(PathBuf, usize, usize),
    /// A file as a whole.
    File(PathBuf),
    /// An environment variable.
    Variable(&'static str),
    /// A flag or an argument.
    Flag(&'static str),
    /// The command line as a whole, or nowhere.
    Nowhere,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    origin: Origin,
    what: String,
}

impl ConfigError {
    /// `what` says what is wrong and what would do, in one line. It never quotes anything that could be a secret.
    pub(super) fn new(origin: Origin, what: impl Into<String>) -> Self {
        Self {
            origin,
            what: what.into(),
        }
    }

    /// The order errors are told in: those without a place, then each file from top to bottom.
    fn rank(&self) -> Option<(&Path, usize, usize)> {
        match &self.origin {
            Origin::Place(file, line, column) => Some((file, *line, *column)),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Place(file, line, column) => {
                write!(f, "{}:{line}:{column}: ", file.display())?;
            }
            Origin::File(file) => write!(f, "{}: ", file.display())?,
            Origin::Variable(name) | Origin::Flag(name) => write!(f, "{name}: ")?,
            Origin::Default | Origin::Nowhere => {}
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for ConfigError {}

/// More errors than this help nobody: it is the wrong file.
const MOST_TOLD: usize = 100;

/// All that is wrong; at least one. Prints a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Ok where there are none.
    pub(super) fn check(mut errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let more = errors.len().saturating_sub(MOST_TOLD);
        if more > 0 {
            errors.truncate(MOST_TOLD);
            errors.push(ConfigError::new(
                Origin::Nowhere,
                format!("and {more} more"),
            ));
        }
        Err(Self(errors))
    }

    /// Each of them, in the order they are told.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
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
