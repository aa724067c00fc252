//! The bytes written to a terminal, as an emulator shows them.

use std::time::Duration;

use insta::assert_snapshot;

use super::samples::{MODERN, failure, handful};
use crate::report::bars::render_bars;
use crate::report::job_row::NAME;
use crate::report::progress;
use crate::report::writer::{TerminalPainter, TerminalSize};

/// A terminal and the painter that writes to it.
struct Screen {
    terminal: vt100::Parser,
    painter: TerminalPainter,
    size: TerminalSize,
    sent: String,
}

impl Screen {
    fn new(width: u16, height: u16) -> Self {
        let mut terminal = vt100::Parser::new(height, width, 1_000);
        terminal.process(b"$ forgewatch watch\r\n");
        Self {
            terminal,
            painter: TerminalPainter::default(),
            size: TerminalSize { width, height },
            sent: String::new(),
        }
    }

    fn paint(&mut self, above: &[&str], bars: Vec<String>) {
        let above: Vec<String> = above.iter().map(|&line| line.to_owned()).collect();
        if let Some(bytes) = self.painter.paint(&above, bars, self.size) {
            self.sent.push_str(&bytes);
            // The terminal driver turns a newline into CR LF.
            self.terminal
                .process(bytes.replace('\n', "\r\n").as_bytes());
        }
    }

    fn resize(&mut self, width: u16, height: u16) {
        self.size = TerminalSize { width, height };
        self.terminal.screen_mut().set_size(height, width);
    }

    fn bars(&self, seconds: u64) -> Vec<String> {
        let (width, height) = (self.size.width.into(), self.size.height.into());
        render_bars(
            &handful(),
            width,
            height,
            Duration::from_secs(seconds),
            MODERN,
        )
    }

    fn contents(&self) -> String {
        self.terminal.screen().contents()
    }

    fn assert_clean(&self) {
        let screen = self.terminal.screen();
        let (line, column) = screen.cursor_position();
        let below: Vec<String> = screen.rows(0, self.size.width).skip(line.into()).collect();
        assert_eq!(column, 0);
        assert!(
            below.iter().all(String::is_empty),
            "below the cursor: {below:?}"
        );
        assert!(!screen.hide_cursor());
        assert!(!screen.alternate_screen());
        assert_eq!(screen.fgcolor(), vt100::Color::Default);
        // Only "up", the two erasures and colors were sent.
        for escape in self.sent.split('\x1b').skip(1) {
            let end = escape.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            assert!("AJKm".contains(&escape[end..=end]), "{escape:?}");
        }
    }
}

#[test]
fn bars_are_repainted_in_place_and_removed_without_a_trace() {
    let mut screen = Screen::new(80, 24);
    screen.paint(&[], screen.bars(1));
    screen.paint(&[], screen.bars(2));
    let painted = screen.contents();
    screen.paint(
        &["2026-01-02T03:04:05.678Z  WARN forgewatch: slow"],
        screen.bars(3),
    );
    let logged = screen.contents();
    screen.paint(&["diff/1234     COMPLETED  after 3s"], Vec::new());
    let ended = screen.contents();
    screen.assert_clean();
    assert_snapshot!([painted, logged, ended].join("\n\n----------------\n\n"));
}

#[test]
fn lines_above_the_bars_may_be_wider_than_the_screen() {
    let mut screen = Screen::new(60, 12);
    screen.paint(&[], screen.bars(1));
    let long = "x".repeat(60);
    screen.paint(&[&long, &"y".repeat(61), "z"], screen.bars(2));
    screen.paint(&[], screen.bars(3));
    screen.paint(&[], Vec::new());
    screen.assert_clean();
    // The emulator distinguishes a wrapped line from two lines.
    let contents = screen.contents();
    let lines: Vec<&str> = contents.lines().collect();
    let long_too = "y".repeat(61);
    assert_eq!(lines, ["$ forgewatch watch", &long, &long_too, "z"]);
}

#[test]
fn on_a_small_screen_only_final_lines_scroll_away() {
    let mut screen = Screen::new(60, 6);
    for second in 1..30 {
        screen.paint(&[], screen.bars(second));
    }
    let error = progress::event(&failure("disk full"), 60, NAME, MODERN).unwrap();
    let lines: Vec<&str> = error.lines().collect();
    screen.paint(&lines, screen.bars(30));
    screen.paint(&[], Vec::new());
    screen.assert_clean();
    let mut all = screen.terminal.screen().clone();
    all.set_scrollback(usize::MAX);
    let history: Vec<String> = all.rows(0, 60).collect();
    assert!(
        history.iter().all(|line| !line.contains("░")),
        "{history:?}"
    );
}

#[test]
fn after_a_resize_the_bars_are_complete_and_removed_without_a_trace() {
    let mut screen = Screen::new(200, 50);
    screen.paint(&[], screen.bars(1));
    for (width, height) in [(80, 24), (60, 10), (200, 50), (100, 12)] {
        screen.resize(width, height);
        screen.paint(&[], screen.bars(2));
        let contents = screen.contents();
        for bar in screen.bars(2) {
            assert_eq!(
                contents.matches(bar.trim_end()).count(),
                1,
                "{bar:?} in\n{contents}"
            );
        }
    }
    screen.paint(&[], Vec::new());
    screen.assert_clean();
    assert_eq!(screen.contents(), "$ forgewatch watch");
}

#[test]
fn a_frame_that_changes_nothing_writes_nothing() {
    let mut screen = Screen::new(80, 24);
    screen.paint(&[], screen.bars(1));
    let sent = screen.sent.len();
    screen.paint(&[], screen.bars(1));
    assert_eq!(screen.sent.len(), sent);
}
