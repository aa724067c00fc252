//! Validation of labels.

use super::quote::quoted;

/// Checks a label: its name has up to 63 letters, digits, `.`, `_`, `-` and `/`, its value up to 1024 characters in one
/// line.
///
/// # Errors
/// A message for the user.
pub fn validate_label(name: &str, value: &str) -> Result<(String, String), String> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if name.is_empty() || name.len() > 63 || !name.chars().all(is_valid) {
        return Err(format!(
            "invalid label name {}: use up to 63 letters, digits, '.', '_', '-' or '/'",
            quoted(name)
        ));
    }
    if value.chars().count() > 1024 || value.chars().any(char::is_control) {
        return Err(format!(
            "invalid value of label {name}: use up to 1024 characters in one line"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}
