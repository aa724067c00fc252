//! `forgewatch check`: says whether the configuration and the credentials are in order, before anything depends on
//! them.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use super::args::CheckArgs;
use super::complain;
use crate::app::setup::{Ready, ready};
use crate::app::{FAILED, USAGE, api_check};
use crate::config::credentials::Source;
use crate::config::settings::Control;
use crate::config::{self, Env, Loaded};
use crate::control::server::is_group;

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
    match api_check::ask(&loaded.settings, &client) {
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
    let settings = &loaded.settings;
    let (jobs, hooks) = (settings.jobs.len(), settings.hooks.len());
    let Control { socket, group, .. } = &settings.control;
    let who = if is_group(group) {
        format!("root, the daemon's user and the group {group}")
    } else {
        format!("root and the daemon's user alone, as there is no group {group}")
    };
    let facts = [
        ("configuration", file),
        ("credentials", source.to_string()),
        ("API", settings.api.base_url.to_string()),
        ("jobs", format!("{jobs} in the file")),
        ("hooks", format!("{hooks} in the file")),
        ("socket", format!("{}, for {who}", socket.display())),
    ];
    let mut text = String::new();
    for (name, fact) in facts {
        let _ = writeln!(text, "{:<15}{fact}", format!("{name}:"));
    }
    text
}
