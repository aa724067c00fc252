//! Annotations: lines that a CI system acts on. Each system has its own file, with its rules for escaping.
//!
//! Texts are made inert first, so that a text is harmless even where a system unescapes it and reads it again.

mod azure;
mod github;
mod gitlab;
mod teamcity;

use std::collections::BTreeMap;

use super::results::JobProblem;
use super::sanitize::{LIMIT, sanitized_lines};
use forgewatch_core::event::{Event, EventType};
use forgewatch_core::job::{JobRef, JobState, Outcome};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationStyle {
    Github,
    Gitlab,
    Teamcity,
    Azure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

/// What a line says. Texts are untrusted.
#[derive(Clone, Copy, Debug)]
enum Annotation<'a> {
    /// Opens the group of the run's lines.
    Begin { title: &'a str },
    /// A job moved. `percent` is the mean of all jobs.
    Progress { percent: u8, text: &'a str },
    /// A job failed, or its end is doubtful.
    Problem {
        severity: Severity,
        title: &'a str,
        message: &'a str,
    },
    /// Closes the group.
    End,
}

/// Turns events into annotations of one system.
#[derive(Debug)]
pub(super) struct Annotator {
    style: AnnotationStyle,
    /// The last progress of each job.
    progress: BTreeMap<JobRef, u8>,
    jobs: usize,
}

impl Annotator {
    pub(super) fn new(style: AnnotationStyle) -> Self {
        let progress = BTreeMap::new();
        Self {
            style,
            progress,
            jobs: 0,
        }
    }

    /// The line before the event's own one, if any.
    pub(super) fn before(&mut self, event: &Event) -> Option<String> {
        match event.kind {
            EventType::WatchStarted => {
                self.jobs = event.fields.jobs.unwrap_or(0) as usize;
                let title = &format!("forgewatch: {}", event.message());
                self.line(event.wall_ms, &Annotation::Begin { title })
            }
            EventType::WatchFinished => self.line(event.wall_ms, &Annotation::End),
            _ => None,
        }
    }

    /// The line after the event's own one, if any.
    pub(super) fn after(&mut self, event: &Event) -> Option<String> {
        if let (Some(job), Some(percent)) = (event.job, percent(event)) {
            self.progress.insert(job, percent);
        }
        let severity = match (event.kind, event.kind.level()) {
            (EventType::Ended(_) | EventType::HookFailed, "ERROR") => Severity::Error,
            (EventType::Ended(_), "WARN") => Severity::Warning,
            _ => return self.progressed(event),
        };
        let JobProblem { title, message } = &JobProblem::of_event(event)?;
        let problem = Annotation::Problem {
            severity,
            title,
            message,
        };
        self.line(event.wall_ms, &problem)
    }

    /// The line of a problem without an event.
    pub(super) fn problem(&self, JobProblem { title, message }: &JobProblem) -> Option<String> {
        let severity = Severity::Error;
        let problem = Annotation::Problem {
            severity,
            title,
            message,
        };
        self.line(0, &problem)
    }

    fn progressed(&self, event: &Event) -> Option<String> {
        let is_progress = matches!(
            event.kind,
            EventType::Watching
                | EventType::StateChanged
                | EventType::Progressed
                | EventType::Ended(Outcome::Completed)
        );
        let job = event.job.filter(|_| is_progress)?;
        let state = event.fields.state.map_or("unknown", JobState::as_str);
        let own = event.fields.progress.map(|percent| format!(" {percent}%"));
        let sum: usize = self
            .progress
            .values()
            .map(|&percent| usize::from(percent))
            .sum();
        let mean = sum / self.jobs.max(self.progress.len()).max(1);
        let progress = Annotation::Progress {
            percent: u8::try_from(mean).unwrap_or(100),
            text: &format!("{job} {state}{}", own.unwrap_or_default()),
        };
        self.line(event.wall_ms, &progress)
    }

    fn line(&self, wall_ms: i64, annotation: &Annotation<'_>) -> Option<String> {
        match self.style {
            AnnotationStyle::Github => github::line(annotation),
            AnnotationStyle::Gitlab => gitlab::line(annotation, wall_ms / 1_000),
            AnnotationStyle::Teamcity => Some(teamcity::line(annotation)),
            AnnotationStyle::Azure => Some(azure::line(annotation)),
        }
    }
}

/// The progress of the event's job; an ended job counts as whole.
fn percent(event: &Event) -> Option<u8> {
    match event.kind {
        EventType::Ended(_) => Some(100),
        _ => event.fields.progress,
    }
}

/// The text without anything that a terminal or a CI system acts on. Line breaks stay.
fn inert(text: &str) -> String {
    sanitized_lines(text, LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_escapes_by_its_own_rules() {
        let annotation = Annotation::Problem {
            severity: Severity::Error,
            title: "diff/1: a, b",
            message: "99% of 'C:' [full] | ü\u{1f600};\nnext ##vso[x]",
        };
        for (style, expected) in [
            (
                AnnotationStyle::Github,
                "::error title=diff/1%3A a%2C b::99%25 of 'C:' [full] | ü\u{1f600};%0Anext ##vso\\[x]",
            ),
            (
                AnnotationStyle::Gitlab,
                "\x1b[31;1mERROR: diff/1: a, b: 99% of 'C:' [full] | ü\u{1f600};\\nnext ##vso\\[x]\x1b[0;m",
            ),
            (
                AnnotationStyle::Teamcity,
                "##teamcity[buildProblem description='diff/1: a, b: 99% of |'C:|' |[full|] || |0x00FC|0xD83D|0xDE00;\
                 |nnext ##vso\\|[x|]' identity='forgewatch_diff_1__a__b']",
            ),
            (
                AnnotationStyle::Azure,
                "##vso[task.logissue type=error;]diff/1: a, b: 99%AZP25 of 'C:' [full] | ü\u{1f600};%0Anext ##vso\\[x]",
            ),
        ] {
            let annotator = Annotator::new(style);
            assert_eq!(annotator.line(0, &annotation).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_long_description_is_short_enough_for_teamcity() {
        let problem = JobProblem {
            title: "diff/1 failed".to_owned(),
            message: "|".repeat(9_000),
        };
        let line = Annotator::new(AnnotationStyle::Teamcity).problem(&problem);
        let escaped = 2 * (3_900 - "diff/1 failed: ".len());
        assert_eq!(line.unwrap().matches('|').count(), escaped);
    }
}
