//! Which of the four outputs, and in what style: decided from facts about the process.
//!
//! `cli` gathers the [`StreamFacts`] once and asks them; the decisions themselves are pure.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

/// What is printed, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bars on standard error.
    Progress,
    /// A line an event on standard output.
    Text,
    /// A JSON object an event on standard output.
    Json,
    /// Nothing but what went wrong, on standard error.
    Quiet,
}

/// How lines and bars look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether the words of ends are coloured.
    pub color: bool,
    /// Whether bars may use more than ASCII.
    pub unicode: bool,
    /// Whether there is a terminal to draw bars on; without one, progress prints its final lines alone.
    pub bars: bool,
}

impl Style {
    /// The mark for what was left out.
    pub(super) fn more(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }
}

/// What there is to know about the process's streams and environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each read off the process by itself"
)]
pub struct StreamFacts {
    /// Standard output is a terminal.
    pub stdout_terminal: bool,
    /// Standard error is a terminal.
    pub stderr_terminal: bool,
    /// Device and inode of standard output.
    pub stdout_inode: Option<(u64, u64)>,
    /// `$JOURNAL_STREAM`.
    pub journal_stream: Option<String>,
    /// `$TERM` is `dumb`.
    pub dumb: bool,
    /// `$NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `$CLICOLOR_FORCE` is set, neither empty nor `0`.
    pub color_force: bool,
    /// The locale's encoding is UTF-8.
    pub utf8: bool,
}

impl StreamFacts {
    /// Reads them off the running process.
    pub fn gather() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let term = variable("TERM");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(variable);
        Self {
            stdout_terminal: io::stdout().is_terminal(),
            stderr_terminal: io::stderr().is_terminal(),
            stdout_inode: inode(&io::stdout()),
            journal_stream: variable("JOURNAL_STREAM").and_then(|s| s.into_string().ok()),
            dumb: term.as_deref() == Some(OsStr::new("dumb")),
            no_color: variable("NO_COLOR").is_some(),
            color_force: variable("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            utf8: locale.is_some_and(|l| {
                let l = l.to_string_lossy().to_ascii_lowercase();
                l.contains("utf-8") || l.contains("utf8")
            }),
        }
    }

    /// What `--output auto` means for a one-shot (a daemon's `auto` is json): json where standard output is the
    /// journal, progress where standard error is a terminal that can move its cursor, text otherwise.
    ///
    /// `$JOURNAL_STREAM` alone says little: build agents are units too and pass it on to what they start. So it is
    /// compared with the stream itself, as systemd.exec(5) advises.
    pub fn auto(&self) -> Mode {
        if self.is_journal() {
            Mode::Json
        } else if self.stderr_terminal && !self.dumb {
            Mode::Progress
        } else {
            Mode::Text
        }
    }

    /// The style for this mode. `CLICOLOR_FORCE` outranks everything but `NO_COLOR`.
    pub fn style(&self, mode: Mode) -> Style {
        let terminal = match mode {
            Mode::Text | Mode::Json => self.stdout_terminal,
            Mode::Progress | Mode::Quiet => self.stderr_terminal,
        };
        Style {
            color: !self.no_color && (self.color_force || terminal && !self.dumb),
            unicode: self.utf8,
            bars: self.stderr_terminal && !self.dumb,
        }
    }

    fn is_journal(&self) -> bool {
        let parse = |stream: &str| {
            let (device, inode) = stream.split_once(':')?;
            Some((device.parse().ok()?, inode.parse().ok()?))
        };
        let journal: Option<(u64, u64)> = self.journal_stream.as_deref().and_then(parse);
        journal.is_some() && journal == self.stdout_inode
    }
}

fn inode(stream: &impl AsFd) -> Option<(u64, u64)> {
    let file = File::from(stream.as_fd().try_clone_to_owned().ok()?);
    let data = file.metadata().ok()?;
    Some((data.dev(), data.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(stream: &str) -> StreamFacts {
        StreamFacts {
            journal_stream: Some(stream.to_owned()),
            stdout_inode: Some((9, 4711)),
            stderr_terminal: true,
            ..StreamFacts::default()
        }
    }

    #[test]
    fn auto_is_json_only_where_standard_output_itself_is_the_journal() {
        assert_eq!(journal("9:4711").auto(), Mode::Json);
        for other in ["9:4712", "8:4711", "4711", "", ":", "nine:4711"] {
            assert_eq!(journal(other).auto(), Mode::Progress, "{other}");
        }
        let unknown = StreamFacts {
            stdout_inode: None,
            ..journal("none")
        };
        assert_eq!(unknown.auto(), Mode::Progress);
    }

    #[test]
    fn auto_is_progress_on_a_terminal_that_can_move_its_cursor_and_text_elsewhere() {
        let terminal = StreamFacts {
            stderr_terminal: true,
            ..StreamFacts::default()
        };
        assert_eq!(terminal.auto(), Mode::Progress);
        let dumb = StreamFacts {
            dumb: true,
            ..terminal
        };
        assert_eq!(dumb.auto(), Mode::Text);
        let piped = StreamFacts {
            stdout_terminal: true,
            ..StreamFacts::default()
        };
        assert_eq!(piped.auto(), Mode::Text);
    }

    #[test]
    fn colours_are_for_the_terminal_that_is_written_to_unless_the_user_says_otherwise() {
        let out = StreamFacts {
            stdout_terminal: true,
            ..StreamFacts::default()
        };
        assert!(out.style(Mode::Text).color);
        assert!(!out.style(Mode::Progress).color);
        let set = |no_color, color_force, dumb| StreamFacts {
            dumb,
            no_color,
            color_force,
            ..out.clone()
        };
        assert!(!set(true, false, false).style(Mode::Text).color);
        assert!(!set(false, false, true).style(Mode::Text).color);
        assert!(set(false, true, true).style(Mode::Text).color);
        assert!(!set(true, true, false).style(Mode::Text).color);
        assert!(set(false, true, false).style(Mode::Progress).color);
    }

    #[test]
    fn bars_need_a_terminal_even_when_they_were_asked_for() {
        assert!(!StreamFacts::default().style(Mode::Progress).bars);
    }

    #[test]
    fn the_running_process_knows_the_inode_of_its_standard_output() {
        assert!(StreamFacts::gather().stdout_inode.is_some());
    }
}
