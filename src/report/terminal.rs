//! Prints lines above the bars and repaints the bars on a terminal.
//!
//! The cursor rests on an empty line **above** the bars. However a resize wraps or cuts the lines below, one "erase
//! below" removes all of them, without knowing at which width they were drawn. The cursor is never hidden, so that no
//! state needs restoring however the process ends. Two things remain: lines that a narrower window pushes into the
//! scrollback, and the bars after `kill -9`.
//!
//! `indicatif` does not do this: it pads lines to the full width and erases as many lines as it drew. After a resize to a
//! narrower window each of them has wrapped, and half of them stay on the screen.

use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

impl Default for TerminalSize {
    /// The size of a VT100.
    fn default() -> Self {
        Self {
            width: 80,
            height: 24,
        }
    }
}

/// Paints the bars, and keeps what is on the screen.
#[derive(Debug, Default)]
pub(super) struct TerminalPainter {
    bars: Vec<String>,
    size: TerminalSize,
}

impl TerminalPainter {
    /// The bytes that print the lines `above` and replace the bars below them. None if nothing changes. The bars and the
    /// cursor's line must fit on the screen.
    pub(super) fn paint(
        &mut self,
        above: &[String],
        bars: Vec<String>,
        size: TerminalSize,
    ) -> Option<String> {
        if above.is_empty() && bars == self.bars && size == self.size {
            return None;
        }
        let mut out = String::new();
        if !self.bars.is_empty() {
            // The cursor's line may show a `^C`, so it is erased too. "Erase below" starts on the next line: at the top
            // of the screen some terminals move what it erases into the scrollback.
            out.push_str("\r\x1b[K\n\x1b[J\x1b[A");
        }
        for line in above {
            out.push_str(line);
            out.push('\n');
        }
        if !bars.is_empty() {
            for bar in &bars {
                out.push('\n');
                out.push_str(bar);
            }
            let _ = write!(out, "\r\x1b[{}A", bars.len());
        }
        self.bars = bars;
        self.size = size;
        Some(out)
    }
}
