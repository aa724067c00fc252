//! Azure Pipelines: logging commands, escaped as its task library does.
//! <https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands>

use super::{Annotation, Severity, inert};

pub(super) fn line(annotation: &Annotation<'_>) -> String {
    match annotation {
        Annotation::Begin { title } => format!("##[group]{}", one_line(title)),
        Annotation::Progress { percent, text } => {
            format!("##vso[task.setprogress value={percent};]{}", data(text))
        }
        Annotation::Problem {
            severity,
            title,
            message,
        } => {
            let kind = match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let text = format!("{title}: {message}");
            format!("##vso[task.logissue type={kind};]{}", data(&text))
        }
        Annotation::End => "##[endgroup]".to_owned(),
    }
}

/// A formatting command has no escapes.
fn one_line(text: &str) -> String {
    inert(text).replace('\n', " ")
}

fn data(text: &str) -> String {
    inert(text)
        .replace('%', "%AZP25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}
