//! `forgewatch check --diff`.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use anstyle::AnsiColor;

use super::{DaemonClient, rejected_as, unexpected_response, write_stdout};
use crate::app::command_error::CommandError;
use crate::cli::args::CheckArgs;
use crate::config::Env;
use crate::control::client;
use crate::control::protocol::{Request, Response};
use crate::report::has_color;
use crate::report::sanitize::{LIMIT, sanitized};
use forgewatch_core::reload_preview::{HookChangeKind, KeyChange, ReloadPreview};

/// The daemon compares: it has its own environment, and reads files that the user may not read.
pub(in crate::cli) fn run(args: &CheckArgs, env: &Env) -> Result<(), CommandError> {
    let daemon = DaemonClient::find(&args.daemon, env)?;
    let preview = match client::call(&daemon.address, &Request::PreviewReload) {
        Ok(Response::ReloadPreview(preview)) => preview,
        Ok(Response::Error { messages, .. }) => {
            return Err(rejected_as(CommandError::usage, &messages));
        }
        Ok(_) => return Err(unexpected_response()),
        Err(error) => return Err(daemon.explain(&error)),
    };
    check_file(args.daemon.config.config.as_deref(), &preview)?;
    write_stdout(&page(&preview, has_color(&io::stdout())))?;
    if preview.needs_restart.is_empty() {
        Ok(())
    } else {
        Err(rejected_as(CommandError::failed, &preview.needs_restart))
    }
}

/// The daemon reads its own file, whatever this command names.
fn check_file(named: Option<&Path>, preview: &ReloadPreview) -> Result<(), CommandError> {
    let used = preview.file.as_deref().map(Path::new);
    let is_same = |a: &Path, b: &Path| match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        // A file that this user cannot see.
        _ => a == b,
    };
    match (named, used) {
        (Some(named), Some(used)) if is_same(named, used) => Ok(()),
        (None, _) => Ok(()),
        (Some(named), used) => {
            let used = used.map_or("no file".into(), Path::to_string_lossy);
            Err(CommandError::failed(format!(
                "the daemon uses {}, not {}; --diff compares the file of the daemon",
                sanitized(&used, LIMIT),
                named.display()
            )))
        }
    }
}

/// A line per change: `+` is added, `-` is removed, `~` is changed.
fn page(preview: &ReloadPreview, color: bool) -> String {
    let mut page = String::new();
    let mut line = |sign: char, text: &str| {
        let text = sanitized(text, LIMIT);
        let style = match sign {
            '+' => AnsiColor::Green,
            '-' => AnsiColor::Red,
            _ => AnsiColor::Yellow,
        };
        let style = style.on_default();
        let _ = if color {
            writeln!(page, "{style}{sign}{style:#} {text}")
        } else {
            writeln!(page, "{sign} {text}")
        };
    };
    for key in &preview.keys {
        line('~', &key_change(key));
    }
    for job in &preview.watched {
        line('+', &format!("job {job}"));
    }
    for job in &preview.removed {
        line('-', &format!("job {job}"));
    }
    for hook in &preview.hooks {
        let name = &hook.hook;
        match &hook.change {
            HookChangeKind::Added => line('+', &format!("hook {name}")),
            HookChangeKind::Removed => line('-', &format!("hook {name}")),
            HookChangeKind::Changed(keys) => {
                for key in keys {
                    line('~', &format!("hook {name}: {}", key_change(key)));
                }
            }
        }
    }
    if page.is_empty() {
        page.push_str("no changes\n");
    }
    page
}

fn key_change(change: &KeyChange) -> String {
    match &change.values {
        Some((old, new)) => format!("{}: {old} -> {new}", change.key),
        None => format!("{}: changed", change.key),
    }
}
