//! Tables: a head, a line a row, columns as wide as they need to be.

use std::io;

use terminal_size::{Width, terminal_size_of};
use unicode_width::UnicodeWidthStr;

use crate::report::{StreamFacts, cut_to_width};

/// Where a table is printed.
pub(super) struct Paper {
    /// How many columns there are; None where lines can have any length.
    pub(super) width: Option<usize>,
    /// The mark for what was cut off.
    pub(super) more: &'static str,
}

impl Paper {
    /// Standard output as it is.
    pub(super) fn stdout() -> Self {
        // None too for a pseudo-terminal that was never told its size.
        let width = terminal_size_of(io::stdout()).map(|(Width(width), _)| usize::from(width));
        let more = if StreamFacts::gather().utf8 {
            "…"
        } else {
            "..."
        };
        Self { width, more }
    }
}

/// The table with its lines' ends. An empty cell is shown as `-`; on a terminal no line wraps.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>, paper: &Paper) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let mut lines = vec![head];
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
        match paper.width {
            Some(width) => text.push_str(&cut_to_width(out, width, paper.more)),
            None => text.push_str(out),
        }
        text.push('\n');
    }
    text
}
