//! The environment of a hook's program.

use std::ffi::OsString;

use toml::de::DeValue;

use super::env::{ACCESS_KEY, Env, SECRET_KEY};
use super::value;
use forgewatch_core::delivery::EVENT_VARIABLES;
use forgewatch_core::quote::quoted;

/// Passed to every program.
const ALWAYS_PASSED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// The variables that do not come from the event: always passed, named by `pass_env`, set by `env`. A later one
/// overrides an earlier one.
pub(super) fn environment(
    env: &Env,
    pass: &[String],
    set: Vec<(String, OsString)>,
) -> Vec<(String, OsString)> {
    let passed = ALWAYS_PASSED
        .into_iter()
        .chain(pass.iter().map(String::as_str));
    let passed = passed.filter_map(|name| Some((name.to_owned(), env.for_hook(name)?.to_owned())));
    let mut environment: Vec<(String, OsString)> = Vec::new();
    for (name, value) in passed.chain(set) {
        environment.retain(|(other, _)| *other != name);
        environment.push((name, value));
    }
    environment
}

/// Parses an entry of `env`.
pub(super) fn assignment(name: &str, value: &DeValue<'_>) -> Result<(String, OsString), String> {
    let name = variable(name.to_owned())?;
    let text = value.as_str().ok_or_else(|| {
        let found = value::type_name(value);
        format!("{name}: expected a string in quotes, found {found}")
    })?;
    if text.contains('\0') {
        return Err(format!("{name}: a variable cannot contain a NUL byte"));
    }
    Ok((name, OsString::from(text)))
}

/// Rejects names that the event sets, and those of the credentials.
pub(super) fn variable(name: String) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(good) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(format!(
            "invalid variable name {}: use letters, digits and '_'",
            quoted(&name)
        ));
    }
    if name == ACCESS_KEY || name == SECRET_KEY {
        return Err(format!("{name} is never passed to a hook; remove it"));
    }
    if EVENT_VARIABLES.contains(&name.as_str()) {
        return Err(format!("{name} is set by the event; remove it"));
    }
    Ok(name)
}
