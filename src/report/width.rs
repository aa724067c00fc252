//! Texts cut to the width of a column, or wrapped into lines.

use textwrap::wrap_algorithms::Penalties;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};
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

/// The text in lines of at most `room` columns and about the same width, so that no word stands alone in the last one.
pub(crate) fn wrapped(text: &str, room: usize, indent: &str, next_indent: &str) -> Vec<String> {
    // A line that is too long is worse than all gaps, a single word in the last line than most.
    let penalties = Penalties {
        overflow_penalty: 1_000_000,
        short_last_line_fraction: 3,
        short_last_line_penalty: 10_000,
        ..Penalties::new()
    };
    let options = Options::new(room)
        .initial_indent(indent)
        .subsequent_indent(next_indent)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::OptimalFit(penalties));
    let text = with_units(text);
    let lines = textwrap::wrap(&text, options).into_iter();
    lines.map(|line| line.replace(UNBROKEN, " ")).collect()
}

/// A text that stays in one line.
pub(super) fn unbroken(text: &str) -> String {
    text.replace(' ', UNBROKEN)
}

/// Instead of a blank that must not be broken.
const UNBROKEN: &str = "\u{a0}";

/// The text with its numbers and units unbroken, such as `(3.4 GB)`.
fn with_units(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_digit = false;
    for word in text.split_inclusive(' ') {
        let letters = word.trim_end_matches(|c: char| !c.is_alphabetic());
        let is_unit =
            !letters.is_empty() && letters.len() <= 3 && letters.chars().all(char::is_alphabetic);
        if after_digit && is_unit {
            out.truncate(out.trim_end_matches(' ').len());
            out.push_str(UNBROKEN);
        }
        out.push_str(word);
        after_digit = word
            .trim_end_matches(' ')
            .ends_with(|c: char| c.is_ascii_digit());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_stands_alone_in_the_last_line_and_units_stay_with_their_numbers() {
        let text = "warning: API requested a pause of 2s: HTTP 429 Too Many Requests";
        let lines = wrapped(text, 59, "", "    ");
        assert_eq!(lines.len(), 2);
        assert!(lines[1].trim().contains(' '), "{lines:?}");
        let text = "no space left on the device, (12 GB) needed, 3 MB. of 20 files";
        for room in 20..60 {
            let lines = wrapped(text, room, "", "");
            assert!(lines.iter().all(|line| line.width() <= room), "{lines:?}");
            let starts: Vec<&str> = lines
                .iter()
                .filter_map(|line| line.split(' ').next())
                .collect();
            assert!(
                !starts.contains(&"GB)") && !starts.contains(&"MB."),
                "{lines:?}"
            );
            assert_eq!(lines.join(" "), text);
        }
    }
}
