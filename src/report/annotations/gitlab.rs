//! GitLab CI: a section of the job log, and colored lines. It has no command for an annotation.
//! <https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections>

use super::{Annotation, Severity, inert};

const SECTION: &str = "forgewatch";

/// The line; None if the system has nothing for it.
pub(super) fn line(annotation: &Annotation<'_>, unix_seconds: i64) -> Option<String> {
    match annotation {
        Annotation::Begin { title } => Some(format!(
            "\x1b[0Ksection_start:{unix_seconds}:{SECTION}\r\x1b[0K{}",
            one_line(title)
        )),
        Annotation::Progress { .. } => None,
        Annotation::Problem {
            severity,
            title,
            message,
        } => {
            let (color, word) = match severity {
                Severity::Error => (31, "ERROR"),
                Severity::Warning => (33, "WARNING"),
            };
            let text = one_line(&format!("{title}: {message}"));
            Some(format!("\x1b[{color};1m{word}: {text}\x1b[0;m"))
        }
        Annotation::End => Some(format!(
            "\x1b[0Ksection_end:{unix_seconds}:{SECTION}\r\x1b[0K"
        )),
    }
}

fn one_line(text: &str) -> String {
    inert(text).replace('\n', "\\n")
}
