//! `forgewatch events`.

use std::fmt::Write;

use serde_json::value::RawValue;

use super::args::{EventsArgs, SinceArg};
use super::{CommandError, Daemon, now_ms, print, refused};
use crate::config::Env;
use crate::control::client::{self, ClientError};
use crate::control::protocol::{Answer, Request, Since};
use crate::report::json;
use forgewatch_core::time::millis;

/// Why a stream ended before its end.
enum Stop {
    /// For a reason that asking again does not change.
    Failed(CommandError),
    /// The connection was cut, or there was none.
    Cut(ClientError),
    /// The daemon stopped in order.
    Shutdown,
}

/// Prints the events there are, and with `--follow` those to come, until the daemon ends or nobody reads any more.
pub(in crate::cli) fn run(args: &EventsArgs, env: &Env) -> Result<(), CommandError> {
    let daemon = Daemon::find(&args.daemon, env);
    let mut since = begin(args);
    let mut printed = None;
    loop {
        let before = printed;
        let error = match stream(&daemon, args.follow, since, &mut printed) {
            Ok(()) => return Ok(()),
            Err(Stop::Failed(undone)) => return Err(undone),
            Err(Stop::Shutdown) => {
                return Err(ended(
                    CommandError::failed("the daemon has stopped"),
                    printed,
                ));
            }
            Err(Stop::Cut(error)) => error,
        };
        // A daemon does not wait for a reader that rests, such as a pager: one can go on where it was.
        match printed {
            Some(offset) if printed != before => since = Since::After(offset),
            _ => return Err(ended(daemon.unanswered(&error), printed)),
        }
    }
}

/// Says how to go on.
fn ended(mut undone: CommandError, printed: Option<u64>) -> CommandError {
    if let Some(offset) = printed {
        let _ = write!(undone.why, "; to go on where it ended: --since {offset}");
    }
    undone
}

fn begin(args: &EventsArgs) -> Since {
    match args.since {
        Some(SinceArg::Offset(offset)) => Since::After(offset),
        Some(SinceArg::Ago(ago)) => Since::At(now_ms().saturating_sub_unsigned(millis(ago))),
        None if args.follow => Since::Now,
        None => Since::Beginning,
    }
}

/// Prints what comes through one connection, and keeps the offset of the last that was printed. Ok where there is no
/// more, or nobody reads it.
fn stream(
    daemon: &Daemon,
    follow: bool,
    since: Since,
    printed: &mut Option<u64>,
) -> Result<(), Stop> {
    let request = Request::Events { since, follow };
    for answer in client::ask(&daemon.at.path, &request).map_err(Stop::Cut)? {
        match answer.map_err(Stop::Cut)? {
            Answer::Event { offset, record } => {
                let line = json::line(&with_offset(offset, &record)) + "\n";
                if !print(&line).map_err(Stop::Failed)? {
                    return Ok(());
                }
                *printed = Some(offset);
            }
            Answer::Done => return Ok(()),
            Answer::Stopped => return Err(Stop::Shutdown),
            Answer::Refused { errors } => return Err(Stop::Failed(refused(&errors))),
            _ => return Err(Stop::Failed(CommandError::beside_the_point())),
        }
    }
    Err(Stop::Cut(ClientError::BrokenOff))
}

/// The record with its offset as the first field. One that is no object comes back as it is.
fn with_offset(offset: u64, record: &RawValue) -> Box<RawValue> {
    let fields = record.get().trim_start().strip_prefix('{');
    let spliced = fields.and_then(|fields| {
        let comma = if fields.trim_start().starts_with('}') {
            ""
        } else {
            ","
        };
        RawValue::from_string(format!("{{\"offset\":{offset}{comma}{fields}")).ok()
    });
    spliced.unwrap_or_else(|| record.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_comes_first_and_the_rest_stays_as_it_was() {
        for (record, with) in [
            (
                r#"{"timestamp":"t","job_id":18446744073709551615}"#,
                r#"{"offset":7,"timestamp":"t","job_id":18446744073709551615}"#,
            ),
            ("{}", r#"{"offset":7}"#),
            ("[1]", "[1]"),
        ] {
            let record = RawValue::from_string(record.to_owned()).unwrap();
            assert_eq!(with_offset(7, &record).get(), with);
        }
    }
}
