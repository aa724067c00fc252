//! GitHub Actions: workflow commands, escaped as the runner unescapes them.
//! <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>

use super::{Annotation, Severity, inert};

/// The line; None if the system has nothing for it.
pub(super) fn line(annotation: &Annotation<'_>) -> Option<String> {
    match annotation {
        Annotation::Begin { title } => Some(format!("::group::{}", data(title))),
        Annotation::Progress { .. } => None,
        Annotation::Problem {
            severity,
            title,
            message,
        } => {
            let command = match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            Some(format!(
                "::{command} title={}::{}",
                property(title),
                data(message)
            ))
        }
        Annotation::End => Some("::endgroup::".to_owned()),
    }
}

fn data(text: &str) -> String {
    inert(text)
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
