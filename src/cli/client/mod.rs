//! The commands that are clients of a running daemon, through [`crate::control`].
//!
//! Each sends a request and prints the response: sanitized for people, or as received with `--json`.

pub(super) mod diff;
pub(super) mod events;
pub(super) mod hooks;
pub(super) mod jobs;
pub(super) mod list;
pub(super) mod show;
pub(super) mod status;
pub(super) mod table;
pub(super) mod wait;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use crate::app::command_error::CommandError;
use crate::cli::args::client::{DaemonArgs, ReloadArgs};
use crate::config::{self, DaemonLocation, Env};
use crate::control::client::{self, ClientError, DaemonAddress};
use crate::control::http_transport::HttpTarget;
use crate::control::protocol::{JobSummary, ListRequest, Request, Response};
use crate::http_client::HttpClientError;
use crate::report::sanitize::{LIMIT, sanitized};
use crate::report::stdio;

/// `forgewatch reload`. Errors in the file are an error of this command.
pub(super) fn reload(args: &ReloadArgs, env: &Env) -> Result<(), CommandError> {
    match DaemonClient::find(&args.daemon, env)?.call(&Request::Reload)? {
        Response::Done => write_stdout("configuration reloaded\n").map(drop),
        _ => Err(unexpected_response()),
    }
}

fn unexpected_response() -> CommandError {
    CommandError::failed("unexpected response from the daemon; its version may differ")
}

/// Opens no connection.
pub(super) fn daemon_address(at: &DaemonLocation) -> Result<DaemonAddress, HttpClientError> {
    Ok(match at {
        DaemonLocation::Socket(at) => DaemonAddress::Socket(at.path.clone()),
        DaemonLocation::Server(at) => {
            let (url, token, proxy) = (at.url.clone(), at.token.clone(), at.proxy.clone());
            DaemonAddress::Http(Arc::new(HttpTarget::new(url, token, proxy)?))
        }
    })
}

struct DaemonClient {
    at: DaemonLocation,
    address: DaemonAddress,
}

impl DaemonClient {
    fn find(args: &DaemonArgs, env: &Env) -> Result<Self, CommandError> {
        let at = config::find_daemon(&args.flags(), env).map_err(CommandError::usage)?;
        let address = daemon_address(&at).map_err(CommandError::usage)?;
        Ok(Self { at, address })
    }

    /// Sends a request that has one response. [`Response::Error`] becomes an error.
    fn call(&self, request: &Request) -> Result<Response, CommandError> {
        match client::call(&self.address, request) {
            Ok(Response::Error {
                messages: errors, ..
            }) => Err(rejected(&errors)),
            Ok(response) => Ok(response),
            Err(error) => Err(self.explain(&error)),
        }
    }

    fn list(
        &self,
        all: bool,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<JobSummary>, CommandError> {
        let list = ListRequest {
            all,
            labels: labels.clone(),
            ..ListRequest::default()
        };
        client::collect_list(list, |request| match self.call(request)? {
            Response::Jobs(page) => Ok(page),
            _ => Err(unexpected_response()),
        })
    }

    /// The error with the socket and a hint.
    fn explain(&self, error: &ClientError) -> CommandError {
        let at = &self.at;
        CommandError::failed(match error {
            ClientError::NotRunning(error) => format!(
                "no daemon is running at {at}: {error}; start one with `forgewatch watch`, or name its socket with --socket, \
                 $FORGEWATCH_SOCKET or control.socket in the configuration file"
            ),
            ClientError::PermissionDenied(error) => format!(
                "{at}: {error}; allowed are root, the daemon's user and members of control.group"
            ),
            ClientError::RequestTooLong => format!("{error}; split it"),
            ClientError::ConnectionLost => format!("the connection to the daemon at {at} was lost"),
            ClientError::Unreachable(error) => {
                let error = sanitized(error, LIMIT);
                format!("cannot reach a daemon at {at}: {error}")
            }
            ClientError::Timeout | ClientError::InvalidResponse(_) => format!("{error}, at {at}"),
            ClientError::Unauthorized(_) | ClientError::NoApi(_) => {
                format!("{at}: {}", sanitized(&error.to_string(), LIMIT))
            }
            ClientError::SocketOnly => error.to_string(),
            ClientError::Incompatible { .. }
            | ClientError::Unavailable(_)
            | ClientError::UnknownOffset { .. } => sanitized(&error.to_string(), LIMIT),
        })
    }
}

/// The errors of the daemon, sanitized because they can quote a file.
fn rejected(errors: &[String]) -> CommandError {
    rejected_as(CommandError::failed, errors)
}

fn rejected_as(error: impl Fn(String) -> CommandError, errors: &[String]) -> CommandError {
    let errors: Vec<String> = errors.iter().map(|error| sanitized(error, LIMIT)).collect();
    error(errors.join("\n"))
}

/// Prints to standard output. Ok(false) if it is closed, which is not an error.
fn write_stdout(text: &str) -> Result<bool, CommandError> {
    match stdio::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CommandError::failed(format!("standard output: {error}"))),
    }
}

/// Unix milliseconds.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
