//! The choice of output mode and style, from the streams and environment of the process.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use anstream::ColorChoice;
use anstyle_progress::supports_term_progress;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputMode {
    /// Bars on standard error.
    Progress,
    /// One line per event on standard output.
    Text,
    /// One JSON object per event on standard output.
    Json,
    /// One entry per event in the journal.
    Journal,
    /// Errors and failures only, on standard error.
    Quiet,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties")]
pub struct Style {
    /// Whether outcomes are colored.
    pub color: bool,
    /// Whether bars may use characters beyond ASCII.
    pub unicode: bool,
    /// Whether standard error is a terminal that can show bars; otherwise, progress prints only final lines.
    pub bars: bool,
    /// Whether the terminal has a title that can be set and restored.
    pub title: bool,
    /// Whether the terminal shows progress in its tab or task bar.
    pub tab_progress: bool,
    /// Whether diagnostics are short sentences, for people at a terminal.
    pub sentences: bool,
}

impl Style {
    pub(super) fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }
}

/// The streams and environment of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties")]
pub struct StreamInfo {
    pub stdout_color: bool,
    pub stderr_color: bool,
    pub stdout_terminal: bool,
    pub stderr_terminal: bool,
    /// Whether standard error is a terminal that can move its cursor.
    pub stderr_cursor: bool,
    /// Whether standard error is a terminal with a title.
    pub stderr_title: bool,
    /// Whether standard error is a terminal that shows progress (OSC 9;4).
    pub stderr_tab_progress: bool,
    /// Device and inode of standard output.
    pub stdout_inode: Option<(u64, u64)>,
    /// `$JOURNAL_STREAM`.
    pub journal_stream: Option<String>,
    /// The locale's encoding is UTF-8.
    pub utf8: bool,
}

