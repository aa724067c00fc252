//! `forgewatch events`.

use std::fmt::Write;

use serde_json::value::RawValue;

use super::table::TerminalWidth;
use super::{DaemonClient, rejected, unexpected_response, write_stdout};
use crate::app::command_error::CommandError;
use crate::cli::args::client::EventsArgs;
use crate::config::Env;
use crate::control::client::{self, ClientError};
use crate::control::protocol::record::with_offset;
use crate::control::protocol::{EventFilter, Request, Response, Since};
use crate::report::sanitize::json_line;
use crate::report::{StreamInfo, recorded_line, wrapped};
use forgewatch_core::event::ParsedRecord;

/// On narrower screens the terminal wraps.
const MIN_COLUMNS: usize = 30;

#[derive(Clone, Copy)]
enum EventFormat {
    Json,
    /// For people.
    Text {
        color: bool,
        /// None if lines can have any length.
        columns: Option<usize>,
    },
}

impl EventFormat {
    fn line(self, offset: u64, record: &RawValue) -> String {
        if let Self::Text { color, columns } = self
            && let Ok(parsed) = record.get().parse::<ParsedRecord>()
        {
            let line = recorded_line(&parsed, color);
            return match columns {
                Some(columns) if columns >= MIN_COLUMNS => {
                    wrapped(&line, columns, "", "    | ").join("\n")
                }
                _ => line,
            };
        }
        json_line(&with_offset(offset, record))
    }
}

/// Why a stream ended early.
enum StreamEnd {
    /// An error that a new connection would not fix.
    Failed(CommandError),
    /// The connection was lost or could not be made.
    Disconnected(ClientError),
    /// The daemon stopped.
    Shutdown,
}

/// Prints stored events and, with `--follow`, new ones until the daemon stops or standard output is closed.
pub(in crate::cli) fn run(args: &EventsArgs, env: &Env) -> Result<(), CommandError> {
    let daemon = DaemonClient::find(&args.daemon, env)?;
    let filter = EventFilter {
        jobs: args.job.clone(),
        labels: args.selector.parse()?,
        types: args.types.clone(),
    };
    let streams = StreamInfo::detect();
    let format = if args.json || !streams.stdout_terminal {
        EventFormat::Json
    } else {
        EventFormat::Text {
            color: streams.stdout_color,
            columns: TerminalWidth::stdout().columns,
        }
    };
    let default = if args.follow {
        Since::Now
    } else {
        Since::Beginning
    };
    let mut since = args.since.unwrap_or(default);
    let mut printed = None;
    loop {
        let before = printed;
        let request = Request::Events {
            since,
            follow: args.follow,
            filter: filter.clone(),
        };
        let error = match stream(&daemon, &request, format, &mut printed) {
            Ok(()) => return Ok(()),
            Err(StreamEnd::Failed(error)) => return Err(error),
            Err(StreamEnd::Shutdown) => {
                let error = CommandError::failed("the daemon has stopped");
                return Err(with_resume_hint(error, printed));
            }
            Err(StreamEnd::Disconnected(error)) => error,
        };
        // The daemon disconnects a slow reader, such as a pager; resume after the last printed event.
        match printed {
            Some(offset) if printed != before => since = Since::After(offset),
            _ => return Err(with_resume_hint(daemon.explain(&error), printed)),
        }
    }
}

fn with_resume_hint(mut error: CommandError, printed: Option<u64>) -> CommandError {
    if let Some(offset) = printed {
        let _ = write!(error.message, "; resume with --since {offset}");
    }
    error
}

/// Prints the events of one connection, and keeps the offset of the last one in `printed`. Ok at the end of the events
/// or if standard output is closed.
fn stream(
    daemon: &DaemonClient,
    request: &Request,
    format: EventFormat,
    printed: &mut Option<u64>,
) -> Result<(), StreamEnd> {
    for response in client::send(&daemon.address, request).map_err(StreamEnd::Disconnected)? {
        match response.map_err(StreamEnd::Disconnected)? {
            Response::Event { offset, record } => {
                let line = format.line(offset, &record) + "\n";
                if !write_stdout(&line).map_err(StreamEnd::Failed)? {
                    return Ok(());
                }
                *printed = Some(offset);
            }
            Response::CaughtUp { .. } => {}
            Response::Done => return Ok(()),
            Response::Stopped => return Err(StreamEnd::Shutdown),
            Response::Error {
                messages: errors, ..
            } => {
                return Err(StreamEnd::Failed(rejected(&errors)));
            }
            _ => return Err(StreamEnd::Failed(unexpected_response())),
        }
    }
    Err(StreamEnd::Disconnected(ClientError::ConnectionLost))
}
