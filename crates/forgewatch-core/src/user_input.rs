//! Text that users write: quoted in messages, compared with the known words, checked as a label.

/// The value in quotes, escaped and cut to a length that fits a line.
pub fn quoted(value: &str) -> String {
    const SHOWN: usize = 60;
    let mut chars = value.chars();
    let head: String = chars.by_ref().take(SHOWN).collect();
    if chars.next().is_some() {
        format!("{head:?}…")
    } else {
        format!("{head:?}")
    }
}

/// The candidate closest to `word`, if at most a third of the longer word's letters differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::levenshtein(word, candidate), candidate))
        .filter(|(edits, candidate)| {
            edits * 3 <= word.chars().count().max(candidate.chars().count())
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// What to write instead of an unknown `word`: the closest candidate, or any of them.
pub fn suggestion<'a>(word: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(word, candidates.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("use one of {}", candidates.collect::<Vec<_>>().join(", ")),
    }
}

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

/// Parses a label, `NAME=VALUE`.
///
/// # Errors
/// A message for the user.
pub fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => validate_label(name, value),
        None => Err(format!(
            "expected NAME=VALUE such as build=8812, found {}",
            quoted(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_recognized_and_a_different_word_is_not() {
        let keys = ["min_interval", "max_interval", "policy"];
        assert_eq!(nearest("mininterval", keys), Some("min_interval"));
        assert_eq!(nearest("polcy", keys), Some("policy"));
        assert_eq!(nearest("colour", keys), None);
    }
}
