//! Texts cut to the width of a column.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text, cut to `room` columns with `mark` at its end.
pub(crate) fn cut_to_width(text: &str, room: usize, mark: &str) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let fits = prefix_of_width(text, room.saturating_sub(mark.width()));
    let cut = text.get(..fits).unwrap_or_default();
    // On a screen too narrow for the mark, an empty line is better than one that wraps.
    let mark = if mark.width() <= room { mark } else { "" };
    format!("{cut}{mark}")
}

/// The number of bytes that fit into `room` columns.
pub(super) fn prefix_of_width(text: &str, room: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > room {
            return at;
        }
    }
    text.len()
}
