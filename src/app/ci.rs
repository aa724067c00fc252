//! What a CI system gets from a run: annotations, report files, and the files of GitHub Actions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::command_error::CommandError;
use crate::config::Env;
use crate::config::settings::{Annotations, OneShotSettings, ReportFile, ReportFormat, SquashedAs};
use crate::report::files;
use crate::report::results::{BuildResult, JobProblem, RunEnd, RunResults};
use crate::report::{AnnotationStyle, Report};
use forgewatch_core::event::Event;
use forgewatch_core::job::{JobRef, Outcome};

/// The results so far, and where they go.
pub(super) struct CiOutput {
    results: RunResults,
    reports: Vec<ReportFile>,
    /// Appends the results to a file of GitHub Actions.
    appends: Vec<(PathBuf, AppendFn)>,
    /// Whether anything needs the results.
    is_used: bool,
}

type AppendFn = fn(&Path, &RunResults, &RunEnd) -> io::Result<()>;

impl CiOutput {
    /// Chooses the annotations of `report`, and removes the reports of an earlier run: one that is killed leaves none.
    pub(super) fn start(
        options: &OneShotSettings,
        env: &Env,
        report: &mut Report,
    ) -> Result<Self, CommandError> {
        let style = annotation_style(options.annotations, env);
        if let Some(style) = style {
            report.annotate(style);
        }
        for ReportFile { path, .. } in &options.reports {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let path = path.display();
                    let what = format!("--report: cannot replace {path}: {error}");
                    return Err(CommandError::usage(what));
                }
                _ => {}
            }
        }
        let appends: [(&str, AppendFn); 2] = [
            (files::GITHUB_STEP_SUMMARY, files::append_summary),
            (files::GITHUB_OUTPUT, files::append_output),
        ];
        let is_github = style == Some(AnnotationStyle::Github);
        let appends = appends.into_iter().filter(|_| is_github);
        let appends: Vec<_> = appends
            .filter_map(|(name, append)| Some((env.path(name)?.to_owned(), append)))
            .collect();
        let squashed = match options.squashed_as {
            None => BuildResult::Skipped,
            Some(SquashedAs::Success) => BuildResult::Passed,
            Some(SquashedAs::Failure) => BuildResult::Failed,
        };
        Ok(Self {
            results: RunResults::new(squashed),
            is_used: style.is_some() || !options.reports.is_empty(),
            reports: options.reports.clone(),
            appends,
        })
    }

    pub(super) fn add(&mut self, jobs: impl IntoIterator<Item = JobRef>) {
        if self.is_used {
            self.results.add(jobs);
        }
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        if self.is_used {
            self.results.on_event(event);
        }
    }

    /// A job has ended without an event.
    pub(super) fn end(&mut self, job: JobRef, outcome: Outcome, error: Option<String>) {
        if self.is_used {
            self.results.end(job, outcome, error);
        }
    }

    /// The run ends, with this outcome for all jobs that have not ended.
    pub(super) fn end_active(&mut self, outcome: Outcome) {
        for job in self.results.active() {
            self.results.end(job, outcome, None);
        }
    }

    /// Writes all files. Errors are logged: the exit status is that of the jobs. Returns the problems that no event has
    /// reported.
    pub(super) fn finish(&self, end: &RunEnd) -> Vec<JobProblem> {
        for ReportFile { format, path } in &self.reports {
            let content = match format {
                ReportFormat::Junit => files::junit(&self.results, end).map_err(io::Error::other),
                ReportFormat::Json => Ok(files::json(&self.results, end)),
                ReportFormat::Markdown => Ok(files::markdown(&self.results, end)),
            };
            let written = content.and_then(|content| files::replace(path, content.as_bytes()));
            log_error(path, written);
        }
        for (path, append) in &self.appends {
            log_error(path, append(path, &self.results, end));
        }
        self.results.unreported_problems()
    }
}

fn log_error(path: &Path, written: io::Result<()>) {
    if let Err(error) = written {
        let path = path.display();
        tracing::error!(target: "forgewatch::report", %path, %error, "cannot write {path}");
    }
}

/// The annotations that were chosen, or those of the CI system that the environment shows.
fn annotation_style(choice: Annotations, env: &Env) -> Option<AnnotationStyle> {
    const SYSTEMS: [(AnnotationStyle, Annotations, &str, &str); 4] = [
        (
            AnnotationStyle::Github,
            Annotations::Github,
            "GITHUB_ACTIONS",
            "true",
        ),
        (
            AnnotationStyle::Gitlab,
            Annotations::Gitlab,
            "GITLAB_CI",
            "true",
        ),
        (
            AnnotationStyle::Teamcity,
            Annotations::Teamcity,
            "TEAMCITY_VERSION",
            "",
        ),
        (
            AnnotationStyle::Azure,
            Annotations::Azure,
            "TF_BUILD",
            "true",
        ),
    ];
    let is_present = |variable: &str, value: &str| {
        env.path(variable)
            .is_some_and(|found| value.is_empty() || found.as_os_str().eq_ignore_ascii_case(value))
    };
    if choice == Annotations::Auto {
        let mut systems = SYSTEMS.into_iter();
        let found = systems.find(|(.., variable, value)| is_present(variable, value));
        return found.map(|(style, ..)| style);
    }
    let (style, _, variable, value) = SYSTEMS.into_iter().find(|(_, name, ..)| *name == choice)?;
    if !is_present(variable, value) {
        tracing::warn!(
            target: "forgewatch::report",
            "--annotations is for another CI system than this one: {variable} is not set"
        );
    }
    Some(style)
}
