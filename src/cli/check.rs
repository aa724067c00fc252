//! `forgewatch check`: says whether the configuration and the credentials are in order, before anything depends on
//! them.

use std::io::{self, Write};
use std::process::ExitCode;

use super::args::CheckArgs;
use super::{FAILED, USAGE, complain};
use crate::config::credentials::{self, Credentials, Source};
use crate::config::settings::Settings;
use crate::config::{self, ConfigErrors, Env, Loaded};

/// Checks the configuration and the credentials, then with `--online` the API too.
///
/// `ask` asks the API once, and says in a line what it answered: Ok where it takes these credentials, Err with what
/// would do otherwise.
pub(super) fn run(
    args: &CheckArgs,
    env: &Env,
    ask: impl FnOnce(&Settings, &Credentials) -> Result<String, String>,
) -> ExitCode {
    let (loaded, credentials, source) = match find_all(args, env) {
        Ok(found) => found,
        Err(errors) => {
            complain(&errors);
            return ExitCode::from(USAGE);
        }
    };
    let _ = io::stdout().write_all(summary(&loaded, &source).as_bytes());
    if !args.online {
        return ExitCode::SUCCESS;
    }
    match ask(&loaded.settings, &credentials) {
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

fn find_all(args: &CheckArgs, env: &Env) -> Result<(Loaded, Credentials, Source), ConfigErrors> {
    let loaded = config::inspect(args.config.config.as_deref(), env)?;
    let (credentials, source) = credentials::find(loaded.credentials_file.as_deref(), env)?;
    Ok((loaded, credentials, source))
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
