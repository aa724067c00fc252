//! Tables with a header, one line per row, and columns as wide as their content; fields, one per line.

use std::fmt::Write;
use std::io;

use terminal_size::{Width, terminal_size_of};
use unicode_width::UnicodeWidthStr;

use crate::report::{StreamInfo, cut_to_width};

pub(super) struct TerminalWidth {
    /// None if lines can have any length.
    pub(super) columns: Option<usize>,
    /// Marks a line that was cut off.
    pub(super) ellipsis: &'static str,
}

impl TerminalWidth {
    /// The width of standard output.
    pub(super) fn stdout() -> Self {
        // Also None for a pseudo-terminal without a size.
        let columns = terminal_size_of(io::stdout()).map(|(Width(width), _)| usize::from(width));
        let ellipsis = if StreamInfo::detect().utf8 {
            "…"
        } else {
            "..."
        };
        Self { columns, ellipsis }
    }
}

/// The fields as text, each value in column `width`. A field without a name continues the one above.
pub(in crate::cli) fn field_lines<'a>(
    fields: impl IntoIterator<Item = (&'a str, String)>,
    width: usize,
) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        let colon = if name.is_empty() { "" } else { ":" };
        let _ = writeln!(text, "{:<width$}{value}", format!("{name}{colon}"));
    }
    text
}

/// The table as text. An empty cell is shown as `-`; on a terminal, no line wraps.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>, terminal: &TerminalWidth) -> String {
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let mut lines = vec![header];
    lines.extend(rows);
    for cell in lines.iter_mut().flatten().filter(|cell| cell.is_empty()) {
        cell.push('-');
    }
    let mut widths: Vec<usize> = Vec::new();
    for line in &lines {
        widths.resize(widths.len().max(line.len()), 0);
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut out = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            out.push_str(cell);
            out.push_str(&" ".repeat(width - cell.width() + 3));
        }
        let out = out.trim_end();
        match terminal.columns {
            Some(width) => text.push_str(&cut_to_width(out, width, terminal.ellipsis)),
            None => text.push_str(out),
        }
        text.push('\n');
    }
    text
}