impl StreamInfo {
    pub fn detect() -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(variable);
        let term = variable("TERM");
        let is_dumb = term.as_deref().is_none_or(|term| term == "dumb");
        let stderr_cursor = io::stderr().is_terminal() && !is_dumb;
        // Consoles without a window print the title.
        let is_console = |term: &OsStr| {
            let name = term.to_string_lossy();
            name.starts_with("linux") || name.starts_with("vt")
        };
        Self {
            stdout_color: has_color(&io::stdout()),
            stderr_color: has_color(&io::stderr()),
            stdout_terminal: io::stdout().is_terminal(),
            stderr_terminal: io::stderr().is_terminal(),
            stderr_cursor,
            stderr_title: stderr_cursor && !term.as_deref().is_some_and(is_console),
            stderr_tab_progress: supports_term_progress(stderr_cursor),
            stdout_inode: inode(&io::stdout()),
            journal_stream: variable("JOURNAL_STREAM").and_then(|s| s.into_string().ok()),
            utf8: locale.is_some_and(|l| {
                let l = l.to_string_lossy().to_ascii_lowercase();
                l.contains("utf-8") || l.contains("utf8")
            }),
        }
    }

    /// The mode of `--output auto` in a one-shot: json if standard output is the journal, progress if standard error is a
    /// terminal that can move its cursor, text otherwise.
    ///
    /// `$JOURNAL_STREAM` alone is not enough: build agents are units too and pass it to their children. It is compared with
    /// the stream itself, as systemd.exec(5) recommends.
    pub fn auto(&self) -> OutputMode {
        if self.is_journal() {
            OutputMode::Json
        } else if self.stderr_cursor {
            OutputMode::Progress
        } else {
            OutputMode::Text
        }
    }

    /// The mode of `--output auto` in the daemon: the journal if standard output is the journal, json otherwise.
    pub fn auto_daemon(&self) -> OutputMode {
        if self.is_journal() {
            OutputMode::Journal
        } else {
            OutputMode::Json
        }
    }

    pub fn style(&self, mode: OutputMode) -> Style {
        Style {
            color: match mode {
                OutputMode::Text | OutputMode::Json | OutputMode::Journal => self.stdout_color,
                OutputMode::Progress | OutputMode::Quiet => self.stderr_color,
            },
            unicode: self.utf8,
            bars: self.stderr_cursor,
            title: self.stderr_title,
            tab_progress: self.stderr_tab_progress,
            sentences: self.stderr_terminal
                && !matches!(mode, OutputMode::Json | OutputMode::Journal),
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

/// The environment variable, unless it is empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether output to the stream is colored: by `--color`, else by the environment.
pub fn has_color(stream: &impl IsTerminal) -> bool {
    match ColorChoice::global() {
        ColorChoice::Always | ColorChoice::AlwaysAnsi => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => environment_has_color(stream.is_terminal(), variable),
    }
}

/// By `NO_COLOR`, `FORCE_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR` and `TERM`, in this order.
fn environment_has_color(is_terminal: bool, get: impl Fn(&str) -> Option<OsString>) -> bool {
    let is = |name, words: &[&str]| get(name).map(|value| words.iter().any(|word| value == *word));
    if get("NO_COLOR").is_some() || is("FORCE_COLOR", &["0", "false"]) == Some(true) {
        return false;
    }
    let is_forced = get("FORCE_COLOR").is_some() || is("CLICOLOR_FORCE", &["0"]) == Some(false);
    let is_capable = is("TERM", &["dumb"]) == Some(false) && is("CLICOLOR", &["0"]) != Some(true);
    is_forced || is_terminal && is_capable
}

fn inode(stream: &impl AsFd) -> Option<(u64, u64)> {
    let file = File::from(stream.as_fd().try_clone_to_owned().ok()?);
    let data = file.metadata().ok()?;
    Some((data.dev(), data.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(stream: &str) -> StreamInfo {
        StreamInfo {
            journal_stream: Some(stream.to_owned()),
            stdout_inode: Some((9, 4711)),
            stderr_cursor: true,
            ..StreamInfo::default()
        }
    }

    #[test]
    fn auto_is_json_only_if_standard_output_is_the_journal() {
        assert_eq!(journal("9:4711").auto(), OutputMode::Json);
        assert_eq!(journal("9:4711").auto_daemon(), OutputMode::Journal);
        for other in ["9:4712", "8:4711", "4711", "", ":", "nine:4711"] {
            assert_eq!(journal(other).auto(), OutputMode::Progress, "{other}");
            assert_eq!(journal(other).auto_daemon(), OutputMode::Json, "{other}");
        }
        let unknown = StreamInfo {
            stdout_inode: None,
            ..journal("none")
        };
        assert_eq!(unknown.auto(), OutputMode::Progress);
    }

    #[test]
    fn auto_is_progress_on_a_terminal_that_can_move_its_cursor_and_text_elsewhere() {
        let terminal = StreamInfo {
            stderr_cursor: true,
            ..StreamInfo::default()
        };
        assert_eq!(terminal.auto(), OutputMode::Progress);
        assert_eq!(StreamInfo::default().auto(), OutputMode::Text);
    }

    #[test]
    fn color_is_for_the_stream_that_is_written_to() {
        let out = StreamInfo {
            stdout_color: true,
            ..StreamInfo::default()
        };
        assert!(out.style(OutputMode::Text).color);
        assert!(!out.style(OutputMode::Progress).color);
    }

    #[test]
    fn the_environment_decides_about_color() {
        let has_color = |is_terminal, variables: &[(&str, &str)]| {
            environment_has_color(is_terminal, |name| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).into())
            })
        };
        let term = ("TERM", "xterm");
        for (variables, terminal, pipe) in [
            (&[term][..], true, false),
            (&[], false, false),
            (&[("TERM", "dumb")], false, false),
            (&[term, ("CLICOLOR", "0")], false, false),
            (&[term, ("NO_COLOR", "1")], false, false),
            (&[term, ("FORCE_COLOR", "0")], false, false),
            (&[term, ("FORCE_COLOR", "false")], false, false),
            (&[("FORCE_COLOR", "3")], true, true),
            (&[("CLICOLOR_FORCE", "1")], true, true),
            (&[term, ("CLICOLOR_FORCE", "0")], true, false),
            (&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")], false, false),
        ] {
            assert_eq!(has_color(true, variables), terminal, "{variables:?}");
            assert_eq!(has_color(false, variables), pipe, "{variables:?}");
        }
    }

    #[test]
    fn bars_need_a_terminal_even_if_progress_is_requested() {
        assert!(!StreamInfo::default().style(OutputMode::Progress).bars);
    }

    #[test]
    fn the_running_process_knows_the_inode_of_its_standard_output() {
        assert!(StreamInfo::detect().stdout_inode.is_some());
    }
}
