//! The commands that speak to a running daemon, through [`crate::control`].
//!
//! Each asks, and shows what it is told: for people, with all text that is somebody else's made harmless, or with
//! `--json` as the daemon said it.

pub mod args;
pub(super) mod events;
pub(super) mod hooks;
pub(super) mod jobs;
pub(super) mod list;
pub(super) mod reload;
pub(super) mod show;
mod table;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use super::complain;
use crate::app::{FAILED, USAGE};
use crate::config::{self, Env, SocketAt};
use crate::control::client::{self, ClientError};
use crate::control::protocol::{Answer, Request};
use crate::report::sanitize::{LIMIT, neutral};
use args::DaemonArgs;

/// Why something was not done, a line each, and the status to leave with.
pub(super) struct CommandError {
    status: u8,
    why: String,
}

impl CommandError {
    fn usage(why: &impl fmt::Display) -> Self {
        Self {
            status: USAGE,
            why: why.to_string(),
        }
    }

    fn failed(why: impl Into<String>) -> Self {
        Self {
            status: FAILED,
            why: why.into(),
        }
    }

    /// An answer to some other request. A daemon of another version, perhaps.
    fn beside_the_point() -> Self {
        Self::failed("the daemon answered something else; is it of another version?")
    }
}

/// Tells why it was not done, if it was not; the exit status.
pub(super) fn done(result: Result<(), CommandError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError { status, why }) => {
            complain(&why);
            ExitCode::from(status)
        }
    }
}

/// The daemon that is spoken to.
struct Daemon {
    at: SocketAt,
}

impl Daemon {
    fn find(args: &DaemonArgs, env: &Env) -> Self {
        let at = config::find_socket(args.socket.as_deref(), args.config.config.as_deref(), env);
        Self { at }
    }

    /// Asks what has one answer. A refusal is an error.
    fn ask_once(&self, request: &Request) -> Result<Answer, CommandError> {
        match client::ask_once(&self.at.path, request) {
            Ok(Answer::Refused { errors }) => Err(refused(&errors)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.unanswered(&error)),
        }
    }

    /// What went wrong with asking, where, and what would do.
    fn unanswered(&self, error: &ClientError) -> CommandError {
        let at = &self.at;
        CommandError::failed(match error {
            ClientError::Absent(error) => format!(
                "no daemon answers at {at}: {error}; start one with `forgewatch watch`, or say where it listens: \
                 --socket, then $FORGEWATCH_SOCKET, then control.socket of the configuration file"
            ),
            ClientError::Forbidden(error) => format!(
                "{at}: {error}; root, the daemon's own user and the members of its control.group may use it"
            ),
            ClientError::TooLong => format!("{error}; ask for less at once"),
            ClientError::BrokenOff => format!("the connection to the daemon at {at} was lost"),
            ClientError::Silent | ClientError::Nonsense(_) => format!("{error}, at {at}"),
        })
    }
}

/// The daemon's own words for why it did not. They can quote a file.
fn refused(errors: &[String]) -> CommandError {
    let errors: Vec<String> = errors.iter().map(|error| neutral(error, LIMIT)).collect();
    CommandError::failed(errors.join("\n"))
}

/// Prints. Ok(false) where nobody reads any more, which is no failure.
fn print(text: &str) -> Result<bool, CommandError> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CommandError::failed(format!("standard output: {error}"))),
    }
}

/// Now, Unix milliseconds.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
