//! The environment of a hook's program: what is in it, and what may not be.

use std::ffi::OsString;

use toml::de::DeValue;

use super::env::{ACCESS_KEY, Env, SECRET_KEY};
use super::value;
use crate::hooks::payload::OF_THE_EVENT;
use forgewatch_core::quote::quoted;

/// What every program gets of our own environment.
const ALWAYS_PASSED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// What a program gets besides the event: the four, those named, those written; of one name the last counts.
pub(super) fn environment(
    env: &Env,
    pass: &[String],
    set: Vec<(String, OsString)>,
) -> Vec<(String, OsString)> {
    let ours = ALWAYS_PASSED
        .into_iter()
        .chain(pass.iter().map(String::as_str));
    let ours = ours.filter_map(|name| Some((name.to_owned(), env.for_hook(name)?.to_owned())));
    let mut all: Vec<(String, OsString)> = Vec::new();
    for (name, value) in ours.chain(set) {
        all.retain(|(other, _)| *other != name);
        all.push((name, value));
    }
    all
}

/// An entry of the key `env`: a name with its text.
pub(super) fn assignment(name: &str, value: &DeValue<'_>) -> Result<(String, OsString), String> {
    let name = variable(name.to_owned())?;
    let text = value.as_str().ok_or_else(|| {
        let found = value::type_name(value);
        format!("{name}: {found} is not a text; put it in quotes")
    })?;
    if text.contains('\0') {
        return Err(format!(
            "{name}: no variable holds a zero byte; take it out"
        ));
    }
    Ok((name, OsString::from(text)))
}

/// The name of a variable that a hook may have besides those the event sets.
pub(super) fn variable(name: String) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(good) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(format!(
            "{} is no name of a variable; letters, digits and _ would do",
            quoted(&name)
        ));
    }
    if name == ACCESS_KEY || name == SECRET_KEY {
        return Err(format!("{name} is never handed to a hook; take it out"));
    }
    if OF_THE_EVENT.contains(&name.as_str()) {
        return Err(format!("{name} is set by the event; take it out"));
    }
    Ok(name)
}
