//! What the terminal shows outside its screen: a title, and the progress of all jobs in the tab or task bar (OSC 9;4).

use std::fmt::Write;

use anstyle_progress::TermProgress;

use super::job_row::JobRow;
use super::mode::Style;
use super::totals;

/// Saves and restores the title of the window (XTWINOPS of xterm).
const SAVE_TITLE: &str = "\x1b[22;2t";
const RESTORE_TITLE: &str = "\x1b[23;2t";

/// The title and progress that the terminal shows, if it shows any.
#[derive(Debug, Default)]
pub(super) struct TerminalStatus {
    shown: Option<(String, u8)>,
}

impl TerminalStatus {
    /// The bytes that show these jobs; empty if nothing changes.
    pub(super) fn update(&mut self, rows: &[JobRow], style: Style) -> String {
        let is_active = rows.iter().any(|row| row.outcome.is_none());
        let next = is_active.then(|| (totals::title(rows), totals::percent(rows)));
        if next == self.shown || !style.title && !style.tab_progress {
            return String::new();
        }
        let mut out = String::new();
        if style.title {
            match (&self.shown, &next) {
                (_, None) => out.push_str(RESTORE_TITLE),
                (None, Some(_)) => out.push_str(SAVE_TITLE),
                _ => {}
            }
            if let Some((title, _)) = &next {
                let _ = write!(out, "\x1b]2;{title}\x07");
            }
        }
        if style.tab_progress {
            let progress = match &next {
                Some((_, percent)) => TermProgress::start().percent(*percent),
                None => TermProgress::remove(),
            };
            out.push_str(&progress.to_string());
        }
        self.shown = next;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forgewatch_core::job::Outcome;

    fn rows(progress: f32, outcome: Option<Outcome>) -> Vec<JobRow> {
        let job = "diff/1".parse().unwrap();
        let ended = JobRow::ended("diff/2".parse().unwrap(), Outcome::Completed);
        let row = JobRow {
            progress: Some(progress),
            outcome,
            ..JobRow::starting(job)
        };
        vec![row, ended]
    }

    #[test]
    fn the_terminal_shows_the_whole_and_is_restored_at_the_end() {
        let style = Style {
            title: true,
            tab_progress: true,
            ..Style::default()
        };
        let mut status = TerminalStatus::default();
        assert_eq!(
            status.update(&rows(40.0, None), style),
            "\x1b[22;2t\x1b]2;1/2 done - forgewatch\x07\x1b]9;4;1;70\x1b\\"
        );
        assert_eq!(status.update(&rows(40.0, None), style), "");
        assert_eq!(
            status.update(&rows(60.0, None), style),
            "\x1b]2;1/2 done - forgewatch\x07\x1b]9;4;1;80\x1b\\"
        );
        let ended = rows(100.0, Some(Outcome::Completed));
        assert_eq!(status.update(&ended, style), "\x1b[23;2t\x1b]9;4;0;\x1b\\");
        assert_eq!(status.update(&[], style), "");
    }

    #[test]
    fn a_terminal_that_shows_neither_gets_nothing() {
        let mut status = TerminalStatus::default();
        assert_eq!(status.update(&rows(40.0, None), Style::default()), "");
    }
}
