//! `forgewatch check`: says whether the configuration and the credentials are in order, before anything depends on
//! them.

use std::io::{self, Write};
use std::process::ExitCode;

use super::args::CheckArgs;
use super::ready::{Ready, ready};
use super::{FAILED, USAGE, complain, online};
use crate::config::credentials::Source;
use crate::config::{self, Env, Loaded};

/// Checks the configuration and the credentials, then with `--online` the API too.
pub(super) fn run(args: &CheckArgs, env: &Env) -> ExitCode {
    let loaded = config::inspect(args.config.config.as_deref(), env);
    let Ready {
        loaded,
        source,
        client,
        ..
    } = match ready(loaded, env) {
        Ok(ready) => ready,
        Err(errors) => {
            complain(&errors);
            return ExitCode::from(USAGE);
        }
    };
    let _ = io::stdout().write_all(summary(&loaded, &source).as_bytes());
    if !args.online {
        return ExitCode::SUCCESS;
    }
    match online::ask(&loaded.settings, &client) {
        Ok(answer) => {
            let _ = writeln!(io::stdout(), "online:        {answer}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            complain(&what);
            ExitCode::from(FAILED)
        }
    }
}

/// What was found, in a few lines.
fn summary(loaded: &Loaded, source: &Source) -> String {
    let file = loaded.source.as_ref().map_or_else(
        || "none, defaults hold".to_owned(),
        |path| path.display().to_string(),
    );
    format!(
        "configuration: {file}\ncredentials:   {source}\nAPI:           {}\njobs:          {} in the file\n",
        loaded.settings.api.base_url,
        loaded.settings.jobs.len(),
    )
}
