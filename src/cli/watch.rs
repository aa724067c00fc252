//! `forgewatch watch`.

use std::process::ExitCode;

use super::args::WatchArgs;
use super::{FAILED, USAGE, complain};
use crate::config::{self, Env, credentials};

/// Watches the jobs to their end.
pub(super) fn run(args: WatchArgs, env: &Env) -> ExitCode {
    if !args.until_done {
        complain(
            &"watch: the daemon is not there yet; add --until-done to watch jobs to their end",
        );
        return ExitCode::from(USAGE);
    }
    let loaded = match config::load(&args.into_given(), env) {
        Ok(loaded) => loaded,
        Err(errors) => {
            complain(&errors);
            return ExitCode::from(USAGE);
        }
    };
    if let Err(error) = credentials::find(loaded.credentials_file.as_deref(), env) {
        complain(&error);
        return ExitCode::from(USAGE);
    }
    complain(&"watch: the engine is not there yet");
    ExitCode::from(FAILED)
}
