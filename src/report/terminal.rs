//! Puts lines above the bars and repaints the bars, on a terminal.
//!
//! The cursor rests on an empty line **above** the bars. However a resize breaks or cuts what is below it, one
//! "erase below" takes all the pieces: nothing has to be remembered of what was drawn at which width. And the
//! cursor is never hidden: whatever ends the process, there is no state to restore. Two things are out of every
//! program's reach: what a window that gets narrower pushes into the scrollback, and to erase after `kill -9`.
//!
//! That is why `indicatif`, which draws bars well, does not serve: it pads every line to the full width and counts
//! how many it drew at the width of that time. A narrower window breaks each of them in two, and half of them stay
//! on the screen for good.

use std::fmt::Write;

/// How large the terminal is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

impl Default for Size {
    /// What terminals have been since the VT100.
    fn default() -> Self {
        Self {
            width: 80,
            height: 24,
        }
    }
}

/// What lies on the screen.
#[derive(Debug, Default)]
pub(super) struct Painter {
    bars: Vec<String>,
    size: Size,
}

impl Painter {
    /// The bytes that print `above` (whole lines) for good and put `bars` below them in place of the former ones.
    /// None where nothing would change. With the line of the cursor the bars must fit on the screen, each on one
    /// line.
    pub(super) fn paint(
        &mut self,
        above: &[String],
        bars: Vec<String>,
        size: Size,
    ) -> Option<String> {
        if above.is_empty() && bars == self.bars && size == self.size {
            return None;
        }
        let mut out = String::new();
        if !self.bars.is_empty() {
            // First the line of the cursor, where the terminal may have shown a `^C`. Then from the next on, not
            // from here: at the top of the screen some terminals would move what is erased into the scrollback.
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
