//! `forgewatch state`: says whether a state file is sound, and rescues what is readable of one that is not.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::args::{StateArgs, StateCheckArgs, StateCommand, StateRecoverArgs};
use super::complain;
use crate::app::FAILED;
use crate::store;

/// Does what is asked; 0 where all went well, 1 where the file is not sound or nothing could be rescued.
pub(super) fn run(args: &StateArgs) -> ExitCode {
    match &args.command {
        StateCommand::Check(args) => check(args),
        StateCommand::Recover(args) => recover(args),
    }
}

fn check(args: &StateCheckArgs) -> ExitCode {
    match store::check(&args.file) {
        Ok(tables) => {
            let rows: Vec<String> = tables
                .into_iter()
                .map(|(table, rows)| format!("{rows} {table}"))
                .collect();
            tell(&format!(
                "{}: sound: {}",
                args.file.display(),
                rows.join(", ")
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::from(FAILED)
        }
    }
}

fn recover(args: &StateRecoverArgs) -> ExitCode {
    let to = args.to.clone().unwrap_or_else(|| {
        let mut name = OsString::from(&args.from);
        name.push(".recovered");
        PathBuf::from(name)
    });
    match store::recover(&args.from, &to) {
        Ok(tables) => {
            let no_watch = |t: &store::Rescue| {
                t.table == "watches" && t.rescued == 0 && (t.lost > 0 || t.cut_off)
            };
            let is_without_watches = tables.iter().any(no_watch);
            for table in tables {
                let lost = if table.cut_off {
                    format!("{} lost or more: its end can't be reached", table.lost)
                } else {
                    format!("{} lost", table.lost)
                };
                tell(&format!(
                    "{}: {} rescued, {lost}",
                    table.table, table.rescued
                ));
            }
            if is_without_watches {
                tell(
                    "not one watch could be rescued: the jobs of the configuration are watched anew, those that were \
                     added by hand are gone",
                );
            }
            // A WAL that stays behind would be taken for the new file's.
            tell(&format!(
                "to go on with it: move {from} and, if it is there, {from}-wal out of the way, then {to} to {from}",
                from = args.from.display(),
                to = to.display()
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::from(FAILED)
        }
    }
}

/// A closed standard output is no reason to end otherwise.
fn tell(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
