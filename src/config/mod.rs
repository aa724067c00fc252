//! The configuration: flags override environment variables, which override the file, which overrides the defaults.
//!
//! [`load`] is for a one-shot, [`load_daemon`] for the daemon, [`inspect`] for `check`, [`find_daemon`] for clients of
//! the daemon. All errors are reported at once, each with its place and a way to fix it; errors of the credentials too.
//!
//! `keys` and `entry_keys` are the table of keys; values, defaults, flags, variables, checks, [`manual`] and JSON Schema come from it.
//! `layers` merges, `parse` reads a section's table into its target, `file` positions its errors.

mod command_line;
pub mod credentials;
mod default_paths;
mod diff;
mod entry_keys;
pub mod env;
pub mod error;
mod file;
mod hooks;
mod http;
mod jobs;
mod key;
mod keys;
mod layers;
mod location;
pub mod manual;
mod parse;
mod program;
mod report_files;
mod script;
mod secret;
pub mod settings;
mod value;
mod webhook;

use std::path::{Path, PathBuf};

use toml::de::DeTable;
use url::Url;

pub use command_line::{CommandLine, named_jobs, output, wait};
pub use diff::{changed_hooks, changed_keys};
pub use env::Env;
pub use error::{ConfigError, ConfigErrors};
pub use location::{
    DaemonFlags, DaemonLocation, ServerLocation, SocketLocation, find_daemon, find_socket,
};
pub use manual::{FlagHelp, flags};
pub use settings::needs_restart;

use crate::hooks::HookAction;
use crate::http_client::Proxy;
use default_paths::DefaultPaths;
use error::Origin;
use forgewatch_core::job::{JobRef, JobSpec};
use layers::Layers;
use settings::{OneShotSettings, OutputFormat, RunMode, Settings};

#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub one_shot: OneShotSettings,
    pub output: OutputFormat,
    /// The configuration file.
    pub source: Option<PathBuf>,
}

/// Loads the configuration of a one-shot.
///
/// From a file at a default path, only `[api]` and `[schedule]` are used: the rest belongs to the daemon, and errors in it
/// must not stop a one-shot. A file named by the user is used whole.
pub fn load(command_line: &CommandLine, env: &Env) -> Result<Loaded, ConfigErrors> {
    merge(command_line, env, RunMode::OneShot)
}

/// Loads the configuration of the daemon, at startup and at a reload.
///
/// The whole file is used. Jobs on the command line replace the file's; the list may be empty.
pub fn load_daemon(command_line: &CommandLine, env: &Env) -> Result<Loaded, ConfigErrors> {
    merge(command_line, env, RunMode::Daemon)
}

/// Loads the configuration as a daemon without other arguments would.
pub fn inspect(config: Option<&Path>, env: &Env) -> Result<Loaded, ConfigErrors> {
    let command_line = CommandLine {
        config: config.map(Path::to_owned),
        ..CommandLine::default()
    };
    load_daemon(&command_line, env)
}

/// The defaults for jobs of a simulator, without environment and file. Requests are cheaper than with a real API, so
/// that jobs of a few seconds are polled often enough.
pub fn for_simulator(
    base_url: &str,
    account_service_id: u64,
    jobs: &[JobRef],
) -> Result<Loaded, ConfigErrors> {
    let command_line = CommandLine {
        config: Some(PathBuf::from("/dev/null")),
        flags: vec![
            ("--base-url", base_url.to_owned()),
            ("--account-service-id", account_service_id.to_string()),
            ("--request-cost", "50ms".to_owned()),
            ("--min-interval", "200ms".to_owned()),
        ],
        jobs: jobs.iter().map(ToString::to_string).collect(),
        ..CommandLine::default()
    };
    load(&command_line, &Env::default())
}

