//! Values in messages.

/// A value as it is shown in a message: escaped, and not longer than a line can take.
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
