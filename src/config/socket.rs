//! Where a client finds the daemon's socket. A client has to reach a daemon that runs on what the file said when it
//! was started, whatever is wrong with the file by now; it is perhaps the very reason to ask.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::daemon_keys::{SOCKET, SOCKET_VARIABLE};
use super::env::Env;
use super::error::{ConfigError, Origin};
use super::file::{self, ConfigFile};
use super::value;

/// Where the socket should be, and who says so.
///
/// Displayed, it ends a sentence such as "no daemon answers at …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketLocation {
    /// The socket's path.
    pub path: PathBuf,
    /// Who says so: the flag, the variable, the file or nobody, which is the default.
    pub from: Origin,
    /// Why the file has no say, where there is one that cannot be read, is no TOML or says something that is no path.
    pub passed_over: Option<ConfigError>,
}

impl fmt::Display for SocketLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.path.display())?;
        match &self.from {
            Origin::Flag(name) | Origin::Variable(name) => write!(f, "from {name}")?,
            Origin::File(file) | Origin::Place(file, ..) => {
                write!(f, "control.socket of {}", file.display())?;
            }
            Origin::Default | Origin::Nowhere => f.write_str("the default")?,
        }
        if let Some(error) = &self.passed_over {
            write!(f, ", as the configuration is passed over: {error}")?;
        }
        f.write_str(")")
    }
}

/// Where the socket is by `--socket`, else the variable, else the file at `config` or found by default, else the
/// default. Nothing else is taken from the file, and nothing that is wrong with it is an error.
pub fn find_socket(flag: Option<&Path>, config: Option<&Path>, env: &Env) -> SocketLocation {
    let spoken = [
        (flag, Origin::Flag("--socket")),
        (env.path(SOCKET_VARIABLE), Origin::Variable(SOCKET_VARIABLE)),
    ];
    for (path, from) in spoken {
        if let Some(path) = path {
            return SocketLocation {
                path: path.to_owned(),
                from,
                passed_over: None,
            };
        }
    }
    let of_file = file::config(config, env).and_then(|source| match source {
        Some(source) => of_file(&source),
        None => Ok(None),
    });
    let (found, passed_over) = match of_file {
        Ok(found) => (found, None),
        Err(error) => (None, Some(error)),
    };
    let (path, from) = found.unwrap_or_else(|| (PathBuf::from(SOCKET), Origin::Default));
    SocketLocation {
        path,
        from,
        passed_over,
    }
}

/// What `source` says, as far as it can be made out: a file that is broken elsewhere still tells.
fn of_file(source: &ConfigFile) -> Result<Option<(PathBuf, Origin)>, ConfigError> {
    let from = Origin::File(source.path.clone());
    let (tree, broken) = DeTable::parse_recoverable(&source.text);
    let control = tree.get_ref().get("control");
    let Some(value) = control
        .and_then(|control| control.get_ref().as_table())
        .and_then(|control| control.get("socket"))
    else {
        if broken.is_empty() {
            return Ok(None);
        }
        let what = "not TOML; `forgewatch check` says where";
        return Err(ConfigError::new(from, what));
    };
    let error = |what| ConfigError::new(from.clone(), format!("control.socket: {what}"));
    let text = value.get_ref().as_str();
    let text = text.ok_or_else(|| error("write a text in quotes".to_owned()))?;
    let path = value::file(text).map_err(error)?;
    let folder = source.path.parent().unwrap_or(Path::new(""));
    Ok(Some((folder.join(path), from)))
}