fn merge(command_line: &CommandLine, env: &Env, mode: RunMode) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let mut layers = Layers::with_defaults(mode)?;
    layers.use_default_paths(DefaultPaths::of(env));
    let file = file::config(command_line.config.as_deref(), env);
    let file = file.unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let lists = file
        .as_ref()
        .and_then(|file| layers.apply_file(file, env, &mut errors));
    // Nothing is known to be missing if the file could not be read or parsed.
    let is_file_known = errors.is_empty() || lists.is_some();
    layers.apply_environment(env, &mut errors);
    layers.apply_flags(command_line, &mut errors);
    if is_file_known {
        layers.check_required(&mut errors);
        layers.cross_check(&mut errors);
    }

    let lists = lists.unwrap_or_default();
    let jobs = command_line.jobs(&mut errors).or(lists.jobs);
    if mode == RunMode::OneShot {
        check_any_jobs(jobs.as_deref(), is_file_known, &mut errors);
    }
    let mut jobs = jobs.unwrap_or_default();
    let mut hooks = lists.hooks;
    command_line.add_hooks(&mut hooks, env, &mut errors);
    errors.extend(webhook::secrets_in_variables(&hooks));
    // Labels of the command line override those of the file.
    let labels = command_line.labels(&mut errors);
    for job in &mut jobs {
        job.labels.extend(labels.clone());
    }
    let one_shot = command_line.one_shot(mode, &mut errors);
    // `start_report` warns about an invalid one.
    layers.settings.limits.origin.trace = env.trace().ok().flatten();
    layers.settings.api.proxy = find_proxy(&layers.settings.api.base_url, env, &mut errors);
    for hook in &mut hooks {
        if let HookAction::Webhook(webhook) = &mut hook.action {
            webhook.proxy = find_proxy(&webhook.url, env, &mut errors);
        }
    }
    let output = output(command_line.output, env).unwrap_or_else(|error| {
        errors.push(error);
        OutputFormat::default()
    });
    if !errors.is_empty() {
        check_credentials(&layers, is_file_known, env, &mut errors);
    }
    ConfigErrors::ok_if_empty(errors)?;
    Ok(Loaded {
        settings: Settings {
            jobs,
            hooks,
            ..layers.settings
        },
        one_shot,
        output,
        source: file.map(|file| file.path),
    })
}

/// The proxy for a URL by the environment. One error per variable is reported.
fn find_proxy(url: &Url, env: &Env, errors: &mut Vec<ConfigError>) -> Option<Proxy> {
    Proxy::find(url, |name| env.for_hook(name)).unwrap_or_else(|error| {
        let error = ConfigError::from(error);
        if !errors.contains(&error) {
            errors.push(error);
        }
        None
    })
}

/// Reports that there are no jobs, if that is certain.
fn check_any_jobs(jobs: Option<&[JobSpec]>, is_file_known: bool, errors: &mut Vec<ConfigError>) {
    let is_certain = match jobs {
        None => is_file_known,
        // The list may be empty because every job in it was invalid.
        Some(jobs) => jobs.is_empty() && errors.is_empty(),
    };
    if is_certain {
        let what = "no jobs to watch; name some with diff/1234, --diff 1234, --update 77, --image-version 5, --jobs-file FILE, or [[jobs]] \
                    in a file named with --config";
        errors.push(ConfigError::new(Origin::Unspecified, what));
    }
}

/// Reports errors of the credentials together with the others. Without other errors, the caller reads the credentials.
fn check_credentials(
    layers: &Layers,
    is_file_known: bool,
    env: &Env,
    errors: &mut Vec<ConfigError>,
) {
    let file = layers.settings.credentials_file.as_deref();
    let is_certain = (is_file_known || file.is_some()) && layers.is_valid("api.credentials_file");
    let found = if is_certain {
        credentials::find(file, env).map(drop)
    } else {
        credentials::from_environment(env).map(drop)
    };
    errors.extend(found.err());
}

/// The names of the hooks in the file at `config` or a default path, whatever else is wrong in it.
pub fn hook_names(config: Option<&Path>, env: &Env) -> Vec<String> {
    let Ok(Some(source)) = file::config(config, env) else {
        return Vec::new();
    };
    let (tree, _) = DeTable::parse_recoverable(&source.text);
    let hooks = tree.get_ref().get("hooks");
    let hooks = hooks.and_then(|hooks| hooks.get_ref().as_array());
    let names = hooks.into_iter().flat_map(|hooks| hooks.iter());
    let names = names.filter_map(|hook| hook.get_ref().as_table()?.get("name")?.get_ref().as_str());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod shipped_tests;
