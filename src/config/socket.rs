//! Finds the daemon's socket for clients. Clients must reach a daemon that started with an earlier version of the file,
//! so other errors in the file are ignored.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::env::Env;
use super::error::{ConfigError, Origin};
use super::file::{self, ConfigFile};
use super::keys::{DEFAULT_SOCKET, SOCKET_VARIABLE};
use super::value;

/// The socket's path and where it was configured.
///
/// Displayed, it ends a sentence such as "no daemon is listening on …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketLocation {
    pub path: PathBuf,
    pub origin: Origin,
    /// Why the file was ignored: it cannot be read, is not TOML, or its `control.socket` is invalid.
    pub ignored_file: Option<ConfigError>,
}

impl fmt::Display for SocketLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.path.display())?;
        match &self.origin {
            Origin::Flag(name) | Origin::Variable(name) => write!(f, "from {name}")?,
            Origin::File(file) | Origin::Position(file, ..) => {
                write!(f, "control.socket of {}", file.display())?;
            }
            Origin::Default | Origin::Unspecified => f.write_str("the default")?,
        }
        if let Some(error) = &self.ignored_file {
            write!(f, "; configuration ignored: {error}")?;
        }
        f.write_str(")")
    }
}

/// The socket of `--socket`, else of the variable, else of the file at `config` or a default path, else the default.
/// Nothing else is read from the file, and no error in it is fatal.
pub fn find_socket(flag: Option<&Path>, config: Option<&Path>, env: &Env) -> SocketLocation {
    let overrides = [
        (flag, Origin::Flag("--socket")),
        (env.path(SOCKET_VARIABLE), Origin::Variable(SOCKET_VARIABLE)),
    ];
    for (path, origin) in overrides {
        if let Some(path) = path {
            return SocketLocation {
                path: path.to_owned(),
                origin,
                ignored_file: None,
            };
        }
    }
    let in_file = file::config(config, env).and_then(|source| match source {
        Some(source) => from_file(&source),
        None => Ok(None),
    });
    let (found, ignored_file) = match in_file {
        Ok(found) => (found, None),
        Err(error) => (None, Some(error)),
    };
    let (path, origin) = found.unwrap_or_else(|| (PathBuf::from(DEFAULT_SOCKET), Origin::Default));
    SocketLocation {
        path,
        origin,
        ignored_file,
    }
}

/// `control.socket` of the file, even where the rest of the file does not parse.
fn from_file(source: &ConfigFile) -> Result<Option<(PathBuf, Origin)>, ConfigError> {
    let origin = Origin::File(source.path.clone());
    let (tree, broken) = DeTable::parse_recoverable(&source.text);
    let control = tree.get_ref().get("control");
    let Some(value) = control
        .and_then(|control| control.get_ref().as_table())
        .and_then(|control| control.get("socket"))
    else {
        if broken.is_empty() {
            return Ok(None);
        }
        let what = "invalid TOML; run `forgewatch check` for details";
        return Err(ConfigError::new(origin, what));
    };
    let error = |what| ConfigError::new(origin.clone(), format!("control.socket: {what}"));
    let text = value.get_ref().as_str();
    let text = text.ok_or_else(|| error("expected a string".to_owned()))?;
    let path = value::path(text).map_err(error)?;
    Ok(Some((source.folder().join(path), origin)))
}
