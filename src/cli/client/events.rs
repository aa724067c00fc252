//! `forgewatch events`.

use serde_json::value::RawValue;

use super::args::{EventsArgs, SinceArg};
use super::{Daemon, Undone, now_ms, print, refused};
use crate::config::Env;
use crate::control::client::ClientError;
use crate::control::protocol::{Answer, Request, Since};
use crate::core::time::millis;
use crate::report::json;

/// How one connection's stream ended.
enum End {
    /// There are no more, or nobody reads them.
    All,
    /// In the middle.
    Cut(ClientError),
}

/// Prints the events there are, and with `--follow` those to come, until the daemon ends or nobody reads any more.
pub(in crate::cli) fn run(args: &EventsArgs, env: &Env) -> Result<(), Undone> {
    let daemon = Daemon::find(&args.daemon, env);
    let mut since = begin(args);
    loop {
        let before = since;
        let cut = match stream(&daemon, args.follow, &mut since)? {
            End::All => return Ok(()),
            End::Cut(error) => error,
        };
        // A daemon does not wait for a reader that rests, such as a pager: where it was, one can go on.
        if since == before {
            let mut undone = daemon.unanswered(&cut);
            if let Since::After(offset) = since {
                let why = undone.why;
                undone.why = format!("{why}\nto go on where it ended: --since {offset}");
            }
            return Err(undone);
        }
    }
}

fn begin(args: &EventsArgs) -> Since {
    match args.since {
        Some(SinceArg::Offset(offset)) => Since::After(offset),
        Some(SinceArg::Ago(ago)) => Since::At(now_ms().saturating_sub_unsigned(millis(ago))),
        None if args.follow => Since::Now,
        None => Since::Beginning,
    }
}

/// Prints what comes through one connection; `since` moves along.
fn stream(daemon: &Daemon, follow: bool, since: &mut Since) -> Result<End, Undone> {
    let request = Request::Events {
        since: *since,
        follow,
    };
    for answer in daemon.ask(&request)? {
        match answer {
            Ok(Answer::Event { offset, record }) => {
                if !print(&(json::line(&with_offset(offset, &record)) + "\n"))? {
                    return Ok(End::All);
                }
                *since = Since::After(offset);
            }
            Ok(Answer::Done) => return Ok(End::All),
            Ok(Answer::Refused { errors }) => return Err(refused(&errors)),
            Ok(_) => return Err(Undone::beside_the_point()),
            Err(error) => return Ok(End::Cut(error)),
        }
    }
    Ok(End::Cut(ClientError::BrokenOff))
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
