//! Puts lines above the bars and repaints the bars, on a terminal.
//!
//! Why not `indicatif`, which draws bars well: it pads every line to the full width and remembers how many lines
//! that was when it drew them. Most terminals break such lines in two when the window narrows, and half of them
//! stay on the screen for good. It also leaves the cursor behind the last bar, where after a kill the shell's
//! prompt is glued to it. Here a line ends at its last character, what lies on the screen is counted at its present
//! width, the cursor rests on the line below the bars, and is never hidden: there is no state to restore, whatever
//! ends the process.
//!
//! Only three things are sent: cursor up, erase to the end of the line, newline. Never "erase the rest of the
//! screen": at the top of a screen some terminals move what is erased into the scrollback. What a shrinking window
//! itself pushes into the scrollback is out of every program's reach.

use std::fmt::Write;
use unicode_width::UnicodeWidthChar;

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
#[derive(Debug)]
pub(super) struct Painter {
    bars: Vec<String>,
    reflows: bool,
}

impl Painter {
    pub(super) fn new(reflows: bool) -> Self {
        Self {
            bars: Vec::new(),
            reflows,
        }
    }

    /// The bytes that print `above` (whole lines) for good and put `bars` below them in place of the former ones.
    /// None where nothing would change.
    pub(super) fn paint(
        &mut self,
        above: &[String],
        bars: Vec<String>,
        size: Size,
    ) -> Option<String> {
        if above.is_empty() && bars == self.bars {
            return None;
        }
        let old = self.height(usize::from(size.width.max(1)));
        let mut out = String::from("\r");
        up(&mut out, old);
        // From the first column, this also makes a terminal forget that a line once ran on into the next. The line
        // of the cursor too: the `^C` that a terminal shows stands there.
        out.push_str(&"\x1b[K\n".repeat(old));
        out.push_str("\x1b[K");
        up(&mut out, old);
        for line in above.iter().chain(&bars) {
            out.push_str(line);
            out.push('\n');
        }
        self.bars = bars;
        Some(out)
    }

    /// How many lines of the screen the bars take, now that it may have another width than when they were drawn.
    fn height(&self, width: usize) -> usize {
        if self.reflows {
            let lines = self
                .bars
                .iter()
                .map(|bar| visible_width(bar).div_ceil(width).max(1));
            lines.sum()
        } else {
            self.bars.len()
        }
    }
}

fn up(out: &mut String, lines: usize) {
    if lines > 0 {
        let _ = write!(out, "\x1b[{lines}A");
    }
}

/// The columns a line takes; our own colours (`ESC [ … m`) take none.
fn visible_width(line: &str) -> usize {
    let mut columns = 0;
    let mut in_escape = false;
    for c in line.chars() {
        match c {
            '\x1b' => in_escape = true,
            'm' if in_escape => in_escape = false,
            _ if in_escape => {}
            _ => columns += c.width().unwrap_or(0),
        }
    }
    columns
}
