//! `forgewatch watch`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::one_shot::{Finished, Run, StateFile};
use super::setup::{Ready, ready};
use super::{FAILED, INTERNAL, UNUSABLE, USAGE, daemon};
use crate::clanforge::Client;
use crate::config::settings::{OneShot, Output, Settings};
use crate::config::{self, Env, Given};
use crate::hooks::Actions;
use crate::os::privacy;
use crate::report::{Mode, Report, StreamFacts, Streams, diagnostics};

/// Watches the jobs to their end, or, without `--until-done`, until a signal ends it.
pub fn run(given: Given, until_done: bool, env: &Env) -> Result<u8, CommandError> {
    if until_done {
        let plan = prepare(&given, env)?;
        Ok(self::until_done(plan, env)?.status)
    } else {
        daemon::run(given, env).map(|()| 0)
    }
}

/// What a one-shot needs to know.
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) client: Client,
    pub(super) options: OneShot,
    pub(super) output: Output,
    /// Whether to begin with what earlier one-shots learnt, and keep what this one learns.
    pub(super) learns: bool,
}

/// Why nothing was watched, and the status to leave with.
pub struct CommandError {
    /// The exit status.
    pub status: u8,
    /// One line for each error.
    pub why: String,
}

impl CommandError {
    /// The user can mend it.
    pub(super) fn usage(why: &impl fmt::Display) -> Self {
        Self {
            status: USAGE,
            why: why.to_string(),
        }
    }

    /// It could not be done.
    pub(super) fn failed(why: &impl fmt::Display) -> Self {
        Self {
            status: FAILED,
            why: why.to_string(),
        }
    }

    /// The state cannot be used.
    pub(super) fn unusable(why: &impl fmt::Display) -> Self {
        Self {
            status: UNUSABLE,
            why: why.to_string(),
        }
    }

    /// The machine gives no thread, no entropy, no event queue.
    pub(super) fn internal(why: &impl fmt::Display) -> Self {
        Self {
            status: INTERNAL,
            why: why.to_string(),
        }
    }
}

fn prepare(given: &Given, env: &Env) -> Result<Plan, CommandError> {
    let loaded = config::load(given, env);
    let Ready { loaded, client, .. } = ready(loaded, env).map_err(|e| CommandError::usage(&e))?;
    Ok(Plan {
        settings: loaded.settings,
        client,
        options: loaded.one_shot,
        output: loaded.output,
        learns: true,
    })
}

/// Sets up output and engine, and watches to the end.
pub(super) fn until_done(plan: Plan, env: &Env) -> Result<Finished, CommandError> {
    let facts = StreamFacts::gather();
    let mode = mode_of(plan.output, &facts);
    if !plan.settings.hooks.is_empty() {
        privacy::keep();
    }
    let ca_file = plan.settings.api.ca_file.as_deref();
    let actions =
        Actions::new(&plan.settings.hooks, ca_file).map_err(|e| CommandError::usage(&e))?;
    let filter = env
        .text(diagnostics::VARIABLE)
        .map_err(|e| CommandError::usage(&e))?;
    let report = Report::start(mode, facts.style(mode), Streams::standard())
        .map_err(|e| CommandError::internal(&e))?;
    diagnostics::install(report.diagnostics(), filter).map_err(|e| CommandError::usage(&e))?;

    let kept =
        StateFile::open(plan.options.state.as_deref()).map_err(|e| CommandError::unusable(&e))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CommandError::internal(&e))?;
    let cache = plan.learns.then(|| calibration_file(env)).flatten();
    let finished = runtime.block_on(async {
        let run = Run::new(
            plan.settings,
            plan.options,
            plan.client,
            actions,
            report,
            cache.as_ref(),
            kept,
        )
        .await?;
        Ok(run.until_done(cache.as_ref()).await)
    });
    // A name lookup under way blocks a thread that nobody needs to wait for.
    runtime.shutdown_background();
    finished.map_err(|e: io::Error| CommandError::internal(&e))
}

/// What is printed, where nothing else is said by what the streams are.
pub(super) fn mode_of(output: Output, facts: &StreamFacts) -> Mode {
    match output {
        Output::Auto => facts.auto(),
        Output::Progress => Mode::Progress,
        Output::Text => Mode::Text,
        Output::Json => Mode::Json,
        Output::Quiet => Mode::Quiet,
    }
}

/// `$XDG_CACHE_HOME/forgewatch/calibration.json`, with `~/.cache` where that variable is missing; None where
/// there is no home either. As the XDG specification says, a path that is not absolute is ignored.
fn calibration_file(env: &Env) -> Option<PathBuf> {
    let absolute = |name| env.path(name).filter(|p| p.is_absolute());
    let cache = absolute("XDG_CACHE_HOME")
        .map(Path::to_owned)
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("forgewatch").join("calibration.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_follows_the_xdg_specification() {
        let env = |vars: &[(&str, &str)]| -> Env {
            vars.iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect()
        };
        let home = ("HOME", "/home/ann");
        for (vars, want) in [
            (
                vec![home],
                Some("/home/ann/.cache/forgewatch/calibration.json"),
            ),
            (
                vec![home, ("XDG_CACHE_HOME", "/c")],
                Some("/c/forgewatch/calibration.json"),
            ),
            (
                vec![("XDG_CACHE_HOME", "c"), home],
                Some("/home/ann/.cache/forgewatch/calibration.json"),
            ),
            (vec![], None),
        ] {
            assert_eq!(calibration_file(&env(&vars)), want.map(PathBuf::from));
        }
    }
}
