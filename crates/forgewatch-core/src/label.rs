//! What a label may be called and hold.

use super::quote::quoted;

/// A label's name is up to 63 letters, digits, `.`, `_`, `-` and `/`; its value up to 1024 characters of one line.
///
/// # Errors
/// It is none: what would do, for whoever wrote it.
pub fn label(name: &str, value: &str) -> Result<(String, String), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if name.is_empty() || name.len() > 63 || !name.chars().all(good) {
        return Err(format!(
            "{} is no name of a label; up to 63 letters, digits and any of . _ - / would do",
            quoted(name)
        ));
    }
    if value.chars().count() > 1024 || value.chars().any(char::is_control) {
        return Err(format!(
            "the value of {name} is too long or holds control characters; up to 1024 characters in one line would do"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}
