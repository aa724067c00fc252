//! Hooks of the command line: `--on-event TYPE=COMMAND`.

use std::path::Path;
use std::sync::Arc;

use super::env::Env;
use super::error::{ConfigError, Origin};
use super::hook_env::environment;
use super::hook_keys::{MAX_RUNNING, RETRIES, RUN_TIMEOUT};
use super::hooks::{command, event_type};
use crate::hooks::{HookAction, HookSpec};
use forgewatch_core::delivery::HookRules;
use forgewatch_core::quote::quoted;

pub(super) fn from_command_line(
    given: &[String],
    env: &Env,
    errors: &mut Vec<ConfigError>,
) -> Vec<HookSpec> {
    let mut hooks = Vec::new();
    for (number, text) in (1..).zip(given) {
        match on_event(number, text, env) {
            Ok(hook) => hooks.push(hook),
            Err(messages) => {
                let error = |what| ConfigError::new(Origin::Flag("--on-event"), what);
                errors.extend(messages.into_iter().map(error));
            }
        }
    }
    hooks
}

/// Err holds every error of `text`.
fn on_event(number: usize, text: &str, env: &Env) -> Result<HookSpec, Vec<String>> {
    let (kind, line) = text.split_once('=').ok_or_else(|| {
        vec![format!(
            "expected TYPE=COMMAND such as job.failed='notify --urgent', found {}",
            quoted(text)
        )]
    })?;
    let command = shlex::split(line)
        .ok_or_else(|| format!("unclosed quote in {}", quoted(line)))
        .and_then(|words| command(words, Path::new(""), env, None));
    let (kind, (program, args)) = match (event_type(kind), command) {
        (Ok(kind), Ok(command)) => (kind, command),
        (kind, command) => return Err([kind.err(), command.err()].into_iter().flatten().collect()),
    };
    Ok(HookSpec {
        rules: HookRules {
            name: format!("on-event-{number}").into(),
            on: vec![kind],
            kinds: None,
            retries: RETRIES,
            max_running: MAX_RUNNING,
        },
        action: HookAction::Run {
            program,
            args,
            env: environment(env, &[], Vec::new()),
        },
        timeout: RUN_TIMEOUT,
    })
}

/// Appends the command line's hooks to the file's.
pub(super) fn join(mut hooks: Vec<HookSpec>, of_command_line: Vec<HookSpec>) -> Vec<HookSpec> {
    for mut hook in of_command_line {
        // The file may already use the name.
        while hooks
            .iter()
            .any(|other| other.rules.name == hook.rules.name)
        {
            hook.rules.name = Arc::from(format!("{}-", hook.rules.name));
        }
        hooks.push(hook);
    }
    hooks
}
