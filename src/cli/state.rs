//! `forgewatch state`: checks a state file, and recovers what is readable of a damaged one.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use super::args::{StateArgs, StateCheckArgs, StateCommand, StateRecoverArgs};
use crate::app::command_error::CommandError;
use crate::report::stdio;
use crate::store;

pub(super) fn run(args: &StateArgs) -> Result<(), CommandError> {
    match &args.command {
        StateCommand::Check(args) => check(args),
        StateCommand::Recover(args) => recover(args),
    }
}

fn check(args: &StateCheckArgs) -> Result<(), CommandError> {
    let tables = store::check(&args.file).map_err(CommandError::failed)?;
    let rows: Vec<String> = tables
        .into_iter()
        .map(|(table, rows)| format!("{rows} {table}"))
        .collect();
    print_line(&format!("{}: ok: {}", args.file.display(), rows.join(", ")));
    Ok(())
}

fn recover(args: &StateRecoverArgs) -> Result<(), CommandError> {
    let to = args.to.clone().unwrap_or_else(|| {
        let mut name = OsString::from(&args.from);
        name.push(".recovered");
        PathBuf::from(name)
    });
    let tables = store::recover(&args.from, &to).map_err(CommandError::failed)?;
    let no_watch = |t: &store::RecoveredTable| {
        t.table == "watches" && t.recovered == 0 && (t.lost > 0 || t.truncated)
    };
    let is_without_watches = tables.iter().any(no_watch);
    for table in tables {
        let lost = if table.truncated {
            format!(
                "{} or more lost: the end of the table is unreadable",
                table.lost
            )
        } else {
            format!("{} lost", table.lost)
        };
        print_line(&format!(
            "{}: {} recovered, {lost}",
            table.table, table.recovered
        ));
    }
    if is_without_watches {
        print_line(
            "no watch could be recovered: jobs of the configuration are watched from the start, jobs added by clients \
             are lost",
        );
    }
    // A WAL left behind would be applied to the new file.
    print_line(&format!(
        "to use it: move {from} and, if it exists, {from}-wal away, then move {to} to {from}",
        from = args.from.display(),
        to = to.display()
    ));
    Ok(())
}

/// A closed standard output does not change the exit status.
fn print_line(line: &str) {
    let _ = writeln!(stdio::stdout(), "{line}");
}
