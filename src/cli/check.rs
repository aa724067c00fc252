//! `forgewatch check`: checks configuration, credentials and hooks.

use std::io::Write;

use super::args::CheckArgs;
use super::client::table::field_lines;
use crate::app::command_error::CommandError;
use crate::app::setup::{Prepared, check_api, prepare};
use crate::config::credentials::CredentialsSource;
use crate::config::settings::{ControlSettings, HttpSettings, Settings};
use crate::config::{self, Env, Loaded};
use crate::control::group_exists;
use crate::report::stdio;
use crate::store;

pub(super) fn run(args: &CheckArgs, env: &Env) -> Result<(), CommandError> {
    let loaded = config::inspect(args.daemon.config.config.as_deref(), env);
    let Prepared {
        loaded,
        credentials_source,
        client,
        ..
    } = prepare(loaded, env).map_err(CommandError::usage)?;
    let mut text = summary(&loaded, &credentials_source);
    text.extend(undelivered(&loaded.settings));
    let _ = stdio::stdout().write_all(text.as_bytes());
    if args.online {
        let response = check_api(&loaded.settings, &client).map_err(CommandError::failed)?;
        let _ = writeln!(stdio::stdout(), "online:        {response}");
    }
    Ok(())
}

/// The hooks that have never delivered anything, by the state file. None if there is no file that this user can read.
fn undelivered(settings: &Settings) -> Option<String> {
    let delivered = store::delivered_hooks(&settings.state.path).ok()?;
    let names = settings.hooks.iter().map(|hook| &*hook.rules.name);
    let names: Vec<&str> = names.filter(|name| !delivered.contains(*name)).collect();
    let first = names.first()?;
    let names = names.join(", ");
    Some(format!(
        "not delivered: {names}; nothing yet, by the state file; try: forgewatch hooks test {first}\n"
    ))
}

fn http_api(http: &HttpSettings) -> String {
    let Some(listen) = http.listen else {
        return "none".to_owned();
    };
    let needs_token = match (http.allow_remote, http.tokens.is_empty()) {
        (true, _) => "everything needs a token",
        (false, false) => "changes need a token",
        (false, true) => "without token_files, it changes nothing",
    };
    format!("{listen}; {needs_token}")
}

fn summary(loaded: &Loaded, source: &CredentialsSource) -> String {
    let file = loaded.source.as_ref().map_or_else(
        || "none, using defaults".to_owned(),
        |path| path.display().to_string(),
    );
    let settings = &loaded.settings;
    let (jobs, hooks) = (settings.jobs.len(), settings.hooks.len());
    let ControlSettings { socket, group, .. } = &settings.control;
    let allowed = match group {
        Some(group) if group_exists(group) => {
            format!("root, the daemon's user and the group {group}")
        }
        Some(group) => format!("root and the daemon's user (no such group: {group})"),
        None => "root and the daemon's user".to_owned(),
    };
    let proxy = settings.api.proxy.as_ref();
    let proxy = proxy.map_or_else(|| "none".to_owned(), ToString::to_string);
    let lines = [
        ("configuration", file),
        ("credentials", source.to_string()),
        ("API", settings.api.base_url.to_string()),
        ("proxy", proxy),
        ("jobs", format!("{jobs} in the file")),
        ("hooks", format!("{hooks} in the file")),
        ("socket", format!("{}, for {allowed}", socket.display())),
        ("HTTP API", http_api(&settings.http)),
    ];
    field_lines(lines, 15)
}
