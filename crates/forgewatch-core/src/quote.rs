//! Quoting of values in messages.

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
