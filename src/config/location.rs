//! Where clients find the daemon: its socket, or its HTTP API.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use toml::de::DeTable;
use url::Url;

use super::default_paths::client_socket;
use super::env::Env;
use super::error::{ConfigError, Origin};
use super::file::{self, ConfigFile};
use super::http;
use super::keys::SOCKET_VARIABLE;
use super::value::{self, UrlPurpose};
use crate::http_client::Proxy;

const SERVER_VARIABLE: &str = "FORGEWATCH_SERVER";
const TOKEN_FILE_VARIABLE: &str = "FORGEWATCH_TOKEN_FILE";

/// The flags of a client.
#[derive(Clone, Copy, Debug, Default)]
pub struct DaemonFlags<'a> {
    pub socket: Option<&'a Path>,
    pub server: Option<&'a str>,
    pub token_file: Option<&'a Path>,
    pub config: Option<&'a Path>,
}

/// Displayed, it ends a sentence such as "no daemon is listening on …".
#[derive(Clone, Debug)]
pub enum DaemonLocation {
    Socket(SocketLocation),
    Server(ServerLocation),
}

impl fmt::Display for DaemonLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(at) => at.fmt(f),
            Self::Server(at) => write!(f, "{} (from {})", at.url, at.origin),
        }
    }
}

/// The daemon's HTTP API.
#[derive(Clone, Debug)]
pub struct ServerLocation {
    pub url: Url,
    pub token: Option<SecretString>,
    pub proxy: Option<Proxy>,
    /// The flag or variable.
    origin: &'static str,
}

/// Finds the daemon: by a flag, else by a variable, else as [`find_socket`] does.
///
/// # Errors
/// The URL or the token is invalid, or it is not clear which daemon is meant.
pub fn find_daemon(flags: &DaemonFlags<'_>, env: &Env) -> Result<DaemonLocation, ConfigError> {
    let variable = env.text(SERVER_VARIABLE)?;
    let server = match (flags.socket, flags.server, variable) {
        (None, Some(url), _) => Some((url, Origin::Flag("--server"), "--server")),
        (None, None, Some(_)) if env.path(SOCKET_VARIABLE).is_some() => {
            let what = format!(
                "{SOCKET_VARIABLE} is set too; unset one of them, or use --socket or --server"
            );
            return Err(ConfigError::new(Origin::Variable(SERVER_VARIABLE), what));
        }
        (None, None, Some(url)) => Some((url, Origin::Variable(SERVER_VARIABLE), SERVER_VARIABLE)),
        _ => None,
    };
    let Some((url, at, origin)) = server else {
        if flags.token_file.is_some() {
            let what = format!(
                "a socket needs no token; name a server with --server or {SERVER_VARIABLE}"
            );
            return Err(ConfigError::new(Origin::Flag("--token-file"), what));
        }
        let socket = find_socket(flags.socket, flags.config, env);
        return Ok(DaemonLocation::Socket(socket));
    };
    let url = server_url(url).map_err(|what| ConfigError::new(at, what))?;
    Ok(DaemonLocation::Server(ServerLocation {
        token: token(flags, env)?,
        proxy: Proxy::find(&url, |name| env.for_hook(name))?,
        url,
        origin,
    }))
}

fn server_url(text: &str) -> Result<Url, String> {
    value::plain_url(
        text,
        &UrlPurpose {
            example: "https://build01.example.net",
            content: "the token",
            instead_of_user: "use --token-file",
        },
    )
}

fn token(flags: &DaemonFlags<'_>, env: &Env) -> Result<Option<SecretString>, ConfigError> {
    let named = [
        (flags.token_file, Origin::Flag("--token-file")),
        (
            env.path(TOKEN_FILE_VARIABLE),
            Origin::Variable(TOKEN_FILE_VARIABLE),
        ),
    ];
    let found = named.into_iter().find_map(|(path, at)| Some((path?, at)));
    let token = found.map(|(path, at)| {
        http::token_file(Path::new(""), &path.to_string_lossy())
            .map_err(|what| ConfigError::new(at, what))
    });
    token.transpose()
}

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

/// Finds the daemon's socket for clients: that of `--socket`, else of the variable, else of the file at `config` or a
/// default path, else the default of the user or of the system.
///
/// Clients must reach a daemon that started with an earlier version of the file, so other errors in it are ignored.
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
        Some(source) => socket_from_file(&source),
        None => Ok(None),
    });
    let (found, ignored_file) = match in_file {
        Ok(found) => (found, None),
        Err(error) => (None, Some(error)),
    };
    let (path, origin) = found.unwrap_or_else(|| (client_socket(env), Origin::Default));
    SocketLocation {
        path,
        origin,
        ignored_file,
    }
}

/// `control.socket` of the file, even where the rest of the file does not parse.
fn socket_from_file(source: &ConfigFile) -> Result<Option<(PathBuf, Origin)>, ConfigError> {
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
